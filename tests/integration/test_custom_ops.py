"""Models with operators of a library, and models in ORT's own format, as users have them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto, helper

import harness as package
from harness.ort.library import ort_library
from tests.doubles import build_custom_ops

if TYPE_CHECKING:
    from tests.integration.command import Harness

ort = pytest.importorskip("harness.native.ort", reason="the native module is not built")

QUICK = ("--quick", "--processes", "1", "--duration", "0.02", "--threads", "1")


@pytest.fixture
def text_model(tmp_path: Path) -> Path:
    """Two operators of another domain, one after the other."""
    graph = helper.make_graph(
        [
            helper.make_node("StringUpper", ["text"], ["up"], domain="ai.onnx.contrib"),
            helper.make_node("StringLength", ["up"], ["length"], domain="ai.onnx.contrib"),
        ],
        "text",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("length", TensorProto.INT64, ["n"])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    path = tmp_path / "text.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture
def choosing_model(tmp_path: Path) -> Path:
    """The condition y of an If picks a chain of operators, or none."""

    def branch(name: str, nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph(nodes, name, [], [out])

    chosen = branch(
        "a", [helper.make_node("Tanh", ["x"], ["t"]), helper.make_node("Exp", ["t"], ["a"])]
    )
    other = branch("b", [helper.make_node("Neg", ["x"], ["b"])])
    graph = helper.make_graph(
        [helper.make_node("If", ["y"], ["z"], "choose", then_branch=chosen, else_branch=other)],
        "choosing",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64]),
            helper.make_tensor_value_info("y", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "choosing.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_library_of_operators_serves_every_pass_and_is_told_as_a_difference(
    harness: Harness, text_model: Path, tmp_path: Path
) -> None:
    library = build_custom_ops()
    common = ("profile", text_model, *QUICK, "--custom-ops", library)
    done = harness(*common, "-o", "a.h5", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {row["op_type"] for row in told["operators"]} == {"StringUpper", "StringLength"}
    assert {row["source"] for row in told["operators"]} == {"probe"}
    profile = package.read_profile(tmp_path / "a.h5")
    assert {"probe", "ort"} <= profile.traces.keys()
    assert json.loads(profile.config)["session"]["custom_ops"] == [library]

    twin = tmp_path / "twin.so"
    twin.write_bytes(Path(library).read_bytes() + b"built anew")
    other = harness(*common[:-1], twin, "--no-arena", "--no-mem-pattern", "-o", "b.h5", "--quiet")
    assert other.returncode == 0, other.stderr
    changed = harness("compare", "a.h5", "b.h5").stdout
    assert f"session --custom-ops: {library} → {twin}" in changed
    assert re.search(r"session custom_ops: custom_ops.so \w{12} → twin.so \w{12}$", changed, re.M)
    assert "session --no-arena: no → yes" in changed
    assert "session --no-mem-pattern: no → yes" in changed


def test_a_library_that_refuses_is_named(harness: Harness, text_model: Path) -> None:
    library = build_custom_ops("-DREFUSES")
    refused = harness("profile", text_model, *QUICK, "--custom-ops", library, "--quiet")
    assert refused.returncode == 2
    assert f"--custom-ops {library}: cannot be registered" in refused.stderr
    assert "made for another version" in refused.stderr


def test_a_misspelt_session_config_key_is_a_warning(
    harness: Harness, tiny_model: Path, tmp_path: Path
) -> None:
    key = "session.intra_op.allow_spining"
    done = harness(
        *("profile", tiny_model, *QUICK, "--trace", "none", "--quiet", "-o", "a.h5"),
        *("--session-config", f"{key}=0", "--session-config", "session.disable_prepacking=1"),
    )
    assert (done.returncode, done.stdout) == (0, "a.h5\n")
    (warning,) = done.stderr.splitlines()
    assert warning.startswith(f"harness: warning: --session-config {key}: ")
    assert warning.endswith("session.intra_op.allow_spinning")


def test_a_file_in_ort_s_own_format_is_profiled_and_says_why_it_has_no_probes(
    harness: Harness, choosing_model: Path, tmp_path: Path
) -> None:
    ort.Session(
        ort.Library(str(ort_library())),
        str(choosing_model),
        optimized_model_path=str(tmp_path / "small.ort"),
        entries={"session.save_model_format": "ORT"},
    ).close()
    done = harness("profile", "small.ort", *QUICK, "--dim", "n=3", "-o", "a.h5", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(one["name"], one["shape"]) for one in told["inputs"]] == [("x", [3, 64]), ("y", [])]
    assert {row["source"] for row in told["operators"]} == {"ort"}
    (reason,) = [one["reason"] for one in told["absent"] if one["what"] == "trace/probe"]
    assert ".ort" in reason
    assert "no trace/probe: " in done.stderr
    model = package.read_profile(tmp_path / "a.h5").model
    assert (model.name, model.size_bytes) == ("small", (tmp_path / "small.ort").stat().st_size)
    assert (model.node_count, model.parameter_count) == (-1, -1)
    assert harness("report", "a.h5", "-o", "page.html").returncode == 0
    assert "not stated" in (tmp_path / "page.html").read_text()


def test_the_branch_that_ran_is_told(
    harness: Harness, choosing_model: Path, tmp_path: Path
) -> None:
    done = harness("profile", choosing_model, *QUICK, "-o", "a.h5", "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["branches"]
    ran = [branch for branch, count in told["executions"].items() if count]
    assert told["node"] == "choose"
    assert ran in (["then_branch"], ["else_branch"])
    assert f"If 'choose' ran the {ran[0]}" in harness("show", "a.h5").stdout
