"""What ``layout`` prints of a search, in words and as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from harness.errors import MachineError
from harness.records import Reading
from harness.reporters.scripts.layout import layout_text
from harness.reporters.terminal.layout import print_layouts
from harness.study.layouts.candidates import Layout, Unfit
from harness.study.layouts.records import Found, LayoutStudy, Measured
from tests.builders.simulated_layouts import KnownRates, named_layout, several_layouts

LAYOUTS = several_layouts(4)
RATES = {"default": 40.0, "p0": 30.0, "p1": 60.0, "p2": 90.0, "p3": 100.0}
LATENCIES_MS = {"default": 5.0, "p0": 1.0, "p1": 2.0, "p2": 9.0, "p3": 8.0}


def study(found: Found, limit_ms: float | None = None) -> LayoutStudy:
    unfit = (Unfit(named_layout("per-core", 8, 1), "8 threads, and control groups allow 3 CPUs"),)
    items = Reading("items_per_inference", 1, "1")
    return LayoutStudy(found, unfit, "net", items, None if limit_ms is None else limit_ms * 1e6, 60)


def command(layout: Layout) -> str:
    return f"use {layout.placement}"


def searched(**how: Any) -> Found:
    return KnownRates(RATES, latencies_ms=LATENCIES_MS).search(LAYOUTS, **how)


def told(capsys: pytest.CaptureFixture[str], found: LayoutStudy) -> str:
    print_layouts(found, command)
    return capsys.readouterr().out


def test_the_best_its_gain_and_the_command_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, study(searched()))

    assert "best       p3: 4 instances of 1 thread" in text
    assert "every other layout tried is slower" in text
    assert "times ORT's default" in text
    assert "FASTER" in text
    assert "use        use p3" in text
    assert "p3 (best, frontier)" in text
    assert "p1 (frontier)" in text
    assert "1 layout: not tried: 8 threads, and control groups allow 3 CPUs" in text


def test_json_has_the_best_the_default_and_the_frontier_with_their_intervals() -> None:
    found = json.loads(layout_text(study(searched()), command))

    assert found["complete"]
    best = found["best"]
    assert (best["placement"], best["instances"], best["threads"]) == ("p3", 4, 1)
    assert best["cpus"] == ["0", "1", "2", "3"]
    assert best["command"] == "use p3"
    assert best["interval"][0] < best["items_per_s"] < best["interval"][1]
    assert found["default"]["cpus"] is None
    assert found["default"]["reason"]
    assert [one["placement"] for one in found["frontier"]] == ["p0", "p1", "p3"]
    assert found["gain"]["verdict"] == "FASTER"
    low, high = found["gain"]["interval"]
    assert low < found["gain"]["ratio"] < high
    assert low < 2.5 < high
    assert found["layouts"][-1]["reason"].startswith("not tried: 8 threads")


def test_a_budget_that_was_spent_names_what_may_be_faster(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = KnownRates(RATES | {"p2": 99.0}, scatter=0.05).search(LAYOUTS, budget_s=25)
    text = told(capsys, study(found))

    assert found.ended_by == "budget"
    assert "the budget was spent before this was sure to within 3%: p" in text
    assert "may be faster" in text


def test_an_interrupted_search_says_that_it_is_no_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine = KnownRates(RATES)
    found = machine.search(LAYOUTS, interrupted_after=7)
    text = told(capsys, study(found))

    assert "interrupted: this is what was known until then, not a result" in text
    assert "not confirmed" in text
    assert "the budget left no groups" not in text
    assert not json.loads(layout_text(study(found), command))["complete"]


def test_an_interrupt_before_the_first_group_leaves_nothing_to_tell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = study(KnownRates(RATES).search(LAYOUTS, interrupted_after=0))

    assert "none: no layout could be measured" in told(capsys, found)
    assert json.loads(layout_text(found, command))["best"] is None


def test_confirming_groups_that_contradict_the_choice_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = searched()
    changed = dataclasses.replace(found.told[2], over_best_interval=(1.1, 1.4))
    found = dataclasses.replace(found, told=(*found.told[:2], changed, *found.told[3:]))

    assert "when measured afresh, p1 (2 x 1) did more" in told(capsys, study(found))


def test_a_limit_that_nothing_meets_says_how_far_off_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = searched(limit_ms=0.5)
    text = told(capsys, study(found, 0.5))

    assert "none: no layout tried meets --latency-limit 0.5; the lowest latency is" in text
    assert "of p0" in text
    assert json.loads(layout_text(study(found, 0.5), command))["best"] is None


def test_a_layout_that_failed_is_told_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    machine = KnownRates(RATES)

    def measure(one: Layout) -> Measured:
        if one.placement == "p2":
            raise MachineError("3 instances of net take 9 GB each", "give `instances` 2 at most")
        return machine.measure(one)

    text = told(capsys, study(machine.search(LAYOUTS, measure=measure)))

    assert "1 layout: 3 instances of net take 9 GB each" in text
