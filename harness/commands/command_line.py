"""The command line: one module per subcommand; the only place that prints or exits."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from harness.commands import interrupts
from harness.commands.messages import MOST_OF_A_REMEDY, drop, message, open_standard_streams, say
from harness.errors import (
    NO_ROOM,
    NO_THREADS,
    HarnessError,
    Interrupted,
    MachineError,
    RequestError,
    no_threads,
)
from harness.machine.process_start import process_start_ns
from harness.options import COMMANDS as COMMAND_OPTIONS
from harness.options import declare_version, flag
from harness.version import __version__

#: Subcommands in the order of --help, each a module here with add_arguments and execute.
COMMANDS = {
    "profile": "measure a model and store everything in one HDF5 file",
    "show": "print the summary of a profile",
    "ops": "show where the time goes, operator by operator",
    "ab": "measure two configurations alternately until it is clear whether they differ",
    "layout": "find the best number and placement of instances on this machine",
    "compare": "tell whether profiles really differ, and which operators are the cause",
    "calibrate": "take short profiles over time: how much do they differ between occasions?",
    "sweep": "measure every cell of a plan, on one machine or on many",
    "list": "list the profiles of a folder, filtered and sorted",
    "history": "show profiles over time, and where their latency changed",
    "study": "join profiles of several machines: which device for what, and which claims hold",
    "trace": "write a trace that ui.perfetto.dev opens",
    "export": "write CSV, JSON lines, Parquet, pyperf's JSON, or stacks",
    "report": "write a web page of one profile, or of several side by side",
    "recover": "make a profile from what an interrupted run left behind",
    "variant": "make an fp16, int8 or pruned variant of a model, and tell its error",
    "models": "list the built-in reference models, or write one out",
    "doctor": "say what this machine can and cannot measure, and the remedy",
    "complete": "print a script that makes a shell complete commands, options and files",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, this process's own or ``arguments``; returns the exit code.

    0 done, 1 our fault, 2 the request is wrong, 3 this machine cannot do it,
    4 --fail-on tripped or the variant is broken, 5 --fail-on is undecided or there is nothing to
    compare, 130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    began_ns = process_start_ns() if arguments is None else time.monotonic_ns()
    open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # For terminals that cannot show µ, and file names that are not UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            with interrupts.kept():
                return _execute(given, began_ns)
        except HarnessError as error:
            return _fail(error, as_json=flag("json") in given)
        except KeyboardInterrupt:
            return _fail(Interrupted("interrupted"), as_json=flag("json") in given)
        except MemoryError:
            full = MachineError(
                "not enough memory", "close other programs, or use a larger machine"
            )
            return _fail(full, as_json=flag("json") in given)
        except RuntimeError as error:
            if not NO_THREADS.search(str(error)):
                raise
            return _fail(no_threads("this command"), as_json=flag("json") in given)
    except BrokenPipeError:
        # The reader (head, less) has closed the pipe.
        drop(1)
        return 0
    except OSError as error:
        drop(1)
        return _fail(_refused(error), as_json=False)


#: Errors that a wrong file name causes; all others are blamed on the machine.
_WRONG_NAME = (
    errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM,
    errno.ELOOP, errno.EINVAL, errno.EROFS,
)  # fmt: skip


def _refused(error: OSError) -> HarnessError:
    """The error for a system call that failed and that no code closer to it has explained."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in NO_ROOM and error.filename is None:
        return MachineError("the output cannot be written: the disk is full", "make room there")
    place = "" if error.filename is None else f"{os.fsdecode(os.fspath(error.filename))}: "
    if error.errno in _WRONG_NAME and error.filename is not None:
        return RequestError(f"{place}{reason}", "check the name and its permissions")
    remedy = "make room there" if error.errno in NO_ROOM else "check ulimit -a and df"
    return MachineError(f"{place}{reason}", remedy)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong option like any other wrong request: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(message, f"see '{self.prog} `help`'")


