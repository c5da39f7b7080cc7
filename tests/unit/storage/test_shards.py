from __future__ import annotations

import dataclasses
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ProfileFileError, RequestError
from harness.storage import assembly, profile_file, shards
from tests.builders.device_records import kernels, series, timeline

GOLDEN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "make_profile_v1.py"))


def header(planned: int = 2) -> shards.ProfileHeader:
    profile = GOLDEN["golden_profile"]()
    known = {field.name for field in dataclasses.fields(shards.ProfileHeader)}
    values = {name: getattr(profile, name) for name in known - {"planned_processes", "absent"}}
    return shards.ProfileHeader(**values, planned_processes=planned, absent=(("energy", "none"),))


def shard(index: int) -> shards.Shard:
    return shards.Shard(
        GOLDEN["process"](index),
        {"ort": GOLDEN["events"](index)},
        GOLDEN["nodes"](),
        (("stacks", "py-spy is not here"),),
    )


def test_header_and_shards_come_back_exactly(tmp_path: Path) -> None:
    folder = shards.partial_folder(tmp_path / "a.h5")
    assert folder == tmp_path / ".a.h5.partial"
    # NaN, numbers beyond int64, no nodes: all must survive.
    odd = dataclasses.replace(
        shard(1),
        process=dataclasses.replace(
            GOLDEN["process"](1), metadata={"nan": float("nan"), "big": 2**70}
        ),
        traces={},
        nodes=None,
    )
    shards.write_header(folder, header())
    shards.write_shard(folder, odd)
    shards.write_shard(folder, shard(0))
    (folder / "process-002.shard.tmp").write_bytes(b"killed while writing")

    assert repr(shards.read_header(folder)) == repr(header())
    found, damaged = shards.read_shards(folder)
    assert damaged == ()
    assert repr(found) == repr((shard(0), odd))
    assert found[0].traces["ort"].node.dtype == np.int32


def test_text_of_a_shard_is_what_the_file_of_the_profile_would_hold(tmp_path: Path) -> None:
    folder = shards.partial_folder(tmp_path / "a.h5")
    named = dataclasses.replace(header().model, name="m\udcff.onnx")
    shards.write_header(folder, dataclasses.replace(header(), model=named))
    process = dataclasses.replace(
        GOLDEN["process"](0), metadata={"k\ud800": "\udcff\0"}, log=("a\udcff", "b")
    )
    shards.write_shard(folder, dataclasses.replace(shard(0), process=process))

    found, _ = shards.read_shards(folder)
    partial = assembly.assemble(shards.read_header(folder), found, complete=True)
    profile_file.write_profile(partial, tmp_path / "a.h5", force=False)
    for profile in (partial, profile_file.read_profile(tmp_path / "a.h5")):
        assert profile.model.name == "m\\udcff.onnx"
        assert profile.processes[0].metadata == {"k\\ud800": "\\udcff\\x00"}
        assert profile.processes[0].log == ("a\\udcff", "b")


def test_devices_and_kernels_of_all_processes_are_one_series_each(tmp_path: Path) -> None:
    folder = shards.partial_folder(tmp_path / "a.h5")
    shards.write_header(folder, header())
    for index in (0, 1):
        at = 100 * index
        shards.write_shard(
            folder,
            dataclasses.replace(
                shard(index),
                devices=(
                    series("gpu0", "power_mw", [(at + 1, 5), (at + 9, 6)], process=index),
                    series("gpu0", "energy_mj", [(at + 1, 7)], process=index, double=index == 1),
                ),
                kernels=kernels(
                    ("b", 1, at + 4, 2), ("a", 0, at + 2, 1), process=index, dropped=index + 1
                ),
                timeline=timeline(
                    [("b", 1), ("a", 0)], [(at, 9, [(at + 1, 2), (at + 4, 1)])], [8], process=index
                ),
                replay=timeline([], [], [7], process=index),
            ),
        )
    found, _ = shards.read_shards(folder)
    profile = assembly.assemble(shards.read_header(folder), found, complete=True)
    power, energy = profile.devices
    assert (power.quantity, power.value.tolist()) == ("power_mw", [5, 6, 5, 6])
    assert power.process.tolist() == [0, 0, 1, 1]
    assert (energy.value.tolist(), energy.double) == ([7, 7], True)
    assert profile.kernels is not None
    assert profile.kernels.name == ("a", "b", "a", "b")
    assert profile.kernels.process.tolist() == [0, 0, 1, 1]
    assert profile.kernels.grid.shape == (4, 3)
    assert profile.kernels.dropped == 3
    assert profile.timeline is not None
    assert profile.timeline.launches.name == ("b", "a", "b", "a")
    assert profile.timeline.launches.process.tolist() == [0, 0, 1, 1]
    assert profile.timeline.inferences.recorded.tolist() == [1, 0, 1, 0]
    assert profile.timeline.times.launch.tolist() == [0, 1, 2, 3]
    assert profile.timeline.times.inference.tolist() == [0, 0, 2, 2]
    assert profile.timeline.times.start_ns.tolist() == [1, 4, 101, 104]
    assert profile.replay is not None
    assert profile.replay.inferences.process.tolist() == [0, 1]


