"""What the records tell of their own columns."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RequestError
from harness.records import LatencySeries, NodeTable, columns_of, not_known
from harness.storage.profile_file import read_profile
from tests.builders import node_tables


def test_every_field_of_a_node_table_is_described() -> None:
    table = node_tables.table([-1, 0])
    columns = columns_of(NodeTable)
    assert [column.name for column in columns] == [one.name for one in dataclasses.fields(table)]
    for column in columns:
        values = getattr(table, column.name)
        # A unit tells numbers from texts.
        assert isinstance(values, np.ndarray if column.unit else tuple), column.name
        assert column.unknown in ((None, -1) if column.unit else (None, "")), column.name
        assert column.unknown is None or column.none is None, column.name


def test_a_node_of_which_no_trace_told_has_its_unknown_columns_empty() -> None:
    unknown = not_known(NodeTable, 2)
    assert unknown["order"].tolist() == [-1, -1]
    assert unknown["order"].dtype == np.int64
    assert unknown["provider"] == ("", "")
    # What the graph itself tells is always known, and -1 in parent is an answer.
    assert not unknown.keys() & {"name", "op_type", "depth", "parent", "carrier", "branch"}


def test_a_record_that_says_nothing_of_its_columns_has_none() -> None:
    assert columns_of(LatencySeries) == ()


def test_a_profile_tells_its_median_and_interval() -> None:
    sample = read_profile(Path(__file__).parents[2] / "profiles" / "sample.h5")
    medians = [np.median(process.steady.duration_ns) for process in sample.processes]
    assert sample.latency.median_ns == pytest.approx(np.exp(np.log(medians).mean()))
    assert sample.latency.interval_ns is not None
    low, high = sample.latency.interval_ns
    assert low < sample.latency.median_ns < high


def test_a_profile_without_a_timed_pass_has_no_latency() -> None:
    sample = read_profile(Path(__file__).parents[2] / "profiles" / "sample.h5")
    with pytest.raises(RequestError, match=r"sample\.h5: no process has finished a timed pass"):
        _ = dataclasses.replace(sample, processes=()).latency
