"""The graph that ONNX Runtime executes, with names that tell its nodes apart.

ORT saves the graph it really executes when a session is made with all optimisations and
``optimized_model_path``. Its node names may be empty and may repeat, and the ORT profiler
reports nothing but names, so every node is renamed after its row in the NodeTable. A
session of the renamed file with ``optimization="disable"`` executes the same nodes, and
each of its profile events then names its row.

Create the saving session with these entries: otherwise weights are copied into the file, and a
model above protobuf's limit of 2 GB cannot be saved at all::

    session.optimized_model_external_initializers_file_name = "NAME.weights"
    session.optimized_model_external_initializers_min_size_in_bytes = "1024"
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.errors import ModelError
from harness.records import NodeTable, not_known

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

#: Prefixes that ORT adds to the op type of a fused node, or of one in a different layout.
_KINDS = re.compile(r"^(Fused|Nhwc|Bias|Skip|Fast|Quick|QLinear|Transpose(?=MatMul))")

#: Nodes that ORT itself inserts where the layout or the device changes.
MOVES = frozenset({"ReorderInput", "ReorderOutput", "MemcpyFromHost", "MemcpyToHost"})


def plain_kind(op_type: str) -> str:
    """An op type without ORT's prefix."""
    return _KINDS.sub("", op_type)


_PREFIX = "harness_node_"

#: What ORT's profiler puts behind the name of a node in the event of its execution.
EVENT_SUFFIX = "_kernel_time"


@dataclasses.dataclass(frozen=True, slots=True)
class ExecutedGraph:
    """The executed graph and the file in which it can be executed under known names.

    Attributes:
        nodes: its nodes, a body's right after the node that runs it; columns that only a
            trace can fill (provider, order, shapes, sizes) are still empty or -1.
        path: the renamed model. It lacks inputs that no node reads: bind only what its
            session lists.
    """

    nodes: NodeTable
    path: Path


def node_name(row: int) -> str:
    """Name of the node of that row in the renamed model."""
    return f"{_PREFIX}{row}"


def row_of(event: str) -> int:
    """Row of the node that an event of ORT's profiler names; -1 if it names none."""
    if not event.startswith(_PREFIX):
        return -1
    number = event[len(_PREFIX) :].removesuffix(EVENT_SUFFIX)
    return int(number) if number.isdecimal() else -1


def prepare(saved: Path, renamed: Path) -> ExecutedGraph:
    """Names every node of a graph that ORT saved, subgraphs included, after its row.

    Args:
        saved: the model as ORT saved it with all optimisations.
        renamed: where to write the renamed model: in the same folder, since the weights
            stay in the side file that both refer to.

    Raises:
        ModelError: saved is not an ONNX model.
        OSError: a file cannot be read or written.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(saved, load_external_data=False)
    except DecodeError as error:
        raise ModelError(f"{saved}: ORT's optimised graph cannot be read: {error}") from error

    _drop_doubled_constants(model.graph)
    places: list[_Place] = []
    _collect(model.graph, depth=0, parent=-1, branch="", places=places)
    nodes = _table(places)
    for row, place in enumerate(places):
        place.node.name = node_name(row)
    _drop_unread_inputs(model.graph, places)
    renamed.write_bytes(model.SerializeToString())
    return ExecutedGraph(nodes=nodes, path=renamed)


def bodies(node: onnx.NodeProto) -> Sequence[tuple[str, onnx.GraphProto]]:
    """(attribute, graph) of each body of a control-flow node; nothing for any other node."""
    attributes = node.attribute
    if not attributes:  # as most nodes of models that have very many
        return ()
    return [
        (attribute.name, body)
        for attribute in attributes
        for body in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ()))
    ]


class _Place(NamedTuple):
    """A node and where it stands; the columns of the same name in NodeTable."""

    node: onnx.NodeProto
    depth: int
    parent: int
    branch: str


def _collect(
    graph: onnx.GraphProto, *, depth: int, parent: int, branch: str, places: list[_Place]
) -> None:
    """Appends the nodes of graph, each followed by those of its bodies."""
    for node in graph.node:
        row = len(places)
        places.append(_Place(node, depth, parent, branch))
        for branch_name, body in bodies(node):
            _collect(body, depth=depth + 1, parent=row, branch=branch_name, places=places)


def _table(places: list[_Place]) -> NodeTable:
    rows = len(places)
    return NodeTable(
        name=tuple(place.node.name for place in places),
        op_type=tuple(place.node.op_type for place in places),
        domain=tuple(place.node.domain for place in places),
        depth=np.array([place.depth for place in places], np.int64),
        parent=np.array([place.parent for place in places], np.int64),
        branch=tuple(place.branch for place in places),
        carrier=np.full(rows, -1, np.int64),  # probes are placed later
        **not_known(NodeTable, rows),
    )


def _drop_doubled_constants(graph: onnx.GraphProto) -> None:
    """Removes Constant nodes whose value the graph also has as an initialiser.

    ORT 1.31 saves constants of nested bodies both ways, and then refuses to load the file.
    """
    initialised = {tensor.name for tensor in graph.initializer}
    kept = [
        node
        for node in graph.node
        if node.op_type != "Constant" or not initialised.intersection(node.output)
    ]
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)
    for node in graph.node:
        for _, body in bodies(node):
            _drop_doubled_constants(body)


def _drop_unread_inputs(graph: onnx.GraphProto, places: list[_Place]) -> None:
    """Removes inputs without a reader.

    Files of IR version 3 and older list their initialisers as inputs too. If the optimiser
    folds such an initialiser away, the input stays behind, and the caller would have to feed
    it.
    """
    unread = {value.name for value in graph.input} - {output.name for output in graph.output}
    for place in places:
        if not unread:
            return
        unread.difference_update(place.node.input)
    kept = [value for value in graph.input if value.name not in unread]
    del graph.input[:]
    graph.input.extend(kept)
