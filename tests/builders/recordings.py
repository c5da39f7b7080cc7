"""What a GPU did, recorded once on an NVIDIA H200 (docs/GPU.md) and cut by tests/gpu/cut.py."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness import read_profile
from harness.native import cupti, marks
from harness.records import KernelEvents, LatencySeries, Launches, NodeEvents, Profile
from harness.tracing.kernels import join
from tests.builders.device_records import timeline

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


def joined_records(raw: RawRecording) -> KernelEvents:
    """The raw records, joined to nodes by the ids of their launches."""
    start_ns, duration_ns = join.inferences(raw.marks)
    return join.join(
        raw.columns,
        raw.names,
        raw.marks,
        raw.recording,
        inference_start_ns=start_ns,
        inference_duration_ns=duration_ns,
        process=0,
    )


def replayed(name: str) -> Profile:
    """The profile, its GPU work as if a pass for times alone had taken it.

    It was recorded under ORT's profiler, so the idle times are those of that: longer than in truth.
    The call is put 1000 ns before the first launch, the return 2000 ns after the last end.
    """
    profile = recorded(name)
    kernels = profile.kernels
    assert kernels is not None
    ends_ns = kernels.start_ns + kernels.duration_ns
    inferences = []
    for number in range(int(kernels.inference.max()) + 1):
        rows = np.flatnonzero(kernels.inference == number)
        rows = rows[np.argsort(kernels.launch_ns[rows], kind="stable")]
        began_ns = int(kernels.launch_ns[rows].min()) - 1000
        took_ns = int(ends_ns[rows].max()) + 2000 - began_ns
        times = [(int(kernels.start_ns[row]), int(kernels.duration_ns[row])) for row in rows]
        inferences.append((began_ns, took_ns, times))
    made = timeline(
        [(kernels.name[row], int(kernels.node[row])) for row in rows.tolist()],
        inferences,
        [took_ns for _, took_ns, _ in inferences],
    )
    columns = {
        field.name: getattr(kernels, field.name) for field in dataclasses.fields(made.launches)
    }
    launches = Launches(
        **{
            name: values[rows]
            if isinstance(values, np.ndarray)
            else tuple(values[row] for row in rows.tolist())
            for name, values in columns.items()
        }
    )
    return dataclasses.replace(profile, timeline=dataclasses.replace(made, launches=launches))


def on_both_clocks(name: str) -> Profile:
    """The replayed profile, as if probes had timed its nodes on the host, too.

    A node begins with its first launch and ends where the next one begins; the calls are those of
    the replayed inferences, a second later. The recordings themselves hold no probes on a GPU.
    """
    profile = replayed(name)
    kernels, nodes, made = profile.kernels, profile.nodes, profile.timeline
    assert kernels is not None
    assert nodes is not None
    assert made is not None
    parts: list[tuple[int, int, int, int]] = []
    calls: list[tuple[int, int]] = []
    recorded_rows = np.flatnonzero(made.inferences.recorded)
    for number, row in enumerate(recorded_rows.tolist()):
        mine = np.flatnonzero((kernels.inference == number) & (kernels.node >= 0))
        mine = mine[np.argsort(kernels.launch_ns[mine], kind="stable")]
        ran, first = np.unique(kernels.node[mine], return_index=True)
        begins = sorted(zip(kernels.launch_ns[mine[first]].tolist(), ran.tolist(), strict=True))
        ends = [begin for begin, _ in begins[1:]] + [int(kernels.launch_ns[mine[-1]]) + 1000]
        parts += [
            (node, number, begin, end - begin)
            for (begin, node), end in zip(begins, ends, strict=True)
        ]
        began_ns = int(made.inferences.start_ns[row])
        calls.append((began_ns, ends[-1] + 1000 - began_ns))
    node, inference, start_ns, duration_ns = np.array(parts, np.int64).T
    call_ns, took_ns = np.array(calls, np.int64).T
    later_ns = 10**9
    events = NodeEvents(
        source="probe",
        node=node.astype(np.int32),
        process=np.zeros(len(node), np.int32),
        inference=inference.astype(np.int32),
        start_ns=start_ns + later_ns,
        duration_ns=duration_ns,
        self_ns=duration_ns,
        details={},
        inference_process=np.zeros(len(calls), np.int32),
        inference_number=np.arange(len(calls), dtype=np.int32),
        inference_start_ns=call_ns + later_ns,
        inference_duration_ns=took_ns,
        inference_framework_ns=took_ns - np.bincount(inference, duration_ns).astype(np.int64),
        dropped=0,
        resolution_ns=1,
    )
    carrier = np.full(len(nodes), -1, np.int64)
    carrier[node] = node
    return dataclasses.replace(
        profile,
        nodes=dataclasses.replace(nodes, carrier=carrier),
        traces={**profile.traces, "probe": events},
    )


def undoubted(profile: Profile) -> Profile:
    """With a timed pass that the replayed inferences do not miss."""
    assert profile.timeline is not None
    inferences = profile.timeline.inferences
    duration_ns = np.full(len(inferences), round(inferences.duration_ns.mean()))
    timed = LatencySeries(inferences.start_ns, duration_ns)
    first = dataclasses.replace(profile.processes[0], steady=timed, enqueue_ns=duration_ns)
    return dataclasses.replace(profile, processes=(first,))


def wrongly_split(profile: Profile) -> Profile:
    """With 2 µs of the idle time behind the first launch counted as its work."""
    assert profile.timeline is not None
    times = profile.timeline.times
    longer = np.where(times.launch == 0, times.duration_ns + 2000, times.duration_ns)
    wrong = dataclasses.replace(times, duration_ns=longer)
    return dataclasses.replace(profile, timeline=dataclasses.replace(profile.timeline, times=wrong))
