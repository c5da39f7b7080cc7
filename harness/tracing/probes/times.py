"""From the stamps of probes to the times of nodes.

The gap between two stamps is the time of what ran between them plus the cost of one probe. The
graph with pairs of probes measures that cost in the same process and at the same place, as the
gap inside each pair. The frame graph only has one probe before its first node and one after its
last, so it shows how long all nodes together take undisturbed. If the difference stands out from
noise, it corrects the level of the cost, because a probe after a probe does not take quite as
long as one after a node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.records import Int32Array, Int64Array, NodeEvents, NodeTable
from harness.tracing.probes.graphs import FIRST_OF_PAIR, ProbedGraph

SOURCE: Final = "probe"


class Stamps(NamedTuple):
    """One recording of a graph with probes.

    Attributes:
        place: int32[n], as the probes stored them.
        stamp_ns: int64[n], CLOCK_MONOTONIC.
        taken: number of stamps taken; n is smaller if the buffer was too small.
        start_ns: int64[inferences], CLOCK_MONOTONIC before each inference.
        duration_ns: int64[inferences], until Run returned.
    """

    place: Int32Array
    stamp_ns: Int64Array
    taken: int
    start_ns: Int64Array
    duration_ns: Int64Array


def concatenate(parts: Sequence[Stamps]) -> Stamps:
    """Joins recordings of one graph, each of which ended before the next began."""
    return Stamps(
        np.concatenate([part.place for part in parts]),
        np.concatenate([part.stamp_ns for part in parts]),
        sum(part.taken for part in parts),
        np.concatenate([part.start_ns for part in parts]),
        np.concatenate([part.duration_ns for part in parts]),
    )


def whole(stamps: Stamps) -> Stamps:
    """Drops the inferences whose stamps did not all fit the buffer."""
    if stamps.taken == len(stamps.place):
        return stamps
    inference = _inference_of_all(stamps)
    count = int(inference[-1])  # the last one may be incomplete
    kept = inference < count
    return Stamps(
        stamps.place[kept],
        stamps.stamp_ns[kept],
        stamps.taken,
        stamps.start_ns[:count],
        stamps.duration_ns[:count],
    )


def spans_ns(stamps: Stamps) -> Int64Array:
    """int64[inferences], time from the first stamp of each to its last."""
    inference = _inference_of_all(stamps)
    numbers = np.arange(len(stamps.start_ns))
    first, last = (np.searchsorted(inference, numbers, side=side) for side in ("left", "right"))
    return np.asarray(stamps.stamp_ns[last - 1] - stamps.stamp_ns[first])


#: Number of stamps in an inference of the frame graph.
FRAME_STAMPS: Final = 4


def framed_spans_ns(frames: Stamps) -> Int64Array:
    """int64[inferences], time from the first stamp to the second in the frame graph.

    Raises:
        ValueError: the number of stamps differs from one per probe and inference.
    """
    if len(frames.stamp_ns) != FRAME_STAMPS * len(frames.start_ns):
        raise ValueError("the frame graph did not execute each of its probes once")
    return np.asarray(frames.stamp_ns[1::FRAME_STAMPS] - frames.stamp_ns[::FRAME_STAMPS])


#: Relative uncertainty of the cost measured by pairs (benchmarks/operator_truth.py).
PAIR_UNCERTAINTY: Final = 0.25


#: The least and the greatest factor between a probe's cost in place and inside a pair. Where the
#: graph outgrows the caches (6,000 and 12,000 nodes of 0.15 µs: 450 ns in place, 220 ns inside
#: a pair), the second probe of a pair still finds all that it needs in them: factors up to 2.4.
LEVELS: Final = (1 / 3, 3.0)


def cost_level(pair_ns: float, in_place_ns: float, scatter_ns: float) -> float:
    """Factor by which a probe's cost in place differs from that inside a pair.

    Args:
        pair_ns: mean cost measured by the pairs.
        in_place_ns: mean cost measured by ``in_place_cost``. It includes the noise of whole
            inferences, so it dominates for short models and has no influence for long ones.
        scatter_ns: its standard error; infinite if not known.

    Returns:
        The inverse-variance weighted mean of both, divided by pair_ns, clipped to LEVELS: values
        outside are noise, and show up as a residual of the accounts.
    """
    if pair_ns <= 0 or not np.isfinite(scatter_ns):
        return 1.0
    weight = (PAIR_UNCERTAINTY * pair_ns) ** 2
    share = weight / (weight + scatter_ns**2)
    level = share * in_place_ns / pair_ns + 1 - share
    return float(min(max(level, LEVELS[0]), LEVELS[1]))


def in_place_cost(each: Sequence[Stamps], frames: Sequence[Stamps]) -> tuple[float, float]:
    """What one probe adds to an inference: (mean in ns, its standard error).

    The sum of what is typical for each gap, less the span of the frame, over the probes that
    the frame lacks. Sums of medians, as the times of nodes are medians: an inference of many
    nodes that probes make several times as long waits for a CPU in each of its executions on a
    busy machine, but no gap does in most of them.

    Args:
        each: recordings of the graph with a probe at each place, one a round.
        frames: those of the frame graph, in the same rounds.

    Returns:
        The standard error is the jackknife's over the rounds (Efron & Tibshirani 1993, chapter
        11), infinite with fewer than two or without a probe that the frame lacks.
    """
    places = 1 + max(int(one.place.max(initial=0)) for one in each)
    gaps_ns = [_gaps_ns(one, places) for one in each]
    spans_ns = [framed_spans_ns(one) for one in frames]
    between = round(np.mean([len(one.place) / len(one.start_ns) for one in each])) - 2
    if between < 1:
        return 0.0, float("inf")

    def told(rounds: Sequence[int]) -> float:
        gaps = np.concatenate([gaps_ns[one] for one in rounds])
        spans = np.concatenate([spans_ns[one] for one in rounds])
        return float(np.median(gaps, axis=0).sum() - np.median(spans)) / between

    rounds = range(len(each))
    if len(rounds) < 2:
        return told(rounds), float("inf")
    without = [told([one for one in rounds if one != left]) for left in rounds]
    return told(rounds), float(np.std(without) * (len(rounds) - 1) ** 0.5)


def _gaps_ns(stamps: Stamps, places: int) -> npt.NDArray[np.float64]:
    """float64[inferences, places], time from the stamps of a place to the next ones; or 0."""
    inference = _inference_of_all(stamps)
    begin = np.flatnonzero(inference[1:] == inference[:-1])
    count = len(stamps.start_ns)
    cell = inference[begin] * places + stamps.place[begin]
    gap_ns = stamps.stamp_ns[begin + 1] - stamps.stamp_ns[begin]
    summed = np.bincount(cell, gap_ns, count * places)
    return summed.astype(np.float64, copy=False).reshape(count, places)


def calibration_events(stamps: Stamps, places: int, level: float, process: int) -> NodeEvents:
    """Cost of the probes at each place: the gaps inside the pairs of the calibration graph.

    Args:
        stamps: recorded with ProbedGraph.pairs.
        places: number of places, including ends of graphs.
        level: from ``cost_level``.
        process: ProcessRecord.index.

    Returns:
        One event per pair, with the place as its ``node``, the gap as its duration, and the
        gap times level as its self time.
    """
    pair, gap_ns = _pairs(stamps)
    node = stamps.place[pair + 1]
    if len(node) and int(node.max()) >= places:
        raise ValueError("a stamp has a place that the graph does not have")
    return _events(
        stamps,
        process,
        node,
        _inference_of(stamps, pair),
        stamps.stamp_ns[pair],
        gap_ns,
        np.rint(gap_ns * level).astype(np.int64),
        {},
        np.full(len(stamps.start_ns), -1, np.int64),
    )


def pair_cost_ns(stamps: Stamps) -> float:
    """Mean cost of a probe: the median gap at each pair's place, averaged over all pairs."""
    pair, gap_ns = _pairs(stamps)
    if not len(pair):
        return 0.0
    place = stamps.place[pair + 1]
    seen, medians = _medians(place, gap_ns)
    return float(np.mean(medians[np.searchsorted(seen, place)]))


