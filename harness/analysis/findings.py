"""What an expert would say on seeing a profile: a few sentences, each with its evidence.

A rule says less rather than what noise may have made. Where a figure decides, it must be beyond
its limit in every process, and there must be two. Operator times count only where their accounts
close, and no time counts in a profile that noise made unusable. Slow operators, which load of
others makes too, must be slower by as much again unless the profile is quiet. What is counted and
not timed (copies, threads, throttled samples) needs none of that.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis import gpu_work, noise, operators
from harness.analysis.operators import Operator, OperatorTable
from harness.config.session import CAPTURE_OPTIONS
from harness.machine.cpu_lists import cpu_list
from harness.machine.devices.clock_reasons import THROTTLED, clock_reasons
from harness.ort import placement
from harness.records import NodeTable, Profile
from harness.statistics import latency
from harness.statistics.figures import Figure

#: Sentences that are told: more are a list and no advice.
MOST_TOLD = 5

#: Processes that must agree: one cannot tell its luck from the model.
FEWEST_PROCESSES = 2

#: Part of an inference from which on something is most of it.
MOST = 0.5

#: Part of the time below which a change of anything is not worth its work, nor above what a
#: disturbed machine makes of a median.
WORTH_CHANGING = 0.1

#: Part of its roofline below which a node is far from it. Kernels that suit their shapes reach
#: 60 to 95 % (convolutions of mobilenet-v2, products of bert-small, on a shared machine): those
#: below half of that have a reason that can be found.
FAR_FROM_ROOFLINE = 0.25

#: How much slower others can make the fastest tenth of the inferences of a profile that they
#: did not make unusable: two that share a core or its memory halve each other's speed.
SLOWED_BY_OTHERS = 2

#: Part of the samples from which on throttling is in the figures: the median and p90 do not
#: notice what touches fewer.
THROTTLED_SHARE = 0.05

#: A first inference this many times a later one is no inference but a preparation; what it
#: takes must be a tenth (WORTH_CHANGING) of the cold start besides, or nobody waits for it.
FIRST_TIMES = 10

#: Operators that turn numbers into int8 ones, or back.
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})

_POWER = 0x004 | 0x080  # of clock_reasons_mask: sw_power_cap, hw_power_brake_slowdown
_FASTER_START = {
    "cuda": "cudnn_conv_algo_search=HEURISTIC",
    "tensorrt": "trt_engine_cache_enable=1",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an expert would say.

    Attributes:
        kind: which rule says so: ``framework``, ``roofline``, ``copies``, ``threads``,
            ``throttled``, ``first_inference``, ``quantisation``, ``gpu_idle``.
        sentence: what there is.
        evidence: figures of the profile by name. The suffix tells the unit: ``_ns``, ``_share``
            for a part of 1; without one it is a number of things, or a text.
        nodes: names of the nodes that it is about, in full; empty where it is about all.
        next_step: what to try, in one sentence.
        weight: part of an inference's time that it is about, 0 to 1; 0 where it is about
            something else, or the part is not known.
    """

    kind: str
    sentence: str
    evidence: Mapping[str, float | str]
    nodes: tuple[str, ...]
    next_step: str
    weight: float


