"""What this machine can measure, what it cannot, and how to fix that."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from harness.machine.host_counters import HostNoise
from harness.machine.topology import Topology, described
from harness.records import Reading

Facts = Mapping[str, Reading]

_GIB = 1 << 30
_LOAD_SAMPLE_S = 0.2
_STAMPS = 20_000

# Bits of capabilities(7).
_CAP_SYS_PTRACE, _CAP_SYS_ADMIN, _CAP_PERFMON = 19, 21, 38


@dataclasses.dataclass(frozen=True, slots=True)
class Capability:
    """What doctor reports about one subject.

    Attributes:
        name: the subject.
        state: ``ok``, ``limited`` (usable, or measured, with a caveat) or ``absent``.
        detail: what was found; for ``absent`` the reason.
        remedy: what would fix it; empty only if ``ok``.
    """

    name: str
    state: Literal["ok", "limited", "absent"]
    detail: str
    remedy: str = ""


def of_facts(facts: Facts) -> Iterator[Capability]:
    """The capabilities that follow from the facts of the machine, given by name."""
    return (look(facts) for look in _LOOKS)


def of_topology(found: Topology) -> Iterator[Capability]:
    """The CPUs of the machine, drawn in a few lines."""
    return (Capability("CPU topology", "ok", line) for line in described(found))


def of_this_moment(folder: Path) -> Iterator[Capability]:
    """The capabilities that may be different a minute later.

    Args:
        folder: where profiles are written; it need not exist.
    """
    yield _other_load()
    yield _disk(folder)


def _nvml(facts: Facts) -> Capability:
    driver = facts["nvml_driver"]
    if driver.value is None:
        return Capability(
            "GPU sampling (NVML)",
            "absent",
            driver.reason,
            "needs an NVIDIA driver with libnvidia-ml.so.1 "
            "(containers: --gpus all)",  # another program's
        )
    names = [
        str(reading.value)
        for name, reading in facts.items()
        if name.startswith("gpu") and name.endswith("_name")
    ]
    return Capability("GPU sampling (NVML)", "ok", f"driver {driver.value}: {', '.join(names)}")


def _cpu_energy(facts: Facts) -> Capability:
    energy = facts["cpu_energy"]
    if energy.value is not None:
        return Capability("CPU energy", "ok", f"{energy.value}, {energy.source}")
    if "only root may read it" in energy.reason:
        remedy = "sudo chmod -R a+r /sys/class/powercap, or measure as root"
    elif _is_virtual(facts):
        remedy = "hypervisors hide it: measure on bare metal"
    else:
        remedy = "sudo modprobe intel_rapl_msr (AMD too), or amd_hsmp on EPYC"
    return Capability("CPU energy", "absent", energy.reason, remedy)


def _hardware_counters(facts: Facts) -> Capability:
    cycles = facts["cycles_counter"]
    if cycles.value is not None:
        return Capability("Hardware counters", "ok", "the cycles counter opens and counts")
    if _is_virtual(facts):
        remedy = "use a virtual machine with a virtual PMU, or bare metal"
    else:
        remedy = "see perf events; if those are permitted, the kernel needs a PMU driver"
    return Capability("Hardware counters", "absent", cycles.reason, remedy)


def _perf_events(facts: Facts) -> Capability:
    name, paranoid = "perf events", facts["perf_event_paranoid"]
    if paranoid.value is None:
        return Capability(name, "absent", paranoid.reason, "a kernel built with CONFIG_PERF_EVENTS")
    detail = f"perf_event_paranoid is {paranoid.value}"
    if _has_capability(facts, _CAP_PERFMON, _CAP_SYS_ADMIN):
        return Capability(name, "ok", f"{detail}, and this process may ignore it")
    remedy = "sudo sysctl kernel.perf_event_paranoid=1"
    level = int(paranoid.value)
    if level > 2:
        return Capability(name, "absent", f"{detail}: not permitted to users", remedy)
    if level == 2:
        return Capability(
            name, "limited", f"{detail}: user-space events only, no kernel events", remedy
        )
    return Capability(name, "ok", detail)


def _clock(facts: Facts) -> Capability:
    try:
        from harness.native import ort

        monotonic_ns, reader = ort.monotonic_ns, "harness.native.ort.monotonic_ns"
    except ImportError:
        monotonic_ns, reader = time.monotonic_ns, "time.monotonic_ns"
    cost_ns = min(timeit.repeat(monotonic_ns, number=_STAMPS, repeat=5)) / _STAMPS * 1e9
    source = facts["clock_source"]
    detail = (
        f"{source.value or source.reason}; a timestamp costs at most {cost_ns:.0f} ns "
        f"(best of 5 x {_STAMPS} calls of {reader} from Python, call overhead included)"
    )
    # Clocks that the vDSO can read; with any other, each timestamp costs a system call.
    fast = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")
    if source.value in fast:
        return Capability("Clock", "ok", detail)
    if "tsc" in str(facts["clock_sources"].value).split():
        remedy = f"echo tsc | sudo tee {source.source}"
    else:
        remedy = "boot with tsc=reliable if the CPU has an invariant TSC"
    return Capability("Clock", "limited", detail, remedy)


def _governor(facts: Facts) -> Capability:
    name, governor = "Frequency governor", facts["frequency_governor"]
    if governor.value is None:
        remedy = (
            "the host sets it: have the performance governor selected there"
            if _is_virtual(facts)
            else "load a cpufreq driver (firmware: let the OS control P-states)"
        )
        return Capability(name, "absent", governor.reason, remedy)
    detail = f"{governor.value} ({facts['frequency_driver'].value}), boost "
    detail += str(facts["boost"].value or "not reported")
    if governor.value == "performance":
        return Capability(name, "ok", detail)
    return Capability(name, "limited", detail, "sudo cpupower frequency-set -g performance")


def _smt(facts: Facts) -> Capability:
    smt = facts["smt"]
    if smt.value is None:
        return Capability("SMT", "absent", smt.reason, "see lscpu: Thread(s) per core")
    cores, threads = facts["cpu_cores"].value, facts["cpu_threads"].value
    detail = f"{smt.value}: {cores} cores, {threads} hardware threads"
    if smt.value == "on":
        return Capability("SMT", "limited", detail, "`affinity` with one thread of each core")
    if _is_virtual(facts):
        return Capability(
            "SMT",
            "limited",
            f"{detail}, as reported to the guest; vCPUs may still share a physical core",
            "have the host assign one core to each vCPU",
        )
    return Capability("SMT", "ok", detail)


def _virtualisation(facts: Facts) -> Capability:
    name, virtual = "Own machine", facts["virtualisation"]
    if virtual.value is None:
        return Capability(name, "absent", virtual.reason, "see systemd-detect-virt")
    if not _is_virtual(facts):
        return Capability(name, "ok", "not virtual")
    return Capability(
        name,
        "limited",
        f"virtual machine ({virtual.value}): other guests can take its CPU time, see steal_ns",
        "measure on bare metal, or compare interleaved",
    )


def _cpu_limit(facts: Facts) -> Capability:
    name, limit = "CPU limit", facts["cgroup_cpu_limit"]
    usable = int(facts["affinity_cpus"].value or 0)
    detail = f"{usable} of {facts['cpu_threads'].value} hardware threads allowed"
    if limit.value is None:
        return Capability(name, "absent", f"{detail}; {limit.reason}", "mount /sys/fs/cgroup")
    if isinstance(limit.value, str):
        return Capability(name, "ok", f"{detail}, no cgroup quota")
    return Capability(
        name,
        "limited",
        f"{detail}; {limit.source} allows {limit.value:g} CPUs, above that all threads stall",
        f"lift the quota, or `intra_threads` {max(1, int(min(limit.value, usable)))}",
    )


def _memory(facts: Facts) -> Capability:
    total, available = facts["memory_total_bytes"], facts["memory_available_bytes"]
    if total.value is None or available.value is None:
        return Capability("Memory", "absent", total.reason or available.reason, "mount /proc")
    free = float(available.value) / _GIB
    detail = f"{free:.1f} of {float(total.value) / _GIB:.1f} GiB available"
    if free < 1:
        return Capability(
            "Memory", "limited", detail, "stop other programs: large models need more"
        )
    return Capability("Memory", "ok", detail)


def _stacks(facts: Facts) -> Capability:
    """Whether py-spy may read another process's memory, which Yama may forbid."""
    name = "Stacks (py-spy)"
    try:
        detail = f"py-spy {version('py-spy')}"
    except PackageNotFoundError:
        return Capability(name, "absent", "py-spy is not installed", "pip install py-spy")
    scope = facts["ptrace_scope"]
    if _has_capability(facts, _CAP_SYS_PTRACE):
        return Capability(name, "ok", f"{detail}, this process may trace any other process")
    if scope.value is None or scope.value == 0:
        return Capability(name, "ok", f"{detail}, no Yama restriction")
    detail += f", ptrace_scope is {scope.value}"
    remedy = "sudo sysctl kernel.yama.ptrace_scope=0"
    if scope.value == 1:
        return Capability(
            name, "limited", f"{detail}: only processes that py-spy itself started", remedy
        )
    if scope.value == 3:
        remedy += " after a reboot: 3 cannot be lowered"
    return Capability(name, "absent", f"{detail}: not permitted", remedy)


