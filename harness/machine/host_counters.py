"""What else the host did during a timed pass: counters read just before and just after.

There is no thread, and nothing runs in between. Both snapshots are raw text, parsed only after
the second one is taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness.machine.control_groups import control_groups
from harness.records import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Resolution of the times in /proc/stat, in ns.
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_TICKS = f"in steps of {TICK_NS // 1_000_000} ms a CPU"


#: Of the calling thread: nanoseconds on a CPU, nanoseconds waiting in a run queue, and number of
#: time slices (Linux, Documentation/scheduler/sched-stats.rst).
_SCHEDULER = "proc/thread-self/schedstat"


@dataclasses.dataclass(frozen=True, slots=True)
class _Snapshot:
    """Counters at one moment; for a file that could not be read, the error."""

    wall_ns: int
    cpu_ns: int
    usage: resource.struct_rusage
    files: dict[str, str | OSError]


class HostNoise:
    """Counters of the host over a timed pass.

    Call ``start`` immediately before the pass and ``stop`` immediately after it. The allowed
    CPUs are those of the calling thread at ``start``.

    Args:
        root: where /proc and /sys are looked for.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before: _Snapshot | None = None

    def start(self) -> None:
        """Takes the first snapshot; the clocks last."""
        self._cpus = sorted(os.sched_getaffinity(0))
        self._throttle = _throttle_file(self._root)
        self._frequencies = _frequency_files(self._root, self._cpus)
        # From the slowest to read to the most important one; stop() reads in reverse order.
        self._paths = [
            *self._frequencies,
            "proc/pressure/cpu",
            "proc/pressure/memory",
            self._throttle,
            "proc/stat",
            _SCHEDULER,
        ]
        files = self._read_files(self._paths)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._before = _Snapshot(time.monotonic_ns(), time.process_time_ns(), usage, files)

    def stop(self) -> tuple[Reading, ...]:
        """Takes the second snapshot, the clocks first, and returns the differences.

        Returns:
            ``wall_ns``; ``cpu_time_ns`` of this process; ``cpu_wait_ns``, how long the calling
            thread was runnable but waited for a CPU; ``steal_ns`` and ``other_load_ns``, summed
            over the allowed CPUs; context switches and page faults of all threads of this
            process; ``cgroup_throttled_ns`` and ``cgroup_throttled_periods``;
            ``cpu_pressure_ns`` and ``memory_pressure_ns`` of the whole host; the lowest, mean
            and highest frequency of the allowed CPUs in the two snapshots. A counter that
            cannot be read is absent, with the reason.

        Raises:
            RuntimeError: start() was not called.
        """
        wall_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        before = self._before
        if before is None:
            raise RuntimeError("HostNoise.stop() needs a start() before it")
        after = _Snapshot(wall_ns, cpu_ns, usage, self._read_files(reversed(self._paths)))
        return (
            Reading("wall_ns", after.wall_ns - before.wall_ns, "ns", "CLOCK_MONOTONIC"),
            Reading("cpu_time_ns", after.cpu_ns - before.cpu_ns, "ns", "CLOCK_PROCESS_CPUTIME_ID"),
            _delta(before, after, "cpu_wait_ns", _SCHEDULER, _waited_ns, "ns"),
            *_cpu_time(before, after, self._cpus),
            *_usage(before.usage, after.usage),
            *_throttling(before, after, self._throttle),
            _pressure(before, after, "cpu"),
            _pressure(before, after, "memory"),
            *_frequency(before, after, self._frequencies, self._cpus),
        )

    def _read_files(self, paths: Iterable[str]) -> dict[str, str | OSError]:
        files: dict[str, str | OSError] = {}
        for path in paths:
            try:
                files[path] = (self._root / path).read_text()
            except OSError as error:
                files[path] = error
        return files


def _delta(
    before: _Snapshot,
    after: _Snapshot,
    name: str,
    path: str,
    count: Callable[[str], int],
    unit: str,
    source: str = "",
) -> Reading:
    """How much one counter in a file grew between two snapshots."""
    source = source or f"/{path}"
    texts = before.files[path], after.files[path]
    for text in texts:
        if isinstance(text, OSError):
            return Reading(name, None, unit, source, f"/{path}: {text.strerror}")
    try:
        first, last = (count(str(text)) for text in texts)
    except (LookupError, ValueError) as error:
        return Reading(name, None, unit, source, f"/{path}: {error}")
    return Reading(name, last - first, unit, source)


def _waited_ns(text: str) -> int:
    ran, waited, _ = map(int, text.split())
    if ran == 0:
        raise LookupError("the kernel does not count it")
    return waited


