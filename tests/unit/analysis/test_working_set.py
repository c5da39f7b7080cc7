"""Which level can serve a node's data, by what an inference touches."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from harness.analysis.ceilings import Level
from harness.analysis.working_set import WorkingSet
from harness.records import NodeTable
from tests.builders.node_tables import table

KB, MB = 1_000, 1_000_000
LEVELS = (
    Level("L1", 40 * KB, shared=True, bandwidth=1e12),
    Level("L2", MB, shared=True, bandwidth=4e11),
    Level("L3", 30 * MB, shared=True, bandwidth=2e11),
    Level("DRAM", math.inf, shared=True, bandwidth=1e11),
)
NAMES = [level.name for level in LEVELS]


def nodes(*told: tuple[int, int, int]) -> NodeTable:
    """Nodes of (constants, what comes from other nodes, what goes out) bytes."""
    constants, given, out = np.array(told).T
    return table(
        [-1] * len(told),
        traffic_bytes=constants + given + out,
        activation_bytes=given,
        output_bytes=out,
        parameter_bytes=constants,
    )


def levels_of(found: WorkingSet, row: int, count: float = 1) -> tuple[dict[str, float], ...]:
    """What serves a row, as near and as far as can be: bytes by level."""
    served = found.served({row: count})
    return tuple(
        {NAMES[at]: one for at, one in enumerate(side) if one} for side in (served.near, served.far)
    )


def of(graph: NodeTable, calls: list[float] | None = None) -> WorkingSet:
    return WorkingSet.of(graph, np.array(calls or [1.0] * len(graph)), LEVELS)


def test_a_small_model_lives_in_the_first_level() -> None:
    found = of(nodes((10 * KB, KB, KB), (4 * KB, KB, KB)))
    assert (found.least_bytes, found.most_bytes) == (16 * KB, 18 * KB)
    assert levels_of(found, 0) == ({"L1": 12 * KB}, {"L1": 12 * KB})


def test_weights_were_last_touched_an_inference_ago() -> None:
    """However small a node's weights are: all the others came in between."""
    graph = nodes((20 * KB, KB, KB), *[(10 * MB, KB, KB)] * 10)
    near, far = levels_of(of(graph), 0)
    # The two activations may have been touched just before, or long ago.
    assert near == {"L1": 2 * KB, "DRAM": 20 * KB}
    assert far == {"DRAM": 22 * KB}


def test_activations_come_from_no_nearer_than_their_size_allows() -> None:
    graph = nodes((0, 3 * MB, 3 * MB), *[(10 * MB, KB, KB)] * 10)
    near, far = levels_of(of(graph), 0)
    assert near == {"L3": 6 * MB}
    assert far == {"DRAM": 6 * MB}


def test_a_working_set_around_the_size_of_a_cache_may_be_in_it_or_not() -> None:
    # 20 MB: more than half of L3, less than twice.
    near, far = levels_of(of(nodes((20 * MB, KB, KB))), 0)
    assert "L3" in near
    assert far == {"DRAM": 20 * MB + 2 * KB}
    # 70 MB: more than twice.
    near, _ = levels_of(of(nodes((70 * MB, KB, KB))), 0)
    assert near == {"L1": 2 * KB, "DRAM": 70 * MB}


def test_what_several_threads_share_is_in_the_cache_of_any_of_them() -> None:
    own = tuple(dataclasses.replace(level, shared=level.name in ("L3", "DRAM")) for level in LEVELS)
    found = WorkingSet.of(nodes((10 * KB, KB, KB)), np.ones(1), own)
    served = found.served({0: 1})
    assert served.near.tolist() == [12 * KB, 0, 0, 0]
    assert served.far.tolist() == [0, 0, 12 * KB, 0], "another core's, through the shared cache"


def test_a_node_in_a_loop_meets_its_weights_again() -> None:
    graph = nodes((90 * KB, KB, KB), (70 * MB, KB, KB))
    near, _ = levels_of(of(graph, [8, 1]), 0, 8)
    assert near == {"L1": 8 * 2 * KB, "L2": 8 * 90 * KB}
    near, _ = levels_of(of(graph, [1, 1]), 0)
    assert near == {"L1": 2 * KB, "DRAM": 90 * KB}


def test_repacked_weights_that_ort_no_longer_reports_are_constants() -> None:
    graph = dataclasses.replace(nodes((70 * MB, KB, KB)), parameter_bytes=np.array([0]))
    assert levels_of(of(graph), 0)[0] == {"L1": 2 * KB, "DRAM": 70 * MB}


def test_only_nodes_that_ran_are_touched() -> None:
    graph = nodes((10 * KB, KB, KB), (50 * MB, KB, KB))
    assert of(graph, [1, 0]).most_bytes == 12 * KB


def test_nodes_of_unknown_traffic_leave_the_working_set_open() -> None:
    graph = nodes((10 * KB, KB, KB), (20 * KB, KB, KB))
    unknown = dataclasses.replace(graph, traffic_bytes=np.array([12 * KB, -1]))
    assert of(unknown).most_bytes == 34 * KB, "what ORT says that it was given and gave"
    columns = {name: np.array([1, -1]) for name in
               ("activation_bytes", "output_bytes", "parameter_bytes")}  # fmt: skip
    unseen = dataclasses.replace(unknown, **columns)
    assert math.isinf(of(unseen).most_bytes)
    near, far = levels_of(of(unseen), 0)
    assert set(near) == {"L1"}
    assert set(far) == {"DRAM"}


def test_traffic_of_several_nodes_adds_up() -> None:
    found = of(nodes((10 * KB, KB, KB), (4 * KB, KB, KB)))
    both = found.served({0: 1, 1: 3})
    assert both.near.sum() == both.far.sum() == pytest.approx(12 * KB + 3 * 6 * KB)
