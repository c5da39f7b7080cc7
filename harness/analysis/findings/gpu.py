"""The GPU waits: for copies between it and the CPU, or for launches."""

from __future__ import annotations

from harness.analysis import captured_graph, gpu_work
from harness.analysis.findings.seen import MOST, WORTH_CHANGING, Finding, Seen, agree, counted
from harness.ort import placement, providers
from harness.statistics.figures import Figure


def copies(seen: Seen) -> Finding | None:
    """ORT copies tensors between the GPU and the CPU within an inference."""
    nodes = seen.profile.nodes
    if seen.on_host or seen.provider is None or nodes is None:
        return None
    placed = placement.from_nodes(seen.profile.provider, nodes)
    if not placed.copies:
        return None
    host = providers.by_name(providers.HOST).ort_name
    causes = [name or op_type for provider, name, op_type in placed.elsewhere if provider == host]
    evidence: dict[str, float | str] = {"copies": placed.copies, "nodes_on_cpu": len(causes)}
    taken_ns: list[float] = []
    work = gpu_work.node_work(seen.profile, seen.device)
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
        why = f"because {counted(len(causes), 'node')} {'runs' if len(causes) == 1 else 'run'}"
        sentence = f"{copied}, {why} on the CPU."
        next_step = (
            "Replace these nodes with ones that the provider supports (a different opset or "
            "export), or move them to the ends of the model."
        )
    else:
        sentence = f"{copied}, though no node runs on the CPU: kernels read values there."
        next_step = "Export with fixed shapes, so that shapes are constants and not computed."
    return Finding("copies", sentence, evidence, tuple(causes), next_step, share)


def gpu_idle(seen: Seen) -> Finding | None:
    """The GPU waits for the host to launch its work.

    ORT's profiler, under which kernels may have been recorded, lengthens the gaps between them
    but not the kernels themselves: so they are compared with the fastest inference of the timed
    pass.
    """
    if seen.on_host or seen.verdict == "unusable":
        return None
    work = gpu_work.occupation(seen.profile, seen.device)
    if work is None or 1 - work.busy_ns / seen.fastest_ns < MOST:
        return None
    share = 1 - work.busy_ns / seen.median_ns
    sentence = f"The GPU is idle for {share:.0%} of an inference, between launches"
    evidence: dict[str, float | str] = {
        "busy_ns": work.busy_ns,
        "inference_ns": seen.median_ns,
        "fastest_ns": seen.fastest_ns,
        "launches": work.launches,
    }
    gained = captured_graph.gain(seen.profile)
    if isinstance(gained, captured_graph.Gain):
        plain_ns, captured_ns = gained.typical_plain_ns, gained.typical_captured_ns
        sentence += f": {_microseconds(plain_ns, captured_ns)} with {gained.option}"
        evidence |= {"plain_ns": plain_ns, "captured_ns": captured_ns}
    return Finding(
        kind="gpu_idle",
        sentence=f"{sentence}.",
        evidence=evidence,
        nodes=(),
        next_step=_next_step(seen, gained),
        weight=share,
    )


def _next_step(seen: Seen, gained: captured_graph.Gain | Figure) -> str:
    provider, options = seen.provider, seen.profile.asked.provider_options
    work = "ive it more work per inference (`batch`)."
    if provider is None or not provider.capture_option or provider.captures(options):
        return f"G{work}"
    option = f"`provider_options` {provider.capture_option}=1"
    if isinstance(gained, captured_graph.Gain):
        if agree(gained.shares, WORTH_CHANGING):
            return f"{option} launches all of it at once, as was measured here; or g{work}"
        return f"G{work} A CUDA graph was tried: not every process gained {WORTH_CHANGING:.0%}."
    refused = [why for what, why in seen.profile.absent if what == "trace/replay"]
    if refused:
        return f"G{work} A CUDA graph was tried: {'; '.join(refused)}"
    return f"{option} launches all of it at once; or g{work}"


def _microseconds(before_ns: float, after_ns: float) -> str:
    """Two times with one unit, and as many digits as tell them apart."""
    digits = 0 if min(before_ns, after_ns) >= 10_000 else 1
    return f"{before_ns / 1000:,.{digits}f} → {after_ns / 1000:,.{digits}f} µs"
