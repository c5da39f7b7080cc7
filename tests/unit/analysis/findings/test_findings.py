"""What is said of a profile, and what is not: each rule with a case that must not trigger it."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.findings import rules
from harness.analysis.findings.rules import findings
from harness.analysis.findings.seen import Finding
from harness.analysis.operators.table import operator_table
from harness.commands import ops, show
from harness.commands import profile as profile_command
from harness.options import flag
from harness.records import KernelEvents, NodeEvents, Profile, Reading
from harness.storage.assembly import merge_timelines
from tests.builders.device_records import kernels, series, timeline
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile

QUIET = {"wall_ns": 10**9, "steal_ns": 0, "other_load_ns": 0}
DISTURBED = QUIET | {"steal_ns": 5 * 10**7}
UNUSABLE = QUIET | {"steal_ns": 2 * 10**8}

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
SHAPE = '[{"float":[1,8]}]'


def events(own_ns: list[int], framework_ns: int = 0, processes: int = 2) -> NodeEvents:
    """Three inferences of each process under probes that cost nothing, the nodes in turn."""
    count, inferences = len(own_ns), 3 * processes
    node = np.tile(np.arange(count, dtype=np.int32), inferences)
    time_ns = np.array(own_ns, np.int64)[node]
    of_process = np.repeat(np.arange(processes, dtype=np.int32), 3)
    number = np.tile(np.arange(3, dtype=np.int32), processes)
    whole_ns = np.full(inferences, sum(own_ns) + framework_ns, np.int64)
    return NodeEvents(
        source="probe",
        node=node,
        process=np.repeat(of_process, count),
        inference=np.repeat(number, count),
        start_ns=np.arange(len(node)),
        duration_ns=time_ns,
        self_ns=time_ns,
        details={},
        inference_process=of_process,
        inference_number=number,
        inference_start_ns=np.arange(inferences),
        inference_duration_ns=whole_ns,
        inference_framework_ns=np.full(inferences, framework_ns, np.int64),
        dropped=0,
        resolution_ns=1,
    )


def traced(
    own_ns: list[int],
    *,
    framework_ns: int = 0,
    noise: dict[str, int] = QUIET,
    processes: int = 2,
    nodes: dict[str, Any] | None = None,
    **columns: Any,
) -> Profile:
    """A profile on the CPU whose accounts close: the timed pass is nodes and framework."""
    count = len(own_ns)
    seen: dict[str, Any] = {
        "name": tuple(f"n{number}" for number in range(count)),
        "provider": (CPU,) * count,
        "carrier": np.arange(count),
        "input_type_shape": (SHAPE,) * count,
        "output_type_shape": (SHAPE,) * count,
        **(nodes or {}),
    }
    whole_ns = sum(own_ns) + framework_ns
    values: dict[str, Any] = {
        "nodes": table([-1] * count, **seen),
        "traces": {"probe": events(own_ns, framework_ns, processes)},
    }
    timed = [process([whole_ns] * 100, index, dict(noise)) for index in range(processes)]
    return profile(*timed, **(values | columns))


def said(seen: Profile) -> dict[str, Finding]:
    """Findings by their kind."""
    found = findings(seen, operator_table(seen))
    assert len({one.kind for one in found}) == len(found)
    assert all(0 <= one.weight <= 1 and one.evidence and one.next_step for one in found)
    return {one.kind: one for one in found}


def test_nothing_is_said_where_there_is_nothing_to_say() -> None:
    assert said(traced([400, 600])) == {}
    assert said(profile()) == {}
    assert said(profile(process([]))) == {}
    assert said(profile(process([100] * 10), process([100] * 10, 1))) == {}


def test_every_option_that_is_advised_exists() -> None:
    sources = {inspect.getsourcefile(rule) or "" for rule in rules.RULES}
    said = "".join(Path(source).read_text() for source in sources)
    advised = {flag(name) for name in re.findall(r"`(?:ops )?(\w+)`", said)}
    known: set[str] = set()
    for command in (ops, show, profile_command):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        known |= set(re.findall(r"--[a-z][a-z-]+", parser.format_help()))
    assert advised >= {"--batch", "--threads", "--roofline"}
    assert advised <= known


# Framework


def small(**options: Any) -> Profile:
    """Of 1000 ns the framework takes 400 and the dispatch of each of three nodes 50."""
    calibration = dataclasses.replace(events([50]), source="probe")
    seen = traced([200, 200, 200], framework_ns=400, **options)
    # What the probe outside of all gaps costs is in the traced inference.
    longer_ns = seen.traces["probe"].inference_duration_ns + 50
    trace = dataclasses.replace(seen.traces["probe"], inference_duration_ns=longer_ns)
    traces = {"probe": trace, "probe_calibration": calibration}
    return dataclasses.replace(seen, traces=traces)


def test_a_model_that_is_mostly_framework_is_too_small() -> None:
    found = said(small())["framework"]
    assert "too small" in found.sentence
    assert "`batch`" in found.next_step
    assert found.evidence == {
        "overhead_share": pytest.approx(0.55),
        "inference_ns": 1000,
        "framework_ns": 400,
        "dispatch_of_a_node_ns": 50,
        "nodes": 3,
    }


def test_framework_is_not_most_of_a_larger_model() -> None:
    assert "framework" not in said(traced([300, 300], framework_ns=390))


def test_a_single_process_and_an_unusable_profile_say_nothing_timed() -> None:
    assert "framework" not in said(small(processes=1))
    assert "framework" not in said(small(noise=UNUSABLE))
    assert "framework" in said(small(noise=DISTURBED))


def test_every_process_must_agree() -> None:
    seen = small()
    # The second process took 4 % longer: its overhead is still most of it. Then it is not.
    for median_ns, expected in ((1040, True), (1104, False)):
        slower = process([median_ns] * 100, 1, dict(QUIET))
        other = dataclasses.replace(seen, processes=(seen.processes[0], slower))
        table_of_it = operator_table(seen)  # whose accounts close, whatever this process did
        kinds = [one.kind for one in findings(other, table_of_it)]
        assert ("framework" in kinds) is expected


def test_operator_times_that_miss_the_timed_pass_are_not_used() -> None:
    seen = small()
    slow = tuple(process([1100] * 100, index, dict(QUIET)) for index in range(2))
    assert "framework" not in said(dataclasses.replace(seen, processes=slow))


def test_nodes_in_the_frameworks_part_are_not_called_framework() -> None:
    # The first node has no probe before it.
    assert "framework" not in said(small(nodes={"carrier": np.array([-1, 1, 2])}))


# Roofline

CEILINGS = (
    Reading("ceiling_matmul_float32", 1e12, "flop/s"),
    Reading("ceiling_copy", 10e9, "bytes/s"),
)


def products(flops: list[int], own_ns: list[int], **options: Any) -> Profile:
    """Matrix products that hardly touch memory, on a machine of 1000 operations a ns."""
    count = len(flops)
    nodes = {
        "op_type": ("MatMul",) * count,
        "flops": np.array(flops),
        "traffic_bytes": np.full(count, 10),
        "arithmetic": ("float32",) * count,
    }
    return traced(own_ns, nodes=nodes, environment=CEILINGS, **options)


def test_most_time_in_few_nodes_far_from_their_roofline() -> None:
    # The first is at a tenth of the peak, the others at three quarters.
    found = said(products([60_000, 150_000, 150_000], [600, 200, 200]))["roofline"]
    assert found.nodes == ("n0",)
    assert "1 node (MatMul) takes 60% of the nodes' time and reaches 10%" in found.sentence
    assert found.evidence["reached_share"] == pytest.approx(0.1)
    assert found.weight == pytest.approx(0.6 * 0.9)


def test_nodes_near_their_roofline_or_short_ones_are_left_alone() -> None:
    assert "roofline" not in said(products([360_000, 150_000, 150_000], [600, 200, 200]))
    assert "roofline" not in said(products([20_000, 300_000, 300_000], [200, 400, 400]))


def test_what_load_of_others_may_have_slowed_must_be_twice_as_far() -> None:
    for flops, disturbed in ((120_000, False), (60_000, True)):  # a fifth, a tenth of the peak
        for noise, expected in ((QUIET, True), (DISTURBED, disturbed), (UNUSABLE, False)):
            seen = products([flops, 150_000, 150_000], [600, 200, 200], noise=noise)
            assert ("roofline" in said(seen)) is expected


def test_a_function_that_takes_the_time_of_many_operations_is_not_called_slow() -> None:
    # Its traffic holds it back by its counts, 20 % of the bandwidth, but it computes too.
    seen = products([100], [600])
    assert seen.nodes is not None
    for flops, expected in ((100, False), (0, True)):
        columns = {"traffic_bytes": np.array([1200]), "flops": np.array([flops])}
        nodes = dataclasses.replace(seen.nodes, **columns)
        found = said(dataclasses.replace(seen, nodes=nodes)).get("roofline")
        assert (found is not None) is expected
        assert found is None or "layout" in found.next_step


def test_short_nodes_are_dispatched_and_not_slow() -> None:
    seen = products([60_000, 150_000, 150_000], [600, 200, 200])
    trace = {**seen.traces, "probe_calibration": events([250])}
    longer_ns = seen.traces["probe"].inference_duration_ns + 250
    trace["probe"] = dataclasses.replace(trace["probe"], inference_duration_ns=longer_ns)
    with_dispatch = dataclasses.replace(seen, traces=trace)
    assert "roofline" not in said(with_dispatch)


def test_without_ceilings_no_roofline() -> None:
    seen = products([60_000, 150_000], [600, 200])
    assert "roofline" not in said(dataclasses.replace(seen, environment=()))


# Copies


def on_gpu(providers: tuple[str, ...], op_types: tuple[str, ...], **columns: Any) -> Profile:
    count = len(providers)
    nodes = table(
        [-1] * count,
        name=tuple(f"n{row}" for row in range(count)),
        provider=providers,
        op_type=op_types,
    )
    timed = (process([1000] * 100, index, dict(QUIET)) for index in range(2))
    return profile(*timed, nodes=nodes, provider="cuda", **columns)


FALLEN = ((CUDA, CUDA, CPU, CUDA, CUDA), ("Conv", "MemcpyToHost", "NonMaxSuppression",
          "MemcpyFromHost", "Conv"))  # fmt: skip


def test_copies_name_the_nodes_that_cause_them() -> None:
    found = said(on_gpu(*FALLEN))["copies"]
    assert found.sentence == "2 copies between GPU and CPU, because 1 node runs on the CPU."
    assert found.nodes == ("n2",)
    assert found.evidence == {"copies": 2, "nodes_on_cpu": 1}


def test_nodes_on_the_cpu_without_copies_and_a_profile_of_the_cpu_are_no_finding() -> None:
    assert "copies" not in said(on_gpu((CUDA, CPU), ("Conv", "Shape")))
    assert "copies" not in said(dataclasses.replace(on_gpu(*FALLEN), provider="cpu"))


def test_copies_without_a_node_on_the_cpu_are_not_blamed_on_one() -> None:
    found = said(on_gpu((CUDA, CUDA, CUDA), ("Conv", "MemcpyToHost", "Reshape")))["copies"]
    assert "no node runs on the CPU" in found.sentence
    assert found.nodes == ()


def copying(copy_ns: int, host_ns: int) -> Profile:
    """The same nodes with their times: copies by the GPU, the others by the host."""
    own_ns = [100, 10, host_ns, 10, 880 - host_ns]
    work = kernels(("DtoH", 1, 100, copy_ns), ("HtoD", 3, 300, copy_ns))
    seen = traced(own_ns, nodes={"provider": FALLEN[0], "op_type": FALLEN[1]}, kernels=work)
    return dataclasses.replace(seen, provider="cuda")


def test_copies_that_take_no_time_are_not_worth_a_sentence() -> None:
    found = said(copying(copy_ns=50, host_ns=100))["copies"]
    assert (found.evidence["copying_ns"], found.evidence["on_cpu_ns"]) == (100, 100)
    assert found.weight == pytest.approx(0.2)
    assert "copies" not in said(copying(copy_ns=20, host_ns=20))


# Threads


def with_threads(threads: int, **facts: float | str) -> Profile:
    config = f'{{"session": {{"intra_threads": {threads}}}}}'
    environment = tuple(Reading(name, value) for name, value in facts.items())
    return traced(
        [400, 600],
        config=config,
        environment=environment,
        noise=QUIET | {"involuntary_switches": 300},
    )


def test_more_threads_than_cpus_wait_for_each_other() -> None:
    found = said(with_threads(4, affinity_cpus=2, cgroup_cpu_limit="none"))["threads"]
    assert found.sentence == "4 threads share 2 CPUs: they wait for each other."
    assert found.evidence == {"threads": 4, "cpus": 2, "involuntary_switches_an_inference": 3}
    assert "`intra_threads` 2" in found.next_step
    assert found.weight == 0.5


def test_a_quota_counts_as_cpus_and_so_does_the_affinity_asked_for() -> None:
    assert "share 1.5 CPUs" in said(
        with_threads(4, affinity_cpus=8, cgroup_cpu_limit=1.5)
    )["threads"].sentence  # fmt: skip
    seen = with_threads(4, affinity_cpus=8)
    config = '{"session": {"intra_threads": 4}, "affinity": "0,4-5"}'
    found = said(dataclasses.replace(seen, config=config))["threads"]
    assert found.evidence["cpus"] == 3


@pytest.mark.parametrize(
    ("threads", "facts"),
    [
        (2, {"affinity_cpus": 2}),
        (2, {"affinity_cpus": 8, "cgroup_cpu_limit": 1.5}),
        (0, {"affinity_cpus": 2}),
        (9, {}),
    ],
    ids=["as many", "a quota of part of one", "as ORT chooses", "nothing tells how many"],
)
def test_threads_that_have_a_cpu_are_no_finding(threads: int, facts: dict[str, float]) -> None:
    assert "threads" not in said(with_threads(threads, **facts))


def divided(loops: list[int], threads: int) -> Profile:
    """Nodes of 400 and 600 ns that ORT divides into so many parallel loops."""
    seen = with_threads(threads, affinity_cpus=8, cpu_cores=8)
    profiled = dataclasses.replace(
        events([400, 600]),
        source="ort",
        details={"parallel_loops": np.array(loops * 6)},
    )
    return dataclasses.replace(seen, traces={**seen.traces, "ort": profiled})


def test_threads_that_get_nothing_to_do() -> None:
    found = said(divided([0, 0], threads=0))["threads"]
    assert found.evidence == {"divided_share": 0, "threads": "as ORT chooses"}
    assert found.weight == 0
    assert "threads" in said(divided([0, 0], threads=4))


def test_threads_that_share_the_work_or_are_none_are_no_finding() -> None:
    assert "threads" not in said(divided([1, 0], threads=4))
    assert "threads" not in said(divided([0, 0], threads=1))


def test_a_divided_node_without_a_probe_of_its_own_counts_for_the_one_that_has() -> None:
    seen = divided([0, 1], threads=4)
    own = traced([1000, 0], nodes={"carrier": np.array([0, 0])})
    traces = {**own.traces, "ort": seen.traces["ort"]}
    assert "threads" not in said(dataclasses.replace(seen, traces=traces, nodes=own.nodes))


# Throttling


def clocks(mask: int, until: int) -> Profile:
    """Two processes of ten samples of 100 ns, the clock of the GPU held back until then."""
    timed = (process([100] * 10, 0, dict(QUIET)), process([100] * 10, 1, dict(QUIET), 5000))
    held = (
        series("gpu0", "clock_reasons_mask", [(0, mask), (until, 0)]),
        series("gpu0", "clock_reasons_mask", [(5000, 0)], process=1),
    )
    return profile(*timed, devices=held)


def test_a_throttled_gpu_is_named_with_its_reason() -> None:
    found = said(clocks(0x4, 1000))["throttled"]
    assert found.evidence == {"throttled_share": 0.5, "samples": 20, "reasons": "sw_power_cap"}
    assert "power" in found.next_step
    assert "Cool" in said(clocks(0x40, 1000))["throttled"].next_step


def test_an_idle_clock_a_throttled_moment_and_a_double_are_no_finding() -> None:
    assert "throttled" not in said(clocks(0x1, 1000))
    long = (process([100] * 500, 0, dict(QUIET)), process([100] * 500, 1, dict(QUIET), 60_000))
    assert "throttled" not in said(dataclasses.replace(clocks(0x4, 1000), processes=long))
    seen = clocks(0x4, 1000)
    doubles = tuple(dataclasses.replace(each, double=True) for each in seen.devices)
    assert "throttled" not in said(dataclasses.replace(seen, devices=doubles))


@pytest.mark.parametrize(("throttled_ns", "expected"), [(2 * 10**8, True), (10**7, False)])
def test_a_container_at_its_cpu_limit(throttled_ns: int, expected: bool) -> None:
    counters = QUIET | {"cgroup_throttled_ns": throttled_ns, "cgroup_throttled_periods": 4}
    found = said(traced([400, 600], noise=counters)).get("throttled")
    assert (found is not None) is expected
    assert found is None or found.evidence == {"throttled_share": 0.2, "periods": 8}


# First inference


def cold(
    first_ns: int,
    session_ns: int,
    *,
    noise: dict[str, int] = QUIET,
    processes: int = 2,
    provider: str = "cpu",
) -> Profile:
    """Inferences of 1000 ns after such a first one and such a session."""
    known = {"first_inference_ns": first_ns, "session_ns": session_ns}
    timed = (process([1000] * 100, index, dict(noise), **known) for index in range(processes))
    return profile(*timed, provider=provider)


def test_a_first_inference_that_prepares() -> None:
    found = said(cold(40_000, 100_000))["first_inference"]
    assert "40 times" in found.sentence
    assert found.evidence == {
        "first_inference_ns": 40_000, "inference_ns": 1000, "session_ns": 100_000,
    }  # fmt: skip
    on_cuda = said(cold(40_000, 100_000, provider="cuda"))["first_inference"]
    assert "cudnn_conv_algo_search" in on_cuda.next_step


@pytest.mark.parametrize(
    "seen",
    [
        cold(9_000, 10_000),
        cold(40_000, 1_000_000),
        cold(40_000, 100_000, noise=UNUSABLE),
        cold(40_000, 100_000, processes=1),
    ],
    ids=["a little longer", "nothing beside the session", "unusable", "one process"],
)
def test_a_first_inference_like_any_other_is_no_finding(seen: Profile) -> None:
    assert "first_inference" not in said(seen)


# Quantisation


def quantised(op_types: tuple[str, ...], own_ns: list[int], **options: Any) -> Profile:
    return traced(own_ns, nodes={"op_type": op_types}, **options)


BETWEEN = ("QuantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear")


def test_operators_between_conversions_that_were_not_fused_with_them() -> None:
    found = said(quantised(BETWEEN, [50, 50, 800, 50, 50]))["quantisation"]
    assert found.nodes == ("n2",)
    assert "1 node between" in found.sentence
    assert "computes in floating point" in found.sentence
    assert found.evidence == {
        "conversion_nodes": 4,
        "unfused_share": pytest.approx(0.8),
        "conversions_share": pytest.approx(0.2),
    }


def test_conversions_of_a_fused_model_at_its_ends_are_no_finding() -> None:
    fused = ("QuantizeLinear", "QLinearConv", "QLinearConv", "DequantizeLinear")
    assert "quantisation" not in said(quantised(fused, [40, 460, 460, 40]))
    assert "quantisation" not in said(traced([400, 600], nodes={"op_type": ("Conv", "Conv")}))


def test_a_node_that_reads_something_else_is_not_taken_for_one_behind_a_conversion() -> None:
    shapes = (SHAPE, SHAPE, '[{"float":[3,3]}]', SHAPE, SHAPE)
    seen = quantised(BETWEEN, [10, 10, 960, 10, 10])
    assert seen.nodes is not None
    nodes = dataclasses.replace(seen.nodes, input_type_shape=shapes)
    assert "quantisation" not in said(dataclasses.replace(seen, nodes=nodes))


def test_a_node_of_another_graph_is_not_behind_a_conversion() -> None:
    op_types = ("If", "DequantizeLinear", "Conv")
    for parent, expected in ((-1, True), (0, False)):
        nodes = {"op_type": op_types, "parent": np.array([-1, -1, parent])}
        seen = traced([10, 10, 980], nodes=nodes)
        assert ("quantisation" in said(seen)) is expected


def test_quantising_anew_in_every_inference() -> None:
    dynamic = ("DynamicQuantizeLinear", "MatMulInteger", "Mul")
    found = said(quantised(dynamic, [300, 600, 100]))["quantisation"]
    assert "afresh" in found.sentence
    assert "statically" in found.next_step
    assert "quantisation" not in said(quantised(dynamic, [50, 850, 100]))


def test_conversions_are_not_judged_in_an_unusable_profile() -> None:
    assert "quantisation" not in said(quantised(BETWEEN, [50, 50, 800, 50, 50], noise=UNUSABLE))


def test_conversions_on_a_gpu_are_told_by_its_kernels() -> None:
    def both(convert_ns: int) -> Profile:
        one = kernels(("quantize", 0, 0, convert_ns), ("conv", 1, 500, 300))
        two = dataclasses.replace(one, process=one.process + 1)
        return on_gpu((CUDA, CUDA), ("QuantizeLinear", "Conv"), kernels=joined(one, two))

    assert "quantisation" in said(both(100))
    assert "quantisation" not in said(both(10))


def joined(*parts: KernelEvents) -> KernelEvents:
    """Records of several processes as one."""
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(KernelEvents):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], tuple):
            columns[field.name] = sum(values, ())
        elif isinstance(values[0], np.ndarray):
            columns[field.name] = np.concatenate(values)
        else:
            columns[field.name] = values[0]
    return KernelEvents(**columns)


# The GPU between launches


def launching(busy_ns: int, **columns: Any) -> Profile:
    """Two kernels of an inference of 1000 ns, under a profiler that parts them by 5000."""
    work = kernels(("a", 0, 100, busy_ns // 2), ("b", 0, 5100, busy_ns // 2), **columns)
    return on_gpu((CUDA,), ("Conv",), kernels=work)


def test_a_gpu_that_waits_for_launches() -> None:
    found = said(launching(200))["gpu_idle"]
    assert "idle for 80%" in found.sentence
    assert found.evidence == {
        "busy_ns": 200, "inference_ns": 1000, "fastest_ns": 1000, "launches": 2,
    }  # fmt: skip
    assert "enable_cuda_graph=1" in found.next_step


def test_a_busy_gpu_is_none_whatever_the_profiler_put_between_its_kernels() -> None:
    assert "gpu_idle" not in said(launching(900))
    assert "gpu_idle" not in said(launching(200, dropped=3))


def test_the_fastest_inference_decides_whether_the_gpu_is_idle() -> None:
    # Others slowed the host down; undisturbed, the GPU was busy for half of an inference.
    times = [390] + [1000] * 99
    timed = tuple(process(times, index, dict(QUIET)) for index in range(2))
    assert "gpu_idle" not in said(dataclasses.replace(launching(200), processes=timed))


def test_what_is_captured_already_is_not_advised() -> None:
    def next_step(value: str) -> str:
        session = {"provider": "cuda", "provider_options": {"enable_cuda_graph": value}}
        config = json.dumps({"session": session})
        return said(dataclasses.replace(launching(200), config=config))["gpu_idle"].next_step

    assert "enable_cuda_graph" not in next_step("1")
    # What the session does not take for on is not captured either.
    assert "enable_cuda_graph" in next_step("yes")


def replayed(*captured_ns: int) -> dict[str, Any]:
    """What as many processes took to replay a graph."""
    parts = [timeline([], [], [ns] * 5, process=index) for index, ns in enumerate(captured_ns)]
    return {"replay": merge_timelines(parts)}


def test_what_a_graph_gains_is_told_where_it_was_measured() -> None:
    found = said(dataclasses.replace(launching(200), **replayed(400, 400)))["gpu_idle"]
    assert "between launches: 1.0 → 0.4 µs with enable_cuda_graph=1." in found.sentence
    assert found.evidence["captured_ns"] == pytest.approx(400)
    assert "enable_cuda_graph=1 launches all of it at once, as was measured" in found.next_step


def test_a_graph_that_does_not_gain_in_every_process_is_not_advised() -> None:
    found = said(dataclasses.replace(launching(200), **replayed(400, 990)))["gpu_idle"]
    assert "with enable_cuda_graph=1" in found.sentence
    assert found.next_step.startswith("Give it more work")
    assert "tried: not every process gained 10%" in found.next_step


def test_why_a_session_refuses_the_graph_is_told() -> None:
    refused = (("trace/replay", "cannot capture m.onnx as a CUDA graph: 2 nodes on the CPU"),)
    found = said(dataclasses.replace(launching(200), absent=refused))["gpu_idle"]
    assert found.next_step.startswith("Give it more work")
    assert "2 nodes on the CPU" in found.next_step
    assert "→" not in found.sentence


def test_the_weightiest_come_first_and_no_more_than_five(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(number: int) -> Any:
        return lambda _: Finding(f"k{number}", "…", {"n": 1}, (), "…", number / 10)

    monkeypatch.setattr(rules, "RULES", [rule(number) for number in (1, 5, 3, 7, 2, 6)])
    assert list(said(traced([400, 600]))) == ["k7", "k6", "k5", "k3", "k2"]
