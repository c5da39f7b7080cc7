"""When a profile stops adding processes."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pytest

from harness.measuring import stopping
from harness.storage import shards

GOLDEN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "make_profile_v1.py"))


def finish(folder: Path, index: int, median_ns: int) -> None:
    process = GOLDEN["process"](index)
    steady = dataclasses.replace(
        process.steady, duration_ns=np.full(len(process.steady), median_ns, np.int64)
    )
    process = dataclasses.replace(process, steady=steady)
    shards.write_shard(folder, shards.Shard(process, {}, None, ()))


def test_enough_is_an_interval_as_narrow_as_asked_for(tmp_path: Path) -> None:
    narrow, wide = (stopping.StopRule(precision, 1e6, tmp_path) for precision in (0.05, 0.0001))
    finish(tmp_path, 0, 1000)
    assert not narrow.is_met(), "one process has no interval"
    for index in range(1, 6):
        finish(tmp_path, index, 1000 + index)
    assert narrow.is_met()
    assert not wide.is_met()


def test_enough_is_a_budget_that_the_next_process_would_exceed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now_s[0])
    precision = stopping.StopRule(1e-9, 60, tmp_path)
    for index in range(4):
        finish(tmp_path, index, 1000 + 100 * index)
    now_s[0] = 47.0  # four took 47 s: the fifth would end at 58.75 s
    assert not precision.is_met()
    now_s[0] = 49.0
    assert precision.is_met()
