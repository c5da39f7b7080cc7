"""The one reader of what a profile tells of its machine's ceilings."""

from __future__ import annotations

import dataclasses

from harness.analysis.ceilings import Ceilings, is_ceiling
from harness.records import Reading
from tests.builders.process_records import process, profile


def of(*facts: Reading) -> Ceilings:
    return Ceilings.of(dataclasses.replace(profile(process([1])), environment=facts))


def test_products_are_peaks_and_the_faster_stream_is_the_bandwidth() -> None:
    found = of(
        Reading("ceiling_matmul_float32", 4e10, "FLOP/s"),
        Reading("ceiling_copy", 8e9, "bytes/s"),
        Reading("ceiling_triad", 9_000_000_000, "bytes/s"),
        Reading("cpu_cores", 2),
    )
    assert found == Ceilings({"float32": 4e10}, 9e9, ())


def test_what_was_not_measured_is_missing_with_each_reason_once() -> None:
    found = of(
        Reading("ceiling_matmul_int8", None, reason="too busy"),
        Reading("ceiling_copy", None, reason="too busy"),
        Reading("ceilings", None, reason="left out"),
        Reading("gpu", None, reason="no driver"),
    )
    assert found == Ceilings({}, None, ("too busy", "left out"))


def test_ceilings_are_told_from_other_facts() -> None:
    assert is_ceiling("ceilings")
    assert is_ceiling("ceiling_copy")
    assert not is_ceiling("cpu_model")
