"""Other occasions of the same thing, from which its variance between occasions is learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.analysis.comparing.differences import differences
from harness.records import Profile

#: Differences that make two profiles not the same thing.
_KINDS = frozenset({"model", "inputs", "session", "ort", "driver"})

#: Likewise, by their names.
_NAMES = frozenset({"cpu_model", "affinity_cpus", "`affinity`", "what durations hold"})

#: More occasions than this hardly change what is learned.
MOST_OCCASIONS = 40


def others(base: Profile, sides: Sequence[Profile], found: Iterable[Profile]) -> list[Profile]:
    """Those that are the same thing as the base, measured on other occasions than both sides.

    The same thing: model, inputs, options, provider, ONNX Runtime, CPU and the CPUs allowed. A file
    of which another one is a copy counts once, halves of ``ab`` do not count: two of them are of
    one occasion.

    Args:
        base: what the others must be like.
        sides: profiles that are compared, the base among them.
        found: candidates for the history, the most welcome first; read one by one until there are
            ``MOST_OCCASIONS``.
    """
    seen = {_measurement(one) for one in sides}
    kept: list[Profile] = []
    for one in found:
        measurement = _measurement(one)
        if measurement in seen or not one.complete or one.asked.interleaved_with:
            continue
        if one.model.sha256 == base.model.sha256 and _same_thing(base, one):
            seen.add(measurement)
            kept.append(one)
            if len(kept) == MOST_OCCASIONS:
                break
    return kept


def _same_thing(base: Profile, other: Profile) -> bool:
    return not any(one.kind in _KINDS or one.what in _NAMES for one in differences(base, other))


def _measurement(profile: Profile) -> tuple[object, ...]:
    """What only copies of a file have in common."""
    first = next((one for one in profile.processes if len(one.steady)), None)
    if first is None:
        return (profile.created,)
    return (profile.created, first.pid, int(first.steady.start_ns[0]))