def _pairs(stamps: Stamps) -> tuple[Int64Array, Int64Array]:
    """(position of the first stamp of each pair, gap to the second)."""
    first = np.flatnonzero(stamps.place[:-1] >= FIRST_OF_PAIR)
    pair = first[stamps.place[first] - FIRST_OF_PAIR == stamps.place[first + 1]]
    return pair, stamps.stamp_ns[pair + 1] - stamps.stamp_ns[pair]


def _medians(keys: Int32Array, values: Int64Array) -> tuple[Int32Array, npt.NDArray[np.float64]]:
    """(keys that occur, median of the values of each)."""
    order = np.argsort(keys, kind="stable")
    seen, begins = np.unique(keys[order], return_index=True)
    parts = np.split(values[order], begins[1:])
    return seen, np.array([np.median(part) for part in parts])


def costs(calibration: NodeEvents, places: int) -> Int64Array:
    """int64[places], median cost at each place; the overall median if a place has no pairs.

    Raises:
        ValueError: the calibration holds no pairs.
    """
    if not len(calibration):
        raise ValueError("the calibration graph recorded no pairs of stamps")
    cost_ns = np.full(places, round(float(np.median(calibration.self_ns))), np.int64)
    seen, medians = _medians(calibration.node, calibration.self_ns)
    cost_ns[seen] = np.rint(medians)
    return cost_ns


