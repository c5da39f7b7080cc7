"""``export`` and ``trace``: other tools take what they write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.command import Harness, Recorded

pytest.importorskip("harness.native.ort", reason="the native module is not built")


def pyperf(*arguments: object, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyperf", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    # check ends with 1 where it finds the benchmark unstable, which these short ones may be.
    assert done.returncode == 0 or arguments[0] == "check", done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_pyperf_takes_the_file(harness: Harness, recorded: Recorded, tmp_path: Path) -> None:
    written = harness("export", recorded.file, "--pyperf", "p.json", "--json")
    assert written.returncode == 0, written.stderr
    assert json.loads(written.stdout)["written"]["pyperf"]["count"] == 2

    stats = pyperf("stats", "p.json", folder=tmp_path)
    assert "Number of run with values: 2" in stats or "Number of runs: 2" in stats
    assert "Loop iterations per value:" in stats
    assert "Mean +- std dev" in stats
    metadata = pyperf("metadata", "p.json", folder=tmp_path)
    assert "mlp" in metadata
    assert "harness_ort_version" in metadata
    assert "#" in pyperf("hist", "p.json", folder=tmp_path)
    compared = pyperf("compare_to", "p.json", "p.json", "--verbose", folder=tmp_path)
    assert "not significant" in compared.lower() or "no change" in compared.lower()
    assert pyperf("check", "p.json", folder=tmp_path)


def test_pyperf_sees_the_values_that_it_took_itself(
    harness: Harness, recorded: Recorded, tmp_path: Path
) -> None:
    """Its own median of the file lies within the range of our samples, in seconds."""
    assert harness("export", recorded.file, "--pyperf", "p.json").returncode == 0
    shown = json.loads(harness("show", recorded.file, "--json").stdout)
    (benchmark,) = json.loads((tmp_path / "p.json").read_text())["benchmarks"]
    for run in benchmark["runs"]:
        assert run["metadata"]["loops"] >= 1
        assert all(value >= shown["latency"]["min_ns"] * 1e-9 for value in run["values"])


def test_several_outputs_at_a_time(harness: Harness, recorded: Recorded, tmp_path: Path) -> None:
    written = harness("export", recorded.file, "--csv", "s.csv", "--jsonl", "p.jsonl.gz")
    assert written.returncode == 0, written.stderr
    rows = len((tmp_path / "s.csv").read_text().splitlines()) - 1
    assert f"{rows} inferences in s.csv" in written.stdout
    assert "lines in p.jsonl.gz" in written.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to export"),
        (("--stacks", "x.txt"), "holds no stacks"),
        (("--csv", "nowhere/x.csv"), "cannot be written"),
        (("--csv", "."), "is a folder"),
        (("--csv", "x", "--jsonl", "x"), "two outputs have the same file name"),
        (("--csv", "x.csv", "--stacks", "x.txt"), "holds no stacks"),
        (("--csv", "x.csv", "--jsonl", "."), "is a folder"),
    ],
)
def test_wrong_requests_are_one_line_and_leave_nothing(
    harness: Harness, recorded: Recorded, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    refused = harness("export", recorded.file, *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_name_tells_the_format_of_a_trace(
    harness: Harness, recorded: Recorded, tmp_path: Path
) -> None:
    counts = {
        name: json.loads(harness("trace", recorded.file, "-o", name, "--json").stdout)
        for name in ("t.json", "t.pftrace", "t.json.gz", "t.pftrace.gz")
    }
    assert {one["events"] for one in counts.values()} == {counts["t.json"]["events"]}
    assert counts["t.pftrace.gz"]["format"] == "perfetto"
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert {event["ph"] for event in events} <= {"X", "M", "C", "s", "f"}
    assert (tmp_path / "t.pftrace").read_bytes()[0] == 0x0A
    assert (tmp_path / "t.pftrace.gz").read_bytes()[:2] == b"\x1f\x8b"
