"""``harness compare``, as a user types it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from tests.integration.fork_server import execute
from tests.integration.terminal import on_terminal

if TYPE_CHECKING:
    from tests.integration.command import Harness, Recorded

pytest.importorskip("harness.native.ort", reason="the native module is not built")


@pytest.fixture(scope="module")
def unfused(tmp_path_factory: pytest.TempPathFactory, surroundings: dict[str, str]) -> Path:
    """The same model as recorded, with activations that the optimiser did not fuse."""
    folder = tmp_path_factory.mktemp("unfused")
    outcome = execute(
        *("profile", "mlp", "--quick", "--processes", "2", "--duration", "0.1"),
        *("--optimization", "basic", "-o", "basic.h5", "--quiet"),
        folder=folder,
        environment=surroundings,
    )
    assert outcome.returncode == 0, outcome.stderr
    return folder / "basic.h5"


#: What the machine told beside a process that waited for no CPU, whatever else ran on it.
CALM = (1_000_000_000, 0)


def noise(wall_ns: int, waited_ns: int) -> tuple[Any, ...]:
    from harness.records import Reading

    return Reading("wall_ns", wall_ns, "ns"), Reading("cpu_wait_ns", waited_ns, "ns")


@pytest.fixture(scope="module")
def pair(
    recorded: Recorded, unfused: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Both, as if the machine had been quiet: on a busy one nothing is decided."""
    from harness.storage.profile_file import read_profile, write_profile

    folder = tmp_path_factory.mktemp("pair")
    files = []
    for file in (recorded.file, unfused):
        profile = read_profile(file)
        processes = tuple(
            dataclasses.replace(each, noise=noise(*CALM)) for each in profile.processes
        )
        files.append(folder / file.name)
        write_profile(dataclasses.replace(profile, processes=processes), files[-1])
    return files[0], files[1]


