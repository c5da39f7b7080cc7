"""GPUs through NVML: which ones there are, what can be sampled, and what NVML's errors mean.

The facts come from nvidia-ml-py (``pynvml``, imported on demand); the series are read by the
native thread, which opens the library itself.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from harness.machine.devices.channels import Channel, Offer
from harness.native import sampler
from harness.records import Reading

LIBRARY = "libnvidia-ml.so.1"

_UNSUPPORTED, _LIBRARY_NOT_FOUND, _FUNCTION_NOT_FOUND = 3, 12, 13

#: nvmlReturn_t -> what it means here, with the remedy if there is one.
_MEANINGS = {
    1: "NVML was shut down in the meantime",
    2: "the driver does not know it, or there is no GPU with this index: see `nvidia-smi -L`",
    _UNSUPPORTED: "this GPU does not support it",
    4: "no permission: run as root, or have an administrator allow it",
    6: "not found",
    9: "the NVIDIA driver is not loaded: `sudo modprobe nvidia`, or, in a container, start it "
    "with the GPU passed through (`docker run --gpus all`)",  # another program's
    10: "the driver did not answer in time",
    _LIBRARY_NOT_FOUND: f"{LIBRARY} could not be loaded: install the NVIDIA driver; in a container "
    "start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    _FUNCTION_NOT_FOUND: "the driver is too old for it",
    15: "the GPU is lost (it fell off the bus, or was reset): see `dmesg | grep Xid`",
    16: "the GPU needs a reset: `sudo nvidia-smi --gpu-reset`",  # another program's
    18: "the library and the kernel driver have different versions: after a driver update, "
    "reload the driver or restart the machine",
    21: "the driver has no data for it",
    999: "an error inside the driver",
}


class Nvml:
    """Source of the series of one GPU.

    The native thread finds out which of them the GPU supports: a channel whose first reading
    returns "not supported" is not read again. It also finds out what each call costs: one that is
    too costly for every tick is read at the edges of passes and seldom in between. The energy
    counter of an H200 took 3.2 ms a reading, everything else some 5 µs.

    Args:
        gpu: NVML's index, which counts all GPUs of the machine in PCI bus order.
    """

    def __init__(self, gpu: int) -> None:
        self._device = f"gpu{gpu}"

    def offer(self) -> Offer:
        """All series that a GPU may have; nothing is opened yet."""
        field, clock = sampler.NVML_FIELD, sampler.NVML_CLOCK
        energy = self._call(
            "energy_mj",
            "mJ",
            "nvmlDeviceGetFieldValues(83)",
            sampler.Channel(field, 83, meter=True),
        )
        return Offer(
            (
                self._call(
                    "power_instant_mw",
                    "mW",
                    "nvmlDeviceGetFieldValues(186)",
                    sampler.Channel(field, 186),
                ),
                dataclasses.replace(energy, counter=True),
                self._call(
                    "clock_reasons_mask",
                    "1",
                    "nvmlDeviceGetCurrentClocksEventReasons",
                    sampler.Channel(sampler.NVML_REASONS),
                ),
                self._call(
                    "clock_sm_hz",
                    "Hz",
                    "nvmlDeviceGetClockInfo(SM)",
                    sampler.Channel(clock, 1, 1_000_000),
                ),
                self._call(
                    "clock_memory_hz",
                    "Hz",
                    "nvmlDeviceGetClockInfo(MEM)",
                    sampler.Channel(clock, 2, 1_000_000, slow=True),
                ),
                self._call(
                    "power_average_mw",  # over a second: more often, it tells no more
                    "mW",
                    "nvmlDeviceGetFieldValues(185)",
                    sampler.Channel(field, 185, slow=True),
                ),
                self._call(
                    "temperature_memory_c",
                    "degC",
                    "nvmlDeviceGetFieldValues(82)",
                    sampler.Channel(field, 82, slow=True),
                ),
                self._call(
                    "temperature_c",
                    "degC",
                    "nvmlDeviceGetTemperature(GPU)",
                    sampler.Channel(sampler.NVML_TEMPERATURE, slow=True),
                ),
                *(
                    self._call(
                        f"utilization_{what}_percent",
                        "percent",
                        f"nvmlDeviceGetUtilizationRates, {what}",
                        sampler.Channel(sampler.NVML_UTILIZATION, number, slow=True),
                    )
                    for number, what in enumerate(("gpu", "memory"))
                ),
                self._call(
                    "memory_used_bytes",
                    "bytes",
                    "nvmlDeviceGetMemoryInfo, used, the driver's own included",
                    sampler.Channel(sampler.NVML_MEMORY, slow=True),
                ),
                self._call(
                    "power_samples_mw",
                    "mW",
                    "nvmlDeviceGetSamples(TOTAL_POWER), which the driver records by itself",
                    sampler.Channel(sampler.NVML_SAMPLES, 0, slow=True),
                ),
            )
        )

    def explain(self, status: int) -> str:
        """The meaning of an NVML error here, and the remedy."""
        return explain(status)

    def _call(self, quantity: str, unit: str, source: str, read: sampler.Channel) -> Channel:
        return Channel(self._device, quantity, unit, source, read)


def explain(status: int, detail: str = "") -> str:
    """A sentence that the user can act on, for an nvmlReturn_t."""
    meaning = f"{_MEANINGS.get(status, 'NVML failed')} (NVML {status})"
    return f"{meaning}: {detail}" if detail else meaning


@dataclasses.dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as NVML describes it.

    Attributes:
        index: NVML's index.
        bus_id: PCI address, such as ``00000000:01:00.0``.
        facts: readings named after its index: ``gpu0_name``, ``gpu0_uuid``,
            ``gpu0_power_limit_mw``, …
    """

    index: int
    bus_id: str
    facts: tuple[Reading, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of the machine.

    Attributes:
        found: all of them.
        driver: driver version; empty if it cannot be queried.
        reason: why the GPUs cannot be listed, with the remedy; empty if they can be, even if
            there are none.
    """

    found: tuple[Gpu, ...]
    driver: str = ""
    reason: str = ""


def gpus(library: str | None = None) -> Gpus:
    """Lists the GPUs through nvidia-ml-py, with facts about each.

    Args:
        library: another libnvidia-ml.so.1. Give it before any other use of NVML in this process:
            nvidia-ml-py opens the library once, by that name.
    """
    try:
        import pynvml
    except ImportError as error:
        return Gpus((), reason=f"{error}: `pip install nvidia-ml-py`")
    try:
        if library is not None:
            ctypes.CDLL(library)  # later opens of the same SONAME get this one
        pynvml.nvmlInit()
    except OSError as error:
        return Gpus((), reason=explain(_LIBRARY_NOT_FOUND, str(error)))
    except pynvml.NVMLError as error:
        return Gpus((), reason=explain(error.value))
    driver = ""
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        count = pynvml.nvmlDeviceGetCount()
        return Gpus(tuple(_gpu(pynvml, index) for index in range(count)), driver)
    except pynvml.NVMLError as error:
        return Gpus((), driver, explain(error.value))
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> Gpu:
    device = nvml.nvmlDeviceGetHandleByIndex(index)
    bus_id = _text(nvml.nvmlDeviceGetPciInfo(device).busId)
    return Gpu(index, bus_id, tuple(_facts(nvml, index, device)))


def _facts(nvml: Any, index: int, device: Any) -> Iterator[Reading]:
    """What a profile records about a GPU; any of these facts may be absent."""
    queries: tuple[tuple[str, str, tuple[int, ...], Callable[..., int | str], str], ...] = (
        ("name", "nvmlDeviceGetName", (), _text, ""),
        ("uuid", "nvmlDeviceGetUUID", (), _text, ""),
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
            value = convert(getattr(nvml, function)(device, *arguments))
        except nvml.NVMLError as error:
            yield Reading(name, None, unit, function, str(error))
        else:
            yield Reading(name, value, unit, function)


def _text(told: str | bytes) -> str:
    return told.decode(errors="replace") if isinstance(told, bytes) else told


def _mega(value: int) -> int:
    return value * 1_000_000


def _dotted(pair: tuple[int, int]) -> str:
    return ".".join(map(str, pair))
