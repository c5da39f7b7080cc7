"""How the time asked for is divided over processes, passes and inferences."""

from __future__ import annotations

import dataclasses
import math

from harness.config.profile import ENERGY_IDLE_S, ProfileConfig
from harness.tracing.probes.turns import ROUNDS, SPINNING_S, THREADED_ROUNDS

#: Chunks of a timed pass, a call of the native timing loop each: enough to see drift inside a
#: process, few enough that one is long against the cost of switching to the next.
COMPARISON_CHUNKS = 10
QUICK_CHUNKS = 3
MIN_CHUNKS = 3

#: By how much faster than planned a model may be without calibration doubling the inferences of
#: a chunk once more, else chance would decide near a power of two. Where the limit of samples
#: makes the chunks short anyway they may become as much shorter.
CALIBRATION_MARGIN = 1.25

#: Seconds a worker needs besides its session and inferences: interpreter, imports, dlopen,
#: metadata of the process, the yardstick. Measured as 0.35 to 0.45 s on a 2-core EPYC; only the
#: announced duration of the whole depends on it.
PROCESS_OVERHEAD_S = 0.4

#: Seconds a traced pass may take in each process before it records fewer inferences.
TRACE_BUDGET_S = 0.5

#: Inferences recorded with probes: enough for a steady median of each node; of a slow model at
#: least two, whatever they take.
MIN_PROBE_INFERENCES = 2
MAX_PROBE_INFERENCES = 200

#: Events that a traced pass of a process stores: about what its raw samples take.
TRACE_EVENTS = 50_000

#: Rough cost of a probe, and of an event of ORT's profiler that is read.
PROBE_S = 300e-9
EVENT_S = 10e-6

#: Inferences that each session of a traced pass makes besides those that it records.
TRACED_WARMUP = 4


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
        calibration_s: how long the calibrating process will take, roughly.
        timed_process_s: how long a measuring process will take without its traced passes.
        traced_s: how long its traced passes will take.
        budget_s: of measuring, until which processes are added to those planned where these do
            not reach the precision; None where none are.
    """

    processes: int
    warmup_chunks: int
    steady_chunks: int
    min_chunk_s: float
    trace_inferences: int
    probe_inferences: int
    calibration_s: float
    timed_process_s: float
    traced_s: float
    budget_s: float | None

    @property
    def process_s(self) -> float:
        """How long a measuring process will take, roughly."""
        return self.timed_process_s + self.traced_s

    @property
    def expected_s(self) -> float:
        """How long the planned processes will take together, roughly."""
        return self.calibration_s + self.processes * self.process_s


def divide_time(
    config: ProfileConfig,
    latency_ns: int,
    session_ns: int,
    executions: int,
    profiled_ns: int,
    executed_session_ns: int = 0,
) -> Plan:
    """Divides the time asked for over processes, and within each over its passes.

    Args:
        config: what was asked for.
        latency_ns: rough latency of one inference.
        session_ns: rough time to create a session.
        executions: of nodes in one inference, 0 where not known.
        profiled_ns: rough latency under ORT's profiler, 0 where not known.
        executed_session_ns: rough time to create a session of the executed graph, whose nodes
            need not be optimised any more; 0 where there is none.
    """
    latency_s = max(latency_ns, 1) * 1e-9
    chunks = QUICK_CHUNKS if config.quick else COMPARISON_CHUNKS
    # A slow model gets fewer chunks of one inference each, never fewer than MIN_CHUNKS.
    chunks = max(MIN_CHUNKS, min(chunks, math.ceil(config.timed_s / latency_s)))
    # Calibration doubles the inferences until a chunk is long enough.
    wanted = math.ceil(math.log2(config.timed_s / chunks / latency_s))
    most = int(math.log2(config.most_samples / chunks))
    chunk_s = 2 ** max(0, min(wanted, most)) * latency_s
    min_chunk_s = chunk_s / (CALIBRATION_MARGIN if wanted < most else math.sqrt(2))
    warmup_chunks = max(1, chunks // 4)
    profiled_s = max(profiled_ns * 1e-9, latency_s)
    stored = TRACE_EVENTS // max(executions, 1)
    trace_inferences = max(
        1, min(config.trace_inferences, int(TRACE_BUDGET_S / profiled_s), stored)
    )
    probe_inferences = max(
        MIN_PROBE_INFERENCES, min(MAX_PROBE_INFERENCES, int(TRACE_BUDGET_S / latency_s), stored)
    )
    traced_session_s = (executed_session_ns or session_ns) * 1e-9
    traced_s = 0.0
    if "ort" in config.trace:
        events_s = trace_inferences * executions * EVENT_S
        traced_s += traced_session_s + (trace_inferences + TRACED_WARMUP) * profiled_s + events_s
    if "probe" in config.trace and executions:
        probed_s = latency_s + executions * PROBE_S
        single = config.session.intra_threads == 1
        rounds = max(1, min(ROUNDS if single else THREADED_ROUNDS, probe_inferences // 2))
        traced = TRACED_WARMUP + rounds + probe_inferences
        settling_s = 0.0 if single else rounds * SPINNING_S
        # Three graphs; whether one thread does it all is asked of the first of them.
        traced_s += 3 * (traced_session_s + traced * probed_s + settling_s) + 3 * probed_s
    # The first inference, and those behind the yardstick.
    begun_s = PROCESS_OVERHEAD_S + session_ns * 1e-9 + 2 * latency_s
    timed_process_s = begun_s + 3 * latency_s + (warmup_chunks + chunks) * chunk_s
    timed_process_s += ENERGY_IDLE_S if config.energy else 0.0
    added = config.processes is None and not config.quick
    return Plan(
        processes=config.process_count,
        warmup_chunks=warmup_chunks,
        steady_chunks=chunks,
        min_chunk_s=min_chunk_s,
        trace_inferences=trace_inferences,
        probe_inferences=probe_inferences,
        # It doubles: all chunks before the last are together about as long as that.
        calibration_s=begun_s + 2 * chunk_s,
        timed_process_s=timed_process_s,
        traced_s=traced_s,
        budget_s=config.budget_s if added else None,
    )
