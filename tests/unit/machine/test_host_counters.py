"""Counters of the host over a timed pass, on fake trees and on this machine."""

from __future__ import annotations

import mmap
import os
import time
from typing import TYPE_CHECKING

import pytest

from harness.machine.host_counters import HostNoise

if TYPE_CHECKING:
    from pathlib import Path

    from harness.records import Reading

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
CPUS = sorted(os.sched_getaffinity(0))


def plant(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def stat_text(user: int, steal: int) -> str:
    """Allowed CPUs with these counters, and one that is not allowed and very busy."""
    lines = [f"cpu{cpu} {user} 0 0 500 9 0 0 {steal} 0 0" for cpu in CPUS]
    lines.append(f"cpu{max(CPUS) + 1} {user * 1000} 0 0 0 0 0 0 {steal * 1000} 0 0")
    return "\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *lines, "intr 1 2 3\n"])


def counters(noise: HostNoise) -> dict[str, Reading]:
    return {reading.name: reading for reading in noise.stop()}


def test_growth_of_the_counters_of_a_fake_host(tmp_path: Path) -> None:
    frequency = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    plant(
        tmp_path,
        {
            "proc/stat": stat_text(user=100, steal=7),
            "proc/thread-self/schedstat": "5000 700 3\n",
            "proc/self/cgroup": "0::/job\n",
            "sys/fs/cgroup/job/cpu.stat": "nr_throttled 3\nthrottled_usec 1000\n",
            "proc/pressure/cpu": "some avg10=0.00 total=50\nfull avg10=0.00 total=0\n",
            **{frequency.format(cpu): "2000000\n" for cpu in CPUS},
        },
    )
    noise = HostNoise(tmp_path)
    noise.start()
    plant(
        tmp_path,
        {
            "proc/stat": stat_text(user=400, steal=12),
            "proc/thread-self/schedstat": "9000 1900 8\n",
            "sys/fs/cgroup/job/cpu.stat": "nr_throttled 5\nthrottled_usec 1700\n",
            "proc/pressure/cpu": "some avg10=9.00 total=90\nfull avg10=0.00 total=0\n",
            **{frequency.format(cpu): "3000000\n" for cpu in CPUS},
        },
    )
    found = counters(noise)

    assert found["cpu_wait_ns"].value == 1200
    assert found["steal_ns"].value == 5 * TICK_NS * len(CPUS)
    own_ns = found["cpu_time_ns"].value
    assert isinstance(own_ns, int)
    assert found["other_load_ns"].value == 300 * TICK_NS * len(CPUS) - own_ns
    assert found["cgroup_throttled_periods"].value == 2
    assert found["cgroup_throttled_ns"].value == 700_000
    assert found["cpu_pressure_ns"].value == 40_000
    assert found["frequency_min_hz"].value == 2_000_000_000
    assert found["frequency_mean_hz"].value == 2_500_000_000
    assert found["frequency_max_hz"].value == 3_000_000_000
    assert "memory" in found["memory_pressure_ns"].reason


def test_a_kernel_that_does_not_count_waiting_is_not_taken_for_one_without(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/thread-self/schedstat": "0 0 0\n"})
    noise = HostNoise(tmp_path)
    noise.start()
    found = counters(noise)["cpu_wait_ns"]
    assert found.value is None
    assert "does not count" in found.reason


def test_version_1_groups_count_throttling_in_nanoseconds(tmp_path: Path) -> None:
    path = "sys/fs/cgroup/cpu,cpuacct/cpu.stat"
    plant(tmp_path, {"proc/self/cgroup": "3:cpu,cpuacct:/docker/host-side-path\n"})
    plant(tmp_path, {path: "nr_periods 0\nnr_throttled 0\nthrottled_time 10\n"})
    noise = HostNoise(tmp_path)
    noise.start()
    plant(tmp_path, {path: "nr_periods 9\nnr_throttled 1\nthrottled_time 25\n"})
    found = counters(noise)
    assert found["cgroup_throttled_ns"].value == 15
    assert found["cgroup_throttled_ns"].source == f"/{path}"


def test_idle_host_has_no_negative_load(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/stat": stat_text(user=100, steal=0)})
    noise = HostNoise(tmp_path)
    noise.start()
    sum(range(10_000))  # our own time, which the ticks of the fake host do not show
    assert counters(noise)["other_load_ns"].value == 0


def test_empty_tree_leaves_what_the_process_knows_of_itself(tmp_path: Path) -> None:
    noise = HostNoise(tmp_path)
    noise.start()
    found = counters(noise)
    present = {name for name, reading in found.items() if reading.value is not None}
    assert present == {
        "wall_ns",
        "cpu_time_ns",
        "voluntary_switches",
        "involuntary_switches",
        "minor_faults",
        "major_faults",
    }
    assert all(found[name].reason for name in found.keys() - present)


def test_cpu_without_a_line_in_stat_is_an_absence(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/stat": "cpu  1 2 3 4 5 6 7 8 9 10\n"})
    noise = HostNoise(tmp_path)
    noise.start()
    found = counters(noise)
    assert found["steal_ns"].value is None
    assert f"no line for CPU {CPUS[0]}" in found["steal_ns"].reason


def test_frequency_falls_back_to_cpuinfo_of_the_allowed_cpus(tmp_path: Path) -> None:
    def block(cpu: int, mhz: float) -> str:
        return f"processor\t: {cpu}\nmodel name\t: X\ncpu MHz\t\t: {mhz}\nflags\t: fpu\n\n"

    blocks = [block(cpu, 2500.5) for cpu in CPUS] + [block(max(CPUS) + 1, 9000.0)]
    plant(tmp_path, {"proc/cpuinfo": "".join(blocks)})
    noise = HostNoise(tmp_path)
    noise.start()
    found = counters(noise)
    assert found["frequency_max_hz"].value == 2_500_500_000
    assert "cpuinfo" in found["frequency_max_hz"].source


def test_work_switches_and_faults_of_this_process_are_counted() -> None:
    pages = 64
    noise = HostNoise()
    noise.start()
    deadline = time.process_time_ns() + 1_000_000
    while time.process_time_ns() < deadline:
        pass
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1
    time.sleep(0.001)
    values = {name: reading.value for name, reading in counters(noise).items()}

    assert values["cpu_time_ns"] >= 1_000_000
    assert values["wall_ns"] >= values["cpu_time_ns"]
    assert values["minor_faults"] >= pages
    assert values["voluntary_switches"] >= 1
    assert values["steal_ns"] >= 0


def test_stop_needs_a_start() -> None:
    with pytest.raises(RuntimeError, match="start"):
        HostNoise().stop()


def test_frequency_that_the_kernel_does_not_know_is_an_absence(tmp_path: Path) -> None:
    frequency = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
    plant(tmp_path, {frequency.format(cpu): "<unknown>\n" for cpu in CPUS})
    noise = HostNoise(tmp_path)
    noise.start()
    found = counters(noise)
    assert found["frequency_mean_hz"].value is None
    assert "<unknown>" in found["frequency_mean_hz"].reason
