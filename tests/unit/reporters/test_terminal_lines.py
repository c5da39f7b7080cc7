"""Lines for a terminal: what is cut, broken and escaped."""

from __future__ import annotations

import os

import pytest
from rich.cells import cell_len

from harness.reporters.terminal import lines


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> lines.Page:
    """A page as on a terminal of 40 columns."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
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


def test_a_number_and_its_unit_share_a_line(
    narrow: lines.Page, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow.say("latency", "twenty-five columns, then 1.25 ms, 20.0 % (of 3 MiB)")
    narrow.say("latency", "twenty-three columns is 12 seconds")
    assert capsys.readouterr().out.splitlines() == [
        "  latency    twenty-five columns, then",
        "             1.25 ms, 20.0 % (of 3 MiB)",
        "             twenty-three columns is 12",
        "             seconds",
    ]


def test_a_pipe_gets_a_line_for_each_fact_with_its_label(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    piped = lines.Page()
    piped.say("label", "words " * 60)
    piped.say("label", "more")
    piped.facts([("key", "ok", "words " * 60, ""), ("key", "remedy", "more", "")])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "  label      " + ("words " * 60).rstrip(),
        "  label      more",
        "key  ok      " + ("words " * 60).rstrip(),
        "key  remedy  more",
    ]
    piped.say("label", "word" * 10_000)
    assert len(capsys.readouterr().out) < 1100


def test_facts_on_a_terminal_stand_in_columns(
    narrow: lines.Page, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow.facts(
        [
            ("CUDA", "absent", "no driver that this could use", ""),
            ("CUDA", "remedy", "install one", ""),
            ("Clock", "ok", "tsc", ""),
        ]
    )
    assert capsys.readouterr().out.splitlines() == [
        "CUDA   absent  no driver that this could",
        "               use",
        "       remedy  install one",
        "Clock  ok      tsc",
    ]


def test_a_table_shortens_names_before_numbers(
    narrow: lines.Page, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow.width = 36
    names = [f"model.encoder.{number}.attention.Add" for number in (7, 8)]
    columns = [
        lines.Column("own time", ["1.234 ms", "567.8 µs"]),
        lines.Column("calls", ["1", "1"]),
        lines.Column("op type", ["Add", "Add"], "<"),
    ]
    narrow.table(columns, lines.Column("node", names), spared=("calls", "op type"))
    assert capsys.readouterr().out.splitlines() == [
        "own time  op type  node",
        "1.234 ms  Add      model.…7.…Add",
        "567.8 µs  Add      model.…8.…Add",
        "no room for: calls",
    ]


def test_columns_are_padded_to_the_places_they_take() -> None:
    assert lines.column("op", ["节", "Gemm"], "<") == ["op  ", "节  ", "Gemm"]
    assert lines.column("op", ["节", "Gemm"], ">") == ["  op", "  节", "Gemm"]


@pytest.mark.parametrize(
    ("columns", "width"), [("120", 120), ("99999999", 1000), ("9" * 5000, 80), ("²", 80)]
)
def test_no_terminal_is_wider_than_one_can_be(
    monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((80, 25)))
    monkeypatch.setenv("TERM", "xterm")
    assert lines.Page().width == width
