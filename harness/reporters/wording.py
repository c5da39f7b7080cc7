"""Phrases shared by the terminal, the page and the progress messages."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.device_checks import DeviceChecks
from harness.analysis.findings.seen import Finding
from harness.analysis.host_or_device import Difference
from harness.analysis.runtime import Runtime, runtime
from harness.options import worded
from harness.records import InputRecord, Profile

if TYPE_CHECKING:
    from harness.analysis.comparing.report import Compared

#: How the work of nodes is divided among their kernels (``analysis.kernel_ceilings``).
PARTS_TOLD = (
    "a part of its nodes' work, as these launch other kernels besides: operations count for those "
    "whose names tell the narrower type of the node, else by time; bytes by time"
)

#: What is compared of separate occasions, and the points of a series are.
UNDISTURBED = (
    "undisturbed: the lower quartile of each process, geometric mean of the faster half of the "
    "processes"
)

#: The same of callers side by side.
UNDISTURBED_TOGETHER = (
    "undisturbed: wall time per inference of all callers together, the inverse of their "
    "throughput, geometric mean of the faster half of the groups"
)


def undisturbed(profile: Profile) -> str:
    """What the points of a profile's series are, in words."""
    return UNDISTURBED if profile.instances is None else UNDISTURBED_TOGETHER


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


def apart(
    found: Difference, duration: Callable[[float], str], share: Callable[[float], str]
) -> str:
    """Why latencies on a device differ, in one sentence without its full stop.

    Args:
        found: the difference.
        duration: formats a time in ns.
        share: formats a fraction of 1.
    """
    if found.between == "processes":
        what = f"the processes' medians differ by {share(found.high_ns / found.low_ns - 1)}"
    else:
        what = (
            f"samples lie at two levels in {counted(found.many, 'process', 'processes')} (process "
            f"{found.process}: {duration(found.low_ns)}, and {duration(found.high_ns)} for "
            f"{share(found.part)} of them)"
        )
    whose = {
        "host": "because of the host, not of the device",
        "device": "because of the device, not of the host",
        "both": "because of both host and device",
    }[found.side]
    told = (
        f"{what}, {whose}: of {duration(found.high_ns - found.low_ns)} more, "
        f"{duration(found.host_ns)} are until the call returns and {duration(found.device_ns)} "
        "after that, until the device is done"
    )
    if found.kernels_ns is not None:
        fast, slow = map(duration, found.kernels_ns)
        told += f"; the kernels of the fastest take {fast}, those of the slowest {slow}"
    return told


def counted(number: int, one: str, many: str = "") -> str:
    """A number and the noun for it: ``1 process``, ``1,200 samples``.

    Args:
        number: how many.
        one: the noun for one.
        many: the noun for any other number; ``one`` with an s where it is empty.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def minute(when: datetime.datetime) -> str:
    """A moment without its zone, as ``2026-11-28 14:30``; strftime drops zeros of early years."""
    return when.replace(tzinfo=None).isoformat(" ", "minutes")


def processes(number: int) -> str:
    """A number of processes: ``1 process``, ``3 processes``."""
    return counted(number, "process", "processes")


def figure_of(compared: Compared) -> str:
    """What the verdict of a comparison is on, in words; empty for the median of pairs."""
    if compared.is_together:
        return "wall time per inference of all callers together, the inverse of their throughput"
    return "" if compared.paired else UNDISTURBED


def units(profile: Profile, number: int) -> str:
    """So many of a profile's units of replication: ``3 processes``, or ``5 groups``."""
    return processes(number) if profile.instances is None else counted(number, "group")


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
    used = runtime(profile)
    if used.threads is not None:
        return counted(used.threads, "thread")
    if asked is None:
        return ""
    return counted(asked, "thread") if asked else "threads chosen by ORT"


def place(profile: Profile) -> str:
    """Where the model ran: the provider, and the runtime if it is not ONNX Runtime."""
    used = runtime(profile)
    return profile.provider if used.is_ort else f"{profile.provider} with {used.name}"


def runtime_line(used: Runtime) -> str:
    """Another runtime than ONNX Runtime: its version, its outputs, and what timing it takes."""
    named = f"{used.name} {used.version or 'of unknown version'}"
    loop = (
        ""
        if used.loop_ns is None
        else f"its timing loop takes {used.loop_ns:.0f} ns of an inference"
    )
    return "; ".join(filter(None, (named, used.agreement, loop)))


def input_line(record: InputRecord) -> str:
    """One input: what was fed, and why."""
    shape = "x".join(map(str, record.shape)) or "scalar"
    return f"{record.name}: {record.dtype} {shape}; {worded(record.chosen_because)}"


def split_checks(checks: DeviceChecks, duration: Callable[[float], str]) -> str:
    """What the split of the device's time was held against, without a full stop.

    Args:
        checks: of the device's accounts.
        duration: formats a time in ns.
    """
    if checks.apart is None or checks.apart_ns is None:
        told = [f"not held against another recording: {worded(checks.reason)}"]
    else:
        by = f"{checks.apart:.1%} ({duration(checks.apart_ns)})"
        told = [f"times of launches differ by {by} from the pass with node marks"]
    if checks.idle_beyond_ns is not None:
        told.append(f"idle before them longer than there by {duration(checks.idle_beyond_ns)}")
    elif checks.apart is not None:
        told.append(f"not compared: {worded(checks.reason)}")
    if checks.overlap_ns:
        told.append(f"works of a stream overlap for {duration(checks.overlap_ns)}")
    if checks.recorder_launch_ns is not None:
        told.append(f"CUPTI adds {duration(checks.recorder_launch_ns)} a launch")
    return "; ".join(told)