def split_events(stamps: Stamps, cost_ns: Int64Array, process: int) -> NodeEvents:
    """How long each stretch between two probes of a half takes: a check of the nodes' own times.

    Args:
        stamps: recorded with one of ProbedGraph.halves.
        cost_ns: of each place, as ``costs`` gives them.
        process: ProcessRecord.index.

    Returns:
        An event a gap, with the place that begins it as its ``node``, the gap as its duration,
        and as its own time what is left without the probe that ends it, at least 0.
    """
    inference = _inference_of_all(stamps)
    begin = np.flatnonzero(inference[1:] == inference[:-1])
    gap_ns = stamps.stamp_ns[begin + 1] - stamps.stamp_ns[begin]
    return _events(
        stamps,
        process,
        stamps.place[begin],
        inference[begin],
        stamps.stamp_ns[begin],
        gap_ns,
        np.maximum(gap_ns - cost_ns[stamps.place[begin + 1]], 0),
        {},
        np.full(len(stamps.start_ns), -1, np.int64),
    )


#: Standard deviation of what is believed, before gaps are looked at, of the part in which places
#: differ by their pairs: all of it.
_LOCAL_UNCERTAINTY: Final = 0.5

#: Gaps below which they say nothing of that.
_LEAST_GAPS: Final = 8


def in_place(cost_ns: Int64Array, each: Stamps) -> Int64Array:
    """int64[places], costs, with differences between places as far as gaps show them.

    A probe behind a node that empties the caches is dearer, and gaps that end with a dearer one
    are longer by that. Where a graph outgrows the caches, pairs differ by how their session lies
    in memory, too, and the one with single probes lies there in another way: of 3,000 equal
    nodes pairs told 250 ± 90 ns again and again (0.83 between halves of the inferences), and gaps
    knew nothing of it (correlation 0.02). So differences count by the slope of the gaps over
    them, which noise of larger nodes leaves open: it is weighed against 1 ± _LOCAL_UNCERTAINTY
    by the inverse of the variances.

    Args:
        cost_ns: of each place, as ``costs`` gives them.
        each: recordings of the graph with a probe at each place.
    """
    inferences = len(each.start_ns)
    count = len(each.place) // max(inferences, 1)
    same = count * inferences == len(each.place)
    if not same or count <= _LEAST_GAPS:
        return cost_ns
    place = each.place.reshape(inferences, count)
    if (place != place[0]).any():
        return cost_ns  # a loop ran more often in one: which gap is which differs
    gap_ns = np.median(np.diff(each.stamp_ns.reshape(inferences, count), axis=1), axis=0)
    ended_ns = cost_ns[place[0, 1:]].astype(np.float64)
    centre_ns = ended_ns.mean()
    away, longer = ended_ns - centre_ns, gap_ns - gap_ns.mean()
    squares = float(away @ away)
    if not squares:
        return cost_ns
    slope = float(away @ longer) / squares
    rest = longer - slope * away
    variance = max(float(rest @ rest) / (len(rest) - 2) / squares, 1e-12)
    prior = _LOCAL_UNCERTAINTY**-2
    share = min(max((prior + slope / variance) / (prior + 1 / variance), 0.0), 1.0)
    return np.asarray(np.rint(centre_ns + share * (cost_ns - centre_ns)), np.int64)


