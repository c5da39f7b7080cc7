"""The host: its kernel, memory and load, and which counters users may read."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from pathlib import Path

from harness.machine.facts.files import kibi, matching, read
from harness.machine.host_counters import TICK_NS
from harness.records import Reading


def system(root: Path) -> Iterator[Reading]:
    """Names of the host and its kernel, clocks and settings."""
    yield read(root, "host_name", "proc/sys/kernel/hostname")
    yield read(root, "kernel", "proc/sys/kernel/osrelease")
    yield read(root, "os", "etc/os-release", matching(r'^PRETTY_NAME="?([^"\n]+)'))
    yield Reading("architecture", platform.machine(), "", "uname")
    yield _virtualisation(root)
    clock = "sys/devices/system/clocksource/clocksource0"
    yield read(root, "clock_source", f"{clock}/current_clocksource")
    yield read(root, "clock_sources", f"{clock}/available_clocksource")
    thp = "sys/kernel/mm/transparent_hugepage/enabled"
    yield read(root, "transparent_huge_pages", thp, matching(r"\[(\w+)\]"))
    yield read(root, "aslr", "proc/sys/kernel/randomize_va_space", int)
    yield read(root, "boot_id", "proc/sys/kernel/random/boot_id")
    yield read(root, "uptime_s", "proc/uptime", lambda text: float(text.split()[0]), "s")


def _virtualisation(root: Path) -> Reading:
    """``none``, or the hypervisor as far as it identifies itself to the guest."""
    name = "virtualisation"
    guest = read(root, name, "proc/cpuinfo", matching(r"^flags\s*:.*\b(hypervisor)\b"))
    vendor = read(root, name, "sys/class/dmi/id/sys_vendor")
    if guest.value is not None:
        return Reading(name, vendor.value or "unknown hypervisor", "", guest.source)
    flags = read(root, name, "proc/cpuinfo", matching(r"^(flags)\s*:"))
    if flags.value is None:
        return Reading(name, None, "", guest.source, "/proc/cpuinfo lists no CPU flags")
    return Reading(name, "none", "", guest.source)


def memory(root: Path) -> Iterator[Reading]:
    """Total and available memory."""
    for name, field in (("total", "MemTotal"), ("available", "MemAvailable")):
        parse = matching(rf"^{field}:\s*(\d+) kB", kibi)
        yield read(root, f"memory_{name}_bytes", "proc/meminfo", parse, "bytes")


def load(root: Path) -> Iterator[Reading]:
    """Load averages, and the steal time since boot."""
    for column, minutes in enumerate((1, 5, 15)):
        yield read(
            root,
            f"load_average_{minutes}m",
            "proc/loadavg",
            matching(rf"^(?:\S+ ){{{column}}}(\S+)", float),
            "1",
        )
    # user nice system idle iowait irq softirq steal …, see proc_stat(5).
    steal = matching(r"^cpu +(?:\d+ ){7}(\d+)", lambda text: int(text) * TICK_NS)
    yield read(root, "steal_since_boot_ns", "proc/stat", steal, "ns")


def counters(root: Path) -> Iterator[Reading]:
    """What this process may read, and which counters work."""
    yield read(root, "perf_event_paranoid", "proc/sys/kernel/perf_event_paranoid", int)
    yield read(root, "ptrace_scope", "proc/sys/kernel/yama/ptrace_scope", int)
    yield read(
        root, "effective_capabilities", "proc/self/status", matching(r"^CapEff:\s*([0-9a-f]+)")
    )
    yield _cycles_counter()
    yield _cpu_energy(root)


def _cycles_counter() -> Reading:
    """Whether the CPU's cycles counter opens for this process and counts."""
    name, source = "cycles_counter", "perf_event_open"
    number = {"x86_64": 298, "aarch64": 241}.get(platform.machine())
    if number is None:
        reason = f"the syscall number of perf_event_open on {platform.machine()} is not known here"
        return Reading(name, None, "", source, reason)
    # struct perf_event_attr of perf_event_open(2) in its first published size: type HARDWARE,
    # size 64, config CPU_CYCLES, …, flags exclude_kernel (bit 5) and exclude_hv (bit 6).
    attributes = struct.pack("=IIQQQQQIIQ", 0, 64, 0, 0, 0, 0, 1 << 5 | 1 << 6, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(number, attributes, 0, -1, -1, 0)
    if descriptor < 0:
        code = ctypes.get_errno()
        absent = code in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV)
        why = "the machine exposes no such counter" if absent else os.strerror(code)
        return Reading(name, None, "", source, f"{why} ({errno.errorcode[code]})")
    try:
        (cycles,) = struct.unpack("=Q", os.read(descriptor, 8))
    finally:
        os.close(descriptor)
    if not cycles:
        return Reading(name, None, "", source, "the counter opens but does not count")
    return Reading(name, "usable", "", source)


def _cpu_energy(root: Path) -> Reading:
    """The CPU energy or power series that the sampler can read here."""
    name, source = "cpu_energy", "powercap, hwmon"
    try:
        from harness.machine.devices.cpu_energy import CpuEnergy
    except ImportError as error:
        reason = f"harness's own native module does not load: {error}"
        return Reading(name, None, "", source, reason)
    offer = CpuEnergy(root).offer()
    if not offer.channels:
        return Reading(name, None, "", source, "; ".join(reason for _, reason in offer.absent))
    series = ", ".join(channel.name for channel in offer.channels)
    return Reading(name, series, "", ", ".join(channel.source for channel in offer.channels))
