"""Whether the time of an inference is divided rightly between its nodes.

The accounts hold the sum of all nodes against the timed pass; they cannot see time that one
node has of another. In a graph with every second probe the stretch from one probe to the next
is measured without the one between, and without how that one divides it. Less the cost of one
probe it must equal the own times of the nodes in it. Even and odd places alternate over the
processes, so that a stretch of the one ends in the middle of one of the other.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Final

import numpy as np

from harness.analysis.operators.labels import node_label
from harness.records import Int64Array, NodeEvents, NodeTable, Profile
from harness.statistics.figures import Float64Array

#: Part of a stretch, or of all of them, by which the nodes in it may miss it.
TRUSTED_MISS: Final = 0.05

#: By how much they may miss a stretch in any case, ns: the cost of a probe is not additive. In
#: chains of nodes of 0.15 µs one probe of two added 30 to 39 ns where both added 50 each; in an MLP
#: of three nodes one added 28 ns, and another, where that one stood, 80 to 90.
TRUSTED_MISS_NS: Final = 60.0

#: Of all profiles in which nothing is wrong, the part in which a stretch may be said to miss.
FALSE_ALARMS: Final = 0.05

#: Inferences of both graphs in a process, below which it says nothing.
LEAST_INFERENCES: Final = 4

#: By how much the variance between processes exceeds what the inferences of one of them tell,
#: where there is only one. Each session lays out its memory anew.
VARIANCE_BETWEEN: Final = 4.0

#: Standard deviations of the binomial on both sides of a median between whose order statistics its
#: standard error is measured (McKean & Schrader 1984). Close ones would not see that the other
#: half of the inferences waited for a CPU.
_WIDE: Final = 2.576


#: Standard errors that the sum of all stretches must exceed.
_NOISE: Final = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """From one probe to the next where every second one is left out.

    Attributes:
        rows: of the nodes with a probe of their own in it, in the order of execution.
        told_ns: their own times together (without ``frame_ns``): the median of a process over
            its inferences, mean over the processes.
        direct_ns: the same from the stamps at both ends.
        error_ns: standard error of the difference.
        limit: of it, so many are still noise.
    """

    rows: tuple[int, ...]
    told_ns: float
    direct_ns: float
    error_ns: float
    limit: float

    @property
    def miss_ns(self) -> float:
        """Told less direct."""
        return self.told_ns - self.direct_ns

    @property
    def miss(self) -> float:
        """The same as a share of direct_ns."""
        return self.miss_ns / max(self.direct_ns, 1.0)

    @property
    def doubtful(self) -> bool:
        """Whether it misses by more than noise, and by more than is trusted."""
        least_ns = max(TRUSTED_MISS * self.direct_ns, TRUSTED_MISS_NS, self.limit * self.error_ns)
        return abs(self.miss_ns) > least_ns


@dataclasses.dataclass(frozen=True)
class Split:
    """How the nodes' own times agree with stretches that were measured without their division.

    Attributes:
        stretches: those of even places and those of odd ones, as far as recorded.
        halves: how many of both were recorded.
    """

    stretches: tuple[Stretch, ...]
    halves: int

    @property
    def nodes(self) -> int:
        """Nodes with a probe of their own that lie in one."""
        return len(self._of)

    @functools.cached_property
    def miss(self) -> float:
        """Told over direct of all of them, less 1."""
        direct_ns = sum(one.direct_ns for one in self.stretches)
        return sum(one.miss_ns for one in self.stretches) / max(direct_ns, 1.0)

    @functools.cached_property
    def apart(self) -> float:
        """By how much they miss, beyond noise and beyond what they miss all alike.

        Root mean square of their shares, each with the weight of its time; 0 where noise
        explains it.
        """
        direct = np.array([max(one.direct_ns, 1.0) for one in self.stretches])
        misses = np.array([one.miss for one in self.stretches]) - self.miss
        noise = np.array([one.error_ns for one in self.stretches]) / direct
        return float(max(np.average(misses**2 - noise**2, weights=direct), 0.0) ** 0.5)

    @property
    def doubtful(self) -> bool:
        """Whether all of them together miss by more than noise, and by more than is trusted."""
        missed_ns = abs(sum(one.miss_ns for one in self.stretches))
        noise_ns = sum(one.error_ns**2 for one in self.stretches) ** 0.5
        least_ns = max(TRUSTED_MISS_NS * len(self.stretches), _NOISE * noise_ns)
        return abs(self.miss) > TRUSTED_MISS and missed_ns > least_ns

    @functools.cached_property
    def _of(self) -> Mapping[int, list[Stretch]]:
        """The stretches that a row lies in."""
        found: dict[int, list[Stretch]] = {}
        for one in self.stretches:
            for row in one.rows:
                found.setdefault(row, []).append(one)
        return found

    def missed(self, row: int) -> Stretch | None:
        """Of the stretches that a node lies in that which misses most; None where it is in none."""
        return max(
            self._of.get(row, ()),
            key=lambda one: (one.doubtful, abs(one.miss_ns) / max(one.error_ns, 1.0)),
            default=None,
        )

    def doubt(self, row: int, nodes: NodeTable) -> str:
        """Why the time of a node should not be trusted, in a clause; empty where it may be."""
        one = self.missed(row)
        if one is None or not one.doubtful:
            return ""
        others = [node_label(nodes, other) for other in one.rows if other != row]
        named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        what = f"it and {named} miss" if others else "it misses"
        return f"{what} a direct measurement by {one.miss:+.0%} ({one.miss_ns:+,.0f} ns)"

    def missed_ns(self, own_ns: Mapping[int, float]) -> float:
        """What doubtful stretches miss in the time of several nodes, by their parts in each.

        Args:
            own_ns: own times of the nodes by row.
        """
        missed_ns = 0.0
        for one in {id(each): each for row in own_ns for each in self._of.get(row, ())}.values():
            if one.doubtful:
                part_ns = sum(own_ns.get(row, 0.0) for row in one.rows)
                missed_ns += one.miss_ns * min(part_ns / max(one.told_ns, 1.0), 1.0)
        return missed_ns / max(self.halves, 1)


def split_of(profile: Profile) -> Split | None:
    """Holds the nodes' own times against the stretches; None where nothing was recorded for it.

    Args:
        profile: with the traces ``probe`` and ``probe_split``.
    """
    nodes, probes = profile.nodes, profile.traces.get("probe")
    stretches = profile.traces.get("probe_split")
    if nodes is None or probes is None or stretches is None:
        return None
    begins = _begins(stretches)
    direct = _tables(stretches, {one: _positions(places) for one, places in begins.items()})
    told = _tables(probes, {one: _stretch_of(nodes, places) for one, places in begins.items()})
    halves: dict[tuple[int, ...], list[tuple[Float64Array, Float64Array]]] = {}
    for process, places in begins.items():
        sums = told[process], direct[process]
        if min(map(len, sums)) >= LEAST_INFERENCES:
            halves.setdefault(places, []).append(sums)
    if not halves:
        return None
    limit = NormalDist().inv_cdf(1 - FALSE_ALARMS / (2 * sum(map(len, halves))))
    judged = [
        one
        for places, of_processes in halves.items()
        for one in _judged(_rows(nodes, places), of_processes, limit)
        if one.rows
    ]
    return Split(tuple(judged), len(halves)) if judged else None


def _judged(
    rows: Sequence[tuple[int, ...]],
    of_processes: Sequence[tuple[Float64Array, Float64Array]],
    limit: float,
) -> list[Stretch]:
    """Stretches of one half.

    Args:
        rows: of each.
        of_processes: (told, direct) of each process, float64[inferences, stretches].
        limit: as in Stretch.
    """
    told, direct = (
        np.array([np.median(one[part], axis=0) for one in of_processes]) for part in (0, 1)
    )
    within = np.array([_variance(one[0]) + _variance(one[1]) for one in of_processes]).mean(axis=0)
    count = len(of_processes)
    between = np.zeros_like(within)
    exceeds = VARIANCE_BETWEEN
    if count > 1:
        between = np.var(told - direct, axis=0, ddof=1)
        known = within > 0
        # Median of chi-squared over its degrees of freedom (Wilson & Hilferty 1931).
        centre = (1 - 2 / (9 * (count - 1))) ** 3
        exceeds = float(np.median(between[known] / within[known])) / centre if known.any() else 1.0
    error = np.sqrt(np.maximum(max(exceeds, 1.0) * within, between) / count)
    return [
        Stretch(*values, limit)
        for values in zip(
            rows,
            told.mean(axis=0).tolist(),
            direct.mean(axis=0).tolist(),
            error.tolist(),
            strict=True,
        )
    ]


def _variance(values: Float64Array) -> Float64Array:
    """float64[stretches], of the median over the inferences.

    Of few inferences some differ little by chance: none is taken for less than the typical part
    of its median.
    """
    count = len(values)
    wide = min(_WIDE, (count - 1) / count**0.5)  # not beyond the least and the greatest
    away = round(wide * count**0.5 / 2 - 0.5)
    ranked = np.sort(values, axis=0)
    lower, upper = ranked[(count - 1) // 2 - away], ranked[count // 2 + away]
    centre = np.maximum(np.median(values, axis=0), 1.0)
    share = (upper - lower) / (2 * max(wide, 1.0)) / centre
    variance: Float64Array = (np.maximum(share, np.median(share)) * centre) ** 2
    return variance


def _rows(nodes: NodeTable, begins: Sequence[int]) -> list[tuple[int, ...]]:
    """Rows with a probe of their own in each stretch.

    Args:
        nodes: the executed graph.
        begins: places that begin a stretch, by number.
    """
    stretch_of = _stretch_of(nodes, begins)
    rows: list[list[int]] = [[] for _ in begins]
    own = np.flatnonzero((nodes.carrier == np.arange(len(nodes))) & (stretch_of >= 0))
    for row in own[np.lexsort((nodes.order[own], nodes.depth[own]))].tolist():
        rows[stretch_of[row]].append(row)
    return [tuple(one) for one in rows]


def _stretch_of(nodes: NodeTable, begins: Sequence[int]) -> Int64Array:
    """int64[nodes], position in begins of the stretch in which a node's time is; -1 for none."""
    position = {place: number for number, place in enumerate(begins)}
    found = np.full(len(nodes), -1, np.int64)
    outer = np.flatnonzero((nodes.parent < 0) & (nodes.order >= 0))
    current = -1
    for row in outer[np.argsort(nodes.order[outer], kind="stable")].tolist():
        current = position.get(row, current)
        found[row] = current if nodes.carrier[row] >= 0 else -1
    for row in np.argsort(nodes.depth, kind="stable").tolist():
        if nodes.parent[row] >= 0:
            found[row] = found[nodes.parent[row]]
    return found


