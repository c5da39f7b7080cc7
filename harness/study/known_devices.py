"""Nominal figures of known devices, from their makers' documents: what no machine tells by itself.

They serve to show a share of the nominal peak, and as a labelled bound of power. What a machine
really does is measured (``harness.analysis.ceilings``). Dense arithmetic, without sparsity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from harness.study.joining import short_cpu


@dataclasses.dataclass(frozen=True, slots=True)
class KnownDevice:
    """What its maker says.

    Attributes:
        name: the whole product name, without trade marks (``joining.short_cpu``).
        peaks: operations a second by element type; ``tf32``: float32 by tensor cores.
        watts: nominal power (TDP or power limit).
        source: the document.
    """

    name: str
    peaks: Mapping[str, float]
    watts: float
    source: str


#: By product. Each figure was found again in public tables made after the data sheet that it names,
#: except for rounding (2026-11-28); what was not found so is left out.
KNOWN = (
    KnownDevice("Tesla T4", {"float32": 8.1e12, "float16": 65e12, "int8": 130e12}, 70,
                "NVIDIA T4 Tensor Core GPU, data sheet"),
    KnownDevice("NVIDIA L4", {"float32": 30.3e12, "tf32": 60e12, "float16": 121e12,
                              "int8": 242e12}, 72,
                "NVIDIA L4 Tensor Core GPU, data sheet (half of its figures with sparsity)"),
    KnownDevice("NVIDIA L40S", {"float32": 91.6e12, "tf32": 183e12, "int8": 733e12}, 350,
                "NVIDIA L40S GPU, data sheet"),
    KnownDevice("NVIDIA A100-SXM4-80GB", {"float32": 19.5e12, "tf32": 156e12, "float16": 312e12,
                                          "int8": 624e12}, 400,
                "NVIDIA A100 Tensor Core GPU, data sheet"),
    KnownDevice("NVIDIA H100 80GB HBM3", {"float32": 67e12, "tf32": 494e12, "float16": 989e12,
                                          "int8": 1979e12}, 700,
                "NVIDIA H100 Tensor Core GPU, data sheet, SXM (half of its figures with sparsity)"),
    KnownDevice("NVIDIA H200", {"float32": 67e12, "tf32": 494e12, "float16": 989e12,
                                "int8": 1979e12}, 700,
                "NVIDIA H200 Tensor Core GPU, data sheet, SXM (half of its figures with sparsity)"),
)  # fmt: skip


def known_device(name: str) -> KnownDevice | None:
    """The device of this product name; None if it is not in the table."""
    return next((one for one in KNOWN if one.name == short_cpu(name)), None)
