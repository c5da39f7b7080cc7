"""Energy and power of CPU packages: powercap (RAPL of Intel and AMD), amd_energy, amd_hsmp."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.machine.devices.channels import Channel, Offer, explain_errno
from harness.native import sampler
from harness.records import Absent

_POWERCAP = "sys/class/powercap"
_HWMON = "sys/class/hwmon"
_PERMISSION = (
    "only root may read it: run as root, or make it readable with "
    "`sudo chmod a+r /sys/class/powercap/*/energy_uj`"
)


class CpuEnergy:
    """Source of the energy counters of the CPU packages, or of their power.

    Uses the first of these that the kernel offers: the package zones of powercap, then the hwmon
    devices of the drivers amd_energy (a counter) and amd_hsmp (power).

    Args:
        root: where /sys and /proc are looked for.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def offer(self) -> Offer:
        """A channel for each package, or the reason why there are none."""
        absent: list[Absent] = []
        for source in (self._powercap, self._hwmon):
            channels = []
            for channel in source():
                path = Path(channel.reads.path)
                try:
                    path.read_text()
                    channels.append(channel)
                except PermissionError:
                    absent.append((channel.name, f"{channel.source}: {_PERMISSION}"))
                except OSError as error:
                    absent.append((channel.name, f"{channel.source}: {error.strerror}"))
            if channels:
                return Offer(tuple(channels), tuple(absent))
        return Offer((), tuple(absent) or (("package energy_uj", self._why_none()),))

    def explain(self, status: int) -> str:
        """The error of the file."""
        return _PERMISSION if status in (errno.EACCES, errno.EPERM) else explain_errno(status)

    def _powercap(self) -> Iterator[Channel]:
        """Package zones; those of intel-rapl-mmio are skipped, as they repeat the same packages."""
        for zone in sorted((self._root / _POWERCAP).glob("intel-rapl:*")):
            try:
                found = re.fullmatch(
                    r"package-(\d+)(?:-die-(\d+))?", (zone / "name").read_text().strip()
                )
                largest = int((zone / "max_energy_range_uj").read_text())
            except (OSError, ValueError):
                continue
            if found:
                package, die = found.groups()
                device = f"package{package}" + (f"_die{die}" if die else "")
                path = zone / "energy_uj"
                yield self._energy(device, path, largest)

    def _hwmon(self) -> Iterator[Channel]:
        folders = (self._root / _HWMON).glob("hwmon*")
        sockets = 0
        for folder in sorted(folders, key=lambda folder: (len(folder.name), folder.name)):
            try:
                driver = (folder / "name").read_text().strip()
            except OSError:
                continue
            if driver == "amd_energy":
                yield from self._amd_energy(folder)
            elif driver == "amd_hsmp_hwmon":
                # One per socket, registered in order; nothing else identifies the socket.
                path = folder / "power1_input"
                read = sampler.Channel(sampler.FILE, 1, path=path)
                yield Channel(f"package{sockets}", "power_uw", "uW", self._source(path), read)
                sockets += 1

    def _amd_energy(self, folder: Path) -> Iterable[Channel]:
        for label in sorted(folder.glob("energy*_label")):
            found = re.fullmatch(r"Esocket(\d+)", label.read_text().strip())
            if found:
                path = label.with_name(label.name.replace("_label", "_input"))
                # The driver widens the counter to 64 bits.
                yield self._energy(f"package{int(found[1])}", path, None)

    def _energy(self, device: str, path: Path, largest: int | None) -> Channel:
        read = sampler.Channel(sampler.FILE, 1, path=path)
        return Channel(
            device, "energy_uj", "uJ", self._source(path), read, counter=True, largest=largest
        )

    def _source(self, path: Path) -> str:
        return f"/{path.relative_to(self._root)}"

    def _why_none(self) -> str:
        try:
            virtual = re.search(
                r"^flags\s*:.*\bhypervisor\b", (self._root / "proc/cpuinfo").read_text(), re.M
            )
        except OSError:
            virtual = None
        if virtual:
            return (
                "this is a virtual machine whose hypervisor exposes no energy counter: "
                "measure on the host, or on bare metal"
            )
        if (self._root / "dev/hsmp").exists():
            return (
                "/dev/hsmp exists, but the kernel lists no sensor for it under /sys/class/hwmon: "
                "use a kernel whose amd_hsmp driver has one, or load intel_rapl_msr"
            )
        return (
            f"no package zone under /{_POWERCAP}, no amd_energy or amd_hsmp under /{_HWMON}: "
            "load the module intel_rapl_msr (it supports AMD too)"
        )
