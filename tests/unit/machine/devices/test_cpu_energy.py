"""Where the energy of the CPU packages is found, and why it is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness.machine.devices.channels import Channel
from harness.machine.devices.cpu_energy import CpuEnergy

ZONES = "sys/class/powercap"
HWMON = "sys/class/hwmon"


def plant(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def zone(folder: str, name: str) -> dict[str, str]:
    return {
        f"{ZONES}/{folder}/name": f"{name}\n",
        f"{ZONES}/{folder}/energy_uj": "123\n",
        f"{ZONES}/{folder}/max_energy_range_uj": "262143328850\n",
    }


def found(root: Path) -> dict[str, Channel]:
    return {channel.name: channel for channel in CpuEnergy(root).offer().channels}


def test_only_packages_are_taken_each_once(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            **zone("intel-rapl:0", "package-0"),
            **zone("intel-rapl:0:0", "core"),
            **zone("intel-rapl:1", "package-1-die-2"),
            **zone("intel-rapl:2", "psys"),
            **zone("intel-rapl-mmio:0", "package-0"),
        },
    )
    channels = found(tmp_path)
    assert list(channels) == ["package0 energy_uj", "package1_die2 energy_uj"]
    channel = channels["package0 energy_uj"]
    assert (channel.counter, channel.largest) == (True, 262_143_328_850)
    assert channel.source == "/sys/class/powercap/intel-rapl:0/energy_uj"
    assert CpuEnergy(tmp_path).offer().absent == ()


def test_amd_energy_tells_a_counter_for_each_socket(tmp_path: Path) -> None:
    folder = f"{HWMON}/hwmon3"
    plant(
        tmp_path,
        {
            f"{HWMON}/hwmon0/name": "nvme\n",
            f"{folder}/name": "amd_energy\n",
            f"{folder}/energy1_label": "Ecore000\n",
            f"{folder}/energy1_input": "5\n",
            f"{folder}/energy65_label": "Esocket1\n",
            f"{folder}/energy65_input": "6\n",
        },
    )
    (channel,) = found(tmp_path).values()
    assert channel.name == "package1 energy_uj"
    assert channel.largest is None
    assert channel.source.endswith("hwmon3/energy65_input")


def test_amd_hsmp_tells_power(tmp_path: Path) -> None:
    for number in (2, 10):
        plant(
            tmp_path,
            {
                f"{HWMON}/hwmon{number}/name": "amd_hsmp_hwmon\n",
                f"{HWMON}/hwmon{number}/power1_input": "150000000\n",
            },
        )
    channels = found(tmp_path)
    assert list(channels) == ["package0 power_uw", "package1 power_uw"]
    assert channels["package1 power_uw"].source.endswith("hwmon10/power1_input")
    assert not channels["package0 power_uw"].counter


def test_powercap_comes_first(tmp_path: Path) -> None:
    plant(tmp_path, zone("intel-rapl:0", "package-0"))
    plant(
        tmp_path,
        {f"{HWMON}/hwmon1/name": "amd_hsmp_hwmon\n", f"{HWMON}/hwmon1/power1_input": "1\n"},
    )
    assert list(found(tmp_path)) == ["package0 energy_uj"]


def test_no_permission_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, zone("intel-rapl:0", "package-0"))
    real = Path.read_text

    def guarded(path: Path) -> str:
        # Files without read permission: root, who runs tests in containers, reads them all.
        if path.name == "energy_uj":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path)

    monkeypatch.setattr(Path, "read_text", guarded)
    offer = CpuEnergy(tmp_path).offer()
    assert offer.channels == ()
    ((what, reason),) = offer.absent
    assert what == "package0 energy_uj"
    assert "chmod a+r" in reason
    assert "chmod a+r" in CpuEnergy(tmp_path).explain(errno.EACCES)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "intel_rapl_msr"),
        ({"proc/cpuinfo": "flags\t\t: fpu vme hypervisor lahf\n"}, "virtual machine"),
        ({"proc/cpuinfo": "flags\t\t: fpu vme\n", "dev/hsmp": ""}, "/dev/hsmp"),
        (zone("intel-rapl:0", "psys"), "no package zone"),
    ],
)
def test_why_there_is_none(tmp_path: Path, files: dict[str, str], said: str) -> None:
    plant(tmp_path, files)
    offer = CpuEnergy(tmp_path).offer()
    assert offer.channels == ()
    ((what, reason),) = offer.absent
    assert what == "package energy_uj"
    assert said in reason
