"""Compares every figure of two profiles, all in the same way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.analysis import energy, machine_speed, noise
from harness.analysis.comparing import undisturbed
from harness.analysis.comparing.differences import items_of
from harness.analysis.comparing.occasions import joined
from harness.analysis.comparing.report import BESIDE, SIDES, TOGETHER, Quantity
from harness.analysis.energy import Energy
from harness.analysis.noise import NoiseVerdict
from harness.analysis.throughput import time_per_inference_ns
from harness.machine.peak_memory import PEAK_MEMORY
from harness.records import ProcessRecord, Profile
from harness.statistics import hypotheses, paired, pairs, verdicts
from harness.statistics import undisturbed as statistics
from harness.statistics.figures import CONFIDENCE, Float64Array
from harness.statistics.occasions import (
    LONGEST_WAIT,
    MEDIAN_OCCASION_SD,
    MEDIAN_OCCASION_SD_BESIDE_YARDSTICK,
    OCCASION_SD_OF,
    OPERATOR_OCCASION_SD,
)
from harness.statistics.verdicts import MARGIN, Comparison, Side, Verdict


def figures(processes: Sequence[ProcessRecord]) -> dict[str, Side]:
    """Per-process figures, by name with the unit as suffix, ready to be compared.

    Args:
        processes: with a timed pass each, in the order in which they were measured.
    """
    durations = [process.steady.duration_ns for process in processes]
    speeds = machine_speed.speeds(processes)
    found = {
        name: dataclasses.replace(verdicts.side(durations, percent=percent), log_yardstick=speeds)
        for name, percent in (
            ("latency_ns", 50), ("latency_p90_ns", 90), ("latency_p99_ns", 99),
        )
    }  # fmt: skip
    for name, values in (
        ("session_ns", [process.session_ns for process in processes]),
        ("first_inference_ns", [process.first_inference_ns for process in processes]),
        ("time_per_inference_ns", [time_per_inference_ns(process) for process in processes]),
    ):
        with np.errstate(divide="ignore"):
            found[name] = Side(np.log(np.array(values, np.float64)), speeds)
    return found


def compare_apart(
    name: str,
    base: Side,
    candidate: Side,
    noise: tuple[NoiseVerdict, NoiseVerdict],
    margin: float = MARGIN,
    occasions: tuple[int, int] = (1, 1),
) -> Comparison:
    """Compares one figure of two profiles from separate occasions.

    Args:
        name: of the figure; selects its standard deviation between occasions.
        base: the figure of each process.
        candidate: likewise.
        noise: the verdicts on both profiles; nothing is decided if a machine was too busy for
            the figure.
        margin: above 0, what counts as the same.
        occasions: how many the processes of each side are from.

    Raises:
        ValueError: the margin is out of range.
    """
    # Energy is power times the time of an inference, and varies as that time does.
    known = OCCASION_SD_OF.get("time_per_inference_ns" if name.startswith("energy_") else name)
    occasion_sd = OPERATOR_OCCASION_SD if name == "operator" else known
    if occasion_sd is not None and (base.log_yardstick is None or candidate.log_yardstick is None):
        occasion_sd = max(occasion_sd, MEDIAN_OCCASION_SD)
    if occasions != (1, 1):
        if occasion_sd is None:
            have = base.log_yardstick is not None and candidate.log_yardstick is not None
            occasion_sd = MEDIAN_OCCASION_SD_BESIDE_YARDSTICK if have else MEDIAN_OCCASION_SD
        # What a mean over occasions varies by; it enters once for each side.
        occasion_sd *= math.sqrt(sum(1 / count for count in occasions) / 2)
    found = verdicts.compare(
        base, candidate, same_occasion=False, margin=margin, occasion_sd=occasion_sd
    )
    if found.verdict is Verdict.NOT_COMPARABLE:
        return found
    for side, verdict in zip(SIDES, noise, strict=True):
        doubt = ""
        if verdict.unusable:
            # However well its processes agree: all of them may have been slowed alike.
            doubt = f"the {side} cannot be compared with another occasion: its machine was too busy"
        elif known is not None and verdict.waited is None:
            doubt = f"unknown whether the {side} waited for a CPU"
        elif known is not None and verdict.waited is not None and verdict.waited > LONGEST_WAIT:
            doubt = f"the {side} waited {verdict.waited:.0%} of the time for a CPU"
        if doubt:
            return found.withheld(doubt)
    return found


#: Figures of a session, not of an inference: they are not divided by the batch size.
_OF_A_SESSION = frozenset({"session_ns", "first_inference_ns"})


class Judge:
    """Compares per-process figures of two profiles, all in the same way.

    Attributes:
        paired: whether processes are compared in pairs.
        alone: number of processes without a partner, on each side.
        noise: the noise verdicts on both sides.
        items: items per inference on each side, if they differ: times and energies are then
            those of an item. (1, 1) if inferences are compared as a whole.
        history: files of the profiles that the variance between occasions was learned from.
    """

    def __init__(
        self,
        bases: Sequence[Profile],
        candidates: Sequence[Profile],
        margin: float,
        history: Iterable[Profile] = (),
    ) -> None:
        base, candidate = joined(bases), joined(candidates)
        together = [one.asked.interleaved_with for one in (base, candidate)]
        self.paired = bool(together[0]) and together[0] == together[1]
        self._occasions = (tuple(bases), tuple(candidates))
        self._history = () if self.paired else history
        self.history: list[Path | None] = []
        self.alone: tuple[int, ...] = (0, 0)
        sides = [
            {process.index: process for process in profile.processes if len(process.steady)}
            for profile in (base, candidate)
        ]
        if self.paired:
            both = sides[0].keys() & sides[1].keys()
            self.alone = tuple(len(side) - len(both) for side in sides)
            sides = [{k: side[k] for k in sorted(both)} for side in sides]
        self._sides = (sides[0], sides[1])
        self._profiles = (base, candidate)
        self._margin = margin
        self.noise = (noise.judge(base), noise.judge(candidate))
        self.items = items_of(base, candidate)
        self._figures = [
            _per_item(figures(list(side.values())), items)
            for side, items in zip(self._sides, self.items, strict=True)
        ]
        self._yardsticks = [side["latency_ns"].log_yardstick for side in self._figures]

    def latency(self, refusal: str) -> Quantity:
        """Compares the figure of the verdict, or refuses to for a reason."""
        if not refusal and self.paired and not self._sides[0]:
            refusal = "no pair of processes has finished on both sides"
        if refusal:
            return unknown(self._headline, refusal)
        if self._headline == undisturbed.NAME:
            return self._undisturbed()
        return self._figure(self._headline)

    @property
    def _headline(self) -> str:
        """Name of the figure that the verdict is on."""
        if any(one.instances is not None for one in self._profiles):
            return TOGETHER
        return "latency_ns" if self.paired else undisturbed.NAME

    def _undisturbed(self) -> Quantity:
        both = [*self._occasions[0], *self._occasions[1]]
        look = undisturbed.look_ns(both)
        memory = undisturbed.uses_memory(both)
        sides = [
            [undisturbed.occasion(one, look, memory=memory, items=items) for one in profiles]
            for profiles, items in zip(self._occasions, self.items, strict=True)
        ]
        others = []
        for one, side in undisturbed.usable(
            self._history, look, memory=memory, items=self.items[0]
        ):
            others.append(side)
            self.history.append(one.path)
        found = statistics.compare(*sides, history=others, margin=self._margin)
        if found.verdict is Verdict.NOT_COMPARABLE:
            return Quantity(undisturbed.NAME, None, None, found)
        if any(map(undisturbed.of_host_only, both)):
            found = dataclasses.replace(found, reason=f"{found.reason}; {undisturbed.HOST_ONLY}")
        for name, profiles in zip(SIDES, self._occasions, strict=True):
            for one in profiles:
                cause = undisturbed.busy(one, noise.judge(one), look)
                if cause and not found.doubt:
                    found = found.withheld(
                        f"the {name} cannot be compared with another occasion: {cause}"
                    )
        values = [
            math.exp(float(np.mean([statistics.faster(one.log_figure).mean for one in side])))
            for side in sides
        ]
        return Quantity(undisturbed.NAME, values[0], values[1], found)

    def _slow_processes(self) -> Quantity:
        """Compares how many processes were slow by themselves."""
        name = "slow_processes"
        sides = [side["latency_ns"] for side in self._figures]
        counts = [len(side.log_figure) for side in sides]
        if min(counts) < statistics.ENOUGH_PROCESSES:
            return unknown(name, f"takes {statistics.ENOUGH_PROCESSES} processes a side")
        if not all(np.isfinite(side.log_figure).all() for side in sides):
            return unknown(name, "a process has no latency above zero")
        slow = [undisturbed.slow(side.log_figure, side.log_yardstick) for side in sides]
        told = " and ".join(
            f"{some} of {count} in the {side}"
            for some, count, side in zip(slow, counts, SIDES, strict=True)
        )
        p_value = hypotheses.fisher(slow[0], counts[0], slow[1], counts[1])
        shares = [some / count for some, count in zip(slow, counts, strict=True)]
        verdict = Verdict.UNDECIDED
        if p_value <= 1 - CONFIDENCE:
            verdict = Verdict.SLOWER if shares[1] > shares[0] else Verdict.FASTER
        found = Comparison(
            verdict,
            None,
            None,
            f"{told} are slower by more than {undisturbed.SLOW:.0%} than the faster half beyond "
            f"what the machine explains (Fisher's exact test: p = {p_value:.2g})",
            p_value=p_value,
            p_value_same=1.0,
        )
        if any(one.unusable for one in self.noise):
            found = found.withheld("a machine was too busy to tell why processes were slow")
        return Quantity(name, shares[0], shares[1], found)

    def quantities(self) -> tuple[Quantity, ...]:
        """Median and slow processes (not of pairs), tails, cold start, throughput, energy, memory.

        The verdicts on what stands beside that of the comparison (``BESIDE``) hold jointly
        (Holm), and so do those on the rest. Those of pairs have no p-value to order them by: each
        gets an equal share of the chance of a wrong verdict (Bonferroni).
        """
        told = {self._headline, "latency_ns"}
        first = [] if self._headline == "latency_ns" else [self._figure("latency_ns")]
        if self._headline == undisturbed.NAME:
            first.append(self._slow_processes())
        found = [
            *first,
            *(self._figure(name) for name in self._figures[0] if name not in told),
            *self._energy(),
            self._memory(),
        ]
        families = [
            {one.name: one.comparison for one in found if (one.name in BESIDE) is beside}
            for beside in (True, False)
        ]
        together = {n: c for family in families for n, c in verdicts.with_holm(family).items()}
        return tuple(dataclasses.replace(one, comparison=together[one.name]) for one in found)

    def machine(self) -> Mapping[str, float]:
        """Yardstick time around the candidate over that around the base, by part."""
        one, other = self._yardsticks
        if one is None or other is None:
            return {}
        ratios = np.exp(other.mean(axis=0) - one.mean(axis=0))
        return dict(zip(machine_speed.PARTS, map(float, ratios), strict=True))

    def judge_operator(
        self, base: Mapping[int, float], candidate: Mapping[int, float]
    ) -> Comparison:
        """Compares own times of an operator, by process; not corrected for their number."""
        both = sorted(base.keys() & candidate.keys() & self._sides[0].keys())
        if self.paired and len(both) >= paired.FEWEST_PAIRS:
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = [np.log([each[index] for index in both]) for each in (base, candidate)]
                return paired.compare_paired(logs[1] - logs[0], margin=self._margin)
        sides = [self._of_times(k, times) for k, times in enumerate((base, candidate))]
        return self._unpaired("operator", sides[0], sides[1])

    def _of_times(self, which: int, times: Mapping[int, float]) -> Side:
        places = [k for k, index in enumerate(self._sides[which]) if index in times]
        indices = [index for index in self._sides[which] if index in times]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.array([times[index] for index in indices], np.float64))
        speeds = self._yardsticks[which]
        return Side(logs, log_yardstick=None if speeds is None else speeds[places])

    def _figure(self, name: str) -> Quantity:
        return self._quantity(name, self._figures[0][name], self._figures[1][name])

    def _quantity(self, name: str, base: Side, candidate: Side, note: str = "") -> Quantity:
        found = self._judged(name, base, candidate)
        if found.verdict is Verdict.NOT_COMPARABLE:
            return Quantity(name, None, None, found, note)
        # The ratio of pairs is a median of theirs: shown next to means, one odd process would
        # contradict it.
        middle = _middle if self.paired else _typical
        return Quantity(name, middle(base.log_figure), middle(candidate.log_figure), found, note)

    def _judged(self, name: str, base: Side, candidate: Side) -> Comparison:
        found = self._unpaired(name, base, candidate)
        if not self.paired or found.verdict is Verdict.NOT_COMPARABLE:
            return found
        alpha = 1 - CONFIDENCE if name == self._headline else self._alpha_of_others()
        return self._of_pairs(candidate.log_figure - base.log_figure, alpha)

    def _alpha_of_others(self) -> float:
        """Chance of a wrong verdict for each figure of pairs but the median, memory included."""
        devices = {each.device for profile in self._profiles for each in profile.devices}
        return (1 - CONFIDENCE) / (len(self._figures[0]) + len(devices))

    def _unpaired(self, name: str, base: Side, candidate: Side) -> Comparison:
        """The sides as two groups of processes."""
        if self.paired:
            return verdicts.compare(base, candidate, same_occasion=True, margin=self._margin)
        occasions = (len(self._occasions[0]), len(self._occasions[1]))
        return compare_apart(name, base, candidate, self.noise, self._margin, occasions)

    def _of_pairs(self, log_ratios: Float64Array, alpha: float) -> Comparison:
        found = pairs.decide(log_ratios, margin=self._margin, alpha=alpha)
        return Comparison(
            found.verdict, found.ratio, found.interval, found.reason, found.pairs_needed
        )

    def _energy(self) -> list[Quantity]:
        """Joules of one inference on each device; unknown unless both sides have them."""
        found = [{e.device: e for e in energy.energy(profile)} for profile in self._profiles]
        quantities = []
        for device in dict.fromkeys([*found[0], *found[1]]):
            pair = [side.get(device) for side in found]
            reason = _why_no_energy(pair)
            if reason:
                quantities.append(unknown(f"energy_{device}_j", reason))
                continue
            doubts = [
                f"the {name}'s energy is doubtful: {'; '.join(one.causes)}"
                for name, one in zip(SIDES, pair, strict=True)
                if one is not None and one.verdict == "doubtful"
            ]
            joules = [self._joules(k, device) for k in (0, 1)]
            if self.paired:  # a process without a meter reading has no partner
                both = joules[0].keys() & joules[1].keys()
                joules = [{k: j for k, j in each.items() if k in both} for each in joules]
            sides = [self._of_times(k, each) for k, each in enumerate(joules)]
            quantities.append(
                self._quantity(f"energy_{device}_j", sides[0], sides[1], "; ".join(doubts))
            )
        return quantities

    def _joules(self, which: int, device: str) -> dict[int, float]:
        """Energy of an inference, or of an item, by process."""
        joules = {}
        for index, process in self._sides[which].items():
            alone = dataclasses.replace(self._profiles[which], processes=(process,))
            for each in energy.energy(alone):
                if each.device == device and each.joules.value is not None:
                    joules[index] = each.joules.value / self.items[which]
        return joules

    def _memory(self) -> Quantity:
        """Peak of resident memory, which does not vary between occasions."""
        name = PEAK_MEMORY
        values = [
            [
                float(reading.value)
                for process in side.values()
                for reading in process.noise
                if reading.name == name and isinstance(reading.value, (int, float))
            ]
            for side in self._sides
        ]
        if not all(values):
            return unknown(name, "not recorded on both sides")
        sides = [Side(np.log(np.array(one))) for one in values]
        found = verdicts.compare(
            sides[0],
            sides[1],
            same_occasion=True,
            margin=self._margin,
            confidence=1 - self._alpha_of_others() if self.paired else CONFIDENCE,
        )
        if found.verdict is Verdict.NOT_COMPARABLE:
            return Quantity(name, None, None, found)
        base, candidate = (_typical(side.log_figure) for side in sides)
        return Quantity(name, base, candidate, found, "of a worker process up to the timed pass")


def _per_item(found: dict[str, Side], items: int) -> dict[str, Side]:
    """The figures of an inference divided by its items."""
    if items == 1:
        return found
    return {
        name: side
        if name in _OF_A_SESSION
        else dataclasses.replace(side, log_figure=side.log_figure - math.log(items))
        for name, side in found.items()
    }


def unknown(name: str, reason: str) -> Quantity:
    """A figure that cannot be compared, with the reason."""
    return Quantity(name, None, None, Comparison(Verdict.NOT_COMPARABLE, None, None, reason))


def _middle(logs: Float64Array) -> float:
    """Median over the processes."""
    return math.exp(float(np.median(logs)))


def _typical(logs: Float64Array) -> float:
    """Geometric mean over the processes, which ratios are formed from."""
    return math.exp(float(logs.mean()))


def _why_no_energy(pair: Sequence[Energy | None]) -> str:
    for name, one in zip(SIDES, pair, strict=True):
        if one is None:
            return f"the {name} has no data for this device"
        if one.joules.value is None:
            return f"the {name} has none: {one.joules.reason}"
    return ""
