from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.commands.occasions import other_occasions
from harness.errors import RequestError
from harness.records import Profile
from tests.builders.process_records import process, profile


def of_pair(text: str, path: Path) -> Profile:
    return profile(process([5, 5, 6]), config=json.dumps({"interleaved_with": text}), path=path)


def test_sides_of_one_ab_have_no_history_and_naming_one_is_refused(tmp_path: Path) -> None:
    sides = [of_pair("x", tmp_path / "a.h5"), of_pair("x", tmp_path / "b.h5")]

    assert list(other_occasions(sides)) == []
    with pytest.raises(RequestError, match="of one occasion"):
        other_occasions(sides, tmp_path)


def test_halves_of_different_ab_are_separate_occasions(tmp_path: Path) -> None:
    sides = [of_pair("x", tmp_path / "a.h5"), of_pair("y", tmp_path / "b.h5")]

    assert other_occasions(sides).place == "beside the base"
    with pytest.raises(RequestError, match="no such folder"):
        other_occasions(sides, tmp_path / "nowhere")


def test_a_folder_that_cannot_be_looked_through_costs_only_the_history(tmp_path: Path) -> None:
    base = of_pair("", tmp_path / "gone" / "a.h5")

    found = other_occasions([base, of_pair("", tmp_path / "b.h5")])

    assert list(found) == []
    assert "no such folder" in found.why_none
