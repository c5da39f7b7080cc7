"""Profiles of strangers: whatever is wrong with one, it is one error, soon and in little memory."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.errors import ProfileFileError, RequestError
from harness.records import LatencySeries, Profile
from harness.storage import profile_file, shards
from harness.storage.profile_file import read_profile
from tests.builders import process_records
from tests.builders.side_by_side import side_by_side

REPOSITORY = Path(__file__).parents[3]
SAMPLE = REPOSITORY / "profiles/sample.h5"
LATENCY = "processes/000/latency"
DURATION = f"{LATENCY}/duration_ns"


def replaced(file: h5py.File, place: str, **how: object) -> h5py.Dataset:
    attributes = {name: file[place].attrs[name] for name in ("units",)}
    del file[place]
    made = file.create_dataset(place, **how)
    made.attrs.update(attributes)
    return made


def virtual(file: h5py.File) -> None:
    rows = len(file[DURATION])
    layout = h5py.VirtualLayout((rows,), np.int64)
    layout[...] = h5py.VirtualSource("other.h5", f"/{DURATION}", (rows,))
    del file[DURATION]
    file.create_virtual_dataset(DURATION, layout)


def in_another_file(file: h5py.File) -> None:
    place = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    replaced(file, DURATION, shape=file[DURATION].shape, dtype=np.int64, external=place)


def in_a_pipe(file: h5py.File) -> None:
    pipe = f"{file.filename}.pipe"
    os.mkfifo(pipe)
    place = [(pipe, 0, h5py.h5f.UNLIMITED)]
    replaced(file, DURATION, shape=file[DURATION].shape, dtype=np.int64, external=place)


def external_link(file: h5py.File) -> None:
    del file[DURATION]
    file[DURATION] = h5py.ExternalLink(str(SAMPLE), f"/{DURATION}")


def soft_link(file: h5py.File) -> None:
    del file[DURATION]
    file[DURATION] = h5py.SoftLink(f"/{LATENCY}/start_ns")


def longer_than_what_is_stored(file: h5py.File) -> None:
    for name in ("start_ns", "duration_ns"):
        replaced(file, f"{LATENCY}/{name}", shape=(10**9,), dtype=np.int64, chunks=(10**6,))


def of_constants_that_compress_well(file: h5py.File) -> None:
    for name in ("start_ns", "duration_ns"):
        chunk = 10**6
        data = replaced(
            file, f"{LATENCY}/{name}", shape=(20 * chunk,), dtype=np.int64, chunks=(chunk,),
            compression="gzip",
        )  # fmt: skip
        data[:chunk] = np.ones(chunk, np.int64)
        _, compressed = data.id.read_direct_chunk((0,))
        for at in range(chunk, 20 * chunk, chunk):
            data.id.write_direct_chunk((at,), compressed)


def one_long_text_many_times(file: h5py.File) -> None:
    place = "processes/000/log"
    data = replaced(file, place, shape=(2_000,), dtype=h5py.string_dtype())
    data[0] = "x" * 60_000
    file.flush()
    offset, path = data.id.get_offset(), Path(file.filename)
    file.close()
    content = bytearray(path.read_bytes())
    content[offset : offset + 2_000 * 16] = content[offset : offset + 16] * 2_000
    path.write_bytes(content)


def texts_of_a_billion_rows(file: h5py.File) -> None:
    place = "processes/000/log"
    replaced(file, place, shape=(10**9,), dtype=h5py.string_dtype(), chunks=(10**6,))


def nodes_of_a_billion_rows(file: h5py.File) -> None:
    replaced(file, "nodes/name", shape=(10**9,), dtype=h5py.string_dtype(), chunks=(10**6,))


def config_of_no_object(file: h5py.File) -> None:
    file.attrs["config"] = "[1]"


def config_of_no_json(file: h5py.File) -> None:
    file.attrs["config"] = "[" * 20_000


def attribute_of_another_type(file: h5py.File) -> None:
    file.attrs["created"] = np.arange(3)


def nothing_checked(file: h5py.File) -> None:
    for name in list(file["output_check"]):
        dtype = file[f"output_check/{name}"].dtype
        del file[f"output_check/{name}"]
        file.create_dataset(f"output_check/{name}", (0,), dtype)


def columns_of_other_lengths(file: h5py.File) -> None:
    replaced(file, DURATION, data=np.arange(1, 8))


def column_of_two_dimensions(file: h5py.File) -> None:
    replaced(file, DURATION, data=np.ones((len(file[DURATION]), 2), np.int64))


def column_of_texts(file: h5py.File) -> None:
    replaced(file, DURATION, shape=file[DURATION].shape, dtype=h5py.string_dtype())


def column_of_fractions(file: h5py.File) -> None:
    replaced(file, DURATION, data=np.full(file[DURATION].shape, np.nan))


def group_for_a_column(file: h5py.File) -> None:
    del file[DURATION]
    file.create_group(DURATION)


def column_for_a_group(file: h5py.File) -> None:
    del file[LATENCY]
    file[LATENCY] = np.arange(3)


def without_a_column(file: h5py.File) -> None:
    del file[DURATION]


def no_process(file: h5py.File) -> None:
    del file["processes"]
    file.create_group("processes")


def process_of_another_number(file: h5py.File) -> None:
    file.move("processes/000", "processes/007")


def time_that_went_backwards(file: h5py.File) -> None:
    file[DURATION][3] = -5


def times_beyond_reckoning(file: h5py.File) -> None:
    file[DURATION][...] = 2**61


def event_of_no_node(file: h5py.File) -> None:
    file["trace/ort/node"][2] = len(file["nodes/name"])


def event_of_no_process(file: h5py.File) -> None:
    file["trace/ort/process"][2] = 77


def event_of_no_inference(file: h5py.File) -> None:
    file["trace/ort/inference"][2] = len(file["trace/ort/inference_number"])


def inference_of_a_number_beyond_all(file: h5py.File) -> None:
    file["trace/ort/inference_number"][0] = 2**31 - 1


def node_in_itself(file: h5py.File) -> None:
    file["nodes/parent"][1] = 1


def shape_of_texts(file: h5py.File) -> None:
    file["inputs/shape"][0] = '["a"]'


def fact_beyond_a_counter(file: h5py.File) -> None:
    kinds = [kind.decode() for kind in file["environment/kind"]]
    file["environment/value"][kinds.index("int")] = "9" * 3_000


def filter_from_elsewhere(file: h5py.File) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((file[DURATION].shape[0],))
    made.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL, ())
    rows, group = len(file[DURATION]), file[LATENCY]
    del file[DURATION]
    space = h5py.h5s.create_simple((rows,))
    h5py.h5d.create(group.id, b"duration_ns", h5py.h5t.NATIVE_INT64, space, made)


def column_that_is_a_hole(file: h5py.File) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    made.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    for name in ("start_ns", "duration_ns"):
        del file[f"{LATENCY}/{name}"]
        space = h5py.h5s.create_simple((300_000_000,))
        h5py.h5d.create(file[LATENCY].id, name.encode(), h5py.h5t.NATIVE_INT64, space, made)
        file[f"{LATENCY}/{name}"].attrs["units"] = "ns"


WRONG: tuple[tuple[Callable[[h5py.File], None], str], ...] = (
    (virtual, "virtual dataset"),
    (in_another_file, "in another file"),
    (in_a_pipe, "in another file"),
    (external_link, "a link"),
    (soft_link, "a link"),
    (longer_than_what_is_stored, "rows in 0 stored bytes"),
    (of_constants_that_compress_well, "more data than a file"),
    (one_long_text_many_times, "bytes of text"),
    (texts_of_a_billion_rows, "stored"),
    (nodes_of_a_billion_rows, "rows, not 1000000000"),
    (config_of_no_object, "not a JSON object"),
    (config_of_no_json, "not JSON"),
    (attribute_of_another_type, "created is not a text"),
    (nothing_checked, "/output_check: is empty"),
    (columns_of_other_lengths, "rows, not 7"),
    (column_of_two_dimensions, "not a column"),
    (column_of_texts, "does not hold integers"),
    (column_of_fractions, "does not hold integers"),
    (group_for_a_column, "not a column"),
    (column_for_a_group, "is not a group"),
    (without_a_column, "is missing"),
    (no_process, "/processes: is empty"),
    (process_of_another_number, "do not match"),
    (time_that_went_backwards, "-5 is not between"),
    (times_beyond_reckoning, "sum to more"),
    (event_of_no_node, "is not between 0 and"),
    (event_of_no_process, "not one of those allowed"),
    (event_of_no_inference, "is not between 0 and"),
    (inference_of_a_number_beyond_all, "is not between 0 and"),
    (node_in_itself, "level below its parent"),
    (shape_of_texts, "not a list of sizes"),
    (fact_beyond_a_counter, "no counter holds"),
    (filter_from_elsewhere, "unknown filter"),
    (column_that_is_a_hole, "stored bytes"),
)


@pytest.mark.parametrize(("spoil", "says"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_profile_that_is_wrong_is_one_error(
    tmp_path: Path, spoil: Callable[[h5py.File], None], says: str
) -> None:
    path = tmp_path / "strange.h5"
    shutil.copy(SAMPLE, path)
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(ProfileFileError, match=f"strange.h5: damaged: .*{says}") as refusal:
        read_profile(path)
    assert len(refusal.value.message) < 600
    assert "\n" not in refusal.value.message


def test_rows_that_a_file_claims_take_no_memory_before_they_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "huge.h5"
    shutil.copy(SAMPLE, path)
    with h5py.File(path, "r+") as file:
        nodes_of_a_billion_rows(file)
    tracemalloc.start()
    try:
        with pytest.raises(ProfileFileError):
            read_profile(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 200e6


def test_a_hole_in_the_texts_is_found_before_hdf5_stays_in_it(tmp_path: Path) -> None:
    path = tmp_path / "hole.h5"
    content = bytearray((REPOSITORY / "tests/golden/profile_v1.h5").read_bytes())
    content[70_445 : 70_445 + 512] = bytes(512)
    path.write_bytes(content)
    with pytest.raises(ProfileFileError, match="a hole at byte"):
        read_profile(path)


def long_profile(**columns: object) -> Profile:
    """A profile whose timed pass is longer than what is read at once."""
    one = process_records.process([5])
    numbers = np.arange(1, 200_001, dtype=np.int64)
    steady = LatencySeries(numbers * 10, np.asarray(columns.get("duration_ns", numbers)))
    return process_records.profile(dataclasses.replace(one, steady=steady))


def test_a_long_column_is_checked_in_the_parts_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "long.h5"
    profile_file.write_profile(long_profile(), path)
    with h5py.File(path, "r+") as file:
        file[DURATION][150_000] = -1
    steady = read_profile(path).processes[0].steady
    assert int(steady.part(slice(0, 100_000)).duration_ns[-1]) == 100_000
    with pytest.raises(ProfileFileError, match="-1 is not between"):
        _ = steady.part(slice(140_000, 160_000)).duration_ns


def test_what_a_later_version_adds_is_shown_as_text_or_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "later.h5"
    shutil.copy(SAMPLE, path)
    with h5py.File(path, "r+") as file:
        file.attrs["provider"] = "rocm"
        config = json.loads(file.attrs["config"])
        config["session"]["provider"] = "rocm"
        file.attrs["config"] = json.dumps(config)
        for group in ("/", "trace", "trace/ort", "devices", "devices/host", "processes", LATENCY):
            file[group].create_group("later")
            file[group]["column_of_a_later_version"] = np.arange(3)
    profile = read_profile(path)
    assert profile.provider == "rocm"
    assert profile.asked.provider == "rocm"
    written = read_profile(SAMPLE)
    assert profile.traces.keys() == written.traces.keys()
    assert profile.traces["ort"].details.keys() == written.traces["ort"].details.keys()
    assert len(profile.devices) == len(written.devices)


def test_a_pipe_in_a_files_place_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(ProfileFileError, match="pipe or a device"):
        read_profile(tmp_path / "pipe.h5")
    with pytest.raises(ProfileFileError, match="pipe or a device"):
        read_profile("/dev/zero")
    with pytest.raises(ProfileFileError, match="File name too long"):
        read_profile("a" * 300)


# --- Partial folders -------------------------------------------------------------------


def shard(index: int = 0, **changed: object) -> shards.Shard:
    process = dataclasses.replace(process_records.process([5, 6, 7], index), **changed)  # type: ignore[arg-type]
    return shards.Shard(process, {}, None, ())


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "process-001.shard")


def columns_that_do_not_fit(folder: Path) -> None:
    steady = LatencySeries(np.arange(3), np.arange(1, 3))
    shards.write_shard(folder, shard(1, steady=steady))


def numbers_of_another_type(folder: Path) -> None:
    steady = LatencySeries(np.arange(3) * 1.5, np.array([np.nan, 1, 2]))  # type: ignore[arg-type]
    shards.write_shard(folder, shard(1, steady=steady))


def another_ones_number(folder: Path) -> None:
    shards.write_shard(folder, shard(5)).rename(folder / "process-001.shard")


@pytest.mark.parametrize(
    "spoil", [a_pipe, columns_that_do_not_fit, numbers_of_another_type, another_ones_number]
)
def test_a_shard_that_is_wrong_counts_as_damaged(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = tmp_path / ".a.h5.partial"
    folder.mkdir()
    shards.write_shard(folder, shard(0))
    spoil(folder)
    found, damaged = shards.read_shards(folder)
    assert [each.process.index for each in found] == [0]
    assert [name for name, _ in damaged] == ["process-001.shard"]


def a_link(folder: Path) -> None:
    folder.with_name("elsewhere").mkdir(mode=0o700)
    folder.symlink_to("elsewhere")


def open_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o770)


def a_file(folder: Path) -> None:
    folder.write_text("")


@pytest.mark.parametrize(
    ("make", "says"),
    [(a_link, "is a link or a file"), (open_to_others, "by other users"), (a_file, "link")],
)
def test_a_partial_folder_that_others_could_fill_is_refused(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    folder = tmp_path / ".a.h5.partial"
    make(folder)
    with pytest.raises(RequestError, match=says):
        shards.make_private(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_partial_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ".a.h5.partial"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65_534, 65_534)
    with pytest.raises(RequestError, match="another user"):
        shards.make_private(folder)


def test_a_partial_folder_is_the_users_alone(tmp_path: Path) -> None:
    shards.make_private(tmp_path / ".a.h5.partial")
    assert (tmp_path / ".a.h5.partial").stat().st_mode & 0o777 == 0o700


def callers_of_other_lengths(file: h5py.File) -> None:
    data = file["instances/caller"][...]
    replaced(file, "instances/caller", data=data[:-1])


def windows_that_end_before_they_begin(file: h5py.File) -> None:
    file["instances/end_ns"][...] = file["instances/begin_ns"][...]


def two_windows_of_one_group(file: h5py.File) -> None:
    file["instances/begin_ns"][0] -= 5


def the_same_caller_twice(file: h5py.File) -> None:
    file["instances/caller"][1] = 0
    file["instances/instance"][1] = 0


def a_caller_of_two_instances(file: h5py.File) -> None:
    file["instances/instance"][0] = 1


def a_caller_beyond_all(file: h5py.File) -> None:
    file["instances/caller"][0] = 2**31 - 1


def a_sample_of_no_caller(file: h5py.File) -> None:
    file[f"{LATENCY}/caller"][0] = 7


def a_negative_caller(file: h5py.File) -> None:
    file[f"{LATENCY}/caller"][0] = -1


def samples_without_callers(file: h5py.File) -> None:
    del file[f"{LATENCY}/caller"]


def a_group_that_is_no_process(file: h5py.File) -> None:
    file["instances/process"][0] = 9


def a_process_without_rows(file: h5py.File) -> None:
    file["instances/process"][...] = 0
    file["instances/caller"][...] = np.arange(len(file["instances/caller"]))


def no_rows(file: h5py.File) -> None:
    for name in list(file["instances"]):
        data = file[f"instances/{name}"]
        if "units" in data.attrs:
            replaced(file, f"instances/{name}", shape=(0,), dtype=data.dtype)
        elif name in ("cpus", "memory"):
            del file[f"instances/{name}"]
            file.create_dataset(f"instances/{name}", (0,), h5py.string_dtype())


def inferences_without_a_median(file: h5py.File) -> None:
    file["instances/median_ns"][0] = -1


def a_median_without_an_inference(file: h5py.File) -> None:
    file["instances/inferences"][0] = 0


def inferences_outside_their_window(file: h5py.File) -> None:
    file["instances/done_ns"][0] = file["instances/end_ns"][0] + 1


def an_end_before_the_start(file: h5py.File) -> None:
    file["instances/done_ns"][0] = file["instances/start_ns"][0]


def a_tail_below_the_median(file: h5py.File) -> None:
    file["instances/p99_ns"][0] = 1


def more_local_pages_than_pages(file: h5py.File) -> None:
    file["instances/local_bytes"][0] = 10**6


def memory_beyond_reckoning(file: h5py.File) -> None:
    file["instances/pss_bytes"][...] = 2**61


SIDE_BY_SIDE: tuple[tuple[Callable[[h5py.File], None], str], ...] = (
    (callers_of_other_lengths, "rows, not"),
    (windows_that_end_before_they_begin, "ends before it has begun"),
    (two_windows_of_one_group, "share a window have several"),
    (the_same_caller_twice, "twice in a window"),
    (a_caller_of_two_instances, "a caller belongs to several"),
    (a_caller_beyond_all, "is not between 0 and"),
    (a_sample_of_no_caller, "of a caller without a row"),
    (a_negative_caller, "-1 is not between"),
    (samples_without_callers, "do not tell their caller"),
    (a_group_that_is_no_process, "not one of those allowed"),
    (a_process_without_rows, "process 1 has no row"),
    (no_rows, "has no row of the common window"),
    (inferences_without_a_median, "without a median"),
    (a_median_without_an_inference, "without an inference"),
    (inferences_outside_their_window, "outside their window"),
    (an_end_before_the_start, "ends before the first begins"),
    (a_tail_below_the_median, "p99 is below the median"),
    (more_local_pages_than_pages, "more of an instance's pages are local"),
    (memory_beyond_reckoning, "sum to more"),
)


@pytest.mark.parametrize(
    ("spoil", "says"), SIDE_BY_SIDE, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_table_of_instances_that_is_wrong_is_one_error(
    tmp_path: Path, spoil: Callable[[h5py.File], None], says: str
) -> None:
    path = tmp_path / "strange.h5"
    profile_file.write_profile(side_by_side((600.0, 500.0), (600.0, 500.0)), path)
    assert read_profile(path).instances is not None
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(ProfileFileError, match=f"strange.h5: damaged: .*({says})") as refusal:
        _ = read_profile(path).processes[0].steady.duration_ns
    assert "\n" not in refusal.value.message