def test_a_timeline_whose_processes_disagree_is_damage() -> None:
    times = timeline([("b", 1), ("a", 0)], [(0, 9, [(1, 2), (4, 1)])], [8])
    for launched, message in (([1, 0], "is not sorted"), ([0, 1], "of different processes")):
        launches = dataclasses.replace(times.launches, process=np.array(launched, np.int32))
        wrong = dataclasses.replace(times, launches=launches)
        with pytest.raises(ValueError, match=message):
            shards._check_timeline(wrong, frozenset({0, 1}), 2)


def test_a_guard_that_fails_in_one_process_refuses_the_probes_of_all() -> None:
    good = dataclasses.replace(
        shard(0),
        traces={name: GOLDEN["events"](0) for name in ("ort", "probe", "probe_calibration")},
    )
    bad = dataclasses.replace(shard(1), absent=(("trace/probe", "outputs differ"),))
    both = assembly.assemble(header(), [good, bad], complete=True)
    assert set(both.traces) == {"ort"}
    assert ("trace/probe", "outputs differ") in both.absent
    alone = assembly.assemble(header(1), [good], complete=True)
    assert set(alone.traces) == {"ort", "probe", "probe_calibration"}


def test_samples_are_not_abbreviated(tmp_path: Path) -> None:
    samples = np.arange(1, 100_001, dtype=np.int64) * 1_000_003
    process = GOLDEN["process"](0)
    long = dataclasses.replace(process.steady, start_ns=samples, duration_ns=samples[::-1])
    shards.write_shard(
        tmp_path, shards.Shard(dataclasses.replace(process, steady=long), {}, None, ())
    )
    (found,), _ = shards.read_shards(tmp_path)
    np.testing.assert_array_equal(found.process.steady.start_ns, samples)
    np.testing.assert_array_equal(found.process.steady.duration_ns, samples[::-1])


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / ".a.h5.partial"
    shards.write_header(folder, header())
    with pytest.raises(RequestError, match="interrupted profile") as refusal:
        shards.write_header(folder, header())
    assert f"harness recover {folder}" in refusal.value.remedy
    shards.write_shard(folder, shard(0))
    with pytest.raises(FileExistsError):
        shards.write_shard(folder, shard(0))


def test_an_event_of_no_inference_is_damage(tmp_path: Path) -> None:
    events = GOLDEN["events"](0)
    numbers = np.zeros_like(events.inference_number)  # one number for several inferences
    assert events.inference.max() > 0
    bad = dataclasses.replace(events, inference_number=numbers)
    shards.write_shard(tmp_path, dataclasses.replace(shard(0), traces={"ort": bad}))
    _, damaged = shards.read_shards(tmp_path)
    assert [name for name, _ in damaged] == [shards.file_name(0)]
    assert "no inference" in damaged[0][1]


