"""The model is quantised, and its time goes into conversions, or into floating point."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis.findings.seen import MOST, WORTH_CHANGING, Finding, Seen, agree, counted
from harness.analysis.operators.labels import node_label
from harness.records import NodeTable

#: Operators that convert numbers to int8, or back.
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def quantisation(seen: Seen) -> Finding | None:
    """The model is quantised, and its time goes into conversions, or into floating point."""
    nodes = seen.profile.nodes
    if nodes is None:
        return None
    rows = [row for row, op_type in enumerate(nodes.op_type) if op_type in CONVERSIONS]
    if not rows:
        return None
    conversions = _shares_of_time(seen, rows)
    unfused = _behind_conversions(nodes)
    computing = _shares_of_time(seen, unfused)
    evidence: dict[str, float | str] = {"conversion_nodes": len(rows)}
    if agree([sum(pair) for pair in zip(conversions, computing, strict=True)], MOST) and unfused:
        share = float(np.median(computing))
        sentence = (
            f"int8 gains little: {counted(len(unfused), 'node')} between DequantizeLinear and "
            "QuantizeLinear, not fused with them, "
            f"{'computes' if len(unfused) == 1 else 'compute'} in floating point."
        )
        evidence["unfused_share"] = share
        next_step = (
            "Exclude these nodes from quantisation (nodes_to_exclude in onnxruntime.quantization),"
            " or quantise all of their inputs, bias included, so that ORT fuses them."
        )
    elif agree(conversions, WORTH_CHANGING):
        share, unfused = 0.0, []
        if "DynamicQuantizeLinear" in nodes.op_type:
            sentence = "Activations are quantised afresh in every inference."
            next_step = "Quantise statically (quantize_static): the scales are known beforehand."
        else:
            sentence = "Tensors are converted to int8 and back between the operators."
            next_step = "Quantise the operators in between too, or exclude their neighbours."
    else:
        return None
    evidence["conversions_share"] = float(np.median(conversions))
    return Finding(
        kind="quantisation",
        sentence=sentence,
        evidence=evidence,
        nodes=tuple(node_label(nodes, row) for row in unfused),
        next_step=next_step,
        weight=min(float(np.median(conversions)) + share, 1.0),
    )


def _behind_conversions(nodes: NodeTable) -> list[int]:
    """Rows of the nodes whose input was converted back to floating point just before them.

    The table has no edges: such a node is executed right after a DequantizeLinear of the same
    graph and reads a tensor of the type and shape that this one outputs.
    """
    found = []
    ran = np.flatnonzero(nodes.order >= 0)
    order = ran[np.lexsort((nodes.order[ran], nodes.parent[ran]))].tolist()
    for before, row in itertools.pairwise(order):
        if nodes.op_type[before] != "DequantizeLinear" or nodes.op_type[row] in CONVERSIONS:
            continue
        if nodes.parent[before] != nodes.parent[row]:
            continue
        given, read = nodes.output_type_shape[before], nodes.input_type_shape[row]
        outputs = json.loads(given) if given else []
        if outputs and read and outputs[0] in json.loads(read):
            found.append(row)
    return found


def _shares_of_time(seen: Seen, rows: Sequence[int]) -> list[float]:
    """Share of all nodes' time that some take, by process; on the GPU if one does the work."""
    kernels, table = seen.profile.kernels, seen.table
    node: npt.NDArray[np.int32]
    if not seen.on_host:
        if kernels is None:
            return []
        counted = (kernels.inference >= 0) & (kernels.node >= 0)
        node, process, time_ns = kernels.node, kernels.process, kernels.duration_ns
    elif table is not None:
        events = seen.profile.traces[table.source]
        counted = np.ones(len(events), bool)
        node, process, time_ns = events.node, events.process, events.self_ns
    else:
        return []
    mine = counted & np.isin(node, rows)
    shares = []
    for index in np.unique(process[counted]).tolist():
        own = process == index
        whole_ns = int(time_ns[own & counted].sum())
        if whole_ns:
            shares.append(int(time_ns[own & mine].sum()) / whole_ns)
    return shares