class _Command(_Parser):
    """The parser of one command: its options may stand between its files.

    argparse calls ``parse_known_args`` of a subcommand's parser, which stops at the first file.
    ``parse_known_intermixed_args`` does not, but in older Pythons calls ``parse_known_args``
    itself: once for the options, and once for the files that those leave.
    """

    #: Of these calls, the one that comes next; 0 is the one from outside.
    _call = 0

    def parse_known_args(  # type: ignore[override]  # the stub knows its overloads only
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, except that options are taken out before files are counted."""
        if self._call == 0:
            self._call = 1
            try:
                return self.parse_known_intermixed_args(args, namespace)
            finally:
                self._call = 0
        words = list(args or ())
        # Were the options to take "--", what follows it would be options to the second call.
        end = words.index("--") if self._call == 1 and "--" in words else len(words)
        self._call = 2
        parsed, left = super().parse_known_args(words[:end], namespace)
        return parsed, left + words[end:]


class _Summaries(argparse.HelpFormatter):
    """Puts each summary beside its command: argparse forgets how far their names are indented."""

    def add_argument(self, action: argparse.Action) -> None:
        """As argparse's."""
        super().add_argument(action)
        indented = 2 * self._indent_increment + max(map(len, COMMANDS))
        self._action_max_length = max(self._action_max_length, indented)


def command_line() -> argparse.ArgumentParser:
    """The parser of the whole command line; ``options.execute`` is then the command's function."""
    parser = _Parser(
        prog="harness",
        allow_abbrev=False,
        formatter_class=_Summaries,
        description="The profiler that tells the truth about ONNX inference.",
        epilog=f"'harness COMMAND {flag('help')}' lists the options of a command.",
    )
    declare_version(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Command)
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


def require_values(given: Sequence[str], program: str = "harness") -> None:
    """Refuses ``--option=--``, which argparse would take for an option without a value.

    Raises:
        RequestError: there is one.
    """
    for word in given:
        if word == "--":
            return
        if re.fullmatch(r"(--[\w-]+=|-\w)--", word):
            raise RequestError(
                f"{word.removesuffix('--').rstrip('=')}: needs a value",
                f"give one, see '{program} `help`'",
            )


def _unknown(command: str | None, word: str, given: Sequence[str]) -> RequestError:
    """The error for a word that a command does not know, with the nearest known option."""
    program = "harness" if command is None else f"harness {command}"
    if command is not None and word in given[: given.index(command)]:
        return RequestError(
            f"{word}: options follow the command", f"see '{program} `help`' for its options"
        )
    if not word.startswith("-"):
        return RequestError(f"{word}: one argument too many", f"see '{program} `help`'")
    flags = [name for one in COMMAND_OPTIONS.get(command or "", ()) for name in one.flags]
    near = difflib.get_close_matches(word.partition("=")[0], flags, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return RequestError(f"{word}: {program} has no such option", f"{hint}see '{program} `help`'")


def _execute(given: Sequence[str], began_ns: int) -> int:
    command = next((f" {word}" for word in given if word in COMMANDS), "")
    require_values(given, f"harness{command}")
    options, unknown = command_line().parse_known_args(given)
    unknown = [word for word in unknown if word != "--"]  # left over where there are no files
    if unknown:
        raise _unknown(options.command, unknown[0], given)
    if options.version:
        print(f"harness {__version__}")
        return 0
    if options.command is None:
        raise RequestError("no command given", "see 'harness `help`'")
    try:
        options.began_ns = began_ns
        code: int = options.execute(options)
    except ImportError as error:
        if "cannot allocate memory" in str(error).lower() or "failed to map" in str(error):
            raise MemoryError from error
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
        report = {
            "kind": error.kind,
            "message": message(error.message),
            "remedy": message(error.remedy, MOST_OF_A_REMEDY),
        }
        try:
            print(json.dumps({"error": report}), flush=True)
        except OSError:  # nobody reads it, or the write failed: the exit code still tells
            drop(1)
    else:
        say(message(error.message) + (f" ({message(error.remedy)})" if error.remedy else ""))
    return error.exit_code
