"""Why a GPU's clocks are lower than they could be: NVML's bits and their names."""

from __future__ import annotations

#: Names of the bits in the series clock_reasons_mask.
_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}


#: Reasons that mean the GPU was throttled: all but idling and settings made by its owner.
THROTTLED = 0x004 | 0x008 | 0x010 | 0x020 | 0x040 | 0x080 | 0x200 | 0x400

#: Throttling for lack of power: sw_power_cap, hw_power_brake_slowdown.
POWER = 0x004 | 0x080


def clock_reasons(mask: int) -> tuple[str, ...]:
    """Names of the bits of a clock_reasons_mask, lowest first."""
    bits = (1 << bit for bit in range(mask.bit_length()))
    return tuple(_REASONS.get(bit, f"unknown_{bit:#x}") for bit in bits if mask & bit)
