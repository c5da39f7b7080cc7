"""What else differs between two profiles."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparing.differences import Difference, differences, unlike_inputs
from harness.records import InputRecord, ModelRecord, Profile, Reading
from tests.builders.device_records import kernels
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile


def config(**session: Any) -> str:
    return json.dumps({"session": session, "processes": 5, "output": "a.h5"})


def fed(*shape: int, name: str = "x", dtype: str = "float32", sha256: str = "aa") -> InputRecord:
    return InputRecord(name, dtype, shape, "because", sha256)


def test_nothing_differs_between_a_profile_and_itself() -> None:
    one = profile(process([1]), inputs=(fed(1, 2),), config=config(intra_threads=1))
    assert differences(one, one) == ()


def test_what_matters_most_comes_first() -> None:
    base = profile(
        process([1]),
        config=config(intra_threads=0),
        inputs=(fed(1, 2),),
        environment=(
            Reading("cpu_model", "A"),
            Reading("nvml_driver", "580.1"),
            Reading("ort_version", "1.30.0"),
            Reading("package_numpy", "2.0"),
        ),
    )
    candidate = profile(
        process([1]),
        config=config(intra_threads=2),
        inputs=(fed(1, 2, sha256="bb"),),
        model=ModelRecord("n", "n.onnx", "01", 1, "", 8, (), 1, 0),
        environment=(
            Reading("cpu_model", "B"),
            Reading("nvml_driver", "581.2"),
            Reading("ort_version", "1.31.1"),
            Reading("package_numpy", "2.1"),
        ),
    )
    assert differences(base, candidate) == (
        Difference("model", "model", "m (00)", "n (01)"),
        Difference("inputs", "values of x", "sha256 aa", "sha256 bb"),
        Difference("session", "`intra_threads`", "0", "2"),
        Difference("ort", "ort_version", "1.30.0", "1.31.1"),
        Difference("driver", "nvml_driver", "580.1", "581.2"),
        Difference("machine", "cpu_model", "A", "B"),
        Difference("software", "package_numpy", "2.0", "2.1"),
    )


@pytest.mark.parametrize("distribution", ["harness", "onnx-harness"])
def test_the_version_of_harness_is_told_once(distribution: str) -> None:
    base, candidate = (
        dataclasses.replace(
            profile(environment=(Reading(f"package_{distribution}", version),)),
            harness_version=version,
        )
        for version in ("0.1.0", "0.2.0")
    )
    assert differences(base, candidate) == (Difference("software", "harness", "0.1.0", "0.2.0"),)


@pytest.mark.parametrize(
    "name", ["uptime_s", "load_average_1m", "frequency_now_hz", "ceiling_copy"]
)
def test_readings_of_the_moment_are_no_difference(name: str) -> None:
    base = profile(environment=(Reading(name, 1),))
    candidate = profile(environment=(Reading(name, 2),))
    assert differences(base, candidate) == ()


def test_a_fact_that_one_side_could_not_tell_is_said_with_the_reason() -> None:
    base = profile(environment=(Reading("boost", "on"),))
    candidate = profile(environment=(Reading("boost", None, reason="no cpufreq driver"),))
    assert differences(base, candidate) == (
        Difference("machine", "boost", "on", "not known (no cpufreq driver)"),
    )


def test_facts_and_options_that_an_older_harness_did_not_know_are_no_difference() -> None:
    older = profile(config="{}")
    newer = profile(config=config(intra_threads=0), environment=(Reading("numa_nodes", 1),))
    assert differences(older, newer) == differences(newer, older) == ()


def test_where_and_how_often_it_was_measured_is_no_difference() -> None:
    base = profile(config=json.dumps({"output": "a.h5", "processes": 5, "force": False}))
    candidate = profile(config=json.dumps({"output": "b.h5", "processes": 9, "force": True}))
    assert differences(base, candidate) == ()


def test_options_read_as_a_user_gives_them() -> None:
    base = profile(
        config=json.dumps({"session": {"entries": {}}, "quick": False, "affinity": None})
    )
    candidate = profile(
        config=json.dumps({"session": {"entries": {"a": "1"}}, "quick": True, "affinity": "0"})
    )
    assert [(one.what, one.base, one.candidate) for one in differences(base, candidate)] == [
        ("`entries`", "none", "a=1"),
        ("`affinity`", "default", "0"),
        ("`quick`", "no", "yes"),
    ]


def test_other_shapes_are_not_like_with_like() -> None:
    base, candidate = profile(inputs=(fed(1, 3),)), profile(inputs=(fed(8, 3),))
    assert unlike_inputs(base.inputs, candidate.inputs) == (
        "input 'x' is 1x3 in the base and 8x3 in the candidate: not like with like"
    )
    assert differences(base, candidate) == (
        Difference("inputs", "x", "float32 1x3", "float32 8x3"),
    )


def test_other_values_or_types_are_stated_and_still_compared() -> None:
    base = profile(inputs=(fed(1, 3),))
    for other in (fed(1, 3, sha256="bb"), fed(1, 3, dtype="float16", sha256="bb")):
        assert unlike_inputs(base.inputs, (other,)) == ""
        assert differences(base, profile(inputs=(other,)))


def test_inputs_that_another_model_calls_otherwise_are_compared_by_place() -> None:
    base = profile(inputs=(fed(1, 3), fed(2, name="y")))
    assert unlike_inputs(base.inputs, (fed(1, 3, name="a"), fed(2, name="b"))) == ""
    swapped = profile(inputs=(fed(2, name="y"), fed(1, 3)))
    assert unlike_inputs(base.inputs, swapped.inputs) == ""


def test_another_number_of_inputs_is_not_like_with_like() -> None:
    base, candidate = profile(inputs=(fed(1),)), profile(inputs=())
    assert "the base was fed 1 input and the candidate 0" in unlike_inputs(
        base.inputs, candidate.inputs
    )
    assert differences(base, candidate) == (Difference("inputs", "number of inputs", "1", "0"),)


def multiplied(kernel: str, *, provider: str = "cuda", arithmetic: str = "float32") -> Profile:
    """A profile of one product by such a kernel; without one if its name is empty."""
    nodes = table(
        [-1],
        op_type=("MatMul",),
        provider=("CPUExecutionProvider" if provider == "cpu" else "CUDAExecutionProvider",),
        flops=np.array([100]),
        arithmetic=(arithmetic,),
    )
    work = kernels((kernel, 0, 10, 5)) if kernel else None
    return profile(process([1]), provider=provider, nodes=nodes, kernels=work)


@pytest.mark.parametrize(
    ("base", "candidate", "told"),
    [
        (multiplied("sgemm"), multiplied("s1688gemm"), ("float32", "tf32")),
        (multiplied("", provider="cpu"), multiplied("s1688gemm"), ("float32", "tf32")),
        (multiplied("", arithmetic="float16"), multiplied("sgemm"), ("float16", "float32")),
    ],
)
def test_another_precision_on_a_device_is_a_difference(
    base: Profile, candidate: Profile, told: tuple[str, str]
) -> None:
    assert Difference("session", "precision", *told) in differences(base, candidate)


@pytest.mark.parametrize(
    ("base", "candidate"),
    [
        (multiplied("s1688gemm"), multiplied("sm90_xmma_gemm_f32f32_tf32f32_f32")),
        # Without kernels, float32 may have been either.
        (multiplied(""), multiplied("s1688gemm")),
        (multiplied("", provider="cpu"), multiplied("", provider="cpu", arithmetic="int8")),
        (multiplied("sgemm"), profile(process([1]))),
    ],
)
def test_a_precision_that_is_the_same_or_not_known_is_none(
    base: Profile, candidate: Profile
) -> None:
    assert "precision" not in [one.what for one in differences(base, candidate)]
