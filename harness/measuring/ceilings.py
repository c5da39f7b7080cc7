"""The ceilings of the roofline: what this machine reached when it was asked, never a data sheet.

Bandwidth of memory and of each cache level (``streams``), and a matrix product per element type
(``products``). A ceiling counts only if the machine was quiet while it was measured: from
repetitions whose threads had their CPUs throughout, and only if two looks at it, some tenths of
a second apart, agree (``looks``). Otherwise it is absent: a low ceiling makes nodes reach 315 %
of it, and gives them a class that they do not have.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from harness.measuring.looks import Ceiling, measured
from harness.measuring.products import DTYPES, Product, default_threads
from harness.measuring.streams import streams
from harness.native import ort
from harness.records import Reading

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from harness.config.profile import ProfileConfig

QUICK_CEILINGS = "`quick` measures no ceilings; leave it out"
GROUP_CEILINGS = "they are for operators, and of callers side by side none are recorded"


def measure(
    library: ort.Library,
    threads: int = 0,
    dtypes: Sequence[str] = ("float32",),
    root: Path = Path("/"),
    memory_bytes: int | None = None,
) -> tuple[Ceiling | Reading, ...]:
    """Measures copy and triad of memory and each cache level, and a product of each dtype.

    One to two seconds.

    Args:
        library: the opened libonnxruntime.
        threads: intra-op threads; 0 for as many as ONNX Runtime starts by itself.
        dtypes: out of float32, float64, float16, bfloat16 and int8.
        root: where /proc and /sys are found (tests).
        memory_bytes: resident, that this process may take; None for half of what is available.

    Returns:
        A Ceiling for copy and triad of memory (``copy``) and of each cache level (``copy_l1``),
        and for each dtype (``matmul_float32``), or a Reading of the same name that is absent,
        with the reason; and what each level holds (``l1_bytes``, all its caches together) in
        how many caches (``l1_caches``).

    Raises:
        ValueError: threads is negative, or a dtype is not among those above.
    """
    if threads < 0:
        raise ValueError(f"threads must not be negative: {threads}")
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise ValueError(f"{dtype}: no such ceiling, only of {', '.join(sorted(DTYPES))}")
    counted = threads or default_threads(library)
    found, known = streams(counted, root, memory_bytes)
    products = [Product(library, dtype, threads, counted) for dtype in dtypes]
    return (*known, *measured([*found, *products]))


def facts(
    library: ort.Library, config: ProfileConfig, dtypes: Collection[str]
) -> tuple[Reading, ...]:
    """The ceilings as facts of a profile, with the threads that the model gets.

    Args:
        library: the opened libonnxruntime.
        config: what is profiled; a quick look measures no ceilings.
        dtypes: element types that the model computes in; those without a ceiling are left out.
    """
    if config.quick or config.is_group:
        reason = QUICK_CEILINGS if config.quick else GROUP_CEILINGS
        return (Reading("ceilings", None, source="harness.measuring.ceilings", reason=reason),)
    limit_gb = config.memory_limit_gb
    found = measure(
        library,
        config.session.intra_threads,
        sorted(DTYPES.intersection(dtypes)),
        memory_bytes=None if limit_gb is None else int(limit_gb * 1e9),
    )
    return tuple(
        Reading(f"ceiling_{one.name}", one.value, one.unit, _told(one))
        if isinstance(one, Ceiling)
        else dataclasses.replace(one, name=f"ceiling_{one.name}")
        for one in found
    )


def _told(ceiling: Ceiling) -> str:
    return (
        f"{ceiling.source}; {ceiling.threads} thread(s), fastest of {ceiling.samples} undisturbed "
        f"repetitions out of {ceiling.tried}, {ceiling.spread:.2f} times the median, looks agree "
        f"within {ceiling.agreement:.1%}"
    )
