"""Series of the host: frequency and steal time of each CPU, run queue, memory pressure."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from harness.machine.devices.channels import Channel, Offer, explain_errno
from harness.machine.host_counters import TICK_NS
from harness.native import sampler
from harness.records import Absent


class HostSeries:
    """Source of series about the host.

    Only the run queue is cheap enough for every tick: for the others, the kernel walks over all
    CPUs and interrupts.

    Args:
        cpus: the CPUs that the inference may use.
        root: where /proc and /sys are looked for.
    """

    def __init__(self, cpus: Iterable[int], root: Path = Path("/")) -> None:
        self._cpus = sorted(set(cpus))
        self._root = root

    def offer(self) -> Offer:
        """The series that this host reports, and the reasons why others are absent."""
        frequencies, absent = self._frequencies()
        return Offer((*self._host(), *self._steal(), *frequencies), absent)

    def explain(self, status: int) -> str:
        """The error of the file."""
        if status == errno.ENODATA:
            return "the kernel does not report it here: no such line, field or number"
        if status == errno.EOPNOTSUPP:
            return "the kernel was booted without it (boot with psi=1)"
        return explain_errno(status)

    def _host(self) -> Iterable[Channel]:
        # The same number as procs_running in /proc/stat, at a hundredth of the cost.
        yield Channel(
            "host",
            "runnable_threads",
            "1",
            "/proc/loadavg, running or runnable, the sampler itself included",
            sampler.Channel(sampler.FILE, argument=4, path=self._root / "proc/loadavg"),
        )
        yield Channel(
            "host",
            "memory_pressure_ns",
            "ns",
            "/proc/pressure/memory, 'some', time since the start of the host",
            sampler.Channel(
                sampler.FILE,
                argument=4,
                scale=1000,
                slow=True,
                path=self._root / "proc/pressure/memory",
                key="some",
            ),
            counter=True,
        )

    def _steal(self) -> Iterable[Channel]:
        for cpu in self._cpus:
            yield Channel(
                f"cpu{cpu}",
                "steal_ns",
                "ns",
                f"/proc/stat, time since the start, in steps of {TICK_NS // 1_000_000} ms",
                sampler.Channel(
                    sampler.FILE,
                    argument=8,
                    scale=TICK_NS,
                    slow=True,
                    path=self._root / "proc/stat",
                    key=f"cpu{cpu}",
                ),
                counter=True,
            )

    def _frequencies(self) -> tuple[list[Channel], tuple[Absent, ...]]:
        found, missing = [], []
        for cpu in self._cpus:
            name = f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq"
            path = self._root / name
            if not path.exists():
                missing.append(cpu)
                continue
            read = sampler.Channel(sampler.FILE, 1, 1000, slow=True, path=path)
            found.append(Channel(f"cpu{cpu}", "frequency_hz", "Hz", f"/{name}", read))
        if not missing:
            return found, ()
        which = ", ".join(map(str, missing)) if found else "of any CPU"
        reason = (
            f"no scaling_cur_freq {which}: the kernel has no cpufreq driver for it, "
            "as in most virtual machines"
        )
        return found, (("cpu frequency_hz", reason),)