def findings(profile: Profile, table: OperatorTable | Figure) -> tuple[Finding, ...]:
    """What there is to say of a profile, the weightiest first; nothing where there is nothing.

    Args:
        profile: as it was read.
        table: its operators by node, as ``operator_table(profile)`` gives them.
    """
    timed = [process.steady for process in profile.processes if len(process.steady)]
    if not timed or not all(np.median(steady.duration_ns) > 0 for steady in timed):
        return ()
    seen = _Seen.of(profile, table)
    told = [found for rule in _RULES if (found := rule(seen)) is not None]
    return tuple(sorted(told, key=lambda found: -found.weight)[:MOST_TOLD])


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What the rules look at.

    Attributes:
        profile: without the series of test doubles, which measure nothing.
        verdict: on noise.
        table: operators by node; None where their times cannot be trusted.
        medians: of the timed pass, in ns, by ProcessRecord.index.
        fastest_ns: the fastest sample of all.
    """

    profile: Profile
    verdict: str
    table: OperatorTable | None
    medians: Mapping[int, float]
    fastest_ns: int

    @classmethod
    def of(cls, profile: Profile, table: OperatorTable | Figure) -> _Seen:
        devices = tuple(series for series in profile.devices if not series.double)
        profile = dataclasses.replace(profile, devices=devices)
        verdict = noise.judge(profile).verdict
        trusted = table if isinstance(table, OperatorTable) else None
        if trusted is not None and (trusted.accounts.doubt or verdict == "unusable"):
            trusted = None
        timed = [process for process in profile.processes if len(process.steady)]
        return cls(
            profile=profile,
            verdict=verdict,
            table=trusted,
            medians={one.index: float(np.median(one.steady.duration_ns)) for one in timed},
            fastest_ns=min(int(one.steady.duration_ns.min()) for one in timed),
        )

    @property
    def median_ns(self) -> float:
        """Median of the processes' medians."""
        return float(np.median(list(self.medians.values())))

    @property
    def on_cpu(self) -> bool:
        """Whether the times of operators are those of the device that does the work."""
        return self.profile.provider == "cpu"

    def fact(self, name: str) -> float | str | None:
        """A fact of the environment; None where it is absent."""
        return next((one.value for one in self.profile.environment if one.name == name), None)

    def noted(self, name: str) -> list[float]:
        """A counter around each timed pass, of the processes where it was read."""
        return [
            float(reading.value)
            for process in self.profile.processes
            for reading in process.noise
            if reading.name == name and isinstance(reading.value, (int, float))
        ]


def _framework(seen: _Seen) -> Finding | None:
    """Most of an inference is spent on nodes, whatever they do, and around them."""
    table = seen.table
    # What ran before the first probe, or behind the last, is in the framework's part.
    if table is None or table.source != "probe" or table.uncovered or not seen.on_cpu:
        return None
    events = seen.profile.traces["probe"]
    dispatch_ns = operators.dispatch_ns(seen.profile) or 0.0
    dispatched_ns = sum(min(dispatch_ns * row.calls, row.median_ns) for row in table.operators)
    shares, framework_ns = [], []
    for index, median_ns in seen.medians.items():
        own = (events.inference_process == index) & (events.inference_duration_ns >= 0)
        if own.any():
            framework_ns.append(float(np.median(events.inference_framework_ns[own])))
            shares.append((framework_ns[-1] + dispatched_ns) / median_ns)
    if not _agree(shares, MOST):
        return None
    share = min(float(np.median(shares)), 1.0)
    return Finding(
        kind="framework",
        sentence="ONNX Runtime's own work is most of an inference: the model is too small for "
        "this device.",
        evidence={
            "overhead_share": share,
            "inference_ns": seen.median_ns,
            "framework_ns": float(np.median(framework_ns)),
            "dispatch_of_a_node_ns": dispatch_ns,
            "nodes": sum(row.calls for row in table.operators),
        },
        nodes=(),
        next_step="Gather requests into one inference (--batch): this is paid once for all.",
        weight=share,
    )


