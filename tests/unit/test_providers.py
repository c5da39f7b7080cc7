"""The gate against silent fallback: what is told of where nodes run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness import providers
from harness.errors import MachineError
from harness.records import NodeTable

CPU, CUDA, TENSORRT = (providers.PROVIDER_TYPES[name] for name in ("cpu", "cuda", "tensorrt"))


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
    placement = providers.from_assignments(
        "cuda", [part(CUDA, ("a", "Conv")), part(CUDA, ("b", "Relu"))], log=["WARNING other"]
    )
    assert placement.whole
    assert placement.counts == {CUDA: 2}
    assert (placement.copies, placement.copies_source) == (0, "ORT's log")
    assert placement.text == "2 of 2 nodes on cuda"
    providers.require_whole(placement)


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
    placement = providers.from_assignments("cuda", assigned, nodes)
    assert not placement.whole
    assert placement.counts == {CUDA: 2, CPU: 2}
    assert placement.elsewhere == ((CPU, "size", "Shape"), (CPU, "", "NonZero"))
    assert placement.copy_names == ("Memcpy_token_1", "MemcpyFromHost")
    assert placement.copies_source == "executed graph"
    assert placement.text == (
        "2 of 4 nodes not on cuda: 2 on CPUExecutionProvider (Shape size, NonZero); "
        "2 copies added (Memcpy_token_1, MemcpyFromHost) between host and device"
    )
    with pytest.raises(MachineError, match=r"--strict: 2 of 4 nodes not on cuda.*Shape size"):
        providers.require_whole(placement)

    # The trace, where the session cannot tell, counts the same.
    traced = providers.from_nodes("cuda", nodes)
    assert dataclasses.replace(traced, source="assignments") == placement


def test_ort_s_log_counts_the_copies_where_no_graph_shows_them() -> None:
    line = "WARNING {} Memcpy nodes are added to the graph {} for CUDAExecutionProvider. It might"
    log = [line.format(2, "main"), "WARNING something else", line.format(1, "sub_graph1")]
    assigned = [part(CPU, ("a", "Neg")), part(CUDA, ("b", "Abs"))]
    placement = providers.from_assignments("cuda", assigned, log=log)
    assert (placement.copies, placement.copy_names) == (3, ())
    assert placement.text.endswith("; 3 copies added between host and device")


def test_what_nobody_tells_is_not_taken_for_zero() -> None:
    assigned = [part(TENSORRT, ("a", "Conv"), ("b", "Relu")), part(CUDA, ("c", "Abs"))]
    placement = providers.from_assignments("tensorrt", assigned, log=[])
    assert placement.copies is None
    assert placement.text == (
        "1 of 3 nodes not on tensorrt: 1 on CUDAExecutionProvider (Abs c); added copies not told"
    )
    facts = {fact.name: fact for fact in providers.readings(placement, {"TensorRT": None}, {})}
    assert facts["added_copies"].value is None
    assert facts["added_copies"].reason
    assert facts["provider_options_TensorRT"].reason
    assert facts["nodes_on_CUDAExecutionProvider"].value == 1


def test_a_node_that_never_ran_is_not_known_to_be_anywhere() -> None:
    placement = providers.from_nodes("cuda", table(("a", "If", CUDA), ("b", "Neg", "")))
    assert (placement.unseen, placement.elsewhere, placement.whole) == (1, (), False)
    assert placement.text == "1 of 2 nodes on cuda; 1 node never seen running"
    with pytest.raises(MachineError):
        providers.require_whole(placement)


def test_many_names_are_cut_short() -> None:
    assigned = [part(CPU, *((f"n{i}", "Neg") for i in range(8)))]
    text = providers.from_assignments("cuda", assigned, log=[]).text
    assert "(Neg n0, Neg n1, Neg n2, Neg n3, Neg n4 and 3 more)" in text


def test_the_cpu_is_a_provider_like_any_other() -> None:
    placement = providers.from_assignments("cpu", [part(CPU, ("a", "Neg"))])
    assert placement.whole
    assert placement.text == "1 of 1 node on cpu"


def test_readings_hold_the_effective_options() -> None:
    placement = providers.from_assignments("cuda", [part(CUDA, ("a", "Conv"))], log=[])
    options = {"CUDA": "device_id=0;enable_cuda_graph=0"}
    asked = {"device_id": "0", "enable_cuda_graph": "0"}
    facts = {fact.name: fact for fact in providers.readings(placement, options, asked)}
    assert facts["provider_options_CUDA"].value == options["CUDA"]
    assert facts["provider_options_asked"].value == "device_id=0;enable_cuda_graph=0"
    assert facts["placement"].value == placement.text
    assert facts["added_copies"].value == 0
    assert all(fact.source for fact in facts.values())