class OutsideNodes(NamedTuple):
    """Time that an inference spends outside the execution of its nodes, in ns.

    Attributes:
        fixed_ns: framework time that does not depend on the number of nodes.
        node_ns: per node of the main graph: setting up and tearing down its values.
    """

    fixed_ns: int
    node_ns: int


def frame(
    stamps: Stamps, frames: Stamps, cost_ns: int, graph: ProbedGraph, nodes: NodeTable
) -> OutsideNodes:
    """Time that ORT spends before the first node and after the last one.

    This includes setting up and tearing down the values of an inference, which grows with the
    number of nodes: the extra nodes of the frame graph show how much each adds. Where nodes run on
    a device, it has none: then all of that is framework time, measured in the frame graph alone,
    against the start and the end of Run, less two probes as the pair at its end tells them.

    Args:
        stamps: recorded with ProbedGraph.each.
        frames: recorded with ProbedGraph.frame.
        cost_ns: of one probe, which is also the cost outside the first and last stamps.
        graph: the probed graph.
        nodes: the executed graph.
    """
    outside_ns = float(np.median(stamps.duration_ns - spans_ns(stamps)))
    # The span of the extra nodes goes from the third stamp to the fourth.
    further_ns = frames.stamp_ns[3::FRAME_STAMPS] - frames.stamp_ns[2::FRAME_STAMPS]
    framed_ns = float(np.median(frames.duration_ns - framed_spans_ns(frames) - further_ns))
    if not graph.further_nodes:
        return OutsideNodes(round(max(framed_ns - 2 * float(np.median(further_ns)), 0.0)), 0)
    count = int(np.count_nonzero((nodes.depth == 0) & (nodes.order >= 0)))
    most_ns = max(outside_ns - cost_ns, 0.0) / max(count, 1)
    # Between the two spans of the frame graph, there is the cost of one more probe.
    node_ns = min(max(framed_ns - outside_ns - cost_ns, 0.0) / graph.further_nodes, most_ns)
    # Thousands of probes take the caches from what follows them: the frame knows what it takes.
    whole_ns = min(outside_ns - cost_ns, framed_ns - 2 * cost_ns - node_ns * graph.further_nodes)
    return OutsideNodes(round(max(whole_ns - node_ns * count, 0.0)), round(node_ns))


def _inference_of_all(stamps: Stamps) -> Int64Array:
    return _inference_of(stamps, np.arange(len(stamps.place)))


