"""Memory of a worker: its peak, the weights, ONNX Runtime's arena and the largest tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from harness.analysis.operators.labels import node_label
from harness.machine.peak_memory import PEAK_MEMORY
from harness.models.work.tensors import Unknown, nbytes, tensors
from harness.records import ARENA, WEIGHTS, NodeTable, Profile
from harness.statistics.figures import Figure

#: Number of tensors reported.
LARGEST = 5

#: Operators whose output is their input with a different shape, in the same memory.
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})


@dataclasses.dataclass(frozen=True, slots=True)
class LargeTensor:
    """An output of a node.

    Attributes:
        name: the node's label for the user, with the number of the output if it has several.
        node: its name in the executed graph.
        dtype: element type.
        shape: as executed.
        bytes: its size.
    """

    name: str
    node: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the workers, each figure from the one in which it was greatest.

    Attributes:
        peak_bytes: peak resident memory of the whole process up to the timed pass.
        weights_bytes: initialisers of the user's file.
        arena_bytes: held by ONNX Runtime's allocator of host memory when the timed pass ended:
            outputs of nodes, and the weights that it has copied.
        largest: outputs of nodes, the largest first; empty if no trace recorded them.
        largest_reason: why there are none; empty if there are some.
    """

    peak_bytes: Figure
    weights_bytes: Figure
    arena_bytes: Figure
    largest: tuple[LargeTensor, ...]
    largest_reason: str


def memory(profile: Profile) -> Memory:
    """What is known of the memory of a profile's workers, and why the rest is not."""
    found = [] if profile.nodes is None else list(_tensors(profile.nodes))
    found.sort(key=lambda one: -one.bytes)
    return Memory(
        peak_bytes=_greatest(profile, PEAK_MEMORY),
        weights_bytes=_fact(profile, WEIGHTS),
        arena_bytes=_greatest(profile, ARENA),
        largest=tuple(found[:LARGEST]),
        largest_reason="" if found else "no traced pass recorded shapes",
    )


def _greatest(profile: Profile, name: str) -> Figure:
    """The greatest value that any process read, or why none did."""
    readings = [one for process in profile.processes for one in process.noise if one.name == name]
    values = [float(one.value) for one in readings if isinstance(one.value, (int, float))]
    if values:
        return Figure(max(values), "")
    reasons = dict.fromkeys(one.reason for one in readings if one.reason)
    return Figure(None, "; ".join(reasons) or "not recorded")


def _fact(profile: Profile, name: str) -> Figure:
    told = next((one for one in profile.environment if one.name == name), None)
    if told is None or not isinstance(told.value, (int, float)):
        return Figure(None, (told.reason if told is not None else "") or "not recorded")
    return Figure(float(told.value), "")


def _tensors(nodes: NodeTable) -> Iterator[LargeTensor]:
    for row in range(len(nodes)):
        if nodes.op_type[row] in _VIEWS:
            continue
        outputs = tensors(nodes.output_type_shape[row])
        for number, tensor in enumerate(outputs):
            try:
                size = nbytes(tensor)
            except Unknown:  # strings
                continue
            which = f", output {number}" if len(outputs) > 1 else ""
            yield LargeTensor(
                f"{node_label(nodes, row)}{which}",
                nodes.name[row],
                tensor.dtype,
                tensor.shape,
                size,
            )
