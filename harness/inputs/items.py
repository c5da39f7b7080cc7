"""How many items (the examples of a batch) one inference processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.inputs.sizes import is_image
from harness.records import ITEMS, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.inputs.axes import Axes
    from harness.inputs.ports import Dimension, Port


def items_per_inference(
    ports: Sequence[Port], axes: Axes, sizes: Mapping[Dimension, int]
) -> Reading:
    """The batch size that is fed; its source says which axis it is, and why.

    Args:
        ports: the model's inputs.
        axes: the meaning of their free axes.
        sizes: sizes of all free dimensions.

    Returns:
        1 where no axis is known to be the batch. A batch size fixed in the file is recognised
        for images only: in other inputs no name is left to tell examples from time steps.
    """
    fed = [dimension for dimension in axes.batch_option() if dimension in sizes]
    if fed:
        first = fed[0]
        unlike = {sizes[dimension] for dimension in fed} - {sizes[first]}
        also = f"; other batch axes: {', '.join(map(str, sorted(unlike)))}" if unlike else ""
        return Reading(ITEMS, sizes[first], "1", f"{_named(first)}: {axes.batch[first]}{also}")
    for port in ports:
        if port.rank >= 4 and is_image(port) and isinstance(port.dims[0], int):
            return Reading(ITEMS, port.dims[0], "1", f"'{port.name}' axis 0, fixed in the model")
    return Reading(ITEMS, 1, "1", "no input axis is known to be the batch: counted as one item")


def _named(dimension: Dimension) -> str:
    if isinstance(dimension, tuple):
        return f"'{dimension[0]}' axis {dimension[1]}"
    return f"'{dimension}'"
