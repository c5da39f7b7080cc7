"""What folders, models, files and surroundings of others do to a command: one line at most."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.records import Reading
from harness.storage.profile_file import read_profile, write_profile

if TYPE_CHECKING:
    from tests.integration.command import Harness

pytest.importorskip("harness.native.ort", reason="the native module is not built")

REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "profiles/sample.h5"

#: Options of the shortest profile there is.
SHORT = ("--quick", "--processes", "1", "--duration", "0.02", "--trace", "none", "--quiet")

#: A module that tells that it was imported.
EVIL = "open('EXECUTED', 'a').write(__name__)\nraise ImportError('not the module that was meant')\n"


def one_line(outcome: subprocess.CompletedProcess[str]) -> str:
    """The only line of an error, of which nothing can do anything to a terminal."""
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("harness: ")
    assert line.isprintable()
    assert len(line) < 3_000
    return line


# --- Folders ---------------------------------------------------------------------------


def test_no_module_of_the_current_folder_is_imported(
    python_m_harness: Harness, tmp_path: Path
) -> None:
    for name in ("msgspec", "numpy", "h5py", "rich", "typing", "json", "random", "pyperf", "onnx"):
        (tmp_path / f"{name}.py").write_text(EVIL)
    shown = python_m_harness("show", SAMPLE)
    assert (shown.returncode, shown.stderr) == (0, "")
    measured = python_m_harness("profile", "mlp", *SHORT, "--output", "out.h5")
    assert (measured.returncode, measured.stderr) == (0, "")
    assert not (tmp_path / "EXECUTED").exists()


def test_a_planted_folder_is_not_followed(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".out.h5.partial").symlink_to("elsewhere")
    outcome = harness("profile", "mlp", *SHORT, "--output", "out.h5")
    assert outcome.returncode == 2
    assert "link" in one_line(outcome)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_planted_links_are_not_written_through(harness: Harness, tmp_path: Path) -> None:
    partial = tmp_path / ".out.h5.partial"
    partial.mkdir(mode=0o700)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("kept")
    (partial / "header.shard.tmp").symlink_to("../precious/file")
    (partial / "work").symlink_to("../precious")
    outcome = harness("profile", "mlp", *SHORT, "--output", "out.h5")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert (tmp_path / "precious/file").read_text() == "kept"
    assert len(read_profile(tmp_path / "out.h5").processes) == 1


def test_a_wrong_model_leaves_no_folder_behind(harness: Harness, tmp_path: Path) -> None:
    outcome = harness("profile", "none.onnx", "--output", "new/folder/out.h5")
    assert outcome.returncode == 2
    assert not list(tmp_path.iterdir())


# --- Models ----------------------------------------------------------------------------


def model(name: str, op_type: str) -> onnx.ModelProto:
    """y = x + w."""
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    node = helper.make_node(op_type, [name, "w"], ["y"], name="node")
    graph = helper.make_graph([node], "strange", [value], [result], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_names_in_a_model_do_nothing_to_the_terminal(harness: Harness, tmp_path: Path) -> None:
    onnx.save(model("x", "\x1b[31mBlorb\nharness: forged"), tmp_path / "model.onnx")
    outcome = harness("profile", "model.onnx", *SHORT, "--output", "out.h5")
    assert outcome.returncode == 2
    assert r"\x1b[31mBlorb harness: forged" in one_line(outcome)
    onnx.save(model("\x1b]0;title\x07\nharness: x", "Add"), tmp_path / "model.onnx")
    outcome = harness("profile", "model.onnx", *SHORT[:-1], "--output", "out.h5")
    assert outcome.returncode == 0
    lines = (outcome.stdout + outcome.stderr).splitlines()
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith(r"feeding \x1b]0;title\x07 harness: x") for line in lines)


def test_inputs_are_looked_for_only_in_models_that_onnx_runtime_accepts(
    harness: Harness, tmp_path: Path
) -> None:
    """This one's axes have four values by their shape, and two by their bytes."""
    strange = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 4] x) => (float[n] y) '
        "<int64[1] axes = {1}, float[4, 1] w = {1, 1, 1, 1}>"
        "{ z = MatMul(x, w) y = ReduceSum <keepdims = 0> (z, axes) }"
    )
    axes = strange.graph.initializer[0]
    axes.ClearField("int64_data")
    axes.raw_data = bytes(16)
    axes.dims[0] = 4
    onnx.save(strange, tmp_path / "m.onnx")
    outcome = harness("profile", "m.onnx", *SHORT, "--output", "out.h5")
    assert outcome.returncode == 2
    assert "m.onnx" in one_line(outcome)


def endless(path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["ci"], ["co"]), helper.make_node("Identity", ["a"], ["ao"])],
        "body",
        [helper.make_tensor_value_info(name, kind, shape)
         for name, kind, shape in (("i", 7, []), ("ci", 9, []), ("a", 1, None))],
        [helper.make_tensor_value_info(name, kind, shape)
         for name, kind, shape in (("co", 9, []), ("ao", 1, None))],
    )  # fmt: skip
    node = helper.make_node("Loop", ["", "c", "x"], ["y"], body=body, name="loop")
    save(path, node, numpy_helper.from_array(np.bool_(True), "c"))


def greedy(path: Path) -> None:
    size = numpy_helper.from_array(np.array([2**28], np.int64), "s")
    node = helper.make_node("ConstantOfShape", ["s"], ["c"])
    total = helper.make_node("ReduceSum", ["c"], ["r"], keepdims=0)
    save(path, node, size, total, helper.make_node("Add", ["x", "r"], ["y"]))


