"""Command lines: options, values and paths of every command.

Nothing is measured with a number that was made up: ``--processes 65536`` is a valid wish. A
model that exists comes with values that are harmless or refused; the others with any.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
from pathlib import Path
from typing import Any

from tests.fuzz import hostile, profile_files
from tests.fuzz.engine import OLD, Case

NAME = "command-line"
REFUSALS = ("--help'", "no command given")
#: Those that measure start other interpreters, on a machine that may be busy.
LIMIT_S = 30.0
OUTPUTS_BY_NAME = False

_SAMPLE = Path(__file__).parents[2] / "profiles" / "sample.h5"
_MEASURING = ("profile", "ab")
_models: dict[str, Path] = {}
_options: dict[str, list[argparse.Action]] = {}

BASES = (
    "profile",
    "show",
    "show",
    "ops",
    "ops",
    "compare",
    "compare",
    "history",
    "trace",
    "trace",
    "export",
    "export",
    "report",
    "report",
    "recover",
    "models",
    "models",
    "complete",
    "ab",
)


def load(folder: Path) -> None:
    """The parser's own options, and a model."""
    from harness.commands.command_line import command_line
    from harness.models.catalogue import write

    profile_files.import_commands()
    write("mlp", folder / "mlp.onnx", 0)
    _models["mlp"] = folder / "mlp.onnx"
    for action in command_line()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, parser in action.choices.items():
                _options[name] = [
                    each
                    for each in parser._actions
                    if each.option_strings and not isinstance(each, argparse._HelpAction)
                ]


_PATHS = (
    "input.h5",
    "input.h5",
    "base.h5",
    "missing.h5",
    "folder",
    ".run.h5.partial",
    "fifo",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/etc/passwd",
    "empty",
    "",
    ".",
    "..",
    "/",
    "a" * 300,
    "b/" * 2500,
    "o\udcff.h5",
    "esc\x1b[31m.h5",
    "new\nline.h5",
    "nul\0.h5",
    "dangling",
    "loop",
    "-",
    "~",
    "input.h5/x",
)
_OUTPUTS = ("out.html", "out.json", "out.csv", "out.pftrace", "out.jsonl", "out.h5", "out.json.gz")
_NUMBERS = (
    "0",
    "1",
    "-1",
    "2",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "9" * 30,
    "9" * 5000,
    "0x10",
    "1_000",
    "٣",
    "",
    " 1",
    "1 2",
    "--",
    "2147483648",
    "9223372036854775808",
)
_PAIRS = (
    "x=1",
    "=",
    "x=",
    "=1",
    "x",
    "x=-1",
    "x=0",
    "x=99999999999999999999",
    "x=1x2",
    "x=axb",
    "x=" + "1x" * 200 + "1",
    "\udcff=1",
    "x=\udcff",
    "\x1b[31m=1",
    "a=b=1",
    "batch=2",
    "x=missing.npy",
    "x=fifo",
    "x=folder",
    "x=/dev/zero",
    "x=input.h5",
)
#: Options of measuring commands whose values decide how long it takes, or how much memory.
_SIZES = frozenset(
    [
        "--processes",
        "--duration",
        "--budget",
        "--precision",
        "--trace-inferences",
        "--threads",
        "--inter-threads",
        "--batch",
        "--dim",
        "--shape",
        "--sample-hz",
        "--stacks",
        "--energy",
        "--seed",
    ]
)


_WRITING = ("-o", "--output", "--pyperf", "--csv", "--jsonl", "--parquet", "--stacks")


def _word(rng: random.Random) -> str:
    pools = (_PATHS, _NUMBERS, _PAIRS, hostile.TEXTS, ("none", "ort", "cuda", "all", "slower:5"))
    return rng.choice(rng.choice(pools))


def _value(rng: random.Random, action: argparse.Action) -> str:
    if rng.random() < 0.15:
        return _word(rng)
    if action.choices:
        return str(rng.choice(list(action.choices)))
    if action.type is Path:
        return rng.choice(rng.choice((_PATHS, _OUTPUTS)))
    if action.type in (int, float):
        plain = ("1", "2", "5", "20") if action.type is int else ("0.5", "1", "2.5")
        return rng.choice(rng.choice((_NUMBERS, plain, plain)))
    return rng.choice(_PAIRS) if action.default == [] else _word(rng)


def _replace_word(rng: random.Random, words: list[str], options: Any) -> None:
    if len(words) > 1:
        words[rng.randrange(1, len(words))] = _word(rng)


