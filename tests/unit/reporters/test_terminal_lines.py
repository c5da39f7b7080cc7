"""Lines for a terminal: what is cut, broken and escaped."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from harness.reporters.terminal import lines


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> lines.Page:
    """A page as on a terminal of 40 columns."""
    made = lines.Page()
    made.width = 40
    return made


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("abcdefgh", 8, "abcdefgh"),
        ("abcdefgh", 5, "ab…gh"),
        ("abcdefgh", 1, "…"),
        ("节点节点节点", 8, "节点…点"),
        ("a节点节点节b", 7, "a节…节b"),
        ("x" * 10_000, 6, "xxx…xx"),
        ("ab\ncd", 9, "ab cd"),
        ("\x1b[31m", 20, r"\x1b[31m"),
    ],
)
def test_text_is_cut_in_the_middle_by_the_places_it_takes(
    text: str, width: int, short: str
) -> None:
    assert lines.shorten(text, width) == short
    assert cell_len(short) <= width


def test_nothing_moves_the_cursor_or_turns_the_line() -> None:
    assert lines.visible("plain µ … שלום 节点") == "plain µ … שלום 节点"
    assert lines.visible("a\x1b]0;title\x07b\u202ec\udcffd") == r"a\x1b]0;title\x07b\u202ec\udcffd"
    assert lines.visible("a\tb\r\nc\u2028d\xa0e") == "a b  c d e"


def test_text_is_broken_at_blanks_and_cut_where_there_are_none(
    narrow: lines.Page, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow.say("label", "some words that take more than a line")
    narrow.say("label", "model " + "节点" * 20)
    narrow.say("label", "  2.0%   kept  apart")
    narrow.say("file", "/a/path/of/a/file/that/nobody/would/break/a.h5")
    assert capsys.readouterr().out.splitlines() == [
        "  label      some words that take more",
        "             than a line",
        "             model",
        "             节点节点节点…节点节点节点",
        "               2.0%   kept  apart",
        "  file       /a/path/of/a/file/that/nobody/would/break/a.h5",
    ]


def test_columns_are_padded_to_the_places_they_take() -> None:
    assert lines.column("op", ["节", "Gemm"], "<") == ["op  ", "节  ", "Gemm"]
    assert lines.column("op", ["节", "Gemm"], ">") == ["  op", "  节", "Gemm"]
