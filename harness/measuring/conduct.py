"""Conduct of a worker process: where it finds harness, how it dies, where it leaves errors."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from harness import blas_threads
from harness.errors import (
    NO_ROOM,
    NO_THREADS,
    HarnessError,
    MachineError,
    NoRoomError,
    no_threads,
    one_line,
)
from harness.measuring.handover import Job, drop_inputs, leave_error

_PR_SET_PDEATHSIG = 1  # prctl(2)


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Command line of a worker: this Python, that module, current folder not on the path (-P)."""
    return (sys.executable, "-P", "-m", module, *arguments)


def python_path() -> str:
    """PYTHONPATH of a worker, so that it runs this harness and not another one."""
    root = str(Path(__file__).resolve().parents[2])
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(filter(None, (root, *places)))  # "" would be the current folder


def die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, however that ends.

    Args:
        parent: process id; if it has ended already, so does this one.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before prctl took effect
        sys.exit(1)


@contextlib.contextmanager
def process(
    job: Job,
    parent: int | None = None,
    leave: Callable[[Job, HarnessError], NoReturn] = leave_error,
) -> Iterator[None]:
    """Conduct of a worker process: it dies with its parent, which handles Ctrl-C and errors.

    Args:
        job: of the worker.
        parent: process id of its parent; None for the command.
        leave: ends the process, leaving an error for its parent.
    """
    for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to workers too
        signal.signal(number, signal.SIG_IGN)
    die_with(job.parent if parent is None else parent)
    blas_threads.release()
    try:
        yield
    except HarnessError as error:
        leave(job, error)
    except OSError as error:
        if error.errno not in NO_ROOM:
            leave(job, _unexpected(error))
        # Otherwise there may be no room left for the error itself.
        drop_inputs(job)
        leave(job, no_room(job.work_folder))
    except MemoryError:
        leave(job, no_memory("a worker"))
    except Exception as error:  # the parent shows it, whatever it is
        if NO_THREADS.search(str(error)):
            leave(job, no_threads("a worker"))
        leave(job, _unexpected(error))


def end() -> NoReturn:
    """Ends a worker that has left everything, without taking the interpreter apart first.

    The kernel frees what it holds at once, Python piece by piece. Exit handlers run.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def no_memory(what: str) -> MachineError:
    """The error for a process that the system gives no more memory."""
    return MachineError(
        f"{what}: not enough memory",
        "give smaller inputs, close other programs, or raise ulimit -v",
    )


def no_room(folder: Path) -> NoRoomError:
    """The error for a full disk."""
    return NoRoomError(
        f"{folder}: no room to work in", "make room there, or choose another `output`"
    )


def _unexpected(error: Exception) -> HarnessError:
    """The error to leave for one that nobody foresaw; its traceback goes to stderr."""
    traceback.print_exc()
    return HarnessError(f"{type(error).__name__} in a worker: {one_line(str(error))}")