def test_damage_is_reported_wherever_it_hits(tmp_path: Path) -> None:
    intact = shards.write_shard(tmp_path, shard(0)).read_bytes()
    path = tmp_path / "process-001.shard"
    noticed = 0
    places = range(0, len(intact), 97)
    for place in places:
        path.write_bytes(intact[:place] + bytes([intact[place] ^ 0x55]) + intact[place + 1 :])
        found, damaged = shards.read_shards(tmp_path)
        # Some bytes of a zip mean nothing (dates, local copies); those read back equal.
        assert all(repr(each) == repr(shard(0)) for each in found)
        assert len(found) + len(damaged) == 2
        noticed += len(damaged)
    assert noticed > len(places) / 2

    path.write_bytes(intact[: len(intact) // 2])
    _, damaged = shards.read_shards(tmp_path)
    assert damaged == (("process-001.shard", "BadZipFile: File is not a zip file"),)


def test_unknown_partial_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "PARTIAL_VERSION", 7)
    shards.write_header(tmp_path, header())
    monkeypatch.undo()
    with pytest.raises(ProfileFileError, match="version 7"):
        shards.read_header(tmp_path)
    with pytest.raises(ProfileFileError, match="holds no header"):
        shards.read_header(tmp_path.parent)


def test_assemble_merges_processes_by_start_time() -> None:
    first = shard(0)
    # The second process starts between the events of the first, and saw what it did not.
    late = GOLDEN["events"](0)
    late = dataclasses.replace(
        late,
        process=np.full(12, 1, np.int32),
        start_ns=late.start_ns + 2500,
        inference_process=np.full(4, 1, np.int32),
        inference_start_ns=late.inference_start_ns + 2500,
        details={"arena_bytes": late.details["arena_bytes"]},
        dropped=3,
    )
    nodes = GOLDEN["nodes"]()
    nodes = dataclasses.replace(
        nodes, provider=("other",) * 4, order=np.array([9, 9, 9, 5]), output_bytes=nodes.order + 7
    )
    second = dataclasses.replace(shard(1), traces={"ort": late}, nodes=nodes)

    profile = assembly.assemble(header(), [first, second], True)

    assert profile.complete
    assert [process.index for process in profile.processes] == [0, 1]
    events = profile.traces["ort"]
    assert len(events) == 24
    assert (np.diff(events.start_ns) > 0).all()
    assert events.process.tolist() == [0, 1] * 12
    assert events.process.dtype == np.int32
    assert events.details["peak_bytes"].tolist() == [-1] * 24
    assert events.details["arena_bytes"][:4].tolist() == [0, 0, 64, 64]
    assert events.inference_process.tolist() == [0, 1] * 4
    assert events.dropped == 3
    assert profile.nodes is not None
    assert profile.nodes.provider == ("CPUExecutionProvider",) * 3 + ("other",)
    assert profile.nodes.order.tolist() == [0, 1, 2, 5]
    assert profile.nodes.output_bytes.tolist() == [32, 32, 32, 6]
    # Both processes named the same absence; it is there once.
    assert profile.absent == (("energy", "none"), ("stacks", "py-spy is not here"))


def test_assemble_says_what_is_missing() -> None:
    nodes = GOLDEN["nodes"]()
    other_graph = dataclasses.replace(nodes, op_type=("Conv", "Relu", "If", "Add"))
    work = kernels(("gemm", 0, 4, 2), process=1)
    second = dataclasses.replace(shard(1), nodes=other_graph, kernels=work)
    profile = assembly.assemble(
        header(planned=4), [shard(0), second], False, [("process-002.shard", "BadZipFile: x")]
    )
    absent = dict(profile.absent)
    assert absent["processes"] == "2 of 4 planned had finished"
    assert absent["process-002.shard"] == "damaged: BadZipFile: x"
    assert "differs from that of process 0" in absent["traces of process 1"]
    assert profile.kernels is None
    assert set(profile.traces["ort"].process) == {0}
    assert len(profile.processes) == 2


def test_a_held_folder_is_refused_until_released(tmp_path: Path) -> None:
    with shards.hold(tmp_path), pytest.raises(RequestError, match="still running"):  # noqa: SIM117
        with shards.hold(tmp_path):
            pass
    with shards.hold(tmp_path):
        pass


WRITER = """
import runpy, sys
from pathlib import Path
from harness.storage import shards
make = runpy.run_path(sys.argv[2])
for index in range(1000):
    shard = shards.Shard(make["process"](index), {"ort": make["events"](index)}, None, ())
    shards.write_shard(Path(sys.argv[1]), shard)
    print(index, flush=True)
"""


def test_a_kill_at_any_moment_leaves_every_finished_process(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    script = Path(__file__).parents[2] / "golden" / "make_profile_v1.py"
    for attempt in range(8):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(script)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert writer.stdout is not None
        reported = [int(writer.stdout.readline())]
        time.sleep(random.uniform(0, 0.03))
        writer.send_signal(signal.SIGKILL)
        reported += [int(line) for line in writer.stdout.read().split()]
        writer.stdout.close()
        assert writer.wait() == -signal.SIGKILL

        found, damaged = shards.read_shards(folder)
        assert damaged == ()
        # One more may have been renamed and not reported yet.
        assert len(found) - len(reported) in (0, 1)
        for index, each in enumerate(found):
            assert repr(each.process) == repr(GOLDEN["process"](index))
            assert repr(each.traces["ort"]) == repr(GOLDEN["events"](index))


NO_ROOM = """
import resource, runpy, signal, sys
from pathlib import Path
from harness.storage import shards
from harness.errors import MachineError
make = runpy.run_path(sys.argv[2])
folder = Path(sys.argv[1])
shards.write_shard(folder, shards.Shard(make["process"](0), {}, None, ()))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    shards.write_shard(folder, shards.Shard(make["process"](1), {}, None, ()))
except MachineError as error:
    print(error.message, error.remedy, sep="|")
"""


def test_no_room_keeps_the_earlier_shards(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "golden" / "make_profile_v1.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", NO_ROOM, str(tmp_path), str(script)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert "File too large" in done.stdout
    assert f"harness recover {tmp_path}" in done.stdout
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["process-000.shard"]