#: Capabilities that only need the facts of the machine, in the order in which they are shown.
_LOOKS: tuple[Callable[[Facts], Capability], ...] = (
    _nvml,
    _cpu_energy,
    _hardware_counters,
    _perf_events,
    _stacks,
    _clock,
    _governor,
    _smt,
    _virtualisation,
    _cpu_limit,
    _memory,
)


def _other_load() -> Capability:
    name, noise = "Other load", HostNoise()
    noise.start()
    time.sleep(_LOAD_SAMPLE_S)
    counters = {reading.name: reading for reading in noise.stop()}
    other, steal, wall = (counters[key] for key in ("other_load_ns", "steal_ns", "wall_ns"))
    if other.value is None or wall.value is None:
        return Capability(name, "absent", other.reason, "mount /proc")
    busy = float(other.value) / float(wall.value)
    stolen = float(steal.value or 0) / float(wall.value)
    detail = f"{busy:.2f} CPUs busy with other work, {stolen:.2f} stolen, over {_LOAD_SAMPLE_S} s"
    # One 10 ms tick of a CPU in 200 ms reads as 0.05; fewer than two are not worth reporting.
    if busy + stolen < 0.1:
        return Capability(name, "ok", detail)
    return Capability(
        name, "limited", detail, "stop other programs, or pin to idle CPUs with `affinity`"
    )


def _disk(folder: Path) -> Capability:
    """Free space where ``profile`` writes its files: profiles/ in the current folder."""
    existing = folder if folder.is_dir() else folder.absolute().parent
    free = shutil.disk_usage(existing).free / _GIB
    detail = f"{free:.1f} GiB free for {folder}/"
    if not os.access(existing, os.W_OK):
        return Capability(
            "Disk", "absent", f"{existing} is not writable", "`output` FILE elsewhere"
        )
    if free < 1:
        return Capability("Disk", "limited", detail, "make room, or `output` FILE on another disk")
    return Capability("Disk", "ok", detail)


def _is_virtual(facts: Facts) -> bool:
    return facts["virtualisation"].value not in (None, "none")


def _has_capability(facts: Facts, *bits: int) -> bool:
    effective = int(str(facts["effective_capabilities"].value or "0"), 16)
    return any(effective >> bit & 1 for bit in bits)
