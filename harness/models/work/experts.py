"""Operations and bytes of mixtures of experts: each token goes through k of them.

com.microsoft MoE and QMoE: input tokens x hidden (or batch x length x hidden), router_probs
tokens x experts, fc1 experts x fusion·inter x hidden, fc2 experts x hidden x inter, fc3 as fc1
unfused; in QMoE the last dimension of the weights is packed.
"""

from __future__ import annotations

from harness.models.work.nodes import Formula, Node
from harness.models.work.operations import SOFTMAX
from harness.models.work.tensors import Tensor, Unknown, nbytes
from harness.models.work.traffic import written

#: Operations an element of the activations, of products that it multiplies too: Swish is 2, and
#: SwiGLU scales the gate within its Sigmoid and adds to the other factor.
_ACTIVATIONS = {"relu": 1, "gelu": 5, "silu": 2, "swiglu": 5, "identity": 0}


def mixture(fc3: int) -> Formula:
    """Operations; fc3 is the position of the third weights."""

    def formula(node: Node) -> int:
        activation = _ACTIVATIONS.get(node.text("activation_type", "relu"))
        if activation is None:
            raise Unknown
        hidden = node.input(0, 2, 3).shape[-1]
        tokens, experts = node.input(1, 2).shape
        fused = node.input(2, 3).shape[1]
        inner = fused // 2 if node.integer("swiglu_fusion", 0) else fused
        products = fused * hidden + inner * hidden
        if node.has(fc3):
            products += inner * hidden
            activation += node.text("activation_type", "relu") != "swiglu"  # the gate
        # Each result is weighted and added.
        each = 2 * products + activation * inner + 2 * hidden
        return tokens * (SOFTMAX * experts + node.integer("k", 1) * each)

    return formula


def mixture_traffic(node: Node) -> int:
    """Of what every expert has, the parts of k; the rest once.

    Tokens may all choose the same k experts: more is not certain.
    """
    experts = max(node.input(1, 2).shape[1], 1)
    chosen = min(node.integer("k", 1), experts)

    def read(tensor: Tensor) -> int:
        of_experts = len(tensor.shape) > 1 and tensor.shape[0] == experts
        return nbytes(tensor, tensor.size // experts * chosen if of_experts else None)

    first = sum(nbytes(node.input(at)) for at in (0, 1))
    return first + sum(map(read, node.different(0, 1))) + written(node)
