"""Perfetto traces: the published schema parses them, and they replay to what was measured."""

from __future__ import annotations

import dataclasses
import gzip
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.records import ProcessRecord, Profile
from harness.reporters import traces
from tests.builders import device_records, node_events, node_tables, process_records

schema = pytest.importorskip(
    "perfetto.protos.perfetto.trace.perfetto_trace_pb2",
    reason="the package perfetto, which holds the schema, is not installed",
)

unknown_fields = pytest.importorskip("google.protobuf.unknown_fields")

ZERO_NS = 7_000_000_000_123


def int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.fixture
def profile() -> Profile:
    """Two traced inferences right after each other, of a loop that runs Mul once, and Add."""
    nodes = node_tables.table([-1, 0, -1], name=("loop", "", "<b>"), op_type=("Loop", "Mul", "Add"))
    trace = node_events.events(
        [
            (0, 0, ZERO_NS, 5_000, 0),
            (1, 0, ZERO_NS, 5_000, 5_000),
            (2, 0, ZERO_NS + 5_000, 4_000, 4_000),
            (0, 1, ZERO_NS + 9_000, 5_000, 1_000),
            (1, 1, ZERO_NS + 10_000, 4_000, 4_000),
            (2, 1, ZERO_NS + 14_000, 0, -1),
        ],
        [(0, ZERO_NS, 9_000), (1, ZERO_NS + 9_000, 5_000)],
    )
    return process_records.profile(timed(400), nodes=nodes, traces={"ort": trace})


def timed(count: int) -> ProcessRecord:
    """A process that made so many inferences before the traced ones."""
    return process_records.process([1_500] * count, start_ns=ZERO_NS - 70_000_000)


@pytest.fixture
def long(profile: Profile) -> Profile:
    """The same after a timed pass that is not written in one piece."""
    return dataclasses.replace(profile, processes=(timed(40_000),))


@dataclasses.dataclass
class Slice:
    track: str
    name: str
    category: str
    start_ns: int
    end_ns: int
    depth: int
    facts: dict[str, Any]
    flows: list[int]


@dataclasses.dataclass
class Replay:
    """What a reader of the trace sees."""

    slices: list[Slice]
    counters: dict[str, list[tuple[int, int]]]
    units: dict[str, str]
    written: int

    def of(self, track: str) -> list[tuple[str, int, int, int]]:
        return [
            (one.name, one.depth, one.start_ns - ZERO_NS, one.end_ns - ZERO_NS)
            for one in self.slices
            if one.track == track
        ]


def replay(profile: Profile, path: Path) -> Replay:
    """Reads the trace back as Perfetto does: in the order of time, stable."""
    written = traces.write(profile, path, "perfetto")
    trace = schema.Trace.FromString(path.read_bytes())
    texts: dict[str, dict[int, str]] = defaultdict(dict)
    names: dict[int, str] = {}
    units: dict[str, str] = {}
    events = []
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == 1
        for message in (packet, packet.track_event, packet.track_descriptor, packet.interned_data):
            assert not len(unknown_fields.UnknownFieldSet(message))
        for field, entries in packet.interned_data.ListFields():
            for entry in entries:
                text = entry.str.decode() if field.name.endswith("values") else entry.name
                assert entry.iid not in texts[field.name]
                texts[field.name][entry.iid] = text
        if packet.HasField("track_descriptor"):
            one = packet.track_descriptor
            assert one.uuid not in names
            assert not one.parent_uuid or one.parent_uuid in names
            names[one.uuid] = one.name or one.process.process_name
            if one.HasField("counter"):
                units[one.name] = one.counter.unit_name
        if packet.HasField("track_event"):
            events.append((packet.timestamp, packet.track_event))
    slices: list[Slice] = []
    counters: dict[str, list[tuple[int, int]]] = defaultdict(list)
    open_slices: dict[str, list[Slice]] = defaultdict(list)
    kinds = schema.TrackEvent
    for time_ns, event in sorted(events, key=lambda one: one[0]):
        track = names[event.track_uuid]
        stack = open_slices[track]
        if event.type == kinds.TYPE_COUNTER:
            counters[track].append((time_ns, event.counter_value))
        elif event.type == kinds.TYPE_SLICE_END:
            stack.pop().end_ns = time_ns
        else:
            facts = {
                texts["debug_annotation_names"][one.name_iid]: (
                    texts["debug_annotation_string_values"][one.string_value_iid]
                    if one.HasField("string_value_iid")
                    else one.int_value
                )
                for one in event.debug_annotations
            }
            name = texts["event_names"][event.name_iid]
            (category,) = (texts["event_categories"][iid] for iid in event.category_iids)
            flows = [*event.flow_ids, *event.terminating_flow_ids]
            new = Slice(track, name, category, time_ns, -1, len(stack), facts, flows)
            slices.append(new)
            stack.append(new)
    assert not any(open_slices.values())
    return Replay(slices, counters, units, written)


