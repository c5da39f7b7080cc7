"""The CPU, how much of it this process may use, and its frequency."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.machine.control_groups import control_groups
from harness.machine.cpu_lists import cpu_list, cpu_ranges
from harness.machine.facts.files import kibi, kilo, matching, read
from harness.records import Reading

_CPUS = "sys/devices/system/cpu"


def processor(root: Path) -> Iterator[Reading]:
    """Model, topology, caches, and how much of the CPU this process may use."""
    yield read(root, "cpu_model", "proc/cpuinfo", matching(r"^model name\s*:\s*(.+)"))
    yield from _topology(root)
    yield read(
        root, "smt", f"{_CPUS}/smt/active", lambda text: {"1": "on", "0": "off"}[text.strip()]
    )
    allowed = os.sched_getaffinity(0)
    yield Reading("affinity", cpu_ranges(allowed), "", "sched_getaffinity")
    yield Reading("affinity_cpus", len(allowed), "1", "sched_getaffinity")
    yield cgroup_cpu_limit(root)
    yield read(
        root,
        "numa_nodes",
        "sys/devices/system/node/online",
        lambda text: len(cpu_list(text)),
        "1",
    )
    for index in range(5):
        folder = f"{_CPUS}/cpu0/cache/index{index}"
        kind = read(root, "", f"{folder}/type").value
        if kind is None:
            continue
        level = read(root, "", f"{folder}/level").value
        letter = {"Data": "d", "Instruction": "i"}.get(str(kind), "")
        size = matching(r"^(\d+)K", kibi)
        yield read(root, f"cache_l{level}{letter}_bytes", f"{folder}/size", size, "bytes")


def _topology(root: Path) -> Iterator[Reading]:
    """Online sockets, cores and hardware threads."""
    source = f"/{_CPUS}/cpu*/topology"
    sockets, cores = set(), set()
    try:
        online = cpu_list((root / _CPUS / "online").read_text())
        for cpu in online:
            topology = root / _CPUS / f"cpu{cpu}" / "topology"
            sockets.add((topology / "physical_package_id").read_text())
            cores.add((topology / "thread_siblings_list").read_text())
    except OSError as error:
        for name in ("cpu_sockets", "cpu_cores", "cpu_threads"):
            yield Reading(name, None, "1", source, f"{source}: {error.strerror}")
        return
    yield Reading("cpu_sockets", len(sockets), "1", source)
    yield Reading("cpu_cores", len(cores), "1", source)
    yield Reading("cpu_threads", len(online), "1", source)


def cgroup_cpu_limit(root: Path = Path("/")) -> Reading:
    """CPU time that control groups allow this process, as a number of CPUs.

    The tightest quota of the process's group and its parents, versions 1 and 2; the value is
    ``none`` if no group sets one.
    """
    name, unit = "cgroup_cpu_limit", "CPUs"
    try:
        groups = [folder for folder, _ in control_groups(root, "cpu")]
        next((root / "sys/fs/cgroup").iterdir())
    except (OSError, StopIteration):
        reason = "/proc/self/cgroup or /sys/fs/cgroup does not exist"
        return Reading(name, None, unit, "/sys/fs/cgroup", reason)
    limits = [
        (cpus, f"/{folder.relative_to(root)}")
        for folder in groups
        if (cpus := _quota(folder)) is not None
    ]
    if not limits:
        return Reading(name, "none", "", "/sys/fs/cgroup")
    cpus, source = min(limits)
    return Reading(name, cpus, unit, source)


def _quota(group: Path) -> float | None:
    """Number of CPUs that one control group allows; None if it sets no limit."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
    except OSError:
        return None
    return None if quota == "max" or int(quota) < 0 else int(quota) / int(period)


def frequency(root: Path) -> Iterator[Reading]:
    """Governor, driver, limits, and the current frequency."""
    first = f"{_CPUS}/cpu0/cpufreq"
    governors = {
        reading.value
        for folder in sorted((root / _CPUS).glob("cpu[0-9]*"))
        if (reading := read(root, "", f"{_CPUS}/{folder.name}/cpufreq/scaling_governor")).value
    }
    if governors:
        names = ", ".join(sorted(map(str, governors)))
        yield Reading("frequency_governor", names, "", f"/{_CPUS}/cpu*/cpufreq/scaling_governor")
    else:
        yield read(root, "frequency_governor", f"{first}/scaling_governor")
    yield read(root, "frequency_driver", f"{first}/scaling_driver")
    yield read(root, "frequency_min_hz", f"{first}/cpuinfo_min_freq", kilo, "Hz")
    yield read(root, "frequency_max_hz", f"{first}/cpuinfo_max_freq", kilo, "Hz")
    current = read(root, "frequency_now_hz", f"{first}/scaling_cur_freq", kilo, "Hz")
    if current.value is None:
        mhz = matching(r"^cpu MHz\s*:\s*([\d.]+)", lambda text: round(float(text) * 1e6))
        current = read(root, "frequency_now_hz", "proc/cpuinfo", mhz, "Hz")
    yield current
    switch = {"1": "on", "0": "off"}
    boost = read(root, "boost", f"{_CPUS}/cpufreq/boost", lambda text: switch[text.strip()])
    if boost.value is None:
        no_turbo = {"0": "on", "1": "off"}
        path = f"{_CPUS}/intel_pstate/no_turbo"
        turbo = read(root, "boost", path, lambda text: no_turbo[text.strip()])
        boost = turbo if turbo.value is not None else boost
    yield boost
