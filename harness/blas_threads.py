"""One thread for the BLAS behind numpy, in the command and in its workers.

harness multiplies no matrices with it, but as it is loaded it starts a thread on every CPU and
takes memory for each: on a large machine gigabytes of address space, and where no more threads
may be started it interrupts the process. A library of custom operators may have a BLAS of its
own, so workers take the setting back before they load anything of the user's.
"""

from __future__ import annotations

import os

_SETTING = "OPENBLAS_NUM_THREADS"
#: Says that the setting is not the user's.
_OURS = "HARNESS_LIMITS_BLAS"


def limit() -> None:
    """Limits BLAS in this process and those that it starts; call it before numpy is imported."""
    if _SETTING not in os.environ:
        os.environ[_SETTING] = os.environ[_OURS] = "1"


def release() -> None:
    """Takes the setting back, unless it is the user's; call it once numpy is imported."""
    if os.environ.pop(_OURS, ""):
        del os.environ[_SETTING]
