"""Operations and bytes of operators that read between the elements of their input."""

from __future__ import annotations

import math

from harness.models.work.nodes import Node
from harness.models.work.tensors import Unknown, nbytes
from harness.models.work.traffic import others, written

#: Neighbours along an axis that a value is interpolated from, by the names of the modes.
_TAPS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}


def resized(node: Node) -> int:
    """ONNX Resize, Upsample: a multiply-add for each of the taps^d neighbours.

    d counts the axes that change. Nearest only moves. With antialias the number of taps depends
    on the scales, which are values.
    """
    x = node.input(0)
    y = node.output(len(x.shape))
    taps = _taps(node, "nearest")
    if taps == 1:
        return 0
    if node.integer("antialias", 0):
        raise Unknown
    scaled = sum(before != after for before, after in zip(x.shape, y.shape, strict=True))
    return 2 * int(taps**scaled) * y.size


def resized_traffic(node: Node) -> int:
    """What Resize reads of each axis: an element for each tap of an output, if there are so many.

    With antialias every element has a weight.
    """
    x = node.input(0)
    y = node.output(len(x.shape))
    taps = _taps(node, "nearest")
    read = [
        before if after == before else min(before, taps * after)
        for before, after in zip(x.shape, y.shape, strict=True)
    ]
    read = list(x.shape) if node.integer("antialias", 0) else read
    return nbytes(x, math.prod(read)) + others(node, 0) + written(node)


def grid_sampled(node: Node) -> int:
    """GridSample: a multiply-add for each of the taps^d neighbours, none for nearest.

    X is N x C x D1 … Dd. Places in the grid are indices; computing them counts nothing.
    """
    taps, axes = _taps(node, "linear"), len(node.input(0).shape) - 2
    return 0 if taps == 1 else 2 * int(taps**axes) * node.output().size


def grid_sampled_traffic(node: Node) -> int:
    """As many elements as there are neighbours of all outputs, if X has so many."""
    axes = len(node.input(0).shape) - 2
    return _neighbours(node, int(_taps(node, "linear") ** axes))


def crop_resized(node: Node) -> int:
    """com.microsoft CropAndResize: four multiply-adds an output if bilinear."""
    return (8 if node.text("mode", "bilinear") == "bilinear" else 0) * node.output().size


def crop_resized_traffic(node: Node) -> int:
    """Four neighbours an output if bilinear, else one."""
    return _neighbours(node, 4 if node.text("mode", "bilinear") == "bilinear" else 1)


def roi_aligned(node: Node) -> int:
    """ONNX RoiAlign: each output averages sampling_ratio² points, interpolated from 4.

    Four multiply-adds a point, and 1 for the average, as a reduction counts; for the maximum
    four products and four comparisons. With ratio 0 the sizes of the regions, which are values,
    decide.
    """
    each = 9 if node.text("mode", "avg") == "avg" else 8
    return each * _points(node) * node.output(4).size


def roi_aligned_traffic(node: Node) -> int:
    """Four neighbours of each point, if X has so many."""
    return _neighbours(node, 4 * _points(node))


def deformable_convolution(node: Node) -> int:
    """ONNX DeformConv: a convolution of values that are interpolated from 4, and masked.

    X is N x C x H x W, W is M x C/group x kernel. Each place of the kernel is sampled once for
    each channel and output position, whatever the group.
    """
    x, weight, y = node.input(0, 4), node.input(1, 4), node.output(4)
    kernel = math.prod(weight.shape[2:])
    sampled = math.prod(x.shape[:2]) * kernel * math.prod(y.shape[2:])
    return 2 * y.size * math.prod(weight.shape[1:]) + (8 + node.has(4)) * sampled


def _taps(node: Node, default: str) -> int:
    taps = _TAPS.get(node.text("mode", default))
    if taps is None:
        raise Unknown
    return taps


def _points(node: Node) -> int:
    """Points that an output of RoiAlign is made from."""
    ratio = node.integer("sampling_ratio", 0)
    if ratio < 1:
        raise Unknown
    return ratio * ratio


def _neighbours(node: Node, each: int) -> int:
    """Bytes if each output reads so many elements of the first input, or all if it has fewer."""
    x = node.input(0)
    return nbytes(x, min(x.size, each * node.output().size)) + others(node, 0) + written(node)
