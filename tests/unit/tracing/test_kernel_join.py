"""Joining what the GPU did to nodes and inferences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from harness.native import cupti, marks
from harness.records import KernelEvents
from harness.tracing.kernels import join
from tests.builders.recordings import joined_records, raw_records

FIRST_ID = 7 << 32
OURS, FOREIGN = 3, 4
NODE, SESSION = 1, 0


def rows(dtype: Any, entries: Sequence[dict[str, Any]], **defaults: Any) -> Any:
    array = np.zeros(len(entries), dtype)
    for place, entry in enumerate(entries):
        for name, value in (defaults | entry).items():
            array[name][place] = value
    return array


def mark(name: str, start: int, stop: int, parent: int = -1, category: int = NODE) -> Any:
    return {
        "name": name.encode(),
        "start_ns": start,
        "stop_ns": stop,
        "parent": parent,
        "category": category,
    }


def node(row: int, start: int, stop: int, parent: int = 0) -> Any:
    return mark(f"harness_node_{row}_kernel_time", start, stop, parent)


def marks_of(*entries: Any, lost: int = 0) -> marks.Marks:
    return marks.Marks(FIRST_ID, rows(marks.MARK, entries), lost, 0, 0)


def kernel(start: int, end: int, correlation: int, **more: Any) -> Any:
    return {"start_ns": start, "end_ns": end, "correlation": correlation} | more


def launch(start: int, end: int, correlation: int) -> Any:
    return {"start_ns": start, "end_ns": end, "correlation": correlation}


def names_mark(index: int, correlation: int, kind: int = OURS) -> Any:
    return {"id": FIRST_ID + index, "kind": kind, "correlation": correlation}


def columns(
    work: Sequence[Any], call: Sequence[Any] = (), external: Sequence[Any] = (), truncated: int = 0
) -> cupti.CuptiColumns:
    return cupti.CuptiColumns(
        rows(cupti.WORK, work, copy_kind=-1, name=1),
        rows(cupti.CALL, call),
        rows(cupti.EXTERNAL, external),
        0,
        truncated,
    )


#: Two inferences of two nodes: 100 to 200 and 300 to 400.
MARKS = marks_of(
    mark("model_run", 100, 200, category=SESSION),
    node(0, 110, 130),
    node(1, 140, 190),
    mark("model_run", 300, 400, category=SESSION),
    node(0, 310, 330, 3),
    node(1, 340, 390, 3),
)


def joined(given: cupti.CuptiColumns, marks: marks.Marks = MARKS, **recording: Any) -> KernelEvents:
    lasted = {"dropped": 0, "unreadable": 0, "unnamed": 0, "offset_ns": 0, "step_ns": 0}
    start_ns, duration_ns = join.inferences(marks)
    return join.join(
        given,
        {1: "gemm"},
        marks,
        cupti.CuptiRecording((), failure="", **(lasted | recording)),
        inference_start_ns=start_ns,
        inference_duration_ns=duration_ns,
        process=4,
    )


class TestJoin:
    def test_a_kernel_names_its_node_and_inference(self) -> None:
        events = joined(
            columns(
                [kernel(345, 350, 12), kernel(125, 160, 10), kernel(170, 230, 11)],
                [launch(342, 344, 12), launch(112, 115, 10), launch(150, 155, 11)],
                [names_mark(5, 12), names_mark(1, 10), names_mark(2, 11)],
            )
        )
        assert events.start_ns.tolist() == [125, 170, 345]
        assert events.node.tolist() == [0, 1, 1]
        assert events.inference.tolist() == [0, 0, 1]
        assert events.process.tolist() == [4] * 3
        assert events.duration_ns.tolist() == [35, 60, 5]
        assert events.launch_ns.tolist() == [112, 150, 342]
        assert events.kind == ("kernel",) * 3
        assert events.name == ("gemm",) * 3
        assert (events.unjoined_reason, events.disagreements, events.dropped) == ("", 0, 0)

    def test_times_do_not_decide(self) -> None:
        """A kernel may run long after its node has ended, while another one executes."""
        events = joined(
            columns([kernel(145, 150, 10)], [launch(112, 115, 10)], [names_mark(1, 10)])
        )
        assert events.node.tolist() == [0]
        assert events.disagreements == 0

    def test_copies_and_settings_of_memory(self) -> None:
        events = joined(
            columns(
                [
                    kernel(150, 160, 1, kind=1, copy_kind=1, bytes=64, grid=-1),
                    kernel(161, 162, 2, kind=1, copy_kind=99),
                    kernel(163, 164, 3, kind=2, bytes=8),
                ],
                external=[names_mark(2, 1), names_mark(2, 2), names_mark(2, 3)],
            )
        )
        assert events.kind == ("memcpy", "memcpy", "memset")
        assert events.name == ("HtoD", "unknown", "memset")
        assert events.bytes.tolist() == [64, 0, 8]
        assert events.grid[0].tolist() == [-1, -1, -1]
        assert events.launch_ns.tolist() == [-1] * 3
        assert events.node.tolist() == [1] * 3

    def test_the_first_of_calls_that_share_a_correlation_launched_it(self) -> None:
        events = joined(
            columns(
                [kernel(170, 180, 10)],
                [launch(152, 153, 10), launch(150, 155, 10)],
                [names_mark(2, 10), names_mark(2, 10)],
            )
        )
        assert events.launch_ns.tolist() == [150]
        assert events.disagreements == 0

    def test_stamps_of_another_clock_are_brought_to_ours(self) -> None:
        events = joined(
            columns([kernel(1125, 1160, 10)], [launch(1112, 1115, 10)], [names_mark(1, 10)]),
            offset_ns=1000,
        )
        assert events.start_ns.tolist() == [125]
        assert events.launch_ns.tolist() == [112]
        assert events.disagreements == 0

    @pytest.mark.parametrize("interval", [(105, 115), (125, 135), (150, 160), (10, 20)])
    def test_a_launch_outside_of_its_node_is_a_disagreement(
        self, interval: tuple[int, int]
    ) -> None:
        events = joined(
            columns([kernel(170, 180, 10)], [launch(*interval, 10)], [names_mark(1, 10)])
        )
        assert events.node.tolist() == [0]
        assert events.disagreements == 1

    def test_a_node_that_never_ended_cannot_be_overstepped(self) -> None:
        marks = marks_of(mark("model_run", 100, 200, category=SESSION), node(0, 110, -1))
        given = columns([kernel(170, 180, 10)], [launch(150, 155, 10)], [names_mark(1, 10)])
        assert joined(given, marks).disagreements == 0

    def test_nothing_at_all(self) -> None:
        for given in (MARKS, marks_of()):
            events = joined(columns([]), given)
            assert len(events) == 0
            assert events.grid.shape == (0, 3)
            assert events.unjoined_reason == ""

    def test_no_marks(self) -> None:
        events = joined(columns([kernel(170, 180, 10)], external=[names_mark(1, 10)]), marks_of())
        assert events.node.tolist() == [-1]
        assert events.inference.tolist() == [-1]
        assert "from another time" in events.unjoined_reason


class TestLosses:
    def test_work_without_stamps_is_dropped_and_counted(self) -> None:
        events = joined(
            columns(
                [kernel(0, 0, 1), kernel(150, 0, 2), kernel(160, 170, 3), kernel(180, 175, 4)],
                truncated=2,
            ),
            dropped=10,
        )
        assert events.start_ns.tolist() == [160]
        assert events.dropped == 10 + 2 + 3

    def test_each_reason_is_counted(self) -> None:
        marks = marks_of(
            mark("model_run", 100, 200, category=SESSION),
            node(0, 110, 130),
            mark("Memcpy_token_7_kernel_time", 140, 150, 0),
            lost=1,
        )
        events = joined(
            columns(
                [
                    kernel(120, 121, 1),
                    kernel(122, 123, 2),
                    kernel(124, 125, 3),
                    kernel(126, 127, 4),
                    kernel(128, 129, 5),
                    kernel(130, 131, 6, graph=9),
                    kernel(132, 133, 7),
                ],
                external=[
                    names_mark(1, 1),
                    names_mark(0, 2),
                    names_mark(2, 3),
                    names_mark(3, 4),
                    names_mark(1, 5, kind=FOREIGN),
                    names_mark(0, 6),
                    names_mark(-5, 7),
                    names_mark(1, 99),
                ],
            ),
            marks,
        )
        assert events.node.tolist() == [0, -1, -1, -1, -1, -1, -1]
        assert events.unjoined_reason == (
            "6 of 7 belong to no node: 1 launched by a CUDA graph, which does not record nodes, "
            "1 in nodes that ONNX Runtime added (Memcpy_token_7_kernel_time), "
            "1 launched by ONNX Runtime outside of any node, "
            "2 with marks that were lost (1 did not fit) or are from another time, "
            "1 launched outside of any event of ONNX Runtime"
        )

    def test_work_outside_of_all_inferences(self) -> None:
        events = joined(columns([kernel(50, 60, 1), kernel(250, 260, 2), kernel(450, 460, 3)]))
        assert events.inference.tolist() == [-1, -1, -1]

    def test_unjoined_work_belongs_to_the_inference_that_launched_it(self) -> None:
        events = joined(columns([kernel(250, 260, 1)], [launch(195, 196, 1)]))
        assert events.node.tolist() == [-1]
        assert events.inference.tolist() == [0]


class TestReasons:
    @pytest.mark.parametrize(
        ("failure", "remedy"),
        [
            ("cuptiActivityEnable: CUPTI_ERROR_UNKNOWN (999)", "NVIDIA driver"),
            ("cuptiActivityEnable: CUPTI_ERROR_INSUFFICIENT_PRIVILEGES (35)", "AdminUsers=0"),
            (
                "cuptiActivityEnable: CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES (40)",
                "on the host",
            ),
            (
                "cuptiActivityEnable: CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED (39)",
                "another profiler",
            ),
            ("libcupti.so.13: cannot open shared object file", "pip install nvidia-cuda-cupti"),
            ("cuptiActivityEnable: CUPTI_ERROR_HARDWARE (9)", "CUPTI_ERROR_HARDWARE (9)"),
        ],
    )
    def test_a_failure_comes_with_what_to_do(self, failure: str, remedy: str) -> None:
        reason = join.why_absent(failure)
        assert failure in reason
        assert remedy in reason

    def test_candidates_end_with_the_systems_own(self) -> None:
        assert join.cupti_candidates()[-2:] == ("libcupti.so.13", "libcupti.so.12")


def test_records_of_a_gpu_are_joined_again() -> None:
    events = joined_records(raw_records())
    assert events.inference.tolist() == [0] * 9 + [1] * 9 + [2] * 9
    # A product of matrices is a copy of the bias and a kernel; the last is the output's copy.
    assert events.node.tolist() == [0, 0, 1, 2, 2, 3, 4, 4, -1] * 3
    assert (events.disagreements, events.dropped) == (0, 0)
    assert events.unjoined_reason.startswith("3 of 27 belong to no node: 3 launched by ONNX")
