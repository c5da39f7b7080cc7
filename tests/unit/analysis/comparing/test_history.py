"""Which profiles are other occasions of the same thing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from harness.analysis.comparing import history
from harness.records import InputRecord, Profile, Reading
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
    good = [at(3, config=asked()), at(4, config=asked())]
    bad = {
        "itself": at(1, config=asked()),
        "the candidate": at(2, config=asked()),
        "a copy": at(3, config=asked()),
        "other threads": at(5, config=asked(intra_threads=2)),
        "another model": at(6, config=asked(), model=model),
        "half of a pair": at(7, config=json.dumps({**json.loads(asked()),
                                                   "interleaved_with": "x"})),
        "interrupted": at(8, config=asked(), complete=False),
        "other inputs": at(9, config=asked(),
                           inputs=(InputRecord("x", "float32", (1,), "", ""),)),
    }  # fmt: skip
    found = history.others(base, [base, at(2, config=asked())], [*good, *bad.values()])
    assert [one.created for one in found] == [one.created for one in good]


def test_another_cpu_or_runtime_is_another_thing() -> None:
    def on(minute: int, cpu: str, ort: str) -> Profile:
        facts = (Reading("cpu_model", cpu), Reading("ort_version", ort), Reading("kernel", cpu))
        return at(minute, environment=facts)

    base = on(1, "a", "1")
    found = [on(2, "a", "1"), on(3, "b", "1"), on(4, "a", "2")]
    assert history.others(base, [base], found) == found[:1]


def test_no_more_are_read_than_needed() -> None:
    read = []

    def lazily() -> Any:
        for minute in range(2, 200):
            read.append(minute)
            yield dataclasses.replace(at(1), created=str(minute))

    found = history.others(at(1), [at(1)], lazily())
    assert len(found) == len(read) == history.MOST_OCCASIONS
