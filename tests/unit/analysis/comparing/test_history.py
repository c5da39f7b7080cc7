"""Which profiles are other occasions of the same thing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparing import history
from harness.analysis.comparing.profiles import compare_profiles
from harness.analysis.history import Point, point_of
from harness.records import InputRecord, Profile, Reading
from harness.statistics.figures import Figure
from tests.builders.dated_profiles import on_day
from tests.builders.process_records import process, profile


def at(minute: int, **columns: Any) -> Profile:
    created = f"2026-01-01T00:{minute:02}:00+00:00"
    processes = [process([100, 110, 120], k, start_ns=1000 * minute + k) for k in range(2)]
    return profile(*processes, created=created, **columns)


def asked(**fields: Any) -> str:
    return json.dumps({"session": {"provider": "cpu", "intra_threads": 1} | fields})


def test_only_the_same_thing_on_another_occasion_counts() -> None:
    base = at(1, config=asked())
    model = dataclasses.replace(base.model, sha256="other")
    pair = json.dumps({**json.loads(asked()), "interleaved_with": "x"})
    good = [at(3, config=asked()), at(4, config=asked()), at(7, config=pair)]
    bad = {
        "itself": at(1, config=asked()),
        "the candidate": at(2, config=asked()),
        "a copy": at(3, config=asked()),
        "other threads": at(5, config=asked(intra_threads=2)),
        "another model": at(6, config=asked(), model=model),
        "the other half of a pair": at(7, config=pair),
        "interrupted": at(8, config=asked(), complete=False),
        "other inputs": at(9, config=asked(),
                           inputs=(InputRecord("x", "float32", (1,), "", ""),)),
    }  # fmt: skip
    found = list(history.others(base, [base, at(2, config=asked())], [*good, *bad.values()]))
    assert [one.created for one in found] == [one.created for one in good]


def test_another_cpu_or_runtime_is_another_thing() -> None:
    def on(minute: int, cpu: str, ort: str) -> Profile:
        facts = (Reading("cpu_model", cpu), Reading("ort_version", ort), Reading("kernel", cpu))
        return at(minute, environment=facts)

    base = on(1, "a", "1")
    found = [on(2, "a", "1"), on(3, "b", "1"), on(4, "a", "2")]
    assert list(history.others(base, [base], found)) == found[:1]


def test_what_else_durations_hold_is_another_thing() -> None:
    def holding(minute: int, what: str) -> Profile:
        one = at(minute)
        held = [dataclasses.replace(each, duration_holds=what) for each in one.processes]
        return dataclasses.replace(one, processes=tuple(held))

    base = holding(1, "copies")
    found = [holding(2, "copies"), holding(3, "no copies"), at(4)]
    assert list(history.others(base, [base], found)) == [found[0], found[2]]


def test_no_more_are_read_than_needed() -> None:
    read = []

    def lazily() -> Any:
        for minute in range(2, 200):
            read.append(minute)
            yield dataclasses.replace(at(1), created=str(minute))

    found = list(history.others(at(1), [at(1)], lazily()))
    assert len(found) == len(read) == history.MOST_OCCASIONS


def days(count: int, seed: int = 0) -> list[Profile]:
    rng = np.random.default_rng(seed)
    return [on_day(day, 1e6 * float(np.exp(rng.normal(0, 0.04)))) for day in range(count)]


def test_what_is_learned_is_what_compare_takes_for_them() -> None:
    """The deviation in the verdict on one of them with all as its history."""
    occasions = days(9)
    found = history.learned(occasions)
    slower = on_day(20, 2e6)
    (compared,) = compare_profiles(occasions[-1], [slower], history=occasions).candidates
    assert found.occasion_sd.value == pytest.approx(compared.latency.comparison.occasion_sd)
    assert found.profiles == tuple(occasions)
    shown = [point_of(one) for one in occasions]
    assert found.undisturbed_ns.tolist() == pytest.approx(
        [one.undisturbed_ns for one in shown if isinstance(one, Point)], rel=1e-3
    )  # but for the looks, which are cut to the last one's


def test_what_cannot_be_compared_is_not_learned_from() -> None:
    noise: dict[str, int | None] = {"wall_ns": 10**9, "cpu_wait_ns": 9 * 10**8, "steal_ns": 0}
    busy = dataclasses.replace(
        on_day(30, 2e6), processes=tuple(process([2 * 10**6] * 20, k, noise) for k in range(4))
    )
    alone = on_day(31, 3e6, processes=1)
    occasions = days(4)
    found = history.learned([busy, alone, *occasions])
    assert found.profiles == tuple(occasions)
    assert found.occasion_sd == history.learned(occasions).occasion_sd


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_occasions_show_no_deviation(count: int) -> None:
    found = history.learned(days(count))
    assert found.occasion_sd == Figure(None, "it takes 3 occasions that can be compared")
    assert len(found.undisturbed_ns) == count
    assert history.learned([on_day(0, 1e6, processes=1)]).occasion_sd.value is None


def test_processes_that_agree_to_the_nanosecond_are_learned_from() -> None:
    even = [
        dataclasses.replace(
            on_day(9, 1e6), processes=tuple(process([10**6, 10**6 + 9], k) for k in range(2))
        )
    ]
    found = history.learned([*days(3), *even])
    assert found.profiles[-1] is even[0]
    assert found.occasion_sd.value is not None