def _begins(stretches: NodeEvents) -> dict[int, tuple[int, ...]]:
    """Places that begin a stretch, by process."""
    seen: dict[int, set[int]] = {}
    for part in stretches.parts():
        for process in np.unique(part.process).tolist():
            places = np.unique(part.node[part.process == process]).tolist()
            seen.setdefault(process, set()).update(places)
    return {process: tuple(sorted(places)) for process, places in sorted(seen.items())}


def _positions(places: Sequence[int]) -> Int64Array:
    """int64[largest place + 1], number of the stretch that a place begins; -1 for none."""
    found = np.full(places[-1] + 1, -1, np.int64)
    found[list(places)] = np.arange(len(places))
    return found


def _tables(events: NodeEvents, stretch_of: Mapping[int, Int64Array]) -> dict[int, Float64Array]:
    """float64[inferences, stretches] of each process: own times without what frames add.

    Args:
        events: of nodes, or of places.
        stretch_of: by process the stretch of each node or place, -1 for none.
    """
    numbers, tables = {}, {}
    for process, stretch in stretch_of.items():
        whole = (events.inference_process == process) & (events.inference_duration_ns >= 0)
        numbers[process] = np.sort(events.inference_number[whole])
        tables[process] = np.zeros((len(numbers[process]), int(stretch.max()) + 1))
    for part in events.parts():
        own_ns = part.self_ns - part.details.get("frame_ns", 0)
        for process, table in tables.items():
            known = numbers[process]
            row = np.searchsorted(known, part.inference)
            column = stretch_of[process][np.minimum(part.node, len(stretch_of[process]) - 1)]
            kept = (part.process == process) & (column >= 0) & (row < len(known))
            kept[kept] = known[row[kept]] == part.inference[kept]
            cell = row[kept] * table.shape[1] + column[kept]
            table += np.bincount(cell, own_ns[kept], table.size).reshape(table.shape)
    return tables
