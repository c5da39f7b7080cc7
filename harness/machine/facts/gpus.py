"""The GPUs, as NVML reports them."""

from __future__ import annotations

from collections.abc import Iterator

from harness.records import Reading


def gpus() -> Iterator[Reading]:
    """Driver version, number of GPUs, and facts about each."""
    try:
        from harness.machine.devices import nvml
    except ImportError as error:
        reason = f"harness's own native module does not load: {error}"
        yield Reading("nvml_driver", None, "", "NVML", reason)
        return
    told = nvml.gpus()
    if not told.driver:
        yield Reading("nvml_driver", None, "", "NVML", told.reason)
        return
    yield Reading("nvml_driver", told.driver, "", "NVML")
    if told.reason:
        yield Reading("nvml_error", None, "", "NVML", told.reason)
        return
    yield Reading("gpu_count", len(told.found), "1", "NVML")
    for gpu in told.found:
        yield from gpu.facts
