from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import runpy
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import xarray

from harness.commands.command_line import main
from harness.errors import ProfileFileError, RequestError
from harness.records import LatencySeries, Stacks, WallTime
from harness.storage import profile_file, shards
from tests.builders import process_records
from tests.builders.device_records import kernels, series, timeline

if TYPE_CHECKING:
    from harness.records import Profile

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests" / "golden" / "make_profile_v1.py"
GOLDEN = runpy.run_path(str(SCRIPT))
GOLDEN_FILE: Path = GOLDEN["GOLDEN"]


def content(profile: Profile) -> str:
    """Everything but where it lies; repr tells 3 from 3.0, NaN, dtypes and int bounds."""
    return repr(dataclasses.replace(profile, path=None))


def partial(target: Path, planned: int = 2, processes: tuple[int, ...] = (0, 1)) -> Path:
    """The partial folder of the golden profile with some of its processes finished."""
    profile = GOLDEN["golden_profile"]()
    fields = {field.name for field in dataclasses.fields(shards.ProfileHeader)}
    values = {name: getattr(profile, name) for name in fields - {"planned_processes"}}
    folder = shards.partial_folder(target)
    shards.write_header(folder, shards.ProfileHeader(**values, planned_processes=planned))
    for index in processes:
        name = ("probe", "ort")[index]
        traces = {name: profile.traces[name]}
        shards.write_shard(
            folder, shards.Shard(GOLDEN["process"](index), traces, GOLDEN["nodes"](), ())
        )
    return folder


def visit(file: h5py.File, kind: type) -> dict[str, Any]:
    found = {}

    def add(name: str, item: object) -> None:
        if isinstance(item, kind):
            found[name] = item

    file.visititems(add)
    return found


def test_golden_file_of_version_1_reads_as_it_was_recorded() -> None:
    profile = profile_file.read_profile(GOLDEN_FILE)
    assert profile.path == GOLDEN_FILE
    assert content(profile) == content(GOLDEN["golden_profile"]())
    with h5py.File(GOLDEN_FILE) as file:
        medians = [np.median(process.steady.duration_ns) for process in profile.processes]
        assert file["summary/latency_median_ns"][()] == np.median(medians)
        assert "latency_p99_ns" not in file["summary"]
        assert "p99 needs 500 samples" in file["summary"].attrs["latency_p99_ns_reason"]


def test_round_trip_of_what_the_golden_file_lacks(tmp_path: Path) -> None:
    profile = GOLDEN["golden_profile"]()
    events = GOLDEN["events"](0)
    empty = dataclasses.replace(
        events,
        **{
            field.name: getattr(events, field.name)[:0]
            for field in dataclasses.fields(events)
            if isinstance(getattr(events, field.name), np.ndarray)
        },
        details={},
        dropped=17,
    )
    many = [dataclasses.replace(GOLDEN["process"](1), index=index) for index in (2, 10, 1000)]
    odd = dataclasses.replace(
        profile,
        complete=False,
        processes=(*profile.processes, *many),
        nodes=None,
        traces={"ort": empty},
        inputs=(),
        environment=(dataclasses.replace(profile.output_check, value=float("nan"), reason=""),),
        absent=(),
    )
    written = profile_file.write_profile(odd, tmp_path / "odd.h5")
    assert written.path == tmp_path / "odd.h5"
    assert content(profile_file.read_profile(tmp_path / "odd.h5")) == content(odd)


