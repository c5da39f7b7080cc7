"""Own times against stretches without every second probe: by hand, and with planted errors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.analysis.operators.split import Split, split_of
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.records import NodeEvents, Profile
from tests.builders.divided import divided
from tests.builders.node_events import events
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile


def traced(of_node: list[tuple[int, int]], inferences: int = 6, frame_ns: int = 0) -> NodeEvents:
    """Inferences alike, of (row or place, own time)."""
    executions = [
        (node, number, 1000 * number, own_ns + frame_ns, own_ns + frame_ns)
        for number in range(inferences)
        for node, own_ns in of_node
    ]
    whole = [(number, 1000 * number, 900) for number in range(inferences)]
    return events(
        executions,
        whole,
        source="probe",
        details={"frame_ns": np.full(len(executions), frame_ns, np.int64)},
        inference_framework_ns=np.zeros(inferences, np.int64),
    )


def found(of: Profile) -> Split:
    split = split_of(of)
    assert split is not None
    return split


def test_own_times_of_a_stretch_are_added_up_with_those_of_bodies() -> None:
    # 0 and 1, a Loop of 2 and 3, of which 3 has no probe; 4, which has none; 5.
    nodes = table(
        [-1, -1, 1, 1, -1, -1],
        order=np.array([0, 1, 0, 1, 2, 3]),
        carrier=np.array([0, 1, 2, 2, 1, 5]),
    )
    own = traced([(0, 100), (1, 500), (2, 300), (2, 200), (5, 4000)], frame_ns=7)
    own = dataclasses.replace(
        own,
        details={"frame_ns": np.where(own.node == 2, 0, 7)},
        self_ns=np.where(own.node == 2, own.self_ns - 7, own.self_ns),
    )
    halves = traced([(0, 1000), (5, 4200)])
    built = dataclasses.replace(
        profile(process([5000])), nodes=nodes, traces={"probe": own, "probe_split": halves}
    )
    split = found(built)
    assert [(one.rows, one.told_ns, one.direct_ns) for one in split.stretches] == [
        ((0, 1, 2), 100 + 500 + 300 + 200, 1000),
        ((5,), 4000, 4200),
    ]
    assert split.nodes == 4
    assert split.miss == pytest.approx((1100 + 4000) / (1000 + 4200) - 1)
    # +10 % and -4.8 %: without noise both are more than that, and one is more than is trusted.
    assert [one.doubtful for one in split.stretches] == [True, False]
    assert (
        split.doubt(1, nodes) == "it and Op #0, Op #2 miss a direct measurement by +10% (+100 ns)"
    )
    assert (split.doubt(5, nodes), split.doubt(4, nodes)) == ("", ""), (
        "what says nothing marks none"
    )
    assert split.missed(4) is None


def test_nothing_is_said_without_stretches_or_with_few_inferences() -> None:
    nodes = table([-1, -1], carrier=np.arange(2))
    traces = {"probe": traced([(0, 10), (1, 10)])}
    built = dataclasses.replace(profile(process([50])), nodes=nodes, traces=traces)
    assert split_of(built) is None
    few = traces | {"probe_split": traced([(0, 900)], inferences=3)}
    assert split_of(dataclasses.replace(built, traces=few)) is None
    enough = traces | {"probe_split": traced([(0, 900)], inferences=4)}
    assert found(dataclasses.replace(built, traces=enough)).stretches[0].doubtful


@pytest.mark.parametrize(
    ("told_ns", "direct_ns", "doubtful"),
    [(2000, 2000, False), (2099, 2000, False), (2101, 2000, True), (1899, 2000, True),
     (260, 200, False), (261, 200, True), (10_400, 10_000, False), (10_501, 10_000, True)],
)  # fmt: skip
def test_a_miss_counts_above_5_percent_and_60_ns(
    told_ns: int, direct_ns: int, doubtful: bool
) -> None:
    nodes = table([-1, -1], carrier=np.arange(2))
    traces = {"probe": traced([(0, told_ns - 7), (1, 7)]), "probe_split": traced([(0, direct_ns)])}
    built = dataclasses.replace(profile(process([told_ns])), nodes=nodes, traces=traces)
    split = found(built)
    assert split.stretches[0].doubtful == doubtful
    accounts = operator_table(built)
    assert isinstance(accounts, OperatorTable)
    assert split.doubtful == doubtful
    for row in accounts.operators:
        assert bool(row.doubt) == doubtful
        assert row.split_miss == pytest.approx(told_ns / direct_ns - 1)
    (whole,) = operator_table(built, by="op").operators  # type: ignore[union-attr]
    assert bool(whole.doubt) == doubtful


def test_accounts_are_doubted_where_all_stretches_miss_together() -> None:
    nodes = table([-1] * 4, carrier=np.arange(4))
    own = traced([(0, 1000), (1, 1000), (2, 1000), (3, 1000)])
    for direct_ns, doubted in ((2000, False), (1800, True)):
        traces = {"probe": own, "probe_split": traced([(0, direct_ns), (2, direct_ns)])}
        built = dataclasses.replace(profile(process([4000])), nodes=nodes, traces=traces)
        told = operator_table(built)
        assert isinstance(told, OperatorTable)
        assert told.accounts.residual == 0
        assert told.accounts.split_miss == pytest.approx(2000 / direct_ns - 1)
        assert told.accounts.split_apart == 0
        assert told.accounts.split_nodes == 4
        assert ("direct measurements" in told.accounts.doubt) == doubted


def test_time_moved_to_the_next_node_is_found_and_noise_is_not() -> None:
    # benchmarks/split_rates.py has the rates of 300 each: none false, all found.
    random = np.random.default_rng(1)
    quiet = [found(divided(random)) for _ in range(40)]
    assert sum(any(one.doubtful for one in split.stretches) for split in quiet) <= 2
    assert not any(split.doubtful for split in quiet)
    assert max(split.apart for split in quiet) < 0.05
    moved = [found(divided(random, moved=0.2)) for _ in range(20)]
    for split in moved:
        around = {row for one in split.stretches if one.doubtful for row in one.rows}
        assert around & {20, 21}
        assert around <= {19, 20, 21, 22}
    # Of the sum of all nodes nothing is missing: only the split tells.
    assert not any(split.doubtful for split in moved)


def test_waits_of_half_of_the_inferences_make_no_doubt() -> None:
    nodes = table([-1, -1], carrier=np.arange(2))
    own, halves = traced([(0, 1000), (1, 1000)], 8), traced([(0, 2000)], 8)
    waited = np.where(halves.inference % 2 == 0, 16_000_000, 2000)
    halves = dataclasses.replace(halves, self_ns=waited)
    traces = {"probe": own, "probe_split": halves}
    built = dataclasses.replace(profile(process([2000])), nodes=nodes, traces=traces)
    assert not found(built).stretches[0].doubtful
