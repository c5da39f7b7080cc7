"""What a variant's error says, and when it says nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.errors import RequestError
from harness.models.variants import kinds
from harness.models.variants.variant import (
    Comparison,
    Incomparable,
    OutputError,
    are_scores,
    relative_error,
)


def error(*sets: tuple[list[Any], list[Any]]) -> OutputError:
    comparison = Comparison([f"y{number}" for number in range(len(sets[0][0]))])
    for wanted, got in sets:
        comparison.add(wanted, got)
    assert not comparison.not_finite
    return comparison.error()


def floats(*values: Any) -> Any:
    return np.array(values, np.float32)


def test_figures_are_those_of_the_worst_output_over_all_sets() -> None:
    found = error(
        ([floats([1, 2]), floats(10, 10)], [floats([1, 1]), floats(10, 10)]),
        ([floats([4, 0]), floats(10, 10)], [floats([4, 0]), floats(10, 13)]),
    )
    assert found.max == 3
    assert found.mean == (1 + 3) / 8
    assert found.max_relative == 3 / 10  # the first output: 1 of 4
    assert found.mean_relative == pytest.approx(1 / 7)  # the second: 3 of 40
    first = (1 * 1 + 2 * 1 + 16) / math.sqrt(1 + 4 + 16) / math.sqrt(1 + 1 + 16)
    second = (300 + 130) / math.sqrt(400) / math.sqrt(300 + 169)
    assert found.cosine == pytest.approx(min(first, second), rel=1e-12)
    assert found.inputs == 2
    assert found.top1 is None
    assert "2 floating-point outputs" in found.top1_reason


_ARRAYS = arrays.arrays(
    np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
)


@settings(max_examples=50, deadline=None)
@given(_ARRAYS, _ARRAYS)
def test_figures_agree_with_their_definitions(wanted: Any, got: Any) -> None:
    found = error(([wanted], [got]))
    one, other = wanted.astype(float).ravel(), got.astype(float).ravel()
    assert found.max == pytest.approx(np.abs(one - other).max())
    assert found.mean == pytest.approx(np.abs(one - other).mean())
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    if norms:
        assert found.cosine == pytest.approx(min(one @ other / norms, 1), abs=1e-9)
    assert found.top1 == np.mean(wanted.argmax(axis=1) == got.argmax(axis=1))
    assert relative_error(wanted, wanted) == 0


def test_the_same_outputs_have_no_error() -> None:
    found = error(([floats([0.5, 2]), np.array([3])], [floats([0.5, 2]), np.array([3])]))
    assert (found.max, found.mean, found.cosine, found.top1) == (0, 0, 1, 1)
    assert found.unlike == 0


def test_other_types_than_floats_are_counted() -> None:
    found = error(([floats(1), np.array([1, 2, 3, 4])], [floats(1), np.array([1, 2, 0, 4])]))
    assert found.unlike == 1 / 4


def test_what_holds_nan_is_named_and_the_rest_compared() -> None:
    comparison = Comparison(["y"])
    comparison.add([floats(1, 2)], [floats(np.nan, 2)])
    assert comparison.not_finite == "y"
    assert comparison.error().max == 0


def test_nan_of_the_original_is_no_fault_of_the_variant() -> None:
    assert error(([floats(np.inf, 2)], [floats(np.nan, 2)])).max == 0


def test_other_shapes_cannot_be_compared() -> None:
    with pytest.raises(Incomparable, match=r"output 'y0' is float32 \[3\], .* float32 \[2\]"):
        error(([floats(1, 2)], [floats(1, 2, 3)]))


def test_a_model_of_labels_alone_has_no_error() -> None:
    with pytest.raises(Incomparable, match="no floating-point output"):
        error(([np.array([1])], [np.array([1])]))


def test_sequences_and_maps_are_compared_by_element() -> None:
    wanted = [{0: np.float32(0.2), 1: np.float32(0.8)}]
    got = [{0: np.float32(0.3), 1: np.float32(0.7)}]
    assert error(([wanted], [got])).max == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("logits", (2, 10), "taken for scores of 10 classes"),
        ("prob", (2, 10, 1, 1), "taken for scores of 10 classes"),
        ("mask", (2, 10, 4, 4), "not examples x classes"),
        ("score", (2, 1), "not examples x classes"),
        ("embedding", (2, 10), "by its name"),
    ],
)
def test_scores_are_known_by_their_shape(name: str, shape: tuple[int, ...], told: str) -> None:
    are, why = are_scores([(name, np.zeros(shape, np.float32))])
    assert are == ("taken" in told)
    assert told in why


@pytest.mark.parametrize(
    "text", ["fp16", "int8-static", "prune-channels:0.5", "prune-channels:0.25:l1"]
)
def test_a_kind_is_written_as_it_is_read(text: str) -> None:
    assert str(kinds.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["fp32", "fp16:1", "prune-weights", "prune-weights:50", "prune-weights:nan", "prune-channels:0",
     "prune-weights:0.5:l1", "prune-channels:0.5:l3", "prune-channels:0.5:l1:x", ""],
)  # fmt: skip
def test_any_other_kind_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="`kind`"):
        kinds.parse(text)
