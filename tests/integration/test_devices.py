"""Devices sampled during a profile: healthy, and with every fault that a driver can have."""

from __future__ import annotations

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness as package
from harness.analysis import energy
from tests.doubles import build_nvml
from tests.integration.fork_server import execute

if TYPE_CHECKING:
    from harness.records import DeviceSeries, Profile
    from tests.integration.command import Harness

#: Gives the workers a GPU of the double's, with a fault that comes after some readings.
GPU = """
import ctypes, sys
if "harness.measuring.spawning" in sys.orig_argv:
    from harness.measuring import timed_pass
    from harness.machine.devices.sampling import DeviceSampler

    def with_double(job, latency_ns, values):
        if {fault!r}:
            double = ctypes.CDLL({library!r})
            assert double.harness_test_double({fault!r}.encode(), ctypes.c_long({after})) == 0
        if {priced}:
            ctypes.CDLL({library!r}).harness_test_double_price(1)
        return DeviceSampler(job.config.sample_hz, 0, job.cpus, nvml_library={library!r})

    timed_pass.device_sampler = with_double
"""


@dataclasses.dataclass(frozen=True)
class Sampled:
    """A profile whose workers had a GPU of the double's.

    Attributes:
        profile: as it was stored.
        absent: what is missing and why.
    """

    profile: Profile
    absent: dict[str, str]

    def gpu(self) -> dict[str, DeviceSeries]:
        """Series of the GPU by quantity."""
        return {one.quantity: one for one in self.profile.devices if one.device == "gpu0"}


