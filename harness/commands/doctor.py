"""Tells what this machine can measure, what it cannot, and how to mend it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from harness.errors import HarnessError
    from harness.native import ort
    from harness.records import Reading

    Facts = Mapping[str, Reading]

_GIB = 1 << 30
_WIDTH = 80
_LOAD_SAMPLE_S = 0.2
_STAMPS = 20_000

# Bits of capabilities(7).
_CAP_SYS_PTRACE, _CAP_SYS_ADMIN, _CAP_PERFMON = 19, 21, 38


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What doctor says about one subject.

    Attributes:
        name: the subject.
        state: ``ok``, ``limited`` (usable, or measured, with a caveat) or ``absent``.
        detail: what was found; for ``absent`` the reason.
        remedy: what would mend it; empty only where ``ok``.
    """

    name: str
    state: Literal["ok", "limited", "absent"]
    detail: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness doctor``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--ort-library",
        type=Path,
        metavar="PATH",
        help="look at this libonnxruntime (default: the installed wheel's)",
    )


def execute(options: argparse.Namespace) -> int:
    """Looks at the machine and prints the findings.

    Returns:
        0, or 3 when ONNX Runtime cannot be opened: then nothing can be profiled.
    """
    from harness.errors import MachineError
    from harness.machine.facts import collect

    readings = collect()
    facts = {reading.name: reading for reading in readings}
    try:
        library: ort.Library | MachineError = _open_library(options.ort_library)
    except MachineError as error:
        library = error
    findings = [
        _onnxruntime(library),
        _cuda(library),
        *(_provider_libraries(library, provider) for provider in ("cuda", "tensorrt")),
        *(look(facts) for look in FACT_FINDINGS),
        _other_load(),
        _disk(Path("profiles")),
    ]
    if options.json:
        import json

        report = {"findings": findings, "environment": readings}
        print(json.dumps(report, default=dataclasses.asdict))
    else:
        _print_table(findings)
    return library.exit_code if isinstance(library, MachineError) else 0


def _open_library(path: Path | None) -> ort.Library:
    """Opens the libonnxruntime asked for, or else the installed one."""
    from harness.errors import MachineError
    from harness.ort.library import ort_library

    try:
        from harness.native import ort
    except ImportError as error:
        raise MachineError(
            f"harness' own native module does not load: {error}", "pip install -e ."
        ) from error
    path = path or ort_library()
    try:
        return ort.Library(str(path))
    except OSError as error:
        raise MachineError(
            f"does not open: {error}",
            "pip install onnxruntime-gpu, or name another with --ort-library",
        ) from error


def _onnxruntime(library: ort.Library | HarnessError) -> Finding:
    if isinstance(library, Exception):
        return Finding("ONNX Runtime", "absent", library.message, library.remedy)
    providers = [name.removesuffix("ExecutionProvider") for name in library.available_providers()]
    return Finding(
        "ONNX Runtime",
        "ok",
        f"{library.version}, built with {', '.join(providers)}; {library.path}",
    )


def _cuda(library: ort.Library | HarnessError) -> Finding:
    if isinstance(library, Exception):
        return Finding("CUDA", "absent", "there is no ONNX Runtime to use it", library.remedy)
    from harness.ort.cuda_state import cuda_state

    reading, remedy = cuda_state(Path(library.path))
    if reading.value is None:
        return Finding("CUDA", "absent", reading.reason, remedy)
    return Finding("CUDA", "limited" if remedy else "ok", "usable", remedy)


