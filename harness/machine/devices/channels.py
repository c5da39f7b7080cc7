"""What there is to sample: the one protocol between kinds of devices and the sampling threads.

A source looks at the machine once and offers channels; a native thread reads their
numbers (``harness.native.sampler``); the source then says what a failed reading means.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Protocol

from harness.native import sampler
from harness.records import Absent


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """A number that can be sampled, under the names that its series will have.

    Attributes:
        device: as in DeviceSeries.
        quantity: as in DeviceSeries.
        unit: as in DeviceSeries.
        source: as in DeviceSeries.
        reads: how the native thread reads it.
        counter: it only grows. A reading below the one before it is a wrap-around where
            `largest` is known, else a reset.
        largest: of a counter, after which it starts again from 0.
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
        """What it is called where it is absent."""
        return f"{self.device} {self.quantity}"


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What a source found on this machine."""

    channels: tuple[Channel, ...]
    absent: tuple[Absent, ...] = ()


class ChannelSource(Protocol):
    """A kind of device."""

    def offer(self) -> Offer:
        """Looks at the machine: channels that may be sampled, and what cannot be."""

    def explain(self, status: int) -> str:
        """Says what a reading that failed with this status means, and the remedy."""


def explain_errno(status: int) -> str:
    """What a failed reading of a file means."""
    return os.strerror(status)
