"""How the graphs with probes take turns: what a plan needs to know about their recorder."""

#: How often the graphs of a pass with probes take turns, with one thread and with several.
ROUNDS = 8
THREADED_ROUNDS = 3

#: Of them, one in so many has a turn of the half of the probes, too: a check needs no more.
SPLIT_EVERY = 2

#: How long ORT's threads may spin after an inference (measured: up to 80 ms).
SPINNING_S = 0.1
