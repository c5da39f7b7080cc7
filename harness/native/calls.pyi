"""Types of the native module: calls of a C function of another runtime, timed."""

import numpy as np
import numpy.typing as npt

class CallError(RuntimeError):
    """A call did not return 0.

    Attributes:
        code: what it returned.
        completed: calls that had succeeded before.
    """

    code: int
    completed: int

def time(
    function: int,
    argument: int,
    start_ns: npt.NDArray[np.int64],
    duration_ns: npt.NDArray[np.int64],
) -> None:
    """Calls a function back to back, as often as the arrays hold, and stores its times in them.

    The GIL is not held. The starts are of CLOCK_MONOTONIC.

    Args:
        function: address of a C function ``int f(void*)``, which returns 0 if all is well.
        argument: what it is given.
        start_ns: int64[calls].
        duration_ns: int64[calls].

    Raises:
        CallError: a call returned something else.
        ValueError: the arrays differ in length, or the address is 0.
    """

def empty() -> int:
    """Address of a C function ``int f(void*)`` that does nothing and returns 0.

    What ``time`` measures of it is the loop's own.
    """
