"""How the time asked for is divided over processes, passes and inferences."""

from __future__ import annotations

import dataclasses
import math

from harness.config.profile import ENERGY_IDLE_S, ProfileConfig

#: Chunks of a timed pass, a call of the native timing loop each: enough to see drift inside a
#: process, few enough that one is long against the cost of switching to the next.
COMPARISON_CHUNKS = 10
QUICK_CHUNKS = 3
MIN_CHUNKS = 3

#: Seconds a worker needs besides its session and inferences: interpreter, imports, dlopen,
#: metadata of the process. Measured as 0.45 s on a 2-core EPYC; only the announced duration of
#: the whole depends on it.
PROCESS_OVERHEAD_S = 0.5

#: Seconds a traced pass may take in each process before it records fewer inferences.
TRACE_BUDGET_S = 0.5

#: Inferences recorded with probes: enough for a steady median of each node; of a slow model at
#: least two, whatever they take.
MIN_PROBE_INFERENCES = 2
MAX_PROBE_INFERENCES = 200

#: Events that a traced pass of a process stores: about what its raw samples take.
TRACE_EVENTS = 50_000

#: Rough cost of a probe, to announce how long it will take.
PROBE_S = 300e-9


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How the processes spend their time.

    Attributes:
        processes: measuring processes.
        warmup_chunks: chunks of warm-up in each.
        steady_chunks: chunks of the timed pass in each.
        min_chunk_s: least duration of a chunk, from which its inferences are calibrated.
        trace_inferences: inferences of a pass with ORT's profiler.
        probe_inferences: inferences of a pass with probes, in each of its three graphs.
        expected_s: how long the whole will take, roughly.
    """

    processes: int
    warmup_chunks: int
    steady_chunks: int
    min_chunk_s: float
    trace_inferences: int
    probe_inferences: int
    expected_s: float


def divide_time(
    config: ProfileConfig, latency_ns: int, session_ns: int, executions: int, profiled_ns: int
) -> Plan:
    """Divides the time asked for over processes, and within each over its passes.

    Args:
        config: what was asked for.
        latency_ns: rough latency of one inference.
        session_ns: rough time to create a session.
        executions: of nodes in one inference, 0 where not known.
        profiled_ns: rough latency under ORT's profiler, 0 where not known.
    """
    latency_s = max(latency_ns, 1) * 1e-9
    chunks = QUICK_CHUNKS if config.quick else COMPARISON_CHUNKS
    # A slow model gets fewer chunks of one inference each, never fewer than MIN_CHUNKS.
    chunks = max(MIN_CHUNKS, min(chunks, math.ceil(config.timed_s / latency_s)))
    # Calibration doubles the inferences until a chunk is long enough, so half the longest chunk
    # that the sample limit allows is what may be asked for.
    longest_s = config.most_samples / chunks * latency_s / 2
    min_chunk_s = min(config.timed_s / chunks, longest_s)
    warmup_chunks = max(1, chunks // 4)
    profiled_s = max(profiled_ns * 1e-9, latency_s)
    most = TRACE_EVENTS // max(executions, 1)
    trace_inferences = max(1, min(config.trace_inferences, int(TRACE_BUDGET_S / profiled_s), most))
    probe_inferences = max(
        MIN_PROBE_INFERENCES, min(MAX_PROBE_INFERENCES, int(TRACE_BUDGET_S / latency_s), most)
    )
    # Doubling overshoots by a factor between 1 and 2.
    chunk_s = max(1.5 * min_chunk_s, latency_s)
    traced_s = 0.0
    if "ort" in config.trace:
        traced_s += session_ns * 1e-9 + (trace_inferences + 3) * profiled_s
    if "probe" in config.trace:
        probed_s = latency_s + executions * PROBE_S
        traced_s += 3 * (session_ns * 1e-9 + (probe_inferences + 4) * probed_s)
    begun_s = PROCESS_OVERHEAD_S + session_ns * 1e-9
    process_s = begun_s + (warmup_chunks + chunks) * chunk_s + traced_s
    process_s += ENERGY_IDLE_S if config.energy else 0.0
    calibration_s = begun_s + 2 * chunk_s
    return Plan(
        processes=config.process_count,
        warmup_chunks=warmup_chunks,
        steady_chunks=chunks,
        min_chunk_s=min_chunk_s,
        trace_inferences=trace_inferences,
        probe_inferences=probe_inferences,
        expected_s=calibration_s + config.process_count * process_s,
    )
