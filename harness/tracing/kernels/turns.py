"""How the inferences that take the device's times are divided."""

#: Whether CUPTI is on in each turn. What drifts hits both alike.
TURNS = (False, True, True, False) * 2

#: Inferences that are not timed at the start of a turn, at most: the first ones after CUPTI was
#: switched on are slower.
SETTLING = 5

#: Most times of launches that a process stores, beyond the fewest that there can be: one inference
#: a turn.
MOST_TIMES = 50_000


def inferences_of_a_turn(wanted: int, launches: int) -> int:
    """How many inferences to time in each turn.

    Args:
        wanted: at most so many.
        launches: of an inference.
    """
    return max(1, min(wanted, MOST_TIMES // (max(launches, 1) * sum(TURNS))))


def inferences_of_all(timed: int) -> int:
    """How many inferences all turns make with so many timed in each."""
    return len(TURNS) * (timed + min(SETTLING, timed))
