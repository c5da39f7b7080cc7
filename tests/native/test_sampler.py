"""The sampling thread: deadlines, rows, files, the GIL, and libraries that do not answer."""

from __future__ import annotations

import errno
import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from harness.native import sampler
from tests import doubles
from tests.doubles import NvmlDouble, build_nvml

nvml_double = doubles.nvml_double

TASKS = Path("/proc/self/task")
PERIOD_NS = 5_000_000
FIELDS = [sampler.Channel(sampler.NVML_FIELD, field) for field in (186, 185, 83)]
#: Long enough that only a hang of the double reaches it.
PATIENCE_S = 0.3


def sampling_threads() -> int:
    """Threads of ours that the kernel still knows."""
    names = []
    for task in TASKS.iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return names.count("harness-sampler")


def wait_for_no_thread() -> None:
    while sampling_threads():
        time.sleep(0.002)


def wait_for_ticks(running: sampler.Sampler, ticks: int) -> None:
    while running.report().ticks < ticks:
        time.sleep(0.002)


def file(path: Path, **details: object) -> sampler.Channel:
    return sampler.Channel(sampler.FILE, path=path, **{"argument": 1, **details})  # type: ignore[arg-type]


def read_once(*channels: sampler.Channel) -> list[tuple[int, int]]:
    """(value, status) of each channel's first reading."""
    with sampler.Sampler(channels) as running:
        running.start()
        fast, slow, _ = running.take()
    row = [*fast[0, 1:], *(slow[0] if len(slow) else [])]
    return [(int(reading["value"]), int(reading["status"])) for reading in row]


def test_deadlines_do_not_drift_and_every_one_is_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("7\n")
    with sampler.Sampler([file(tmp_path / "n")], hz=200) as running:
        began_ns = time.monotonic_ns()
        running.start()
        wait_for_ticks(running, 60)
        running.stop()
        ended_ns = time.monotonic_ns()
        fast, *_ = running.take()
        report = running.report()
    woken_ns, lateness_ns = fast[:, 0]["time_ns"], fast[:, 0]["value"]
    deadlines = woken_ns - lateness_ns
    numbers, rest = np.divmod(deadlines - deadlines[0], PERIOD_NS)
    assert (rest == 0).all()
    assert (np.diff(numbers) >= 1).all()
    assert (lateness_ns >= 0).all()
    assert len(fast) == report.ticks
    assert numbers[-1] + 1 == report.ticks + report.missed
    assert began_ns <= deadlines[0] <= woken_ns[-1] <= ended_ns
    assert report.dropped == 0
    assert report.cpu_ns > 0 < ended_ns - began_ns
    assert (fast[:, 1]["value"] == 7).all()


def test_a_tick_that_takes_long_costs_the_deadlines_it_covers(nvml_double: NvmlDouble) -> None:
    with sampler.Sampler(FIELDS, hz=200, nvml_library=nvml_double.path) as running:
        running.start()
        nvml_double.fault("slow")  # 25 ms a call, five periods
        wait_for_ticks(running, running.report().ticks + 1)  # this one may have begun before
        before = running.report()
        wait_for_ticks(running, before.ticks + 4)
        running.stop()
        after = running.report()
    assert after.missed - before.missed >= 4 * (after.ticks - before.ticks - 1)


def test_a_costly_call_is_read_at_edges_and_not_at_ticks(nvml_double: NvmlDouble) -> None:
    nvml_double.price(on=True)
    channels = [FIELDS[0], FIELDS[2]._replace(meter=True)]
    with sampler.Sampler(channels, hz=200, nvml_library=nvml_double.path) as running:
        running.start()
        first, costly = running.costs()
        calls = nvml_double.calls().energy
        wait_for_ticks(running, 20)
        assert nvml_double.calls().energy == calls
        asked_ns = time.monotonic_ns()
        running.edge()
        answered_ns = time.monotonic_ns()
        wait_for_ticks(running, 30)
        running.stop()
        fast, _, seldom = running.take()
        report = running.report()
    assert not first.seldom
    assert 0 < first.cost_ns < 3_200_000 <= costly.cost_ns
    assert costly.seldom
    assert (first.period_ns, costly.period_ns > 0) == (0, True)
    assert (fast[:, 1]["status"] == 0).all()
    assert (fast[:, 2]["status"] == sampler.ELSEWHERE).all()
    # The first tick, the edge, and the last tick.
    assert list(seldom["channel"]) == [1, 1, 1]
    assert (seldom["status"] == 0).all()
    assert asked_ns <= seldom["time_ns"][1] <= answered_ns
    assert report.cpu_ns > 0
    assert report.setup_ns >= 3 * 3_200_000


