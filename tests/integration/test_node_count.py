"""What a model costs grows with the number of its nodes, and no faster.

Counted, not timed: sessions, calls that Python makes, and how long the list of nodes is that ONNX
Runtime walks for each node which it adds to it.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.config.inputs import InputRequest
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.inputs import choice
from harness.measuring import preparation, traced_passes
from harness.measuring.handover import Job
from harness.measuring.prepared import Preparation
from harness.models import executed_graph
from harness.models.sources import UserGraph, sources
from harness.native import ort
from harness.ort.library import ort_library
from harness.tracing.ort_profiler.recorder import OrtPass
from harness.tracing.probes import graphs
from harness.tracing.probes.recorder import ProbePass

ONES = np.ones((1, 4), np.float32)


def chain(path: Path, nodes: int) -> Path:
    """A chain of so many small operators, each with a name of its own."""
    x, *_, y = names = ["x", *(f"t{number}" for number in range(nodes))]
    graph = helper.make_graph(
        [
            helper.make_node(("Sin", "Cos")[number % 2], [one], [other], name=f"layer/{number}")
            for number, (one, other) in enumerate(itertools.pairwise(names))
        ],
        "chain",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["n", 4])],
    )
    imports = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=imports), path)
    return path


def prepare(model: Path, folder: Path, **options: Any) -> Preparation:
    """What the preparation process of a quick profile does."""
    folder.mkdir()
    session = SessionConfig(intra_threads=1)
    config = ProfileConfig(str(model), session, quick=True, processes=1, **options)
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    return preparation.prepare(
        Job(config, Path(ort_library()), model, model.stem, folder, folder, cpus)
    )


def calls(work: Callable[[], object]) -> int:
    """How many functions are called meanwhile, in Python and from Python, in all threads."""
    seen = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return seen


def test_preparing_four_times_the_nodes_takes_four_times_the_calls(tmp_path: Path) -> None:
    took = [
        calls(lambda: prepare(chain(tmp_path / "model.onnx", nodes), tmp_path / str(nodes)))  # noqa: B023
        for nodes in (40, 400, 1600)
    ]
    # The first imports modules.
    assert 2 < took[2] / took[1] < 5


@pytest.mark.parametrize(("named", "more"), [(True, []), (False, ["executed-named.onnx"])])
def test_the_preparation_opens_what_is_executed_only_where_names_do_not_tell_nodes_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool, more: list[str]
) -> None:
    opened: list[str] = []
    session = ort.Session

    def counting(library: ort.Library, model: str, **options: Any) -> ort.Session:
        opened.append(Path(model).name)
        return session(library, model, **options)

    monkeypatch.setattr(ort, "Session", counting)
    model = chain(tmp_path / "model.onnx", 8)
    if not named:
        changed = onnx.load(model)
        for node in changed.graph.node:
            node.ClearField("name")
        onnx.save(changed, model)
    prepared = prepare(model, tmp_path / "traced")
    assert prepared.probed is not None
    assert prepared.graph is not None
    assert prepared.graph.nodes.order.tolist() == list(range(8))
    assert set(prepared.graph.nodes.output_type_shape) == {'[{"float":[1,4]}]'}
    assert opened == ["model.onnx", *more]
    opened.clear()
    prepare(model, tmp_path / "untraced", trace=())
    assert opened == ["model.onnx"]


def test_a_file_keeps_the_order_of_the_own_session(tmp_path: Path) -> None:
    # "early" is needed at the end and in between: ONNX Runtime comes to it on another way, and
    # from "last" alone it would be executed first.
    tensors = [("x", "early"), ("x", "side"), ("early", "a"), ("a", "b")]
    nodes = [
        *(
            helper.make_node("Cos" if other == "side" else "Sin", [one], [other], name=other)
            for one, other in tensors
        ),
        helper.make_node("Mul", ["b", "side"], ["c"], name="c"),
        helper.make_node("Add", ["early", "c"], ["y"], name="last"),
    ]
    fields = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "dag", fields[:1], fields[1:])
    model = tmp_path / "dag.onnx"
    imports = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=imports), model)
    folder = tmp_path / "work"
    prepared = prepare(model, folder)
    assert prepared.graph is not None
    assert prepared.probed is not None
    library, config = ort.Library(ort_library()), SessionConfig(intra_threads=1)
    own = prepared.graph.nodes
    with contextlib.closing(
        OrtPass(library, config, prepared.graph.path, own, {"x": ONES}, folder)
    ) as of_file:
        traced = of_file.record(1, 0).nodes
    assert traced_passes._ordered(traced, own).order.tolist() == own.order.tolist()
    inputs = {"x": ONES}
    for half in (0, 1):
        with contextlib.closing(
            ProbePass(library, config, prepared.probed, prepared.graph.nodes, inputs, half)
        ) as probe_pass:
            probe_pass.require_order(folder)
            assert probe_pass.half_order(folder) == ""


def test_where_no_file_keeps_the_order_it_is_that_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed, calls = graphs._executed, iter(range(100))

    def blind(listed: Any) -> list[int]:
        return [] if next(calls) < 3 else executed(listed)

    monkeypatch.setattr(graphs, "_executed", blind)
    prepared = prepare(chain(tmp_path / "model.onnx", 8), tmp_path / "work")
    assert prepared.probed is not None
    assert ("node order", preparation.ORDER_OF_THE_FILE) in prepared.absent


def test_no_list_that_onnx_runtime_walks_grows_with_the_number_of_probes(tmp_path: Path) -> None:
    for nodes in (20, 80):
        model = chain(tmp_path / "model.onnx", nodes)
        probed = prepare(model, tmp_path / str(nodes)).probed
        assert probed is not None
        for file in (probed.each, probed.pairs):
            assert longest_ready(file) <= 4, "the next node, and the probes before it"
        assert longest_ready(probed.frame) <= 8


def longest_ready(path: Path) -> int:
    """Length that the list of ready nodes reaches in ``Graph::KahnsTopologicalSort``.

    Of the nodes whose producers have been taken it takes the one that stands first in the file.
    """
    nodes = onnx.load(path, load_external_data=False).graph.node
    producer = {name: at for at, node in enumerate(nodes) for name in node.output}
    missing = [sum(name in producer for name in node.input) for node in nodes]
    readers = collections.defaultdict(list)
    for at, node in enumerate(nodes):
        for name in node.input:
            readers[producer.get(name)].append(at)
    ready = [at for at, count in enumerate(missing) if not count]
    longest = len(ready)
    while ready:
        for reader in readers[heapq.heappop(ready)]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
        longest = max(longest, len(ready))
    return longest


def test_layers_that_scale_by_a_vector_do_not_double_what_is_known_of_an_input() -> None:
    def affine(layers: int) -> onnx.ModelProto:
        weights = [
            numpy_helper.from_array(np.linspace(0.5 + k / 64, 1.5, 8, dtype=np.float32), f"w{k}")
            for k in range(layers)
        ]
        nodes = [
            helper.make_node("Add" if k % 2 else "Div", [f"t{k}", f"w{k}"], [f"t{k + 1}"])
            for k in range(layers)
        ]
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [512, 8])
            for name in ("t0", f"t{layers}")
        ]
        graph = helper.make_graph(nodes, "affine", ends[:1], ends[1:], weights)
        return helper.make_model(graph)

    def candidate(layers: int) -> Callable[[], object]:
        model = affine(layers)
        return lambda: next(iter(choice.candidates(model, InputRequest())))

    few, many = calls(candidate(8)), calls(candidate(16))
    assert many < 4 * few


@pytest.mark.parametrize("optimization", ["all", "disable"])
def test_equal_nodes_are_not_compared_with_each_other(tmp_path: Path, optimization: str) -> None:
    def traced(nodes: int) -> Callable[[], object]:
        """Equal nodes, which the optimiser merges, and one that reads them all."""
        names = [f"t{number}" for number in range(nodes)]
        made = [helper.make_node("Sin", ["x"], [name]) for name in names]
        made.append(helper.make_node("Concat", names, ["y"], axis=0))
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [2 * nodes]),
        ]
        graph = helper.make_graph(made, "equal", ends[:1], ends[1:])
        model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
        path, saved = tmp_path / "model.onnx", tmp_path / "saved.onnx"
        onnx.save(model, path)
        library = ort.Library(str(ort_library()))
        options = {"optimization": optimization, "optimized_model_path": str(saved)}
        ort.Session(library, str(path), **options).close()
        executed = executed_graph.prepare(saved, tmp_path / f"{nodes}.onnx")
        assert len(executed.nodes) == (2 if optimization == "all" else nodes + 1)
        return lambda: sources(UserGraph(model.graph), executed)

    few, many = calls(traced(100)), calls(traced(400))
    assert many < 5 * few


def test_probes_around_what_is_read_late_are_planned_in_one_walk(tmp_path: Path) -> None:
    def late(nodes: int) -> Path:
        """A sequence that is made first, which no probe can read, and read last."""
        names = ["x", *(f"t{number}" for number in range(nodes))]
        made = [
            helper.make_node("SequenceConstruct", ["x"], ["held"]),
            *(helper.make_node("Sin", [one], [other]) for one, other in itertools.pairwise(names)),
            helper.make_node("SequenceInsert", ["held", names[-1]], ["longer"]),
            helper.make_node("SequenceLength", ["longer"], ["length"]),
        ]
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("length", TensorProto.INT64, []),
        ]
        graph = helper.make_graph(made, "late", ends[:1], ends[1:])
        imports = [helper.make_opsetid("", 21)]
        path = tmp_path / f"{nodes}.onnx"
        onnx.save(helper.make_model(graph, ir_version=10, opset_imports=imports), path)
        return path

    probed = prepare(late(10), tmp_path / "late").probed
    assert probed is not None
    assert len(set(probed.carriers.tolist())) <= 2, "no probe fits in between"
    took = [
        calls(lambda: prepare(late(nodes), tmp_path / f"late-{nodes}"))  # noqa: B023
        for nodes in (200, 800)
    ]
    assert took[1] / took[0] < 5
