"""Operations of Fourier transforms, in lengths that are powers of two.

A radix-2 transform of n complex numbers has log2(n) stages of n/2 butterflies: a complex product
(6) and two complex sums (4), 5·n·log2(n) together (Cooley and Tukey 1965; the figure that FFTW
states). ONNX Runtime transforms real numbers as complex ones, and cuts afterwards. For other
lengths it takes an algorithm of its own choice (Bluestein's), so these are not known.
"""

from __future__ import annotations

from harness.models.work.nodes import Node
from harness.models.work.tensors import Unknown


def transform(node: Node) -> int:
    """ONNX DFT: X is … n … x 1 or 2, Y likewise with 2; n is padded or cut to dft_length.

    An inverse also divides each number. The axis is an attribute up to opset 19, and an input
    since: known only where there is a single axis that it can be.
    """
    y = node.output()
    axis = _axis(node, len(y.shape))
    bins = y.shape[axis]
    length = bins
    if node.integer("onesided", 0):
        # Half was kept, n // 2 + 1 of n, which does not tell whether n is odd.
        if node.has(1):
            raise Unknown  # a value
        length = node.input(0, len(y.shape)).shape[axis]
    transforms = y.size // max(2 * bins, 1)
    return transforms * (_radix2(length) + (2 * length if node.integer("inverse", 0) else 0))


def short_time_transform(node: Node) -> int:
    """ONNX STFT: signal batch x length x 1 or 2, output batch x frames x bins x 2.

    Each frame is multiplied by the window, if there is one, and transformed.
    """
    y = node.output(4)
    batch, frames, bins, _ = y.shape
    window = 0
    if node.has(2):
        length = node.input(2, 1).shape[0]
        signal = node.input(0, 2, 3).shape
        window = length * (signal[2] if len(signal) == 3 else 1)
    elif node.integer("onesided", 1):
        raise Unknown  # the length is a value, and half of the bins do not tell if it is odd
    else:
        length = bins
    return batch * frames * (_radix2(length) + window)


def _radix2(length: int) -> int:
    """Operations of one transform."""
    if length < 1 or length & (length - 1):
        raise Unknown
    return 5 * length * (length.bit_length() - 1)


def _axis(node: Node, rank: int) -> int:
    """Position of the transformed axis; the last one holds real and imaginary parts."""
    if rank == 2:
        return 0
    if node.has(2):
        raise Unknown  # a value
    # The default is 1 before opset 20 and -2 since: the same where the rank is 3.
    axis = node.integer("axis", 1 if rank == 3 else None)
    return axis % rank
