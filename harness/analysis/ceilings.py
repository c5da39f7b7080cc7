"""What this machine reached at most, as the environment of a profile tells it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping

from harness.records import Profile

#: Prefix of every fact about a ceiling, and the fact that says why there are none.
_PREFIX, _NONE = "ceiling_", "ceilings"

#: By how much a ceiling may be wrong, as a share: it is stored only if two looks at it, at
#: different moments, agree within this.
UNCERTAINTY = 0.1

#: What a ceiling can be, in operations or bytes a second, bytes or caches: all of them are whole
#: things, and no machine comes near a yotta of any. A file may say anything; beyond these, ratios
#: of two figures leave the range of floating point.
_POSSIBLE = (1.0, 1e24)

#: Facts that describe a cache level: its caches' bytes together, and how many caches these are.
_CAPACITY = re.compile(r"l([1-9])_bytes")


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """What can serve a node's data: the caches of one level, or memory.

    Attributes:
        name: ``L1``, ``L2``, …, ``DRAM``; ``caches`` where a file tells nothing about them.
        bytes: what the caches of this level that the threads use hold together; infinite for
            memory.
        shared: whether all threads share one cache of this level. Where they do not, data may
            lie in the cache of a thread other than the one that needs it.
        bandwidth: bytes a second that all threads reached together; None where not measured.
    """

    name: str
    bytes: float
    shared: bool
    bandwidth: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Ceilings:
    """What was measured; None and no entry where it was not.

    Attributes:
        peaks: operations a second by element type.
        levels: what can serve data, the nearest to the cores first; the last one is memory.
        reasons: why ceilings are missing, each reason once.
    """

    peaks: Mapping[str, float]
    levels: tuple[Level, ...]
    reasons: tuple[str, ...]

    @property
    def measured_levels(self) -> tuple[Level, ...]:
        """The levels whose bandwidth was measured."""
        return tuple(level for level in self.levels if level.bandwidth is not None)

    @classmethod
    def of(cls, profile: Profile) -> Ceilings:
        """Of the facts of a profile.

        A file may say anything: what is no possible value was not measured.
        """
        facts = [fact for fact in profile.environment if is_ceiling(fact.name)]
        found: dict[str, float] = {}
        absent: set[str] = set()
        reasons: list[str] = []
        for fact in facts:
            name = fact.name.removeprefix(_PREFIX)
            value = fact.value
            if isinstance(value, (int, float)) and _POSSIBLE[0] <= value <= _POSSIBLE[1]:
                found[name] = float(value)
                continue
            absent.add(name)
            reasons.append(fact.reason if value is None else "not a possible value")
        numbers = sorted(int(match[1]) for name in found if (match := _CAPACITY.fullmatch(name)))
        caches = [
            Level(
                f"L{number}",
                found[f"l{number}_bytes"],
                found.get(f"l{number}_caches") == 1,
                _faster(found, absent, f"_l{number}"),
            )
            for number in numbers
        ]
        return cls(
            peaks={
                name.removeprefix("matmul_"): value
                for name, value in found.items()
                if name.startswith("matmul_")
            },
            # Files from before the levels were measured say nothing about caches: any data may
            # have come from one.
            levels=(
                *(caches or [Level("caches", math.inf, shared=False, bandwidth=None)]),
                Level("DRAM", math.inf, shared=True, bandwidth=_faster(found, absent, "")),
            ),
            reasons=tuple(dict.fromkeys(reasons)),
        )


def is_ceiling(name: str) -> bool:
    """Whether a fact of the environment is about a ceiling, or says why there is none."""
    return name == _NONE or name.startswith(_PREFIX)


def _faster(found: Mapping[str, float], absent: Collection[str], suffix: str) -> float | None:
    """The faster of copy and triad at one level; None where that may be the absent one."""
    streams = [f"{name}{suffix}" for name in ("copy", "triad")]
    if any(name in absent for name in streams):
        return None
    return max((found[name] for name in streams if name in found), default=None)
