"""A short seeded run of every fuzzer, and that the engine sees each way to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import known
from tests.fuzz.__main__ import SHORT

REPOSITORY = Path(__file__).parents[2]
READERS = [name for name, count in SHORT.items() if count]

#: A reader whose mutations are the ways to fail, one each.
FAILING = """
import os, random, sys, time, types
from pathlib import Path
from tests.fuzz import engine

engine.LIMIT_BYTES = 200 << 20

def attempt(words):
    from harness.analysis import noise
    for word in words[1:]:
        if word == "traceback": noise.collect_nothing
        if word == "signal": os.kill(os.getpid(), 11)
        if word == "exit": return 1
        if word == "time": time.sleep(60)
        if word == "memory": taken = b"x" * (300 << 20); time.sleep(60)
        if word == "control": print("\\x1b[31m")
        if word == "forged": print("harness: one\\nharness: two", file=sys.stderr)
        if word == "endless": print("x" * 5000, file=sys.stderr)
        if word == "half": Path("out.html").write_text("<html>")
        if word == "--json": print('{"x": NaN}')
        if word == "behind": Path(".7.out.csv").write_text("")
        if word == "refused": print("not mine", file=sys.stderr); return 2
    return 0

ways = ["traceback", "signal", "exit", "time", "memory", "control", "forged", "endless", "half"]
ways += ["--json", "behind", "refused", "nothing"]
reader = types.SimpleNamespace(
    NAME="ways", BASES=("base",), MUTATIONS=dict.fromkeys(ways), REFUSALS=("not mine",), LIMIT_S=3,
    OUTPUTS_BY_NAME=True, load=lambda folder: None, make=lambda case, folder: None, attempt=attempt,
    command=lambda rng, case: ["ways", *(name for name, _ in case.mutations)],
)
"""


def execute(code: str) -> Any:
    finished = subprocess.run(
        [sys.executable, "-c", FAILING + code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_every_way_to_fail_is_seen_and_nothing_else() -> None:
    seen = execute(
        "import json\n"
        "found = [engine.attempt(reader, engine.Case('base', ((way, 0),), 0)) for way in ways]\n"
        "print(json.dumps([[failure and failure.kind, deep] for failure, deep in found]))"
    )
    assert seen == [
        ["traceback", True],
        ["signal", True],
        ["exit 1", True],
        ["time", True],
        ["memory", True],
        ["control bytes", True],
        ["forged line", True],
        ["endless line", True],
        ["half a file", True],
        ["no JSON", True],
        ["left behind", True],
        [None, False],
        [None, True],
    ]


def test_a_failing_input_is_made_small_and_a_run_can_be_resumed(tmp_path: Path) -> None:
    two, five = execute(
        f"import json\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"names = ['traceback', 'exit', 'nothing']\n"
        f"reader.MUTATIONS = dict.fromkeys(names)\n"
        f"def run(tally, count):\n"
        f"    return engine.run(reader, tally, folder, seconds=60, count=count, processes=2)\n"
        f"run(engine.Tally(5), 8)\n"
        f"resumed = run(engine.load(folder), 18).failures\n"
        f"whole = run(engine.Tally(5), 18).failures\n"
        f"print(json.dumps([resumed, whole]))"
    )
    counts = {key: (each["count"], each["first"]) for key, each in two.items()}
    assert counts == {key: (each["count"], each["first"]) for key, each in five.items()}
    assert len(counts) == 2
    for each in two.values():
        assert len(each["case"][1]) == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "exit-1-ways",
        "traceback-AttributeError-ways",
    ]


def fuzz(readers: Sequence[str], folder: Path, *options: object) -> None:
    """Fuzzes them with a seed of its own; one run begins with the inputs of a shorter one."""
    command = ["tests.fuzz", *readers, *options, "--seed", 13, "--into", folder]
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *map(str, command)],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode in (0, 1), finished.stderr
    assert "Traceback" not in finished.stderr, finished.stderr


def require_no_unknown_failure(folder: Path, reader: str, count: int) -> None:
    state = json.loads((folder / reader / "state.json").read_text())
    assert state["tried"] == count
    assert state["deep"] >= state["tried"] / 2
    reasons = {key: known.reason(reader, key) for key in state["failures"]}
    assert [state["failures"][key] for key, reason in reasons.items() if reason is None] == []
    if reasons:
        pytest.xfail("; ".join(sorted({str(reason) for reason in reasons.values()})))


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    fuzz(READERS, folder, "--short")
    return folder


@pytest.mark.parametrize("reader", READERS)
def test_a_short_run_finds_no_failure_that_is_not_known(short_run: Path, reader: str) -> None:
    require_no_unknown_failure(short_run, reader, SHORT[reader])


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_run_of_more_inputs_finds_no_failure_that_is_not_known(
    tmp_path: Path, reader: str
) -> None:
    count = 3 * SHORT[reader]
    fuzz([reader], tmp_path, "--count", count)
    require_no_unknown_failure(tmp_path, reader, count)
