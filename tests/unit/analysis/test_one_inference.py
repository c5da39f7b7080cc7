"""A typical inference on both clocks: hand-made timelines, and a GPU's recorded work."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.analysis.device_time import DeviceTime, device_time
from harness.analysis.one_inference import DeviceInference, device_inference
from harness.records import NodeEvents, Profile
from harness.statistics.figures import Figure
from harness.storage.assembly import merge_timelines
from tests.builders.device_records import kernels, timeline
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile
from tests.builders.recordings import PROFILES, on_both_clocks, recorded

#: relu's first kernel starts while gemm still runs; the copy belongs to no node.
LAUNCHES = [("gemm", 0), ("relu", 1), ("relu", 1), ("DtoH", -1)]
SHORT = (1000, 150, [(1030, 40), (1050, 30), (1090, 20), (1120, 5)])
TYPICAL = (3000, 200, [(3030, 40), (3050, 40), (3100, 20), (3140, 30)])
LONG = (2000, 900, [(2040, 40), (2090, 20), (2140, 30), (2160, 30)])


def probed(start_ns: int, index: int = 0) -> NodeEvents:
    """One inference in which the host takes 60 ns for gemm and then 50 for relu."""
    return NodeEvents(
        source="probe",
        node=np.array([0, 1], np.int32),
        process=np.full(2, index, np.int32),
        inference=np.zeros(2, np.int32),
        start_ns=np.array([start_ns + 10, start_ns + 70]),
        duration_ns=np.array([60, 50]),
        self_ns=np.array([60, 50]),
        details={},
        inference_process=np.full(1, index, np.int32),
        inference_number=np.zeros(1, np.int32),
        inference_start_ns=np.array([start_ns]),
        inference_duration_ns=np.array([125]),
        inference_framework_ns=np.array([15]),
        dropped=0,
        resolution_ns=1,
    )


def measured(**columns: object) -> Profile:
    nodes = table([-1, -1], name=("fc", "act"), op_type=("Gemm", "Relu"), carrier=np.arange(2))
    whole = dataclasses.replace(profile(process([200])), nodes=nodes, provider="cuda")
    return dataclasses.replace(whole, **columns)  # type: ignore[arg-type]


def found(profile: Profile, process: int | None = None) -> DeviceInference:
    seen = device_inference(profile, process)
    assert isinstance(seen, DeviceInference), seen.reason
    return seen


def test_the_median_inference_is_taken_with_its_gaps() -> None:
    seen = found(measured(timeline=timeline(LAUNCHES, [SHORT, LONG, TYPICAL], [190])))
    assert (seen.alone, seen.start_ns, seen.duration_ns, seen.enqueue_ns) == (True, 3000, 200, 100)
    assert (seen.process, seen.number, seen.among) == (0, 2, 3)
    assert seen.work.idle_ns.tolist() == [0, 0, 10, 20]
    assert seen.work.node.tolist() == [0, 1, 1, -1]
    assert seen.work.end_ns == 3170
    assert (len(seen.host), seen.host.source, len(seen.arrows.work)) == (0, "", 0)


def test_the_nodes_of_another_inference_begin_with_its_call() -> None:
    work = timeline(LAUNCHES, [TYPICAL], [190])
    seen = found(measured(timeline=work, traces={"probe": probed(9000)}))
    assert seen.host.start_ns.tolist() == [3010, 3070]
    assert (seen.host.source, seen.host.taken_ns) == ("probe", 125)
    # To the first work of each node; the copy is no node's.
    assert seen.arrows.host.tolist() == [0, 1]
    assert seen.arrows.work.tolist() == [0, 1]
    assert seen.arrows.at_ns.tolist() == [3010, 3070]


def test_what_a_node_covers_is_led_to_from_it() -> None:
    whole = measured(timeline=timeline(LAUNCHES, [TYPICAL], [190]))
    assert whole.nodes is not None
    covered = dataclasses.replace(whole.nodes, carrier=np.array([0, 0]))
    events = dataclasses.replace(probed(9000), node=np.array([0, -1], np.int32)).part(slice(1))
    seen = found(dataclasses.replace(whole, nodes=covered, traces={"probe": events}))
    assert seen.arrows.work.tolist() == [0]


def test_a_process_has_its_own() -> None:
    both = merge_timelines(
        [timeline(LAUNCHES, [TYPICAL], [190]), timeline(LAUNCHES, [LONG], [890], process=1)]
    )
    whole = measured(timeline=both, traces={"probe": probed(9000)})
    assert found(whole, 0).duration_ns == 200
    seen = found(whole, 1)
    assert (seen.process, seen.number, seen.among, seen.duration_ns) == (1, 0, 1, 900)
    assert seen.host.process == 0, "only that process was recorded with probes"
    assert isinstance(device_inference(whole, 2), Figure)


def test_without_that_pass_the_launches_are_the_hosts_lane() -> None:
    work = kernels(("gemm", 0, 100, 40), ("relu", 1, 160, 20), ("relu", 1, 190, 20))
    work = dataclasses.replace(work, launch_ns=np.array([50, 90, 120]))
    seen = found(measured(kernels=work))
    assert (seen.alone, seen.start_ns, seen.duration_ns, seen.enqueue_ns) == (False, 50, 160, None)
    assert seen.host.source == "launches"
    assert seen.host.node.tolist() == [0, 1]
    assert seen.host.start_ns.tolist() == [50, 90]
    assert seen.host.duration_ns.tolist() == [0, 30]
    assert seen.arrows.host.tolist() == [0, 1, 1]
    assert seen.arrows.at_ns.tolist() == [50, 90, 120]


def test_launches_that_are_not_known_have_no_arrow() -> None:
    work = dataclasses.replace(kernels(("gemm", 0, 100, 40)), launch_ns=np.array([-1]))
    seen = found(measured(kernels=work))
    assert (seen.start_ns, len(seen.host), len(seen.arrows.at_ns)) == (100, 0, 0)


def test_why_there_is_none() -> None:
    seen = device_inference(measured(absent=(("trace/kernels", "CUPTI is in use"),)))
    assert isinstance(seen, Figure)
    assert seen.reason == "CUPTI is in use"


@pytest.mark.parametrize("name", PROFILES)
def test_of_a_recording_all_work_of_one_inference_is_there(name: str) -> None:
    whole = recorded(name)
    assert whole.kernels is not None
    seen = found(whole)
    mine = (whole.kernels.process == seen.process) & (whole.kernels.inference == seen.number)
    assert len(seen.work) == np.count_nonzero(mine)
    assert len(seen.arrows.at_ns) == len(seen.work)
    assert (seen.arrows.at_ns <= seen.work.start_ns[seen.arrows.work]).all()
    # A lane: what is drawn on it does not overlap.
    assert (np.diff(seen.host.start_ns) >= seen.host.duration_ns[:-1]).all()


@pytest.mark.parametrize("name", PROFILES)
def test_the_gaps_of_one_inference_are_those_of_the_accounts(name: str) -> None:
    whole = on_both_clocks(name)
    seen, accounts = found(whole), device_time(whole)
    assert isinstance(accounts, DeviceTime)
    busy_ns = seen.work.end_ns - int(seen.work.start_ns[0]) - int(seen.work.idle_ns.sum())
    assert busy_ns == pytest.approx(accounts.accounts.busy_ns, rel=0.05)
    assert len(seen.arrows.work) == len(seen.host)
    assert set(seen.work.node[seen.arrows.work].tolist()) == set(seen.host.node.tolist())