def test_the_names_of_many_kernels_are_read_by_the_distinct_ones(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    names = ["ampere_s1688gemm_128x64", "sgemm_32x32", "Memcpy"]
    many = kernels(*[(names[row % 3], 0, row, 1) for row in range(70_000)])
    many = dataclasses.replace(many, kind=("kernel", "kernel", "memcpy") * 23_333 + ("kernel",))
    profile_file.write_profile(dataclasses.replace(GOLDEN["golden_profile"](), kernels=many), path)
    with h5py.File(path, "r+") as file:
        # A reader that needed the texts of all events would see these.
        file["trace/kernels/name"][...] = "not read"
        file["trace/kernels/kind"][...] = "not read"
        assert file["trace/kernels/functions/name"].asstr()[...].tolist() == names
    found = profile_file.read_profile(path).kernels
    assert found is not None
    assert (found.name, found.kind) == (many.name, many.kind)
    assert (found.name[-1], found.kind[2], found.name[1:3]) == (names[0], "memcpy", names[1:])
    with h5py.File(path, "r+") as file:  # a file from before they were stored
        del file["trace/kernels/function"], file["trace/kernels/functions"]
    found = profile_file.read_profile(path).kernels
    assert found is not None
    assert set(found.name) == {"not read"}


@pytest.mark.parametrize(
    ("row", "kinds", "said"), [(3, 3, "function"), (-1, 3, "function"), (0, 2, "kind")]
)
def test_rows_of_functions_that_there_are_not_are_damage(
    tmp_path: Path, row: int, kinds: int, said: str
) -> None:
    path = tmp_path / "p.h5"
    some = kernels(("a", 0, 1, 1), ("b", 0, 2, 1), ("c", 0, 3, 1))
    profile_file.write_profile(dataclasses.replace(GOLDEN["golden_profile"](), kernels=some), path)
    with h5py.File(path, "r+") as file:
        file["trace/kernels/function"][2] = row
        del file["trace/kernels/functions/kind"]
        texts = np.array(["kernel"] * kinds, object)
        file["trace/kernels/functions"].create_dataset(
            "kind", data=texts, dtype=h5py.string_dtype()
        )
    with pytest.raises(ProfileFileError, match=said):
        profile_file.read_profile(path)


def test_devices_and_kernels_come_back_exactly(tmp_path: Path) -> None:
    profile = dataclasses.replace(
        GOLDEN["golden_profile"](),
        devices=(
            series("gpu0", "power_instant_mw", [(5, 72_000), (15, 71_000)], unit="mW"),
            series("gpu0", "energy_mj", [], unit="mJ", double=True),
            series("cpu3", "frequency_hz", [(6, 3_700_000_000)], unit="Hz"),
        ),
        stacks=Stacks(("a;b", "é;<c>"), np.array([3, 1]), 100, native=True, failed=2),
        kernels=kernels(
            ("gemm", 1, 10, 5), ("é<&>", -1, 20, 7), unjoined_reason="one is orphaned", dropped=3
        ),
        timeline=timeline(
            [("gemm", 1), ("é<&>", -1)], [(5, 30, [(10, 5), (20, 7)])], [29, 28], process=1
        ),
        replay=timeline([], [], [14, 13], process=1),
    )
    written = profile_file.write_profile(profile, tmp_path / "a.h5")
    assert content(profile_file.read_profile(tmp_path / "a.h5")) == content(written)
    with h5py.File(tmp_path / "a.h5") as file:
        power = file["devices/gpu0/power_instant_mw"]
        assert power["value"].attrs["units"] == "mW"
        assert power.attrs["source"] == "by hand"
        assert file["trace/kernels/grid_y"][...].tolist() == [2, 2]
        assert file["timeline/launches/grid_y"][...].tolist() == [2, 2]
        assert file["timeline/inferences/recorded"][...].tolist() == [1, 0, 0]
        # Older readers take all that is in /trace for passes with nodes.
        assert "timeline" not in file["trace"]
    for group in (
        "devices/gpu0/power_instant_mw", "devices/gpu0/energy_mj", "trace/kernels",
        "timeline/launches", "timeline/inferences", "timeline/times", "replay/inferences",
        "replay/launches", "replay/times",
    ):  # fmt: skip
        with xarray.open_dataset(tmp_path / "a.h5", group=group, engine="h5netcdf") as opened:
            opened.load()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("times/launch", 2),
        ("times/launch", -1),
        ("times/inference", 2),
        ("times/duration_ns", -1),
        ("inferences/process", 7),
        ("inferences/recorded", 2),
        ("inferences/duration_ns", 0),
        ("launches/node", 99),
        ("launches/grid_x", -2),
    ],
)
@pytest.mark.parametrize("name", ["timeline", "replay"])
def test_a_timeline_that_points_nowhere_is_damage(
    tmp_path: Path, name: str, column: str, value: int
) -> None:
    times = timeline([("gemm", 1), ("relu", -1)], [(5, 30, [(10, 5), (20, 7)])], [29])
    profile = dataclasses.replace(GOLDEN["golden_profile"](), **{name: times})
    profile_file.write_profile(profile, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file[f"{name}/{column}"][0] = value
    with pytest.raises(ProfileFileError, match=column):
        profile_file.read_profile(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("launches", "inferences", "message"),
    [([1, 0], [0, 1], "is not sorted"), ([0, 1], [0, 1], "of different processes")],
)
def test_a_timeline_whose_processes_disagree_is_damage(
    tmp_path: Path, launches: list[int], inferences: list[int], message: str
) -> None:
    times = timeline([("gemm", 1), ("relu", -1)], [(5, 30, [(10, 5), (20, 7)])], [29])
    profile = dataclasses.replace(GOLDEN["golden_profile"](), timeline=times)
    profile_file.write_profile(profile, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["timeline/launches/process"][...] = launches
        file["timeline/inferences/process"][...] = inferences
    with pytest.raises(ProfileFileError, match=message):
        profile_file.read_profile(tmp_path / "a.h5")


def test_the_wall_time_is_closed_when_all_else_is_written(tmp_path: Path) -> None:
    profile = GOLDEN["golden_profile"]()
    assert profile.wall_time is None
    began_ns = time.monotonic_ns()
    held = WallTime(
        part=("request", "timed pass"),
        process=np.array([-1, 0], np.int32),
        start_ns=np.array([began_ns, began_ns + 10]),
        duration_ns=np.array([5, 7]),
        cpu_ns=np.array([4, 0]),
        began_ns=began_ns,
        ended_ns=0,
    )
    written = profile_file.write_profile(
        profile,
        tmp_path / "a.h5",
        ended=lambda: dataclasses.replace(held, ended_ns=time.monotonic_ns()),
    )
    assert written.wall_time is not None
    assert written.wall_time.ended_ns > began_ns
    assert content(profile_file.read_profile(tmp_path / "a.h5")) == content(written)
    # Written again, it is still that of the command that measured.
    again = profile_file.write_profile(written, tmp_path / "b.h5")
    assert content(again) == content(written)
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["wall_time/duration_ns"].attrs["units"] == "ns"


def test_the_loading_of_providers_is_part_of_the_cold_start_where_it_was_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = GOLDEN["golden_profile"]()
    assert {process.provider_ns for process in profile.processes} == {-1}
    timed = [dataclasses.replace(one, provider_ns=2_000_000) for one in profile.processes]
    profile_file.write_profile(
        dataclasses.replace(profile, processes=tuple(timed)), tmp_path / "timed.h5"
    )
    read = profile_file.read_profile(tmp_path / "timed.h5")
    assert [process.provider_ns for process in read.processes] == [2_000_000] * 2

    said = {}
    for path in (tmp_path / "timed.h5", GOLDEN_FILE):
        assert main(["show", str(path)]) == 0
        (said[path.stem],) = (
            line for line in capsys.readouterr().out.splitlines() if "cold start" in line
        )
        assert main(["show", str(path), "--json"]) == 0
        said[path.stem, "json"] = json.loads(capsys.readouterr().out)["cold_start"]
    assert "provider 2.00 ms, session" in said["timed"]
    assert "provider" not in said["profile_v1"]
    assert said["timed", "json"]["provider_ns"] == 2_000_000
    old = said["profile_v1", "json"]
    assert (old["provider_ns"], "not timed" in old["provider_ns_reason"]) == (None, True)
    assert old["session_ns"] > 0


def test_long_series_keep_every_sample(tmp_path: Path) -> None:
    profile = GOLDEN["golden_profile"]()
    samples = np.cumsum(np.random.default_rng(1).integers(1, 10**9, 150_000))
    steady = dataclasses.replace(profile.processes[0].steady, start_ns=samples, duration_ns=samples)
    process = dataclasses.replace(profile.processes[0], steady=steady)
    target = tmp_path / "long.h5"
    one = dataclasses.replace(profile, processes=(process,), traces={})
    profile_file.write_profile(one, target)
    read = profile_file.read_profile(target).processes[0].steady
    np.testing.assert_array_equal(read.start_ns, samples)
    with h5py.File(target) as file:
        stored = file["processes/000/latency/start_ns"]
        assert (stored.chunks, stored.compression, stored.shuffle) == ((65_536,), "gzip", True)


def test_a_profile_is_stored_where_no_thread_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = GOLDEN["golden_profile"]()
    usual = profile_file.write_profile(profile, tmp_path / "usual.h5")

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    bare = profile_file.write_profile(profile, tmp_path / "bare.h5")

    assert usual.path is not None
    assert bare.path is not None
    assert bare.path.read_bytes() == usual.path.read_bytes()


def test_text_that_hdf5_cannot_hold_is_escaped(tmp_path: Path) -> None:
    profile = GOLDEN["golden_profile"]()
    process = dataclasses.replace(profile.processes[0], log=("a\0b", "path \udcff"))
    profile_file.write_profile(
        dataclasses.replace(profile, processes=(process,), traces={}), tmp_path / "a.h5"
    )
    (read,) = profile_file.read_profile(tmp_path / "a.h5").processes
    assert read.log == ("a\\x00b", "path \\udcff")


def test_file_keeps_to_what_netcdf_readers_understand() -> None:
    with h5py.File(GOLDEN_FILE) as file:
        assert file.attrs["Conventions"].startswith("CF-")
        assert file.id.get_create_plist().get_version()[0] == 3
        for name, dataset in visit(file, h5py.Dataset).items():
            assert h5py.check_string_dtype(dataset.dtype) or dataset.dtype in (
                np.int64,
                np.int32,
                np.float64,
            ), name
            assert dataset.compression in (None, "gzip"), name
            if dataset.is_scale:
                assert dataset.id.get_storage_size() == 0
            else:
                assert "units" in dataset.attrs, name
                assert all(len(dimension) == 1 for dimension in dataset.dims), name


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_opens_every_group(engine: str) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine))
    with h5py.File(GOLDEN_FILE) as file:
        groups = list(visit(file, h5py.Group))
    assert {"processes/000/latency", "environment", "nodes", "trace/ort"} <= set(groups)
    for group in ["/", *groups]:
        with xarray.open_dataset(GOLDEN_FILE, group=group, engine=engine) as dataset:
            dataset.load()
            if group == "processes/000/latency":
                steady = GOLDEN["process"](0).steady
                assert dataset.sizes == {"sample": 200}
                assert dataset.duration_ns.dtype == np.int64
                assert dataset.duration_ns.attrs["units"] == "ns"
                np.testing.assert_array_equal(dataset.start_ns, steady.start_ns)
            if group == "nodes":
                assert list(dataset.name.values) == list(GOLDEN["nodes"]().name)


