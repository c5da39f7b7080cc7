"""How the requested time is divided between processes, passes and inferences."""

from __future__ import annotations

import dataclasses
import math

from harness.analysis.timed_passes import ALIKE
from harness.config.profile import ENERGY_IDLE_S, MAX_SAMPLES_PER_PROCESS, ProfileConfig
from harness.ort import providers
from harness.tracing.kernels.turns import inferences_of_all
from harness.tracing.probes.turns import ROUNDS, SETTLING_S, SPLIT_EVERY, THREADED_ROUNDS

#: Chunks of a timed pass, each one call of the native timing loop: enough to see drift within a
#: process, few enough that each is long compared with the cost of switching to the next.
COMPARISON_CHUNKS = 10
QUICK_CHUNKS = 3
MIN_CHUNKS = 3

#: Share of the requested samples that may be dropped or added to get chunks of equal size.
ROUNDED_OFF = 0.05

#: Seconds a worker needs in addition to its session and inferences: interpreter, imports, dlopen,
#: metadata of the process, the yardstick, its shard, its exit. `show verbose` tells them: 0.31 s
#: of CPU time on a 2-core EPYC. Only the announced total duration depends on it.
PROCESS_OVERHEAD_S = 0.35

#: Seconds that a group takes besides its windows and sessions: warm-up, leads, results.
GROUP_OVERHEAD_S = 1.0

#: An inference shorter than this is assumed to run on one thread: splitting an operator between
#: threads would cost ONNX Runtime about as much (mlp at 2 µs did not settle, mobilenet-v2 at
#: 3 ms did).
ONE_THREAD_S = 50e-6

#: Processes that time operators: the fewest with which a rank test can tell two profiles apart
#: (docs/METHODS.md, "Traced processes").
TRACED_PROCESSES = 4

#: Of these, processes that make a pass with ORT's profiler if probes time the operators. It then
#: only says what does not vary, and how much it slows an inference down: two that agree are enough.
PROFILED_PROCESSES = 2

#: Seconds that the recorded inferences of a traced pass may take in each process, in all of its
#: graphs together; a slower model gets fewer.
TRACE_BUDGET_S = 0.6