def _roofline(seen: _Seen) -> Finding | None:
    """Most of the nodes' time is in nodes that are far from what this machine can do."""
    table = seen.table
    if table is None or table.source != "probe" or not seen.on_cpu:
        return None
    far_below = FAR_FROM_ROOFLINE / (1 if seen.verdict == "quiet" else SLOWED_BY_OTHERS)
    far = [
        (row, reached)
        for row in table.operators
        if row.bound != "overhead-bound"
        and row.interval_ns is not None
        and (reached := _reached(row)) is not None
        and reached < far_below
    ]
    far.sort(key=lambda one: -one[0].share)
    sums = np.cumsum([row.share for row, _ in far])
    if not len(sums) or sums[-1] < MOST:
        return None
    # The fewest that are most of it.
    far = far[: int(np.searchsorted(sums, MOST)) + 1]
    share = sum(row.share for row, _ in far)
    reached = sum(row.share * one for row, one in far) / share
    op_types = ", ".join(list(dict.fromkeys(row.op_type for row, _ in far))[:3])
    if all(row.flops == 0 for row, _ in far):
        next_step = "Export another layout or order of axes, so that less has to be moved."
    else:
        next_step = (
            "See `ops --roofline`; try other shapes (channels in multiples of 16), another "
            "--threads, or a newer ONNX Runtime (--ort-library)."
        )
    verbs = ("take", "reach") if len(far) > 1 else ("takes", "reaches")
    return Finding(
        kind="roofline",
        sentence=f"{_counted(len(far), 'node')} ({op_types}) {verbs[0]} {share:.0%} of the nodes' "
        f"time and {verbs[1]} {reached:.0%} of what this machine can do.",
        evidence={
            "time_share": share,
            "reached_share": reached,
            "longest_ns": far[0][0].median_ns,
        },
        nodes=tuple(_name(row) for row, _ in far),
        next_step=next_step,
        weight=share * (1 - reached),
    )


def _reached(row: Operator) -> float | None:
    """Part of its roofline that a node reaches in the fastest tenth of the inferences.

    None where the roofline is not known. Where the traffic holds an operator back that
    computes too, neither is: a Tanh counts as one operation and takes the time of many.
    """
    compute = 0.0 if row.flops == 0 else row.peak_share
    memory = 0.0 if row.traffic_bytes == 0 else row.bandwidth_share
    if compute is None or memory is None or row.p10_ns <= 0 or compute == memory == 0:
        return None
    if row.flops and memory > compute:
        return None
    return max(compute, memory) * row.median_ns / row.p10_ns


def _copies(seen: _Seen) -> Finding | None:
    """ORT copies tensors between the GPU and the CPU within an inference."""
    nodes, kernels = seen.profile.nodes, seen.profile.kernels
    if seen.on_cpu or nodes is None:
        return None
    placed = placement.from_nodes(seen.profile.provider, nodes)
    if not placed.copies:
        return None
    host = placement.PROVIDER_TYPES["cpu"]
    causes = [name or op_type for provider, name, op_type in placed.elsewhere if provider == host]
    evidence: dict[str, float | str] = {"copies": placed.copies, "nodes_on_cpu": len(causes)}
    taken_ns: list[float] = []
    work = gpu_work.node_work(kernels, len(nodes))
    if work is not None:
        rows = [row for row, op_type in enumerate(nodes.op_type) if op_type in placement.COPIES]
        taken_ns.append(float(work.kernel_ns[rows].sum()))
        evidence["copying_ns"] = taken_ns[-1]
    if seen.table is not None:
        on_host = [row.median_ns for row in seen.table.operators if row.provider == host]
        taken_ns.append(sum(on_host))
        evidence["on_cpu_ns"] = taken_ns[-1]
    share = min(sum(taken_ns) / seen.median_ns, 1.0)
    if len(taken_ns) == 2 and share < WORTH_CHANGING:
        return None
    copied = f"{placed.copies} {'copy' if placed.copies == 1 else 'copies'} between GPU and CPU"
    if causes:
        why = f"because {_counted(len(causes), 'node')} {'runs' if len(causes) == 1 else 'run'}"
        sentence = f"{copied}, {why} on the CPU."
        next_step = (
            "Replace these nodes by some that the provider has (another opset or export), or "
            "move them to the ends of the model."
        )
    else:
        sentence = f"{copied}, though no node runs on the CPU: kernels read values there."
        next_step = "Export with fixed shapes, so that shapes are constants and not calculated."
    return Finding("copies", sentence, evidence, tuple(causes), next_step, share)


