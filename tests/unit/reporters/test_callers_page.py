"""The page of callers side by side: a lane for each, bounded however many there are."""

from __future__ import annotations

import numpy as np
import pytest

from harness.reporters.html import page
from tests.builders.process_records import process, profile
from tests.builders.side_by_side import side_by_side
from tests.unit.reporters.test_html_page import ELEMENTS, Page


def test_the_first_answer_is_what_all_reach_together() -> None:
    text = Page(page([side_by_side((600.0, 500.0), (620.0, 480.0), alone=600.0)])).text
    assert "How many together? 1,102 inferences/s" in text
    assert "2 instances of threads that ORT chose; 2 groups, window 1 s" in text
    assert "efficiency 92 %" in text
    assert "one alone 600 inferences/s" in text
    assert "fastest over slowest 1.24" in text
    assert "median of 2 groups" in text
    assert "process 0" not in text


def test_each_caller_has_a_lane_and_a_row_and_a_slow_one_is_marked() -> None:
    source = page([side_by_side((600.0, 400.0, 610.0), (610.0, 405.0, 600.0))])
    seen = Page(source)
    assert source.count('class="plot strip lane"') == 3
    assert "instance 1 · CPUs 16-31 · 403/s · slow" in seen.text
    assert seen.text.count("· slow") == 1
    assert set(seen.elements) <= ELEMENTS


def test_callers_of_one_session_have_lanes_too() -> None:
    source = page([side_by_side((600.0, 400.0), (610.0, 405.0), callers=2)])
    assert "caller 1 · CPUs 0-15" in Page(source).text
    assert "instance 1" not in source


def test_a_caller_without_an_inference_has_an_empty_lane() -> None:
    made = side_by_side((600.0, 0.5), (610.0, 400.0))
    assert Page(page([made])).text.count("CPUs 16-31") >= 1


@pytest.mark.slow
def test_a_page_of_hundreds_of_instances_and_a_million_samples_stays_small() -> None:
    rates = 2604 + 30 * np.random.default_rng(20).standard_normal((2, 384))
    rates[:, 77] *= 0.6
    source = page([side_by_side(*map(tuple, rates.tolist()))])
    assert len(source) < 2_000_000
    assert source.count('class="plot strip lane low"') == 384


def test_more_callers_than_lanes_are_told() -> None:
    source = page([side_by_side((30.0,) * 450, (30.0,) * 450)])
    assert source.count('class="plot strip lane low"') == 400
    assert "The 50 faster instances are not drawn." in Page(source).text
    assert len(source) < 1_500_000


def test_a_profile_of_one_caller_beside_one_of_several_has_the_same_cards() -> None:
    plain = profile(process([1_000_000] * 20), process([1_010_000] * 20, 1))
    grouped = side_by_side((600.0, 500.0), (620.0, 480.0))
    text = Page(page([plain, grouped])).text
    assert text.count("How many together?") == 2
    assert "one session with one caller" in text
    assert "How many together?" not in Page(page([plain, plain])).text
    assert "Side by side" not in Page(page([plain])).text
