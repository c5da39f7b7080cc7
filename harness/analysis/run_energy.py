"""Energy of what ran the model: of the GPU that was used, or of all packages of the CPU."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from harness.analysis.configuration import on_device
from harness.analysis.energy import Energy, energy
from harness.analysis.used_gpu import used_gpu
from harness.records import Profile
from harness.statistics.figures import Figure

#: What devices of a CPU are called (``machine.devices.cpu_energy``).
_PACKAGE = re.compile(r"package\d+(_die\d+)?")


def run_energy(profile: Profile) -> Energy | Figure:
    """Energy of one inference on the device that ran it, or why that is not known.

    What the host draws for a GPU is not in it.
    """
    gpu = used_gpu(profile)
    known = energy(profile)
    if on_device(profile.provider):
        meter = f"gpu{gpu.index}" if gpu is not None and gpu.index is not None else ""
        found = [one for one in known if one.device == meter]
    else:
        meter = "energy"
        found = [one for one in known if _PACKAGE.fullmatch(one.device)]
    if not found:
        reason = next((why for what, why in profile.absent if meter and meter in what), "")
        return Figure(None, reason or "the file holds no energy counter and no readings of power")
    return found[0] if len(found) == 1 else _together(found)


def _together(packages: Sequence[Energy]) -> Energy | Figure:
    """The packages of a CPU as one device: sums, and an interval that holds whatever they share."""
    for one in packages:
        if one.joules.value is None:
            return Figure(None, f"{one.device}: {one.joules.reason}")
    ends = [one.interval_j for one in packages if one.interval_j is not None]
    whole = len(ends) == len(packages)
    apart = Figure(None, "told of each package")
    return dataclasses.replace(
        packages[0],
        device=" + ".join(one.device for one in packages),
        joules=_sum([one.joules for one in packages]),
        interval_j=(sum(low for low, _ in ends), sum(high for _, high in ends)) if whole else None,
        item_j=_sum([one.item_j for one in packages]),
        counter_j=apart,
        power_j=apart,
        above_idle_j=_sum([one.above_idle_j for one in packages]),
        above_warm_idle_j=_sum([one.above_warm_idle_j for one in packages]),
        watts=_sum([one.watts for one in packages]),
        idle_watts=_sum([one.idle_watts for one in packages]),
        warm_idle_watts=_sum([one.warm_idle_watts for one in packages]),
        verdict="doubtful" if any(one.causes for one in packages) else packages[0].verdict,
        causes=tuple(dict.fromkeys(cause for one in packages for cause in one.causes)),
    )


def _sum(figures: Sequence[Figure]) -> Figure:
    values = [one.value for one in figures]
    missing = next((one for one in figures if one.value is None), None)
    return missing or Figure(sum(value for value in values if value is not None))
