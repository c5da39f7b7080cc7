from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from harness.operators import OperatorTable, operator_table
from harness.records import (
    LatencySeries,
    ModelRecord,
    NodeEvents,
    NodeTable,
    ProcessRecord,
    Profile,
    Reading,
)
from harness.statistics import Figure


def process(index: int, duration_ns: int) -> ProcessRecord:
    empty = LatencySeries(np.empty(0, np.int64), np.empty(0, np.int64))
    steady = LatencySeries(np.arange(3), np.full(3, duration_ns, np.int64))
    return ProcessRecord(index, 100 + index, 1, 2, 3, empty, steady, 1, (), {}, ())


def nodes(**columns: Any) -> NodeTable:
    """A table whose other columns say "not seen"."""
    count = len(columns["name"])
    blank = {
        field.name: ("",) * count if "tuple" in str(field.type) else np.full(count, -1, np.int64)
        for field in dataclasses.fields(NodeTable)
    }
    return NodeTable(**{**blank, **columns})


def events(
    executions: list[tuple[int, int, int, int, int]],
    inferences: list[tuple[int, int, int, int]],
    dropped: int = 0,
) -> NodeEvents:
    """Events (node, process, inference, total, own), inferences (process, number, ns, rest)."""
    node, in_process, inference, duration_ns, self_ns = np.array(executions, np.int64).T
    of_process, number, whole_ns, framework_ns = np.array(inferences, np.int64).T
    return NodeEvents(
        source="ort_profiler",
        node=node.astype(np.int32),
        process=in_process.astype(np.int32),
        inference=inference.astype(np.int32),
        start_ns=np.arange(len(node)),
        duration_ns=duration_ns,
        self_ns=self_ns,
        details={},
        inference_process=of_process.astype(np.int32),
        inference_number=number.astype(np.int32),
        inference_start_ns=np.arange(len(number)),
        inference_duration_ns=whole_ns,
        inference_framework_ns=framework_ns,
        dropped=dropped,
        resolution_ns=1000,
    )


def profile(
    processes: tuple[ProcessRecord, ...],
    table: NodeTable | None = None,
    trace: NodeEvents | None = None,
    absent: tuple[tuple[str, str], ...] = (),
) -> Profile:
    return Profile(
        path=None,
        harness_version="0.1.0",
        created="2026-01-01T00:00:00+00:00",
        complete=True,
        config="{}",
        model=ModelRecord("m", "m.onnx", "00", 1, "", 8, (), 1, 0),
        provider="cpu",
        inputs=(),
        output_check=Reading("error", None, reason="no data set"),
        environment=(),
        processes=processes,
        nodes=table,
        traces={"ort": trace} if trace is not None else {},
        absent=absent,
    )


def found(of: Profile, **options: str) -> OperatorTable:
    table = operator_table(of, **options)  # type: ignore[arg-type]
    assert isinstance(table, OperatorTable)
    return table


@pytest.fixture
def control_flow() -> Profile:
    """A Relu, a Loop whose body is an Add (twice an inference), and a branch never taken.

    Two processes trace three inferences each, numbered alike, the second and the third twice
    and three times as long as the first.
    """
    table = nodes(
        name=("relu", "loop", "add", "never"),
        op_type=("Relu", "Loop", "Add", "Add"),
        provider=("CPU",) * 4,
        parent=np.array([-1, -1, 1, 1]),
    )
    executions = []
    inferences = []
    for of_process in (0, 1):
        for number in (0, 1, 2):
            times = 1 + number
            executions += [
                (0, of_process, number, 10 * times, 10 * times),
                (1, of_process, number, 100 * times, 40 * times),
                (2, of_process, number, 30 * times, 30 * times),
                (2, of_process, number, 30 * times, 30 * times),
            ]
            inferences.append((of_process, number, 150 * times, 40 * times))
    trace = events(executions, inferences, dropped=7)
    return profile((process(0, 200), process(1, 100)), table, trace)


