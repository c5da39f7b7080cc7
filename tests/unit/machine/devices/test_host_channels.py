"""Channels of the host, found in fake trees and read by the real thread."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from harness.machine.devices.host_channels import HostSeries
from harness.native import sampler

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def plant(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def read(source: HostSeries) -> dict[str, tuple[int, int]]:
    """name -> (value, status) of the first reading of each channel."""
    channels = sorted(source.offer().channels, key=lambda channel: channel.reads.slow)
    with sampler.Sampler([channel.reads for channel in channels]) as running:
        running.start()
        fast, slow, _ = running.take()
    row = [*fast[0, 1:], *slow[0]]
    return {
        channel.name: (int(reading["value"]), int(reading["status"]))
        for channel, reading in zip(channels, row, strict=True)
    }


def test_series_of_a_fake_host(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "proc/loadavg": "0.10 0.20 0.30 5/600 1234\n",
            "proc/pressure/memory": "some avg10=1.00 avg60=0.50 avg300=0.10 total=70\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
            "proc/stat": "cpu  1 1 1 1 1 1 1 99\ncpu1 1 1 1 1 1 1 1 8 0 0\n"
            "cpu11 1 1 1 1 1 1 1 9 0 0\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2400000\n",
            "sys/devices/system/cpu/cpu11/cpufreq/scaling_cur_freq": "<unknown>\n",
        },
    )
    source = HostSeries([11, 1], tmp_path)
    assert source.offer().absent == ()
    assert read(source) == {
        "host runnable_threads": (5, 0),
        "host memory_pressure_ns": (70_000, 0),
        "cpu1 steal_ns": (8 * TICK_NS, 0),
        "cpu11 steal_ns": (9 * TICK_NS, 0),
        "cpu1 frequency_hz": (2_400_000_000, 0),
        "cpu11 frequency_hz": (0, errno.ENODATA),
    }
    assert "does not report" in source.explain(errno.ENODATA)


def test_a_host_that_tells_little(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/stat": "cpu  1 1\ncpu0 1 1 1\n"})
    source = HostSeries([0], tmp_path)
    ((what, reason),) = source.offer().absent
    assert what == "cpu frequency_hz"
    assert "cpufreq" in reason
    assert {name: status for name, (_, status) in read(source).items()} == {
        "host runnable_threads": errno.ENOENT,
        "host memory_pressure_ns": errno.ENOENT,
        "cpu0 steal_ns": errno.ENODATA,
    }
    assert source.explain(errno.ENOENT) == os.strerror(errno.ENOENT)
    assert "psi=1" in source.explain(errno.EOPNOTSUPP)


def test_cpus_without_a_frequency_are_named(tmp_path: Path) -> None:
    plant(tmp_path, {"sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1\n"})
    ((_, reason),) = HostSeries([0, 3, 5], tmp_path).offer().absent
    assert "3, 5" in reason
