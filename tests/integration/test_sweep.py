"""``harness sweep``: cells of a plan in rounds, killed and gone on with, refused and failed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.storage import holders
from harness.storage import shards as partials
from harness.storage.profile_file import read_profile
from harness.study.sweeps import host_lock, state

if TYPE_CHECKING:
    from tests.integration.command import Harness

pytest.importorskip("harness.native.ort", reason="the native module is not built")

#: As short as can be.
AXES = ("--axis", "model=mlp", "--axis", "batch=1,8", "--axis", "threads=1,9999")
SHORT = ("--processes", "3", "--duration", "0.02", "--trace", "none")
SWEEP = ("sweep", *AXES, *SHORT, "-o", "results")


def shards(folder: Path) -> int:
    return len(list(folder.glob("results/.cell-*.partial/process-*.shard")))


def interrupted(folder: Path, environment: dict[str, str], number: int, after: int) -> str:
    """Starts the sweep, and sends it a signal once so many more processes have finished."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *SWEEP],
        cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    before, deadline_s = shards(folder), time.monotonic() + 120
    while shards(folder) < before + after and process.poll() is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate()[1]


def told(outcome: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(outcome.stdout)["cells"]
    return cells


def test_a_sweep_goes_on_after_kills_and_loses_and_repeats_nothing(
    harness: Harness, tmp_path: Path, surroundings: dict[str, str]
) -> None:
    interrupted(tmp_path, surroundings, signal.SIGKILL, after=1)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/.cell*/process*")}
    assert kept
    begun = told(harness(*SWEEP, "--dry-run", "--json"))
    assert [one["status"] for one in begun] == ["pending", "skipped", "pending", "skipped"]
    assert any("of 3 processes" in one["reason"] for one in begun)
    assert begun[1]["reason"] == f"9999 threads on {len(os.sched_getaffinity(0))} CPUs"

    said = interrupted(tmp_path, surroundings, signal.SIGINT, after=2)
    assert "interrupted; 0 of 4 cells done" in said
    assert "kept in results (the same command goes on)" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

    done = harness(*SWEEP, "--json")
    assert done.returncode == 0, done.stderr
    cells = told(done)
    assert [one["status"] for one in cells] == ["done", "skipped", "done", "skipped"]
    for one in cells[::2]:
        profile = read_profile(tmp_path / one["file"])
        assert (profile.complete, profile.absent) == (True, profile.absent)
        assert [process.index for process in profile.processes] == [0, 1, 2]
        assert len({len(process.steady) for process in profile.processes}) == 1
        facts = {fact.name: fact.value for fact in profile.environment}
        assert facts["sweep_cell"] == one["id"]
        assert one["items_per_s"] > 0
        assert one["id"] in one["file"]
    # By turns: neither cell's last process began before the other's first had.
    both = [read_profile(tmp_path / one["file"]).processes for one in cells[::2]]
    first, last = ([each[k].steady.start_ns[0] for each in both] for k in (0, -1))
    assert min(last) > max(first)
    assert sorted(path.suffix for path in (tmp_path / "results").iterdir()) == [".h5", ".h5"]

    # Nothing is measured again; files from elsewhere count, whatever their number.
    for path in (tmp_path / "results").glob("cell-003-*.h5"):
        path.rename(path.with_name(path.name.replace("cell-003", "cell-077")))
    again = harness(*SWEEP)
    assert again.returncode == 0
    assert "4 cells: 0 to measure, 2 done, 2 skipped" in again.stderr
    assert "2 done, 2 skipped; profiles in results" in again.stdout
    assert harness("list", "results").returncode == 0
    assert harness(*SWEEP, "--cells").stdout == "4\n"
    assert harness(*SWEEP, "--cell", "3", "--json").returncode == 0
    wrong = harness(*SWEEP, "--cell", "5")
    assert (wrong.returncode, "the plan has 4" in wrong.stderr) == (2, True)


def test_a_second_sweep_into_a_folder_is_refused_and_names_the_holder(
    harness: Harness, tmp_path: Path
) -> None:
    with state.held(tmp_path / "results"):
        refused = harness(*SWEEP)
    assert refused.returncode == 2
    assert f"results: process {os.getpid()} on " in refused.stderr
    assert "is measuring into it (wait until that has ended" in refused.stderr
    assert not list((tmp_path / "results").iterdir())


def test_sweeps_on_one_host_take_turns(
    tmp_path: Path, surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_LOCK", str(tmp_path / "lock"))
    waiting = "another cell is being measured on this host: waiting for it"
    with host_lock.alone():
        both = [
            subprocess.Popen(
                [sys.executable, "-m", "harness", "sweep", *AXES[:2], *SHORT, "-o", folder],
                cwd=tmp_path, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                # A folder of its own for temporary files, as in a job of Slurm.
                env={**surroundings, "HARNESS_LOCK": str(tmp_path / "lock"), "TMPDIR": str(own)},
            )
            for folder, own in (("a", tmp_path / "one"), ("b", tmp_path / "two"))
        ]  # fmt: skip
        for sweep in both:
            assert sweep.stderr is not None
            assert any(waiting in line for line in iter(sweep.stderr.readline, ""))
        assert not list(tmp_path.glob("?/.cell*"))
    for sweep in both:
        assert "cell 1 done" in sweep.communicate(timeout=120)[1]
        assert sweep.returncode == 0
    began_ns = [
        (process.steady.start_ns[0], folder)
        for folder in ("a", "b")
        for process in read_profile(next((tmp_path / folder).glob("*.h5"))).processes
    ]
    order = [folder for _, folder in sorted(began_ns)]
    assert order in (["a", "b"] * 3, ["b", "a"] * 3)


@pytest.fixture
def broken(tmp_path: Path, tiny_model: Path) -> Path:
    """A plan of a model that is none and of one that is."""
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07not a model")
    shutil.copy(tiny_model, tmp_path / "tiny.onnx")
    plan = tmp_path / "plan.toml"
    plan.write_text(
        "[sweep]\nprocesses = 2\nduration_s = 0.02\ntrace = 'none'\nquick = true\n"
        "[axes]\nmodel = ['broken.onnx', 'tiny.onnx']\n"
    )
    return plan


def test_a_cell_that_fails_stops_no_other_and_is_not_tried_again_unasked(
    harness: Harness, tmp_path: Path, broken: Path
) -> None:
    first = harness("sweep", broken, "-o", "results", "--json")
    assert first.returncode == 2
    assert "cell 1 failed" in first.stderr
    failed, done = told(first)
    assert (failed["status"], done["status"]) == ("failed", "done")
    assert "broken.onnx" in failed["reason"]
    assert failed["failure"]["kind"] == "model"
    assert len(list((tmp_path / "results").glob("*.failed.json"))) == 1

    second = harness("sweep", broken, "-o", "results")
    assert second.returncode == 2
    assert "0 to measure, 1 done, 1 failed" in second.stderr
    assert "failed     cell 1: " in second.stdout
    alone = harness("sweep", broken, "--cell", "1", "-o", "results", "--json")
    assert alone.returncode == 2
    assert "cell 1 failed on" in json.loads(alone.stdout)["error"]["message"]

    # Another file is another cell: its failure is none of the first's.
    shutil.copy(tmp_path / "tiny.onnx", tmp_path / "broken.onnx")
    assert told(harness("sweep", broken, "--dry-run", "-o", "results", "--json"))[0]["status"] in (
        "done",
        "skipped",
    )


@pytest.mark.parametrize(
    ("model", "most_bytes"),
    # Neither has room for the model; the second has for much else.
    [("mlp", 30_000), ("mobilenet-v2", 5_000_000)],
)
def test_a_full_disk_ends_a_sweep_and_blames_no_cell(
    python_m_harness: Harness, tmp_path: Path, broken: Path, model: str, most_bytes: int
) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    one = ("sweep", broken, "-o", "results", "--axis", f"model={model}")
    full = python_m_harness(*one, preexec_fn=small_files)
    assert full.returncode == 3, full.stderr
    assert "no room to go on" in full.stderr
    assert "0 of 1 cells done" in full.stderr
    assert not list((tmp_path / "results").glob("*.failed.json"))
    after = python_m_harness(*one, "--json")
    assert [one["status"] for one in told(after)] == ["done"]


def test_a_variant_is_made_once_and_measured_in_place_of_its_model(
    harness: Harness, tmp_path: Path
) -> None:
    axes = ("--axis", "model=mlp", "--axis", "batch=1,2", "--axis", "variant=default,fp16")
    done = harness("sweep", *axes, *SHORT[2:], "--processes", "1", "-o", "results", "--json")
    assert done.returncode == 0, done.stderr
    cells = told(done)
    assert [one["status"] for one in cells] == ["done"] * 4
    made = list((tmp_path / "results/variants").glob("*.onnx"))
    assert len(made) == 1
    digests = [read_profile(tmp_path / one["file"]).model.sha256 for one in cells]
    variants = [one["settings"].get("variant") for one in cells]
    of_variant = {digest for digest, kind in zip(digests, variants, strict=True) if kind == "fp16"}
    assert len(of_variant) == 1
    assert len(set(digests)) == 2


def test_a_folder_or_file_called_as_the_model_is_not_taken_for_it(
    harness: Harness, tmp_path: Path
) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "p.toml").write_text('[axes]\nmodel = ["mlp"]\nbatch = [1]\n')
    # Its folder is made, and changes, from turn to turn.
    own = harness("sweep", "plans/p.toml", *SHORT, "-o", "mlp", "--json")
    assert own.returncode == 0, own.stderr
    assert "dropped" not in own.stderr
    shutil.move(tmp_path / "mlp", tmp_path / "before")
    (tmp_path / "mlp").write_bytes(b"no model")
    other = harness("sweep", "plans/p.toml", *SHORT, "-o", "after", "--json")
    assert other.returncode == 0, other.stderr
    assert told(own)[0]["id"] == told(other)[0]["id"]
    models = {read_profile(path).model.sha256 for path in tmp_path.glob("*/*.h5")}
    assert len(models) == 1


def test_a_cell_that_another_command_holds_is_left_to_it_and_the_code_says_so(
    harness: Harness, tmp_path: Path
) -> None:
    given = ("sweep", "--axis", "model=mlp", "--axis", "batch=1,8", *SHORT, "-o", "results")
    first = told(harness(*given, "--dry-run", "--json"))[0]
    target = tmp_path / "results" / f"cell-001-mlp-{first['id']}.h5"
    target.parent.mkdir()
    with holders.hold(partials.lock_file(target), target):
        left = harness(*given)
    assert left.returncode == 2
    assert "cell 1 left to another command: " in left.stderr
    assert "failed" not in left.stderr
    assert "pending, left to another command" in left.stdout
    assert "2 cells: 1 done, 1 pending" in left.stdout
    assert harness(*given).returncode == 0