def node_events(
    stamps: Stamps,
    graph: ProbedGraph,
    nodes: NodeTable,
    cost_ns: Int64Array,
    frame: OutsideNodes,
    process: int,
) -> NodeEvents:
    """Node executions, from the stamps of the probed graph.

    A node's self time is the gap after its stamp minus the cost of the probe that ends the gap,
    which is capped at the gap, so that the time is never negative. What runs between the end of
    a body and the next stamp counts as self time of the control-flow node.

    Args:
        stamps: recorded with ProbedGraph.each.
        graph: the probed graph.
        nodes: the executed graph.
        cost_ns: of each place, from ``costs``.
        frame: what an inference spends outside its nodes; its node_ns is added to each node of
            the main graph.
        process: ProcessRecord.index.

    Returns:
        Events with the details ``probe_cost_ns``, subtracted for the probes in the gaps of that
        execution, and ``frame_ns``, added from the frame. What remains of an inference after
        its nodes and the framework is the cost of its probes.
    """
    place = stamps.place.astype(np.int64)
    inference = _inference_of_all(stamps)
    end_ns = (stamps.start_ns + stamps.duration_ns)[inference]
    count = len(nodes)
    last = np.append(inference[1:] != inference[:-1], True)
    next_ns = np.where(last, end_ns, np.append(stamps.stamp_ns[1:], 0))
    gap_ns = next_ns - stamps.stamp_ns
    # The gap up to the end of the inference holds no further probe.
    spent_ns = np.where(last, 0, np.append(cost_ns[place[1:]], 0))
    spent_ns = np.minimum(spent_ns, gap_ns)
    own_ns = gap_ns - spent_ns

    begins = np.flatnonzero(place < count)
    owner = np.full(len(place), -1, np.int64)  # position in begins
    owner[begins] = np.arange(len(begins))
    for end, parent in enumerate(graph.end_parents.tolist(), start=count):
        if parent >= 0:
            of_parent = begins[place[begins] == graph.carriers[parent]]
            ends = np.flatnonzero(place == end)
            nearest = np.searchsorted(of_parent, ends) - 1
            owner[ends] = np.searchsorted(begins, of_parent[nearest])
    owned = owner >= 0
    self_ns = np.bincount(owner[owned], own_ns[owned], len(begins)).astype(np.int64)
    probe_cost_ns = np.bincount(owner[owned], spent_ns[owned], len(begins)).astype(np.int64)
    total_ns = _total_ns(place, np.where(owned, own_ns, 0), begins, self_ns, nodes, graph)
    frame_ns = np.where(nodes.depth[place[begins]] == 0, frame.node_ns, 0)
    return _events(
        stamps,
        process,
        stamps.place[begins],
        inference[begins],
        stamps.stamp_ns[begins],
        total_ns + frame_ns,
        self_ns + frame_ns,
        {"probe_cost_ns": probe_cost_ns, "frame_ns": frame_ns},
        np.full(len(stamps.start_ns), frame.fixed_ns, np.int64),
    )


def _total_ns(
    place: Int64Array,
    own_ns: Int64Array,
    begins: Int64Array,
    self_ns: Int64Array,
    nodes: NodeTable,
    graph: ProbedGraph,
) -> Int64Array:
    """int64[begins]: sum of self times up to the next stamp outside the bodies of the node."""
    end_depths = [int(nodes.depth[p]) + 1 if p >= 0 else 0 for p in graph.end_parents.tolist()]
    depth = np.append(nodes.depth, np.array(end_depths, np.int64))[place]
    sums = np.append(0, np.cumsum(own_ns))
    total_ns = self_ns.copy()
    runs_bodies = np.isin(place[begins], graph.carriers[nodes.parent[nodes.parent >= 0]])
    for level in range(int(nodes.depth.max(initial=0))):
        mine = np.flatnonzero(runs_bodies & (depth[begins] == level))
        outside = np.append(np.flatnonzero(depth <= level), len(place))
        after = outside[np.searchsorted(outside, begins[mine], side="right")]
        total_ns[mine] = sums[after] - sums[begins[mine]]
    return total_ns


def _inference_of(stamps: Stamps, positions: Int64Array) -> Int64Array:
    found = np.searchsorted(stamps.start_ns, stamps.stamp_ns[positions], side="right") - 1
    return np.asarray(found, np.int64)


def _events(
    stamps: Stamps,
    process: int,
    node: Int32Array | Int64Array,
    inference: Int64Array,
    start_ns: Int64Array,
    duration_ns: Int64Array,
    self_ns: Int64Array,
    details: Mapping[str, Int64Array],
    framework_ns: Int64Array,
) -> NodeEvents:
    count = len(stamps.start_ns)
    return NodeEvents(
        source=SOURCE,
        node=node.astype(np.int32),
        process=np.full(len(node), process, np.int32),
        inference=inference.astype(np.int32),
        start_ns=start_ns,
        duration_ns=duration_ns,
        self_ns=self_ns,
        details=details,
        inference_process=np.full(count, process, np.int32),
        inference_number=np.arange(count, dtype=np.int32),
        inference_start_ns=stamps.start_ns,
        inference_duration_ns=stamps.duration_ns,
        inference_framework_ns=framework_ns,
        dropped=stamps.taken - len(stamps.place),
        resolution_ns=1,
    )