def _provider_libraries(library: ort.Library | HarnessError, provider: str) -> Finding:
    """Each file that a GPU provider needs, found or missing."""
    name = {"cuda": "CUDA libraries", "tensorrt": "TensorRT libraries"}[provider]
    if isinstance(library, Exception):
        return Finding(name, "absent", "there is no ONNX Runtime to need them", library.remedy)
    from harness.errors import MachineError
    from harness.ort import nvidia_libraries

    plugin = Path(library.path).parent / f"libonnxruntime_providers_{provider}.so"
    if not plugin.exists():
        return Finding(
            name,
            "absent",
            f"this ONNX Runtime is built without {provider}: no {plugin.name}",
            "pip install onnxruntime-gpu, or name a GPU build with --ort-library",
        )
    try:
        needs = nvidia_libraries.needs(plugin)
    except MachineError as error:
        return Finding(name, "absent", error.message, error.remedy)
    parts = [str(one.path) for one in needs.libraries if one.path is not None]
    if needs.missing:
        parts = [f"found: {', '.join(parts)}"] if parts else []
        parts.append(f"missing: {', '.join(needs.missing)}")
    if needs.missing_lazy:
        parts.append(f"missing where an operator wants it: {', '.join(needs.missing_lazy)}")
    state: Literal["ok", "limited", "absent"] = "limited" if needs.missing_lazy else "ok"
    return Finding(name, "absent" if needs.missing else state, "; ".join(parts), needs.remedy)


def _nvml(facts: Facts) -> Finding:
    driver = facts["nvml_driver"]
    if driver.value is None:
        return Finding(
            "GPU sampling (NVML)",
            "absent",
            driver.reason,
            "needs an NVIDIA driver with libnvidia-ml.so.1 (containers: --gpus all)",
        )
    names = [
        str(reading.value)
        for name, reading in facts.items()
        if name.startswith("gpu") and name.endswith("_name")
    ]
    return Finding("GPU sampling (NVML)", "ok", f"driver {driver.value}: {', '.join(names)}")


def _cpu_energy(facts: Facts) -> Finding:
    energy = facts["cpu_energy"]
    if energy.value is not None:
        return Finding("CPU energy", "ok", f"{energy.value}, {energy.source}")
    if "Permission denied" in energy.reason:
        remedy = "sudo chmod -R a+r /sys/class/powercap, or measure as root"
    elif _is_virtual(facts):
        remedy = "hypervisors hide it: measure on the machine itself"
    else:
        remedy = "sudo modprobe intel_rapl_msr (AMD too), or amd_hsmp on EPYC"
    return Finding("CPU energy", "absent", energy.reason, remedy)


def _hardware_counters(facts: Facts) -> Finding:
    cycles = facts["cycles_counter"]
    if cycles.value is not None:
        return Finding("Hardware counters", "ok", "the cycles counter opens and counts")
    if _is_virtual(facts):
        remedy = "a virtual machine with a virtual PMU, or the machine itself"
    else:
        remedy = "see perf events; where those are permitted, the kernel needs a PMU driver"
    return Finding("Hardware counters", "absent", cycles.reason, remedy)


def _perf_events(facts: Facts) -> Finding:
    name, paranoid = "perf events", facts["perf_event_paranoid"]
    if paranoid.value is None:
        return Finding(name, "absent", paranoid.reason, "a kernel built with CONFIG_PERF_EVENTS")
    detail = f"perf_event_paranoid is {paranoid.value}"
    if _has_capability(facts, _CAP_PERFMON, _CAP_SYS_ADMIN):
        return Finding(name, "ok", f"{detail}, and this process may ignore it")
    remedy = "sudo sysctl kernel.perf_event_paranoid=1"
    level = int(paranoid.value)
    if level > 2:
        return Finding(name, "absent", f"{detail}: refused to users", remedy)
    if level == 2:
        return Finding(name, "limited", f"{detail}: own code only, not the kernel's", remedy)
    return Finding(name, "ok", detail)


def _clock(facts: Facts) -> Finding:
    import timeit

    try:
        from harness.native import ort

        reader = "harness.native.ort.monotonic_ns"
    except ImportError:
        reader = "time.monotonic_ns"
    cost_ns = min(timeit.repeat(ort.monotonic_ns, number=_STAMPS, repeat=5)) / _STAMPS * 1e9
    source = facts["clock_source"]
    detail = (
        f"{source.value or source.reason}; a stamp costs at most {cost_ns:.0f} ns "
        f"(best of 5 x {_STAMPS} calls of {reader} from Python, the call included)"
    )
    # The clocks that the vDSO can read; any other costs a system call for each stamp.
    fast = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")
    if source.value in fast:
        return Finding("Clock", "ok", detail)
    if "tsc" in str(facts["clock_sources"].value).split():
        remedy = f"echo tsc | sudo tee {source.source}"
    else:
        remedy = "boot with tsc=reliable where the CPU has an invariant TSC"
    return Finding("Clock", "limited", detail, remedy)