def save(path: Path, node: onnx.NodeProto, weight: onnx.TensorProto, *more: onnx.NodeProto) -> None:
    graph = helper.make_graph(
        [node, *more],
        "strange",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


@pytest.mark.parametrize(
    ("make", "limit", "says"),
    [
        (endless, ("--timeout", "2"), "made no inference within 2 s"),
        (greedy, ("--memory-limit", "0.5"), "more than the 0.50 GB"),
    ],
)
def test_a_model_without_bounds_ends_at_the_limit(
    harness: Harness,
    tmp_path: Path,
    make: Callable[[Path], None],
    limit: tuple[str, str],
    says: str,
) -> None:
    make(tmp_path / "model.onnx")
    outcome = harness("profile", "model.onnx", *SHORT, *limit, "--output", "out.h5")
    assert outcome.returncode == 3
    line = one_line(outcome)
    assert says in line
    assert limit[0] in line
    assert not list(tmp_path.glob(".out*"))


# --- Command line, files and surroundings ----------------------------------------------


@pytest.mark.parametrize("command", [("ops", "--json"), ("ops", "--roofline"), ("show",)])
def test_ceilings_that_no_machine_has_are_not_measured(
    harness: Harness, tmp_path: Path, command: tuple[str, ...]
) -> None:
    planted = {
        "matmul_float32": 0.0, "l01_bytes": 48_000, "l١_bytes": 48_000,
        f"l{'9' * 5000}_bytes": 48_000, "l1_bytes": math.nan, "l2_bytes": -1, "copy": 0,
        "triad": math.inf,
    }  # fmt: skip
    sample = read_profile(SAMPLE)
    facts = tuple(Reading(f"ceiling_{name}", value) for name, value in planted.items())
    environment = (*(one for one in sample.environment if "ceiling" not in one.name), *facts)
    write_profile(dataclasses.replace(sample, environment=environment), tmp_path / "planted.h5")
    outcome = harness(*command, "planted.h5")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    if "--json" in command:
        rows = json.loads(outcome.stdout)["operators"]
        assert {(row["peak_share"], row["bandwidth_share"]) for row in rows if row["flops"]} == {
            (None, None)
        }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "a" * 300), "File name too long"),
        (("show", "pipe"), "a pipe or a device"),
        (("show", "/dev/zero"), "a pipe or a device"),
        (("profile", "pipe", "--quiet"), "pipe or a device"),
        (("profile", "mlp", "--output", "a" * 300), "File name too long"),
        (("profile", "mlp", "--dim=--"), "--dim: needs a value"),
        (("ops", SAMPLE, "--limit=--"), "--limit: needs a value"),
        (("ab", "--a", "mlp --batch=--", "--b", "mlp"), "--batch: needs a value"),
        (("show", "\x1b[31mred\nharness: forged"), "no such file"),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, tuple) else "",
)
def test_a_wrong_file_or_value_is_one_line(
    harness: Harness, tmp_path: Path, arguments: tuple[object, ...], says: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    outcome = harness(*arguments)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert says in one_line(outcome)


def test_names_that_are_not_utf_8_work(harness: Harness, tiny_model: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"m\xff.onnx")
    odd.write_bytes(tiny_model.read_bytes())
    target = os.fsdecode(b"o\xff.h5")
    outcome = harness("profile", odd, *SHORT, "--output", target)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert read_profile(tmp_path / target).model.path == str(odd).replace("\udcff", "\\udcff")


def test_messages_that_nobody_can_read_cost_no_measurement(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "harness", "profile", "mlp", *SHORT[:-1], "--output"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*command, "full.h5"], cwd=tmp_path, env=surroundings, stdout=subprocess.PIPE,
            stderr=full, check=False,
        )  # fmt: skip
    assert done.returncode == 0
    closed = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command, "closed.h5"]
    assert subprocess.run(closed, cwd=tmp_path, env=surroundings, check=False).returncode == 0
    for name in ("full.h5", "closed.h5"):
        assert len(read_profile(tmp_path / name).processes) == 1


def started(folder: Path, surroundings: dict[str, str], *options: str, **how: Any) -> Any:
    """A profile that takes long, whose first process has finished."""
    long = ("--quick", "--processes", "50", "--duration", "0.3", "--trace", "none")
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", "profile", "mlp", *long, "--quiet", "--output",
         "out.h5", *options],
        cwd=folder, env=surroundings, stderr=subprocess.PIPE, text=True, **how,
    )  # fmt: skip
    while not (folder / ".out.h5.partial/process-000.shard").exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    return running


def worker_of(process: int) -> int:
    """The measuring process that a command waits for."""
    while True:
        for thread in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (thread / "children").read_text().split():
                    if b"--process" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
        time.sleep(0.02)


def test_a_closed_terminal_keeps_what_has_finished(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    heard = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    with started(tmp_path, surroundings, preexec_fn=heard) as running:
        running.send_signal(signal.SIGHUP)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "kept in out.h5" in said
    assert not read_profile(tmp_path / "out.h5").complete
    assert not (tmp_path / ".out.h5.partial").exists()


def test_a_worker_that_is_killed_is_told_with_the_likely_reason(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    with started(tmp_path, surroundings) as running:
        os.kill(worker_of(running.pid), signal.SIGKILL)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 3
    assert "memory ran out" in said
    assert "kept in out.h5" in said
    assert len(read_profile(tmp_path / "out.h5").processes) >= 1


def test_a_folder_that_vanishes_meanwhile_is_one_line(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    import shutil

    with started(tmp_path, surroundings) as running:
        shutil.rmtree(tmp_path / ".out.h5.partial", ignore_errors=True)
        _, said = running.communicate(timeout=60)
    assert running.returncode in (2, 3)
    (line,) = said.splitlines()
    assert line.startswith("harness: ")