#: Graphs that a pass with probes records.
PROBED_GRAPHS = 3

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
        profiled: those of them that use ORT's profiler, if probes work.
        trace_inferences: inferences of a pass with ORT's profiler.
        probe_inferences: inferences of a pass with probes, in each of its graphs except the half,
            which has as many in some rounds only.
        untimed_s: roughly how long a measuring process takes apart from its chunks and traced
            passes.
        probed_s: roughly how long a pass with probes takes; 0 if there is none.
        profiled_s: roughly how long a pass with ORT's profiler takes; 0 if there is none.
        assumed_s: roughly what creating sessions of the executed graph takes of expected_s, where
            none was timed: each is taken to need as long as the model's. 0 where one was.
        budget_s: seconds of measuring up to which processes are added if the planned ones do
            not reach the precision; None if none are added.
        of_groups: whether a process is the leader of a group of instances.
    """

    processes: int
    warmup_chunks: int
    steady_chunks: int
    chunk_inferences: int
    latency_ns: int
    traced: frozenset[int]
    profiled: frozenset[int]
    trace_inferences: int
    probe_inferences: int
    untimed_s: float
    probed_s: float
    profiled_s: float
    assumed_s: float
    budget_s: float | None
    of_groups: bool = False

    @property
    def expected_s(self) -> float:
        """Roughly how long the planned processes take together."""
        return self.expected_of(range(self.processes))

    def expected_of(self, processes: range) -> float:
        """Roughly how many seconds the processes with these indices take together."""
        probed = len(self.traced.intersection(processes))
        profiled = len(self.profiled.intersection(processes))
        timed_s = len(processes) * self.timed_process_s
        return timed_s + probed * self.probed_s + profiled * self.profiled_s

    @property
    def timed_process_s(self) -> float:
        """Roughly how long a measuring process takes without its traced passes."""
        chunks = self.warmup_chunks + self.steady_chunks
        return self.untimed_s + chunks * self.chunk_inferences * self.latency_ns * 1e-9

    @property
    def timed_s(self) -> float:
        """How long a timed pass takes if inferences take ``latency_ns``."""
        return self.steady_chunks * self.chunk_inferences * self.latency_ns * 1e-9


def spread(some: int, processes: int) -> frozenset[int]:
    """Indices of at most so many processes, evenly spread over all of them.

    The operators then see the machine over the same time as the latency does.
    """
    some = min(some, processes)
    return frozenset(number * processes // some for number in range(some))


def replays(config: ProfileConfig) -> bool:
    """Whether a process records with GPU kernels what a captured graph does, too.

    Where one is not asked for, that tells what it would gain; a quick look leaves it out.
    """
    provider = providers.by_name(config.session.provider)
    if not provider.on_device or not provider.capture_option:
        return False
    return not config.quick or provider.captures(config.session.provider_options)


def equal_looks(first: Plan, second: Plan) -> tuple[Plan, Plan]:
    """Adjusts the plans of two sides so that both time for as long as the shorter one.

    How long a process observes the machine affects what it sees: two sides with the same
    configuration would differ by that alone. So sides of similar latency take the same number
    of samples. Of the others, the slower one comes first: it takes a whole number of inferences,
    and three at least, and the faster one looks for as long as these last.
    """
    if first.of_groups or second.of_groups:
        return first, second  # a group's window is as long as its callers need
    seconds = min(first.timed_s, second.timed_s)
    least = min(COMPARISON_CHUNKS, first.steady_chunks, second.steady_chunks)
    slower = max(first.latency_ns, second.latency_ns)
    faster = min(first.latency_ns, second.latency_ns)
    latencies = [first.latency_ns, second.latency_ns]
    if slower < ALIKE * faster:
        latencies = [round(math.sqrt(slower * faster))] * 2
    else:
        seconds = math.prod(_divided(round(seconds / (slower * 1e-9)), least)) * slower * 1e-9
    plans = []
    for plan, latency_ns in zip((first, second), latencies, strict=True):
        most = max(MAX_SAMPLES_PER_PROCESS, plan.steady_chunks * plan.chunk_inferences)
        chunks, inferences = _divided(min(round(seconds / (latency_ns * 1e-9)), most), least)
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


def _of_groups(config: ProfileConfig, latency_ns: int, session_ns: int) -> Plan:
    """The plan of a group, which times its two windows itself (`harness.measuring.group`)."""
    windows_s = 2 * max(config.timed_s, 1e-9 * latency_ns) + GROUP_OVERHEAD_S
    return Plan(
        processes=config.process_count,
        warmup_chunks=0,
        steady_chunks=1,
        chunk_inferences=1,
        latency_ns=max(latency_ns, 1),
        traced=frozenset(),
        profiled=frozenset(),
        trace_inferences=0,
        probe_inferences=0,
        untimed_s=2 * (PROCESS_OVERHEAD_S + session_ns * 1e-9) + windows_s,
        probed_s=0.0,
        profiled_s=0.0,
        assumed_s=0.0,
        budget_s=None,
        of_groups=True,
    )


def divide_time(
    config: ProfileConfig,
    latency_ns: int,
    session_ns: int,
    executions: int,
    profiled_ns: int,
    executed_session_ns: int = 0,
    *,
    insertable: bool = True,
) -> Plan:
    """Divides the requested time between processes, and within each between its passes.

    Args:
        config: the request.
        latency_ns: calibrated latency of one inference.
        session_ns: rough time to create a session.
        executions: node executions in one inference, 0 if not known.
        profiled_ns: rough latency under ORT's profiler, 0 if not known.
        executed_session_ns: rough time to create a session of the executed graph, which is
            already optimised; 0 if it was not timed.
        insertable: whether probes can be inserted.
    """
    if config.is_group:
        return _of_groups(config, latency_ns, session_ns)
    probed = insertable and "probe" in config.trace and executions > 0
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
        MIN_PROBE_INFERENCES,
        min(MAX_PROBE_INFERENCES, int(TRACE_BUDGET_S / PROBED_GRAPHS / latency_s), stored),
    )
    traced_session_s = (executed_session_ns or session_ns) * 1e-9
    profiled_pass_s = probed_pass_s = 0.0
    if "ort" in config.trace:
        events_s = trace_inferences * executions * EVENT_S
        profiled_pass_s = traced_session_s + (trace_inferences + TRACED_WARMUP) * profiled_s
        profiled_pass_s += events_s
    if "kernels" in config.trace and providers.by_name(config.session.provider).on_device:
        profiled_pass_s += traced_session_s + (trace_inferences + TRACED_WARMUP) * profiled_s
        profiled_pass_s += inferences_of_all(trace_inferences) * latency_s
        if replays(config):
            replay_s = (TRACED_WARMUP + inferences_of_all(trace_inferences)) * latency_s
            profiled_pass_s += session_ns * 1e-9 + replay_s
    if probed:
        probed_s = latency_s + executions * PROBE_S
        single = config.session.intra_threads == 1
        rounds = max(1, min(ROUNDS if single else THREADED_ROUNDS, probe_inferences // 2))
        # The full graphs each round, and the half in some of them; each turn is rounded up and
        # first runs one inference that is not recorded.
        turns = PROBED_GRAPHS * rounds + -(-rounds // SPLIT_EVERY)
        sessions = PROBED_GRAPHS + 1
        inferences = sessions * TRACED_WARMUP + turns * (1 + -(-probe_inferences // rounds))
        # The first graph shows whether one thread does all the work; if so, none need settle.
        settling_s = 0.0 if single or latency_s < ONE_THREAD_S else turns * SETTLING_S
        probed_pass_s = sessions * traced_session_s + inferences * probed_s + settling_s
        probed_pass_s += sessions * probed_s
    # The first inference, and the discarded ones after the yardstick.
    untimed_s = PROCESS_OVERHEAD_S + session_ns * 1e-9 + 5 * latency_s
    if config.energy:
        on_device = providers.by_name(config.session.provider).on_device
        untimed_s += (2 if on_device else 1) * ENERGY_IDLE_S
    traced = spread(TRACED_PROCESSES, config.process_count)
    profiled = spread(PROFILED_PROCESSES if probed else TRACED_PROCESSES, config.process_count)
    assumed_s = 0.0
    if not executed_session_ns:
        of_device = providers.by_name(config.session.provider).on_device
        passes = ("ort" in config.trace) + (of_device and "kernels" in config.trace)
        sessions = len(profiled) * passes + len(traced) * (PROBED_GRAPHS + 1) * probed
        assumed_s = sessions * traced_session_s
    added = config.processes is None and not config.quick
    return Plan(
        processes=config.process_count,
        warmup_chunks=warmup_chunks,
        steady_chunks=chunks,
        chunk_inferences=chunk_inferences,
        latency_ns=max(latency_ns, 1),
        traced=traced,
        profiled=profiled,
        trace_inferences=trace_inferences,
        probe_inferences=probe_inferences,
        untimed_s=untimed_s,
        probed_s=probed_pass_s,
        profiled_s=profiled_pass_s,
        assumed_s=assumed_s,
        budget_s=config.budget_s if added else None,
    )
