"""Chrome traces: one time axis, named tracks, and intervals that nest."""

from __future__ import annotations

import dataclasses
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.records import LatencySeries, ProcessRecord, Profile
from harness.reporters import traces
from harness.storage.assembly import merge_timelines
from tests.builders import device_records, node_events, node_tables, process_records
from tests.builders.recordings import PROFILES, on_both_clocks

ZERO_NS = 7_000_000_000_123
INFERENCES = 40_000


def series(start_ns: int, count: int) -> LatencySeries:
    start = start_ns + np.arange(count, dtype=np.int64) * 2_500
    return LatencySeries(start, np.full(count, 1_501, np.int64))


def process(index: int, start_ns: int) -> ProcessRecord:
    times = {"library_ns": 5_000_000, "session_ns": 20_000_000, "first_inference_ns": 90_000}
    return dataclasses.replace(
        process_records.process([], index, **times),
        pid=4_000 + index,
        warmup=series(start_ns, 5),
        steady=series(start_ns + 1_000_000, INFERENCES),
    )


def int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.fixture
def profile() -> Profile:
    """Two processes, and one traced inference of a loop that runs Mul twice, and Add."""
    nodes = node_tables.table(
        [-1, 0, -1],
        name=("loop", "", "a\n<b>"),
        op_type=("Loop", "Mul", "Add"),
        provider=("CPUExecutionProvider",) * 3,
    )
    traced = ZERO_NS + 500_000_000
    # Whole microseconds: the second Mul seems to outlast Loop, and Add the inference.
    trace = node_events.events(
        [
            (0, 0, traced + 1_000, 7_000, 0),
            (1, 0, traced + 1_000, 3_000, 3_000),
            (1, 0, traced + 5_000, 4_000, 4_000),
            (2, 0, traced + 9_000, 5_000, 5_000),
        ],
        [(0, traced, 13_000)],
    )
    return process_records.profile(
        process(0, ZERO_NS + 25_090_000),
        process(1, ZERO_NS + 900_000_000),
        nodes=nodes,
        traces={"ort": trace},
    )


def events_of(profile: Profile, path: Path) -> list[dict[str, Any]]:
    written = traces.write(profile, path, "chrome")
    content = path.read_bytes()
    trace = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    assert trace["otherData"]["model"] == profile.model.name
    intervals = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert written == len(intervals)
    return trace["traceEvents"]


def test_every_inference_is_there_on_one_axis(profile: Profile, tmp_path: Path) -> None:
    events = events_of(profile, tmp_path / "trace.json")

    intervals = [event for event in events if event["ph"] == "X"]
    assert min(event["ts"] for event in intervals) == 0
    timed = [event for event in intervals if event["cat"] == "timed"]
    assert len(timed) == 2 * INFERENCES
    last = timed[-1]
    assert last["pid"] == 4_001
    assert last["args"] == {"inference": INFERENCES - 1}
    assert last["dur"] == 1.501
    assert last["ts"] == pytest.approx(900_000 + 1_000 + (INFERENCES - 1) * 2.5, abs=1e-6)


def test_processes_and_tracks_are_named(profile: Profile, tmp_path: Path) -> None:
    events = events_of(profile, tmp_path / "trace.json")

    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event["ph"] == "M" and event["name"] == "thread_name"
    }
    used = {(event["pid"], event["tid"]) for event in events if event["ph"] == "X"}
    assert used <= set(names)
    assert len(set(names.values())) == 4
    processes = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert processes == ["worker process 0", "worker process 1"]


def test_intervals_of_a_track_nest(profile: Profile, tmp_path: Path) -> None:
    events = [one for one in events_of(profile, tmp_path / "trace.json") if one["ph"] == "X"]
    for track in {(event["pid"], event["tid"]) for event in events}:
        ends: list[float] = []
        mine = [event for event in events if (event["pid"], event["tid"]) == track]
        for event in sorted(mine, key=lambda one: one["ts"]):  # stable, as viewers sort
            end = event["ts"] + event["dur"]
            while ends and ends[-1] <= event["ts"] + 1e-6:
                ends.pop()
            assert not ends or end <= ends[-1] + 1e-6
            ends.append(end)


def test_nodes_lie_under_what_ran_them(profile: Profile, tmp_path: Path) -> None:
    events = events_of(profile, tmp_path / "trace.json")

    nodes = [event for event in events if event.get("cat") == "ort"]
    assert [event["name"] for event in nodes] == ["loop", "Mul", "Mul", "a\n<b>"]
    assert [event["dur"] for event in nodes] == [7, 3, 3, 4]
    assert nodes[2]["args"] == {
        "op_type": "Mul",
        "node": "",
        "provider": "CPUExecutionProvider",
        "inference": 0,
        "self_ns": 4_000,
    }
    (inference,) = [event for event in events if event.get("cat") == "traced: ort"]
    assert (inference["ts"], inference["dur"]) == (500_000, 13)


