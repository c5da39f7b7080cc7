"""The bounds that the numbers of a record must satisfy, whoever wrote the file.

All code that reads a profile relies on them: an index points into its table, a sum of durations
fits int64, and a timed duration is not 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from harness.records import Instances


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on the values of an integer column.

    Attributes:
        low: smallest allowed value.
        high: largest allowed value.
        most: largest allowed sum; None if a sum is meaningless.
        among: the only allowed values; None for all between low and high.
    """

    low: int
    high: int
    most: int | None = None
    among: frozenset[int] | None = None

    def check(self, values: np.ndarray[Any, Any], name: str) -> None:
        """Checks all values.

        Raises:
            ValueError: a value, or the sum, is out of bounds.
        """
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        if low < self.low or high > self.high:
            wrong = low if low < self.low else high
            raise ValueError(f"{name}: {wrong} is not between {self.low} and {self.high}")
        if self.most is not None and values.sum(dtype=np.float64) > self.most:
            raise ValueError(f"{name}: its values sum to more than {self.most}")
        if self.among is not None:
            known = np.fromiter(self.among, np.int64, len(self.among))
            if not np.isin(values, known).all():
                raise ValueError(f"{name}: a value is not one of those allowed")


#: Largest clock reading, duration, or sum of durations, in ns: 146 years. Sums and differences
#: of two of them still fit int64.
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
WALL_TIME = {"process": INT32, "start_ns": TIME, "duration_ns": DURATION, "cpu_ns": DURATION}
STACKS = {"samples": Bounds(0, 2**48, most=2**53)}

#: Most calling threads of a group: work on a table of them takes time for each.
MOST_CALLERS = 2**16
CALLER = Bounds(0, MOST_CALLERS - 1)

#: Most probe places per node: one before it, and one at the end of each of its subgraphs.
PLACES = 16

#: Assumed rows of the node table if the file holds none.
MOST_NODES = 2**24


def nodes_below(nodes: int | None, *, places: bool = False) -> int:
    """Exclusive upper bound of the node numbers in events.

    Args:
        nodes: rows of the node table; None if there is none.
        places: whether the numbers are probe places.
    """
    rows = MOST_NODES if nodes is None else nodes
    return PLACES * (rows + 1) if places else rows


def node_table(rows: int) -> dict[str, Bounds]:
    """Bounds of the columns of a NodeTable with this many rows."""
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
    """Makes sure that no node is inside itself: each must be one level below its parent.

    Raises:
        ValueError: a node is not.
    """
    wanted = np.where(parent < 0, 0, depth[parent] + 1) if len(depth) else depth
    if not np.array_equal(depth, wanted):
        raise ValueError("a node is not one level below its parent")


def events(processes: frozenset[int], nodes: int, inferences: int) -> dict[str, Bounds]:
    """Bounds of the columns of NodeEvents; their details may be anything.

    Args:
        processes: indices of the existing processes.
        nodes: exclusive upper bound of the node numbers.
        inferences: how many there are, of all processes: each numbers its own from 0.
    """
    process = dataclasses.replace(NUMBER, among=processes)
    number = Bounds(0, inferences - 1)
    return {
        "node": Bounds(0, nodes - 1),
        "process": process,
        "inference": number,
        "start_ns": TIME,
        "duration_ns": DURATION,
        "self_ns": ANY,
        "inference_process": process,
        "inference_number": number,
        "inference_start_ns": TIME,
        "inference_duration_ns": DURATION,
        "inference_framework_ns": ANY,
    }


def device(processes: frozenset[int]) -> dict[str, Bounds]:
    """Bounds of the columns of a DeviceSeries of these processes."""
    process = dataclasses.replace(NUMBER, among=processes)
    return {"process": process, "time_ns": TIME, "value": ANY, "changed": FLAG}


def instances(processes: frozenset[int]) -> dict[str, Bounds]:
    """Bounds of the columns of Instances of these processes."""
    number = dict.fromkeys(("instance", "caller"), CALLER)
    times = dict.fromkeys(("begin_ns", "end_ns"), TIME)
    known = dict.fromkeys(("inferences", "session_ns", "first_inference_ns"), DURATION)
    maybe = ("start_ns", "done_ns", "median_ns", "p99_ns")
    summed = ("cpu_wait_ns", "pss_bytes", "pages_bytes", "local_bytes")
    return {
        "process": dataclasses.replace(NUMBER, among=processes),
        "alone": FLAG,
        **number,
        **times,
        **known,
        **dict.fromkeys(maybe, COUNT),
        **dict.fromkeys(summed, dataclasses.replace(COUNT, most=MOST_NS)),
    }