@pytest.mark.parametrize(("tool", "option"), [("ncdump", "-h"), ("h5dump", "-H")])
def test_command_line_tools_read_it(tool: str, option: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    shown = subprocess.run(
        [tool, option, str(GOLDEN_FILE)], capture_output=True, text=True, check=True
    )
    assert shown.stderr == ""
    assert "inference_duration_ns" in shown.stdout
    assert "phony" not in shown.stdout


def test_examples_of_format_md_work(tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    shutil.copy(GOLDEN_FILE, tmp_path / "profile.h5")
    text = (ROOT / "profiles" / "FORMAT.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    shown = [
        subprocess.run(
            [sys.executable, "-c", example], capture_output=True, text=True, cwd=tmp_path
        )
        for example in examples
    ]
    assert [each.stderr for each in shown] == [""] * 3
    assert "mödel [1200 1207" in shown[0].stdout
    assert shown[1].stdout == "1215.0 ns\n"
    assert "FusedConv" in shown[2].stdout


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    target.write_bytes(b"precious")
    profile = GOLDEN["golden_profile"]()
    with pytest.raises(RequestError, match="the file exists"):
        profile_file.write_profile(profile, target)
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]
    profile_file.write_profile(profile, target, force=True)
    assert content(profile_file.read_profile(target)) == content(profile)
    with pytest.raises(RequestError, match="is a folder"):
        profile_file.write_profile(profile, tmp_path, force=True)
    with pytest.raises(RequestError, match="No such file or directory"):
        profile_file.write_profile(profile, tmp_path / "none" / "a.h5")


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(ProfileFileError, match="no such file"):
        profile_file.read_profile(path)
    path.write_bytes(b"")
    with pytest.raises(ProfileFileError, match="not an HDF5 file"):
        profile_file.read_profile(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(ProfileFileError, match="not a profile"):
        profile_file.read_profile(path)
    shutil.copy(GOLDEN_FILE, path)
    with h5py.File(path, "a") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(ProfileFileError, match="format version 99"):
        profile_file.read_profile(path)


def long_profile() -> Profile:
    """The golden profile with columns longer than a chunk, whose rows differ."""
    profile = GOLDEN["golden_profile"]()
    events = GOLDEN["events"](0)
    count = 200_000
    start_ns = np.arange(count) * 7
    details = {"arena_bytes": start_ns * 3, "peak_bytes": start_ns + 1}
    numbers = np.arange(count, dtype=np.int32)
    long = dataclasses.replace(
        events, node=numbers % 3, process=numbers * 0, inference=numbers % 4, start_ns=start_ns,
        duration_ns=start_ns % 11, self_ns=start_ns % 13, details=details,
    )  # fmt: skip
    steady = LatencySeries(start_ns, start_ns % 17 + 1)
    first = dataclasses.replace(profile.processes[0], steady=steady)
    many = kernels(*[("gemm", number % 3, number, 1) for number in range(70_000)])
    return dataclasses.replace(
        profile,
        processes=(first, profile.processes[1]),
        traces={"ort": long},
        kernels=many,
    )


def test_long_columns_are_those_that_were_written(tmp_path: Path) -> None:
    written = long_profile()
    profile_file.write_profile(written, tmp_path / "a.h5")
    read = profile_file.read_profile(tmp_path / "a.h5")
    for one, other in (
        (read.traces["ort"], written.traces["ort"]),
        (read.kernels, written.kernels),
        (read.processes[0].steady, written.processes[0].steady),
    ):
        assert one is not None
        for field in dataclasses.fields(one):
            value = getattr(one, field.name)
            value = dict(value) if field.name == "details" else value
            np.testing.assert_equal(value, getattr(other, field.name))
    assert content(read) == content(written)


def test_what_is_not_touched_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    profile_file.write_profile(long_profile(), path)
    spoil(path, "trace/ort/arena_bytes")
    spoil(path, "processes/000/latency/start_ns")
    profile = profile_file.read_profile(path)
    events = profile.traces["ort"]
    assert list(events.details) == ["arena_bytes", "peak_bytes"]
    assert "arena_bytes" in events.details
    assert events.details["peak_bytes"][-1] == 199_999 * 7 + 1
    assert len(profile.processes[0].steady) == 200_000
    assert profile.processes[0].steady.duration_ns[1] == 8
    for touch in (
        lambda: events.details["arena_bytes"],
        lambda: profile.processes[0].steady.start_ns,
    ):
        with pytest.raises(ProfileFileError, match=r"a\.h5: damaged: [^\n]*$"):
            touch()
    # Of a part only its own chunks.
    assert events.part(slice(150_000, 150_001)).details["arena_bytes"] == 150_000 * 21


def test_damage_that_is_met_late_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.h5"
    profile_file.write_profile(long_profile(), path)
    spoil(path, "trace/ort/arena_bytes")
    for command in ("show", "ops"):
        assert main([command, str(path)]) == 0
    capsys.readouterr()
    assert main(["export", str(path), "--jsonl", str(tmp_path / "out.jsonl")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"harness: {path}: damaged: ")
    assert list(tmp_path.iterdir()) == [path]


def test_parts_are_the_rows_wherever_they_come_from(tmp_path: Path) -> None:
    written = long_profile()
    profile_file.write_profile(written, tmp_path / "a.h5")
    for profile in (written, profile_file.read_profile(tmp_path / "a.h5")):
        events = profile.traces["ort"]
        parts = list(events.parts(90_000))
        assert [len(part) for part in parts] == [90_000, 90_000, 20_000]
        for name in ("node", "process", "inference", "start_ns", "duration_ns", "self_ns"):
            whole = getattr(written.traces["ort"], name)
            np.testing.assert_array_equal(
                np.concatenate([getattr(part, name) for part in parts]), whole
            )
        assert parts[2].details["peak_bytes"][0] == 180_000 * 7 + 1
        np.testing.assert_array_equal(parts[2].inference_number, events.inference_number)
        inner = parts[1].part(slice(5, -5))
        assert (len(inner), inner.start_ns[0]) == (89_990, 90_005 * 7)
        samples = profile.processes[0].steady.part(slice(199_999, None))
        assert (samples.start_ns.tolist(), len(samples)) == ([199_999 * 7], 1)
        assert len(dataclasses.replace(events, dropped=3).part(slice(2))) == 2
        with pytest.raises(AttributeError, match="no_such_column"):
            events.no_such_column  # noqa: B018


def test_columns_are_of_the_file_that_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    profile_file.write_profile(long_profile(), path)
    profile = profile_file.read_profile(path)
    profile_file.write_profile(GOLDEN["golden_profile"](), path, force=True)
    assert profile.traces["ort"].start_ns[-1] == 199_999 * 7
    path.unlink()
    assert profile.traces["ort"].self_ns[1] == 7
    assert content(pickle.loads(pickle.dumps(profile))) == content(long_profile())


def spoil(path: Path, dataset: str) -> None:
    """Overwrites the first chunk of a dataset."""
    with h5py.File(path) as file:
        chunk = file[dataset].id.get_chunk_info(0)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\xff" * chunk.size)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_file_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.h5"
    whole = GOLDEN_FILE.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ProfileFileError, match="damaged"):
        profile_file.read_profile(path)


def test_a_lost_group_and_a_corrupt_chunk_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    shutil.copy(GOLDEN_FILE, path)
    with h5py.File(path) as file:
        chunk = file["processes/000/latency/start_ns"].id.get_chunk_info(0)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\xff" * chunk.size)
    with pytest.raises(ProfileFileError, match="damaged"):
        profile_file.read_profile(path)
    shutil.copy(GOLDEN_FILE, path)
    with h5py.File(path, "a") as file:
        del file["output_check"]
    with pytest.raises(ProfileFileError, match=r"damaged.*output_check"):
        profile_file.read_profile(path)


def test_a_finished_profile_takes_its_partial_folder_away(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    folder = partial(target)
    running = profile_file.read_profile(folder)
    assert (running.complete, running.path, len(running.processes)) == (False, folder, 2)
    finished = dataclasses.replace(running, complete=True)
    profile_file.write_profile(finished, target)
    assert list(tmp_path.iterdir()) == [target]
    assert content(profile_file.read_profile(target)) == content(GOLDEN["golden_profile"]())


def test_the_partial_folder_of_another_profile_is_left(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    folder = partial(target)
    other = dataclasses.replace(GOLDEN["golden_profile"](), created="2020-01-01T00:00:00Z")
    profile_file.write_profile(other, target)
    assert len(profile_file.read_profile(folder).processes) == 2


def test_recover_gives_every_finished_process_back(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    folder = partial(target, planned=5)
    with pytest.raises(ProfileFileError, match="no such file") as refusal:
        profile_file.read_profile(target)
    assert refusal.value.remedy == f"harness recover {folder}"
    assert profile_file.recover(folder) == target
    profile = profile_file.read_profile(target)
    assert not profile.complete
    assert dict(profile.absent)["processes"] == "2 of 5 planned had finished"
    whole = GOLDEN["golden_profile"]()
    assert repr((profile.processes, profile.traces)) == repr((whole.processes, whole.traces))
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(ProfileFileError, match="no such partial folder"):
        profile_file.recover(folder)


def test_recover_of_all_planned_processes_is_complete(tmp_path: Path) -> None:
    folder = partial(tmp_path / "a.h5")
    elsewhere = tmp_path / "b.h5"
    assert profile_file.recover(folder, elsewhere) == elsewhere
    assert content(profile_file.read_profile(elsewhere)) == content(GOLDEN["golden_profile"]())


def test_recover_of_pairs_does_not_claim_that_they_were_all(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    profile_file.recover(partial(target, planned=0))
    profile = profile_file.read_profile(target)
    assert not profile.complete
    assert "processes" not in dict(profile.absent)


def test_recover_keeps_and_names_damaged_shards(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    folder = partial(target)
    (folder / "process-000.shard").write_bytes(b"noise")
    profile_file.recover(folder)
    profile = profile_file.read_profile(target)
    assert not profile.complete
    assert [process.index for process in profile.processes] == [1]
    assert "damaged" in dict(profile.absent)["process-000.shard"]
    assert (folder / "process-000.shard").exists()


def test_recover_refuses_what_would_lose_something(tmp_path: Path) -> None:
    target = tmp_path / "a.h5"
    folder = partial(target)
    with shards.hold(folder), pytest.raises(RequestError, match="still running"):
        profile_file.recover(folder)
    target.write_bytes(b"precious")
    with pytest.raises(RequestError, match="the file exists"):
        profile_file.recover(folder)
    assert target.read_bytes() == b"precious"
    # The kill came between the renaming and the removal of the folder.
    shutil.copy(GOLDEN_FILE, target)
    with pytest.raises(RequestError, match="only the cleanup was cut off"):
        profile_file.recover(folder)
    assert len(profile_file.read_profile(folder).processes) == 2

    none = partial(tmp_path / "none.h5", processes=())
    with pytest.raises(ProfileFileError, match="no process had finished"):
        profile_file.recover(none)
    with pytest.raises(ProfileFileError, match="holds no header"):
        profile_file.recover(tmp_path)
    named = none.rename(tmp_path / "renamed")
    shards.write_shard(named, shards.Shard(GOLDEN["process"](0), {}, None, ()))
    with pytest.raises(RequestError, match="name of the output is unknown"):
        profile_file.recover(named)


NO_ROOM = """
import gc, resource, runpy, signal, sys
from pathlib import Path
from harness.storage import profile_file
from harness.errors import MachineError
profile = runpy.run_path(sys.argv[2])["golden_profile"]()
target = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 4096, 40_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, 10**6))
    try:
        profile_file.write_profile(profile, target)
    except MachineError as error:
        print(error.message, error.remedy, sep="|")
gc.collect()
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
profile_file.write_profile(profile, target.with_name("later.h5"))
"""


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_full_disk_loses_nothing_and_crashes_nothing(tmp_path: Path, interrupted: bool) -> None:
    target = tmp_path / "a.h5"
    folder = partial(target) if interrupted else shards.partial_folder(target)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", NO_ROOM, str(target), str(SCRIPT)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    remedy = f"harness recover {folder}" if interrupted else "write it again"
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("no room" in line and line.endswith(remedy) for line in lines)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == ({"later.h5", folder.name} if interrupted else {"later.h5"})
    if interrupted:
        assert len(profile_file.read_profile(folder).processes) == 2
        assert not list(folder.glob(".*"))


def test_a_column_is_read_rightly_in_several_processes_at_once(tmp_path: Path) -> None:
    """Forked readers share the place in an open file, were it left to the system."""
    durations = np.arange(1, 400_001, dtype=np.int64)
    stored = profile_file.write_profile(
        process_records.profile(process_records.process(durations.tolist())), tmp_path / "long.h5"
    ).path
    assert stored is not None
    children = []
    shared = profile_file.read_profile(stored)
    for _ in range(4):
        child = os.fork()
        if child == 0:
            right = all(
                np.array_equal(shared.processes[0].steady.part(part).duration_ns,
                               durations[part])
                for part in (slice(k, k + 70_000) for k in range(0, 320_000, 40_000))
            )  # fmt: skip
            os._exit(0 if right else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_a_part_of_a_stored_column_has_no_gaps(tmp_path: Path) -> None:
    profile_file.write_profile(
        process_records.profile(process_records.process(list(range(100_000)))), tmp_path / "long.h5"
    )
    steady = profile_file.read_profile(tmp_path / "long.h5").processes[0].steady
    with pytest.raises(ValueError, match="every 2th"):
        steady.part(slice(0, 10, 2))