def _cpu_time(before: _Snapshot, after: _Snapshot, cpus: list[int]) -> tuple[Reading, Reading]:
    def ticks(text: str, columns: tuple[int, ...]) -> int:
        lines = {line.split()[0]: line.split() for line in text.splitlines() if line[:3] == "cpu"}
        missing = [cpu for cpu in cpus if f"cpu{cpu}" not in lines]
        if missing:
            raise LookupError(f"no line for CPU {missing[0]}")
        return sum(int(lines[f"cpu{cpu}"][column]) for cpu in cpus for column in columns)

    # Columns of proc_stat(5), after the name: user nice system idle iowait irq softirq steal.
    # User time already includes guest time.
    where = "/proc/stat, allowed CPUs"
    steal = _delta(
        before,
        after,
        "steal_ns",
        "proc/stat",
        lambda text: ticks(text, (8,)) * TICK_NS,
        "ns",
        f"{where}, {_TICKS}",
    )
    busy = _delta(
        before,
        after,
        "other_load_ns",
        "proc/stat",
        lambda text: ticks(text, (1, 2, 3, 6, 7)) * TICK_NS,
        "ns",
        f"{where}: busy time minus cpu_time_ns, {_TICKS}, not below 0",
    )
    if isinstance(busy.value, int):
        others = busy.value - (after.cpu_ns - before.cpu_ns)
        busy = dataclasses.replace(busy, value=max(0, others))
    return steal, busy


def _usage(before: resource.struct_rusage, after: resource.struct_rusage) -> tuple[Reading, ...]:
    return tuple(
        Reading(name, getattr(after, field) - getattr(before, field), "1", f"getrusage {field}")
        for name, field in (
            ("voluntary_switches", "ru_nvcsw"),
            ("involuntary_switches", "ru_nivcsw"),
            ("minor_faults", "ru_minflt"),
            ("major_faults", "ru_majflt"),
        )
    )


def _throttle_file(root: Path) -> str:
    """cpu.stat of the control group whose CPU quota applies to this process."""
    folders = [root / "sys/fs/cgroup"]
    with contextlib.suppress(OSError):
        folders = [*(folder for folder, _ in control_groups(root, "cpu")), *folders]
    paths = [str((folder / "cpu.stat").relative_to(root)) for folder in folders]
    tells = (path for path in paths if "nr_throttled" in _text_or_nothing(root / path))
    return next(tells, paths[0])


def _text_or_nothing(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _throttling(before: _Snapshot, after: _Snapshot, path: str) -> tuple[Reading, Reading]:
    def field(text: str, *names: str) -> int:
        values = dict(line.split() for line in text.splitlines())
        for name in names:
            if name in values:
                return int(values[name])
        raise LookupError(f"no {names[0]}, this control group has no CPU quota")

    def throttled_ns(text: str) -> int:
        # Version 2 counts microseconds, version 1 nanoseconds.
        if "throttled_usec" in text:
            return field(text, "throttled_usec") * 1000
        return field(text, "throttled_time")

    return (
        _delta(before, after, "cgroup_throttled_ns", path, throttled_ns, "ns"),
        _delta(
            before,
            after,
            "cgroup_throttled_periods",
            path,
            lambda text: field(text, "nr_throttled"),
            "1",
        ),
    )


def _pressure(before: _Snapshot, after: _Snapshot, scarce: str) -> Reading:
    def stalled_ns(text: str) -> int:
        match = re.search(r"^some .*total=(\d+)", text, re.MULTILINE)
        if match is None:
            raise LookupError("no line 'some'")
        return int(match[1]) * 1000

    path = f"proc/pressure/{scarce}"
    source = f"/{path}, 'some', whole host"
    return _delta(before, after, f"{scarce}_pressure_ns", path, stalled_ns, "ns", source)


def _frequency_files(root: Path, cpus: list[int]) -> list[str]:
    """scaling_cur_freq of every allowed CPU if all have one, otherwise /proc/cpuinfo."""
    files = [f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq" for cpu in cpus]
    return files if all((root / file).exists() for file in files) else ["proc/cpuinfo"]


def _frequency(
    before: _Snapshot, after: _Snapshot, paths: list[str], cpus: list[int]
) -> tuple[Reading, ...]:
    from_cpuinfo = paths == ["proc/cpuinfo"]
    source = (
        "/proc/cpuinfo 'cpu MHz' of the allowed CPUs, before and after, a constant in many VMs"
        if from_cpuinfo
        else "scaling_cur_freq of the allowed CPUs, before and after"
    )
    values: list[int] = []
    reason = "/proc/cpuinfo has no 'cpu MHz'"
    for text in (snapshot.files[path] for snapshot in (before, after) for path in paths):
        if isinstance(text, OSError):
            reason = f"/{paths[0]}: {text.strerror}"
        elif from_cpuinfo:
            values += _cpuinfo_hz(text, cpus)
        elif text.strip().isdecimal():
            values.append(int(text) * 1000)
        else:
            reason = f"/{paths[0]}: {text.strip()}"
    names = ("frequency_min_hz", "frequency_mean_hz", "frequency_max_hz")
    if not values:
        return tuple(Reading(name, None, "Hz", source, reason) for name in names)
    figures = (min(values), sum(values) // len(values), max(values))
    return tuple(
        Reading(name, figure, "Hz", source) for name, figure in zip(names, figures, strict=True)
    )


def _cpuinfo_hz(text: str, cpus: list[int]) -> list[int]:
    found = re.findall(r"^processor\s*:\s*(\d+)$(?:\n.+)*?\ncpu MHz\s*:\s*([\d.]+)", text, re.M)
    return [round(float(mhz) * 1e6) for cpu, mhz in found if int(cpu) in cpus]
