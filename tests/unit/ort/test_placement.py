"""The gate against silent fallback: what is told of where nodes run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.errors import MachineError
from harness.ort import placement, providers
from harness.records import NodeTable

CPU, CUDA, TENSORRT = (providers.by_name(name).ort_name for name in ("cpu", "cuda", "tensorrt"))


def table(*rows: tuple[str, str, str]) -> NodeTable:
    """Nodes of (name, op type, provider)."""
    name, op_type, provider = zip(*rows, strict=True)
    blank, unseen = ("",) * len(rows), np.full(len(rows), -1, np.int64)
    columns = {
        field.name: blank if "tuple" in str(field.type) else unseen
        for field in dataclasses.fields(NodeTable)
    }
    return NodeTable(**columns | {"name": name, "op_type": op_type, "provider": provider})  # type: ignore[arg-type]


def part(provider: str, *nodes: tuple[str, str]) -> tuple[str, list[tuple[str, str, str]]]:
    return provider, [(name, op_type, "") for name, op_type in nodes]


def test_a_graph_that_is_where_it_was_asked_for() -> None:
    placed = placement.from_assignments(
        "cuda", [part(CUDA, ("a", "Conv")), part(CUDA, ("b", "Relu"))], log=["WARNING other"]
    )
    assert placed.whole
    assert placed.counts == {CUDA: 2}
    assert (placed.copies, placed.copies_source) == (0, "ORT's log")
    assert placed.text == "2 of 2 nodes on cuda"
    placement.require_whole(placed)


def test_nodes_elsewhere_and_copies_are_counted_and_named() -> None:
    assigned = [
        part(CUDA, ("a", "Conv")),
        part(CPU, ("size", "Shape")),
        part(CPU, ("", "NonZero")),
        part(CUDA, ("b", "Relu")),
    ]
    nodes = table(
        ("a", "Conv", CUDA),
        ("Memcpy_token_1", "MemcpyToHost", CUDA),
        ("size", "Shape", CPU),
        ("", "NonZero", CPU),
        ("", "MemcpyFromHost", CUDA),
        ("b", "Relu", CUDA),
    )
    placed = placement.from_assignments("cuda", assigned, nodes)
    assert not placed.whole
    assert placed.counts == {CUDA: 2, CPU: 2}
    assert placed.elsewhere == ((CPU, "size", "Shape"), (CPU, "", "NonZero"))
    assert placed.copy_names == ("Memcpy_token_1", "MemcpyFromHost")
    assert placed.copies_source == "executed graph"
    assert placed.text == (
        "2 of 4 nodes not on cuda: 2 on CPUExecutionProvider (Shape size, NonZero); "
        "2 copies added (Memcpy_token_1, MemcpyFromHost) between host and device"
    )
    with pytest.raises(MachineError, match=r"`strict`: 2 of 4 nodes not on cuda.*Shape size"):
        placement.require_whole(placed)

    # The trace, where the session cannot tell, counts the same.
    traced = placement.from_nodes("cuda", nodes)
    assert dataclasses.replace(traced, source="assignments") == placed


def test_ort_s_log_counts_the_copies_where_no_graph_shows_them() -> None:
    line = "WARNING {} Memcpy nodes are added to the graph {} for CUDAExecutionProvider. It might"
    log = [line.format(2, "main"), "WARNING something else", line.format(1, "sub_graph1")]
    assigned = [part(CPU, ("a", "Neg")), part(CUDA, ("b", "Abs"))]
    placed = placement.from_assignments("cuda", assigned, log=log)
    assert (placed.copies, placed.copy_names) == (3, ())
    assert placed.text.endswith("; 3 copies added between host and device")


def test_what_nobody_tells_is_not_taken_for_zero() -> None:
    assigned = [part(TENSORRT, ("a", "Conv"), ("b", "Relu")), part(CUDA, ("c", "Abs"))]
    placed = placement.from_assignments("tensorrt", assigned, log=[])
    assert placed.copies is None
    assert placed.text == (
        "1 of 3 nodes not on tensorrt: 1 on CUDAExecutionProvider (Abs c); added copies not known"
    )
    facts = {fact.name: fact for fact in placement.readings(placed, {"TensorRT": None}, {})}
    assert facts["added_copies"].value is None
    assert facts["added_copies"].reason
    assert facts["provider_options_TensorRT"].reason
    assert facts["nodes_on_CUDAExecutionProvider"].value == 1


def test_a_node_that_never_ran_is_not_known_to_be_anywhere() -> None:
    placed = placement.from_nodes("cuda", table(("a", "If", CUDA), ("b", "Neg", "")))
    assert (placed.unseen, placed.elsewhere, placed.whole) == (1, (), False)
    assert placed.text == "1 of 2 nodes on cuda; 1 node never seen running"
    with pytest.raises(MachineError):
        placement.require_whole(placed)


def test_many_names_are_cut_short() -> None:
    assigned = [part(CPU, *((f"n{i}", "Neg") for i in range(8)))]
    text = placement.from_assignments("cuda", assigned, log=[]).text
    assert "(Neg n0, Neg n1, Neg n2, Neg n3, Neg n4 and 3 more)" in text


def test_the_cpu_is_a_provider_like_any_other() -> None:
    placed = placement.from_assignments("cpu", [part(CPU, ("a", "Neg"))])
    assert placed.whole
    assert placed.text == "1 of 1 node on cpu"


def test_readings_hold_the_effective_options() -> None:
    placed = placement.from_assignments("cuda", [part(CUDA, ("a", "Conv"))], log=[])
    options = {"CUDA": "device_id=0;enable_cuda_graph=0"}
    asked = {"device_id": "0", "enable_cuda_graph": "0"}
    facts = {fact.name: fact for fact in placement.readings(placed, options, asked)}
    assert facts["provider_options_CUDA"].value == options["CUDA"]
    assert facts["provider_options_asked"].value == "device_id=0;enable_cuda_graph=0"
    assert facts["placement"].value == placed.text
    assert facts["added_copies"].value == 0
    assert all(fact.source for fact in facts.values())
