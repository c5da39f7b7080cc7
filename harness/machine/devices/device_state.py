"""The clocks and the power of a GPU while something was measured on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.machine.devices import nvml
from harness.machine.devices.channels import Channel
from harness.native import sampler
from harness.records import Reading

#: What is read. Power is an average over the driver's own interval of 20 to 100 ms.
QUANTITIES = ("clock_sm_hz", "clock_memory_hz", "power_instant_mw", "clock_reasons_mask")

#: Readings a second, of calls that take microseconds each.
_HZ = 50


class DeviceState:
    """A native thread that reads the state of one GPU; a context manager.

    Args:
        gpu: NVML's index; None where it is not known which GPU is used.
        why_none: the reason, if gpu is None.
        seconds: longest time; memory for its readings is allocated up front.
        nvml_library: another libnvidia-ml.so.1.
    """

    def __init__(
        self,
        gpu: int | None,
        why_none: str = "",
        seconds: float = 120.0,
        nvml_library: str = nvml.LIBRARY,
    ) -> None:
        offered = {one.quantity: one for one in nvml.Nvml(gpu or 0).offer().channels}
        self._channels: list[Channel] = [offered[name] for name in QUANTITIES]
        self._rows: list[npt.NDArray[Any]] = []
        self._reason = why_none
        self._native: sampler.Sampler | None = None
        if gpu is not None:
            self._native = sampler.Sampler(
                # All of them at every tick: there are few.
                [one.reads._replace(slow=False) for one in self._channels],
                hz=_HZ,
                capacity=round(_HZ * seconds),
                gpu=gpu,
                nvml_library=nvml_library,
            )

    def __enter__(self) -> DeviceState:
        if self._native is not None:
            try:
                self._native.start()
            except OSError as error:
                self._reason = f"no thread to read it could be started: {error}"
                self._native = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._native is not None:
            self._native.stop()
            self._native.close()
            self._native = None

    def during(self, start_ns: int, end_ns: int) -> tuple[Reading, ...]:
        """The state in a stretch of time that has passed.

        Args:
            start_ns: CLOCK_MONOTONIC when it began.
            end_ns: when it ended.

        Returns:
            A reading of each of QUANTITIES: clocks are medians, power the last value (the driver
            averages, and needs a while to follow), reasons for low clocks all that were seen.
            Absent, with the reason, if NVML does not tell them or told none in that time.
        """
        detail, mark = "", ""
        if self._native is not None:
            self._rows.append(self._native.take()[0])
            report = self._native.report()
            detail = report.detail
            mark = "test double, no measurement: " if report.test_double else ""
        rows = np.concatenate(self._rows) if self._rows else None
        found = []
        for column, channel in enumerate(self._channels, start=1):
            name, source = channel.quantity, f"{mark}{channel.source}"
            if rows is None:
                reason = self._reason or "nothing was read"
                found.append(Reading(name, None, channel.unit, source, reason))
                continue
            here = rows[:, column]
            within = here[(here["time_ns"] >= start_ns) & (here["time_ns"] <= end_ns)]
            good = within[within["status"] == 0]["value"]
            if len(good):
                found.append(Reading(name, _summed_up(name, good), channel.unit, source))
                continue
            failed = here[here["status"] != 0]["status"]
            reason = "it was not read then"
            if len(failed) and failed[-1] == sampler.ELSEWHERE:
                reason = "a reading of it takes too long to be made meanwhile"
            elif len(failed):
                reason = nvml.explain(int(failed[-1]), detail)
            found.append(Reading(name, None, channel.unit, source, reason))
        return tuple(found)


def _summed_up(quantity: str, values: npt.NDArray[np.int64]) -> int:
    if quantity == "clock_reasons_mask":
        return int(np.bitwise_or.reduce(values))
    return int(values[-1]) if quantity.startswith("power") else int(np.median(values))
