"""Which free axes of the inputs are the batch, and which are time steps.

An axis is recognised by its name; failing that, by the operators it reaches (a recurrent layer
takes steps x batch x features, and states of layers x batch x units); failing that, by its
position.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from harness.inputs.origins import all_nodes, axis_origins
from harness.inputs.ports import Dimension, Port, free_names, is_composed, parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from harness.inputs.origins import Origin

BY_NAME = "batch"
BY_PLACE = "assumed to be the batch, as the leading axis"
BY_STATE = "assumed to be the batch, as the free axis of a state"

_BATCH = r"batch|^(bsz?|bsize|nb|mb)$"
#: Names of a batch that may mean something else: accepted only where a batch axis can be.
_PERHAPS_BATCH = r"^[bn]$"
#: Names of time steps: such an axis is not the batch, even in the leading position.
_STEPS = r"seq|len|time|token|frame|step|^[tls]$"
#: The same for a one-dimensional tensor, which may be a list of anything.
_ONLY_STEPS = r"seq|len|time|token|frame|step|position|sample"
#: Names that exporters generate: they carry no meaning.
_MADE_UP = r"^(unk(nown)?_|dynamicdimension|dim_?\d|[ds]\d+$|none$)|dynamic_axes_|_dim_\d+$"
#: Encoder outputs: sequences, although their names mention states.
_ACTIVATIONS = r"encoder|hidden_states"
_CACHE_NAME = r"past|cache|mem"
_STATE_NAME = r"^[hc](_?(\d+|n|t|in|prev))?$|^[hc]n|state|hidden|cell|mem|cache|rnn|lstm|gru"
#: Input slots of a recurrent layer: its sequence, and its initial states.
_SEQUENCE_AND_STATES = (0, 5, 6)


@dataclasses.dataclass(frozen=True, slots=True)
class Axes:
    """Free dimensions by their meaning.

    Attributes:
        batch: the batch dimensions, each with the reason.
        steps: dimensions that a recurrent layer uses as its time steps.
    """

    batch: dict[Dimension, str]
    steps: frozenset[Dimension]

    def batch_option(self) -> list[Dimension]:
        """The axes that ``--batch`` sets: the recognised ones, else those in the leading position.

        Once one is recognised, a leading axis is set with it only if its name has no meaning.
        """
        known = any(why not in (BY_PLACE, BY_STATE) for why in self.batch.values())
        return [
            dimension
            for dimension, why in self.batch.items()
            if why != BY_PLACE or not known or not _tells(dimension)
        ]

    def batch_axis(self, port: Port) -> int | None:
        """The batch axis of an input; None if the input has no free one."""
        return next((axis for axis, size in enumerate(port.dims) if size in self.batch), None)


def find_axes(model: onnx.ModelProto, ports: Sequence[Port]) -> Axes:
    """Classifies the free axes of a model's inputs."""
    met, steps = _met_by_layers(model, ports)
    batch: dict[Dimension, str] = {}
    for port in ports:
        for axis, dimension in enumerate(port.dims):
            if isinstance(dimension, str) and _named_batch(port, axis, dimension, ports):
                batch.setdefault(dimension, BY_NAME)
    for part in (part for name in free_names(ports) for part in parts(name)):
        if re.search(_BATCH, part, re.IGNORECASE) or re.search(_PERHAPS_BATCH, part, re.IGNORECASE):
            batch.setdefault(part, BY_NAME)
    for dimension, layer in met.items():
        if not _says_other(dimension):
            batch.setdefault(dimension, f"batch, by its position in {layer}")
    for port in ports:
        if port.rank and not any(size in batch for size in port.dims):
            first = port.dims[0]
            if not (isinstance(first, int) or first in steps or _leads_steps(port, first)):
                batch[first] = BY_PLACE
    for port in ports:
        if (state := _state_axis(port, ports, batch)) is not None:
            batch.setdefault(state, BY_STATE)
    return Axes(batch, frozenset(steps - batch.keys()))


def _named_batch(port: Port, axis: int, name: str, ports: Sequence[Port]) -> bool:
    if is_composed(name):
        return False
    if re.search(_BATCH, name, re.IGNORECASE):
        return True
    if not re.search(_PERHAPS_BATCH, name, re.IGNORECASE):
        return False
    leads = any(other.dims[:1] == (name,) for other in ports)
    return leads or (axis == 1 and _is_steps(port.dims[0]))


def _is_steps(dimension: int | Dimension) -> bool:
    return isinstance(dimension, str) and bool(re.search(_STEPS, dimension, re.IGNORECASE))


def _leads_steps(port: Port, first: Dimension) -> bool:
    """Whether the leading axis is time steps, or is calculated from other axes."""
    if isinstance(first, tuple):
        return False
    names = _STEPS if port.rank > 1 else _ONLY_STEPS
    return is_composed(first) or bool(re.search(names, first, re.IGNORECASE))


def _tells(dimension: Dimension) -> bool:
    """Whether a dimension has a meaningful name."""
    return isinstance(dimension, str) and not re.search(_MADE_UP, dimension, re.IGNORECASE)


def _says_other(dimension: Dimension) -> bool:
    """Whether a name rules out a batch."""
    return isinstance(dimension, str) and (is_composed(dimension) or _is_steps(dimension))


def _state_axis(
    port: Port, ports: Sequence[Port], batch: Mapping[Dimension, str]
) -> Dimension | None:
    """The batch axis of what looks like a state: layers x batch x units, the layers fixed.

    Without a name to go by, the input may as well be one example of several steps: it counts
    as a state only if another input has a free batch. A cache has steps after the batch.
    """
    if not port.is_float or port.rank < 3 or not isinstance(port.dims[0], int):
        return None
    if port.named(_ACTIVATIONS):
        return None
    dimension = port.dims[1]
    if isinstance(dimension, int) or dimension in batch or _says_other(dimension):
        return None
    if len(port.free) > 1:
        return dimension if port.rank > 3 and port.named(_CACHE_NAME) else None
    others = any(size in batch for other in ports for size in other.dims if other != port)
    return dimension if port.named(_STATE_NAME) or (others and not _tells(dimension)) else None


def _met_by_layers(
    model: onnx.ModelProto, ports: Sequence[Port]
) -> tuple[dict[Dimension, str], set[Dimension]]:
    """Free dimensions that recurrent layers use as the batch, with the layer; and as steps."""
    origins = axis_origins(model, ports)
    batch: dict[Dimension, str] = {}
    steps: set[Dimension] = set()
    for node in all_nodes(model.graph):
        if node.op_type not in ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"):
            continue
        swapped = any(item.name == "layout" and item.i for item in node.attribute)
        layer = f"{node.op_type} '{node.name or next(iter(node.output), '')}'"
        for slot in _SEQUENCE_AND_STATES:
            if (found := _dimension(node, slot, 0 if swapped else 1, origins)) is not None:
                batch.setdefault(found, layer)
        if (found := _dimension(node, 0, 1 if swapped else 0, origins)) is not None:
            steps.add(found)
    return batch, steps


def _dimension(
    node: onnx.NodeProto, slot: int, axis: int, origins: Mapping[str, Origin]
) -> Dimension | None:
    """The free dimension behind an axis of a node's input; None if there is none."""
    if slot >= len(node.input) or node.input[slot] not in origins:
        return None
    found = origins[node.input[slot]].size(axis)
    return None if isinstance(found, int) else found
