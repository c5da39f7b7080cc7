"""The inferences of a profile as one table: what CSV and Parquet files hold."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.records import Int64Array, Profile

#: Columns of the table.
COLUMNS: Final = ("process", "pass", "inference", "start_ns", "duration_ns")

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
    """

    process: int
    name: str
    first: int
    start_ns: Int64Array
    duration_ns: Int64Array

    def __len__(self) -> int:
        return len(self.start_ns)


def parts(profile: Profile) -> Iterator[Part]:
    """The table, a bounded number of rows at a time."""
    for process in profile.processes:
        for name, series in (("warm-up", process.warmup), ("timed", process.steady)):
            for number, part in enumerate(series.parts(_ROWS)):
                first = number * _ROWS
                yield Part(process.index, name, first, part.start_ns, part.duration_ns)
