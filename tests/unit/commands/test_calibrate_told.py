"""What ``calibrate`` tells of the occasions in its folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from harness.commands import calibrate, messages
from harness.records import Profile
from harness.storage.profile_file import write_profile
from tests.builders.dated_profiles import levels, on_day


@pytest.fixture
def taken(tmp_path: Path) -> list[Profile]:
    days = [on_day(day, level) for day, level in enumerate(levels(5, step_at=9, step=0))]
    return [write_profile(one, tmp_path / f"{day}.h5") for day, one in enumerate(days)]


def tell(taken: list[Profile], *, json: bool) -> None:
    path = taken[-1].path
    assert path is not None
    calibrate._tell(path.parent, taken[-1:], argparse.Namespace(quiet=False, json=json))


def test_json_has_the_deviation_of_all_occasions_and_the_files_it_is_from(
    taken: list[Profile], capsys: pytest.CaptureFixture[str]
) -> None:
    tell(taken, json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == [str(taken[-1].path)]
    assert told["used"] == told["occasions"] == [str(one.path) for one in taken]
    assert len(told["undisturbed_ns"]) == 5
    assert 0 < told["occasion_sd"] < 0.1
    assert "occasion_sd_reason" not in told


def test_text_has_the_same(taken: list[Profile], capsys: pytest.CaptureFixture[str]) -> None:
    tell(taken, json=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "% between 5 occasions in" in told
    assert "compare allows for it" in told


def test_a_folder_that_takes_a_while_is_announced(
    taken: list[Profile], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MANY_PROFILES", 5)
    tell(taken, json=True)
    assert "harness: reading 5 profiles that the index does not hold yet" in capsys.readouterr().err
