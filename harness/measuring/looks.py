"""Looks at a ceiling: repetitions that nothing disturbed, and whether separate looks agree."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.analysis.ceilings import UNCERTAINTY
from harness.records import Reading

#: Share of a repetition for which its threads must have had a CPU. One that others interrupted
#: says how busy the machine was, not what it can do.
UNDISTURBED = 0.9

#: Looks at each ceiling while they disagree. Two that agree are enough.
MOST_LOOKS = 3

_REMEDY = "profile again when nothing else runs"


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """Repetitions of equal work, shortly after each other.

    Attributes:
        speed: float64[n], amount a second of each repetition.
        on_cpu: float64[n], share of the repetition for which its threads had a CPU, up to 1.
        threads: threads that did the work together.
        unit: of the speed.
        source: what was run: sizes, operators, CPUs.
        conditions: the state of a device meanwhile; empty where none is read.
    """

    speed: npt.NDArray[np.float64]
    on_cpu: npt.NDArray[np.float64]
    threads: int
    unit: str
    source: str
    conditions: tuple[Reading, ...] = ()

    @property
    def undisturbed(self) -> npt.NDArray[np.float64]:
        """Speeds of the repetitions whose threads had their CPUs throughout."""
        return self.speed[self.on_cpu >= UNDISTURBED]

    @property
    def best(self) -> float:
        """The fastest undisturbed repetition, because others can only slow one down; 0 if none."""
        return float(self.undisturbed.max(initial=0.0))


class Subject(Protocol):
    """What is looked at.

    Attributes:
        names: names of the ceilings that a look yields.
        unit: unit of their speeds.
        source: what is run.
    """

    @property
    def names(self) -> Sequence[str]:
        """Names of the ceilings that a look yields."""

    @property
    def unit(self) -> str:
        """Unit of their speeds."""

    @property
    def source(self) -> str:
        """What is run."""

    def look(self) -> Mapping[str, Look]:
        """Runs it: a Look by name.

        Raises:
            LookupError: it cannot be measured here; the message says why.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Ceiling:
    """One measured ceiling.

    Attributes:
        name: ``copy``, ``triad`` (memory), ``copy_l1``, …, or ``matmul_`` and the dtype.
        threads: threads that reached it together.
        value: amount a second in the fastest undisturbed repetition of all looks.
        unit: ``bytes/s``, ``flop/s``, or ``op/s`` for whole numbers; a multiplication and an
            addition count as two.
        spread: value over the median speed of the undisturbed repetitions; 1 on a quiet machine.
        agreement: how far the second-best look stays behind the best, as a share.
        samples: undisturbed repetitions.
        tried: all repetitions.
        source: what was run: sizes, operators, CPUs.
        conditions: the state of a device in the look that was the fastest; empty where none is
            read.
    """

    name: str
    threads: int
    value: float
    unit: str
    spread: float
    agreement: float
    samples: int
    tried: int
    source: str
    conditions: tuple[Reading, ...] = ()


def measured(subjects: Iterable[Subject]) -> list[Ceiling | Reading]:
    """Measures every subject in rounds until two looks at each ceiling agree.

    All subjects take their turn before any is looked at again, so that looks at the same one
    are apart: a disturbance that lasts a while meets one of them.

    Returns:
        A Ceiling for each name, in the order of the subjects, or a Reading of that name that is
        absent, with the reason.
    """
    subjects = list(subjects)
    looks: dict[str, list[Look]] = {name: [] for one in subjects for name in one.names}
    absent: dict[str, Reading] = {}
    for _ in range(MOST_LOOKS):
        for subject in subjects:
            if all(name in absent or _settled(looks[name]) for name in subject.names):
                continue
            try:
                seen = subject.look()
            except LookupError as error:
                for name in subject.names:
                    reason = error.args[0]
                    absent[name] = Reading(name, None, subject.unit, subject.source, reason)
                continue
            for name, look in seen.items():
                looks[name].append(look)
    return [absent.get(name) or _ceiling(name, found) for name, found in looks.items()]


def _gap(looks: Sequence[Look]) -> float:
    """How far the second-best look stays behind the best; 1 where fewer saw anything."""
    best = sorted((look.best for look in looks), reverse=True)
    return 1.0 if len(best) < 2 or not best[0] else 1 - best[1] / best[0]


def _settled(looks: Sequence[Look]) -> bool:
    return _gap(looks) <= UNCERTAINTY


def _ceiling(name: str, looks: Sequence[Look]) -> Ceiling | Reading:
    fastest = max(looks, key=lambda look: look.best)
    kept = np.concatenate([look.undisturbed for look in looks])
    tried = sum(len(look.speed) for look in looks)
    if _settled(looks):
        return Ceiling(
            name=name,
            threads=fastest.threads,
            value=fastest.best,
            unit=fastest.unit,
            spread=fastest.best / statistics.median(kept.tolist()),
            agreement=_gap(looks),
            samples=len(kept),
            tried=tried,
            source=fastest.source,
            conditions=fastest.conditions,
        )
    if sum(look.best > 0 for look in looks) < 2:
        what = f"only {len(kept)} of {tried} repetitions kept their CPUs throughout"
    else:
        what = f"the best two of {len(looks)} looks differ by {_gap(looks):.0%}"
    reason = f"the machine was busy while {name} was measured: {what}; {_REMEDY}"
    return Reading(name, None, fastest.unit, fastest.source, reason)
