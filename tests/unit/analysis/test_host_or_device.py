"""Whether the host or the device makes latencies differ: by hand, and as recorded on an H200."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from harness.analysis.host_or_device import Difference, differences
from harness.records import ProcessRecord, Profile
from harness.reporters.html import page
from harness.reporters.scripts.profile import summary
from harness.reporters.terminal.summary import print_summary
from harness.storage.assembly import merge_kernels
from tests.builders.device_records import kernels
from tests.builders.process_records import process, profile
from tests.builders.recordings import recorded


def waited(call_ns: list[int], device_ns: list[int], index: int = 0) -> ProcessRecord:
    """A process: until each call returned, and from then until the device was done."""
    whole = process((np.array(call_ns) + np.array(device_ns)).tolist(), index)
    return dataclasses.replace(whole, enqueue_ns=np.array(call_ns, np.int64))


def only(*processes: ProcessRecord, **columns: object) -> Difference:
    (found,) = differences(profile(*processes, **columns))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("slow", "side"),
    [(([1400], [500]), "host"), (([1000], [900]), "device"), (([1200], [700]), "both")],
)
def test_the_side_with_most_of_the_difference_makes_it(
    slow: tuple[list[int], list[int]], side: str
) -> None:
    found = only(waited([1000] * 9, [500] * 9), waited(slow[0] * 9, slow[1] * 9, 1))
    assert (found.between, found.side) == ("processes", side)
    assert (found.low_ns, found.high_ns) == (1500, 1900)
    assert found.host_ns + found.device_ns == 400
    assert found.kernels_ns is None


def test_processes_that_agree_need_no_reason() -> None:
    assert not differences(profile(waited([1000] * 9, [500] * 9), waited([1100] * 9, [500] * 9, 1)))
    assert not differences(profile(waited([1000] * 9, [500] * 9)))


def test_where_the_host_does_not_wait_for_a_device_there_is_no_other_side() -> None:
    assert not differences(profile(process([1000] * 9), process([2000] * 9, 1)))


def test_the_kernels_of_both_processes_stand_beside_it() -> None:
    each = [kernels(("gemm", 0, 10, took), process=index) for index, took in ((0, 70), (1, 90))]
    found = only(
        waited([2000] * 9, [500] * 9), waited([1000] * 9, [500] * 9, 1), kernels=merge_kernels(each)
    )
    assert found.kernels_ns == (90, 70), "the fastest is the second"


def test_samples_at_two_levels_have_a_reason_too() -> None:
    slow = np.arange(200) % 3 == 0
    found = only(
        waited(np.where(slow, 1900, 1000).tolist(), np.where(slow, 620, 500).tolist()),
    )
    assert (found.between, found.process, found.many, found.side) == ("samples", 0, 1, "host")
    assert (found.low_ns, found.high_ns, found.host_ns, found.device_ns) == (1500, 2520, 900, 120)
    assert found.part == pytest.approx(1 / 3, abs=0.01)


def test_a_recordings_spread_is_the_hosts() -> None:
    seen = differences(recorded("resnet50"))
    assert [one.between for one in seen] == ["processes", "samples"]
    assert {one.side for one in seen} == {"host"}
    apart = seen[0]
    assert apart.high_ns / apart.low_ns == pytest.approx(1.28, abs=0.01)
    assert apart.host_ns > 0.95 * (apart.high_ns - apart.low_ns)


def test_show_and_the_page_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    whole: Profile = recorded("resnet50")
    print_summary(whole)
    told = "because of the host, not of the device: of 418 µs more"
    assert told in " ".join(capsys.readouterr().out.split())
    told_to_scripts = json.loads(json.dumps(summary(whole)))["host_or_device"]
    assert [(one["between"], one["side"]) for one in told_to_scripts] == [
        ("processes", "host"),
        ("samples", "host"),
    ]
    source = page([whole]).replace("\u00a0", " ")
    assert told in source
    assert "Samples lie at two levels in 1 process (process 1: " in source
