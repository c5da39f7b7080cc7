"""What becomes of stamps: hand-made recordings of small graphs, with the times by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.records import NodeEvents
from harness.tracing.probes import times as arithmetic
from harness.tracing.probes.graphs import ProbedGraph
from harness.tracing.probes.times import OutsideNodes, Stamps
from tests.builders.node_tables import table

PAIR = 1 << 30
FURTHER = 32


def graph(carriers: list[int], end_parents: list[int]) -> ProbedGraph:
    file, ends = Path(), len(end_parents)
    return ProbedGraph(
        file, file, file, (file, file),
        np.array(end_parents), ("",) * ends, np.full(ends, -1), np.array(carriers), FURTHER,
    )  # fmt: skip


def recorded(
    *inferences: tuple[int, list[tuple[int, int]], int], taken: int | None = None
) -> Stamps:
    """Inferences of (start, [(place, stamp)], end)."""
    stamps = [stamp for _, ones, _ in inferences for stamp in ones]
    starts = np.array([start for start, *_ in inferences], np.int64)
    return Stamps(
        place=np.array([place for place, _ in stamps], np.int32),
        stamp_ns=np.array([stamp_ns for _, stamp_ns in stamps], np.int64),
        taken=len(stamps) if taken is None else taken,
        start_ns=starts,
        duration_ns=np.array([end for *_, end in inferences], np.int64) - starts,
    )


def rows(events: NodeEvents, *columns: str) -> list[tuple[int, ...]]:
    found = [
        events.details[name] if name in events.details else getattr(events, name)
        for name in columns
    ]
    return [tuple(map(int, row)) for row in zip(*found, strict=True)]


def assert_accounts_close(events: NodeEvents, stamps: Stamps) -> None:
    """From the first stamp of each inference to its last all time is in one place, once."""
    own_ns = events.self_ns + events.details["probe_cost_ns"] - events.details["frame_ns"]
    for number, span_ns in enumerate(arithmetic.spans_ns(stamps)):
        assert own_ns[events.inference == number].sum() == span_ns


def test_a_gap_less_the_cost_of_the_probe_that_ends_it_is_the_nodes_time() -> None:
    stamps = recorded(
        (1000, [(0, 1050), (1, 1350), (2, 1400), (3, 1900)], 1990),
        (2000, [(0, 2060), (1, 2160), (2, 2400), (3, 2450)], 2600),
    )
    costs_ns = np.array([900, 10, 20, 30])
    events = arithmetic.node_events(
        stamps,
        graph([0, 1, 2], [-1]),
        table([-1] * 3),
        costs_ns,
        OutsideNodes(70, 5),
        process=4,
    )
    assert rows(events, "node", "inference", "start_ns", "self_ns", "probe_cost_ns") == [
        (0, 0, 1050, 300 - 10 + 5, 10),
        (1, 0, 1350, 50 - 20 + 5, 20),
        (2, 0, 1400, 500 - 30 + 5, 30),
        (0, 1, 2060, 100 - 10 + 5, 10),
        (1, 1, 2160, 240 - 20 + 5, 20),
        (2, 1, 2400, 50 - 30 + 5, 30),
    ]
    assert (events.duration_ns == events.self_ns).all()
    assert (events.details["frame_ns"] == 5).all()
    assert rows(events, "inference_number", "inference_start_ns", "inference_duration_ns") == [
        (0, 1000, 990),
        (1, 2000, 600),
    ]
    assert events.inference_framework_ns.tolist() == [70, 70]
    assert set(events.process) == set(events.inference_process) == {4}
    assert (events.source, events.resolution_ns, events.dropped) == ("probe", 1, 0)
    assert_accounts_close(events, stamps)


def test_no_time_is_negative_however_dear_a_probe_is() -> None:
    stamps = recorded((0, [(0, 10), (1, 13), (2, 13), (3, 50)], 60))
    costs_ns = np.array([0, 30, 20, 25])
    events = arithmetic.node_events(
        stamps,
        graph([0, 1, 2], [-1]),
        table([-1] * 3),
        costs_ns,
        OutsideNodes(0, 0),
        process=0,
    )
    assert rows(events, "self_ns", "probe_cost_ns") == [(0, 3), (0, 0), (12, 25)]
    assert_accounts_close(events, stamps)


def test_bodies_and_what_runs_them() -> None:
    # 0; 1: a Loop of 2 and 3, which is an If of 4; 5. Ends: 6 of the If's branch, 7 of the
    # Loop's body, 8 of the main graph. Two iterations, the branch is taken in the second.
    nodes = table([-1, -1, 1, 1, 3, -1])
    stamps = recorded(
        (
            0,
            [
                (0, 100),  # 10 for itself
                (1, 110),  # the Loop: 20 up to its body
                (2, 130),  # 30
                (3, 160),  # the If: 40, no branch
                (7, 200),  # end of the body: 5 for the Loop
                (2, 205),  # 35
                (3, 240),  # the If: 6 up to its branch
                (4, 246),  # 54
                (6, 300),  # end of the branch: 7 for the If
                (7, 307),  # end of the body: 13 for the Loop
                (5, 320),  # 80
                (8, 400),
            ],
            450,
        )
    )
    probed = graph([0, 1, 2, 3, 4, 5], [3, 1, -1])
    events = arithmetic.node_events(
        stamps, probed, nodes, np.zeros(9, int), OutsideNodes(1, 2), process=0
    )
    assert rows(events, "node", "self_ns", "duration_ns", "frame_ns") == [
        (0, 10 + 2, 10 + 2, 2),
        (1, 20 + 5 + 13 + 2, 210 + 2, 2),
        (2, 30, 30, 0),
        (3, 40, 40, 0),
        (2, 35, 35, 0),
        (3, 6 + 7, 6 + 54 + 7, 0),
        (4, 54, 54, 0),
        (5, 80 + 2, 80 + 2, 2),
    ]
    assert_accounts_close(events, stamps)

    # Each probe costs 3: 12 of them, the first of which ends no gap.
    dear = arithmetic.node_events(
        stamps, probed, nodes, np.full(9, 3), OutsideNodes(0, 0), process=0
    )
    assert dear.details["probe_cost_ns"].tolist() == [3, 9, 3, 3, 3, 6, 3, 3]
    assert rows(dear, "node", "self_ns", "duration_ns")[1] == (1, 38 - 9, 210 - 9 * 3)
    assert_accounts_close(dear, stamps)


def test_a_loop_without_a_probe_counts_for_the_node_that_covers_it() -> None:
    # 0 covers 1, a Loop of 2 and 3, of which 2 has no probe either; 4.
    nodes = table([-1, -1, 1, 1, -1])
    stamps = recorded(
        (0, [(0, 10), (3, 30), (5, 70), (3, 75), (5, 95), (4, 100), (6, 200)], 210),
        (300, [(0, 310), (3, 320), (5, 330), (4, 340), (6, 350)], 360),
    )
    events = arithmetic.node_events(
        stamps,
        graph([0, 0, 0, 3, 4], [1, -1]),
        nodes,
        np.zeros(7, int),
        OutsideNodes(0, 0),
        process=0,
    )
    assert rows(events, "node", "inference", "self_ns", "duration_ns") == [
        (0, 0, 20 + 5 + 5, 90),
        (3, 0, 40, 40),
        (3, 0, 20, 20),
        (4, 0, 100, 100),
        (0, 1, 10 + 10, 30),
        (3, 1, 10, 10),
        (4, 1, 10, 10),
    ]
    assert_accounts_close(events, stamps)


def test_an_inference_cut_off_by_a_full_buffer_is_left_out_and_counted() -> None:
    inferences = [(n * 100, [(0, n * 100 + 10), (1, n * 100 + 30)], n * 100 + 50) for n in range(4)]
    cut = recorded(*inferences[:2], (200, [(0, 210)], 250), (300, [], 350), taken=8)
    kept = arithmetic.whole(cut)
    assert kept.place.tolist() == [0, 1, 0, 1]
    assert kept.start_ns.tolist() == [0, 100]
    assert kept.duration_ns.tolist() == [50, 50]
    events = arithmetic.node_events(
        kept,
        graph([0], [-1]),
        table([-1]),
        np.zeros(2, int),
        OutsideNodes(0, 0),
        process=0,
    )
    assert (len(events), len(events.inference_number), events.dropped) == (2, 2, 4)
    # Cut off between two inferences, nobody can tell that the last one is whole.
    assert arithmetic.whole(recorded(*inferences[:3], taken=8)).start_ns.tolist() == [0, 100]
    whole = recorded(*inferences)
    assert arithmetic.whole(whole) is whole


def test_recordings_of_several_rounds_are_one() -> None:
    parts = [
        recorded((0, [(0, 10), (1, 40)], 50), taken=5),
        recorded((100, [(0, 110), (1, 180)], 200)),
    ]
    both = arithmetic.concatenate(parts)
    assert both.taken == 7
    assert arithmetic.spans_ns(both).tolist() == [30, 70]


def test_pairs_tell_the_cost_of_the_probe_at_each_place() -> None:
    # Inside the pairs: 20, 30 and 40 at place 0; 5, 6 and 100 at place 1; place 2 has none.
    def inference(start: int, first: int, second: int) -> Any:
        pair_a = [(PAIR, start + 10), (0, start + 10 + first)]
        pair_b = [(PAIR + 1, start + 200), (1, start + 200 + second)]
        return start, [*pair_a, *pair_b], start + 400

    stamps = recorded(inference(0, 20, 5), inference(1000, 30, 6), inference(2000, 40, 100))
    events = arithmetic.calibration_events(stamps, places=3, level=1.5, process=1)
    assert rows(events, "node", "inference", "start_ns", "duration_ns", "self_ns") == [
        (0, 0, 10, 20, 30),
        (1, 0, 200, 5, 8),
        (0, 1, 1010, 30, 45),
        (1, 1, 1200, 6, 9),
        (0, 2, 2010, 40, 60),
        (1, 2, 2200, 100, 150),
    ]
    # Median at a place; that of all pairs where there are none.
    assert arithmetic.costs(events, places=3).tolist() == [45, 9, round((30 + 45) / 2)]
    assert arithmetic.pair_cost_ns(stamps) == (30 + 6) / 2
    assert (events.inference_framework_ns == -1).all()
    with pytest.raises(ValueError, match="does not have"):
        arithmetic.calibration_events(stamps, places=1, level=1, process=1)


def test_a_pair_that_something_came_between_tells_nothing() -> None:
    stamps = recorded((0, [(PAIR, 10), (PAIR + 1, 20), (1, 25), (0, 90)], 100))
    events = arithmetic.calibration_events(stamps, places=2, level=1, process=0)
    assert rows(events, "node", "duration_ns") == [(1, 5)]
    none = arithmetic.calibration_events(recorded((0, [(0, 5), (1, 9)], 10)), 2, 1, 0)
    with pytest.raises(ValueError, match="no pair"):
        arithmetic.costs(none, 2)
    assert arithmetic.pair_cost_ns(recorded((0, [(0, 5)], 10))) == 0


@pytest.mark.parametrize(
    ("in_place_ns", "scatter_ns", "expected"),
    [
        (50.0, np.inf, 1.0),  # one round does not know its own noise
        (80.0, 0.0, 0.8),  # without noise it decides
        (120.0, 0.0, 1.2),
        (240.0, 1.0, 2.4),  # the graph outgrows the caches
        (3e6, 4e6, 1.0),  # noise of whole inferences says nothing
        (0.0, 0.0, 1 / 3),
        (900.0, 0.0, 3.0),
        (60.0, 25.0, 0.8),  # pairs 100 ± 25, rounds 60 ± 25
    ],
)
def test_level_of_the_cost_weighs_by_the_inverse_of_the_variances(
    in_place_ns: float, scatter_ns: float, expected: float
) -> None:
    level = arithmetic.cost_level(100.0, in_place_ns, scatter_ns)
    assert level == pytest.approx(expected, abs=0.01)
    assert arithmetic.cost_level(0.0, in_place_ns, scatter_ns) == 1.0


def chained(*gaps_ns: list[int]) -> Stamps:
    """Inferences whose stamps are so far apart, at places 0, 1, 2 and so on."""
    inferences = []
    for number, gaps in enumerate(gaps_ns):
        start = number * 1_000_000
        stamps = [(0, start + 5)]
        for place, gap_ns in enumerate(gaps, start=1):
            stamps.append((place, stamps[-1][1] + gap_ns))
        inferences.append((start, stamps, stamps[-1][1] + 5))
    return recorded(*inferences)


def framed(span_ns: int, inferences: int) -> Stamps:
    return recorded(
        *(
            (start, [(0, start), (9, start + span_ns), (7, start + span_ns), (8, start + 900)], 999)
            for start in range(0, inferences * 10_000, 10_000)
        )
    )


def test_what_a_probe_costs_in_place_is_what_typical_gaps_have_more_than_the_frame() -> None:
    # Three nodes of 100, probes of 20, two of which the frame lacks; it has one itself.
    quiet = chained(*[[120, 120, 120]] * 4)
    cost, scatter = arithmetic.in_place_cost([quiet, quiet], [framed(320, 4)] * 2)
    assert (cost, scatter) == (20, 0)
    # An inference waits for a CPU at one of its nodes, each at another: no typical gap has it.
    waits = chained([9120, 120, 120], [120, 9120, 120], [120, 120, 9120], [120, 120, 120])
    cost, scatter = arithmetic.in_place_cost([waits, waits], [framed(320, 4)] * 2)
    assert (cost, scatter) == (20, 0)
    # Rounds that differ say how little is known; one round says nothing of it.
    slow = chained(*[[180, 180, 180]] * 4)
    assert arithmetic.in_place_cost([quiet, slow], [framed(320, 4)] * 2)[1] > 20
    assert arithmetic.in_place_cost([quiet], [framed(320, 4)]) == (20, np.inf)
    single = chained(*[[120]] * 4)
    assert arithmetic.in_place_cost([single] * 2, [framed(120, 4)] * 2) == (0, np.inf)


def test_places_differ_in_cost_as_far_as_gaps_show_it() -> None:
    random = np.random.default_rng(3)
    cost_ns = np.rint(60 + 20 * random.normal(size=401)).astype(int)
    own_ns = 100 + 5 * random.normal(size=(4, 400))

    def told(share: float, nodes_ns: Any = own_ns) -> float:
        """Slope of the costs in place over those of the pairs."""
        centre = cost_ns[1:].mean()
        gaps = np.rint(nodes_ns + centre + share * (cost_ns[1:] - centre)).astype(int)
        found = arithmetic.in_place(cost_ns, chained(*gaps.tolist()))
        assert found[1:].mean() == pytest.approx(centre, abs=0.5), "the level stays"
        return float(np.polyfit(cost_ns, found, 1)[0])

    assert told(1.0) == pytest.approx(1, abs=0.05)
    assert told(0.5) == pytest.approx(0.5, abs=0.05)
    assert told(0.0) == pytest.approx(0, abs=0.05)
    assert told(-1.0) == pytest.approx(0, abs=1e-9)
    assert told(0.0, 1000 * own_ns) == pytest.approx(1, abs=0.3), "noise of nodes decides nothing"
    few = chained([100] * 5)
    assert arithmetic.in_place(cost_ns, few) is cost_ns
    uneven = chained([100] * 9, [100] * 11)
    assert arithmetic.in_place(cost_ns, uneven) is cost_ns


def test_a_stretch_is_the_gap_less_the_probe_that_ends_it() -> None:
    stamps = recorded(
        (1000, [(0, 1050), (2, 1350), (4, 1400)], 1500),
        (2000, [(0, 2060), (2, 2160), (4, 2170)], 2300),
    )
    events = arithmetic.split_events(stamps, np.array([900, 900, 10, 900, 20]), process=3)
    assert rows(events, "node", "inference", "start_ns", "duration_ns", "self_ns") == [
        (0, 0, 1050, 300, 290),
        (2, 0, 1350, 50, 30),
        (0, 1, 2060, 100, 90),
        (2, 1, 2160, 10, 0),
    ]
    assert set(events.process) == {3}


def outside(first_ns: int, last_ns: int, count: int) -> Stamps:
    """Three inferences with so much before the first stamp and after the last."""
    return recorded(
        *(
            (
                start,
                [(0, start + first_ns + 10 * number) for number in range(count)],
                start + first_ns + 10 * (count - 1) + last_ns,
            )
            for start in (0, 10_000, 20_000)
        )
    )


def test_frame_is_what_lies_outside_of_the_first_and_the_last_stamp() -> None:
    # 8 ns a node and 100 besides, and a probe of 50, of which a part lies before the first
    # stamp and one after the last; between the two spans of the frame lies another.
    nodes = table([-1, -1])
    probed = graph([0, 1], [-1])
    each = outside(90, 50 + 8 * 2 + 10, 3)
    further = 8 * FURTHER
    frames = outside(90, 50 + 8 * 2 + further + 10 + 50 - 10, 4)
    assert arithmetic.framed_spans_ns(frames).tolist() == [10] * 3
    assert arithmetic.frame(each, frames, 50, probed, nodes) == OutsideNodes(100, 8)
    # Where the further nodes tell more than there is, all of it is the nodes'.
    assert arithmetic.frame(each, outside(90, 9999, 4), 50, probed, nodes) == OutsideNodes(0, 58)
    # And where they lengthen nothing, or a probe costs more than there is, none: then the frame
    # tells what there is, as its probes take no caches. It has two of them outside.
    assert arithmetic.frame(each, each_as_frame(each), 50, probed, nodes) == OutsideNodes(66, 0)
    cold = outside(90, 9999, 3)
    assert arithmetic.frame(cold, frames, 50, probed, nodes) == OutsideNodes(116 + further, 0)
    assert arithmetic.frame(each, frames, 5000, probed, nodes) == OutsideNodes(0, 0)
    with pytest.raises(ValueError, match="each of its probes once"):
        arithmetic.framed_spans_ns(each)


def test_without_further_nodes_the_framework_is_the_call_less_its_span_and_the_pair() -> None:
    # 40 ns up to the first stamp, 1000 of nodes, 70 to the pair, of 60, and 25 up to the return:
    # two probes lie outside of both, and what those of the other graphs cost does not matter.
    nodes = table([-1, -1])
    probed = dataclasses.replace(graph([0, 1], [-1]), further_nodes=0)
    frames = recorded(
        *(
            (start, [(place, start + at) for place, at in enumerate((40, 1040, 1110, 1170))],
             start + 1195)
            for start in (0, 10_000, 20_000)
        )
    )  # fmt: skip
    each = outside(90, 9999, 3)
    assert arithmetic.frame(each, frames, 50, probed, nodes) == OutsideNodes(135 - 120, 0)
    assert arithmetic.frame(each, frames, 5000, probed, nodes) == OutsideNodes(135 - 120, 0)


def each_as_frame(each: Stamps) -> Stamps:
    return outside(90, int(each.duration_ns[0]) - 90 - 30, 4)
