"""Texts of others do nothing to a terminal or a spreadsheet."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness import read_profile
from harness.analysis.operators.table import operator_table
from harness.commands.messages import MOST_CHARACTERS, message
from harness.reporters.scripts.profile import operators_text, summary_text
from harness.reporters.visible import cell, visible


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]0;title\x07",
        "a\nharness: forged",
        "a\r\x85b",
        "right\u202eleft",
        "\x9b31m",
        "\udcff",
        "\0",
    ],
)
def test_a_text_stays_on_its_line_and_moves_nothing(text: str) -> None:
    assert visible(text).isprintable()


def test_what_can_be_printed_stays() -> None:
    assert visible("節点 µ/é") == "節点 µ/é"


@pytest.mark.parametrize("text", ["=cmd|'/c calc'!A1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_a_text_that_begins_like_a_formula_is_marked_as_text(text: str) -> None:
    assert str(cell(text)).startswith("'")


def test_numbers_and_other_texts_are_cells_as_they_are() -> None:
    assert [cell(each) for each in (-1, -1.5, None, "a=b")] == [-1, -1.5, None, "a=b"]


def test_a_message_is_bounded() -> None:
    for text in ("x" * 1_000_000, "\x1b" * 1_000, "\U000f0000" * 1_000):
        assert len(message(text)) <= MOST_CHARACTERS + 10


def test_json_for_scripts_is_ascii_whatever_names_hold() -> None:
    sample = read_profile(Path(__file__).parents[3] / "profiles" / "sample.h5")
    named = dataclasses.replace(sample.model, name="\x9b31m\u202eµ\ud800")
    odd = dataclasses.replace(sample, model=named)
    assert odd.nodes is not None
    odd = dataclasses.replace(
        odd, nodes=dataclasses.replace(odd.nodes, name=("\x9b31m",) * len(odd.nodes))
    )
    for text in (summary_text(odd), operators_text(operator_table(odd))):
        assert text.isascii()
        assert "9b31m" in text