def _threads(seen: _Seen) -> Finding | None:
    """More threads than CPUs, or than operators that could use them."""
    threads, cpus = seen.profile.asked.intra_threads, _usable_cpus(seen)
    if not seen.on_cpu or threads is None:
        return None
    if cpus is not None and threads > math.ceil(cpus):
        evidence: dict[str, float | str] = {"threads": threads, "cpus": cpus}
        switches = seen.noted("involuntary_switches")
        if switches:
            inferences = sum(len(process.steady) for process in seen.profile.processes)
            evidence["involuntary_switches_an_inference"] = sum(switches) / inferences
        return Finding(
            kind="threads",
            sentence=f"{threads} threads share {_counted(cpus, 'CPU')}: they wait for each other.",
            evidence=evidence,
            nodes=(),
            next_step=f"--threads {math.floor(cpus) or 1}, or allow more CPUs.",
            weight=1 - cpus / threads,
        )
    if seen.profile.asked.execution_mode == "parallel":
        return None  # the trace does not tell what goes on between operators at a time
    parallel = _parallel_share(seen)
    # ORT makes a thread for each core where the choice is left to it.
    if parallel is None or (threads or seen.fact("cpu_cores") or 1) == 1:
        return None
    if parallel >= WORTH_CHANGING:
        return None
    return Finding(
        kind="threads",
        sentence="ONNX Runtime divides next to nothing of this model among threads: one of them "
        "does the work.",
        evidence={"divided_share": parallel, "threads": threads or "as ORT chooses"},
        nodes=(),
        next_step="--threads 1; for throughput run several sessions side by side, one a CPU.",
        weight=0.0,
    )


def _usable_cpus(seen: _Seen) -> float | None:
    """CPUs' worth of time that the workers may use; None where nothing tells."""
    affinity = seen.profile.asked.affinity
    try:
        allowed = seen.fact("affinity_cpus") if affinity is None else len(cpu_list(affinity))
    except ValueError:  # no CPU list: the file is not harness' own
        allowed = None
    known = [one for one in (allowed, seen.fact("cgroup_cpu_limit")) if not isinstance(one, str)]
    return min((float(one) for one in known if one is not None), default=None)


def _parallel_share(seen: _Seen) -> float | None:
    """Part of the nodes' time in operators that ORT ever divided; None where nothing tells."""
    trace, nodes = seen.profile.traces.get("ort"), seen.profile.nodes
    if seen.table is None or trace is None or nodes is None:
        return None
    loops = trace.details.get("parallel_loops")
    if loops is None or not len(loops):
        return None
    divided = set(np.unique(trace.node[loops > 0]).tolist())
    if seen.table.source == "probe":
        divided |= {int(nodes.carrier[row]) for row in divided}
    return sum(row.share for row in seen.table.operators if row.order in divided)


def _throttled(seen: _Seen) -> Finding | None:
    """A clock of the GPU, or the CPU time of the control group, was held back."""
    return _throttled_gpu(seen) or _throttled_group(seen)


def _throttled_gpu(seen: _Seen) -> Finding | None:
    touched = noise.throttled_samples(seen.profile)
    samples = sum(map(len, touched))
    share = sum(int(np.count_nonzero(each)) for each in touched) / samples
    if share < THROTTLED_SHARE:
        return None
    mask = 0
    for series in seen.profile.devices:
        if series.quantity == "clock_reasons_mask":
            mask |= int(np.bitwise_or.reduce(series.value)) & THROTTLED
    step = (
        "Allow it more power (nvidia-smi --power-limit)" if mask & _POWER else "Cool the GPU better"
    )
    return Finding(
        kind="throttled",
        sentence=f"The GPU was throttled during {share:.0%} of the samples.",
        evidence={
            "throttled_share": share,
            "samples": samples,
            "reasons": " ".join(clock_reasons(mask)),
        },
        nodes=(),
        next_step=f"{step}, or lock lower clocks that it can hold (nvidia-smi "
        "--lock-gpu-clocks); show --exclude-throttled leaves these samples out.",
        weight=share,
    )


