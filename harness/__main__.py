"""The command ``harness``, as a script and as ``python -m harness``.

``python -m`` looks for modules in the current folder first. Whoever shows a profile in the folder
that it came in would run the ``numpy.py`` beside it, so that place is given up before anything
is imported, unless harness itself lies there.
"""

import sys
from os import getcwd, path  # Python itself has imported it when it started


def main() -> int:
    """Executes the command line of this process; returns the exit code."""
    _look_for_no_module_here()
    from harness.commands import command_line

    return command_line.main()


def _look_for_no_module_here() -> None:
    """Does what ``python -P`` does from the start."""
    try:
        here = path.realpath(getcwd())  # noqa: PTH109  (pathlib is not imported yet)
    except OSError:  # the folder has gone
        here = ""
    if f"{here.rstrip('/')}/harness/__main__.py" == path.realpath(__file__):
        return
    if not sys.flags.safe_path and sys.path and path.realpath(sys.path[0]) == here:
        del sys.path[0]
    sys.path[:] = [place for place in sys.path if place]  # an empty one is the current folder


if __name__ == "__main__":
    sys.exit(main())