def test_compressed_by_name(profile: Profile, tmp_path: Path) -> None:
    plain = events_of(profile, tmp_path / "trace.json")
    assert events_of(profile, tmp_path / "trace.json.gz") == plain
    smaller = (tmp_path / "trace.json.gz").stat().st_size
    assert smaller < (tmp_path / "trace.json").stat().st_size / 3


def test_nodes_that_run_at_once_lie_on_tracks_beside_each_other(
    profile: Profile, tmp_path: Path
) -> None:
    """In ORT's parallel mode: Add begins while the loop is still at work."""
    start_ns = profile.traces["ort"].start_ns.copy()
    start_ns[3] = start_ns[0] + 2_000
    order = np.argsort(start_ns, kind="stable")
    columns = ("node", "process", "inference", "duration_ns", "self_ns")
    trace = dataclasses.replace(
        profile.traces["ort"],
        start_ns=start_ns[order],
        **{name: getattr(profile.traces["ort"], name)[order] for name in columns},
    )
    events = events_of(dataclasses.replace(profile, traces={"ort": trace}), tmp_path / "t.json")

    tracks = {
        event["name"]: event["tid"]
        for event in events
        if event.get("cat") in ("ort", "traced: ort")
    }
    assert tracks["loop"] == tracks["inference"] == tracks["Mul"]
    assert tracks["a\n<b>"] != tracks["loop"]
    names = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {"traced pass: ort", "traced pass: ort (2)"} <= names


def test_kernels_lie_on_their_streams_and_arrows_lead_to_them(
    profile: Profile, tmp_path: Path
) -> None:
    start = ZERO_NS + 600_000_000
    work = device_records.kernels(
        ("conv", 2, start + 100, 50),
        ("relu", 2, start + 150, 30),
        ("HtoD", -1, start + 120, 300),
        kind=("kernel", "kernel", "memcpy"),
        launch_ns=int64(start, start + 20, -1),
        stream=np.array([7, 7, 9], np.int32),
        registers=np.array([32, 32, -1], np.int32),
        grid=np.array([[8, 2, 1], [8, 2, 1], [-1, -1, -1]], np.int32),
        bytes=int64(-1, -1, 4_096),
    )
    events = events_of(dataclasses.replace(profile, kernels=work), tmp_path / "t.json")

    gpu = [event for event in events if event.get("cat") == "kernels"]
    assert [event["name"] for event in gpu] == ["conv", "relu", "HtoD"]
    assert gpu[0]["tid"] == gpu[1]["tid"] != gpu[2]["tid"]
    assert gpu[0]["args"]["node"] == "a\n<b>"
    assert gpu[0]["args"]["grid"] == "8x2x1"
    assert "bytes" not in gpu[0]["args"]
    assert gpu[2]["args"]["bytes"] == 4_096
    assert not {"registers", "grid"} & set(gpu[2]["args"])
    (launches,) = [event for event in events if event.get("cat") == "launches"]
    assert (launches["name"], launches["args"]["launches"]) == ("a\n<b>", 2)
    begins = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    assert len(begins) == 2
    assert begins.keys() == ends.keys()
    for number, begin in begins.items():
        assert begin["tid"] == launches["tid"]
        assert launches["ts"] <= begin["ts"] <= launches["ts"] + launches["dur"]
        assert ends[number]["ts"] in {gpu[0]["ts"], gpu[1]["ts"]}
        assert ends[number]["bp"] == "e"


