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
        bandwidth: of its memory in bytes a second; None where not told.
        watts: nominal power (TDP or power limit).
        source: the document.
    """

    name: str
    peaks: Mapping[str, float]
    bandwidth: float | None
    watts: float
    source: str


#: By product. Sources: the data sheets that NVIDIA and AMD publish under these titles.
KNOWN = (
    KnownDevice("Tesla T4", {"float32": 8.1e12, "float16": 65e12, "int8": 130e12}, 320e9, 70,
                "NVIDIA T4 Tensor Core GPU, data sheet"),
    KnownDevice("NVIDIA L4", {"float32": 30.3e12, "tf32": 60e12, "float16": 121e12,
                              "int8": 242e12}, 300e9, 72,
                "NVIDIA L4 Tensor Core GPU, data sheet (half of its figures with sparsity)"),
    KnownDevice("NVIDIA L40S", {"float32": 91.6e12, "tf32": 183e12, "float16": 362e12,
                                "int8": 733e12}, 864e9, 350,
                "NVIDIA L40S GPU, data sheet"),
    KnownDevice("NVIDIA A10", {"float32": 31.2e12, "tf32": 62.5e12, "float16": 125e12,
                               "int8": 250e12}, 600e9, 150,
                "NVIDIA A10 Tensor Core GPU, data sheet"),
    KnownDevice("NVIDIA A100-SXM4-80GB", {"float32": 19.5e12, "tf32": 156e12, "float16": 312e12,
                                          "int8": 624e12}, 2039e9, 400,
                "NVIDIA A100 Tensor Core GPU, data sheet"),
    KnownDevice("NVIDIA H100 80GB HBM3", {"float32": 67e12, "tf32": 494e12, "float16": 989e12,
                                          "int8": 1979e12}, 3350e9, 700,
                "NVIDIA H100 Tensor Core GPU, data sheet, SXM (half of its figures with sparsity)"),
    KnownDevice("NVIDIA H200", {"float32": 67e12, "tf32": 494e12, "float16": 989e12,
                                "int8": 1979e12}, 4800e9, 700,
                "NVIDIA H200 Tensor Core GPU, data sheet, SXM (half of its figures with sparsity)"),
    KnownDevice("AMD EPYC 9965", {}, None, 500, "AMD EPYC 9965, product page: default TDP"),
)  # fmt: skip


def known_device(name: str) -> KnownDevice | None:
    """The device of this product name; None if it is not in the table."""
    return next((one for one in KNOWN if one.name == short_cpu(name)), None)
