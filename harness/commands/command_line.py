"""The command line: one module per subcommand; the only place that prints or exits."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness.errors import NO_ROOM, HarnessError, Interrupted, MachineError, RequestError
from harness.version import __version__

#: Subcommands in the order of --help, each a module here with add_arguments and execute.
COMMANDS = {
    "profile": "measure a model and store everything in one HDF5 file",
    "show": "summary of a profile",
    "ops": "where the time goes: per-operator table",
    "ab": "measure two configurations in turns until it is known whether they differ",
    "compare": "whether profiles really differ, and which operators did it",
    "trace": "write a trace that ui.perfetto.dev opens",
    "export": "write CSV, JSON lines, Parquet, pyperf's JSON, or stacks",
    "report": "write one page for a browser, of one profile or several side by side",
    "recover": "make a profile of what an interrupted one left",
    "models": "list the built-in reference models, or write one out",
    "doctor": "say what this machine can measure, what not, and the remedy",
    "complete": "print what makes a shell complete commands, options and files",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Executes one command line; returns the exit code.

    0 done, 1 our fault, 2 the request is wrong, 3 this machine cannot do it,
    4 --fail-on tripped, 5 --fail-on is undecided or there is nothing to compare, 130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows no µ, a file name that is not UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _execute(given)
        except HarnessError as error:
            return _fail(error, as_json="--json" in given)
        except KeyboardInterrupt:
            return _fail(Interrupted("interrupted"), as_json="--json" in given)
    except BrokenPipeError:
        # The reader (head, less) has gone.
        _drop_output()
        return 0
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _drop_output()
        full = MachineError("the output cannot be written: the disk is full", "make room there")
        return _fail(full, as_json=False)


def _drop_output() -> None:
    # Or Python would fail once more when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Reports a wrong option like any other wrong request: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(message, f"see '{self.prog} --help'")


def command_line() -> argparse.ArgumentParser:
    """The parser of the whole command line; a command's function is ``execute`` of its options."""
    parser = _Parser(
        prog="harness",
        allow_abbrev=False,
        description="The profiler that tells the truth about ONNX inference.",
        epilog="'harness COMMAND --help' tells the options of a command.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"harness.commands.{name}")
        command = commands.add_parser(
            name,
            help=summary,
            allow_abbrev=False,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(execute=module.execute)
    return parser


def _execute(given: Sequence[str]) -> int:
    options = command_line().parse_args(given)
    if options.version:
        print(f"harness {__version__}")
        return 0
    if options.command is None:
        raise RequestError("no command given", "see 'harness --help'")
    try:
        code: int = options.execute(options)
    except ImportError as error:
        if error.name != "harness.native":
            raise
        raise MachineError(
            f"{error.msg.partition(' (')[0]}: the native modules are not built in this folder",
            "python -m pip install -e .",
        ) from error
    sys.stdout.flush()
    return code


def _fail(error: HarnessError, *, as_json: bool) -> int:
    if as_json:
        report = {"kind": error.kind, "message": error.message, "remedy": error.remedy}
        try:
            print(json.dumps({"error": report}), flush=True)
        except OSError:  # nobody reads it, or it cannot be written: the exit code remains
            _drop_output()
    else:
        hint = f" ({error.remedy})" if error.remedy else ""
        print(f"harness: {error.message}{hint}", file=sys.stderr)
    return error.exit_code
