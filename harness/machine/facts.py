"""Facts of the machine, the driver and the installed software, each with its source.

Nothing here loads ONNX Runtime or an NVIDIA library that a measured process would then
carry; what needs one is asked in a process of its own.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import importlib.util
import os
import platform
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.machine.control_groups import control_groups
from harness.machine.cpu_lists import cpu_list, cpu_ranges
from harness.records import Reading

#: Distributions that provide the ``onnxruntime`` package.
ORT_DISTRIBUTIONS = (
    "onnxruntime-gpu",
    "onnxruntime",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-training",
    "onnxruntime-qnn",
    "ort-nightly-gpu",
    "ort-nightly",
)
PACKAGES = ("onnx-harness", "numpy", "onnx", "pyperf", "h5py")

_CPUS = "sys/devices/system/cpu"


def collect(root: Path = Path("/")) -> tuple[Reading, ...]:
    """Reads everything that a profile records about where it was measured.

    Takes some tens of milliseconds, more where a GPU driver has to start.

    Args:
        root: where /proc, /sys, /etc and /dev are looked for. What is not a file
            (affinity, the cycles counter, NVML, Python's packages) is always this
            process' own.
    """
    return (
        *_system(root),
        *_cpu(root),
        *_frequency(root),
        *_memory(root),
        *_load(root),
        *_counters(root),
        *_gpus(),
        *_software(),
    )


# Reading files

Parse = Callable[[str], int | float | str]


def _read(root: Path, name: str, path: str, parse: Parse = str.strip, unit: str = "") -> Reading:
    """One fact out of one file; absent with the reason when it is not there."""
    source = f"/{path}"
    try:
        return Reading(name, parse((root / path).read_text()), unit, source)
    except OSError as error:
        return Reading(name, None, unit, source, f"{source}: {error.strerror}")
    except (LookupError, ValueError):
        return Reading(name, None, unit, source, f"{source} does not tell it")


def _matching(pattern: str, convert: Callable[[str], int | float | str] = str.strip) -> Parse:
    """A parser: the pattern's group, converted; LookupError where it does not match."""

    def parse(text: str) -> int | float | str:
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            raise LookupError(pattern)
        return convert(match[1])

    return parse


def _kilo(text: str) -> int:
    return int(text) * 1000


def _kibi(text: str) -> int:
    return int(text) * 1024


# Facts, by part of the machine


def _system(root: Path) -> Iterator[Reading]:
    yield _read(root, "host_name", "proc/sys/kernel/hostname")
    yield _read(root, "kernel", "proc/sys/kernel/osrelease")
    yield _read(root, "os", "etc/os-release", _matching(r'^PRETTY_NAME="?([^"\n]+)'))
    yield Reading("architecture", platform.machine(), "", "uname")
    yield _virtualisation(root)
    clock = "sys/devices/system/clocksource/clocksource0"
    yield _read(root, "clock_source", f"{clock}/current_clocksource")
    yield _read(root, "clock_sources", f"{clock}/available_clocksource")
    thp = "sys/kernel/mm/transparent_hugepage/enabled"
    yield _read(root, "transparent_huge_pages", thp, _matching(r"\[(\w+)\]"))
    yield _read(root, "aslr", "proc/sys/kernel/randomize_va_space", int)
    yield _read(root, "uptime_s", "proc/uptime", lambda text: float(text.split()[0]), "s")


def _virtualisation(root: Path) -> Reading:
    """``none``, or the hypervisor as far as the guest is told."""
    name = "virtualisation"
    guest = _read(root, name, "proc/cpuinfo", _matching(r"^flags\s*:.*\b(hypervisor)\b"))
    vendor = _read(root, name, "sys/class/dmi/id/sys_vendor")
    if guest.value is not None:
        return Reading(name, vendor.value or "hypervisor, its name is not told", "", guest.source)
    flags = _read(root, name, "proc/cpuinfo", _matching(r"^(flags)\s*:"))
    if flags.value is None:
        return Reading(name, None, "", guest.source, "/proc/cpuinfo lists no CPU flags")
    return Reading(name, "none", "", guest.source)


def _cpu(root: Path) -> Iterator[Reading]:
    yield _read(root, "cpu_model", "proc/cpuinfo", _matching(r"^model name\s*:\s*(.+)"))
    yield from _topology(root)
    yield _read(
        root, "smt", f"{_CPUS}/smt/active", lambda text: {"1": "on", "0": "off"}[text.strip()]
    )
    allowed = os.sched_getaffinity(0)
    yield Reading("affinity", cpu_ranges(allowed), "", "sched_getaffinity")
    yield Reading("affinity_cpus", len(allowed), "1", "sched_getaffinity")
    yield cgroup_cpu_limit(root)
    yield _read(
        root,
        "numa_nodes",
        "sys/devices/system/node/online",
        lambda text: len(cpu_list(text)),
        "1",
    )
    for index in range(5):
        folder = f"{_CPUS}/cpu0/cache/index{index}"
        kind = _read(root, "", f"{folder}/type").value
        if kind is None:
            continue
        level = _read(root, "", f"{folder}/level").value
        letter = {"Data": "d", "Instruction": "i"}.get(str(kind), "")
        size = _matching(r"^(\d+)K", _kibi)
        yield _read(root, f"cache_l{level}{letter}_bytes", f"{folder}/size", size, "bytes")


def _topology(root: Path) -> Iterator[Reading]:
    """Sockets, cores and hardware threads that are online."""
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
    """CPUs' worth of time that control groups allow this process.

    The tightest quota of the process' group and those around it, versions 1 and 2;
    the value is ``none`` when no group sets one.
    """
    name, unit = "cgroup_cpu_limit", "CPUs"
    try:
        groups = [folder for folder, _ in control_groups(root, "cpu")]
        next((root / "sys/fs/cgroup").iterdir())
    except (OSError, StopIteration):
        reason = "/proc/self/cgroup or /sys/fs/cgroup is not there"
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
    """CPUs that one control group allows, None where it sets no limit."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
    except OSError:
        return None
    return None if quota == "max" or int(quota) < 0 else int(quota) / int(period)


def _frequency(root: Path) -> Iterator[Reading]:
    first = f"{_CPUS}/cpu0/cpufreq"
    governors = {
        reading.value
        for folder in sorted((root / _CPUS).glob("cpu[0-9]*"))
        if (reading := _read(root, "", f"{_CPUS}/{folder.name}/cpufreq/scaling_governor")).value
    }
    if governors:
        names = ", ".join(sorted(map(str, governors)))
        yield Reading("frequency_governor", names, "", f"/{_CPUS}/cpu*/cpufreq/scaling_governor")
    else:
        yield _read(root, "frequency_governor", f"{first}/scaling_governor")
    yield _read(root, "frequency_driver", f"{first}/scaling_driver")
    yield _read(root, "frequency_min_hz", f"{first}/cpuinfo_min_freq", _kilo, "Hz")
    yield _read(root, "frequency_max_hz", f"{first}/cpuinfo_max_freq", _kilo, "Hz")
    current = _read(root, "frequency_now_hz", f"{first}/scaling_cur_freq", _kilo, "Hz")
    if current.value is None:
        mhz = _matching(r"^cpu MHz\s*:\s*([\d.]+)", lambda text: round(float(text) * 1e6))
        current = _read(root, "frequency_now_hz", "proc/cpuinfo", mhz, "Hz")
    yield current
    switch = {"1": "on", "0": "off"}
    boost = _read(root, "boost", f"{_CPUS}/cpufreq/boost", lambda text: switch[text.strip()])
    if boost.value is None:
        no_turbo = {"0": "on", "1": "off"}
        path = f"{_CPUS}/intel_pstate/no_turbo"
        turbo = _read(root, "boost", path, lambda text: no_turbo[text.strip()])
        boost = turbo if turbo.value is not None else boost
    yield boost


def _memory(root: Path) -> Iterator[Reading]:
    for name, field in (("total", "MemTotal"), ("available", "MemAvailable")):
        parse = _matching(rf"^{field}:\s*(\d+) kB", _kibi)
        yield _read(root, f"memory_{name}_bytes", "proc/meminfo", parse, "bytes")


def _load(root: Path) -> Iterator[Reading]:
    for column, minutes in enumerate((1, 5, 15)):
        yield _read(
            root,
            f"load_average_{minutes}m",
            "proc/loadavg",
            _matching(rf"^(?:\S+ ){{{column}}}(\S+)", float),
            "1",
        )
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    # user nice system idle iowait irq softirq steal …, see proc_stat(5).
    steal = _matching(r"^cpu +(?:\d+ ){7}(\d+)", lambda text: int(text) * tick_ns)
    yield _read(root, "steal_since_boot_ns", "proc/stat", steal, "ns")


def _counters(root: Path) -> Iterator[Reading]:
    yield _read(root, "perf_event_paranoid", "proc/sys/kernel/perf_event_paranoid", int)
    yield _read(root, "ptrace_scope", "proc/sys/kernel/yama/ptrace_scope", int)
    yield _read(
        root, "effective_capabilities", "proc/self/status", _matching(r"^CapEff:\s*([0-9a-f]+)")
    )
    yield _cycles_counter()
    yield _cpu_energy(root)


def _cycles_counter() -> Reading:
    """Whether the CPU's cycles counter opens for this process and counts."""
    name, source = "cycles_counter", "perf_event_open"
    number = {"x86_64": 298, "aarch64": 241}.get(platform.machine())
    if number is None:
        reason = f"the number of perf_event_open on {platform.machine()} is not known here"
        return Reading(name, None, "", source, reason)
    # struct perf_event_attr of perf_event_open(2), its first published size: type HARDWARE,
    # size 64, config CPU_CYCLES, …, flags exclude_kernel (bit 5) and exclude_hv (bit 6).
    attributes = struct.pack("=IIQQQQQIIQ", 0, 64, 0, 0, 0, 0, 1 << 5 | 1 << 6, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(number, attributes, 0, -1, -1, 0)
    if descriptor < 0:
        code = ctypes.get_errno()
        absent = code in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV)
        why = "the machine shows its kernel no such counter" if absent else os.strerror(code)
        return Reading(name, None, "", source, f"{why} ({errno.errorcode[code]})")
    try:
        (cycles,) = struct.unpack("=Q", os.read(descriptor, 8))
    finally:
        os.close(descriptor)
    if not cycles:
        return Reading(name, None, "", source, "the counter opens but does not count")
    return Reading(name, "usable", "", source)


def _cpu_energy(root: Path) -> Reading:
    """The first usable source of the CPU's energy."""
    name = "cpu_energy"
    tried = []
    counters = sorted((root / "sys/class/powercap").glob("*-rapl:[0-9]*/energy_uj"))
    for path in counters or [root / "sys/class/powercap/intel-rapl:0/energy_uj"]:
        source = str(path.relative_to(root))
        reading = _read(root, name, source)
        if reading.value is not None:
            return Reading(name, "powercap", "", f"/{source}")
        tried.append(reading.reason)
    if (root / "dev/hsmp").exists():
        if os.access(root / "dev/hsmp", os.R_OK):
            return Reading(name, "hsmp", "", "/dev/hsmp")
        tried.append("/dev/hsmp: Permission denied")
    else:
        tried.append("/dev/hsmp: No such file or directory")
    events = "sys/bus/event_source/devices/power/events/energy-pkg"
    perf = _read(root, name, events)
    if perf.value is not None:
        return Reading(name, "perf", "", perf.source)
    return Reading(name, None, "", "powercap, hsmp, perf", "; ".join([*tried, perf.reason]))


def _gpus() -> Iterator[Reading]:
    """What NVML tells about each GPU."""
    try:
        import pynvml
    except ImportError as error:
        yield Reading("nvml_driver", None, "", "NVML", f"{error} (package nvidia-ml-py)")
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield Reading("nvml_driver", None, "", "NVML", f"nvmlInit: {error}")
        return
    try:
        yield Reading("nvml_driver", pynvml.nvmlSystemGetDriverVersion(), "", "NVML")
        count = pynvml.nvmlDeviceGetCount()
        yield Reading("gpu_count", count, "1", "NVML")
        for index in range(count):
            yield from _gpu(pynvml, index)
    except pynvml.NVMLError as error:
        yield Reading("nvml_error", None, "", "NVML", str(error))
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> Iterator[Reading]:
    gpu = nvml.nvmlDeviceGetHandleByIndex(index)
    queries: tuple[tuple[str, str, tuple[int, ...], Callable[..., int | str], str], ...] = (
        ("name", "nvmlDeviceGetName", (), str, ""),
        ("uuid", "nvmlDeviceGetUUID", (), str, ""),
        ("memory_bytes", "nvmlDeviceGetMemoryInfo", (), lambda info: int(info.total), "bytes"),
        ("power_limit_mw", "nvmlDeviceGetPowerManagementLimit", (), int, "mW"),
        ("sm_clock_max_hz", "nvmlDeviceGetMaxClockInfo", (nvml.NVML_CLOCK_SM,), _mega, "Hz"),
        ("memory_clock_max_hz", "nvmlDeviceGetMaxClockInfo", (nvml.NVML_CLOCK_MEM,), _mega, "Hz"),
        ("compute_capability", "nvmlDeviceGetCudaComputeCapability", (), _dotted, ""),
        ("persistence_mode", "nvmlDeviceGetPersistenceMode", (), int, ""),
    )
    for fact, function, arguments, convert, unit in queries:
        name = f"gpu{index}_{fact}"
        try:
            value = convert(getattr(nvml, function)(gpu, *arguments))
        except nvml.NVMLError as error:
            yield Reading(name, None, unit, function, str(error))
        else:
            yield Reading(name, value, unit, function)


def _mega(value: int) -> int:
    return value * 1_000_000


def _dotted(pair: tuple[int, int]) -> str:
    return ".".join(map(str, pair))


def _software() -> Iterator[Reading]:
    version = f"{platform.python_implementation()} {platform.python_version()}"
    yield Reading("python", version, "", "platform")
    providers = [_package(name) for name in ORT_DISTRIBUTIONS]
    found = [reading for reading in providers if reading.value is not None]
    yield from found or [
        Reading("package_onnxruntime", None, "", "importlib.metadata", "not installed")
    ]
    for name in PACKAGES:
        yield _package(name)


def _package(name: str) -> Reading:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Reading(f"package_{name}", None, "", "importlib.metadata", "not installed")
    return Reading(f"package_{name}", version, "", "importlib.metadata")


# ONNX Runtime and CUDA