def test_an_inference_with_control_flow_is_counted_once(control_flow: Profile) -> None:
    table = found(control_flow)
    assert (table.source, table.resolution_ns, table.inferences) == ("ort_profiler", 1000, 6)
    assert [row.node for row in table.operators] == ["add", "loop", "relu"], (
        "longest own time first; what never ran is left out"
    )
    add, loop, relu = table.operators
    assert (add.median_ns, add.total_ns, add.calls) == (120, 120, 2)
    assert (loop.median_ns, loop.total_ns, loop.calls) == (80, 200, 1)
    assert (relu.median_ns, relu.total_ns, relu.calls) == (20, 20, 1)
    assert (loop.p10_ns, loop.p90_ns) == (40, 120)
    # Own times hold the body of the Loop once: 20 + 80 + 120.
    assert [row.share for row in table.operators] == pytest.approx([120 / 220, 80 / 220, 20 / 220])


def test_accounts_close(control_flow: Profile) -> None:
    accounts = found(control_flow).accounts
    assert accounts.nodes_ns == 220
    assert accounts.framework_ns == 80
    assert accounts.traced_ns == accounts.nodes_ns + accounts.framework_ns
    assert accounts.clean_ns == 150, "median of the processes' medians 200 and 100"
    # 300 traced against 200 and 100: half as much more, and twice as much more.
    assert accounts.residual == pytest.approx((0.5 + 2) / 2)
    assert accounts.dropped == 7


def test_rows_are_sorted_as_asked(control_flow: Profile) -> None:
    orders = {
        "time": ["add", "loop", "relu"],
        "total": ["loop", "add", "relu"],
        "order": ["relu", "loop", "add"],
        "calls": ["add", "relu", "loop"],
        "name": ["add", "loop", "relu"],
    }
    for sort, names in orders.items():
        assert [row.node for row in found(control_flow, sort=sort).operators] == names


def test_nodes_of_an_op_type_are_added_up(control_flow: Profile) -> None:
    table = control_flow.nodes
    assert table is not None
    renamed = dataclasses.replace(table, op_type=("Relu", "Loop", "Relu", "Relu"))
    relu, loop = found(dataclasses.replace(control_flow, nodes=renamed), by="op").operators
    assert (relu.node, relu.op_type) == ("2 nodes", "Relu")
    assert (relu.median_ns, relu.calls, relu.share) == (140, 3, pytest.approx(140 / 220))
    assert (loop.node, loop.op_type, loop.total_ns) == ("1 node", "Loop", 200)


def test_a_node_that_ran_in_some_inferences_counts_as_nothing_in_the_others() -> None:
    table = nodes(name=("a", "b"), op_type=("A", "B"), provider=("CPU", "CPU"))
    trace = events(
        [(0, 0, 0, 50, 50), (0, 0, 1, 50, 50), (0, 0, 2, 50, 50), (1, 0, 1, 90, 90)],
        [(0, 0, 60, 10), (0, 1, 150, 10), (0, 2, 60, 10)],
    )
    a, b = found(profile((process(0, 50),), table, trace)).operators
    assert (a.median_ns, a.calls, a.share) == (50, 1, 1)
    assert (b.median_ns, b.calls) == (0, pytest.approx(1 / 3))


@pytest.mark.parametrize("count", [1, 2])
def test_accounts_of_few_inferences(count: int) -> None:
    """A slow model is traced once or twice."""
    table = nodes(name=("a",), op_type=("A",), provider=("CPU",))
    trace = events(
        [(0, 0, number, 80 + number, 80 + number) for number in range(count)],
        [(0, number, 100 + number, 20) for number in range(count)],
    )
    accounts = found(profile((process(0, 50),), table, trace)).accounts
    assert 80 <= accounts.nodes_ns <= 81
    assert 100 <= accounts.traced_ns <= 101
    assert accounts.residual == pytest.approx(1, abs=0.03)


def test_no_operators_without_a_trace() -> None:
    measured = (process(0, 50),)
    asked = operator_table(profile(measured))
    assert asked == Figure(None, "no traced pass was asked for")
    failed = operator_table(profile(measured, absent=(("trace/ort", "no room"),)))
    assert failed == Figure(None, "no room")
    assert operator_table(profile(())) == Figure(None, "no process has finished")
