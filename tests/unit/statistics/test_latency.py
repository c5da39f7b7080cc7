from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from harness.statistics import latency
from harness.statistics.figures import Figure, percentile
from tests.builders.process_records import process, profile


def test_latency_takes_the_process_as_its_unit() -> None:
    # Medians 100, 110, 130; the second process has most of the samples.
    figures = latency.latency([process([90, 100, 500]), process([110] * 10), process([130, 130])])
    assert figures.median_ns == pytest.approx((100 * 110 * 130) ** (1 / 3))
    assert figures.mean_ns == pytest.approx((230 + 110 + 130) / 3)
    assert figures.min_ns == 90
    assert (figures.samples, figures.processes) == (15, 3)


def test_interval_is_students_on_the_logarithm_of_the_medians() -> None:
    medians = np.array([1000, 1105, 1221, 1350])
    figures = latency.latency([process([int(m)]) for m in medians])
    assert figures.interval_ns is not None
    low, high = figures.interval_ns
    logs = np.log(medians)
    half = stats.t.ppf(0.975, df=3) * stats.sem(logs)
    assert math.log(high) == pytest.approx(logs.mean() + half)
    assert math.log(low) == pytest.approx(logs.mean() - half)
    # t(3) = 3.182 from a printed table; logs a tenth apart, so sem = 0.1291 / 2.
    assert half == pytest.approx(3.182 * 0.1291 / 2, rel=0.01)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    trials = 2000
    hits = 0
    for medians in np.exp(random.normal(math.log(1e6), 0.05, (trials, 10))):
        interval = latency.latency([process([round(m)]) for m in medians]).interval_ns
        assert interval is not None
        hits += interval[0] < 1e6 < interval[1]
    # Three standard errors of a share of 0.95.
    assert hits / trials == pytest.approx(0.95, abs=0.015)


def test_one_process_gives_no_interval_and_none_no_latency() -> None:
    figures = latency.latency([process([5, 6, 7]), process([])])
    assert figures.processes == 1
    assert figures.interval_ns is None
    assert "one process" in figures.interval_reason
    with pytest.raises(ValueError, match="no process"):
        latency.latency([process([])])


@pytest.mark.parametrize(("percent", "needed"), [(50, 10), (90, 50), (99, 500)])
def test_percentile_is_refused_until_enough_samples_lie_beyond_it(
    percent: float, needed: int
) -> None:
    refused = percentile(np.arange(needed - 1), percent)
    assert refused.value is None
    assert refused.reason == f"p{percent:g} needs {needed} samples, {needed - 1} were taken"
    given = percentile(np.arange(needed), percent)
    assert given.value == pytest.approx((needed - 1) * percent / 100)


def test_cold_start_is_the_median_of_the_processes() -> None:
    found = latency.cold_start(
        [process([1], session_ns=n, first_inference_ns=10 * n) for n in (3, 5, 100)]
    )
    assert found["session_ns"] == Figure(5)
    assert found["first_inference_ns"] == Figure(50)
    assert found["provider_ns"].value is None
    assert found["provider_ns"].reason
    timed = [process([1], provider_ns=n) for n in (0, 4, 9)]
    assert latency.cold_start(timed)["provider_ns"] == Figure(4)
    assert latency.cold_start([])["session_ns"].value is None
    assert latency.cold_start([])["session_ns"].reason


@pytest.mark.parametrize(
    ("config", "spread", "complete", "ended"),
    [
        ({"processes": None, "quick": False, "precision": 0.01}, 0, True, "precision"),
        ({"processes": None, "quick": False, "precision": 0.01}, 40, True, "budget"),
        ({"processes": 3, "quick": False, "precision": 0.01}, 40, True, "request"),
        ({"processes": None, "quick": True, "precision": 0.01}, 40, True, "request"),
        ({"processes": None, "quick": False, "precision": 0.01}, 0, False, "interruption"),
        ({"precision": 0.01, "interleaved_with": "abc"}, 0, True, ""),
        ({}, 0, True, ""),
    ],
)
def test_what_ended_the_adding_of_processes(
    config: dict[str, object], spread: int, complete: bool, ended: str
) -> None:
    processes = [process([1000 + number * spread] * 9, number) for number in range(3)]
    measured = profile(*processes, config=json.dumps(config), complete=complete)
    assert latency.ended_by(measured) == ended


def test_summary_names_what_is_stored() -> None:
    found = latency.summary(profile(process([10] * 60), process([20] * 60, 1)))
    assert found["latency_median_ns"].value == pytest.approx(200**0.5)
    assert found["latency_p90_ns"].value == pytest.approx(200**0.5)
    assert found["latency_p99_ns"].value is None
    assert found["latency_p99_ns"].reason
    assert found["latency_samples"] == Figure(120)
    assert found["session_ns"] == Figure(2)
    one = latency.summary(profile(process([10])))
    assert one["latency_interval_low_ns"].value is None
    assert one["latency_interval_low_ns"].reason
    assert latency.summary(profile()) == {}
