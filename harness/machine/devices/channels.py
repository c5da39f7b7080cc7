"""What can be sampled: the protocol between kinds of devices and the sampling threads.

A source inspects the machine once and offers channels; a native thread reads their numbers
(``harness.native.sampler``); the source then explains what failed readings mean.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Protocol

from harness.native import sampler
from harness.records import Absent


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """A number that can be sampled, with the names that its series will have.

    Attributes:
        device: as in DeviceSeries.
        quantity: as in DeviceSeries.
        unit: as in DeviceSeries.
        source: as in DeviceSeries.
        reads: how the native thread reads it.
        counter: whether it only grows. A reading below the previous one is then a wrap-around if
            `largest` is known, otherwise a reset.
        largest: the value after which a counter starts again from 0.
    """

    device: str
    quantity: str
    unit: str
    source: str
    reads: sampler.Channel
    counter: bool = False
    largest: int | None = None

    @property
    def name(self) -> str:
        """Its name in the list of absences."""
        return f"{self.device} {self.quantity}"


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What a source found on this machine."""

    channels: tuple[Channel, ...]
    absent: tuple[Absent, ...] = ()


class ChannelSource(Protocol):
    """A kind of device."""

    def offer(self) -> Offer:
        """Inspects the machine: channels that may be sampled, and what cannot be."""

    def explain(self, status: int) -> str:
        """Explains a reading that failed with this status, and the remedy."""


def explain_errno(status: int) -> str:
    """What a failed reading of a file means."""
    return os.strerror(status)
