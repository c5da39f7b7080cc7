"""The commands that look at a profile, and the command line as such."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import onnx
import pytest

import harness as package
from harness.commands.command_line import main
from harness.records import DeviceSeries
from harness.storage.profile_file import write_profile
from tests.integration.terminal import on_terminal

if TYPE_CHECKING:
    from tests.integration.command import Harness, Recorded

pytest.importorskip("harness.native.ort", reason="the native module is not built")

GOLDEN = Path(__file__).parents[1] / "golden" / "profile_v1.h5"
COMMANDS = (
    "profile", "show", "ops", "ab", "compare", "calibrate", "list", "history", "trace", "export",
    "report", "recover", "models", "doctor", "complete",
)  # fmt: skip


def test_help_costs_nothing(surroundings: dict[str, str]) -> None:
    """--help of the whole and of each command loads nothing that takes time."""
    script = (
        "import sys\nfrom harness.commands.command_line import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as leave:\n    assert leave.code == 0\n"
        "heavy = {'numpy', 'h5py', 'onnx', 'rich', 'scipy', 'pyperf', 'msgspec'}\n"
        "heavy.add('harness.native.ort')\n"
        "print('loaded:', *sorted(heavy & set(sys.modules)))"
    )
    for arguments in (["--help"], ["--version"], ["profile", "--help"]):
        shown = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=surroundings,
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.splitlines()[-1] == "loaded:"
        assert shown.stderr == ""


def test_help_names_every_command_and_default(harness: Harness) -> None:
    shown = harness("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^    {command} +\w", shown.stdout, re.MULTILINE)
    options = harness("profile", "--help").stdout
    for default in ("default: cpu", "default: 10; 3 with --quick", "profiles/MODEL-PROVIDER"):
        assert default in options
    assert harness("--version").stdout == f"harness {package.__version__}\n"


def test_show_json_is_what_profile_printed(harness: Harness, recorded: Recorded) -> None:
    shown = json.loads(harness("show", recorded.file, "--json").stdout)
    assert shown == json.loads(recorded.outcome.stdout) | {"file": str(recorded.file)}


def test_profile_on_a_terminal_shows_a_bar_and_leaves_only_the_summary(
    tiny_model: Path, tmp_path: Path, surroundings: dict[str, str]
) -> None:
    written = on_terminal(
        *("profile", tiny_model, "--quick", "--processes", "2", "--duration", "0.02"),
        *("--trace", "none", "--output", tmp_path / "out.h5"),
        environment=surroundings,
    )
    bar, summary = written.split("tiny on cpu", 1)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", bar)
    assert re.findall(r"(\d/2) about \d+ s left", shown)[:1] == ["0/2"]
    assert "1/2 about" in shown
    assert shown.endswith("\x1b[1A\x1b[2K"), "the bar is erased"
    assert "median of 2 processes" in summary


def test_output_that_cannot_be_written_or_encoded(
    recorded: Recorded, surroundings: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "harness", "show", recorded.file]
    with Path("/dev/full").open("w") as full:
        failed = subprocess.run(
            command, env=surroundings, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert failed.returncode == 3
    assert failed.stderr.count(b"\n") == 1
    ascii_only = subprocess.run(
        command,
        env={**surroundings, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert rb"\xb5s median of 2 processes" in ascii_only.stdout


def test_show_tells_throughput_and_memory(harness: Harness, recorded: Recorded) -> None:
    shown = json.loads(harness("show", recorded.file, "--json").stdout)
    throughput, memory = shown["throughput"], shown["memory"]
    assert throughput["items_per_inference"] == 1
    assert throughput["items_per_s"] == throughput["inferences_per_s"] > 0
    low, high = throughput["interval_items_per_s"]
    assert low < throughput["items_per_s"] < high
    assert throughput["instances"] is None
    assert memory["weights_bytes"] == 4 * 5018
    assert 0 < memory["arena_bytes"] < memory["peak_bytes"]
    assert memory["largest"][0]["node"] == "fused fc1/Gemm"
    assert memory["largest"][0]["bytes"] == 4 * 48
    text = harness("show", recorded.file).stdout
    assert "  throughput " in text
    assert "  memory     peak of the worker " in text
    assert "largest tensors fc1/Gemm +1 192 B" in text


def test_ops_in_every_form_tells_the_same(harness: Harness, recorded: Recorded) -> None:
    def operators(*options: object) -> list[dict[str, object]]:
        report = json.loads(harness("ops", recorded.file, "--json", *options).stdout)
        rows: list[dict[str, object]] = report["operators"]
        return rows

    nodes = operators()
    assert {row["op_type"] for row in nodes} == {"FusedGemm", "Gemm"}
    medians = [row["median_ns"] for row in nodes]
    assert medians == sorted(medians, reverse=True)
    assert sum(row["share"] for row in nodes) == pytest.approx(1)
    assert sorted(nodes, key=lambda row: str(row["label"])) == operators("--sort", "name")
    sources = {row["node"]: row["sources"] for row in nodes}
    assert sources == {
        "fused fc1/Gemm": ["fc1/Gemm", "fc1/Relu"],
        "fused fc2/Gemm": ["fc2/Gemm", "fc2/Relu"],
        "fc3/Gemm": ["fc3/Gemm"],
    }
    by_name = [row["sources"][0] for row in operators("--sort", "name")]  # type: ignore[index]
    assert by_name == ["fc1/Gemm", "fc2/Gemm", "fc3/Gemm"]

    by_type = {row["op_type"]: row for row in operators("--by", "op")}
    for op_type, row in by_type.items():
        members = [node for node in nodes if node["op_type"] == op_type]
        assert row["node"] == f"{len(members)} node{'s' if len(members) != 1 else ''}"
        assert row["calls"] == sum(node["calls"] for node in members)

    table = list(csv.DictReader(io.StringIO(harness("ops", recorded.file, "--csv").stdout)))
    assert [row["node"] for row in table] == [row["node"] for row in nodes]
    assert [float(row["median_ns"]) for row in table] == [row["median_ns"] for row in nodes]

    text = harness("ops", recorded.file, "--limit", 1).stdout.splitlines()
    assert text[0].split()[-1] == "node"
    named = {"fused fc1/Gemm": "fc1/Gemm +1  [fused fc1/Gemm]"}
    named |= {"fused fc2/Gemm": "fc2/Gemm +1  [fused fc2/Gemm]", "fc3/Gemm": "fc3/Gemm"}
    assert text[1].endswith(f" {named[nodes[0]['node']]}")
    assert text[2] == f"{len(nodes) - 1} more: --limit 0 shows all"
    assert operators("--limit", 1) == nodes[:1]
    assert operators("--limit", 0) == nodes
    assert len(harness("ops", recorded.file, "--csv", "--limit", 2).stdout.splitlines()) == 3


def test_accounts_close_whatever_the_times_come_from(harness: Harness, recorded: Recorded) -> None:
    printed = json.loads(recorded.outcome.stdout)
    for source in ("probe", "ort"):
        report = json.loads(harness("ops", recorded.file, "--json", "--source", source).stdout)
        accounts = report["accounts"]
        assert accounts["source"] == source
        assert accounts["inferences"] > 0
        assert accounts["nodes_ns"] > 0
        assert accounts["framework_ns"] > 0
        if source == "ort":
            # Of a process they are all that it traced; the processes' means are weighted alike.
            parts = accounts["nodes_ns"] + accounts["framework_ns"]
            assert parts == pytest.approx(accounts["traced_ns"], rel=0.25)
        assert (accounts["split_nodes"] > 0) == (source == "probe")
        assert (accounts["split_miss"] is None) == (source == "ort")
        assert accounts["clean_ns"] == pytest.approx(printed["latency"]["median_ns"])
        residual = accounts["told_ns"] / accounts["clean_ns"] - 1
        assert accounts["residual"] == pytest.approx(residual)


def test_golden_file_is_shown(harness: Harness) -> None:
    shown = harness("show", GOLDEN)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert lines[0] == "mödel on cpu"
    assert any("items per inference not recorded" in line for line in lines)
    assert (
        lines[1] == "  latency    1.22 µs median of 2 processes (their geometric mean), 400 samples"
    )
    assert "  absent     traces of process 0: truncated" in lines
    operators = harness("ops", GOLDEN, "--sort", "order", "--source", "ort").stdout.splitlines()
    assert operators[1].endswith("conv/1")
    assert operators[2].endswith("Relu #1"), "a node without a name"


def test_trace_is_json_that_names_the_nodes(
    harness: Harness, recorded: Recorded, tmp_path: Path
) -> None:
    written = harness("trace", recorded.file, "-o", "trace.json", "--json")
    assert (written.returncode, written.stderr) == (0, "")
    report = json.loads(written.stdout)
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert report["file"] == "trace.json"
    assert report["events"] > 0
    assert "fc3/Gemm" in {event.get("name") for event in trace["traceEvents"]}
    again = harness("trace", recorded.file, "-o", "trace.json")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert harness("trace", recorded.file, "-o", "none/trace.json").returncode == 2


def test_models_are_listed_and_written(harness: Harness, tmp_path: Path) -> None:
    listed = json.loads(harness("models", "--json").stdout)["models"]
    assert {model["name"] for model in listed} >= {"mlp", "resnet50", "bert-base", "tessera"}
    assert all(model["summary"] for model in listed)
    text = harness("models").stdout.splitlines()
    assert [line.split()[0] for line in text] == [model["name"] for model in listed]

    written = harness("models", "mlp", "-o", "a.onnx")
    assert (written.returncode, written.stdout) == (0, "a.onnx\n")
    onnx.checker.check_model(onnx.load(tmp_path / "a.onnx"), full_check=True)
    assert harness("models", "mlp", "-o", "a.onnx").returncode == 2
    assert harness("models", "gpt-9").returncode == 2


def test_files_that_are_no_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.h5").write_text("a letter")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    shutil.copy(GOLDEN, tmp_path / "later.h5")
    with h5py.File(tmp_path / "later.h5", "a") as file:
        file.attrs["format_version"] = 99
    shutil.copy(GOLDEN, tmp_path / "cut.h5")
    os.truncate(tmp_path / "cut.h5", GOLDEN.stat().st_size // 2)
    (tmp_path / "folder").mkdir()
    expected = {
        "none.h5": "no such file",
        "text.h5": "not an HDF5 file",
        "foreign.h5": "not a profile",
        "later.h5": "format version 99",
        "cut.h5": "damaged",
        "folder": "not the partial folder",
    }
    for name, says in expected.items():
        assert main(["show", name]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith(f"harness: {name}: ")
        assert says in line
    for arguments in (["recover", "none"], ["ops", "none.h5"], ["trace", "none.h5", "-o", "t"]):
        assert main(arguments) == 2


def test_show_refuses_to_leave_every_sample_out(
    harness: Harness, recorded: Recorded, tmp_path: Path
) -> None:
    profile = package.read_profile(recorded.file)
    steady = [process.steady for process in profile.processes]
    begins = [int(one.start_ns[0]) for one in steady]
    count = len(begins)
    mask = DeviceSeries(
        device="gpu0",
        quantity="clock_reasons_mask",
        unit="1",
        source="by hand",
        process=np.array([process.index for process in profile.processes], np.int32),
        time_ns=np.array(begins),
        value=np.full(count, 4),
        changed=np.ones(count, np.int8),
    )
    write_profile(dataclasses.replace(profile, devices=(mask,)), tmp_path / "hot.h5")
    assert "throttled" in harness("show", "hot.h5").stdout
    refused = harness("show", "hot.h5", "--exclude-throttled")
    assert refused.returncode == 2
    assert "every sample was taken while the GPU was throttled" in refused.stderr
