"""Rates, efficiency, spread and memory of callers side by side, from planted windows."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.instances import LEAST_INFERENCES, Together, together
from harness.analysis.throughput import Throughput, throughput, time_per_inference_ns
from harness.records import LatencySeries
from harness.statistics.figures import Figure
from tests.builders.process_records import process, profile
from tests.builders.side_by_side import instances


def found(*rows: dict[str, Any]) -> Together:
    table = together(profile(process([1]), instances=instances(*rows)))
    assert table is not None
    return table


def group(number: int, *rates: float, alone: float = 100.0) -> list[dict[str, Any]]:
    """A group whose instances have these rates, and the first of them alone that one."""
    rows = [
        {"process": number, "instance": one, "rate": rate, "cpus": str(one)}
        for one, rate in enumerate(rates)
    ]
    return [*rows, {"process": number, "alone": 1, "rate": alone}]


def test_one_session_with_one_caller_is_no_group() -> None:
    assert together(profile(process([1]))) is None


def test_efficiency_is_against_as_many_as_the_one_alone() -> None:
    told = found(*group(0, 80, 80), *group(1, 80, 80))
    assert told.instances == 2
    assert told.groups == 2
    assert told.efficiency.value == pytest.approx(0.8)
    assert told.alone_per_s.value == pytest.approx(100)
    assert told.efficiency_interval == pytest.approx((0.8, 0.8))


def test_efficiency_compares_within_a_group_whatever_the_machine_does_between_them() -> None:
    """The machine is twice as fast in the second group: the efficiency is the same in both."""
    told = found(*group(0, 60, 60, alone=80), *group(1, 120, 120, alone=160))
    assert told.efficiency_interval == pytest.approx((0.75, 0.75))


def test_one_instance_with_one_caller_has_no_efficiency() -> None:
    told = found({"rate": 100})
    assert told.efficiency == Figure(None, "there is one caller")


def test_a_slow_instance_stands_out() -> None:
    told = found(*group(0, 100, 60, 100), *group(1, 101, 61, 99), *group(2, 99, 59, 101))
    assert [one.number for one in told.slow] == [1]
    assert told.slow[0].of_others == pytest.approx(0.6, abs=0.01)
    assert told.spread == pytest.approx(100 / 60, rel=0.02)


def test_an_instance_that_is_slow_by_chance_does_not_stand_out() -> None:
    told = found(*group(0, 100, 60), *group(1, 60, 100), *group(2, 100, 98))
    assert told.slow == ()


def test_late_starts_are_told_and_mark_the_group() -> None:
    late = {"process": 1, "instance": 1, "start_ns": 1_002_000_000, "cpus": "1"}
    told = found(*group(0, 100, 100), {"process": 1}, late)
    assert told.skew_ns == 2_000_000
    assert told.marked == 1


def test_the_overlap_is_the_least_that_all_share() -> None:
    early = {"instance": 1, "cpus": "1", "rate": 100, "done_ns": 1_600_000_000}
    assert found({"rate": 100, "done_ns": 1_990_000_000}, early).overlap == pytest.approx(0.6)


def test_memory_is_summed_over_instances_once_for_all_their_callers() -> None:
    rows = [
        {"instance": one, "caller": 2 * one + caller, "pss_bytes": 1000, "local_bytes": 400}
        for one in (0, 1)
        for caller in (0, 1)
    ]
    told = found(*rows)
    assert told.callers == 2
    assert told.pss_bytes.value == 2000
    assert told.local_pages.value == 0.5


def test_what_the_kernel_does_not_tell_is_none_with_a_reason() -> None:
    told = found({"pss_bytes": -1, "local_bytes": -1, "pages_bytes": -1, "cpu_wait_ns": -1})
    for figure in (told.pss_bytes, told.local_pages, told.waiting):
        assert figure.value is None
        assert figure.reason


def test_callers_of_one_session_are_told_apart() -> None:
    told = found({"caller": 0, "rate": 30}, {"caller": 1, "rate": 60})
    assert told.instances == 1
    assert [one.number for one in told.each] == [0, 1]
    assert told.spread == pytest.approx(2)


def test_an_instance_with_too_few_inferences_has_no_throughput() -> None:
    few = {"rate": LEAST_INFERENCES - 1}
    told = throughput(profile(process([1]), instances=instances(few)))
    assert isinstance(told, Figure)
    assert f"{LEAST_INFERENCES - 1} inferences" in told.reason


def test_a_caller_without_an_inference_breaks_nothing() -> None:
    nothing = {"inferences": 0, "start_ns": -1, "done_ns": -1, "median_ns": -1, "instance": 1}
    told = found({}, nothing)
    assert told.overlap == 0
    assert told.efficiency.value is None
    assert math.isfinite(told.spread)


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    latency_ns=st.lists(st.integers(1_000, 1_000_000), min_size=6, max_size=6),
)
def test_the_rate_of_a_group_is_the_sum_of_its_callers(
    counts: list[int], latency_ns: list[int]
) -> None:
    """However many inferences each caller has and however long they take."""
    starts, durations, callers = [], [], []
    for caller, count in enumerate(counts):
        starts.append(np.arange(count) * latency_ns[caller] + caller)
        durations.append(np.full(count, latency_ns[caller]))
        callers.append(np.full(count, caller, np.int32))
    order = np.argsort(np.concatenate(starts), kind="stable")
    steady = LatencySeries(np.concatenate(starts)[order], np.concatenate(durations)[order])
    record = dataclasses.replace(
        process([1]), steady=steady, loops=len(steady), caller=np.concatenate(callers)[order]
    )
    rates = sum(1 / latency_ns[caller] for caller in range(len(counts)))
    assert time_per_inference_ns(record) == pytest.approx(1 / rates)
    told = throughput(profile(record))
    assert isinstance(told, Throughput)
    assert told.inferences_per_s == pytest.approx(1e9 * rates)
