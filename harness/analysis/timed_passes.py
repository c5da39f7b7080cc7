"""How long the timed passes lasted, compared with what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.config.profile import (
    COMPARISON_DURATION_S,
    ENERGY_DURATION_S,
    ENERGY_SAMPLES_PER_PROCESS,
    MAX_SAMPLES_PER_PROCESS,
    QUICK_DURATION_S,
    energy_duration_s,
)
from harness.records import ProcessRecord, Profile

#: Factor by which a pass may be longer or shorter than asked for without being reported.
AS_ASKED = 1.5

#: Factor by which the passes of one profile may be longer than another's. Two sides whose
#: latencies are within it take the same number of samples (``harness.measuring.plan``), as
#: calibrations of equal sides differ by chance too.
ALIKE = 1.5


def lasted_s(processes: Sequence[ProcessRecord]) -> float | None:
    """Median duration of the timed passes, in seconds; None if there are none."""
    took = [
        float(one.steady.start_ns[-1] + one.steady.duration_ns[-1] - one.steady.start_ns[0]) * 1e-9
        for one in processes
        if len(one.steady)
    ]
    return float(np.median(took)) if took else None


def unlike_asked(profile: Profile) -> str:
    """Says that the timed passes lasted much longer or shorter than asked for, and why.

    Returns:
        Empty if they did not, or if the file does not record what was asked for.
    """
    lasted = lasted_s(profile.processes)
    asked = None if lasted is None else _asked_s(profile, lasted)
    if profile.instances is not None:
        return ""  # a window is as long as its slowest caller needs, and told
    if lasted is None or asked is None or asked / AS_ASKED <= lasted <= asked * AS_ASKED:
        return ""
    samples = [len(one.steady) for one in profile.processes if len(one.steady)]
    most = ENERGY_SAMPLES_PER_PROCESS if profile.asked.energy else MAX_SAMPLES_PER_PROCESS
    if lasted < asked:
        why = "too few samples were planned, or the machine became faster"
        if max(samples) >= 0.95 * most:
            why = f"a process takes at most {most:,} samples"
    elif max(samples) <= 3:
        why = "it takes at least three inferences"
    else:
        why = "too many samples were planned, or the machine became slower"
    if profile.asked.interleaved_with:
        why += (
            ", or the other side was asked for less"
            if lasted < asked
            else (", or the other side needs as long for three inferences")
        )
    return f"timed passes lasted {_told(lasted)} instead of the {_told(asked)} asked for: {why}"


def unlike_each_other(base: Profile, candidate: Profile) -> str:
    """Says that processes of one side were timed for much longer; empty if none was."""
    times = [lasted_s(one.processes) for one in (base, candidate)]
    one, other = times
    if not one or not other or max(one, other) <= ALIKE * min(one, other):
        return ""
    return (
        f"timed passes of {_told(one)} and {_told(other)}: passes of different lengths sample "
        "the machine differently"
    )


def _told(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _asked_s(profile: Profile, lasted: float) -> float | None:
    options = profile.asked.options
    if "duration_s" not in options:
        return None
    given = options["duration_s"]
    if isinstance(given, (int, float)) and given > 0:
        return float(given)
    if profile.asked.energy:
        # Earlier versions asked for the same of a single process as of several.
        durations_s = ENERGY_DURATION_S, energy_duration_s(max(len(profile.processes), 1))
        return min(durations_s, key=lambda asked_s: abs(asked_s - lasted))
    return QUICK_DURATION_S if profile.asked.quick else COMPARISON_DURATION_S
