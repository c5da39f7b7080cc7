"""The command line as argparse understands it, and what it says of a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.commands.command_line import COMMANDS, _fail, command_line, main
from harness.errors import RequestError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("compare a --fail-on slower:5 b", {"files": ["a", "b"], "fail_on": "slower:5"}),
        ("compare --limit 3 a --json b c", {"files": ["a", "b", "c"], "limit": 3, "json": True}),
        ("report a -o p.html b --force c", {"files": ["a", "b", "c"], "force": True}),
        ("models --seed 3 mlp --force", {"name": "mlp", "seed": 3}),
        ("models -o m.onnx mlp", {"name": "mlp"}),
        ("models --json", {"name": None, "json": True}),
        ("profile --quick mlp --threads 2", {"model": "mlp", "quick": True, "threads": 2}),
        ("show --json -- --odd.h5", {"file": "--odd.h5", "json": True}),
        ("compare a --limit 3 -- b", {"files": ["a", "b"], "limit": 3}),
        ("compare a --json b -- --c --json", {"files": ["a", "b", "--c", "--json"], "json": True}),
        ("compare --limit 3 -- a b", {"files": ["a", "b"], "limit": 3}),
        ("profile --quick -- -m.onnx", {"model": "-m.onnx", "quick": True}),
        ("ops --by op a --limit 3", {"file": "a", "by": "op", "limit": 3}),
        ("trace -o t.json a --force", {"file": "a", "force": True}),
        ("export --csv o.csv a --json", {"file": "a", "json": True}),
        ("recover --force part -o b.h5", {"partial": "part", "force": True}),
        ("complete bash", {"shell": "bash"}),
    ],
)
def test_options_stand_anywhere_among_the_files(words: str, expected: dict[str, object]) -> None:
    options, unknown = command_line().parse_known_args(words.split())
    assert unknown == []
    plain = {
        name: [str(one) for one in value] if isinstance(value, list) else value
        for name, value in vars(options).items()
    }
    plain = {name: str(one) if isinstance(one, Path) else one for name, one in plain.items()}
    assert {name: plain.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("compare", "the following arguments are required: FILE (see 'harness compare --help')"),
        ("compare a --limit x b", "invalid int value: 'x' (see 'harness compare --help')"),
        ("compare a --fail-on", "expected one argument (see 'harness compare --help')"),
        ("show a b", "b: one argument too many (see 'harness show --help')"),
        ("show a -- b", "b: one argument too many (see 'harness show --help')"),
        ("show a --jsn -- b", "--jsn: harness show has no such option (did you mean --json? see"),
        ("show a --jsn", "did you mean --json? see 'harness show --help')"),
        ("ops a --by none", "(see 'harness ops --help')"),
        ("trace a", "required: -o/--output (see 'harness trace --help')"),
        ("--limit= show a", "--limit=: options follow the command (see 'harness show --help' for"),
        ("profile mlp --threads=--", "--threads: needs a value (give one, see 'harness profile "),
        ("doctor x", "x: one argument too many (see 'harness doctor --help')"),
        ("doctor -- x", "x: one argument too many (see 'harness doctor --help')"),
        ("nonsense", "(see 'harness --help')"),
    ],
)
def test_what_is_wrong_with_a_command_leads_to_its_help(
    words: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert says in said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_what_a_command_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command_line().parse_known_args([command, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: harness {command} ")
    assert "SUPPRESS" not in shown


def test_an_error_in_json_is_short_whatever_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    error = RequestError("m" * 100_000, "r" * 100_000)
    assert _fail(error, as_json=True) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert 1000 < len(told["message"] + told["remedy"]) <= 2000