def test_inferences_of_the_timed_pass_are_all_there(long: Profile, tmp_path: Path) -> None:
    seen = replay(long, tmp_path / "t.pftrace")
    inferences = [one for one in seen.slices if one.track == "timed pass"]
    series = long.processes[0].steady
    assert [one.start_ns for one in inferences] == series.start_ns.tolist()
    assert {one.end_ns - one.start_ns for one in inferences} == {1_500}
    assert {one.depth for one in inferences} == {0}
    assert inferences[-1].facts == {"inference": 39_999}
    assert seen.written == len(seen.slices)


def test_nodes_nest_where_intervals_touch(profile: Profile, tmp_path: Path) -> None:
    seen = replay(profile, tmp_path / "t.pftrace")
    assert seen.of("traced pass: ort") == [
        ("inference", 0, 0, 9_000),
        ("loop", 1, 0, 5_000),
        ("Mul", 2, 0, 5_000),
        ("<b>", 1, 5_000, 9_000),
        ("inference", 0, 9_000, 14_000),
        ("loop", 1, 9_000, 14_000),
        ("Mul", 2, 10_000, 14_000),
        ("<b>", 0, 14_000, 14_000),
    ]
    add = [one for one in seen.slices if one.name == "<b>"]
    assert add[1].facts["self_ns"] == -1
    assert add[0].facts["op_type"] == "Add"
    assert add[0].category == "ort"


def test_arrows_lead_from_the_launches_of_a_node_to_its_kernels(
    profile: Profile, tmp_path: Path
) -> None:
    work = device_records.kernels(
        ("conv", 0, ZERO_NS + 100, 50),
        ("relu", 0, ZERO_NS + 150, 50),
        ("add", 2, ZERO_NS + 200, 50),
        launch_ns=ZERO_NS + int64(10, 20, 30),
    )
    seen = replay(dataclasses.replace(profile, kernels=work), tmp_path / "t.pftrace")
    launches = [one for one in seen.slices if one.category == "launches"]
    assert [(one.name, len(one.flows)) for one in launches] == [("loop", 2), ("<b>", 1)]
    kernels = [one for one in seen.slices if one.track == "GPU stream 7"]
    assert [one.name for one in kernels] == ["conv", "relu", "add"]
    assert [one.flows for one in kernels] == [[flow] for one in launches for flow in one.flows]


def test_the_pass_of_a_devices_times_has_its_gaps_and_calls(
    profile: Profile, tmp_path: Path
) -> None:
    work = device_records.timeline(
        [("gemm", 0), ("add", 2)],
        [(ZERO_NS, 200, [(ZERO_NS + 30, 40), (ZERO_NS + 90, 20)])],
        [],
    )
    seen = replay(dataclasses.replace(profile, timeline=work), tmp_path / "t.pftrace")
    assert seen.of("device pass: calls") == [
        ("inference", 0, 0, 200),
        ("call", 1, 0, 100),
        ("the host waits for the device", 1, 100, 200),
    ]
    assert seen.of("device pass: GPU stream 7") == [("gemm", 0, 30, 70), ("add", 0, 90, 110)]
    assert seen.of("device pass: GPU idle, by the node it waits for") == [
        ("idle before its first work", 0, 0, 30),
        ("<b>", 0, 70, 90),
        ("after its last work", 0, 110, 200),
    ]
    gaps = [one for one in seen.slices if one.category == "device pass: idle"]
    assert [one.facts.get("waits_for") for one in gaps] == ["loop", "<b>", None]


def test_counters_have_their_unit_and_may_be_negative(profile: Profile, tmp_path: Path) -> None:
    readings = [(ZERO_NS, 5), (ZERO_NS + 10, -3), (ZERO_NS + 20, 2**60)]
    power = device_records.series("gpu0", "power_instant_mw", readings, unit="mW")
    seen = replay(dataclasses.replace(profile, devices=(power,)), tmp_path / "t.pftrace")
    assert seen.counters == {"gpu0 power_instant_mw": readings}
    assert seen.units == {"gpu0 power_instant_mw": "mW"}


def test_compressed_by_name(long: Profile, tmp_path: Path) -> None:
    plain, packed = tmp_path / "t.pftrace", tmp_path / "t.pftrace.gz"
    written = [traces.write(long, path, "perfetto") for path in (plain, packed)]
    assert written[0] == written[1]
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()


def test_names_that_are_no_unicode_are_kept_readable(profile: Profile, tmp_path: Path) -> None:
    assert profile.nodes is not None
    nodes = dataclasses.replace(profile.nodes, name=("\udcff", "", "日本語"))
    seen = replay(dataclasses.replace(profile, nodes=nodes), tmp_path / "t.pftrace")
    assert {"\\udcff", "日本語"} <= {one.name for one in seen.slices}
