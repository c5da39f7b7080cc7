"""Names in less room than they need."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from harness.reporters.names import pieces, shortened
from harness.reporters.wording import file_names
from harness.storage.profile_file import read_profile

LAYERS = [
    f"encoder.{layer}.{name}"
    for layer in range(4)
    for name in ("attention.value/MatMul", "attention.output.dense/MatMul", "output.dense/MatMul")
]


@pytest.mark.parametrize("width", [24, 20])
def test_what_names_share_goes_and_what_differs_stays(width: int) -> None:
    shown = shortened(LAYERS, width)
    assert len(set(shown)) == len(LAYERS)
    for name, text in zip(LAYERS, shown, strict=True):
        assert f"{name.split('.')[1]}." in text
        # Words that are there are whole.
        words = re.findall(r"\w+", name)
        assert all(word in words for word in re.findall(r"\w+", text)), text
    assert shown[0] == "…0.attention.value/…"


def test_a_label_of_several_nodes_keeps_what_tells_it_from_others() -> None:
    names = [
        f"backbone.stage{stage}.block{block}.convolution/Convolution +2"
        for stage in range(2)
        for block in range(3)
    ]
    shown = shortened(names, 20)
    assert len(set(shown)) == len(names)
    assert not any("~" in text for text in shown), shown


def test_a_name_that_fits_stays_as_it_is() -> None:
    assert shortened(["a/b/c", "much/longer/than/that"], 12) == ["a/b/c", "much/…that"]


@pytest.mark.parametrize(
    ("name", "width", "short"),
    [
        ("features.2.expand.conv/Conv +2", 16, "features.2.… +2"),
        ("lib/libonnxruntime.so.1.31.1", 16, "lib/…so.1.31.1"),
        ("SkipLayerNormalization", 14, "SkipLayer…"),
        ("DynamicQuantizeMatMul", 14, "Dynamic…MatMul"),
        ("abcdefghijkl", 6, "abc…kl"),
    ],
)
def test_words_and_numbers_stay_whole(name: str, width: int, short: str) -> None:
    assert shortened([name], width) == [short]


def test_what_no_word_tells_apart_is_numbered() -> None:
    names = ["a" * 40 + middle + "b" * 40 for middle in "xyz"]
    assert shortened(names, 9) == ["aaaa…bbbb", "aaa…bbb~2", "aaa…bbb~3"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.h5", "b/y.h5"], ["x.h5", "y.h5"]),
        (["/one/x.h5", "/two/x.h5"], ["one/x.h5", "two/x.h5"]),
        (["x.h5", "/two/x.h5"], ["x.h5", "two/x.h5"]),
        (["/a/one/x.h5", "/b/one/x.h5", "y.h5"], ["a/one/x.h5", "b/one/x.h5", "y.h5"]),
        (["a/x.h5", "a/x.h5"], ["x.h5", "x.h5"]),
        ([None, "a/x.h5"], ["not stored", "x.h5"]),
    ],
)
def test_files_of_one_name_are_told_apart_by_their_folders(
    paths: list[str | None], names: list[str]
) -> None:
    sample = read_profile(Path(__file__).parents[3] / "profiles" / "sample.h5")
    profiles = [
        dataclasses.replace(sample, path=None if path is None else Path(path)) for path in paths
    ]
    assert file_names(profiles) == names


NAMES = st.lists(st.text(st.sampled_from("ab1./_ :节"), max_size=60), max_size=12)


@given(NAMES, st.integers(8, 40))
def test_different_names_stay_different_and_fit(names: list[str], width: int) -> None:
    shown = shortened(names, width)
    assert all(cell_len(text) <= width for text in shown)
    assert len(set(shown)) == len(set(names))


@given(NAMES, st.integers(8, 40))
def test_pieces_are_the_whole_name(names: list[str], width: int) -> None:
    cut = pieces(names, width)
    assert ["".join(piece.text for piece in one) for one in cut] == names
    short = {"".join(piece.text if piece.kept else "…" for piece in one) for one in cut}
    assert len(short) == len(set(names))


@pytest.mark.parametrize(
    "name",
    ["a" + " +1" * 3_000, "é" * 300_000, "aB" * 300_000, "b/".join(map(str, range(40_000)))],
    ids=["counts", "one word", "capitals", "words"],
)
def test_names_without_end_are_cut_and_still_differ(name: str) -> None:
    names = [f"{name}{ending}" for ending in ("x", "y", " +1", " +2")]
    names.append(f"{name[:5000]}?{name[5000:]} +2")
    for width in (12, 40, 1000):
        shown = shortened(names, width)
        assert len(set(shown)) == len(names)
        assert all(cell_len(one) <= width for one in shown)
    assert shown[2].endswith(" +1")
    kept = ["".join(part.text for part in parts if part.kept) for parts in pieces(names[:4], 40)]
    assert all(len(one) <= 40 for one in kept)
