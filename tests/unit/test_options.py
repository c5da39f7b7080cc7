"""One table of options: what sets which field, and how sentences name it."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import options
from harness.commands.command_line import COMMANDS, command_line
from harness.config.inputs import InputRequest
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import RequestError

CONFIGURATIONS = (ProfileConfig, SessionConfig, InputRequest)

#: Fields that no option of their own sets: what holds others, what is given without one, what
#: comes by the option of ``files``, what ``ab`` fills in.
NO_OPTION = {"model", "session", "inputs", "archives", "interleaved_with"}

PACKAGE = Path(options.__file__).parent


def all_options() -> list[tuple[str, options.Option]]:
    return [(command, one) for command, many in options.COMMANDS.items() for one in many]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_field_has_an_option_or_is_known_to_have_none(configuration: type) -> None:
    fields = {field.name for field in dataclasses.fields(configuration)}
    assert fields - NO_OPTION <= {one.name for _, one in all_options()}


def test_profile_sets_every_field_but_the_order_of_pairs() -> None:
    fields = {field.name for each in CONFIGURATIONS for field in dataclasses.fields(each)}
    profile = {one.name for one in options.COMMANDS["profile"]}
    assert fields - profile == NO_OPTION | {"order_seed"}
    assert profile - fields == {"json", "quiet"}


def test_a_name_is_typed_alike_in_every_command() -> None:
    typed: dict[str, set[str]] = {}
    for _, one in all_options():
        typed.setdefault(one.name, set()).add(one.flag)
    assert {name: flags for name, flags in typed.items() if len(flags) > 1} == {}


def test_defaults_of_profile_are_those_of_a_script() -> None:
    fields = {field.name: field for each in CONFIGURATIONS for field in dataclasses.fields(each)}
    otherwise = {"precision", "trace"}  # in percent; as a list in text
    for one in options.COMMANDS["profile"]:
        field = fields.get(one.name)
        if field is None or one.action is not None or one.name in otherwise:
            continue
        assert one.default == field.default, one.name


def test_no_command_has_an_option_that_the_table_does_not_hold() -> None:
    parsers = [action for action in command_line()._actions if action.dest == "command"]
    declared = {
        (command, flag)
        for command, parser in (parsers[0].choices or {}).items()
        for action in parser._actions
        for flag in action.option_strings
        if not isinstance(action, argparse._HelpAction)
    }
    assert declared == {(command, flag) for command, one in all_options() for flag in one.flags}
    assert options.COMMANDS.keys() <= COMMANDS.keys()


def test_fields_in_backticks_become_what_is_typed() -> None:
    said = "`intra_threads` 4: try `batch`, `stacks`=native, or see `ops roofline`"
    assert (
        options.worded(said) == "--threads 4: try --batch, --stacks=native, or see `ops --roofline`"
    )


@pytest.mark.parametrize(
    "said",
    [
        "see `nvidia-smi -L`",
        "`docker run --gpus all`",
        "`harness models`",
        "`ab` measures both sides",
        "`sudo modprobe nvidia`",
        "an attribute `axes` of `a` and `b`",
        "batch, threads and 'seed'",
    ],
)
def test_anything_else_in_backticks_stays(said: str) -> None:
    assert options.worded(said) == said


def sentences() -> Iterator[tuple[str, str]]:
    """Strings of the package that are no docstrings, with their place."""
    for path in PACKAGE.rglob("*.py"):
        if path == Path(options.__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or node in docstrings:
                continue
            if isinstance(node.value, str):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.value


def test_every_name_in_backticks_is_one_of_the_table() -> None:
    commands = {"ab"}
    found = [
        (place, name)
        for place, text in sentences()
        for name in re.findall(r"`(?:(?:ops|show) )?(\w+)`", text)
    ]
    assert len(found) > 50
    unknown = [one for one in found if one[1] not in commands and not typed(one[1])]
    assert unknown == []


def typed(name: str) -> bool:
    return options.worded(f"`{name}`").startswith("--")


def test_a_script_reads_the_field_and_a_user_the_option() -> None:
    with pytest.raises(RequestError) as caught:
        SessionConfig(intra_threads=-1)
    assert caught.value.message == "`intra_threads` -1: must not be negative"
    assert options.worded(caught.value.message) == "--threads -1: must not be negative"


def test_the_table_costs_a_command_no_start_up() -> None:
    look = "import sys, harness.options; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    ).stdout.split()
    heavy = {"numpy", "onnx", "onnxruntime", "h5py", "rich", "scipy", "harness.native"}
    assert not heavy & set(loaded)


def test_the_words_given_for_what_was_parsed_parse_to_the_same() -> None:
    words = ["profile", "net.onnx", "--dim", "n=2", "--dim", "m=3", "--session-config", "-a=1=2"]
    words += ["--no-arena", "--inter-threads", "2", "--memory-limit", "1.5", "--stacks", "native"]
    words[6:8] = ["--session-config=-a=1"]
    parsed = command_line().parse_args(words)

    given = options.given(parsed, "profile")

    assert "--batch" not in given
    assert vars(command_line().parse_args(["profile", "net.onnx", *given])) == vars(parsed)
    assert "--no-arena" not in options.given(parsed, "profile", ["no_arena"])