def _throttled_group(seen: _Seen) -> Finding | None:
    waited_ns, wall_ns = (sum(seen.noted(f"{name}_ns")) for name in ("cgroup_throttled", "wall"))
    share = min(waited_ns / wall_ns, 1.0) if wall_ns else 0.0
    if share < THROTTLED_SHARE:
        return None
    limit = seen.fact("cgroup_cpu_limit")
    evidence: dict[str, float | str] = {
        "throttled_share": share,
        "periods": sum(seen.noted("cgroup_throttled_periods")),
    }
    if limit is not None:
        evidence["cpu_limit"] = limit
    return Finding(
        kind="throttled",
        sentence=f"The container's CPU limit stopped the work for {share:.0%} of the time.",
        evidence=evidence,
        nodes=(),
        next_step="Use no more threads (--threads) than the limit has CPUs, or raise the limit.",
        weight=share,
    )


def _first_inference(seen: _Seen) -> Finding | None:
    """The first inference prepares what the others find ready."""
    timed = [one for one in seen.profile.processes if one.index in seen.medians]
    times = [one.first_inference_ns / seen.medians[one.index] for one in timed]
    if seen.verdict == "unusable" or not _agree(times, FIRST_TIMES):
        return None
    cold = {name: one.value or 0.0 for name, one in latency.cold_start(timed).items()}
    first_ns = cold["first_inference_ns"]
    if first_ns - seen.median_ns < WORTH_CHANGING * sum(cold.values()):
        return None
    provider = seen.profile.provider
    faster = f"; --provider-option {_FASTER_START[provider]}" if provider in _FASTER_START else ""
    return Finding(
        kind="first_inference",
        sentence=f"The first inference takes {np.median(times):.0f} times as long as the others.",
        evidence={
            "first_inference_ns": first_ns,
            "inference_ns": seen.median_ns,
            "session_ns": cold["session_ns"],
        },
        nodes=(),
        next_step=f"Make one inference of the same shapes before the first request{faster}.",
        weight=0.0,
    )


def _quantisation(seen: _Seen) -> Finding | None:
    """The model is quantised, and its time goes into conversions, or into floating point."""
    nodes = seen.profile.nodes
    if nodes is None:
        return None
    rows = [row for row, op_type in enumerate(nodes.op_type) if op_type in CONVERSIONS]
    if not rows:
        return None
    conversions = _shares_of_time(seen, rows)
    unfused = _behind_conversions(nodes)
    computing = _shares_of_time(seen, unfused)
    evidence: dict[str, float | str] = {"conversion_nodes": len(rows)}
    if _agree([sum(pair) for pair in zip(conversions, computing, strict=True)], MOST) and unfused:
        share = float(np.median(computing))
        sentence = (
            f"int8 gains little: {_counted(len(unfused), 'node')} between DequantizeLinear and "
            "QuantizeLinear, not fused with them, "
            f"{'computes' if len(unfused) == 1 else 'compute'} in floating point."
        )
        evidence["unfused_share"] = share
        next_step = (
            "Leave these nodes out of quantisation (nodes_to_exclude of onnxruntime.quantization),"
            " or quantise all that they read, their bias too, so that ORT fuses them."
        )
    elif _agree(conversions, WORTH_CHANGING):
        share, unfused = 0.0, []
        if "DynamicQuantizeLinear" in nodes.op_type:
            sentence = "Activations are quantised anew in every inference."
            next_step = "Quantise statically (quantize_static): the scales are known beforehand."
        else:
            sentence = "Tensors are turned into int8 ones and back between the operators."
            next_step = "Quantise the operators between them too, or leave their neighbours out."
    else:
        return None
    evidence["conversions_share"] = float(np.median(conversions))
    return Finding(
        kind="quantisation",
        sentence=sentence,
        evidence=evidence,
        nodes=tuple(nodes.name[row] or f"{nodes.op_type[row]} #{row}" for row in unfused),
        next_step=next_step,
        weight=min(float(np.median(conversions)) + share, 1.0),
    )


