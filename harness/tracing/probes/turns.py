"""How the graphs with probes take turns: what a plan needs to know about their recorder."""

#: How often the graphs of a pass with probes take turns, with one thread and with several.
ROUNDS = 8
THREADED_ROUNDS = 3

#: Of them, one in so many has a turn of the half of the probes, too: a check needs no more.
SPLIT_EVERY = 2

#: How long ORT's threads spin after an inference, about, and how long to wait for that at most.
#: They spin for a number of rounds, not for a time: 27 to 33 ms of one CPU on a Zen 4, of which
#: other load makes up to 130 ms.
SETTLING_S = 0.03
LONGEST_SETTLING_S = 0.3
