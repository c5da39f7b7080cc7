"""The one reader of what a profile tells of its machine's ceilings."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from harness.analysis.ceilings import Ceilings, Level, is_ceiling
from harness.records import Reading
from harness.storage.profile_file import read_profile
from tests.builders.process_records import process, profile


def of(*facts: Reading) -> Ceilings:
    return Ceilings.of(dataclasses.replace(profile(process([1])), environment=facts))


#: What a file from before cache levels were measured says about them: nothing.
CACHES = Level("caches", math.inf, shared=False, bandwidth=None)


def test_products_are_peaks_and_the_faster_stream_is_the_bandwidth() -> None:
    found = of(
        Reading("ceiling_matmul_float32", 4e10, "FLOP/s"),
        Reading("ceiling_copy", 8e9, "bytes/s"),
        Reading("ceiling_triad", 9_000_000_000, "bytes/s"),
        Reading("cpu_cores", 2),
    )
    memory = Level("DRAM", math.inf, shared=True, bandwidth=9e9)
    assert found == Ceilings({"float32": 4e10}, (CACHES, memory), ())
    assert found.measured_levels == (memory,)


def test_levels_are_read_with_what_they_hold() -> None:
    found = of(
        Reading("ceiling_l2_bytes", 2_000_000, "bytes"),
        Reading("ceiling_l2_caches", 2, "1"),
        Reading("ceiling_l1_bytes", 96_000, "bytes"),
        Reading("ceiling_l1_caches", 2, "1"),
        Reading("ceiling_l3_bytes", 32_000_000, "bytes"),
        Reading("ceiling_l3_caches", 1, "1"),
        Reading("ceiling_copy_l1", 6e11, "bytes/s"),
        Reading("ceiling_triad_l1", 9e11, "bytes/s"),
        Reading("ceiling_copy_l2", None, "bytes/s", reason="too busy"),
        Reading("ceiling_triad_l2", 4e11, "bytes/s"),
        Reading("ceiling_copy", None, "bytes/s", reason="too busy"),
    )
    assert found.levels == (
        Level("L1", 96_000, shared=False, bandwidth=9e11),
        # Its copy was measured on a busy machine, and may be the faster one.
        Level("L2", 2_000_000, shared=False, bandwidth=None),
        Level("L3", 32_000_000, shared=True, bandwidth=None),
        Level("DRAM", math.inf, shared=True, bandwidth=None),
    )
    assert [level.name for level in found.measured_levels] == ["L1"]


def test_what_was_not_measured_is_missing_with_each_reason_once() -> None:
    found = of(
        Reading("ceiling_matmul_int8", None, reason="too busy"),
        Reading("ceiling_copy", None, reason="too busy"),
        Reading("ceilings", None, reason="left out"),
        Reading("gpu", None, reason="no driver"),
    )
    memory = Level("DRAM", math.inf, shared=True, bandwidth=None)
    assert found == Ceilings({}, (CACHES, memory), ("too busy", "left out"))


@pytest.mark.parametrize("value", [0, 0.0, -1, math.nan, math.inf, "fast", 5e-324, 1.7e308, 10**40])
def test_what_is_no_amount_was_not_measured(value: float | str) -> None:
    found = of(
        Reading("ceiling_matmul_float32", value),
        Reading("ceiling_l1_bytes", value),
        Reading("ceiling_l2_bytes", 2_000_000),
        Reading("ceiling_copy_l2", value),
        Reading("ceiling_triad_l2", 4e11),
        Reading("ceiling_copy", 8e9),
    )
    assert found.peaks == {}
    assert found.reasons == ("not a possible value",)
    # The copy, which may be the faster one, is as absent as if it had a reason.
    l2 = Level("L2", 2_000_000, shared=False, bandwidth=None)
    assert found.levels == (l2, Level("DRAM", math.inf, shared=True, bandwidth=8e9))


@pytest.mark.parametrize("number", ["01", "0", "-1", "١", "²", "9" * 5000, ""])
def test_levels_that_no_machine_has_are_none(number: str) -> None:
    found = of(Reading(f"ceiling_l{number}_bytes", 48_000), Reading("ceiling_l1_bytes", 32_000))
    assert [level.name for level in found.levels] == ["L1", "DRAM"]
    assert [level.name for level in of(Reading(f"ceiling_l{number}_bytes", 1)).levels] == [
        "caches",
        "DRAM",
    ]


def test_a_file_from_before_the_levels_has_a_bandwidth_of_memory_alone() -> None:
    sample = read_profile(Path("tests/golden/profile_v1.h5"))
    levels = Ceilings.of(sample).levels
    assert [level.name for level in levels] == ["caches", "DRAM"]


def test_ceilings_are_told_from_other_facts() -> None:
    assert is_ceiling("ceilings")
    assert is_ceiling("ceiling_copy")
    assert is_ceiling("ceiling_l1_bytes")
    assert not is_ceiling("cpu_model")


def test_those_of_a_device_are_apart_from_the_hosts() -> None:
    facts = (
        Reading("ceiling_matmul_float32", 4e10, "flop/s"),
        Reading("ceiling_device_matmul_tf32", 4e14, "flop/s"),
        Reading("ceiling_device_matmul_tf32_clock_sm_hz", 1_980_000_000, "Hz"),
        Reading("ceiling_device_matmul_int8", None, "op/s", reason="no such kernel"),
        Reading("ceiling_device_add", 4e12, "bytes/s"),
        Reading("ceiling_device_add_power_mw", None, "mW", reason="no permission"),
        Reading("ceiling_device_relu", 5e12, "bytes/s"),
        Reading("ceiling_device_l2_bytes", 50_000_000, "bytes"),
    )
    host = of(*facts)
    assert (host.peaks, host.reasons) == ({"float32": 4e10}, ())
    device = Ceilings.of_device(dataclasses.replace(profile(process([1])), environment=facts))
    assert device == Ceilings(
        {"tf32": 4e14},
        (
            Level("L2", 50_000_000, shared=True, bandwidth=None),
            Level("device memory", math.inf, shared=True, bandwidth=5e12),
        ),
        ("no such kernel",),
    )


def test_a_stream_that_may_be_the_faster_one_leaves_the_devices_memory_unknown() -> None:
    facts = (
        Reading("ceiling_device_add", 4e12, "bytes/s"),
        Reading("ceiling_device_relu", None, "bytes/s", reason="too busy"),
    )
    device = Ceilings.of_device(dataclasses.replace(profile(process([1])), environment=facts))
    assert device.measured_levels == ()
    assert device.levels[0] == Level("L2", math.inf, shared=False, bandwidth=None)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ((), "the ceilings of the device were not measured"),
        (
            (Reading("ceiling_matmul_float32", 4e10),),
            "the ceilings of the device were not measured",
        ),
        ((Reading("ceilings", None, reason="left out"),), "left out"),
    ],
)
def test_a_profile_without_ceilings_of_its_device_says_why(
    facts: tuple[Reading, ...], reason: str
) -> None:
    device = Ceilings.of_device(dataclasses.replace(profile(process([1])), environment=facts))
    assert (device.peaks, device.measured_levels, device.reasons) == ({}, (), (reason,))
