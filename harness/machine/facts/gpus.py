"""The GPUs as NVML tells them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from harness.records import Reading


def gpus() -> Iterator[Reading]:
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
