"""Heads of attention that can be removed, as exporters write attention out.

The pattern (Vaswani et al. 2017): query, key and value are dense layers whose outputs are reshaped
to batch x sequence x heads x size and transposed; ``Softmax(Q K^T)`` weighs V; the result is
transposed and reshaped back, and a dense layer sums the heads up. A head is removed from all four
layers and from the constants of the reshapes.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.models.variants.channels import Chain, Number, Site, Stuck
from harness.models.variants.view import View


def attentions(view: View) -> list[Chain]:
    """A chain of heads, or the reason why there is none, for each softmax of products."""
    found = []
    for number in range(len(view.nodes)):
        if view.is_onnx(number, "Softmax"):
            chain = _attention(view, number)
            if chain is not None:
                found.append(chain)
    return found


class _Branch(NamedTuple):
    """One of query, key and value.

    Attributes:
        maker: number of its dense layer.
        heads, size: how many heads, and how wide each is.
        sites, numbers: all that has something for each head.
    """

    maker: int
    heads: int
    size: int
    sites: list[Site]
    numbers: list[Number]


def _attention(view: View, softmax: int) -> Chain | None:
    """The heads that a softmax weighs; None if it is not one of attention."""
    try:
        masks, product = _scores(view, softmax)
        weighted = _weighted(view, softmax)
    except Stuck:
        return None
    label = view.label(weighted)
    makers: list[int] = []
    try:
        query, key = (_branch(view, name) for name in view.nodes[product].input)
        value = _branch(view, view.nodes[weighted].input[1])
        branches = (query, key, value)
        makers = [branch.maker for branch in branches]
        shapes = {(branch.heads, branch.size) for branch in (query, key)}
        if len(shapes) > 1 or value.heads != query.heads:
            raise Stuck("query, key and value do not have the same heads")
        for mask in masks:
            shape = view.shape(mask)
            if shape is None or (len(shape) > 2 and shape[-3] != 1):
                raise Stuck("what is added to the scores may differ between heads", f"'{mask}'")
        sites, numbers = _summing(view, weighted, value)
        return Chain(
            label,
            tuple(makers),
            query.heads,
            heads=True,
            sites=(*(site for branch in branches for site in branch.sites), *sites),
            numbers=(*(number for branch in branches for number in branch.numbers), *numbers),
            reason="" if query.heads > 1 else "has one head",
        )
    except Stuck as stuck:
        return Chain(label, tuple(makers), 0, heads=True, reason=str(stuck), at=stuck.at)


def _scores(view: View, softmax: int) -> tuple[list[str], int]:
    """(what is added to the scores, the product that they are)."""
    masks: list[str] = []
    name = view.nodes[softmax].input[0]
    while True:
        number = _producer(view, name)
        node = view.nodes[number]
        if view.is_onnx(number, "MatMul"):
            if set(node.input) & view.constants.keys():
                raise Stuck("a dense layer, not a product of two tensors")
            return masks, number
        if view.is_onnx(number, "Cast", "Identity", "Mul", "Div"):
            name = _scaled(view, number)
        elif view.is_onnx(number, "Add"):
            name, mask = node.input
            if name not in view.producer or not _leads_to_product(view, name):
                name, mask = mask, name
            masks.append(mask)
        else:
            raise Stuck("the scores are no product")


def _leads_to_product(view: View, name: str) -> bool:
    """Whether a tensor is a product, or a scaled one: the other operand of the sum is the mask."""
    while name in view.producer:
        number = view.producer[name]
        if view.is_onnx(number, "MatMul"):
            return True
        if not view.is_onnx(number, "Mul", "Div", "Cast", "Identity", "Add"):
            return False
        name = view.nodes[number].input[0]
    return False


def _weighted(view: View, softmax: int) -> int:
    """The product of the weights and the values."""
    name = view.nodes[softmax].output[0]
    while True:
        number = _only_reader(view, name)
        if view.is_onnx(number, "MatMul") and view.nodes[number].input[0] == name:
            return number
        if not view.is_onnx(number, "Cast", "Identity", "Dropout"):
            raise Stuck("the softmax weighs nothing")
        name = view.nodes[number].output[0]


def _branch(view: View, name: str) -> _Branch:
    """Follows an operand of a product back to its dense layer."""
    sites: list[Site] = []
    numbers: list[Number] = []
    heads = size = 0
    while True:
        if not heads:
            _read_once(view, name)
        number = _producer(view, name)
        node = view.nodes[number]
        if view.is_onnx(number, "Transpose") and not heads:
            name = node.input[0]
        elif view.is_onnx(number, "Cast", "Identity", "Mul", "Div"):
            name = _scaled(view, number)
        elif view.is_onnx(number, "Reshape") and not heads:
            shape = view.value(node.input[1])
            if shape is None or shape.size != 4 or shape[3] < 1:
                raise Stuck("a node does not split heads by a constant", f"'{view.label(number)}'")
            size = int(shape[3])
            name = node.input[0]
            _read_once(view, name)
            wide = (view.shape(name) or (None,))[-1]
            if wide is None or wide % size or shape[2] not in (-1, wide // size):
                raise Stuck(
                    "a node does not split the channels into heads", f"'{view.label(number)}'"
                )
            heads = wide // size
            if shape[2] > 0:
                numbers.append(Number(number, 1, 2, 1))
        elif view.is_onnx(number, "Add") and heads:
            constant = [place for place in (0, 1) if node.input[place] in view.constants]
            if len(constant) != 1:
                raise Stuck("a node adds no constant", f"'{view.label(number)}'")
            bias = view.shape(node.input[constant[0]]) or ()
            if bias and bias[-1] == heads * size:
                sites.append(Site(number, constant[0], len(bias) - 1, size))
            name = node.input[1 - constant[0]]
            _read_once(view, name)
        elif view.is_onnx(number, "MatMul", "Gemm") and heads:
            sites += _dense(view, number, heads, size)
            return _Branch(number, heads, size, sites, numbers)
        else:
            raise Stuck(
                "another operator stands between layer and heads",
                f"{node.op_type} '{view.label(number)}'",
            )


def _dense(view: View, number: int, heads: int, size: int) -> list[Site]:
    """The weights and the bias of a layer whose output has something for each head."""
    node = view.nodes[number]
    weight = view.shape(node.input[1])
    if node.input[1] not in view.constants or weight is None or len(weight) != 2:
        raise Stuck("a node has no constant weights", f"'{view.label(number)}'")
    turned = node.op_type == "Gemm" and view.attribute(number, "transB", 0)
    axis = 0 if turned else 1
    if weight[axis] != heads * size:
        raise Stuck("a node is not as wide as the heads", f"'{view.label(number)}'")
    sites = [Site(number, 1, axis, size)]
    if len(node.input) > 2 and node.input[2]:
        bias = view.shape(node.input[2]) or ()
        if node.input[2] not in view.constants:
            raise Stuck("a node has no constant bias", f"'{view.label(number)}'")
        if bias and bias[-1] == heads * size:
            sites.append(Site(number, 2, len(bias) - 1, size))
    return sites


def _summing(view: View, weighted: int, value: _Branch) -> tuple[list[Site], list[Number]]:
    """The layer that sums the heads up, and the reshape before it."""
    name = view.nodes[weighted].output[0]
    numbers: list[Number] = []
    merged = False
    while True:
        number = _only_reader(view, name)
        node = view.nodes[number]
        if view.is_onnx(number, "Transpose", "Cast", "Identity") and not merged:
            name = node.output[0]
        elif view.is_onnx(number, "Reshape") and not merged:
            shape = view.value(node.input[1])
            wide = value.heads * value.size
            if shape is None or shape.size < 2 or shape[-1] not in (-1, wide):
                raise Stuck(
                    "a node does not join the heads by a constant", f"'{view.label(number)}'"
                )
            if shape[-1] == wide:
                numbers.append(Number(number, 1, shape.size - 1, value.size))
            elif any(shape[:-1] != 0):
                raise Stuck("a node joins more than the heads", f"'{view.label(number)}'")
            name, merged = node.output[0], True
        elif view.is_onnx(number, "MatMul", "Gemm") and merged and node.input[0] == name:
            weight = view.shape(node.input[1])
            turned = node.op_type == "Gemm" and view.attribute(number, "transB", 0)
            axis = 1 if turned else 0
            if (
                node.input[1] not in view.constants
                or weight is None
                or len(weight) != 2
                or weight[axis] != value.heads * value.size
            ):
                raise Stuck("a node does not sum the heads up", f"'{view.label(number)}'")
            return [Site(number, 1, axis, value.size, sums=True)], numbers
        else:
            raise Stuck(
                "another operator stands behind the heads", f"{node.op_type} '{view.label(number)}'"
            )


def _producer(view: View, name: str) -> int:
    if name not in view.producer:
        raise Stuck("a tensor of it is computed by no node", f"'{name}'")
    return view.producer[name]


def _read_once(view: View, name: str) -> None:
    if len(view.readers[name]) > 1 or name in view.outputs:
        raise Stuck("a tensor of it is read elsewhere, too", f"'{name}'")


def _only_reader(view: View, name: str) -> int:
    _read_once(view, name)
    if not view.readers[name]:
        raise Stuck("a tensor of it is read by no node", f"'{name}'")
    return view.readers[name][0]


def _scaled(view: View, number: int) -> str:
    """What a node passes on that casts, or multiplies or divides by a constant scalar."""
    node = view.nodes[number]
    scalars = [
        place
        for place, name in enumerate(node.input)
        if name in view.constants and all(size == 1 for size in view.constants[name].dims)
    ]
    if view.is_onnx(number, "Cast", "Identity") or scalars == [1]:
        return str(node.input[0])
    if view.is_onnx(number, "Mul") and scalars == [0]:
        return str(node.input[1])
    raise Stuck("the heads are multiplied by more than a scalar", f"'{view.label(number)}'")
