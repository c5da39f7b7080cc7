"""Throughput: inferences and items a second, and what is not told."""

from __future__ import annotations

import pytest

from harness.analysis.throughput import Throughput, throughput
from harness.records import ITEMS, Profile, Reading
from harness.statistics.figures import Figure
from tests.builders.process_records import process, profile


def batched(items: int | None) -> Profile:
    told = () if items is None else (Reading(ITEMS, items, "1", "'batch': batch"),)
    processes = [process([1_000_000] * 50, 0), process([4_000_000] * 50, 1)]
    return profile(*processes, environment=told)


def test_items_are_inferences_times_the_batch() -> None:
    found = throughput(batched(8))
    assert isinstance(found, Throughput)
    assert found.inferences_per_s == pytest.approx(500), "geometric mean of 1000 and 250"
    assert found.items_per_s == pytest.approx(4000)
    assert found.items_per_inference == 8
    assert found.interval_items_per_s is not None
    low, high = found.interval_items_per_s
    assert low < 4000 < high


def test_a_file_that_does_not_tell_the_batch_counts_inferences_and_says_so() -> None:
    found = throughput(batched(None))
    assert isinstance(found, Throughput)
    assert found.items_per_inference == 1
    assert found.items_per_s == found.inferences_per_s
    assert "not recorded" in found.items_reason


def test_one_process_has_no_interval_and_none_no_throughput() -> None:
    found = throughput(profile(process([1000] * 50)))
    assert isinstance(found, Throughput)
    assert found.interval_items_per_s is None
    assert isinstance(throughput(profile()), Figure)
