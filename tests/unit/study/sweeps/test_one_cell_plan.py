"""A cell as a plan of its own: whatever a plan may hold arrives as it was."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RequestError
from harness.options import words
from harness.study.sweeps.cells import Cell, cells_of
from harness.study.sweeps.one_cell_plan import as_plan
from harness.study.sweeps.plan import read_plan
from harness.study.sweeps.settings import Setting

#: Any text of UTF-8; often that of which TOML and JSON think differently.
TEXTS = st.text(st.characters(exclude_categories=("Cs",))) | st.text("a\x00\x1f\x7f\x85'\"\\\n😀")

VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(key=TEXTS.filter(bool), value=VALUES)
def test_every_value_is_read_as_it_was(key: str, value: Any) -> None:
    setting = Setting("entries", "session", "entries", key)
    sent = as_plan(Cell(1, "0" * 12, {setting: value}, {}))
    assert tomllib.loads(sent)["axes"] == {"session": {"entries": {key: [value]}}}


@given(name=TEXTS)
def test_so_is_the_name_of_a_model(name: str) -> None:
    path = f"/models/x{name.replace('/', '')}.onnx"
    sent = as_plan(Cell(1, "0" * 12, {Setting("model", "", "model", ""): path}, {}))
    assert tomllib.loads(sent)["axes"]["model"] == [path]


def test_a_name_that_is_not_utf_8_is_refused_with_the_way_out() -> None:
    setting = Setting("model", "", "model", "")
    cell = Cell(1, "0" * 12, {setting: "/models/\udcff.onnx"}, {})
    with pytest.raises(RequestError, match=r"\\udcff.onnx': cannot be sent to a worker") as refused:
        as_plan(cell)
    assert refused.value.remedy == "rename the file"


def test_the_default_of_a_field_that_holds_a_path_is_no_path() -> None:
    axes = [("model", ["mlp"]), ("ort_library", ["default"])]
    (cell,) = cells_of(read_plan(None, words(), axes))
    assert tomllib.loads(as_plan(cell))["axes"]["session"]["library"] == ["default"]
