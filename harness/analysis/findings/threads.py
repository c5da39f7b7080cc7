"""More threads than CPUs, or than the operators can use."""

from __future__ import annotations

import math

import numpy as np

from harness.analysis.findings.seen import WORTH_CHANGING, Finding, Seen, counted
from harness.analysis.runtime import runtime
from harness.machine.cpu_lists import cpu_parts


def threads(seen: Seen) -> Finding | None:
    """More threads than CPUs, or than the operators can use."""
    threads, cpus = runtime(seen.profile).threads, usable_cpus(seen)
    if threads is None:
        threads = seen.profile.asked.intra_threads
    if not seen.on_host or threads is None or seen.profile.instances is not None:
        return None  # the threads of callers side by side are told by what these cost each other
    if cpus is not None and threads > math.ceil(cpus):
        evidence: dict[str, float | str] = {"threads": threads, "cpus": cpus}
        switches = seen.noted("involuntary_switches")
        if switches:
            inferences = sum(len(process.steady) for process in seen.profile.processes)
            evidence["involuntary_switches_an_inference"] = sum(switches) / inferences
        return Finding(
            kind="threads",
            sentence=f"{threads} threads share {counted(cpus, 'CPU')}: they wait for each other.",
            evidence=evidence,
            nodes=(),
            next_step=f"Use `intra_threads` {math.floor(cpus) or 1}, or allow more CPUs.",
            weight=1 - cpus / threads,
        )
    if seen.profile.asked.execution_mode == "parallel":
        return None  # the trace does not show which operators ran at the same time
    parallel = _parallel_share(seen)
    # Left to choose, ORT makes one thread per core.
    if parallel is None or (threads or seen.fact("cpu_cores") or 1) == 1:
        return None
    if parallel >= WORTH_CHANGING:
        return None
    return Finding(
        kind="threads",
        sentence="ONNX Runtime runs almost all of this model on one thread.",
        evidence={"divided_share": parallel, "threads": threads or "as ORT chooses"},
        nodes=(),
        next_step="Use `intra_threads` 1; for throughput run several sessions in parallel, "
        "one per CPU.",
        weight=0.0,
    )


def usable_cpus(seen: Seen) -> float | None:
    """CPU time that the workers may use, in CPUs; None if unknown."""
    affinity = seen.profile.asked.affinity
    try:
        allowed = (
            seen.fact("affinity_cpus") if affinity is None else sum(map(len, cpu_parts(affinity)))
        )
    except ValueError:  # not a CPU list: harness did not write the file
        allowed = None
    known = [one for one in (allowed, seen.fact("cgroup_cpu_limit")) if not isinstance(one, str)]
    return min((float(one) for one in known if one is not None), default=None)


def _parallel_share(seen: Seen) -> float | None:
    """Share of the nodes' time in operators that ORT ever split over threads; None if unknown."""
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
