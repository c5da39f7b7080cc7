"""What this machine reached at most, as the environment of a profile tells it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from harness.records import Profile

#: Facts of ceilings: one each, and one that says why there are none.
_PREFIX, _NONE = "ceiling_", "ceilings"


@dataclasses.dataclass(frozen=True, slots=True)
class Ceilings:
    """What was measured; None and no entry where it was not.

    Attributes:
        peaks: operations a second by element type.
        bandwidth: bytes a second.
        reasons: why ceilings are missing, each reason once.
    """

    peaks: Mapping[str, float]
    bandwidth: float | None
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, profile: Profile) -> Ceilings:
        """Of the facts of a profile."""
        facts = [fact for fact in profile.environment if is_ceiling(fact.name)]
        found = {
            fact.name.removeprefix(_PREFIX): float(fact.value)
            for fact in facts
            if isinstance(fact.value, (int, float))
        }
        return cls(
            peaks={
                name.removeprefix("matmul_"): value
                for name, value in found.items()
                if name.startswith("matmul_")
            },
            bandwidth=max((found[one] for one in ("copy", "triad") if one in found), default=None),
            reasons=tuple(dict.fromkeys(fact.reason for fact in facts if fact.value is None)),
        )


def is_ceiling(name: str) -> bool:
    """Whether a fact of the environment is a ceiling, or says why there is none."""
    return name == _NONE or name.startswith(_PREFIX)
