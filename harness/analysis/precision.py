"""In which type the arithmetic runs: as the names of kernels tell, and the provider's options.

A device may multiply in a type other than that of the tensors: NVIDIA's TF32 keeps float32's range
and 10 bits of its fraction, and ONNX Runtime allows it by default (docs/GPU.md).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping

import numpy as np

from harness.ort import providers
from harness.ort.execution_provider import ExecutionProvider
from harness.records import KernelEvents, NodeTable, Profile, Reading, RepeatedTexts
from harness.statistics.figures import Figure

#: Name of the fact that tells it.
FACT = "precision"

#: float32 products that tensor cores compute from 19 bits of each operand.
TF32 = "tf32"

#: What the names of NVIDIA's and ONNX Runtime's kernels tell, the first match counting. CUTLASS
#: names are ACCUMULATOR, INSTRUCTION, TYPE, gemm (``core_name`` in
#: python/cutlass_library/gemm_operation.py); an instruction m16n8k8 (1688) that names no 16-bit
#: type takes TF32 (PTX ISA, mma.m16n8k8). The xmma names spell all types: ``f32f32_tf32f32_f32``.
#: Elsewhere the parameters of a template tell: onnxruntime::BFloat16, or 6__half where the name is
#: mangled. Seen with cuBLAS 13 and cuDNN 9.19.
_TOLD = (
    ("int8", re.compile(r"i(?:8816|16816|16832)gemm|i8i8|i8i32|(?<![a-z])imma|_igemm_")),
    ("float8", re.compile(r"e4m3|e5m2|fp8|qmma", re.IGNORECASE)),
    ("bfloat16", re.compile(r"(?i:bf16|bfloat16)")),
    ("float16", re.compile(r"f16|fp16|h\d{3,5}gemm|hgemm|hcudnn|\b(?:__)?half2?\b|\d__half")),
    (TF32, re.compile(r"tf32|s1688gemm")),
    ("float64", re.compile(r"\bdouble\b|f64f64|d884gemm|dgemm")),
    ("float32", re.compile(r"\bfloat\b|sgemm|scudnn|f32f32|ffma")),
)

#: Types narrower than that of the tensors: a node with one such kernel multiplies in it, whatever
#: else it launches to convert or to sum up.
REDUCED = frozenset({TF32, "float16", "bfloat16", "float8", "int8"})

#: Share of the operations from which on a type is part of what a profile is compared by. Below it,
#: the choice of a kernel for some small node differs from one session to the next.
_PART = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Precision:
    """In which types the operations of the device's nodes run.

    Attributes:
        shares: of the operations whose number is known, by type, the largest first: what the
            kernels' names tell, or else the type of the model's tensors; empty where not known.
        untold: share of the operations that may run in a narrower type without being told so.
        options: options of the provider that allow another type, with their values.
        reason: why not all is told; empty where it is.
    """

    shares: Mapping[str, float]
    untold: float
    options: Mapping[str, str]
    reason: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The types that a good part of the operations runs in, in the order of their names."""
        return tuple(sorted(name for name, share in self.shares.items() if share >= _PART))

    @property
    def told(self) -> str:
        """All of it in a line, such as ``tf32 for 97% of the operations, float32 for 3%``."""
        parts = [
            f"{name} for {'less than 1%' if share < 0.01 else f'{share:.0%}'}"
            for name, share in self.shares.items()
        ]
        if parts:
            parts[0] += " of the operations"
        if self.untold:
            parts.append(f"not told for {self.untold:.0%}")
        set_to = ", ".join(f"{key}={value}" for key, value in self.options.items())
        sources = ["as the kernels' names and the model's types tell", *filter(None, [set_to])]
        text = f"{', '.join(parts) or 'not known'} ({'; '.join(sources)})"
        return f"{text}: {self.reason}" if self.reason else text


def of_kernel(name: str) -> str:
    """The type that a kernel's name tells, such as ``tf32``; empty where it tells none."""
    return next((kind for kind, pattern in _TOLD if pattern.search(name)), "")


def of_nodes(nodes: NodeTable, kernels: KernelEvents | None, *, tf32: bool) -> tuple[str, ...]:
    """The type in which each node computes.

    Args:
        nodes: the executed graph.
        kernels: what it launched; None if that was not recorded.
        tf32: whether float32 products may run in TF32.

    Returns:
        By row; empty where it is not known: float32 that may be TF32, and no kernel tells.
    """
    if kernels is None:
        return tuple(_assumed(kind, tf32=tf32) for kind in nodes.arithmetic)
    names = RepeatedTexts.of(kernels.name)
    told = RepeatedTexts.of(list(map(of_kernel, names.distinct)))
    kind = names.each(told.row).astype(np.intp)
    rows = len(nodes)
    joined = (kernels.node >= 0) & (kernels.node < rows)
    place = kernels.node[joined] * len(told.distinct) + kind[joined]
    sums = np.bincount(place, kernels.duration_ns[joined], rows * len(told.distinct))
    launched = np.bincount(place, minlength=rows * len(told.distinct))
    by_node: dict[int, dict[str, float]] = {}
    for at in np.flatnonzero(launched).tolist():
        row, which = divmod(at, len(told.distinct))
        if told.distinct[which]:
            by_node.setdefault(row, {})[told.distinct[which]] = float(sums[at])
    return tuple(
        _of_node(by_node.get(row, {}), kind, tf32=tf32) for row, kind in enumerate(nodes.arithmetic)
    )


