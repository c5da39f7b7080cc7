"""How the requested time is divided between processes, passes and inferences."""

from __future__ import annotations

import dataclasses
import math

from harness.analysis.timed_passes import ALIKE
from harness.config.profile import ENERGY_IDLE_S, ProfileConfig
from harness.tracing.probes.turns import ROUNDS, SPINNING_S, THREADED_ROUNDS

#: Chunks of a timed pass, each one call of the native timing loop: enough to see drift within a
#: process, few enough that each is long compared with the cost of switching to the next.
COMPARISON_CHUNKS = 10
QUICK_CHUNKS = 3
MIN_CHUNKS = 3

#: Share of the requested samples that may be dropped or added to get chunks of equal size.
ROUNDED_OFF = 0.05

#: Seconds a worker needs in addition to its session and inferences: interpreter, imports, dlopen,
#: metadata of the process, the yardstick. Measured as 0.35 to 0.45 s on a 2-core EPYC; only the
#: announced total duration depends on it.
PROCESS_OVERHEAD_S = 0.4

#: An inference shorter than this is assumed to run on one thread: splitting an operator between
#: threads would cost ONNX Runtime about as much (mlp at 2 µs did not settle, mobilenet-v2 at
#: 3 ms did).
ONE_THREAD_S = 50e-6

#: Processes that make traced passes, of as many as there are: enough for an interval of each
#: operator that more would hardly narrow (docs/METHODS.md, "Traced processes").
TRACED_PROCESSES = 5

#: Seconds a traced pass may take in each process; a slower model gets fewer recorded inferences.
TRACE_BUDGET_S = 0.5

#: Inferences recorded with probes: the maximum is enough for a stable median of each node, the
#: minimum applies to slow models, however long they take.
MIN_PROBE_INFERENCES = 2
MAX_PROBE_INFERENCES = 200

#: Events that a traced pass stores per process: about the size of its raw samples.
TRACE_EVENTS = 50_000

#: Rough cost of running a probe, and of reading an event of ORT's profiler.
PROBE_S = 300e-9
EVENT_S = 10e-6

#: Inferences that each session of a traced pass makes in addition to the recorded ones.
TRACED_WARMUP = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How the processes spend their time.

    Attributes:
        processes: measuring processes.
        warmup_chunks: chunks of warm-up in each.
        steady_chunks: chunks of the timed pass in each.
        chunk_inferences: inferences in a chunk, the same number in all processes.
        latency_ns: rough latency of one inference, from which these numbers are derived.
        traced: indices of the processes that make traced passes.
        trace_inferences: inferences of a pass with ORT's profiler.
        probe_inferences: inferences of a pass with probes, in each of its three graphs.
        untimed_s: roughly how long a measuring process takes apart from its chunks and traced
            passes.
        traced_s: roughly how long the traced passes of one take.
        budget_s: seconds of measuring up to which processes are added if the planned ones do
            not reach the precision; None if none are added.
    """

    processes: int
    warmup_chunks: int
    steady_chunks: int
    chunk_inferences: int
    latency_ns: int
    traced: frozenset[int]
    trace_inferences: int
    probe_inferences: int
    untimed_s: float
    traced_s: float
    budget_s: float | None

    @property
    def expected_s(self) -> float:
        """Roughly how long the planned processes take together."""
        return self.expected_of(range(self.processes))

    def expected_of(self, processes: range) -> float:
        """Roughly how many seconds the processes with these indices take together."""
        traced = sum(index in self.traced for index in processes)
        return len(processes) * self.timed_process_s + traced * self.traced_s

    @property
    def timed_process_s(self) -> float:
        """Roughly how long a measuring process takes without its traced passes."""
        chunks = self.warmup_chunks + self.steady_chunks
        return self.untimed_s + chunks * self.chunk_inferences * self.latency_ns * 1e-9

    @property
    def timed_s(self) -> float:
        """How long a timed pass takes if inferences take ``latency_ns``."""
        return self.steady_chunks * self.chunk_inferences * self.latency_ns * 1e-9


def spread(processes: int) -> frozenset[int]:
    """Indices of the processes that make traced passes: evenly spread over all of them.

    What the machine does while the first half runs is then in the operators' times no more than
    in the latency.
    """
    most = min(TRACED_PROCESSES, processes)
    return frozenset(number * processes // most for number in range(most))


def equal_looks(first: Plan, second: Plan) -> tuple[Plan, Plan]:
    """Adjusts the plans of two sides so that both time for as long as the shorter one.

    How long a process observes the machine affects what it sees: two sides with the same
    configuration would differ by that alone. So sides of similar latency take the same number
    of samples.
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
    """(chunks, inferences in each) whose product comes closest to this many samples.

    Args:
        samples: wanted; with a slow model possibly fewer than ``least``.
        least: minimum number of chunks, if there are enough samples.
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
    """Divides the requested time between processes, and within each between its passes.

    Args:
        config: the request.
        latency_ns: calibrated latency of one inference.
        session_ns: rough time to create a session.
        executions: node executions in one inference, 0 if not known.
        profiled_ns: rough latency under ORT's profiler, 0 if not known.
        executed_session_ns: rough time to create a session of the executed graph, which is
            already optimised; 0 if there is none.
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
        traced = TRACED_WARMUP + rounds + probe_inferences
        settling_s = 0.0 if single else rounds * SPINNING_S
        # Three graphs: the first shows whether one thread does all the work; if so, the others
        # need not settle.
        settled = 1 if latency_s < ONE_THREAD_S else 3
        traced_s += 3 * (traced_session_s + traced * probed_s) + settled * settling_s
        traced_s += 3 * probed_s
    # The first inference, and the discarded ones after the yardstick.
    untimed_s = PROCESS_OVERHEAD_S + session_ns * 1e-9 + 5 * latency_s
    untimed_s += ENERGY_IDLE_S if config.energy else 0.0
    added = config.processes is None and not config.quick
    return Plan(
        processes=config.process_count,
        warmup_chunks=warmup_chunks,
        steady_chunks=chunks,
        chunk_inferences=chunk_inferences,
        latency_ns=max(latency_ns, 1),
        traced=spread(config.process_count),
        trace_inferences=trace_inferences,
        probe_inferences=probe_inferences,
        untimed_s=untimed_s,
        traced_s=traced_s,
        budget_s=config.budget_s if added else None,
    )
