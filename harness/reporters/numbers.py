"""Numbers with a fitting unit, as the terminal and the page write them."""

from __future__ import annotations


def nanoseconds(value: float) -> str:
    """A duration with four digits and the unit that fits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.{max(0, 3 - len(str(int(abs(scaled)))))}f} {unit}"
    return f"{round(value)} ns"  # an int has no -0


def counted_times(value: float) -> str:
    """An average count: without decimals at or above a hundred, three digits below."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def half_width(interval: tuple[float, float], centre: float, digits: int = 0) -> str:
    """Half width of an interval relative to its figure; ``>±100%`` where it is no smaller."""
    half = (interval[1] - interval[0]) / 2 / centre
    return f"±{half:.{digits}%}" if half < 1 else ">±100%"


def joules(value: float) -> str:
    """An energy with three digits and the unit that fits it."""
    for unit, size in (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} nJ"


def size(value_bytes: float) -> str:
    """An amount of memory in powers of 1024: three digits, or all before the point if more."""
    for unit, amount in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(value_bytes) >= amount:
            return f"{rate(value_bytes / amount)} {unit}"
    return f"{value_bytes:.0f} B"


def rate(value: float) -> str:
    """A rate: three digits, or all before the point if more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
