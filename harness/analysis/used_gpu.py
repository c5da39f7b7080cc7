"""Which of the machine's GPUs a profile was measured on, as its facts tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from harness.ort import providers
from harness.records import Profile


@dataclasses.dataclass(frozen=True, slots=True)
class UsedGpu:
    """The GPU of a profile.

    Attributes:
        name: its product name; empty if not known.
        index: NVML's index, by which its series are called ``gpuN``; None if not known.
        uuid: ``GPU-…``; empty if not known.
        count: GPUs of the machine; 0 if not known.
        mig: UUID of the MIG instance that was used; empty if it was the whole GPU.
        driver: version; empty if not known.
        reason: why it is not known which one it was; empty otherwise.
    """

    name: str
    index: int | None
    uuid: str
    count: int
    mig: str
    driver: str
    reason: str = ""

    @property
    def told(self) -> str:
        """All of it in a line, such as ``NVIDIA L4 (gpu1 of 2, GPU-…), driver 580.1``."""
        driver = f", driver {self.driver}" if self.driver else ""
        if self.index is None:
            return f"not known which: {self.reason}{driver}"
        of = f" of {self.count}" if self.count > 1 else ""
        which = ", ".join(filter(None, (f"gpu{self.index}{of}", self.uuid)))
        text = f"{self.name or 'GPU of unknown name'} ({which}){driver}"
        if self.mig:
            text += f"; its part {self.mig} was used, while power and clocks are those of the whole"
        return text


def used_gpu(profile: Profile) -> UsedGpu | None:
    """The GPU of a profile; None if its provider uses none."""
    provider = providers.known(profile.provider)
    if provider is None or not provider.on_device:
        return None
    facts = {one.name: one for one in profile.environment}

    def text(name: str) -> str:
        return str(facts[name].value) if name in facts and facts[name].value is not None else ""

    counted = facts["gpu_count"].value if "gpu_count" in facts else None
    count = counted if isinstance(counted, int) else 0
    used = facts.get("gpu_used")
    index = used_index({name: one.value for name, one in facts.items()})
    reason = ""
    if index is None:
        reason = "not recorded: file of an older version" if used is None else used.reason
    name = f"gpu{index}_name"
    uuid = text("gpu_used_uuid") or text(f"gpu{index}_uuid")
    return UsedGpu(
        text(name), index, uuid, count, text("gpu_used_mig"), text("nvml_driver"), reason
    )


def used_index(facts: Mapping[str, object]) -> int | None:
    """NVML's index of the GPU that was used, from the facts by name; None if not known."""
    used = facts.get("gpu_used")
    if isinstance(used, int):
        return used
    # An older file: there is no other that it could have been.
    return 0 if "gpu_used" not in facts and facts.get("gpu_count") == 1 else None
