"""The command ``harness``, as a script and as ``python -m harness``.

``python -m`` puts the current folder first on sys.path. Showing a profile in the folder it was
downloaded to would then run a ``numpy.py`` lying next to it, so that entry is removed before
anything is imported, unless harness itself is in that folder.
"""

import resource
import sys
from os import getcwd, path  # already imported by Python at start-up

#: Below it libraries end the process while they are loaded, in ways that nothing can report.
_LEAST_ADDRESS_SPACE = 300 << 20


def main() -> int:
    """Runs this process's command line; returns the exit code."""
    _look_for_no_module_here()
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_ADDRESS_SPACE:
        told = f"not enough memory: ulimit -v allows {limit >> 20} MiB of address space"
        print(f"harness: {told} (allow {_LEAST_ADDRESS_SPACE >> 20})", file=sys.stderr)
        return 3
    import signal

    # Until a command runs there is nothing to keep, and none of our code to say so: Ctrl-C ends
    # the process as it ends any other, without a traceback. It is left ignored if it was.
    interrupt = signal.getsignal(signal.SIGINT)
    quiet = interrupt is signal.default_int_handler
    if quiet:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harness import blas_threads

    blas_threads.limit()
    from harness.commands import command_line

    if quiet:
        signal.signal(signal.SIGINT, interrupt)
    try:
        return command_line.main()
    finally:
        if quiet:  # also while Python cleans up
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _look_for_no_module_here() -> None:
    """Does late what ``python -P`` does at start-up."""
    try:
        here = path.realpath(getcwd())  # noqa: PTH109  (pathlib is not imported yet)
    except OSError:  # the folder has been deleted
        here = ""
    if f"{here.rstrip('/')}/harness/__main__.py" == path.realpath(__file__):
        return
    if not sys.flags.safe_path and sys.path and path.realpath(sys.path[0]) == here:
        del sys.path[0]
    sys.path[:] = [place for place in sys.path if place]  # empty: the current folder


if __name__ == "__main__":
    sys.exit(main())
