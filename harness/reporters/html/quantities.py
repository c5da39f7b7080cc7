"""Numbers with a fitting unit, as text of a page: a line never breaks between the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.reporters import wording
from harness.reporters.numbers import joules, nanoseconds

_NO_BREAK = "\u00a0"


def duration(value_ns: float) -> str:
    """A time with the unit that fits it."""
    return _glue(nanoseconds(value_ns))


def axis_duration(value_ns: float) -> str:
    """A round time, as short as possible."""
    for unit, amount in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(value_ns) >= amount:
            return _glue(f"{value_ns / amount:.4g} {unit}")
    return _glue(f"{value_ns:.4g} ns") if value_ns else "0"


def axis_percent(share: float) -> str:
    """A round share."""
    return _glue(f"{share * 100:.3g} %")


def energy(value_j: float) -> str:
    """An energy with three digits."""
    return _glue(joules(value_j))


def size(value_bytes: float) -> str:
    """An amount of memory with three digits, in powers of 1024."""
    for unit, amount in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(value_bytes) >= amount:
            return _glue(f"{value_bytes / amount:.3g} {unit}")
    return _glue(f"{value_bytes:.0f} B")


def metric(value: float, unit: str) -> str:
    """A number with three digits and a decimal prefix before its unit."""
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor:
            return _glue(f"{value / factor:.3g} {prefix}{unit}")
    return _glue(f"{value:.3g} {unit}")


def percent(share: float) -> str:
    """A share in percent, with one decimal below ten."""
    shown = share * 100
    digits = 1 if abs(shown) < 9.95 else 0
    return _glue(f"{shown:.{digits}f} %")


def temperature(value: float) -> str:
    """Degrees Celsius."""
    return _glue(f"{value:.3g} °C")


def count(value: float) -> str:
    """A count."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun."""
    return _glue(wording.counted(number, one, many))


#: Format of the value of a Reading or a DeviceSeries, by its unit.
_BY_UNIT: Mapping[str, Callable[[float], str]] = {
    "ns": duration,
    "s": lambda value: duration(value * 1e9),
    "bytes": size,
    "Hz": lambda value: metric(value, "Hz"),
    "bytes/s": lambda value: metric(value, "B/s"),
    "flop/s": lambda value: metric(value, "FLOP/s"),
    "op/s": lambda value: metric(value, "OP/s"),
    "mW": lambda value: metric(value * 1e-3, "W"),
    "uW": lambda value: metric(value * 1e-6, "W"),
    "mJ": lambda value: metric(value * 1e-3, "J"),
    "uJ": lambda value: metric(value * 1e-6, "J"),
    "degC": temperature,
    "percent": lambda value: percent(value / 100),
    "1": count,
}


def of_unit(value: float, unit: str) -> str:
    """A value with a unit named as in the records."""
    if unit in _BY_UNIT:
        return _BY_UNIT[unit](value)
    return _glue(f"{count(value)} {unit}".rstrip())


def _glue(text: str) -> str:
    return text.replace(" ", _NO_BREAK)
