"""What becomes of stamps: hand-made recordings of small graphs, with the times by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import probes
from harness.probes import Frame, ProbedGraph, Stamps
from harness.records import NodeEvents, NodeTable

PAIR = 1 << 30


def table(parents: list[int], **columns: Any) -> NodeTable:
    """Nodes, each in a body of its parent, executed in the order of their rows."""
    count = len(parents)
    blank = {
        field.name: ("",) * count if "tuple" in str(field.type) else np.full(count, -1, np.int64)
        for field in dataclasses.fields(NodeTable)
    }
    depth: list[int] = []
    for parent in parents:
        depth.append(depth[parent] + 1 if parent >= 0 else 0)
    known = {
        "parent": np.array(parents),
        "depth": np.array(depth),
        "order": np.arange(count),
        "op_type": ("Op",) * count,
    }
    return NodeTable(**{**blank, **known, **columns})


def graph(carriers: list[int], end_parents: list[int]) -> ProbedGraph:
    none = Path()
    return ProbedGraph(none, none, none, np.array(end_parents), np.array(carriers))


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
    for number, span_ns in enumerate(probes.spans_ns(stamps)):
        assert own_ns[events.inference == number].sum() == span_ns


def test_a_gap_less_the_cost_of_the_probe_that_ends_it_is_the_nodes_time() -> None:
    stamps = recorded(
        (1000, [(0, 1050), (1, 1350), (2, 1400), (3, 1900)], 1990),
        (2000, [(0, 2060), (1, 2160), (2, 2400), (3, 2450)], 2600),
    )
    costs_ns = np.array([900, 10, 20, 30])
    events = probes.node_events(
        stamps,
        graph([0, 1, 2], [-1]),
        table([-1] * 3),
        costs_ns,
        np.zeros(len(costs_ns), int),
        Frame(70, 5),
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
    events = probes.node_events(
        stamps,
        graph([0, 1, 2], [-1]),
        table([-1] * 3),
        costs_ns,
        np.zeros(len(costs_ns), int),
        Frame(0, 0),
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
    events = probes.node_events(
        stamps, probed, nodes, np.zeros(9, int), np.zeros(9, int), Frame(1, 2), process=0
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
    dear = probes.node_events(
        stamps, probed, nodes, np.full(9, 3), np.zeros(9, int), Frame(0, 0), process=0
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
    events = probes.node_events(
        stamps,
        graph([0, 0, 0, 3, 4], [1, -1]),
        nodes,
        np.zeros(7, int),
        np.zeros(7, int),
        Frame(0, 0),
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
    kept = probes.whole(cut)
    assert kept.place.tolist() == [0, 1, 0, 1]
    assert kept.start_ns.tolist() == [0, 100]
    assert kept.duration_ns.tolist() == [50, 50]
    events = probes.node_events(
        kept,
        graph([0], [-1]),
        table([-1]),
        np.zeros(2, int),
        np.zeros(2, int),
        Frame(0, 0),
        process=0,
    )
    assert (len(events), len(events.inference_number), events.dropped) == (2, 2, 4)
    # Cut off between two inferences, nobody can tell that the last one is whole.
    assert probes.whole(recorded(*inferences[:3], taken=8)).start_ns.tolist() == [0, 100]
    whole = recorded(*inferences)
    assert probes.whole(whole) is whole


def test_recordings_of_several_rounds_are_one() -> None:
    parts = [
        recorded((0, [(0, 10), (1, 40)], 50), taken=5),
        recorded((100, [(0, 110), (1, 180)], 200)),
    ]
    both = probes.concatenate(parts)
    assert both.taken == 7
    assert probes.spans_ns(both).tolist() == [30, 70]


def test_pairs_tell_the_cost_of_the_probe_at_each_place() -> None:
    # Inside the pairs: 20, 30 and 40 at place 0; 5, 6 and 100 at place 1; place 2 has none.
    def inference(start: int, first: int, second: int) -> Any:
        pair_a = [(PAIR, start + 10), (0, start + 10 + first)]
        pair_b = [(PAIR + 1, start + 200), (1, start + 200 + second)]
        return start, [*pair_a, *pair_b], start + 400

    stamps = recorded(inference(0, 20, 5), inference(1000, 30, 6), inference(2000, 40, 100))
    events = probes.calibration_events(stamps, places=3, level=1.5, process=1)
    assert rows(events, "node", "inference", "start_ns", "duration_ns", "self_ns") == [
        (0, 0, 10, 20, 30),
        (1, 0, 200, 5, 8),
        (0, 1, 1010, 30, 45),
        (1, 1, 1200, 6, 9),
        (0, 2, 2010, 40, 60),
        (1, 2, 2200, 100, 150),
    ]
    # Median at a place; that of all pairs where there are none.
    assert probes.costs(events, places=3).tolist() == [45, 9, round((30 + 45) / 2)]
    assert probes.pair_cost_ns(stamps) == (30 + 6) / 2
    assert (events.inference_framework_ns == -1).all()
    with pytest.raises(ValueError, match="does not have"):
        probes.calibration_events(stamps, places=1, level=1, process=1)


def test_a_pair_that_something_came_between_tells_nothing() -> None:
    stamps = recorded((0, [(PAIR, 10), (PAIR + 1, 20), (1, 25), (0, 90)], 100))
    events = probes.calibration_events(stamps, places=2, level=1, process=0)
    assert rows(events, "node", "duration_ns") == [(1, 5)]
    none = probes.calibration_events(recorded((0, [(0, 5), (1, 9)], 10)), 2, 1, 0)
    with pytest.raises(ValueError, match="no pair"):
        probes.costs(none, 2)
    assert probes.pair_cost_ns(recorded((0, [(0, 5)], 10))) == 0


@pytest.mark.parametrize(
    ("differences_ns", "expected"),
    [
        ([], 1.0),
        ([50.0], 1.0),  # one round does not know its own noise
        ([80.0, 80.0, 80.0], 0.8),  # without noise it decides
        ([120.0] * 4, 1.2),
        ([-9e6, 9e6, 3e6, -3e6], 1.0),  # noise of whole inferences says nothing
        ([0.0, 0.0, 0.0], 0.5),
        ([900.0, 900.0], 2.0),
    ],
)
def test_level_of_the_cost_follows_the_rounds_where_they_agree(
    differences_ns: list[float], expected: float
) -> None:
    assert probes.cost_level(100.0, differences_ns) == pytest.approx(expected, abs=1e-6)


def test_level_of_the_cost_weighs_by_the_inverse_of_the_variances() -> None:
    # Pairs: 100 ± 25. Rounds: 60 with a standard deviation of 50, 4 of them: 60 ± 25.
    differences_ns = [60 + 50 * one for one in np.array([-1.5, -0.5, 0.5, 1.5]) * (3 / 5) ** 0.5]
    assert np.std(differences_ns, ddof=1) == pytest.approx(50)
    assert probes.cost_level(100.0, differences_ns) == pytest.approx(0.8)
    assert probes.cost_level(0.0, differences_ns) == 1.0


def outside(first_ns: int, last_ns: int, stamps: int) -> Stamps:
    """Three inferences with so much before the first stamp and after the last."""
    return recorded(
        *(
            (
                start,
                [(0, start + first_ns + 10 * number) for number in range(stamps)],
                start + first_ns + 10 * (stamps - 1) + last_ns,
            )
            for start in (0, 10_000, 20_000)
        )
    )


def test_frame_is_what_lies_outside_of_the_first_and_the_last_stamp() -> None:
    # Two nodes: three probes, six in pairs, two in the frame. 8 ns a node and 100 besides,
    # and a probe of 50, of which a part lies before the first stamp and one after the last.
    nodes = table([-1, -1])
    probed = graph([0, 1], [-1])
    each, pairs = outside(90, 50 + 8 * 5 + 10, 3), outside(90, 50 + 8 * 8 + 10, 6)
    undisturbed = outside(90, 50 + 8 * 4 + 10, 2)
    assert probes.frame(each, pairs, undisturbed, 50, probed, nodes) == Frame(100, 8)
    # Where the probes' share of it exceeds all there is, all of it is the nodes'.
    fixed_ns, node_ns = probes.frame(each, outside(90, 999, 6), undisturbed, 50, probed, nodes)
    assert (fixed_ns, node_ns) == (0, 33)
    # And where pairs lengthen nothing, or a probe costs more than there is, none.
    assert probes.frame(each, each, undisturbed, 50, probed, nodes) == Frame(132, 0)
    assert probes.frame(each, pairs, undisturbed, 5000, probed, nodes) == Frame(0, 0)


def test_same_order_compares_each_graph_by_itself() -> None:
    nodes = table([-1, -1, 1, 1, 1], branch=("", "", "then_branch", "then_branch", "else_branch"))
    nodes = dataclasses.replace(nodes, order=np.array([0, 1, 0, 1, -1]))

    def seen(*order: int, added: str = "Probe_7") -> NodeTable:
        # Probes between the nodes count too, and follow in the table.
        kinds = ("Op",) * 5 + ("Probe_1", added)
        return table([-1] * 7, order=np.array([*order, 0, 1]), op_type=kinds)

    assert probes.same_order(nodes, seen(0, 1, 0, 1, -1)) == ""
    assert probes.same_order(nodes, seen(1, 3, 1, 4, -1)) == ""
    swapped = probes.same_order(nodes, seen(0, 1, 5, 4, -1))
    assert swapped == "2 nodes run in another order, from Op 2 on"
    assert "one graph only, such as Op 4" in probes.same_order(nodes, seen(0, 1, 0, 1, 0))
    assert probes.same_order(nodes, seen(0, 1, 0, 1, -1, added="Cast")) == (
        "1 further nodes run, such as Cast"
    )
    assert "one graph only, such as Op 0" in probes.same_order(nodes, seen(-1, 1, 0, 1, -1))


ONE = np.array([1.0, np.nan, 0.0], np.float32)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ONE, ONE.copy(), True),
        (ONE, ONE[::-1], False),
        (ONE, np.array([1.0, np.nan, -0.0], np.float32), False),
        (ONE, ONE.astype(np.float64), False),
        (ONE, ONE.reshape(3, 1), False),
        (ONE, ONE.tolist(), False),
        (np.asfortranarray(np.eye(3)), np.eye(3), True),
        (np.array(["a", "é"], object), np.array(["a", "é"], object), True),
        (np.array(["a", "b"], object), np.array(["a", "c"], object), False),
        ([ONE, ONE], [ONE, ONE.copy()], True),
        ([ONE, ONE], [ONE], False),
        ([ONE, [ONE]], [ONE, [ONE + 1]], False),
        ([], [], True),
        ({1: 0.5, 2: float("nan")}, {1: 0.5, 2: float("nan")}, True),
        ({1: 0.5}, {1: 0.25}, False),
        ([{"a": 0.5}], [{"a": 0.5, "b": 0.5}], False),
        ({"a": 0.5}, [ONE], False),
        (None, None, True),
        (None, ONE, False),
        (ONE, None, False),
        ([ONE], None, False),
    ],
)
def test_same_values_means_bit_for_bit(one: Any, other: Any, same: bool) -> None:
    assert probes.same_values(one, other) is same


def test_what_probes_add_around_a_body_is_taken_from_what_runs_it() -> None:
    # 0: a Loop of 1. Ends: 2 of its body, 3 of the main graph; each inference has two
    # iterations, between which the gap is 30 with one probe at each place, 37 with pairs.
    nodes = table([-1, 0])
    probed = graph([0, 1], [0, -1])
    single = recorded((0, [(0, 10), (1, 20), (2, 40), (1, 70), (2, 90), (3, 120)], 130))
    first = 1 << 30
    pairs = recorded(
        (
            0,
            [
                *[(first, 5), (0, 10), (first + 1, 15), (1, 20), (first + 2, 35), (2, 40)],
                *[(first + 1, 77), (1, 80), (first + 2, 85), (2, 90), (first + 3, 127), (3, 130)],
            ],
            140,
        )
    )
    growth_ns = probes.body_growth_ns(single, pairs, probed, nodes)
    assert growth_ns.tolist() == [0, 0, 7, 0]
    events = probes.node_events(
        single, probed, nodes, np.zeros(4, int), growth_ns, Frame(0, 0), process=0
    )
    # The Loop: 10 before its body, and twice what follows its end, less the growth.
    assert rows(events, "node", "self_ns") == [(0, 10 + 2 * (30 - 7)), (1, 20), (1, 20)]
    assert events.details["probe_cost_ns"].tolist() == [14, 0, 0]
