"""What the numbers of a record must keep, whoever wrote the file that they come from.

Whoever reads a profile reckons with them: an index leads into a table, a sum of durations stays
within int64, and what was timed took some time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """What the values of a column of whole numbers must keep.

    Attributes:
        low: the least value.
        high: the greatest one.
        most: their sum must not exceed; None where a sum says nothing.
        among: the only values there may be; None where others are possible.
    """

    low: int
    high: int
    most: int | None = None
    among: frozenset[int] | None = None

    def check(self, values: np.ndarray[Any, Any], name: str) -> None:
        """Looks at all values.

        Raises:
            ValueError: one does not keep them.
        """
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        if low < self.low or high > self.high:
            wrong = low if low < self.low else high
            raise ValueError(f"{name}: {wrong} is not between {self.low} and {self.high}")
        if self.most is not None and values.sum(dtype=np.float64) > self.most:
            raise ValueError(f"{name}: its values are more than {self.most} together")
        if self.among is not None:
            known = np.fromiter(self.among, np.int64, len(self.among))
            if not np.isin(values, known).all():
                raise ValueError(f"{name}: a value is none of those that it may be")


#: Nanoseconds that a clock may show, a duration may last, or durations may last together: 146
#: years. So sums and differences of two stay within int64.
MOST_NS = 2**62

ANY = Bounds(-MOST_NS, MOST_NS)
TIME = Bounds(0, MOST_NS)
DURATION = Bounds(0, MOST_NS, most=MOST_NS)
TIMED = Bounds(1, MOST_NS, most=MOST_NS)
COUNT = Bounds(-1, MOST_NS)
NUMBER = Bounds(0, 2**31 - 1)
INT32 = Bounds(-1, 2**31 - 1)
FLAG = Bounds(0, 1)

LATENCY = {"start_ns": TIME, "duration_ns": TIMED}
YARDSTICK = {"start_ns": TIME, "compute_ns": TIMED, "cache_ns": TIMED, "memory_ns": TIMED}
STACKS = {"samples": Bounds(0, 2**48, most=2**53)}

#: Places of probes for each node: one before it, and one at the end of each graph in it.
PLACES = 16

#: Rows of a node table that the file does not hold.
MOST_NODES = 2**24


def nodes_below(nodes: int | None, *, places: bool = False) -> int:
    """The end of the numbers that events may give to a node.

    Args:
        nodes: rows of the node table; None without one.
        places: whether the numbers are places of probes.
    """
    rows = MOST_NODES if nodes is None else nodes
    return PLACES * (rows + 1) if places else rows


def node_table(rows: int) -> dict[str, Bounds]:
    """Of the columns of a NodeTable of so many rows."""
    row = Bounds(-1, rows - 1)
    return {
        "order": COUNT,
        "depth": COUNT,
        "parent": row,
        "activation_bytes": COUNT,
        "parameter_bytes": COUNT,
        "output_bytes": COUNT,
        "carrier": row,
        "flops": COUNT,
        "traffic_bytes": COUNT,
    }


def check_depth(depth: np.ndarray[Any, Any], parent: np.ndarray[Any, Any]) -> None:
    """Makes sure that no node is inside itself: each is one level below its parent.

    Raises:
        ValueError: one is not.
    """
    wanted = np.where(parent < 0, 0, depth[parent] + 1) if len(depth) else depth
    if not np.array_equal(depth, wanted):
        raise ValueError("a node is not one level below its parent")


def events(processes: frozenset[int], nodes: int) -> dict[str, Bounds]:
    """Of the columns of NodeEvents; their details may be anything.

    Args:
        processes: that there are.
        nodes: the end of their numbers.
    """
    process = dataclasses.replace(NUMBER, among=processes)
    return {
        "node": Bounds(0, nodes - 1),
        "process": process,
        "inference": NUMBER,
        "start_ns": TIME,
        "duration_ns": DURATION,
        "self_ns": ANY,
        "inference_process": process,
        "inference_number": NUMBER,
        "inference_start_ns": TIME,
        "inference_duration_ns": DURATION,
        "inference_framework_ns": ANY,
    }


def device(processes: frozenset[int]) -> dict[str, Bounds]:
    """Of the columns of a DeviceSeries of these processes."""
    process = dataclasses.replace(NUMBER, among=processes)
    return {"process": process, "time_ns": TIME, "value": ANY, "changed": FLAG}


def kernels(processes: frozenset[int], nodes: int) -> dict[str, Bounds]:
    """Of the columns of KernelEvents of these processes, with nodes below that number."""
    return {
        "node": Bounds(-1, nodes - 1),
        "process": dataclasses.replace(NUMBER, among=processes),
        "inference": INT32,
        "start_ns": TIME,
        "duration_ns": DURATION,
        "launch_ns": ANY,
        "stream": Bounds(-(2**31), 2**31 - 1),
        "grid": INT32,
        "block": INT32,
        "registers": INT32,
        "shared_bytes": COUNT,
        "bytes": COUNT,
    }


def check_columns(
    record: object, bounds: Mapping[str, Bounds], rows: int, texts: tuple[str, ...] = ()
) -> None:
    """Looks at the columns of a record that is in memory.

    Args:
        record: with these attributes.
        bounds: of its columns of whole numbers.
        rows: that each must have.
        texts: its columns of texts.

    Raises:
        ValueError, TypeError: one is of another type or length, or a value is out of bounds.
    """
    for name, bound in bounds.items():
        values = getattr(record, name)
        if values.dtype not in (np.int32, np.int64, np.int8):
            raise TypeError(f"{name}: is not of whole numbers")
        if values.shape[:1] != (rows,) or values.ndim != (2 if name in ("grid", "block") else 1):
            raise ValueError(f"{name}: has the shape {values.shape}, not {rows} rows")
        bound.check(values, name)
    for name in texts:
        if len(getattr(record, name)) != rows:
            raise ValueError(f"{name}: has {len(getattr(record, name))} rows, not {rows}")
