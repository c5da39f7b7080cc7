"""Facts of the machine, read from fake /proc and /sys trees and from this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.errors import MachineError
from harness.machine import diagnosis, facts
from harness.machine.devices.cpu_energy import CpuEnergy
from harness.machine.facts.cpu import cgroup_cpu_limit
from harness.ort import providers
from harness.ort.library import ort_library

if TYPE_CHECKING:
    from pathlib import Path

    from harness.records import Reading

CPUS = "sys/devices/system/cpu"


def plant(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def read(root: Path) -> dict[str, Reading]:
    return {reading.name: reading for reading in facts.collect(root)}


def test_this_machine_is_described_without_ort_and_every_absence_has_a_reason() -> None:
    # In a process of its own, for other tests may have imported onnxruntime here.
    program = (
        "import sys; from harness.machine.facts import collect; collect();"
        "from harness.ort.library import ort_library; ort_library();"
        "assert not {'onnxruntime', 'onnx', 'harness.native.ort'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

    readings = facts.collect()
    names = [reading.name for reading in readings]
    assert len(names) == len(set(names))
    assert all(reading.source for reading in readings)
    assert all((reading.value is None) == bool(reading.reason) for reading in readings)
    by_name = {reading.name: reading.value for reading in readings}
    assert by_name["kernel"] == os.uname().release
    assert by_name["affinity_cpus"] == len(os.sched_getaffinity(0))
    assert by_name["memory_total_bytes"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert by_name["package_numpy"] is not None


def test_empty_tree_gives_reasons_that_name_the_file(tmp_path: Path) -> None:
    found = read(tmp_path)
    for name in ("kernel", "cpu_model", "frequency_governor", "clock_source", "boost", "cpu_cores"):
        assert found[name].value is None
        assert found[name].source in found[name].reason
    assert found["cgroup_cpu_limit"].value is None
    assert found["cpu_energy"].value is None


def test_file_that_does_not_tell_the_fact_is_an_absence(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/cpuinfo": "Processor: ARMv8\n", f"{CPUS}/smt/active": "maybe\n"})
    found = read(tmp_path)
    assert found["cpu_model"].value is None
    assert found["smt"].reason == f"/{CPUS}/smt/active does not report it"
    assert found["virtualisation"].value is None


def test_facts_of_a_two_socket_machine_with_smt(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "model name\t: AMD EPYC 9965\nflags\t\t: fpu avx512f\n",
        "proc/stat": "cpu  10 0 5 100 1 0 2 250 0 0\ncpu0 10 0 5 100 1 0 2 250 0 0\n",
        "proc/loadavg": "1.50 0.25 0.10 2/345 678\n",
        "sys/devices/system/node/online": "0-1\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        f"{CPUS}/online": "0-7\n",
        f"{CPUS}/smt/active": "1\n",
        f"{CPUS}/cpufreq/boost": "1\n",
        f"{CPUS}/cpu0/cpufreq/scaling_governor": "powersave\n",
        f"{CPUS}/cpu1/cpufreq/scaling_governor": "performance\n",
        f"{CPUS}/cpu0/cpufreq/scaling_driver": "amd-pstate-epp\n",
        f"{CPUS}/cpu0/cpufreq/cpuinfo_max_freq": "3700000\n",
        f"{CPUS}/cpu0/cache/index0/type": "Data\n",
        f"{CPUS}/cpu0/cache/index0/level": "1\n",
        f"{CPUS}/cpu0/cache/index0/size": "48K\n",
    }
    for cpu in range(8):
        topology = f"{CPUS}/cpu{cpu}/topology"
        files[f"{topology}/physical_package_id"] = f"{cpu % 4 // 2}\n"
        files[f"{topology}/thread_siblings_list"] = f"{cpu % 4},{cpu % 4 + 4}\n"
    values = {name: reading.value for name, reading in read(plant(tmp_path, files)).items()}

    assert values["cpu_model"] == "AMD EPYC 9965"
    assert (values["cpu_sockets"], values["cpu_cores"], values["cpu_threads"]) == (2, 4, 8)
    assert (values["smt"], values["boost"], values["numa_nodes"]) == ("on", "on", 2)
    assert values["frequency_governor"] == "performance, powersave"
    assert values["frequency_driver"] == "amd-pstate-epp"
    assert values["frequency_max_hz"] == 3_700_000_000
    assert values["cache_l1d_bytes"] == 48 * 1024
    assert values["steal_since_boot_ns"] == 250 * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
    assert values["load_average_15m"] == 0.10
    assert values["transparent_huge_pages"] == "madvise"
    assert values["virtualisation"] == "none"


def test_hypervisor_is_named_when_the_guest_is_told(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/cpuinfo": "flags\t\t: fpu hypervisor avx2\n"})
    assert "unknown" in str(read(tmp_path)["virtualisation"].value)
    plant(tmp_path, {"sys/class/dmi/id/sys_vendor": "QEMU\n"})
    assert read(tmp_path)["virtualisation"].value == "QEMU"


@pytest.mark.parametrize(
    ("files", "cpus", "source"),
    [
        pytest.param(
            {
                "proc/self/cgroup": "0::/user/job\n",
                "sys/fs/cgroup/user/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/user/job/cpu.max": "max 100000\n",
            },
            1.5,
            "/sys/fs/cgroup/user",
            id="v2, the outer group limits",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/docker/host-side-path\n",
                "sys/fs/cgroup/cpu.max": "50000 100000\n",
            },
            0.5,
            "/sys/fs/cgroup",
            id="v2, a container that is told the host's path",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/a\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            },
            4.0,
            "/sys/fs/cgroup/cpu,cpuacct/a",
            id="v1",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.procs": ""},
            "none",
            "/sys/fs/cgroup",
            id="no quota",
        ),
    ],
)
def test_cgroup_cpu_limit(
    tmp_path: Path, files: dict[str, str], cpus: float | str, source: str
) -> None:
    reading = cgroup_cpu_limit(plant(tmp_path, files))
    assert (reading.value, reading.source) == (cpus, source)


ZONE = {
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "123456\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
}
HSMP = {
    "sys/class/hwmon/hwmon0/name": "amd_hsmp_hwmon\n",
    "sys/class/hwmon/hwmon0/power1_input": "5\n",
}


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(ZONE, id="powercap"),
        pytest.param(HSMP, id="hwmon"),
        pytest.param({"dev/hsmp": ""}, id="a device without a sensor"),
        pytest.param(
            {"sys/bus/event_source/devices/power/events/energy-pkg": "event=0x2\n"}, id="perf only"
        ),
        pytest.param(
            {"sys/class/powercap/intel-rapl:0/energy_uj": "123456\n"}, id="a zone without a name"
        ),
    ],
)
def test_energy_is_promised_only_where_the_sampler_reads_it(
    tmp_path: Path, files: dict[str, str]
) -> None:
    plant(tmp_path, files)
    offer = CpuEnergy(tmp_path).offer()
    energy = read(tmp_path)["cpu_energy"]
    (capability,) = (one for one in diagnosis.of_facts(read(tmp_path)) if one.name == "CPU energy")
    if offer.channels:
        assert energy.value == ", ".join(channel.name for channel in offer.channels)
        assert energy.source == offer.channels[0].source
        assert capability.state == "ok"
    else:
        assert (energy.value, energy.reason) == (None, offer.absent[0][1])
        assert (capability.state, capability.detail) == ("absent", energy.reason)
        assert capability.remedy


def test_ort_library_is_the_installed_wheels() -> None:
    library = ort_library()
    assert library.is_file()
    assert library.name.startswith("libonnxruntime.so")


def test_missing_ort_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(MachineError) as caught:
        ort_library()
    assert caught.value.exit_code == 3
    assert "`library`" in caught.value.remedy


# The CUDA driver and the provider library are stood in for by libraries built here, found
# by the real loader through LD_LIBRARY_PATH.


def build(target: Path, source: str, *flags: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    names = [f"-Wl,-soname,{target.name}", "-o", str(target)]
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-Wl,--no-as-needed", *flags, *names],
        input=source,
        text=True,
        check=True,
    )


@pytest.fixture
def loader_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "lib"
    folder.mkdir()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    return folder


def driver(folder: Path, version: int, status: int = 0) -> None:
    source = f"""
    int cuInit(unsigned flags) {{ return {status}; }}
    int cuGetErrorString(int code, const char **text) {{ *text = "board on fire"; return 0; }}
    int cuDeviceGetCount(int *count) {{ *count = 1; return 0; }}
    int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
    """
    build(folder / "libcuda.so.1", source)


def test_cuda_says_which_part_is_missing(tmp_path: Path, loader_path: Path) -> None:
    state = providers.by_name("cuda").state
    assert state is not None
    library = tmp_path / "ort" / "libonnxruntime.so.1"
    plugin = library.parent / "libonnxruntime_providers_cuda.so"

    driver(loader_path, 12080, status=100)
    reading, remedy = state(library)
    assert reading.value is None
    assert "cuInit: board on fire (error 100)" in reading.reason
    assert remedy

    driver(loader_path, 12080)
    reading, remedy = state(library)
    assert "is built without it" in reading.reason
    assert "onnxruntime-gpu" in remedy

    # A constructor that crashes shows that the provider is not opened: ORT's own does so.
    crash = "__attribute__((constructor)) static void f(void) { *(volatile int *)0 = 1; }"
    needed = [loader_path / "libcudart.so.13", loader_path / "libstandin.so.1"]
    for needed_library in needed:
        build(needed_library, "")
    build(plugin, crash, f"-L{loader_path}", *(f"-l:{path.name}" for path in needed))
    needed[1].rename(tmp_path / "aside")
    reading, remedy = state(library)
    assert "libstandin.so.1 for libonnxruntime_providers_cuda.so" in reading.reason
    assert "LD_LIBRARY_PATH" in remedy

    (tmp_path / "aside").rename(needed[1])
    reading, remedy = state(library)
    assert "the driver supports CUDA 12" in reading.reason
    assert "update the NVIDIA driver" in remedy

    driver(loader_path, 13000)
    for lazy in ("libcudnn.so.9", "libcufft.so.12", "libnvrtc.so.13"):
        build(loader_path / lazy, "")
    reading, remedy = state(library)
    assert (reading.name, reading.value, remedy) == ("cuda", "usable", "")

    (loader_path / "libcudnn.so.9").write_text("not a library")
    reading, remedy = state(library)
    assert reading.value == "usable"
    assert "libcudnn.so.9 fail: pip install nvidia-cudnn-cu13" in remedy