def sample(
    folder: Path,
    surroundings: dict[str, str],
    library: str,
    fault: str = "",
    after: int = 0,
    *,
    priced: bool = False,
    duration_s: float = 0.05,
    energy: bool = False,
) -> Sampled:
    """Profiles mlp in a folder with a library in NVML's place."""
    code = GPU.format(library=library, fault=fault, after=after, priced=priced)
    (folder / "sitecustomize.py").write_text(code)
    path = os.pathsep.join((str(folder), surroundings["PYTHONPATH"]))
    done = execute(
        *("profile", "mlp", "--quick", "--processes", "1", "--duration", duration_s),
        *("--trace", "none", "-o", "out.h5"),
        *(["--energy"] if energy else []),
        folder=folder,
        environment={**surroundings, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    profile = package.read_profile(folder / "out.h5")
    return Sampled(profile, dict(profile.absent))


def test_series_are_stored_and_those_of_a_double_are_no_measurement(
    surroundings: dict[str, str], harness: Harness, tmp_path: Path
) -> None:
    found = sample(tmp_path, surroundings, build_nvml())
    series = found.gpu()
    assert {"power_instant_mw", "energy_mj", "clock_reasons_mask", "temperature_c"} < set(series)
    assert all(one.double for one in series.values())
    (process,) = found.profile.processes
    # From before there was a session until after the timed pass.
    power = series["power_instant_mw"]
    assert power.time_ns[0] < process.steady.start_ns[0]
    assert power.time_ns[-1] > process.steady.start_ns[-1]
    (gpu,) = (one for one in energy.energy(found.profile) if one.device == "gpu0")
    assert gpu.joules.value is None
    assert "test double" in gpu.joules.reason
    assert "not measurements" in harness("show", "out.h5").stdout
    told = json.loads(harness("show", "out.h5", "--json").stdout)
    assert told["energy"]["gpu0"]["joules"] is None
    assert "test double" in told["energy"]["gpu0"]["joules_reason"]


#: (fault, after so many readings, what is then missing, why).
FAULTS = (
    ("driver_not_loaded", 0, "gpu0", "modprobe nvidia"),
    ("version_mismatch", 0, "gpu0", "restart the machine"),
    ("no_permission", 0, "gpu0", "no permission"),
    ("unsupported_fields", 0, "gpu0", "does not support it"),
    ("timeout", 60, "gpu0", "in time"),
    ("gpu_lost", 60, "gpu0", "Xid"),
    ("counter_reset", 60, "gpu0 energy_mj", "was reset"),
    ("hang", 60, "gpu0", "did not return within 2 s"),
    ("hang_init", 0, "gpu0", "within 2 s"),
    ("hang_shutdown", 0, "sampler_gpu0", "did not close within 2 s"),
    ("slow", 0, "", ""),
    ("no library", 0, "gpu0", "could not be loaded"),
    ("no symbol", 0, "gpu0", "too old for it"),
)


@pytest.fixture(scope="module")
def faulty(
    tmp_path_factory: pytest.TempPathFactory, surroundings: dict[str, str]
) -> dict[str, Sampled]:
    """A profile with each fault; several at a time, for most of theirs is waiting."""
    libraries = {
        "no library": "/nowhere/libnvidia-ml.so.1",
        "no symbol": build_nvml("FIELD_VALUES"),
    }
    healthy = build_nvml()

    def with_fault(fault: str, after: int) -> Sampled:
        folder = tmp_path_factory.mktemp("fault")
        if fault in libraries:
            return sample(folder, surroundings, libraries[fault])
        return sample(folder, surroundings, healthy, fault, after)

    with ThreadPoolExecutor(3) as pool:
        profiles = pool.map(with_fault, *zip(*(one[:2] for one in FAULTS), strict=True))
        return dict(zip((one[0] for one in FAULTS), profiles, strict=True))


@pytest.mark.parametrize(
    ("fault", "missing", "reason"), [(fault, *rest) for fault, _, *rest in FAULTS]
)
def test_the_profile_completes_whatever_the_driver_does(
    faulty: dict[str, Sampled], fault: str, missing: str, reason: str
) -> None:
    found = faulty[fault]
    assert found.profile.complete
    (process,) = found.profile.processes
    # All of them, the whole timed pass.
    assert len(process.steady) == 3 * process.loops
    assert any(one.device == "host" for one in found.profile.devices)
    reasons = [why for what, why in found.absent.items() if what.startswith(missing) and missing]
    assert bool(reasons) is bool(missing)
    assert not missing or any(reason in why for why in reasons), found.absent


def test_energy_of_a_gpu_from_a_costly_counter_and_the_drivers_record(
    surroundings: dict[str, str], tmp_path: Path
) -> None:
    found = sample(tmp_path, surroundings, build_nvml(), priced=True, duration_s=1, energy=True)
    series = found.gpu()
    (process,) = found.profile.processes
    began_ns = process.steady.start_ns[0]
    ended_ns = process.steady.start_ns[-1] + process.steady.duration_ns[-1]
    # The first tick, the end of idling, where the pass begins and ends, the last tick; perhaps one
    # in between, as seldom as it is.
    read_ns = series["energy_mj"].time_ns
    assert 5 <= len(read_ns) <= 7
    assert not ((read_ns > began_ns) & (read_ns < ended_ns)).sum() > 1
    assert read_ns[-1] - ended_ns > 1.5e9, "idle after the pass"
    # Its values as a real GPU's: a watt more or less is the edges'.
    real = tuple(dataclasses.replace(one, double=False) for one in found.profile.devices)
    (gpu,) = (
        one
        for one in energy.energy(dataclasses.replace(found.profile, devices=real))
        if one.device == "gpu0"
    )
    assert gpu.period_s == pytest.approx(0.1, rel=0.5)
    assert gpu.watts.value == pytest.approx(50, rel=0.25)
    assert gpu.idle_watts.value == pytest.approx(50, rel=0.2)
    assert gpu.warm_idle_watts.value == pytest.approx(50, rel=0.2)
    assert gpu.power_j.value == pytest.approx(gpu.joules.value, rel=0.25)
    assert any("updates of the energy counter, not 50" in cause for cause in gpu.causes)
    assert not any("differ from the counter" in cause for cause in gpu.causes)


def test_energy_takes_its_time_and_says_what_it_could_not_have(
    harness: Harness, tmp_path: Path
) -> None:
    done = harness(
        *("profile", "mlp", "--quick", "--processes", "1", "--trace", "none", "--energy"),
        *("--duration", "0.1", "--json", "-o", "out.h5"),
    )
    assert done.returncode == 0, done.stderr
    profile = package.read_profile(tmp_path / "out.h5")
    (process,) = profile.processes
    first_ns = min(int(one.time_ns[0]) for one in profile.devices if len(one))
    assert process.steady.start_ns[0] - first_ns > 1.5e9, "idle before there was a session"
    told = json.loads(done.stdout)
    assert told["energy"] is not None or told["energy_reason"]


def test_no_device_is_sampled_when_none_is_asked_for(harness: Harness, tmp_path: Path) -> None:
    done = harness(
        *("profile", "mlp", "--quick", "--processes", "1", "--trace", "none"),
        *("--duration", "0.02", "--sample-hz", "0", "-o", "out.h5"),
    )
    assert done.returncode == 0, done.stderr
    assert package.read_profile(tmp_path / "out.h5").devices == ()
    for wrong in (("--sample-hz", "5000"), ("--sample-hz", "0", "--energy")):
        refused = harness("profile", "mlp", *wrong)
        assert refused.returncode == 2
        assert "--sample-hz" in refused.stderr