def check_instances(rows: Instances, callers: Mapping[int, np.ndarray[Any, Any]]) -> None:
    """Checks that what a table of instances says agrees with itself and with the samples.

    Args:
        rows: within their bounds.
        callers: of each process, the calling thread of each sample.

    Raises:
        ValueError: they do not agree.
    """
    for wrong, what in (
        (rows.end_ns <= rows.begin_ns, "a window ends before it has begun"),
        (rows.local_bytes > rows.pages_bytes, "more of an instance's pages are local than it has"),
        *_wrong_inferences(rows),
    ):
        if wrong.any():
            raise ValueError(what)
    window = np.stack([rows.process, rows.alone], axis=1)
    _, of_window = np.unique(window, axis=0, return_inverse=True)
    for name in ("begin_ns", "end_ns"):
        if _differs(getattr(rows, name), of_window.reshape(-1)):
            raise ValueError(f"{name}: callers that share a window have several of it")
    places = np.column_stack([window, rows.caller])
    if len(np.unique(places, axis=0)) != len(rows):
        raise ValueError("caller: is there twice in a window")
    _, of_caller = np.unique(rows.caller, return_inverse=True)
    if _differs(rows.instance, of_caller):
        raise ValueError("instance: a caller belongs to several")
    for index, given in callers.items():
        common = rows.caller[(rows.process == index) & (rows.alone == 0)]
        if not len(common):
            raise ValueError(f"process {index} has no row of the common window")
        if not len(given):
            raise ValueError(f"the samples of process {index} do not tell their caller")
        if not np.isin(given, common).all():
            raise ValueError(f"a sample of process {index} is of a caller without a row")


def _wrong_inferences(rows: Instances) -> tuple[tuple[np.ndarray[Any, Any], str], ...]:
    """Rows whose inferences do not fit their window or their figures, and what is wrong."""
    ran = rows.inferences > 0
    outside = (rows.start_ns < rows.begin_ns) | (rows.done_ns > rows.end_ns)
    return (
        (ran & outside, "inferences lie outside their window"),
        (ran & (rows.done_ns <= rows.start_ns), "the last inference ends before the first begins"),
        (ran & (rows.median_ns < 1), "inferences without a median"),
        ((rows.p99_ns >= 0) & (rows.p99_ns < rows.median_ns), "a p99 is below the median"),
        (
            ~ran & ((rows.start_ns >= 0) | (rows.done_ns >= 0) | (rows.median_ns >= 0)),
            "times of a caller without an inference",
        ),
    )


def _differs(values: np.ndarray[Any, Any], group: np.ndarray[Any, Any]) -> bool:
    """Whether values of one group differ, groups being numbered from 0."""
    first = np.zeros(int(group.max(initial=-1)) + 1, values.dtype)
    first[group] = values
    return bool((first[group] != values).any())


def kernels(processes: frozenset[int], nodes: int) -> dict[str, Bounds]:
    """Bounds of the columns of KernelEvents of these processes, with node numbers below nodes."""
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


def launches(processes: frozenset[int], nodes: int) -> dict[str, Bounds]:
    """Bounds of the columns of Launches of these processes, with node numbers below nodes."""
    limits = kernels(processes, nodes)
    return {
        name: limits[name]
        for name in (
            "process", "node", "stream", "grid", "block", "registers", "shared_bytes", "bytes",
        )
    }  # fmt: skip


def timeline_inferences(processes: frozenset[int]) -> dict[str, Bounds]:
    """Bounds of the columns of TimelineInferences of these processes."""
    return {
        "process": dataclasses.replace(NUMBER, among=processes),
        "recorded": FLAG,
        "start_ns": TIME,
        "enqueue_ns": DURATION,
        "duration_ns": TIMED,
    }


def launch_times(launches: int, inferences: int) -> dict[str, Bounds]:
    """Bounds of the columns of LaunchTimes, with so many rows in the tables they name."""
    return {
        "launch": Bounds(0, launches - 1),
        "inference": Bounds(0, inferences - 1),
        "start_ns": TIME,
        "duration_ns": DURATION,
    }


def check_timeline(
    launched: np.ndarray[Any, Any],
    timed: np.ndarray[Any, Any],
    launch: np.ndarray[Any, Any],
    inference: np.ndarray[Any, Any],
) -> None:
    """Checks that what a timeline's tables say about processes agrees.

    Args:
        launched: process of each of Launches.
        timed: process of each of TimelineInferences.
        launch: row in Launches of each of LaunchTimes, within its bounds.
        inference: row in TimelineInferences of each, likewise.

    Raises:
        ValueError: the launches of a process do not follow each other, or a time joins a launch
            and an inference of two processes.
    """
    if (np.diff(launched) < 0).any():
        raise ValueError("launches/process: is not sorted")
    if (launched[launch] != timed[inference]).any():
        raise ValueError("times: a launch and its inference are of different processes")


def check_columns(
    record: object, bounds: Mapping[str, Bounds], rows: int, texts: tuple[str, ...] = ()
) -> None:
    """Checks the columns of a record in memory.

    Args:
        record: has the columns as attributes.
        bounds: of its integer columns, by name.
        rows: number of rows that each column must have.
        texts: names of its text columns.

    Raises:
        ValueError, TypeError: a column has a wrong type or length, or a value is out of bounds.
    """
    for name, bound in bounds.items():
        values = getattr(record, name)
        if values.dtype not in (np.int32, np.int64, np.int8):
            raise TypeError(f"{name}: does not hold integers")
        if values.shape[:1] != (rows,) or values.ndim != (2 if name in ("grid", "block") else 1):
            raise ValueError(f"{name}: has the shape {values.shape}, not {rows} rows")
        bound.check(values, name)
    for name in texts:
        if len(getattr(record, name)) != rows:
            raise ValueError(f"{name}: has {len(getattr(record, name))} rows, not {rows}")
