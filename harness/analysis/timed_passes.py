"""How long the timed passes lasted, beside what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.config.profile import (
    COMPARISON_DURATION_S,
    ENERGY_DURATION_S,
    ENERGY_SAMPLES_PER_PROCESS,
    MAX_SAMPLES_PER_PROCESS,
    QUICK_DURATION_S,
)
from harness.records import ProcessRecord, Profile

#: How many times as long, or as short, as asked for a pass may be before it is said.
AS_ASKED = 1.5

#: How many times as long the passes of one profile may be as those of another. Two sides whose
#: latencies are within it take the same number of samples (``harness.measuring.plan``): chance
#: makes the calibrations of equal ones differ too.
ALIKE = 1.5


def lasted_s(processes: Sequence[ProcessRecord]) -> float | None:
    """Median of what the timed passes took from end to end; None where there are none."""
    took = [
        float(one.steady.start_ns[-1] + one.steady.duration_ns[-1] - one.steady.start_ns[0]) * 1e-9
        for one in processes
        if len(one.steady)
    ]
    return float(np.median(took)) if took else None


def unlike_asked(profile: Profile) -> str:
    """That the timed passes lasted much longer or shorter than asked for, and why.

    Returns:
        Empty where they did not, or where the file does not tell what was asked for.
    """
    lasted, asked = lasted_s(profile.processes), _asked_s(profile)
    if lasted is None or asked is None or asked / AS_ASKED <= lasted <= asked * AS_ASKED:
        return ""
    samples = [len(one.steady) for one in profile.processes if len(one.steady)]
    most = ENERGY_SAMPLES_PER_PROCESS if profile.asked.energy else MAX_SAMPLES_PER_PROCESS
    if lasted < asked:
        why = "too few were planned, or the machine became faster"
        if max(samples) >= 0.95 * most:
            why = f"a process takes {most:,} samples at most"
    elif max(samples) <= 3:
        why = "it takes three inferences at least"
    else:
        why = "too many were planned, or the machine became slower"
    if profile.asked.interleaved_with:
        why += ", or the other side was asked for less"
    return f"timed passes lasted {_told(lasted)} of the {_told(asked)} asked for: {why}"


def unlike_each_other(base: Profile, candidate: Profile) -> str:
    """That a process of one side was timed for much longer; empty where none was."""
    times = [lasted_s(one.processes) for one in (base, candidate)]
    one, other = times
    if not one or not other or max(one, other) <= ALIKE * min(one, other):
        return ""
    return (
        f"timed passes of {_told(one)} and {_told(other)}: a longer look at the machine is another "
        "one"
    )


def _told(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _asked_s(profile: Profile) -> float | None:
    options = profile.asked.options
    if "duration_s" not in options:
        return None
    given = options["duration_s"]
    if isinstance(given, (int, float)) and given > 0:
        return float(given)
    if profile.asked.energy:
        return ENERGY_DURATION_S
    return QUICK_DURATION_S if profile.asked.quick else COMPARISON_DURATION_S
