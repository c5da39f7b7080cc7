"""What another runtime may be asked for, and when its outputs count as the model's."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import RequestError
from harness.measuring import foreign
from harness.measuring.handover import Job

FINITE = st.floats(-1e150, 1e150, allow_nan=False)


def asked(**fields: Any) -> ProfileConfig:
    return ProfileConfig("mlp", **{"runtime": "torch", **fields})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty packages, which nobody imports here."""
    for name in ("torch", "onnx2torch", "openvino"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    "session",
    [
        SessionConfig(provider_options={"a": "b"}),
        SessionConfig(entries={"a": "b"}),
        SessionConfig(custom_ops=(Path("lib.so"),)),
        SessionConfig(inter_threads=2),
        SessionConfig(optimization="basic"),
        SessionConfig(execution_mode="parallel"),
        SessionConfig(no_arena=True),
        SessionConfig(no_mem_pattern=True),
        SessionConfig(library=Path("libonnxruntime.so")),
        SessionConfig(strict=True),
    ],
)
def test_what_only_onnx_runtime_has_is_refused_by_name(
    installed: None, session: SessionConfig
) -> None:
    plain = SessionConfig()
    (field,) = (
        one.name
        for one in dataclasses.fields(session)
        if getattr(session, one.name) != getattr(plain, one.name)
    )
    with pytest.raises(RequestError, match=f"`{field}`: only ONNX Runtime has it"):
        foreign.settled(asked(session=session))
    # Of ONNX Runtime itself it may be asked for.
    assert foreign.settled(asked(session=session, runtime="ort"))[1] == ()


@pytest.mark.parametrize("field", ["instances", "concurrency"])
def test_sessions_side_by_side_are_onnx_runtimes(installed: None, field: str) -> None:
    with pytest.raises(RequestError, match=f"`{field}`: sessions side by side"):
        foreign.settled(asked(**{field: 2}))


def test_places_are_those_of_the_runtime(installed: None) -> None:
    config, absent = foreign.settled(asked(session=SessionConfig("cuda")))
    assert config.trace == ()
    assert [what for what, _ in absent] == ["nodes", "trace/kernels"]
    with pytest.raises(RequestError, match="`provider` cuda: OpenVINO runs on cpu here"):
        foreign.settled(asked(runtime="openvino", session=SessionConfig("cuda")))
    with pytest.raises(RequestError, match="`provider` tensorrt: PyTorch runs on cpu or cuda"):
        foreign.settled(asked(session=SessionConfig("tensorrt")))


def test_nothing_is_traced_and_the_reason_is_told_where_traces_were_asked_for(
    installed: None,
) -> None:
    config, absent = foreign.settled(asked(session=SessionConfig(intra_threads=3)))
    assert (config.trace, config.session.intra_threads) == ((), 3)
    why = "only sessions of ONNX Runtime are traced, and PyTorch ran this model"
    assert absent == (("nodes", why),)
    assert foreign.settled(asked(trace=()))[1] == ()


def test_options_of_a_runtime_are_no_options_of_onnx_runtime() -> None:
    with pytest.raises(RequestError, match="`runtime_options` compile=1: ONNX Runtime has none"):
        foreign.settled(asked(runtime="ort", runtime_options={"compile": "1"}))


def test_the_reference_is_made_on_the_host_with_the_same_threads() -> None:
    session = SessionConfig("cuda", intra_threads=3)
    assert foreign.reference_session(asked(session=session)) == SessionConfig(intra_threads=3)
    assert foreign.reference_session(asked(runtime="ort", session=session)) == session


def test_unless_they_are_given_there_are_as_many_threads_as_cores(tmp_path: Path) -> None:
    config = asked(session=SessionConfig(intra_threads=5))
    job = Job(config, tmp_path, tmp_path, "mlp", tmp_path, tmp_path, (0,))
    assert foreign.threads(job) == 5
    assert foreign.threads(dataclasses.replace(job, config=asked())) == 1


def test_the_difference_is_that_of_the_worst_output() -> None:
    one = np.array([[1.0, 2.0, -4.0]], np.float32)
    other = np.array([100, 200], np.int64)
    apart = foreign.agreement([one + np.float32(0.5), other], [one, other])
    assert apart.largest == 0.5
    assert apart.relative == 0.125
    # cos = (one + 1/2) . one / |one + 1/2| |one|, by hand.
    assert apart.cosine == pytest.approx(20.5 / np.sqrt(20.75 * 21))
    assert foreign.agreement([one, other], [one, other]) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("got", "said"),
    [
        ([], "0 outputs instead of 1"),
        ([np.ones((1, 3), np.float64)], "is float64"),
        ([np.ones((3, 1), np.float32)], "instead of float32 \\[1, 3\\]"),
        ([np.array([[1, 2, np.nan]], np.float32)], "NaN or infinity"),
        ([np.array([[1, -2, 3]], np.float32)], "cosine 0.4286"),
        ([np.zeros((1, 3), np.float32)], "cosine 0.0000"),
        ([np.array([[2, 4, 6]], np.float32)], "up to 3 where .*cosine 1.0000"),
    ],
)
def test_outputs_of_another_model_are_refused(got: list[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        foreign.agreement(got, [np.array([[1, 2, 3]], np.float32)])


def test_one_element_has_no_direction_to_agree_in() -> None:
    with pytest.raises(ValueError, match="differs by up to 695 where the largest value is 700"):
        foreign.agreement([np.array([5])], [np.array([700])])
    assert foreign.agreement([np.array(True)], [np.array(True)]) == (0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="differs by up to 1"):
        foreign.agreement([np.array(True)], [np.array(False)])


def test_nan_where_onnx_runtime_has_it_is_agreement() -> None:
    odd = np.array([1, np.nan, np.inf], np.float32)
    assert foreign.agreement([odd], [odd.copy()]) == (0.0, 0.0, 1.0)


@settings(derandomize=True, deadline=None)
@given(arrays.arrays(np.float64, st.integers(0, 6), elements=FINITE), st.floats(0.75, 1.25))
def test_a_multiple_has_the_same_direction(reference: Any, factor: float) -> None:
    apart = foreign.agreement([reference * factor], [reference])
    assert apart.cosine == pytest.approx(1.0)
    scale = np.abs(reference).max(initial=0.0)
    if scale > 1e-290:  # below, products of subnormal numbers are rounded to few bits
        assert apart.relative == pytest.approx(abs(factor - 1), abs=1e-12)