@pytest.fixture(scope="module")
def made(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of ten processes each, one half as slow again as the first and one of these measured
    on a busy machine, and a file of one process.
    """
    from harness.records import LatencySeries
    from harness.storage.profile_file import read_profile, write_profile

    folder = tmp_path_factory.mktemp("made")
    profile = read_profile(recorded.file)
    one = profile.processes[0]
    files = {}
    calm, busy = noise(*CALM), noise(1_000_000_000, 500_000_000)
    for name, factor, count, told in (
        ("base", 1.0, 10, calm),
        ("slow", 1.5, 10, calm),
        ("close", 1.02, 10, calm),  # less than what lies between two occasions
        ("single", 1.1, 1, calm),
        ("busy", 1.5, 10, busy),
    ):
        processes = []
        for index in range(count):
            samples = np.arange(5000, 5200) * factor * (1 + 0.001 * (index % 3))
            duration_ns = samples.astype(np.int64)
            start_ns = int(one.steady.start_ns[0]) + np.cumsum(duration_ns)
            processes.append(
                dataclasses.replace(
                    one,
                    index=index,
                    pid=int(1000 * factor) + index,
                    steady=LatencySeries(start_ns, duration_ns),
                    loops=1,
                    noise=told,
                )
            )
        changed = dataclasses.replace(profile, processes=tuple(processes), traces={}, devices=())
        files[name] = folder / f"{name}.h5"
        write_profile(changed, files[name])
    return files


def test_operators_match_although_the_optimiser_fused_differently(
    harness: Harness, pair: tuple[Path, Path]
) -> None:
    outcome = harness("compare", *pair)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert lines[0] == "candidate basic.h5 against mlp.h5"
    assert any(re.fullmatch(r" +changed +session --optimization: all → basic", x) for x in lines)
    assert "--quick: not comparison-grade" in outcome.stdout
    assert sum("FusedGemm → Gemm+Relu" in line for line in lines) == 2


def test_json_is_one_object_with_all_operators(harness: Harness, pair: tuple[Path, Path]) -> None:
    outcome = harness("compare", *pair, "--json", "--limit", "1")
    told = json.loads(outcome.stdout)
    assert list(told)[:3] == ["verdict", "ratio", "interval"]
    assert told["verdict"] in ("FASTER", "SLOWER", "SAME", "UNDECIDED")
    assert [one["how"] for one in told["operators"]].count("fused") == 2
    assert len(told["operators"]) == 3
    for side, column in (("base", "base_ns"), ("candidate", "candidate_ns")):
        account = told["accounts"][side]
        parts = account["matched_ns"] + account["unmatched_ns"] + account["rest_ns"]
        assert parts == pytest.approx(account["latency_ns"])
        own = sum(one[column] or 0 for one in told["operators"])
        assert own == pytest.approx(account["matched_ns"] + account["unmatched_ns"])


def test_fits_a_terminal_and_respects_no_color(
    recorded: Recorded, unfused: Path, made: dict[str, Path], surroundings: dict[str, str]
) -> None:
    shown = on_terminal("compare", recorded.file, unfused, environment=surroundings)
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in shown.splitlines()) <= 80
    colour = re.compile(r"\x1b\[(\d+;)*(3|4|9|10)\d")
    arguments = ("compare", made["base"], made["slow"])
    assert colour.search(on_terminal(*arguments, environment=surroundings))
    assert not colour.search(on_terminal(*arguments, environment=surroundings, NO_COLOR="1"))


def test_a_pipe_gets_whole_lines_without_colour(harness: Harness, made: dict[str, Path]) -> None:
    outcome = harness("compare", made["base"], made["slow"])
    assert "\x1b" not in outcome.stdout
    # Half as slow again, less what the samples rise by within a look of equal length.
    assert re.search(r"^SLOWER: .* \+4[89]\.\d% \(\+\d", outcome.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("candidate", "fail_on", "code"),
    [
        ("slow", "slower", 4),
        ("slow", "slower:20", 4),
        ("slow", "slower:20%", 4),
        ("slow", "slower:80", 0),
        ("single", "slower", 5),
        ("busy", "slower", 5),
        ("close", "slower", 5),
        ("close", "slower:30", 0),
        ("slow", "slower:50", 5),
        ("slow", "slower:20@0.99", 4),
        ("slow", "slower:48.7@0.9", 5),
        ("close", "slower:30@0.99", 0),
        ("busy", "slower:2@0.9", 5),
    ],
)
def test_fail_on_tells_by_the_exit_code(
    harness: Harness, made: dict[str, Path], candidate: str, fail_on: str, code: int
) -> None:
    outcome = harness("compare", made["base"], made[candidate], "--fail-on", fail_on, "--json")
    assert outcome.returncode == code, outcome.stderr
    assert json.loads(outcome.stdout)["verdict"]
    if code == 5:
        assert "--fail-on cannot judge" in outcome.stderr


def test_faster_does_not_trip(harness: Harness, made: dict[str, Path]) -> None:
    outcome = harness("compare", made["slow"], made["base"], "--fail-on", "slower")
    assert outcome.returncode == 0
    assert "FASTER: " in outcome.stdout


def test_one_process_is_not_comparable(harness: Harness, made: dict[str, Path]) -> None:
    outcome = harness("compare", made["base"], made["single"])
    assert outcome.returncode == 0
    assert "NOT COMPARABLE" in outcome.stdout
    assert "the candidate has one process" in outcome.stdout
    assert "%" not in outcome.stdout.partition("NOT COMPARABLE")[2]


def test_more_than_two_files(harness: Harness, made: dict[str, Path]) -> None:
    outcome = harness("compare", made["base"], made["slow"], made["single"], "--json")
    told = json.loads(outcome.stdout)
    assert told["verdict"] == "SLOWER"
    assert [one["verdict"] for one in told["others"]] == ["NOT_COMPARABLE"]


def test_an_interrupted_profile_is_said(
    harness: Harness, made: dict[str, Path], tmp_path: Path
) -> None:
    from harness.storage.profile_file import read_profile, write_profile

    cut = dataclasses.replace(read_profile(made["slow"]), complete=False)
    write_profile(cut, tmp_path / "cut.h5")
    outcome = harness("compare", made["base"], tmp_path / "cut.h5")
    assert "the candidate was interrupted: it has only 10 processes" in outcome.stdout


def test_files_that_cannot_be_read(harness: Harness, made: dict[str, Path], tmp_path: Path) -> None:
    future = tmp_path / "future.h5"
    shutil.copy(made["slow"], future)
    with h5py.File(future, "r+") as file:
        file.attrs["format_version"] = 99
    torn = tmp_path / "torn.h5"
    torn.write_bytes(made["slow"].read_bytes()[:4000])
    for file, says in ((future, "format version 99"), (torn, "torn.h5"), ("no.h5", "no such file")):
        outcome = harness("compare", made["base"], file)
        assert (outcome.returncode, outcome.stdout) == (2, "")
        assert says in outcome.stderr
        assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.h5"], "a comparison needs at least two profiles"),
        (["a.h5", "b.h5", "--fail-on", "faster"], "--fail-on faster: not known"),
        (["a.h5", "b.h5", "--fail-on", "slower:much"], "--fail-on slower:much: not known"),
        (["a.h5", "b.h5", "--margin", "0"], "--margin 0: must be at least"),
        (["a.h5", "b.h5", "--margin", "1e-323"], "must be at least"),
        (["a.h5", "b.h5", "--fail-on", "slower:1_0"], "--fail-on slower:1_0: not known"),
        (["a.h5", "b.h5", "--limit", "-1"], "--limit must not be negative"),
    ],
)
def test_wrong_requests(harness: Harness, arguments: list[str], says: str) -> None:
    outcome = harness("compare", *arguments)
    assert outcome.returncode == 2
    assert says in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize("given", ["slower:2@0.3", "slower:2@1", "slower:2@often", "faster"])
def test_a_limit_that_makes_no_sense_is_refused(
    harness: Harness, made: dict[str, Path], given: str
) -> None:
    outcome = harness("compare", made["base"], made["slow"], "--fail-on", given)
    assert outcome.returncode == 2
    assert "slower:2@0.99" in outcome.stderr


def moved(file: Path, target: Path, factor: float, minute: int) -> Path:
    """The profile as if taken on another occasion, and slower by this factor."""
    from harness.records import LatencySeries
    from harness.storage.profile_file import read_profile, write_profile

    profile = read_profile(file)
    processes = tuple(
        dataclasses.replace(
            one,
            pid=one.pid + 5000 * minute,
            steady=LatencySeries(
                one.steady.start_ns, np.round(one.steady.duration_ns * factor).astype(np.int64)
            ),
        )
        for one in profile.processes
    )
    created = f"2026-01-01T00:{minute:02}:00+00:00"
    write_profile(dataclasses.replace(profile, processes=processes, created=created), target)
    return target


def test_other_profiles_beside_the_base_tell_how_much_occasions_differ(
    harness: Harness, made: dict[str, Path], tmp_path: Path
) -> None:
    base = moved(made["base"], tmp_path / "base.h5", 1.0, 0)
    slow = moved(made["base"], tmp_path / "slow.h5", 1.02, 30)
    for minute in range(1, 11):
        moved(made["base"], tmp_path / f"day{minute}.h5", 1 + 0.0002 * minute, minute)
    (tmp_path / "notes.h5").write_text("no profile")
    (tmp_path / "copy.h5").write_bytes(slow.read_bytes())
    told = json.loads(harness("compare", base, slow, "--json").stdout)
    files = {Path(file).name for file in told["history"]["files"]}
    assert files == {f"day{minute}.h5" for minute in range(1, 11)}, "neither side, nor its copy"
    assert "10 other profiles of the same thing beside the base" in told["history"]["reason"]
    assert "between 10 occasions of yours" in told["reason"]
    assert told["verdict"] == "SLOWER"
    assert told["probability"]["slower"] > 0.9
    page = harness("report", base, slow, "-o", tmp_path / "page.html")
    assert page.returncode == 0
    assert "SLOWER" in (tmp_path / "page.html").read_text()
    alone = json.loads(harness("compare", base, slow, "--json", "--no-history").stdout)
    assert (alone["verdict"], alone["history"]["files"]) == ("UNDECIDED", [])
    (tmp_path / "else").mkdir()
    elsewhere = shutil.copy(base, tmp_path / "else" / "base.h5")
    named = harness("compare", elsewhere, slow, "--history", tmp_path, "--json")
    assert len(json.loads(named.stdout)["history"]["files"]) == 10
    wrong = harness("compare", base, slow, "--history", tmp_path / "nowhere")
    assert (wrong.returncode, "no such folder" in wrong.stderr) == (2, True)


def test_damage_in_a_file_that_nobody_named_costs_only_that_file(
    harness: Harness, made: dict[str, Path], tmp_path: Path
) -> None:
    from harness.records import LatencySeries
    from harness.storage.columns import CHUNK_ROWS
    from harness.storage.profile_file import read_profile, write_profile

    base = moved(made["base"], tmp_path / "base.h5", 1.0, 0)
    other = moved(made["base"], tmp_path / "other.h5", 1.001, 1)
    profile = read_profile(made["base"])
    rows = CHUNK_ROWS + 1  # damage in such columns is met when they are used
    series = LatencySeries(np.arange(rows) * 6000, np.full(rows, 5000))
    processes = tuple(
        dataclasses.replace(one, steady=series, pid=9_000 + one.index) for one in profile.processes
    )
    changed = dataclasses.replace(profile, processes=processes, created="2026-01-03T00:00:00+00:00")
    damaged = tmp_path / "damaged.h5"
    write_profile(changed, damaged)
    assert harness("list", tmp_path).stdout.count("damaged.h5") == 1
    for column in ("duration_ns", "start_ns"):
        with h5py.File(damaged, "r+") as file:
            file[f"processes/001/latency/{column}"][-1] = -7
        outcome = harness("compare", base, other, "--json")
        assert (outcome.returncode, outcome.stderr) == (0, "")
        assert json.loads(outcome.stdout)["history"]["files"] == []


def test_several_profiles_a_side(harness: Harness, made: dict[str, Path], tmp_path: Path) -> None:
    sides = [
        [moved(made["base"], tmp_path / f"{name}{k}.h5", factor + 0.001 * k, 10 * at + k)
         for k in range(3)]
        for at, (name, factor) in enumerate((("a", 1.0), ("b", 1.02)))
    ]  # fmt: skip
    outcome = harness("compare", *sides[0], "--against", *sides[1])
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("  base  ") == outcome.stdout.count("  candidate  ") == 3
    assert "between 6 occasions of yours" in outcome.stdout
    assert re.search(r"^SLOWER", outcome.stdout, re.MULTILINE)