def _behind_conversions(nodes: NodeTable) -> list[int]:
    """Rows of the nodes that compute what was turned back into floating point just before them.

    The table has no edges: such a node is executed right behind a DequantizeLinear of the same
    graph and reads a tensor of the type and shape that it gives.
    """
    found = []
    ran = np.flatnonzero(nodes.order >= 0)
    order = ran[np.lexsort((nodes.order[ran], nodes.parent[ran]))].tolist()
    for before, row in itertools.pairwise(order):
        if nodes.op_type[before] != "DequantizeLinear" or nodes.op_type[row] in CONVERSIONS:
            continue
        if nodes.parent[before] != nodes.parent[row]:
            continue
        given, read = nodes.output_type_shape[before], nodes.input_type_shape[row]
        outputs = json.loads(given) if given else []
        if outputs and read and outputs[0] in json.loads(read):
            found.append(row)
    return found


def _shares_of_time(seen: _Seen, rows: Sequence[int]) -> list[float]:
    """Part of all nodes' time that some take, by process: on the GPU where one does the work."""
    kernels, table = seen.profile.kernels, seen.table
    node: npt.NDArray[np.int32]
    if not seen.on_cpu:
        if kernels is None:
            return []
        counted = (kernels.inference >= 0) & (kernels.node >= 0)
        node, process, time_ns = kernels.node, kernels.process, kernels.duration_ns
    elif table is not None:
        events = seen.profile.traces[table.source]
        counted = np.ones(len(events), bool)
        node, process, time_ns = events.node, events.process, events.self_ns
    else:
        return []
    mine = counted & np.isin(node, rows)
    shares = []
    for index in np.unique(process[counted]).tolist():
        own = process == index
        whole_ns = int(time_ns[own & counted].sum())
        if whole_ns:
            shares.append(int(time_ns[own & mine].sum()) / whole_ns)
    return shares


def _gpu_idle(seen: _Seen) -> Finding | None:
    """The GPU waits for the host to launch its work.

    ORT's profiler, under which kernels are recorded, lengthens the gaps between them and not
    the kernels: they are held against the timed pass, against its fastest inference.
    """
    kernels = seen.profile.kernels
    if seen.on_cpu or kernels is None or kernels.dropped or seen.verdict == "unusable":
        return None
    work = gpu_work.occupation(kernels)
    if work is None or 1 - work.busy_ns / seen.fastest_ns < MOST:
        return None
    share = 1 - work.busy_ns / seen.median_ns
    provider = seen.profile.provider
    option = CAPTURE_OPTIONS.get(provider)
    can_capture = option is not None and not seen.profile.asked.captures_graph
    step = f"--provider-option {option}=1 launches all of it at once; or " if can_capture else ""
    return Finding(
        kind="gpu_idle",
        sentence=f"The GPU is idle for {share:.0%} of an inference, between launches.",
        evidence={
            "busy_ns": work.busy_ns,
            "inference_ns": seen.median_ns,
            "fastest_ns": seen.fastest_ns,
            "launches": work.launches,
        },
        nodes=(),
        next_step=f"{step}{'g' if step else 'G'}ive it more work in one (--batch).",
        weight=share,
    )


_RULES: Sequence[Callable[[_Seen], Finding | None]] = (
    _throttled,
    _gpu_idle,
    _framework,
    _copies,
    _quantisation,
    _roofline,
    _threads,
    _first_inference,
)


def _agree(values: Sequence[float], least: float) -> bool:
    """Whether there are values enough, one of each process, and none is below the limit."""
    return len(values) >= FEWEST_PROCESSES and min(values) >= least


def _name(row: Operator) -> str:
    return row.node or f"{row.op_type} #{row.order}"


def _counted(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"
