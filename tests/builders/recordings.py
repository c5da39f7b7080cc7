"""What a GPU did, recorded once on an NVIDIA H200 (docs/GPU.md) and cut by tests/gpu/cut.py."""

from __future__ import annotations

import functools
import gzip
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness import read_profile
from harness.native import cupti, marks
from harness.records import Profile

FOLDER = Path(__file__).parents[1] / "gpu" / "recordings"

#: The models of which there is a profile.
PROFILES = ("mlp", "bert-small", "resnet50")


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """For the files that were unpacked; goes with the process."""
    return tempfile.TemporaryDirectory()


@functools.cache
def recorded(name: str) -> Profile:
    """One of the PROFILES. Columns are read from a file when they are first looked at."""
    path = Path(_folder().name, f"{name}.h5")
    path.write_bytes(gzip.decompress((FOLDER / f"{name}.h5.gz").read_bytes()))
    return read_profile(path)


class RawRecording(NamedTuple):
    """What CUPTI and ONNX Runtime said during three inferences of the MLP, as it came.

    Attributes:
        columns: the decoded records.
        names: of kernels, by address.
        marks: of the nodes.
        recording: the buffers, and what belongs to them.
    """

    columns: cupti.CuptiColumns
    names: dict[int, str]
    marks: marks.Marks
    recording: cupti.CuptiRecording


@functools.cache
def raw_records() -> RawRecording:
    """The raw records of CUPTI."""
    held = np.load(FOLDER / "cupti-records.npz")
    buffers = tuple(
        cupti.RawRecords(held[f"data_{n}"], held[f"offsets_{n}"])
        for n in range(sum(name.startswith("data_") for name in held))
    )
    return RawRecording(
        columns=cupti.decode((each.data, each.offsets.tolist()) for each in buffers),
        names=dict(zip(held["addresses"].tolist(), held["names"].tolist(), strict=True)),
        marks=marks.Marks(int(held["first_id"]), held["marks"], 0, 0, 0),
        recording=cupti.CuptiRecording(buffers, 0, 0, 0, int(held["offset_ns"]), 0, ""),
    )
