"""Cuts the profiles that were recorded on a GPU to what the tests need of them.

    python tests/gpu/cut.py FOLDER

Reads mlp.h5, bert-small.h5, resnet50.h5 and cupti-records.npz in the folder, as they are in the
bundle of test_gpu.py, and writes them to tests/gpu/recordings, none above 300 kB. What stays is as
it was measured: of each timed pass and warm-up the first samples, of each traced pass the first
inferences, of the GPU's work that of the first process. The readings of the devices stay whole;
where files lay on that machine does not stay. The files are compressed: most of a small HDF5 file
is headers. tests/builders/recordings.py reads them.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from harness import read_profile
from harness.records import (
    GpuTimeline,
    KernelEvents,
    LatencySeries,
    Launches,
    LaunchTimes,
    NodeEvents,
    ProcessRecord,
    Profile,
    TimelineInferences,
)
from harness.storage.v1.write import image

RECORDINGS = Path(__file__).with_name("recordings")

#: Most bytes of a file.
MOST_BYTES = 300_000

#: Samples of each series that stay. ResNet-50's are all of them: its energy can be worked out.
SAMPLES = {"mlp": 2048, "bert-small": 1024, "resnet50": 2560}

#: Inferences of each traced pass that stay: enough to tell whether they do the same.
INFERENCES = 3

#: The process whose GPU work stays; the names of its kernels are most of a file.
OF_KERNELS = 0

_Table = TypeVar("_Table", Launches, TimelineInferences)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with the unpacked bundle")
    options = parser.parse_args()
    RECORDINGS.mkdir(exist_ok=True)
    shutil.copyfile(options.folder / "cupti-records.npz", RECORDINGS / "cupti-records.npz")
    for name, samples in SAMPLES.items():
        kept = cut(read_profile(options.folder / f"{name}.h5"), samples)
        # Without a time of compression, the same profile gives the same bytes.
        written = gzip.compress(image(kept)[1], mtime=0)
        if len(written) > MOST_BYTES:
            print(f"{name}: {len(written)} bytes: more than {MOST_BYTES}", file=sys.stderr)
            return 1
        (RECORDINGS / f"{name}.h5.gz").write_bytes(written)
        print(f"{name}.h5.gz: {len(written)} bytes")
    return 0


def cut(profile: Profile, samples: int) -> Profile:
    """The profile with so many samples of each series."""
    assert profile.kernels is not None
    asked = json.loads(profile.config)
    return dataclasses.replace(
        profile,
        config=json.dumps(asked | {"output": Path(asked["output"]).name}),
        environment=tuple(fact for fact in profile.environment if not _is_path(fact.value)),
        processes=tuple(_process(one, samples) for one in profile.processes),
        traces={name: _events(each) for name, each in profile.traces.items()},
        kernels=_kernels(profile.kernels),
        timeline=_timeline(profile.timeline),
        replay=_timeline(profile.replay),
    )


def _process(process: ProcessRecord, samples: int) -> ProcessRecord:
    def series(whole: LatencySeries) -> LatencySeries:
        return whole.part(slice(0, samples))

    return dataclasses.replace(
        process,
        warmup=series(process.warmup),
        steady=series(process.steady),
        copied=series(process.copied),
        enqueue_ns=process.enqueue_ns[:samples],
        metadata={
            name: value
            for name, value in process.metadata.items()
            if not _is_path(value) and not name.startswith("python_c")
        },
    )


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/")


def _events(events: NodeEvents) -> NodeEvents:
    kept = events.inference < INFERENCES
    whole = events.inference_number < INFERENCES
    columns = _rows(events, kept) | {
        field: getattr(events, field)[whole]
        for field in (
            "inference_process", "inference_number", "inference_start_ns",
            "inference_duration_ns", "inference_framework_ns",
        )
    }  # fmt: skip
    details = {name: values[kept] for name, values in events.details.items()}
    return dataclasses.replace(events, **columns | {"details": details})


def _kernels(kernels: KernelEvents) -> KernelEvents:
    kept = (kernels.inference < INFERENCES) & (kernels.process == OF_KERNELS)
    return dataclasses.replace(kernels, **_rows(kernels, kept))


def _timeline(timeline: GpuTimeline | None) -> GpuTimeline | None:
    """Of the one process the first inferences with CUPTI and without."""
    if timeline is None:
        return None
    inferences, times = timeline.inferences, timeline.times
    mine = inferences.process == OF_KERNELS
    rows = [np.flatnonzero(mine & (inferences.recorded == on))[:INFERENCES] for on in (0, 1)]
    kept = np.sort(np.concatenate(rows))
    launched = np.flatnonzero(timeline.launches.process == OF_KERNELS)
    timed = np.isin(times.inference, kept)
    return GpuTimeline(
        _taken(timeline.launches, launched),
        _taken(inferences, kept),
        LaunchTimes(
            launch=np.searchsorted(launched, times.launch[timed]).astype(np.int32),
            inference=np.searchsorted(kept, times.inference[timed]).astype(np.int32),
            start_ns=times.start_ns[timed],
            duration_ns=times.duration_ns[timed],
        ),
    )


def _taken(record: _Table, rows: npt.NDArray[np.intp]) -> _Table:
    """These rows of all columns."""
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        values = getattr(record, field.name)
        columns[field.name] = (
            values[rows]
            if isinstance(values, np.ndarray)
            else tuple(values[row] for row in rows.tolist())
        )
    return dataclasses.replace(record, **columns)


def _rows(record: NodeEvents | KernelEvents, kept: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The columns that have a row for each event, with those rows that are kept."""
    rows = np.flatnonzero(kept).tolist()
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        values = getattr(record, field.name)
        if isinstance(values, np.ndarray) and not field.name.startswith("inference_"):
            columns[field.name] = values[kept]
        elif field.name in ("kind", "name"):
            columns[field.name] = tuple(values[row] for row in rows)
    return columns


if __name__ == "__main__":
    sys.exit(main())
