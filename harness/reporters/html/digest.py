"""The results that the sections of a page share, calculated once for each profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from harness.analysis import energy, noise
from harness.analysis.findings.rules import findings
from harness.analysis.findings.seen import Finding
from harness.analysis.gpu_work import KernelTable
from harness.analysis.instances import Together, together
from harness.analysis.kernel_ceilings import judged_kernels
from harness.analysis.operators.table import GROUPS, OperatorTable, OperatorTimes
from harness.analysis.throughput import Throughput, throughput
from harness.records import DeviceSeries, Profile
from harness.reporters import wording
from harness.statistics import latency
from harness.statistics.figures import Figure
from harness.statistics.latency import Latency

#: How many op types get a colour of their own; the others share one.
COLOURS = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Digest:
    """A profile and the results calculated from it.

    Attributes:
        profile: itself.
        anchor: prefix of the ids in its part of the page.
        latency: of the timed passes; None if none was measured.
        throughput: of the timed passes, or why there is none.
        together: what callers side by side did; None for one session with one caller.
        cold_start: as ``statistics.cold_start``.
        verdict: the verdict on noise.
        touched: for each process, bool[samples]: whether the machine disturbed the sample.
        energy: of each device that reports it.
        tables: operator tables by the kind of row: ``node``, ``op`` or ``layer``.
        kernels: of a device.
        findings: what an expert would point out.
        colours: CSS class of the colour of each op type.
        series: readings of real devices.
        doubles: readings of test doubles, which measure nothing.
    """

    profile: Profile
    anchor: str
    latency: Latency | None
    throughput: Throughput | Figure
    together: Together | None
    cold_start: Mapping[str, Figure]
    verdict: noise.NoiseVerdict
    touched: tuple[npt.NDArray[np.bool_], ...]
    energy: tuple[energy.Energy, ...]
    tables: Mapping[str, OperatorTable | Figure]
    kernels: KernelTable | Figure
    findings: tuple[Finding, ...]
    colours: Mapping[str, str]
    series: tuple[DeviceSeries, ...]
    doubles: tuple[DeviceSeries, ...]

    @classmethod
    def of(cls, profile: Profile, anchor: str = "") -> Digest:
        """Calculates everything from a profile as it was read."""
        doubles = tuple(each for each in profile.devices if each.double)
        series = tuple(each for each in profile.devices if not each.double)
        # A double must not count as a disturbance, nor as evidence that there was none.
        measured = dataclasses.replace(profile, devices=series)
        times = OperatorTimes.of(profile)
        tables = {by: times if isinstance(times, Figure) else times.table(by) for by in GROUPS}
        timed = any(len(process.steady) for process in profile.processes)
        return cls(
            profile=profile,
            anchor=anchor,
            latency=latency.latency(profile.processes) if timed else None,
            throughput=throughput(profile),
            together=together(profile),
            cold_start=latency.cold_start(profile.processes),
            verdict=noise.judge(measured),
            touched=tuple(
                stolen | throttled
                for stolen, throttled in zip(
                    noise.stolen_samples(measured), noise.throttled_samples(measured), strict=True
                )
            ),
            energy=energy.energy(profile),
            tables=tables,
            kernels=judged_kernels(profile, tables["node"]),
            findings=findings(profile, tables["node"]),
            colours=_colours(tables["op"]),
            series=series,
            doubles=doubles,
        )

    @property
    def threads(self) -> str:
        """How many threads an operator may use."""
        return wording.threads(self.profile)

    @property
    def unit(self) -> str:
        """What the intervals are over: ``process``, or ``group`` of callers side by side."""
        return "process" if self.profile.instances is None else "group"

    @property
    def units(self) -> str:
        """Several of them."""
        return "processes" if self.profile.instances is None else "groups"

    def fact(self, name: str) -> str | int | float | None:
        """The value of a fact of the environment; None if it is absent."""
        return next((one.value for one in self.profile.environment if one.name == name), None)


def _colours(table: OperatorTable | Figure) -> Mapping[str, str]:
    if isinstance(table, Figure):
        return {}
    names = list(dict.fromkeys(row.op_type for row in table.operators))
    return {name: f"c{number}" for number, name in enumerate(names[:COLOURS])}