def test_a_costly_call_that_was_just_tried_is_not_made_again_for_the_first_tick(
    nvml_double: NvmlDouble,
) -> None:
    nvml_double.price(on=True)
    with sampler.Sampler([FIELDS[2]], hz=1, nvml_library=nvml_double.path) as running:
        before = nvml_double.calls().energy
        running.start()
        assert nvml_double.calls().energy - before == 3, "its trials"
        running.stop()
        fast, _, seldom = running.take()
    # A reading of its own all the same, with the time at which it was taken.
    assert len(seldom) == 2
    assert seldom["time_ns"][0] < fast[0, 0]["time_ns"] < seldom["time_ns"][1]


def test_a_call_that_does_not_answer_at_first_is_not_made_at_every_tick(
    nvml_double: NvmlDouble,
) -> None:
    nvml_double.fault("timeout")
    with sampler.Sampler(FIELDS[:1], hz=200, nvml_library=nvml_double.path) as running:
        running.start()
        nvml_double.fault("")
        assert running.edge()
        running.stop()
        fast, _, seldom = running.take()
        (cost,) = running.costs()
    assert cost == (0, 0, 1_000_000_000, 10, True), "no price, which is not one of 0"
    assert list(seldom["status"]) == [10, 0, 0]
    assert (fast[:, 1]["status"] == sampler.ELSEWHERE).all()


def test_a_call_of_unknown_cost_is_made_the_more_seldom_the_longer_it_takes(
    nvml_double: NvmlDouble,
) -> None:
    nvml_double.fault("timeout")
    channel = FIELDS[2]._replace(meter=True)
    with sampler.Sampler([channel], hz=200, nvml_library=nvml_double.path) as running:
        running.start()
        nvml_double.fault("")
        nvml_double.price(on=True)
        assert running.edge()
        calls = nvml_double.calls().energy
        # At 3.2 ms a call, once in 6.4 s: where its price was taken for 0, once a second.
        wait_for_ticks(running, running.report().ticks + 250)
        assert nvml_double.calls().energy == calls
        running.stop()


def test_a_thread_that_hangs_holds_no_pass_up(nvml_double: NvmlDouble) -> None:
    nvml_double.price(on=True)
    patience_s = 60.0
    with sampler.Sampler(
        FIELDS, hz=200, nvml_library=nvml_double.path, patience_s=patience_s
    ) as running:
        running.start()
        assert running.edge()
        nvml_double.fault("hang")
        began = time.monotonic()
        assert not running.edge()
        first = time.monotonic()
        assert not running.edge()
        second = time.monotonic()
        # A tenth of a second; and not once more where the last edge was not answered either.
        assert first - began < patience_s / 2
        assert second - first < max(0.1, first - began)
        nvml_double.fault("")
        while not running.edge():
            time.sleep(0.01)
        running.stop()
        _, _, seldom = running.take()
    # Those that were read late are there with their own times.
    assert (seldom["time_ns"] > 1e9 * first).sum() >= 2


def test_an_edge_while_the_driver_is_still_being_opened_is_lost(nvml_double: NvmlDouble) -> None:
    nvml_double.fault("hang_init")
    with sampler.Sampler(
        FIELDS, hz=200, nvml_library=nvml_double.path, patience_s=PATIENCE_S
    ) as running:
        running.start()
        assert running.report().ticks == 0
        assert not running.edge()
        nvml_double.fault("")
        wait_for_ticks(running, 1)
        assert running.edge()
        running.stop()


def test_patience_begins_with_each_call(nvml_double: NvmlDouble) -> None:
    # Three trials of 0.2 s each: together longer than the patience, which none exceeds.
    nvml_double.fault("slow_samples")
    samples = sampler.Channel(sampler.NVML_SAMPLES, 0)
    with sampler.Sampler([samples], hz=200, nvml_library=nvml_double.path, patience_s=0.4) as slow:
        slow.start()
        slow.stop()
        assert slow.report().hung is None


def test_an_edge_without_costly_channels_waits_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("7\n")
    with sampler.Sampler([file(tmp_path / "n")], hz=1) as running:
        assert running.edge()
        running.start()
        assert running.edge()
        assert running.report().ticks == 1
        running.stop()
        assert running.edge()


