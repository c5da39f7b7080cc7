"""Profiles of several occasions as one side of a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.records import DeviceSeries, Profile


def joined(profiles: Sequence[Profile]) -> Profile:
    """All processes of all occasions, numbered anew, with what their devices recorded.

    Everything else is the first one's; traced passes are left out, as rows of several executed
    graphs need not match. A single profile is returned as it is.
    """
    if len(profiles) == 1:
        return profiles[0]
    processes, devices = [], []
    first = 0
    for profile in profiles:
        processes += [
            dataclasses.replace(one, index=first + one.index) for one in profile.processes
        ]
        devices += [_shifted(series, first) for series in profile.devices]
        first += 1 + max((one.index for one in profile.processes), default=0)
    return dataclasses.replace(
        profiles[0],
        processes=tuple(processes),
        devices=tuple(devices),
        traces={},
        complete=all(one.complete for one in profiles),
    )


def _shifted(series: DeviceSeries, first: int) -> DeviceSeries:
    return dataclasses.replace(series, process=series.process + first)
