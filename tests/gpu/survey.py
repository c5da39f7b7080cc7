"""What a GPU answers to the sampler, and how often its answers change."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np

from harness.machine.devices.channels import Absent, Channel
from harness.machine.devices.nvml import LIBRARY, Nvml, explain
from harness.native import sampler
from harness.records import Int64Array


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What a GPU answers, and how often its answers change.

    Attributes:
        working: channels that gave readings.
        absent: those that gave none, with the reason.
        update_period_ns: quantity -> median time from one value to the next that differs;
            None for fewer than three changes.
        stamp_period_ns: the same for the driver's own stamp of its last update, for the
            fields; None where it does not move or is not given. Of a counter too costly to be read
            at every tick, the update period is the one that the thread found at its start.
        cost_ns: quantity -> what a call took, of those that answered.
        test_double: the library was one that tests are made of.
    """

    working: tuple[Channel, ...]
    absent: tuple[Absent, ...]
    update_period_ns: dict[str, int | None]
    stamp_period_ns: dict[str, int | None]
    cost_ns: dict[str, int]
    test_double: bool


def survey(gpu: int, library: str | None = None, seconds: float = 1.0) -> Survey:
    """Reads everything of a GPU for a while, a thousand times a second.

    Waits for so long, and no longer than 2 s more on a driver that does not answer.
    """
    channels = Nvml(gpu).offer().channels
    reads = [channel.reads for channel in channels]
    with sampler.Sampler(
        reads,
        hz=1000,
        slow_every=20,
        capacity=math.ceil(seconds * 1000) + 100,
        gpu=gpu,
        nvml_library=library or LIBRARY,
    ) as running:
        running.start()
        time.sleep(seconds)
        running.stop()
        fast, slow, seldom = running.take()
        report, costs = running.report(), running.costs()
    columns = [*fast.T[1:], *slow.T]
    working, absent = [], []
    values: dict[str, int | None] = {}
    stamps: dict[str, int | None] = {}
    for number, (channel, column, cost) in enumerate(zip(channels, columns, costs, strict=True)):
        if cost.seldom:
            column = seldom[seldom["channel"] == number]
        good = column[column["status"] == 0]
        if not len(good):
            status = int(column["status"][0]) if len(column) else 10
            absent.append((channel.name, explain(status, report.detail)))
            continue
        working.append(channel)
        values[channel.quantity] = cost.period_ns or period_ns(good["time_ns"], good["value"])
        if good["updated_us"].any():
            stamps[channel.quantity] = period_ns(good["time_ns"], good["updated_us"])
    prices = {
        channel.quantity: cost.cost_ns
        for channel, cost in zip(channels, costs, strict=True)
        if cost.cost_ns
    }
    return Survey(tuple(working), tuple(absent), values, stamps, prices, report.test_double)


def period_ns(time_ns: Int64Array, value: Int64Array) -> int | None:
    """Median time between changes of a value; None for fewer than three of them."""
    changes = time_ns[1:][np.diff(value) != 0]
    return int(np.median(np.diff(changes))) if len(changes) >= 3 else None