@pytest.mark.parametrize("name", PROFILES)
def test_the_pass_of_a_devices_times_has_calls_host_nodes_streams_and_gaps(
    name: str, tmp_path: Path
) -> None:
    told = on_both_clocks(name)
    assert told.timeline is not None
    events = events_of(told, tmp_path / "t.json")
    titles = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event["name"] == "thread_name"
    }
    tracks: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        title = titles.get((event["pid"], event.get("tid", 0)), "")
        if event["ph"] == "X" and title.startswith("device pass: "):
            tracks.setdefault(title.removeprefix("device pass: "), []).append(event)
    (stream,) = [each for title, each in tracks.items() if title.startswith("GPU stream")]
    (hosted,) = [each for title, each in tracks.items() if title.startswith("host nodes")]
    gaps = tracks["GPU idle, by the node it waits for"]
    assert len(stream) == len(told.timeline.times)
    assert len(tracks["calls"]) == 3 * len(told.timeline.inferences)

    # Of each recorded inference: what the device does and what it waits for make up the whole.
    recorded_ns = told.timeline.inferences.duration_ns[told.timeline.inferences.recorded != 0]
    every = sum(event["dur"] for event in (*stream, *gaps))
    assert every == pytest.approx(recorded_ns.sum() / 1000, rel=1e-6)
    assert {event["args"]["waits_for"] for event in gaps if "waits_for" in event["args"]} <= {
        event["args"]["node"] for event in stream
    }

    # An arrow from each node on the host to the first that the device does for it.
    begins = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    assert begins.keys() == ends.keys()
    (lane,) = {event["tid"] for event in hosted}
    mine = [number for number, event in begins.items() if event["tid"] == lane]
    assert len(mine) == len(hosted)
    by_begin = {event["ts"]: event["name"] for event in hosted}
    by_end = {event["ts"]: event["args"]["node"] for event in stream}
    for number in mine:
        assert by_begin[begins[number]["ts"]] == by_end[ends[number]["ts"]]
        assert begins[number]["ts"] <= ends[number]["ts"]


def test_each_process_has_arrows_of_its_own(tmp_path: Path) -> None:
    work = [("gemm", 0), ("relu", 1)]
    each = [(ZERO_NS, 200, [(ZERO_NS + 30, 40), (ZERO_NS + 90, 20)])]
    both = merge_timelines(
        [device_records.timeline(work, each, [190], process=index) for index in range(2)]
    )
    told = on_both_clocks("mlp")
    first = told.processes[0]
    told = dataclasses.replace(
        told, timeline=both, processes=(first, dataclasses.replace(first, index=1, pid=2))
    )
    events = events_of(told, tmp_path / "t.json")
    starts = [event["id"] for event in events if event["ph"] == "s"]
    assert len(starts) == len(set(starts))


def test_kernels_of_one_stream_that_overlap_are_all_seen(profile: Profile, tmp_path: Path) -> None:
    work = device_records.kernels(("a", 2, ZERO_NS, 100), ("b", 2, ZERO_NS + 50, 100))
    events = events_of(dataclasses.replace(profile, kernels=work), tmp_path / "t.json")
    tracks = {event["tid"] for event in events if event.get("cat") == "kernels"}
    assert len(tracks) == 2


def test_devices_are_counters(profile: Profile, tmp_path: Path) -> None:
    power = device_records.series(
        "gpu0",
        "power_instant_mw",
        [(ZERO_NS, 70), (ZERO_NS + 1_000, 70), (ZERO_NS + 2_000, 90), (ZERO_NS + 3_000, 90)],
        unit="mW",
    )
    events = events_of(dataclasses.replace(profile, devices=(power,)), tmp_path / "t.json")
    counters = [event for event in events if event["ph"] == "C"]
    assert {event["name"] for event in counters} == {"gpu0 power_instant_mw"}
    # A reading that repeats the one before says nothing new, but for the last one.
    assert [event["args"] for event in counters] == [{"mW": 70}, {"mW": 90}, {"mW": 90}]
    assert {event["pid"] for event in counters}.isdisjoint({4_000, 4_001})


def test_memory_does_not_grow_with_the_trace(profile: Profile, tmp_path: Path) -> None:
    def peak_bytes(count: int) -> int:
        (first, *_) = profile.processes
        long = dataclasses.replace(first, steady=series(ZERO_NS, count))
        whole = dataclasses.replace(profile, processes=(long,), traces={})
        tracemalloc.start()
        try:
            traces.write(whole, tmp_path / "t.json", "chrome")
            traces.write(whole, tmp_path / "t.pftrace", "perfetto")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(120_000) < 1.5 * peak_bytes(40_000)


@pytest.mark.parametrize("form", ["chrome", "perfetto"])
def test_a_trace_does_not_grow_with_its_names(profile: Profile, tmp_path: Path, form: str) -> None:
    long, few = "x" * 300_000, {process.index: process for process in profile.processes}
    assert profile.nodes is not None
    nodes = dataclasses.replace(
        profile.nodes, name=(long,) * 3, op_type=(long,) * 3, provider=(long,) * 3,
        sources=(long,) * 3,
    )  # fmt: skip
    first = dataclasses.replace(few[0], steady=series(ZERO_NS + 26_090_000, 5))
    readings = device_records.series(long, long, [(ZERO_NS, 1), (ZERO_NS + 10, 2)])
    work = device_records.kernels((long, 0, ZERO_NS + 500_000_100, 200))
    told = dataclasses.replace(
        profile, nodes=nodes, processes=(first,), devices=(readings,), kernels=work
    )
    path = tmp_path / "trace"
    traces.write(told, path, form)
    assert path.stat().st_size < 60_000
