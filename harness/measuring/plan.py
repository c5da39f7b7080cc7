"""How the time asked for is divided over processes, passes and inferences."""

from __future__ import annotations

import dataclasses
import math

from harness.analysis.timed_passes import ALIKE
from harness.config.profile import ENERGY_IDLE_S, ProfileConfig
from harness.tracing.probes.turns import ROUNDS, SPINNING_S, SPLIT_EVERY, THREADED_ROUNDS

#: Chunks of a timed pass, a call of the native timing loop each: enough to see drift inside a
#: process, few enough that one is long against the cost of switching to the next.
COMPARISON_CHUNKS = 10
QUICK_CHUNKS = 3
MIN_CHUNKS = 3

#: Part of the samples asked for that may be lost or added to make chunks of equal size of them.
ROUNDED_OFF = 0.05

#: Seconds a worker needs besides its session and inferences: interpreter, imports, dlopen,
#: metadata of the process, the yardstick. Measured as 0.35 to 0.45 s on a 2-core EPYC; only the
#: announced duration of the whole depends on it.
PROCESS_OVERHEAD_S = 0.4

#: An inference shorter than this is taken for the work of one thread: to share an operator out
#: would take ONNX Runtime about as long (mlp of 2 µs did not settle, mobilenet-v2 of 3 ms did).
ONE_THREAD_S = 50e-6

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
        chunk_inferences: inferences in a chunk, the same number in all processes.
        latency_ns: rough latency of one inference, which the numbers come from.
        trace_inferences: inferences of a pass with ORT's profiler.
        probe_inferences: inferences of a pass with probes, in each of its graphs but the half,
            which has as many in some rounds only.
        untimed_s: how long a measuring process will take besides its chunks and its traced
            passes, roughly.
        traced_s: how long its traced passes will take.
        budget_s: of measuring, until which processes are added to those planned where these do
            not reach the precision; None where none are.
    """

    processes: int
    warmup_chunks: int
    steady_chunks: int
    chunk_inferences: int
    latency_ns: int
    trace_inferences: int
    probe_inferences: int
    untimed_s: float
    traced_s: float
    budget_s: float | None

    @property
    def process_s(self) -> float:
        """How long a measuring process will take, roughly."""
        return self.timed_process_s + self.traced_s

    @property
    def expected_s(self) -> float:
        """How long the planned processes will take together, roughly."""
        return self.processes * self.process_s

    @property
    def timed_process_s(self) -> float:
        """How long a measuring process will take without its traced passes."""
        chunks = self.warmup_chunks + self.steady_chunks
        return self.untimed_s + chunks * self.chunk_inferences * self.latency_ns * 1e-9

    @property
    def timed_s(self) -> float:
        """How long a timed pass lasts where an inference takes as long as it should."""
        return self.steady_chunks * self.chunk_inferences * self.latency_ns * 1e-9


def equal_looks(first: Plan, second: Plan) -> tuple[Plan, Plan]:
    """The plans of two sides whose processes are timed equally long, as the shorter one was.

    A longer look at a machine is another look: with the same configuration on both sides it
    would be a difference. So what is alike takes the same number of samples.
    """
    seconds = min(first.timed_s, second.timed_s)
    slower = max(first.latency_ns, second.latency_ns)
    faster = min(first.latency_ns, second.latency_ns)
    latencies = [first.latency_ns, second.latency_ns]
    if slower < ALIKE * faster:
        latencies = [round(math.sqrt(slower * faster))] * 2
    least = min(COMPARISON_CHUNKS, first.steady_chunks, second.steady_chunks)
    plans = []
    for plan, latency_ns in zip((first, second), latencies, strict=True):
        chunks, inferences = _divided(round(seconds / (latency_ns * 1e-9)), least)
        plans.append(
            dataclasses.replace(
                plan,
                steady_chunks=chunks,
                chunk_inferences=inferences,
                warmup_chunks=max(1, chunks // 4),
            )
        )
    return plans[0], plans[1]


def _divided(samples: int, least: int) -> tuple[int, int]:
    """(chunks, inferences in each) that come nearest to so many samples.

    Args:
        samples: of a slow model fewer than there would be chunks.
        least: chunks, if there are samples enough.
    """
    if samples <= least:
        return max(MIN_CHUNKS, samples), 1
    missed = {
        count: abs(count * round(samples / count) - samples) for count in range(least, 2 * least)
    }
    chunks = least
    if missed[least] > ROUNDED_OFF * samples:
        chunks = min(missed, key=lambda count: missed[count])
    return chunks, round(samples / chunks)


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
        latency_ns: what an inference takes, as calibrated.
        session_ns: rough time to create a session.
        executions: of nodes in one inference, 0 where not known.
        profiled_ns: rough latency under ORT's profiler, 0 where not known.
        executed_session_ns: rough time to create a session of the executed graph, whose nodes
            need not be optimised any more; 0 where there is none.
    """
    latency_s = max(latency_ns, 1) * 1e-9
    samples = min(round(config.timed_s / latency_s), config.most_samples)
    chunks, chunk_inferences = _divided(
        samples, QUICK_CHUNKS if config.quick else COMPARISON_CHUNKS
    )
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
        # Three graphs each round, and the half in some of them.
        turns = 3 * rounds + -(-rounds // SPLIT_EVERY)
        traced = 4 * TRACED_WARMUP + turns * (1 + probe_inferences / rounds)
        # Whether one thread does it all is asked of the first graph, and where it does, the others
        # need not settle.
        settled = rounds if latency_s < ONE_THREAD_S else turns
        traced_s += 4 * traced_session_s + traced * probed_s
        traced_s += 0.0 if single else settled * SPINNING_S
        traced_s += 4 * probed_s
    # The first inference, and those behind the yardstick.
    untimed_s = PROCESS_OVERHEAD_S + session_ns * 1e-9 + 5 * latency_s
    untimed_s += ENERGY_IDLE_S if config.energy else 0.0
    added = config.processes is None and not config.quick
    return Plan(
        processes=config.process_count,
        warmup_chunks=warmup_chunks,
        steady_chunks=chunks,
        chunk_inferences=chunk_inferences,
        latency_ns=max(latency_ns, 1),
        trace_inferences=trace_inferences,
        probe_inferences=probe_inferences,
        untimed_s=untimed_s,
        traced_s=traced_s,
        budget_s=config.budget_s if added else None,
    )
