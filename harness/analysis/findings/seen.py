"""What rules look at, what they report, and how certain a figure must be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from harness.analysis import noise
from harness.analysis.device_time import DeviceTime, device_time
from harness.analysis.operators.table import OperatorTable
from harness.ort import providers
from harness.ort.execution_provider import ExecutionProvider
from harness.records import Profile
from harness.statistics.figures import Figure
from harness.statistics.intervals import typical

#: Fewest processes that must agree: a single one cannot tell chance from the model.
FEWEST_PROCESSES = 2

#: At or above this share of an inference, something is most of it.
MOST = 0.5

#: Below this share of the time a change is not worth making, and is no more than what a disturbed
#: machine does to a median.
WORTH_CHANGING = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an expert would say.

    Attributes:
        kind: which rule says so: ``framework``, ``roofline``, ``copies``, ``threads``,
            ``throttled``, ``first_inference``, ``quantisation``, ``gpu_idle``,
            ``slow_instance``, ``efficiency``.
        sentence: what was found.
        evidence: figures of the profile by name. The suffix gives the unit: ``_ns``, ``_share``
            for a fraction of 1; without one it is a count or a text.
        nodes: full names of the nodes that it is about; empty if it is about all.
        next_step: what to try, in one sentence.
        weight: share of an inference's time that it is about, 0 to 1; 0 if it is about
            something else, or the share is not known.
    """

    kind: str
    sentence: str
    evidence: Mapping[str, float | str]
    nodes: tuple[str, ...]
    next_step: str
    weight: float


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What the rules look at.

    Attributes:
        profile: without the series of test doubles, which measure nothing.
        verdict: on noise; ``unusable`` if any figure is.
        table: operators by node; None if their times cannot be trusted.
        device: where the device's time goes, or why that is not known.
        medians: of the timed pass, in ns, by ProcessRecord.index.
        fastest_ns: the fastest sample of all.
    """

    profile: Profile
    verdict: str
    table: OperatorTable | None
    device: DeviceTime | Figure
    medians: Mapping[int, float]
    fastest_ns: int

    @classmethod
    def of(cls, profile: Profile, table: OperatorTable | Figure) -> Seen:
        """From a profile with a timed pass, and its operators by node."""
        devices = tuple(series for series in profile.devices if not series.double)
        profile = dataclasses.replace(profile, devices=devices)
        judged = noise.judge(profile)
        verdict = "unusable" if judged.unusable else judged.verdict
        trusted = table if isinstance(table, OperatorTable) else None
        if trusted is not None and (trusted.accounts.doubt or verdict == "unusable"):
            trusted = None
        timed = [process for process in profile.processes if len(process.steady)]
        return cls(
            profile=profile,
            verdict=verdict,
            table=trusted,
            device=table.device_time if isinstance(table, OperatorTable) else device_time(profile),
            medians={one.index: float(np.median(one.steady.duration_ns)) for one in timed},
            fastest_ns=min(int(one.steady.duration_ns.min()) for one in timed),
        )

    @property
    def median_ns(self) -> float:
        """Latency as it is reported for the profile."""
        return typical(np.array(list(self.medians.values())))

    @property
    def provider(self) -> ExecutionProvider | None:
        """The profile's provider; None if it is not known here."""
        return providers.known(self.profile.provider)

    @property
    def on_host(self) -> bool:
        """Whether operator times come from the processor that does the work."""
        return self.provider is not None and not self.provider.on_device

    def fact(self, name: str) -> float | str | None:
        """A fact of the environment; None if it is absent."""
        return next((one.value for one in self.profile.environment if one.name == name), None)

    def noted(self, name: str) -> list[float]:
        """A counter around each timed pass, for the processes in which it was read."""
        return [
            float(reading.value)
            for process in self.profile.processes
            for reading in process.noise
            if reading.name == name and isinstance(reading.value, (int, float))
        ]


def agree(values: Sequence[float], least: float) -> bool:
    """Whether there are enough values, one per process, and none is below the limit."""
    return len(values) >= FEWEST_PROCESSES and min(values) >= least


def counted(number: float, noun: str) -> str:
    """A number of things, in words."""
    told = f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"
    return f"{told} {noun}{'' if number == 1 else 's'}"