def test_slow_channels_are_read_now_and_then_and_at_both_ends(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("7\n")
    channels = [file(tmp_path / "n"), file(tmp_path / "n", slow=True)]
    with sampler.Sampler(channels, hz=500, slow_every=10) as running:
        running.start()
        (tmp_path / "n").write_text("8\n")
        wait_for_ticks(running, 55)
        running.stop()
        fast, slow, _ = running.take()
    assert 2 <= len(slow) <= (len(fast) + sampler_gap(fast)) / 10 + 2
    assert list(slow[:, 0]["value"][[0, -1]]) == [7, 8]
    assert slow[-1, 0]["time_ns"] >= fast[-1, 1]["time_ns"]


def sampler_gap(fast: np.ndarray) -> int:
    """Deadlines between first and last tick."""
    return int((fast[-1, 0]["time_ns"] - fast[0, 0]["time_ns"]) // 2_000_000) + 1


def test_last_readings_are_younger_than_the_wish_to_stop(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("1\n")
    with sampler.Sampler([file(tmp_path / "n")], hz=50) as running:
        running.start()
        (tmp_path / "n").write_text("2\n")
        asked_ns = time.monotonic_ns()
        running.stop()
        fast, *_ = running.take()
    assert fast[-1, 1]["time_ns"] >= asked_ns
    assert fast[-1, 1]["value"] == 2


def test_rows_without_room_are_dropped_and_counted_until_some_are_taken(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("1\n")
    with sampler.Sampler([file(tmp_path / "n")], hz=1000, capacity=5) as running:
        running.start()
        wait_for_ticks(running, 20)
        first, *_ = running.take()
        while running.report().ticks < 40:
            time.sleep(0.002)
        running.stop()
        second, *_ = running.take()
        report = running.report()
    assert len(first) == len(second) == 5
    assert second[0, 0]["time_ns"] > first[-1, 0]["time_ns"]
    assert report.ticks == 10 + report.dropped


def test_numbers_of_text_files(tmp_path: Path) -> None:
    stat, pressure, load, bad = (tmp_path / name for name in ("stat", "pressure", "load", "bad"))
    stat.write_text("cpu  1 1 1\ncpu1 5 6 7\ncpu10 8 9 10\nprocs_running 3\n")
    pressure.write_text("some avg10=0.50 total=12\nfull avg10=0.00 total=3\n")
    load.write_text("0.52 0.58 0.59 3/412 77\n")
    bad.write_text("<unknown>\n-4\n")
    assert read_once(
        file(stat, key="cpu1", argument=3),
        file(stat, key="cpu10", scale=1000),
        file(stat, key="cpu1", argument=1),
        file(stat, key="procs_running"),
        file(pressure, key="full", argument=2),
        file(load, argument=4),
    ) == [(7, 0), (8000, 0), (5, 0), (3, 0), (3, 0), (3, 0)]
    nothing = (0, errno.ENODATA)
    assert read_once(
        file(stat, key="cpu2"),
        file(stat, key="cpu1", argument=4),
        file(pressure, key="some", argument=1),
        file(load),
        file(bad),
        file(stat, key="cpu10", scale=1 << 62),
        file(tmp_path / "missing"),
        file(tmp_path),
    ) == [*[nothing] * 5, (0, errno.ERANGE), (0, errno.ENOENT), (0, errno.EISDIR)]


def test_python_threads_go_on_while_it_samples_and_while_it_waits(
    nvml_double: NvmlDouble,
) -> None:
    nvml_double.fault("hang")
    progress: list[int] = []
    done = threading.Event()

    def spin() -> None:
        count = 0
        while not done.is_set():
            count += 1
            progress[:] = [count]

    spinner = threading.Thread(target=spin)
    with sampler.Sampler(
        FIELDS, hz=1000, nvml_library=nvml_double.path, patience_s=PATIENCE_S
    ) as running:
        spinner.start()
        while not progress:
            time.sleep(0.001)
        before = progress[0]
        # Both wait for a call that does not return; with the GIL held the count would stand.
        running.start()
        between = progress[0]
        running.stop()
        after = progress[0]
        assert running.report().hung == 0
    done.set()
    spinner.join()
    assert between > before + 1000
    assert after >= between
    nvml_double.fault("")
    wait_for_no_thread()


def test_a_hang_is_given_up_and_the_thread_ends_once_it_is_over(nvml_double: NvmlDouble) -> None:
    running = sampler.Sampler(FIELDS, hz=200, nvml_library=nvml_double.path, patience_s=PATIENCE_S)
    running.start()
    nvml_double.fault("hang", after_readings=3)
    while True:  # until no tick is added any more
        ticks = running.report().ticks
        time.sleep(0.1)
        if running.report().ticks == ticks:
            break
    running.stop()
    running.stop()
    report = running.report()
    fast, *_ = running.take()
    assert report.hung == 0
    assert report.ticks == len(fast) == ticks
    assert (fast["status"] == 0).all()
    # Freed while the thread is still in its call: what that may write to has to live on.
    running.close()
    del running
    assert sampling_threads() == 1
    assert nvml_double.opened() == 1
    nvml_double.fault("")
    wait_for_no_thread()
    assert nvml_double.opened() == 0


@pytest.mark.parametrize(("fault", "hung"), [("hang_init", 0), ("hang_shutdown", 3)])
def test_hangs_at_both_ends(nvml_double: NvmlDouble, fault: str, hung: int) -> None:
    nvml_double.fault(fault)
    with sampler.Sampler(
        FIELDS, hz=200, nvml_library=nvml_double.path, patience_s=PATIENCE_S
    ) as running:
        running.start()
        running.stop()
        report = running.report()
        fast, *_ = running.take()
    assert report.hung == hung
    assert len(fast) == report.ticks
    nvml_double.fault("")
    wait_for_no_thread()


def test_a_sampler_that_is_dropped_leaves_nothing(nvml_double: NvmlDouble) -> None:
    gc.collect()  # what earlier tests left open would be closed meanwhile
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        running = sampler.Sampler(
            [*FIELDS, file(Path("/proc/loadavg"))], hz=1000, nvml_library=nvml_double.path
        )
        running.start()
        del running
    wait_for_no_thread()
    assert nvml_double.opened() == 0
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_signals_are_blocked_in_the_thread(tmp_path: Path) -> None:
    (tmp_path / "n").write_text("1\n")
    with sampler.Sampler([file(tmp_path / "n")]) as running:
        running.start()
        (mask,) = (
            line.split()[1]
            for task in TASKS.iterdir()
            if (task / "comm").read_text() == "harness-sampler\n"
            for line in (task / "status").read_text().splitlines()
            if line.startswith("SigBlk:")
        )
    # All but KILL and STOP, which cannot be, and the two that the C library keeps for itself.
    assert int(mask, 16) & 0x3FFF_FFFF == 0x3FFF_FFFF & ~(1 << 8) & ~(1 << 18)


def test_symbols_that_are_missing() -> None:
    clock = sampler.Channel(sampler.NVML_CLOCK, 1, 1_000_000)
    reasons = sampler.Channel(sampler.NVML_REASONS)
    for without, statuses in (
        ("INIT", [13, 13, 13]),
        ("FIELD_VALUES", [13, 0, 0]),
        ("EVENT_REASONS", [0, 0, 0]),  # the old name serves
    ):
        with sampler.Sampler(
            [FIELDS[0], clock, reasons], nvml_library=build_nvml(without)
        ) as running:
            running.start()
            running.stop()
            fast, *_ = running.take()
            report = running.report()
        assert [*fast[0, 1:]["status"]] == statuses
        assert ("nvmlInit_v2" in report.detail) == (without == "INIT")
        assert report.test_double


def test_it_is_started_once_and_closed_as_often_as_one_likes(tmp_path: Path) -> None:
    running = sampler.Sampler([file(tmp_path / "n")])
    running.stop()
    running.start()
    with pytest.raises(OSError, match=os.strerror(errno.EALREADY)):
        running.start()
    running.close()
    running.close()
    for method in (running.start, running.stop, running.take, running.report):
        with pytest.raises(ValueError, match="closed"):
            method()


@pytest.mark.parametrize(
    ("channels", "options", "named"),
    [
        ([], {"hz": 0.5}, "hz"),
        ([], {"hz": 1001}, "hz"),
        ([], {"hz": float("nan")}, "hz"),
        ([], {"slow_every": 0}, "slow_every"),
        ([], {"capacity": 0}, "capacity"),
        ([], {"gpu": -1}, "gpu"),
        ([], {"patience_s": 0.0}, "patience_s"),
        ([sampler.Channel(99)], {}, "kind"),
        ([sampler.Channel(sampler.FILE, 0)], {}, "fields"),
        (
            [sampler.Channel(sampler.FILE, 1, slow=True), sampler.Channel(sampler.FILE, 1)],
            {},
            "slow",
        ),
    ],
)
def test_arguments_that_cannot_be_meant(
    channels: list[sampler.Channel], options: dict[str, float], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        sampler.Sampler(channels, **options)  # type: ignore[arg-type]


def test_rows_that_cannot_be_had() -> None:
    with pytest.raises(MemoryError):
        sampler.Sampler([], capacity=1 << 60)
