"""Conduct of a worker process: where it finds harness, with whom it ends, whom it tells what."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from harness.errors import NO_ROOM, HarnessError, MachineError, one_line
from harness.measuring.handover import Job, drop_inputs, leave_error

_PR_SET_PDEATHSIG = 1  # prctl(2)


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Command line of a worker: this Python, that module, and none of the current folder (-P)."""
    return (sys.executable, "-P", "-m", module, *arguments)


def python_path() -> str:
    """PYTHONPATH of a worker, which is to run this harness and no other."""
    root = str(Path(__file__).resolve().parents[2])
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(filter(None, (root, *places)))  # an empty one is the current folder


@contextlib.contextmanager
def process(job: Job) -> Iterator[None]:
    """Conduct of a worker process: it dies with its parent, and leaves it Ctrl-C and errors."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to it too
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != job.parent:  # it died before this one could ask to die with it
        sys.exit(1)
    try:
        yield
    except HarnessError as error:
        leave_error(job, error)
    except OSError as error:
        if error.errno not in NO_ROOM:
            _leave_unexpected(job, error)
        # Else there may be no room to say so.
        drop_inputs(job)
        leave_error(job, no_room(job.work_folder))
    except Exception as error:  # the parent shows it, whatever it is
        _leave_unexpected(job, error)


def no_room(folder: Path) -> MachineError:
    """The error of a full disk."""
    return MachineError(
        f"{folder}: no room to work in", "make room there, or choose another `output`"
    )


def _leave_unexpected(job: Job, error: Exception) -> NoReturn:
    traceback.print_exc()
    leave_error(job, HarnessError(f"{type(error).__name__} in a worker: {one_line(str(error))}"))