def _governor(facts: Facts) -> Finding:
    name, governor = "Frequency governor", facts["frequency_governor"]
    if governor.value is None:
        remedy = (
            "the host sets it: ask there for the performance governor"
            if _is_virtual(facts)
            else "load a cpufreq driver (firmware: let the OS control P-states)"
        )
        return Finding(name, "absent", governor.reason, remedy)
    detail = f"{governor.value} ({facts['frequency_driver'].value}), boost "
    detail += str(facts["boost"].value or "not told")
    if governor.value == "performance":
        return Finding(name, "ok", detail)
    return Finding(name, "limited", detail, "sudo cpupower frequency-set -g performance")


def _smt(facts: Facts) -> Finding:
    smt = facts["smt"]
    if smt.value is None:
        return Finding("SMT", "absent", smt.reason, "see lscpu: Thread(s) per core")
    cores, threads = facts["cpu_cores"].value, facts["cpu_threads"].value
    detail = f"{smt.value}: {cores} cores, {threads} hardware threads"
    if smt.value == "on":
        return Finding("SMT", "limited", detail, "--affinity with one thread of each core")
    if _is_virtual(facts):
        return Finding(
            "SMT",
            "limited",
            f"{detail}, as the guest is told; vCPUs may still share a core",
            "ask the host for one core for each vCPU",
        )
    return Finding("SMT", "ok", detail)


def _virtualisation(facts: Facts) -> Finding:
    name, virtual = "Own machine", facts["virtualisation"]
    if virtual.value is None:
        return Finding(name, "absent", virtual.reason, "see systemd-detect-virt")
    if not _is_virtual(facts):
        return Finding(name, "ok", "not virtual")
    return Finding(
        name,
        "limited",
        f"virtual machine ({virtual.value}): others can take time from it, see steal_ns",
        "measure on the machine itself, or compare interleaved",
    )


def _cpu_limit(facts: Facts) -> Finding:
    name, limit = "CPU limit", facts["cgroup_cpu_limit"]
    usable = int(facts["affinity_cpus"].value or 0)
    detail = f"{usable} of {facts['cpu_threads'].value} hardware threads allowed"
    if limit.value is None:
        return Finding(name, "absent", f"{detail}; {limit.reason}", "mount /sys/fs/cgroup")
    if isinstance(limit.value, str):
        return Finding(name, "ok", f"{detail}, no cgroup quota")
    return Finding(
        name,
        "limited",
        f"{detail}; {limit.source} allows {limit.value:g} CPUs, beyond that all threads stop",
        f"lift the quota, or --threads {max(1, int(min(limit.value, usable)))}",
    )


def _memory(facts: Facts) -> Finding:
    total, available = facts["memory_total_bytes"], facts["memory_available_bytes"]
    if total.value is None or available.value is None:
        return Finding("Memory", "absent", total.reason or available.reason, "mount /proc")
    free = float(available.value) / _GIB
    detail = f"{free:.1f} of {float(total.value) / _GIB:.1f} GiB available"
    if free < 1:
        return Finding("Memory", "limited", detail, "end other programs: large models need more")
    return Finding("Memory", "ok", detail)


