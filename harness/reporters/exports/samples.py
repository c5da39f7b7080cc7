"""The inferences of a profile as one table: what CSV and Parquet files hold."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.records import NO_CALLER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.records import Int32Array, Int64Array, Profile

#: Columns of the table; with callers side by side, ``caller`` follows.
_COLUMNS: Final = ("process", "pass", "inference", "start_ns", "duration_ns")

#: Rows per part.
_ROWS: Final = 65_536


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Rows of one pass of one process, in time order.

    Attributes:
        process: ProcessRecord.index.
        name: of the pass, ``warm-up`` or ``timed``.
        first: number of the first inference in its pass, from 0.
        start_ns: int64[n], CLOCK_MONOTONIC.
        duration_ns: int64[n].
        caller: int32[n], number of the calling thread, over all instances of a group; None where
            the profile has no callers side by side.
    """

    process: int
    name: str
    first: int
    start_ns: Int64Array
    duration_ns: Int64Array
    caller: Int32Array | None

    def __len__(self) -> int:
        return len(self.start_ns)


def columns(profile: Profile) -> tuple[str, ...]:
    """Names of the table's columns."""
    return (*_COLUMNS, "caller") if _side_by_side(profile) else _COLUMNS


def parts(profile: Profile) -> Iterator[Part]:
    """The table, a bounded number of rows at a time."""
    with_caller = _side_by_side(profile)
    for process in profile.processes:
        for name, series in (("warm-up", process.warmup), ("timed", process.steady)):
            for number, part in enumerate(series.parts(_ROWS)):
                first = number * _ROWS
                caller = None
                if with_caller:
                    given = process.caller if name == "timed" else NO_CALLER
                    caller = given[first : first + _ROWS]
                    if len(caller) != len(part):
                        caller = np.full(len(part), -1, np.int32)
                yield Part(process.index, name, first, part.start_ns, part.duration_ns, caller)


def _side_by_side(profile: Profile) -> bool:
    return any(len(process.caller) for process in profile.processes)
