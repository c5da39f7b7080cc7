"""What this machine reached at most, as the environment of a profile tells it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping

from harness.records import Profile

#: Prefix of every fact about a ceiling, and the fact that says why there are none.
_PREFIX, _NONE = "ceiling_", "ceilings"

#: What the name of a device's ceiling has after that. Every other ceiling is the host's.
DEVICE = "device_"

#: Streams over a device's memory, each with a ceiling of its own (``measuring.device_ceilings``).
DEVICE_STREAMS = ("add", "relu")

#: What is told of the device while a ceiling was measured: quantity at the end of the fact's name.
DEVICE_STATE = ("clock_sm_hz", "clock_memory_hz", "power_mw", "clock_reasons_mask")

#: Why a profile has no ceilings of its device.
NO_DEVICE_CEILINGS = "the ceilings of the device were not measured"

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
        """Those of the host, by the facts of a profile.

        A file may say anything: what is no possible value was not measured.
        """
        found, absent = _read(profile, _PREFIX)
        numbers = sorted(int(match[1]) for name in found if (match := _CAPACITY.fullmatch(name)))
        caches = [
            Level(
                f"L{number}",
                found[f"l{number}_bytes"],
                found.get(f"l{number}_caches") == 1,
                _fastest(found, absent, (f"copy_l{number}", f"triad_l{number}")),
            )
            for number in numbers
        ]
        return cls(
            peaks=_peaks(found),
            # Files from before the levels were measured say nothing about caches: any data may
            # have come from one.
            levels=(
                *(caches or [Level("caches", math.inf, shared=False, bandwidth=None)]),
                Level(
                    "DRAM",
                    math.inf,
                    shared=True,
                    bandwidth=_fastest(found, absent, ("copy", "triad")),
                ),
            ),
            reasons=tuple(dict.fromkeys(absent.values())),
        )

    @classmethod
    def of_device(cls, profile: Profile) -> Ceilings:
        """Those of the device that a profile's provider uses, to be held against kernel times.

        Its last-level cache has no bandwidth: a launch takes longer than data that fits into it,
        so that no inference could measure one. ``peaks`` has ``tf32`` beside ``float32``.
        """
        found, absent = _read(profile, _PREFIX + DEVICE)
        bandwidth = _fastest(found, absent, DEVICE_STREAMS)
        reasons = tuple(dict.fromkeys(absent.values()))
        peaks = _peaks(found)
        if not (peaks or bandwidth or reasons):
            reasons = (NO_DEVICE_CEILINGS,)
        l2_bytes = found.get("l2_bytes")
        return cls(
            peaks=peaks,
            levels=(
                # Of unknown size it may have held anything.
                Level("L2", l2_bytes or math.inf, shared=l2_bytes is not None, bandwidth=None),
                Level("device memory", math.inf, shared=True, bandwidth=bandwidth),
            ),
            reasons=reasons,
        )


def is_ceiling(name: str) -> bool:
    """Whether a fact of the environment is about a ceiling, or says why there is none."""
    return name == _NONE or name.startswith(_PREFIX)


def _read(profile: Profile, prefix: str) -> tuple[dict[str, float], dict[str, str]]:
    """(value, reason of absence) by what follows the prefix in the name of a ceiling's fact."""
    found: dict[str, float] = {}
    absent: dict[str, str] = {}
    for fact in profile.environment:
        of_device = fact.name.startswith(_PREFIX + DEVICE)
        if fact.name != _NONE and (
            not fact.name.startswith(prefix) or of_device != prefix.endswith(DEVICE)
        ):
            continue
        name, value = fact.name.removeprefix(prefix), fact.value
        if name.endswith(DEVICE_STATE):
            continue
        if isinstance(value, (int, float)) and _POSSIBLE[0] <= value <= _POSSIBLE[1]:
            found[name] = float(value)
        else:
            absent[name] = fact.reason if value is None else "not a possible value"
    return found, absent


def _peaks(found: Mapping[str, float]) -> dict[str, float]:
    """The products among the ceilings, by element type."""
    products = (name for name in found if name.startswith("matmul_"))
    return {name.removeprefix("matmul_"): found[name] for name in products}


def _fastest(
    found: Mapping[str, float], absent: Collection[str], streams: Collection[str]
) -> float | None:
    """The fastest of the streams of one level; None where that may be an absent one."""
    if any(name in absent for name in streams):
        return None
    return max((found[name] for name in streams if name in found), default=None)
