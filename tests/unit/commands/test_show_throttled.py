"""``show --exclude-throttled`` of callers side by side: no samples of a window can be left out."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from harness.analysis import noise
from harness.commands import show
from harness.errors import RequestError
from harness.records import LatencySeries
from harness.storage.profile_file import write_profile
from tests.builders.device_records import series
from tests.builders.process_records import process, profile
from tests.builders.side_by_side import side_by_side

THROTTLED = series("gpu0", "clock_reasons_mask", [(1_000_000_000, 4), (1_400_000_000, 0)])


def options(file: Path) -> argparse.Namespace:
    return argparse.Namespace(file=file, exclude_throttled=True, json=False, verbose=False)


def test_callers_side_by_side_cannot_be_shown_without_what_was_throttled(tmp_path: Path) -> None:
    file = tmp_path / "groups.h5"
    write_profile(side_by_side((600.0, 500.0), (600.0, 500.0), devices=(THROTTLED,)), file)
    with pytest.raises(RequestError, match="whole windows"):
        show.execute(options(file))


def test_those_that_were_not_throttled_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "groups.h5"
    write_profile(side_by_side((600.0, 500.0), (600.0, 500.0)), file)
    assert show.execute(options(file)) == 0
    assert "2 groups" in capsys.readouterr().out


def test_what_stands_beside_a_sample_is_left_out_with_it() -> None:
    """The time until a call returned belongs to its inference."""
    starts = 1_000_000_000 + 100_000_000 * np.arange(8)
    one = dataclasses.replace(
        process([1]),
        steady=LatencySeries(starts, 0 * starts + 50_000_000),
        enqueue_ns=starts - 1_000_000_000,
    )
    (kept,) = noise.without_throttled(profile(one, devices=(THROTTLED,))).processes
    assert kept.enqueue_ns.tolist() == (kept.steady.start_ns - 1_000_000_000).tolist()
    assert 0 < len(kept.steady) < 8