def of_model(nodes: NodeTable) -> tuple[str, ...]:
    """The types of a model's tensors that a good part of its operations is on, by name."""
    flops: dict[str, float] = {}
    for kind, one in zip(nodes.arithmetic, nodes.flops.tolist(), strict=True):
        if one > 0:
            flops[kind] = flops.get(kind, 0.0) + one
    least = _PART * sum(flops.values())
    return tuple(sorted(kind for kind, one in flops.items() if kind and one >= least))


def precision(profile: Profile) -> Precision | Figure:
    """In which types the device computed, or why that is not known."""
    provider = providers.known(profile.provider)
    if provider is None or not provider.on_device:
        return Figure(None, f"the provider is {profile.provider}, which computes in the model's")
    options = narrowing(profile, provider)
    nodes = profile.nodes
    if nodes is None:
        return Precision({}, 0.0, options, "the executed graph is not known")
    reason = ""
    if profile.kernels is None:
        reasons = [why for what, why in profile.absent if what == "trace/kernels"]
        reason = f"no kernels were recorded: {'; '.join(reasons) or 'that pass was not made'}"
    kinds = of_nodes(nodes, profile.kernels, tf32=allows_tf32(profile))
    rows = [
        row
        for row in np.flatnonzero(nodes.flops > 0).tolist()
        if providers.on_device(nodes.provider[row])
    ]
    shares: dict[str, float] = {}
    for row in rows:
        shares[kinds[row]] = shares.get(kinds[row], 0.0) + float(nodes.flops[row])
    whole = sum(shares.values())
    if not whole:
        return Precision({}, 0.0, options, "the operations of no node on the device are known")
    untold = shares.pop("", 0.0) / whole
    ordered = sorted(shares.items(), key=lambda one: -one[1])
    return Precision({name: flops / whole for name, flops in ordered}, untold, options, reason)


def facts(profile: Profile) -> tuple[Reading, ...]:
    """The same as facts to store: nothing on a host, which computes in the model's types."""
    found = precision(profile)
    if isinstance(found, Figure):
        return ()
    source = "names of the kernels, else types of the model's tensors; shares of the operations"
    if not found.shares:
        reason = found.reason or "float32 may have been TF32, and no kernel tells"
        return (Reading(FACT, None, "", source, reason),)
    shares = dict(found.shares) | ({"not told": found.untold} if found.untold else {})
    told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return (Reading(FACT, told, "", source),)


def allows_tf32(profile: Profile) -> bool:
    """Whether a provider of the profile may compute float32 products in TF32."""
    asked = providers.known(profile.provider)
    names = () if asked is None else (asked.name, *asked.followers)
    return any(
        one.tf32_option and _in_effect(profile, one).get(one.tf32_option, "1") != "0"
        for one in map(providers.by_name, names)
    )


def narrowing(profile: Profile, provider: ExecutionProvider) -> Mapping[str, str]:
    """The options of a provider that allow a narrower type, as they took effect."""
    effective = _in_effect(profile, provider)
    return {name: effective[name] for name in provider.precision_options if name in effective}


def _in_effect(profile: Profile, provider: ExecutionProvider) -> Mapping[str, str]:
    """The options of a provider: as ONNX Runtime reported them, else as they were asked for."""
    name = f"provider_options_{provider.api_name}"
    told = next((one.value for one in profile.environment if one.name == name), None)
    pairs = (pair.partition("=") for pair in str(told or "").split(";"))
    asked = profile.asked.provider_options if provider.name == profile.provider else {}
    return {**asked, **{key: value for key, _, value in pairs if key}}


def _of_node(taken_ns: Mapping[str, float], arithmetic: str, *, tf32: bool) -> str:
    """The narrower type that most time goes to, if any; else what is told, or assumed."""
    if not arithmetic:
        return ""
    reduced = _most(taken_ns, REDUCED)
    if reduced:
        return reduced
    return _most(taken_ns, taken_ns) or _assumed(arithmetic, tf32=tf32)


def _most(taken_ns: Mapping[str, float], among: Collection[str]) -> str:
    """The type that the most time goes to; empty if there is none."""
    return max((kind for kind in taken_ns if kind in among), key=taken_ns.__getitem__, default="")


def _assumed(arithmetic: str, *, tf32: bool) -> str:
    """The type of a node's tensors, unless it may be narrowed."""
    return "" if arithmetic == "float32" and tf32 else arithmetic