def _add_word(rng: random.Random, words: list[str], options: Any) -> None:
    words.insert(rng.randrange(1, len(words) + 1), _word(rng))


def _add_option(rng: random.Random, words: list[str], options: list[argparse.Action]) -> None:
    if not options:
        return
    action = rng.choice(options)
    name = rng.choice(action.option_strings)
    if action.nargs == 0:
        words.append(name)
    elif rng.random() < 0.5 and name.startswith("--"):
        words.append(f"{name}={_value(rng, action)}")
    else:
        words += [name, _value(rng, action)]


def _double_dash(rng: random.Random, words: list[str], options: list[argparse.Action]) -> None:
    names = [each.option_strings[-1] for each in options if each.nargs != 0]
    if names:
        words.append(f"{rng.choice(names)}=--")


def _drop_word(rng: random.Random, words: list[str], options: Any) -> None:
    if len(words) > 2:
        del words[rng.randrange(1, len(words))]


def _path(rng: random.Random, words: list[str], options: Any) -> None:
    at = [n for n, word in enumerate(words) if word in ("input.h5", ".run.h5.partial", "base.h5")]
    if at:
        words[rng.choice(at)] = rng.choice(_PATHS)


MUTATIONS: dict[str, Any] = {
    "replace word": _replace_word,
    "add word": _add_word,
    "add option": _add_option,
    "more options": _add_option,
    "option =--": _double_dash,
    "drop word": _drop_word,
    "path": _path,
    "another path": _path,
}

_STARTS: dict[str, tuple[str, ...]] = {
    "profile": ("profile missing.onnx -o out.h5", "profile MLP QUICK -o out.h5"),
    "show": ("show input.h5",),
    "ops": ("ops input.h5", "ops input.h5 --csv"),
    "compare": ("compare base.h5 input.h5",),
    "history": ("history base.h5 input.h5", "history . -o out.html --bencher out.json"),
    "trace": ("trace input.h5 -o out.json", "trace input.h5 -o out.pftrace --force"),
    "export": ("export input.h5 --csv out.csv", "export input.h5 --jsonl out.jsonl --force"),
    "report": ("report input.h5 -o out.html", "report input.h5 -o out.html --force"),
    "recover": ("recover .run.h5.partial -o out.h5",),
    "models": ("models mlp -o out.onnx", "models"),
    "complete": ("complete bash",),
    "ab": ("ab --a missing.onnx --b missing.onnx", "ab --a 'x --quick --b y' --b x"),
}
_QUICK = ["--quick", "--processes", "1", "--duration", "0.01", "--trace", "none"]


def command(rng: random.Random, case: Case) -> list[str]:
    """The words, mutated."""
    starts = _STARTS[case.base]
    start = starts[-1] if len(starts) > 1 and rng.random() < 0.3 else starts[0]
    words: list[str] = []
    for word in start.split():
        words += _QUICK if word == "QUICK" else [str(_models["mlp"]) if word == "MLP" else word]
    real = str(_models["mlp"]) in words
    options = _options.get(case.base, [])
    if real:
        options = [each for each in options if not _SIZES & set(each.option_strings)]
    for name, seed in case.mutations:
        if real and name in ("replace word", "drop word"):
            continue
        MUTATIONS[name](random.Random(seed), words, options)
    # A pipe that nobody reads from keeps whoever writes to it waiting, as it should.
    for at, word in enumerate(words):
        option, _, value = word.rpartition("=")
        if value == "fifo" and (option or words[at - 1]) in _WRITING:
            words[at] = word.replace("fifo", "/dev/null")
    # What is no word of a command line, and what reads from the terminal or measures for long.
    words = [word.replace("\0", "") for word in words]
    if real and any(
        word.partition("=")[0] in _SIZES - {"--processes", "--duration"} for word in words
    ):
        return ["profile", "missing.onnx", *words[2:]]
    return words


def make(case: Case, folder: Path) -> None:
    """Files that the paths name: good, foreign, special and missing ones."""
    shutil.copy(_SAMPLE, folder / "input.h5")
    shutil.copy(_SAMPLE, folder / "base.h5")
    (folder / "folder").mkdir()
    (folder / ".run.h5.partial").mkdir()
    (folder / "empty").touch()
    os.mkfifo(folder / "fifo")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    if "--force" in command(random.Random(case.command), case):
        for output in _OUTPUTS:
            (folder / output).write_bytes(OLD)


def attempt(words: list[str]) -> int:
    """Tries it."""
    from harness.commands.command_line import main

    return main(words)