def _stacks(facts: Facts) -> Finding:
    """py-spy reads another process' memory, which Yama may forbid."""
    from importlib.metadata import PackageNotFoundError, version

    name = "Stacks (py-spy)"
    try:
        detail = f"py-spy {version('py-spy')}"
    except PackageNotFoundError:
        return Finding(name, "absent", "py-spy is not installed", "pip install py-spy")
    scope = facts["ptrace_scope"]
    if _has_capability(facts, _CAP_SYS_PTRACE):
        return Finding(name, "ok", f"{detail}, this process may trace any other")
    if scope.value is None or scope.value == 0:
        return Finding(name, "ok", f"{detail}, no Yama restriction")
    detail += f", ptrace_scope is {scope.value}"
    remedy = "sudo sysctl kernel.yama.ptrace_scope=0"
    if scope.value == 1:
        return Finding(name, "limited", f"{detail}: only processes py-spy itself started", remedy)
    if scope.value == 3:
        remedy += " after a reboot: 3 cannot be lowered"
    return Finding(name, "absent", f"{detail}: not permitted", remedy)


#: Findings that need nothing but the facts of the machine, in the order they are shown.
FACT_FINDINGS: tuple[Callable[[Facts], Finding], ...] = (
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


def _other_load() -> Finding:
    import time

    from harness.machine.host_counters import HostNoise

    name, noise = "Other load", HostNoise()
    noise.start()
    time.sleep(_LOAD_SAMPLE_S)
    counters = {reading.name: reading for reading in noise.stop()}
    other, steal, wall = (counters[key] for key in ("other_load_ns", "steal_ns", "wall_ns"))
    if other.value is None or wall.value is None:
        return Finding(name, "absent", other.reason, "mount /proc")
    busy = float(other.value) / float(wall.value)
    stolen = float(steal.value or 0) / float(wall.value)
    detail = f"{busy:.2f} CPUs busy with other work, {stolen:.2f} stolen, over {_LOAD_SAMPLE_S} s"
    # A tick of 10 ms a CPU in 200 ms reads as 0.05: below two of them is nothing to report.
    if busy + stolen < 0.1:
        return Finding(name, "ok", detail)
    return Finding(name, "limited", detail, "end other programs, or --affinity to CPUs they spare")


def _disk(folder: Path) -> Finding:
    """Room where ``profile`` puts its files: profiles/ under the current folder."""
    import os
    import shutil

    existing = folder if folder.is_dir() else folder.absolute().parent
    free = shutil.disk_usage(existing).free / _GIB
    detail = f"{free:.1f} GiB free for {folder}/"
    if not os.access(existing, os.W_OK):
        return Finding("Disk", "absent", f"{existing} is not writable", "--output FILE elsewhere")
    if free < 1:
        return Finding("Disk", "limited", detail, "make room, or --output FILE on another disk")
    return Finding("Disk", "ok", detail)


def _is_virtual(facts: Facts) -> bool:
    return facts["virtualisation"].value not in (None, "none")


def _has_capability(facts: Facts, *bits: int) -> bool:
    effective = int(str(facts["effective_capabilities"].value or "0"), 16)
    return any(effective >> bit & 1 for bit in bits)


def _print_table(findings: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.reporters.terminal.console import Terminal

    console = Terminal(highlight=False)
    console.width = min(console.width, _WIDTH)
    colours = {"ok": "green", "limited": "yellow", "absent": "red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.detail)
        if finding.remedy:
            text.append(f"\nremedy: {finding.remedy}", "dim")
        table.add_row(finding.name, Text(finding.state, colours[finding.state]), text)
    console.print(table)
    console.print(Text(f"\n{_verdict(findings)}", "bold"))


def _verdict(findings: Sequence[Finding]) -> str:
    """The findings in one sentence."""
    named = {
        state: ", ".join(finding.name for finding in findings if finding.state == state)
        for state in ("limited", "absent")
    }
    runtime = next(finding for finding in findings if finding.name == "ONNX Runtime")
    if runtime.state == "absent":
        return "Nothing can be profiled here until ONNX Runtime opens."
    parts = ["Models can be profiled here"]
    if named["absent"]:
        parts.append(f"without: {named['absent']}")
    if named["limited"]:
        parts.append(f"with care for: {named['limited']}")
    return "; ".join(parts) + "."
