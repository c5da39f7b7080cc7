"""How long the cells of a sweep still take: by the request, then by what was measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.config.profile import ProfileConfig
from harness.measuring.plan import Plan
from harness.measuring.rounds import Progress
from harness.study.sweeps.estimates import STORING_S, Pace, left_s, of_request

PLAN = Plan(
    processes=5, warmup_chunks=1, steady_chunks=3, chunk_inferences=100, latency_ns=1_000_000,
    traced=frozenset({0, 2}), profiled=frozenset(), trace_inferences=0, probe_inferences=10,
    untimed_s=0.5, probed_s=2.0, profiled_s=0.0, assumed_s=0.0, budget_s=None,
)  # fmt: skip
REQUEST = ProfileConfig("m", processes=5)


def test_what_has_begun_takes_what_is_planned_and_not_what_is_asked_for() -> None:
    begun = Progress(frozenset({0}), PLAN)
    missing_s = 4 * (0.5 + 4 * 0.1) + 2.0  # four processes, the third of which is traced
    assert left_s([(REQUEST, begun, Pace())]) == pytest.approx(missing_s + STORING_S)
    both = left_s([(REQUEST, begun, Pace()), (REQUEST, None, Pace())])
    assert both == pytest.approx(missing_s + STORING_S + of_request(REQUEST))


def test_after_a_round_the_rest_is_known_to_within_a_quarter() -> None:
    """Cells of any speed, of which each takes other times than planned, and scatters by a tenth."""
    random = np.random.default_rng(4)
    for _ in range(20):
        works, truth_s = [], 0.0
        for _ in range(12):
            plan = dataclasses.replace(PLAN, latency_ns=int(10 ** random.uniform(4, 7)))
            really = random.uniform(0.5, 2.0) * random.lognormal(0, 0.1, plan.processes)
            taken = [plan.expected_of(range(k, k + 1)) * really[k] for k in range(plan.processes)]
            pace = Pace()
            pace.measured(plan, frozenset(), frozenset({0}), taken[0])
            truth_s += sum(taken[1:]) + STORING_S
            works.append((REQUEST, Progress(frozenset({0}), plan), pace))
        assert left_s(works) == pytest.approx(truth_s, rel=0.25)


def test_cells_of_which_none_was_measured_in_this_command_take_what_is_typical() -> None:
    pace = Pace()
    pace.measured(PLAN, frozenset(), frozenset({0}), 3 * PLAN.expected_of(range(1)))
    begun = Progress(frozenset({0}), PLAN)
    alone = left_s([(REQUEST, begun, pace)])
    assert left_s([(REQUEST, begun, pace), (REQUEST, begun, Pace())]) == pytest.approx(2 * alone)
