"""What a profile is asked to measure: one frozen, validated value.

Nothing here reads the environment or the command line; ``harness.commands.profile``
builds a ProfileConfig from argv and a script builds one directly.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from harness.config.fields import settle
from harness.config.inputs import InputRequest
from harness.config.session import ORT, SessionConfig, one_of
from harness.errors import RequestError

STACKS = ("python", "native")

#: One instance for each socket, NUMA node, L3 cache or core of the machine.
LAYOUTS = ("per-socket", "per-numa", "per-l3", "per-core")

#: NUMA nodes of an instance's memory: that of the CPU which touches a page first, or all in turn.
MEMORY_POLICIES = ("local", "interleave")

#: Most instances of a group, and most callers of a session: more than any machine has use for.
MOST_INSTANCES = 4096

#: Most processes of a profile: with more, nothing gets more precise that they could tell.
MOST_PROCESSES = 10_000

TRACE_PASSES = ("probe", "ort", "kernels")

#: Processes of a comparison-grade profile: with ten, Welch's test on per-process medians
#: detects a 2 % shift with 97 % power.
COMPARISON_PROCESSES = 10
COMPARISON_DURATION_S = 2.0

#: Half width of the median's confidence interval, relative to the median, that processes are
#: added to reach; and the seconds after which no more are added.
DEFAULT_PRECISION = 0.01
DEFAULT_BUDGET_S = 60.0
QUICK_PROCESSES = 3

#: Groups of instances side by side, each of which is the unit of the intervals as a process is.
GROUPS = 5
QUICK_DURATION_S = 0.3

#: A timed pass ends at this many samples: 4 MB of raw data per process say all there is to say.
MAX_SAMPLES_PER_PROCESS = 250_000

#: The same with ``energy``: meters need seconds, however short an inference is.
ENERGY_SAMPLES_PER_PROCESS = 2_000_000
ENERGY_DURATION_S = 3.0

#: And seconds of the timed passes of all processes together: 50 updates of a meter that is updated
#: every 100 ms, as on an H200 (`harness.analysis.energy.MIN_PERIODS`), the two at the ends, and
#: what is lost where a pass is rounded to whole chunks of a slow model.
ENERGY_METERED_S = 6.0

#: Seconds that devices are left idle before the session is created, with ``energy``; a GPU also
#: after the timed pass, while its session is open.
ENERGY_IDLE_S = 1.5

#: Seconds that a worker may take from its start to its first inference.
DEFAULT_TIMEOUT_S = 600.0

DEFAULT_SAMPLE_HZ = 100.0
MAX_SAMPLE_HZ = 1000.0


def energy_duration_s(processes: int) -> float:
    """Seconds that each of so many timed passes lasts with ``energy``, unless they are given."""
    return max(ENERGY_DURATION_S, ENERGY_METERED_S / processes)


@dataclasses.dataclass(frozen=True, slots=True)
class ProfileConfig:
    """Everything ``harness.profile`` needs to know.

    Paths may be given as strings, here and in SessionConfig and InputRequest.

    Attributes:
        model: path of an ONNX file, or the name of a built-in reference model.
        session: how the ORT session is created.
        inputs: what is fixed about the inputs.
        runtime: what runs the model: ONNX Runtime, or one of ``harness.measuring.runtimes``, for
            which ``session`` says only the provider's place and the number of threads.
        runtime_options: options of another runtime, by its own names.
        processes: worker processes to measure; None for the default number and, unless
            ``quick``, further ones until the precision is reached or the budget is spent.
        duration_s: seconds that the timed pass lasts in each process; None for the default.
        quick: short fixed measurement, not comparison-grade.
        precision: half width to reach of the median's confidence interval, relative to the
            median.
        budget_s: seconds of measuring after which no further process is added.
        interleaved_with: random string shared by two profiles that ``ab`` measured in pairs of
            processes; empty otherwise.
        order_seed: seed of the random order within these pairs; None without pairs.
        trace: traced passes that follow the timed pass, out of TRACE_PASSES.
        trace_inferences: inferences recorded by each traced pass of a process.
        sample_hz: device readings per second during the timed pass; 0 for none.
        energy: measure idle power before each session (of a GPU also after the timed pass), and
            long enough for energy meters.
        stacks: sample the stacks of an extra worker with py-spy: ``python`` for Python frames,
            ``native`` for native ones too; empty for none.
        affinity: CPUs of the workers in Linux notation (``0-3,8``), or None.
        instances: sessions side by side, each a process on CPUs of its own: how many, or one of
            LAYOUTS. Then ``session.intra_threads`` is of each (0 for one a core), ``processes``
            counts groups of them and ``duration_s`` is their common window. None for one session
            that is not placed.
        memory: where their memory comes from, one of MEMORY_POLICIES; empty for ``local`` with
            ``instances``, else for what the system does.
        concurrency: threads that call each session at once; None for one. With several,
            processes and duration are as with ``instances``.
        memory_limit_gb: resident memory that a worker may use, in units of 10**9 bytes; None
            for most of what is available.
        timeout_s: seconds that a worker may take until its first inference.
        output: file to write; None for ``profiles/MODEL-PROVIDER-UTCTIME.h5``.
        force: overwrite an existing output.

    Raises:
        RequestError: a value is of a wrong type, or makes no sense.
    """

    model: str
    session: SessionConfig = dataclasses.field(default_factory=SessionConfig)
    inputs: InputRequest = dataclasses.field(default_factory=InputRequest)
    runtime: str = ORT
    runtime_options: dict[str, str] = dataclasses.field(default_factory=dict)
    processes: int | None = None
    duration_s: float | None = None
    quick: bool = False
    precision: float = DEFAULT_PRECISION
    budget_s: float = DEFAULT_BUDGET_S
    interleaved_with: str = ""
    order_seed: int | None = None
    trace: tuple[str, ...] = TRACE_PASSES
    trace_inferences: int = 10
    sample_hz: float = DEFAULT_SAMPLE_HZ
    energy: bool = False
    stacks: str = ""
    affinity: str | None = None
    instances: int | str | None = None
    memory: str = ""
    concurrency: int | None = None
    memory_limit_gb: float | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    output: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.model, os.PathLike):
            object.__setattr__(self, "model", os.fspath(self.model))
        settle(self)
        if self.processes is not None and not 1 <= self.processes <= MOST_PROCESSES:
            raise RequestError(
                f"`processes` {self.processes}: must be between 1 and {MOST_PROCESSES}",
                "give `processes` N",
            )
        if self.duration_s is not None and not 0 < self.duration_s < 86_400:
            raise RequestError(
                f"`duration_s` {self.duration_s}: must be above 0 and under a day",
                "give `duration_s` SECONDS",
            )
        if self.trace_inferences < 1:
            raise RequestError(
                f"`trace_inferences` {self.trace_inferences}: must be at least 1",
                "give `trace` none to record no trace",
            )
        if not 0 < self.precision < 1:
            raise RequestError(
                f"`precision` {100 * self.precision:g}: must be above 0 and under 100 percent",
                "give `precision` PERCENT",
            )
        if self.memory_limit_gb is not None and not 0 < self.memory_limit_gb < 1e9:
            raise RequestError(
                f"`memory_limit_gb` {self.memory_limit_gb:g}: must be above 0",
                "give `memory_limit_gb` GB",
            )
        if not 0 < self.timeout_s < 7 * 86_400:
            raise RequestError(
                f"`timeout_s` {self.timeout_s:g}: must be above 0 and under a week",
                "give `timeout_s` SECONDS",
            )
        if not 0 < self.budget_s < 86_400:
            raise RequestError(
                f"`budget_s` {self.budget_s:g}: must be above 0 and under a day",
                "give `budget_s` SECONDS",
            )
        if self.sample_hz != 0 and not 1 <= self.sample_hz <= MAX_SAMPLE_HZ:
            raise RequestError(
                f"`sample_hz` {self.sample_hz:g}: must be 0 or between 1 and {MAX_SAMPLE_HZ:g}",
                "give `sample_hz` 0 to sample no device",
            )
        if self.energy and not self.sample_hz:
            raise RequestError(
                "`energy` needs device readings, and `sample_hz` 0 takes none",
                "drop one of them",
            )
        if self.stacks:
            one_of("stacks", self.stacks, STACKS)
        self._check_group()
        for name in self.trace:
            one_of("trace", name or "(nothing)", TRACE_PASSES)
        if len(set(self.trace)) < len(self.trace):
            raise RequestError(
                f"`trace` {','.join(self.trace)}: a pass is named twice", "name each pass once"
            )

    def _check_group(self) -> None:
        """Refuses what does not go with sessions side by side, or with a single one."""
        if isinstance(self.instances, str):
            if self.instances.isdecimal():
                object.__setattr__(self, "instances", int(self.instances))
            elif self.instances not in LAYOUTS:
                raise RequestError(
                    f"`instances` {self.instances}: neither a number nor a layout",
                    f"give `instances` N, or one of {', '.join(LAYOUTS)}",
                )
        for name in ("instances", "concurrency"):
            value = getattr(self, name)
            if isinstance(value, int) and not 1 <= value <= MOST_INSTANCES:
                raise RequestError(
                    f"`{name}` {value}: must be between 1 and {MOST_INSTANCES}",
                    f"give `{name}` N",
                )
        if self.memory:
            one_of("memory", self.memory, MEMORY_POLICIES)
            if self.instances is None:
                raise RequestError(
                    f"`memory` {self.memory}: only instances are placed",
                    "give `instances` 1 to place one session, or drop `memory`",
                )
        if self.is_group and self.stacks:
            raise RequestError(
                "`stacks` samples one session, and a group has several callers",
                "drop `stacks`, or profile one session",
            )

    @property
    def is_group(self) -> bool:
        """Whether groups of callers are measured: placed instances, or several on a session."""
        return self.instances is not None or (self.concurrency or 1) > 1

    @property
    def callers(self) -> int:
        """Threads that call each session at once."""
        return self.concurrency or 1

    @property
    def process_count(self) -> int:
        """Worker processes to measure; of instances side by side, groups."""
        usual = GROUPS if self.is_group else COMPARISON_PROCESSES
        return self.processes or (QUICK_PROCESSES if self.quick else usual)

    @property
    def timed_s(self) -> float:
        """Seconds that the timed pass of each process shall last."""
        if self.duration_s is None and self.energy:
            return energy_duration_s(self.process_count)
        return self.duration_s or (QUICK_DURATION_S if self.quick else COMPARISON_DURATION_S)

    @property
    def most_samples(self) -> int:
        """Number of samples at which the timed pass of a process ends."""
        return ENERGY_SAMPLES_PER_PROCESS if self.energy else MAX_SAMPLES_PER_PROCESS
