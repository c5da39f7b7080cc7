"""Tables of operator times against tables calculated by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from harness.analysis.operators.labels import layer
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.errors import ProfileFileError
from harness.records import (
    LatencySeries,
    ModelRecord,
    NodeEvents,
    NodeTable,
    ProcessRecord,
    Profile,
    Reading,
)
from harness.statistics.figures import Figure


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
        source="ort",
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


def test_an_event_of_no_inference_is_damage(control_flow: Profile) -> None:
    trace = control_flow.traces["ort"]
    strange = trace.inference.copy()
    strange[-1] = trace.inference_number.max() + 1
    traces = {"ort": dataclasses.replace(trace, inference=strange)}
    with pytest.raises(ProfileFileError, match="belongs to no inference"):
        operator_table(dataclasses.replace(control_flow, traces=traces))


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
    assert (table.source, table.resolution_ns, table.inferences) == ("ort", 1000, 6)
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
    assert accounts.clean_ns == pytest.approx(20_000**0.5), "of the processes' 200 and 100"
    # 300 traced against 200 and 100: half as much more, and twice as much more.
    assert accounts.residual == pytest.approx((1.5 * 3) ** 0.5 - 1)
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


def probed(
    executions: list[tuple[int, int, int, int, int]],
    inferences: list[tuple[int, int, int, int]],
    probe_cost_ns: list[int],
    frame_ns: list[int],
) -> NodeEvents:
    """As ``events``, with what the probes cost each execution."""
    return dataclasses.replace(
        events(executions, inferences),
        source="probe",
        resolution_ns=1,
        details={
            "probe_cost_ns": np.array(probe_cost_ns),
            "frame_ns": np.array(frame_ns),
        },
    )


def calibration(cost_ns: int) -> NodeEvents:
    return dataclasses.replace(
        events([(0, 0, 0, cost_ns, cost_ns)], [(0, 0, 100, -1)]), source="probe"
    )


@pytest.fixture
def spanned() -> Profile:
    """Of six nodes the first has no probe; the third shares that of the second.

    The fourth is an If: of its body, 5 nodes on, one has a probe and one has not.
    """
    table = nodes(
        name=("", "a/b.0/conv", "a/b.0/fill", "a/b.1/if", "a/b.1/sin", "a/b.1/random"),
        op_type=("Random", "Conv", "ConstantOfShape", "If", "Sin", "Random"),
        provider=("CPU",) * 6,
        parent=np.array([-1, -1, -1, -1, 3, 3]),
        depth=np.array([0, 0, 0, 0, 1, 1]),
        order=np.array([0, 1, 2, 3, 1, 0]),
        carrier=np.array([-1, 1, 1, 3, 4, 3]),
        flops=np.array([-1, 6000, 0, 0, 50, 7]),
        traffic_bytes=np.array([-1, 100, 20, 0, 8, -1]),
        arithmetic=("", "float32", "", "", "float32", ""),
    )
    # Nodes 60 + 100 + 40, framework 50, probes 5 + 6 + 7, one outside 8: 276 of 280.
    trace = probed(
        [(1, 0, 0, 60, 60), (3, 0, 0, 140, 100), (4, 0, 0, 40, 40)],
        [(0, 0, 280, 50)],
        probe_cost_ns=[5, 6, 7],
        frame_ns=[2, 2, 0],
    )
    ort = events(
        [(row, 0, 0, 1000 * (row + 1), 1000 * (row + 1)) for row in range(6)],
        [(0, 0, 30_000, 9000)],
    )
    built = profile((process(0, 250),), table)
    return dataclasses.replace(
        built, traces={"probe": trace, "probe_calibration": calibration(8), "ort": ort}
    )


def test_no_node_is_dropped_for_want_of_a_probe(spanned: Profile) -> None:
    table = found(spanned, sort="order")
    assert (table.source, table.resolution_ns) == ("probe", 1)
    assert [(row.node, row.spans) for row in table.operators] == [
        ("a/b.0/conv", ("a/b.0/fill",)),
        ("a/b.1/if", ("a/b.1/random",)),
        ("a/b.1/sin", ()),
    ]
    assert table.uncovered == ("Random #0",)
    # Sin alone has a probe that no other node shares.
    assert table.accounts.own_probe_share == 40 / 200
    (whole,) = found(spanned, by="layer", depth=1).operators
    assert whole.spans == ("a/b.0/fill", "a/b.1/random")

    untold = found(spanned, source="ort")
    assert len(untold.operators) == 6
    assert untold.uncovered == ()
    assert {row.spans for row in untold.operators} == {()}
    assert untold.accounts.own_probe_share is None


def test_the_profilers_time_stands_beside_that_of_the_same_nodes(spanned: Profile) -> None:
    conv, branch, sin = found(spanned, sort="order").operators
    assert conv.profiled_ns == 2000 + 3000, "with the node whose time is in it"
    assert branch.profiled_ns == 4000 + 6000
    assert sin.profiled_ns == 5000
    assert {row.profiled_ns for row in found(spanned, source="ort").operators} == {None}
    # 30,000 against the timed pass of 250.
    assert found(spanned).profiler_tax == found(spanned, source="ort").profiler_tax == 119
    alone = dataclasses.replace(spanned, traces={"probe": spanned.traces["probe"]})
    assert found(alone).profiler_tax is None
    assert {row.profiled_ns for row in found(alone).operators} == {None}


def test_accounts_of_probes_name_their_cost_and_the_residual(spanned: Profile) -> None:
    accounts = found(spanned).accounts
    assert (accounts.nodes_ns, accounts.framework_ns, accounts.traced_ns) == (200, 50, 280)
    assert accounts.tracer_cost_ns == 5 + 6 + 7 + 8
    assert accounts.residual == 0, "200 + 50 against the timed pass of 250"
    assert accounts.doubt == ""
    untold = found(spanned, source="ort").accounts
    assert untold.tracer_cost_ns is None
    assert untold.doubt.startswith("they miss the timed pass by +11900%")


@pytest.mark.parametrize(
    ("enqueue_ns", "doubt"),
    [(250, ""), (240, ""), (200, "they miss the timed pass by +25%"), (300, "they miss the timed")],
)
def test_on_a_device_probes_are_held_against_the_enqueue_time(
    spanned: Profile, enqueue_ns: int, doubt: str
) -> None:
    # The device is at work for a long time after Run has returned: no node of the host explains it.
    timed = dataclasses.replace(process(0, 9000), enqueue_ns=np.full(3, enqueue_ns))
    accounts = found(dataclasses.replace(spanned, provider="cuda", processes=(timed,))).accounts
    assert accounts.enqueued
    assert (accounts.nodes_ns, accounts.framework_ns) == (200, 50)
    assert accounts.clean_ns == pytest.approx(enqueue_ns)
    assert accounts.residual == pytest.approx(250 / enqueue_ns - 1)
    assert accounts.doubt.startswith(doubt)
    assert bool(accounts.doubt) == bool(doubt)
    assert not found(spanned).accounts.enqueued
    # ORT's profiler tells how long the inference took, the device's part included.
    profiled = dataclasses.replace(spanned, provider="cuda", processes=(timed,))
    untold = found(profiled, source="ort").accounts
    assert not untold.enqueued
    assert untold.residual == pytest.approx(30_000 / 9000 - 1)


def test_a_replayed_graph_is_not_held_against_nodes_that_it_does_not_launch(
    spanned: Profile,
) -> None:
    config = json.dumps({"session": {"provider_options": {"enable_cuda_graph": "1"}}})
    timed = dataclasses.replace(process(0, 100), enqueue_ns=np.full(3, 20))
    accounts = found(
        dataclasses.replace(spanned, provider="cuda", config=config, processes=(timed,))
    ).accounts
    assert accounts.residual is None
    assert accounts.doubt.startswith("the timed pass replays a captured graph")
    assert accounts.nodes_ns == 200


@pytest.mark.parametrize(
    ("clean_ns", "traced_ns", "dropped", "doubt"),
    [
        (250, 280, 0, ""),
        (263, 280, 0, ""),
        (264, 280, 0, "they miss the timed pass by -5%"),
        (237, 280, 0, "they miss the timed pass by +5%"),
        (250, 999, 0, ""),  # how long it takes with probes says nothing of the nodes
        (250, 280, 1200, "1,200 events were dropped"),
    ],
)
def test_doubtful_times_say_why(
    spanned: Profile, clean_ns: int, traced_ns: int, dropped: int, doubt: str
) -> None:
    trace = dataclasses.replace(
        spanned.traces["probe"], inference_duration_ns=np.array([traced_ns]), dropped=dropped
    )
    changed = dataclasses.replace(
        spanned,
        processes=(process(0, clean_ns),),
        traces={**spanned.traces, "probe": trace},
    )
    said = found(changed).accounts.doubt
    assert {row.doubt for row in found(changed).operators} == {said}, "a CSV has rows only"
    assert said.startswith(doubt)
    assert bool(said) == bool(doubt)


def test_work_is_that_of_all_nodes_in_the_time(spanned: Profile) -> None:
    conv, branch, sin = found(spanned, sort="order").operators
    assert (conv.flops, conv.traffic_bytes) == (6000, 120), "Conv and ConstantOfShape"
    assert (branch.flops, branch.traffic_bytes) == (None, None), (
        "nobody knows how often the node in the body ran"
    )
    assert (sin.flops, sin.traffic_bytes) == (50, 8)
    # However the table is grouped.
    for by in ("node", "op", "layer"):
        assert found(spanned, by=by).known_work == (60 + 40) / 200
    assert found(spanned, source="ort").known_work == pytest.approx((21 - 1) / 21)
    (whole,) = found(spanned, by="layer", depth=1).operators
    assert whole.flops is None


def test_bounds_come_from_the_ceilings_of_this_machine(spanned: Profile) -> None:
    unknown = found(spanned, sort="order").operators[0]
    assert (unknown.peak_share, unknown.bandwidth_share) == (None, None)

    ceilings = {"matmul_float32": 200e9, "matmul_int8": 1e9, "copy": 4e9, "triad": 5e9}
    measured = dataclasses.replace(
        spanned,
        environment=(
            *(Reading(f"ceiling_{name}", value) for name, value in ceilings.items()),
            Reading("ceiling_matmul_float16", None, reason="no kernel"),
            Reading("cpu_model", "EPYC"),
        ),
    )
    conv, branch, sin = found(measured, sort="order").operators
    # 6000 operations in 60 ns are 100 G a second; 120 bytes are 2 G a second.
    assert conv.peak_share == pytest.approx(0.5)
    assert conv.bandwidth_share == pytest.approx(0.4)
    assert conv.bound == "compute-bound"
    assert "50% of peak" in conv.why
    # This file tells of memory alone: what the nodes touch may as well be in a cache.
    assert "at most 40% of DRAM bandwidth (2 of 5 GB/s)" in conv.why
    assert found(measured).ceilings_absent == ("no kernel",)
    assert "dispatch 13% of the time" in conv.why, "8 of 60 ns, as the calibration says"
    assert (branch.bound, branch.peak_share) == ("unknown", None)
    assert sin.bandwidth_share == pytest.approx(8 / 40 / 5)
    # ORT's profiler adds microseconds to each node: its times say nothing about dispatch.
    assert "dispatch not measured" in found(measured, source="ort").operators[0].why


def test_a_node_is_judged_by_the_level_that_its_data_can_be_in(spanned: Profile) -> None:
    assert spanned.nodes is not None
    facts = {"l1_bytes": 48_000, "l1_caches": 1, "copy_l1": 200e9, "triad_l1": 400e9, "copy": 4e9}
    measured = dataclasses.replace(
        spanned,
        environment=tuple(Reading(f"ceiling_{name}", value) for name, value in facts.items()),
    )
    # 8 bytes in 40 ns are nothing to L1, whatever DRAM would take: but a node of unknown
    # traffic leaves open what an inference touches.
    sin = found(measured, sort="order").operators[-1]
    assert "between 0% of L1 bandwidth (0.2 of 400 GB/s) and 5% of DRAM bandwidth" in sin.why
    told = np.full(len(spanned.nodes), 8)
    nodes = dataclasses.replace(
        spanned.nodes, activation_bytes=told, output_bytes=told, parameter_bytes=told
    )
    sin = found(dataclasses.replace(measured, nodes=nodes), sort="order").operators[-1]
    assert "memory 0% of L1 bandwidth (0.2 of 400 GB/s)" in sin.why
    assert sin.bandwidth_share == pytest.approx(0.2 / 400)


def test_bandwidth_of_a_level_without_a_ceiling_is_no_share(spanned: Profile) -> None:
    facts = {"l1_bytes": 48_000, "l1_caches": 1, "copy_l1": 4e9, "triad_l1": 5e9}
    measured = dataclasses.replace(
        spanned,
        environment=(
            *(Reading(f"ceiling_{name}", value) for name, value in facts.items()),
            Reading("ceiling_copy", None, reason="too busy"),
        ),
    )
    conv = found(measured, sort="order").operators[0]
    assert "at least 40% of L1 bandwidth (2 of 5 GB/s)" in conv.why
    assert conv.bandwidth_share is None, "not 100 %"


def test_layers_are_what_an_exporter_put_before_the_name() -> None:
    assert layer("/encoder/layer.0/attention/MatMul") == "encoder/layer.0/attention"
    assert layer("encoder.layer.0/MatMul") == "encoder.layer.0"
    assert layer("encoder.layer.0/MatMul", depth=1) == "encoder"
    assert layer("/encoder/layer.0/attention/MatMul", depth=2) == "encoder/layer"
    assert layer("/encoder/layer.0/attention/MatMul", depth=3) == "encoder/layer.0"
    assert layer("/encoder/MatMul", depth=9) == "encoder"
    for without in ("MatMul", "/MatMul", ""):
        assert layer(without) == layer(without, depth=2) == "(no layer)"


def test_nodes_of_a_layer_are_added_up() -> None:
    table = nodes(
        name=("/a/b.0/x", "/a/b.0/y", "/a/b.1/x", "z", "/a/b.0/x"),
        op_type=("X", "Y", "X", "Z", "X"),
        provider=("CPU", "CPU", "CPU", "CPU", "GPU"),
    )
    trace = events([(row, 0, 0, 10**row, 10**row) for row in range(5)], [(0, 0, 20_000, 0)])
    made = profile((process(0, 50),), table, trace)

    def layers(depth: int) -> list[tuple[str, str, str, float]]:
        return [
            (row.node, row.op_type, row.provider, row.median_ns)
            for row in found(made, by="layer", sort="order", depth=depth).operators
        ]

    assert layers(0) == [
        ("a/b.0", "2 nodes", "CPU", 11),
        ("a/b.1", "1 node", "CPU", 100),
        ("(no layer)", "1 node", "CPU", 1000),
        ("a/b.0", "1 node", "GPU", 10_000),
    ]
    assert layers(2) == [
        ("a/b", "3 nodes", "CPU", 111),
        ("(no layer)", "1 node", "CPU", 1000),
        ("a/b", "1 node", "GPU", 10_000),
    ]
    # Nodes of one name are still two nodes.
    assert [row.median_ns for row in found(made, sort="name").operators] == [
        1,
        10_000,
        10,
        100,
        1000,
    ]


def test_the_interval_takes_the_process_as_its_unit() -> None:
    table = nodes(name=("a", "b"), op_type=("A", "B"), provider=("CPU", "CPU"))
    # Medians of the processes 100, 110 and 121, a tenth of a logarithm apart or nearly so;
    # the second process has most of the inferences. Node 1 took no time in one of them.
    executions, inferences = [], []
    for of_process, times in enumerate(([90, 100, 500], [110] * 9, [121])):
        for number, time_ns in enumerate(times):
            executions.append((0, of_process, number, time_ns, time_ns))
            executions.append((1, of_process, number, of_process, of_process))
            inferences.append((of_process, number, time_ns, 0))
    trace = events(executions, inferences)
    a, b = found(profile(tuple(process(n, 100) for n in range(3)), table, trace)).operators
    assert a.median_ns == pytest.approx(110)
    assert a.interval_ns is not None
    low, high = a.interval_ns
    # t(2) = 4.303 from a printed table; the standard error is log(1.1) / sqrt(3).
    half = 4.303 * math.log(1.1) / math.sqrt(3)
    assert math.log(high / 110) == pytest.approx(half, rel=1e-3)
    assert math.log(110 / low) == pytest.approx(half, rel=1e-3)
    assert b.interval_ns is None
    one = profile((process(0, 100),), table, events([(0, 0, 0, 5, 5)], [(0, 0, 9, 0)]))
    assert found(one).operators[0].interval_ns is None


def test_residual_holds_each_process_against_its_own_timed_pass() -> None:
    table = nodes(name=("a",), op_type=("A",), provider=("CPU",), carrier=np.array([0]))
    # Twice as slow a process is as true as the other two: +10 %, +10 % and -20 %.
    trace = probed(
        [(0, n, 0, ns, ns) for n, ns in enumerate((100, 210, 70))],
        [(n, 0, ns + 30, 10) for n, ns in enumerate((100, 210, 70))],
        probe_cost_ns=[20] * 3,
        frame_ns=[0] * 3,
    )
    built = profile((process(0, 100), process(1, 200), process(2, 100)), table)
    accounts = found(dataclasses.replace(built, traces={"probe": trace})).accounts
    assert accounts.residual == pytest.approx((1.1 * 1.1 * 0.8) ** (1 / 3) - 1)
    assert accounts.told_ns is not None
    assert accounts.clean_ns == pytest.approx((100 * 200 * 100) ** (1 / 3))
    assert accounts.residual == pytest.approx(accounts.told_ns / accounts.clean_ns - 1)


def test_an_inference_that_was_not_recorded_to_its_end_is_left_out() -> None:
    table = nodes(name=("a",), op_type=("A",), provider=("CPU",))
    executions = [(0, 0, 0, 5, 5), (0, 0, 1, 900, 900), (0, 0, 2, 7, 7)]
    trace = events(executions, [(0, 0, 20, 15), (0, 1, -1, -1), (0, 2, 20, 13)])
    measured = found(profile((process(0, 20),), table, trace))
    assert measured.inferences == 2
    assert measured.operators[0].median_ns == 6
    cut = events(executions[1:2], [(0, 1, -1, -1)])
    assert operator_table(profile((process(0, 20),), table, cut)) == Figure(
        None, "the trace holds no whole inference"
    )


def test_the_reason_is_that_of_the_pass_that_was_asked_for(spanned: Profile) -> None:
    absent = (("trace/probe", "parallel"), ("trace/ort", "too old"), ("energy", "no GPU"))
    ort = dataclasses.replace(spanned, traces={"ort": spanned.traces["ort"]}, absent=absent)
    assert found(ort).source == "ort", "the truest there is"
    assert operator_table(ort, source="probe") == Figure(None, "parallel")
    neither = dataclasses.replace(spanned, traces={}, absent=absent)
    assert operator_table(neither) == Figure(None, "parallel; too old")
    unknown = dataclasses.replace(spanned, nodes=None, absent=(("nodes", "no room"),))
    assert operator_table(unknown) == Figure(None, "no room")


def test_a_group_counts_nested_nodes_once() -> None:
    """A Loop in the body of a Loop, with an Add in its body: the outer one takes 100 in all."""
    table = nodes(
        name=("a/outer", "a/inner", "a/add"),
        op_type=("Loop", "Loop", "Add"),
        provider=("CPU",) * 3,
        parent=np.array([-1, 0, 1]),
        depth=np.array([0, 1, 2]),
        order=np.array([0, 0, 0]),
    )
    executions = [(0, 0, 0, 100, 20), (1, 0, 0, 80, 50), (2, 0, 0, 30, 30)]
    of = profile((process(0, 100),), table, events(executions, [(0, 0, 100, 0)]))
    by_op = {row.op_type: row.total_ns for row in found(of, by="op").operators}
    assert by_op == {"Loop": 100, "Add": 30}
    (layer,) = found(of, by="layer").operators
    assert (layer.median_ns, layer.total_ns) == (100, 100)
    assert [row.total_ns for row in found(of, sort="order").operators] == [100, 80, 30]


def test_what_a_node_without_a_probe_encloses_is_in_the_time_of_its_carrier() -> None:
    table = nodes(
        name=("", "a/loop", "a/add"),
        op_type=("Empty", "Loop", "Add"),
        provider=("CPU",) * 3,
        parent=np.array([-1, -1, 1]),
        depth=np.array([0, 0, 1]),
        order=np.array([0, 1, 0]),
        carrier=np.array([0, 0, 2]),
    )
    trace = probed([(0, 0, 0, 90, 50), (2, 0, 0, 40, 40)], [(0, 0, 100, 10)], [0, 0], [0, 0])
    of = dataclasses.replace(profile((process(0, 100),), table), traces={"probe": trace})
    rows = found(of, sort="order").operators
    assert [row.label for row in rows] == ["Empty #0 + a/loop", "a/add"], "no name is blank"
    assert sum(row.total_ns for row in rows) == 130
    whole = {row.node: row.total_ns for row in found(of, by="layer").operators}
    assert whole == {"(no layer)": 90, "a": 40}, "the Loop's layer is that of the Empty it is in"
    (both,) = found(
        dataclasses.replace(
            of, nodes=dataclasses.replace(table, name=("a/empty", "a/loop", "a/add"))
        ),
        by="layer",
    ).operators
    assert both.total_ns == 90
