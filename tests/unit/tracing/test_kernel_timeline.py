"""The device's times of one pass, joined by position to the nodes of another."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from harness.native import cupti
from harness.records import KernelEvents, Launches
from harness.tracing.kernels import join, timeline
from harness.tracing.kernels.timeline import Turn
from tests.builders.device_records import kernels
from tests.builders.recordings import joined_records, raw_records

NAMES = {1: "gemm", 2: "relu", 3: "softmax"}
NOT_LOST = cupti.CuptiRecording((), 0, 0, 0, 0, 0, "")


def records(*work: tuple[int, int, int, int], **more: Any) -> cupti.CuptiColumns:
    """Kernels of (name, correlation id, start, duration)."""
    array = np.zeros(len(work), cupti.WORK)
    for row, (name, correlation, start_ns, took_ns) in enumerate(work):
        array[row]["name"], array[row]["correlation"] = name, correlation
        array[row]["start_ns"], array[row]["end_ns"] = start_ns, start_ns + took_ns
    empty = np.zeros(0, cupti.CALL), np.zeros(0, cupti.EXTERNAL)
    return cupti.CuptiColumns(array, *empty, 0, more.get("truncated", 0))


def marked(*events: tuple[str, int, int, int], inference: list[int], **more: Any) -> KernelEvents:
    return kernels(*events, inference=np.array(inference, np.int32), **more)


#: Two inferences of two nodes, as a pass with marks saw them.
COLUMNS = records((1, 10, 100, 30), (2, 12, 140, 5), (1, 20, 300, 30), (2, 22, 340, 5))
EVENTS = marked(
    ("gemm", 0, 100, 30), ("relu", 1, 140, 5), ("gemm", 0, 300, 30), ("relu", 1, 340, 5),
    inference=[0, 0, 1, 1],
)  # fmt: skip


def turn(columns: cupti.CuptiColumns | None, *start_ns: int, took_ns: int = 100) -> Turn:
    starts = np.array(start_ns, np.int64)
    took = np.full(len(starts), took_ns, np.int64)
    if columns is None:
        return Turn(starts, took // 2, took)
    return Turn(starts, took // 2, took, columns, NOT_LOST, NAMES)


def learnt() -> Launches:
    return timeline.learn(COLUMNS, EVENTS)


def test_what_an_inference_launches_is_learnt_with_its_nodes() -> None:
    launches = learnt()
    assert launches.name == ("gemm", "relu")
    assert launches.node.tolist() == [0, 1]
    assert launches.grid.tolist() == [[8, 2, 1]] * 2


def test_the_order_is_that_of_launching_whatever_started_first() -> None:
    # On two streams relu starts first in the second inference.
    columns = records((1, 10, 100, 30), (2, 12, 140, 5), (2, 22, 290, 5), (1, 20, 300, 30))
    events = marked(
        ("gemm", 0, 100, 30), ("relu", 1, 140, 5), ("relu", 1, 290, 5), ("gemm", 0, 300, 30),
        inference=[0, 0, 1, 1],
    )  # fmt: skip
    assert timeline.learn(columns, events).name == ("gemm", "relu")


def test_ids_that_wrap_around_keep_their_order() -> None:
    last = 2**32 - 1
    columns = records((1, last, 100, 30), (2, 1, 140, 5), (1, 3, 300, 30), (2, 5, 340, 5))
    assert timeline.learn(columns, EVENTS).name == ("gemm", "relu")


def test_work_without_ids_is_in_the_order_of_its_starts() -> None:
    recorded = records((2, 0, 1050, 6), (1, 0, 1010, 31), (2, 0, 1150, 7), (1, 0, 1120, 32))
    placed = timeline.place(learnt(), [turn(recorded, 1000, 1100)])
    assert placed.times.start_ns.tolist() == [1010, 1050, 1120, 1150]


@pytest.mark.parametrize(
    ("last", "inference", "dropped", "reason"),
    [
        (("exp", 1), [0, 0, 1, 1], 0, "launch 1 is kernel exp in inference 1, kernel relu in the"),
        (("relu", 1), [0, 0, 1, -1], 0, "1 launches in inference 1, 2 in the first"),
        (("relu", 0), [0, 0, 1, 1], 0, "launch 1 .* to another node in inference 1 than in the"),
        (("relu", 1), [-1, -1, -1, -1], 0, "did nothing in any inference"),
        (("relu", 1), [0, 0, 1, 1], 3, "3 of CUPTI's records of the pass with nodes were lost"),
    ],
)
def test_inferences_that_differ_teach_nothing(
    last: tuple[str, int], inference: list[int], dropped: int, reason: str
) -> None:
    events = marked(
        ("gemm", 0, 100, 30), ("relu", 1, 140, 5), ("gemm", 0, 300, 30), (*last, 340, 5),
        inference=inference, dropped=dropped,
    )  # fmt: skip
    with pytest.raises(ValueError, match=reason):
        timeline.learn(COLUMNS, events)


def test_times_are_joined_by_position() -> None:
    # Of the first inference two warm-up launches are recorded, too, before it.
    recorded = records(
        (1, 50, 900, 30), (2, 51, 940, 5),
        (1, 60, 1010, 31), (2, 61, 1050, 6), (1, 70, 1120, 32), (2, 71, 1150, 7),
    )  # fmt: skip
    placed = timeline.place(
        learnt(), [turn(None, 500, 600), turn(recorded, 1000, 1100), turn(None, 2000)]
    )
    assert placed.inferences.recorded.tolist() == [0, 0, 1, 1, 0]
    assert placed.inferences.start_ns.tolist() == [500, 600, 1000, 1100, 2000]
    assert placed.times.inference.tolist() == [2, 2, 3, 3]
    assert placed.times.launch.tolist() == [0, 1, 0, 1]
    assert placed.times.start_ns.tolist() == [1010, 1050, 1120, 1150]
    assert placed.times.duration_ns.tolist() == [31, 6, 32, 7]


def test_times_of_another_clock_are_brought_to_ours() -> None:
    ahead = turn(records((1, 60, 6010, 31), (2, 61, 6050, 6)), 1000)
    ahead = ahead._replace(recording=NOT_LOST._replace(offset_ns=5000))
    assert timeline.place(learnt(), [ahead]).times.start_ns.tolist() == [1010, 1050]


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        (records((1, 60, 1010, 31)), "1 launches in inference 2, 2 in the first"),
        (
            records((1, 60, 1010, 31), (3, 61, 1050, 6)),
            "launch 1 is kernel softmax in inference 2, kernel relu in the first",
        ),
        (
            records((1, 60, 1010, 31), (2, 61, 1050, 6), (2, 62, 1060, 6)),
            "3 launches in inference 2, 2 in the first",
        ),
        (records((1, 60, 5, 31), (2, 61, 10, 6)), "did nothing in any inference"),
        (records((1, 60, 1010, 31), (2, 61, 0, 0)), "1 of CUPTI's records were lost"),
        (records((1, 60, 1010, 31), truncated=2), "2 of CUPTI's records were lost"),
    ],
)
def test_a_pass_that_launches_something_else_is_refused(
    recorded: cupti.CuptiColumns, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        timeline.place(learnt(), [turn(None, 500, 600), turn(recorded, 1000)])


def test_without_records_there_are_no_times() -> None:
    with pytest.raises(ValueError, match="recorded nothing"):
        timeline.place(learnt(), [turn(None, 500)])


def test_records_of_a_gpu_are_joined_by_position_as_by_id() -> None:
    """The same records twice: with their marks and, as a second pass would have them, without."""
    raw = raw_records()
    start_ns, duration_ns = join.inferences(raw.marks)
    events = joined_records(raw)
    alone = raw.columns._replace(call=raw.columns.call[:0], external=raw.columns.external[:0])
    placed = timeline.place(
        timeline.learn(raw.columns, events),
        [Turn(start_ns, duration_ns, duration_ns, alone, raw.recording, raw.names)],
    )
    assert placed.launches.node.tolist() == [0, 0, 1, 2, 2, 3, 4, 4, -1]
    assert placed.launches.node[placed.times.launch].tolist() == events.node.tolist()
    assert placed.times.inference.tolist() == events.inference.tolist()
    assert placed.times.start_ns.tolist() == events.start_ns.tolist()
    assert placed.times.duration_ns.tolist() == events.duration_ns.tolist()


def test_what_a_graph_replays_is_in_the_order_of_its_starts_whatever_its_ids() -> None:
    # The ids of the second replay are those of two other calls.
    recorded = records(
        (1, 60, 1010, 31), (2, 60, 1050, 6), (1, 75, 1120, 32), (2, 71, 1160, 7)
    )  # fmt: skip
    placed = timeline.place(learnt(), [turn(recorded, 1000, 1100)], replayed=True)
    assert placed.times.start_ns.tolist() == [1010, 1050, 1120, 1160]
    assert placed.times.launch.tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="launch 0 is kernel relu"):
        timeline.place(learnt(), [turn(recorded, 1000, 1100)])


def test_a_graph_may_set_and_copy_memory_by_kernels() -> None:
    launched = dataclasses.replace(
        learnt(), kind=("memcpy", "memset"), name=("DtoD", "memset")
    )  # fmt: skip
    names = {1: "memcpy32_post", 2: "memset32_aligned1D"}
    recorded = records((1, 60, 1010, 31), (2, 60, 1050, 6))
    replay = turn(recorded, 1000)._replace(names=names)
    placed = timeline.place(launched, [replay], replayed=True)
    assert placed.launches.kind == ("memcpy", "memset")
    for kinds in (("memset", "memset"), ("memcpy", "kernel")):
        other = dataclasses.replace(launched, kind=kinds)
        with pytest.raises(ValueError, match="does not do the same"):
            timeline.place(other, [replay], replayed=True)
    with pytest.raises(ValueError, match="kernel memcpy32_post"):
        timeline.place(launched, [replay])
