"""Phrases shared by the terminal, the page and the progress messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.analysis.findings.seen import Finding
from harness.options import worded
from harness.records import InputRecord, Profile

#: What the latency of a comparison of separate occasions is.
UNDISTURBED = (
    "undisturbed: the lower quartile of each process, mean of the faster half of the processes"
)


def evidence(
    found: Finding, duration: Callable[[float], str], share: Callable[[float], str]
) -> str:
    """The figures of a finding, each preceded by its name.

    Args:
        found: the finding.
        duration: formats a time in ns.
        share: formats a fraction of 1.
    """
    parts = []
    for name, value in found.evidence.items():
        if isinstance(value, str):
            told = value
        elif name.endswith("_ns"):
            told = duration(value)
        elif name.endswith("_share"):
            told = share(value)
        else:
            told = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        words = name.removesuffix("_ns").removesuffix("_share").replace("_", " ")
        parts.append(f"{words} {told}")
    return ", ".join(parts)


def counted(number: int, one: str, many: str = "") -> str:
    """A number and the noun for it: ``1 process``, ``1,200 samples``.

    Args:
        number: how many.
        one: the noun for one.
        many: the noun for any other number; ``one`` with an s where it is empty.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def processes(number: int) -> str:
    """A number of processes: ``1 process``, ``3 processes``."""
    return counted(number, "process", "processes")


def file_names(profiles: Sequence[Profile]) -> list[str]:
    """Names of the profiles' files, with as many folders as it takes to tell them apart."""
    paths = [one.path if one.path is not None else Path("not stored") for one in profiles]
    depth, names = 1, [path.name for path in paths]
    while len(set(names)) < len(set(paths)):
        depth += 1
        names = [str(Path(*path.parts[-depth:])) for path in paths]
    return names


def threads(profile: Profile) -> str:
    """How many threads an operator may use; empty where the request does not say."""
    asked = profile.asked.intra_threads
    if asked is None:
        return ""
    return counted(asked, "thread") if asked else "threads chosen by ORT"


def input_line(record: InputRecord) -> str:
    """One input: what was fed, and why."""
    shape = "x".join(map(str, record.shape)) or "scalar"
    return f"{record.name}: {record.dtype} {shape}; {worded(record.chosen_because)}"
