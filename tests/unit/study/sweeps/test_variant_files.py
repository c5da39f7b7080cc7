"""Variants of a sweep: made once, whatever a kill or another host has left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("harness.native.ort", reason="the native module is not built")

from harness.config.profile import ProfileConfig
from harness.errors import MachineError, RequestError
from harness.measuring.observer import Observer
from harness.options import words
from harness.study.sweeps import state, variant_files
from harness.study.sweeps.cells import Cell, cells_of
from harness.study.sweeps.plan import read_plan

#: Parts of a made-up variant.
MODEL, WEIGHTS = b"model", b"weights"


class Made:
    """What ``making.make`` tells."""

    broken = ""


@pytest.fixture
def cell() -> Cell:
    axes = [("model", ["mlp"]), ("variant", ["fp16"])]
    return cells_of(read_plan(None, words(), axes))[0]


@pytest.fixture
def config(tmp_path: Path, cell: Cell) -> ProfileConfig:
    return variant_files.instead(ProfileConfig(model="mlp"), cell, tmp_path)


def beside(config: ProfileConfig) -> Path:
    return Path(f"{config.model}.data")


def test_weights_that_a_kill_left_are_in_nobodys_way(cell: Cell, config: ProfileConfig) -> None:
    beside(config).parent.mkdir()
    beside(config).write_bytes(b"of a variant that was never finished")
    variant_files.provide(config, cell, Observer())
    assert [path.name for path in Path(config.model).parent.iterdir()] == [Path(config.model).name]


def test_what_a_kill_left_of_a_variant_is_removed_and_what_is_being_made_stays(
    tmp_path: Path, cell: Cell, config: ProfileConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = Path(config.model).parent
    for name in (".mlp-fp16-0123abcd", ".mlp-fp16-a_bcdefg"):
        (variants / name).mkdir(parents=True)
        (variants / name / "large.onnx").write_bytes(WEIGHTS)
    (variants / ".mlp-fp16-0123abcd.lock").touch()
    (variants / ".mlp-fp16-89abcdef.lock").touch()
    (variants / "mine.onnx").write_bytes(MODEL)
    (variants / ".mlp-link-01234567").symlink_to(tmp_path)

    def make(_model: str, _kind: str, out: Path, **_: Any) -> type[Made]:
        out.write_bytes(MODEL)
        state.drop_leftovers(tmp_path, [])
        assert out.exists()
        return Made

    monkeypatch.setattr(variant_files.making, "make", make)
    variant_files.provide(config, cell, Observer())
    assert {path.name for path in variants.iterdir()} == {
        "mine.onnx", ".mlp-link-01234567", Path(config.model).name
    }  # fmt: skip
    # Whoever follows a link removes what is not the sweep's.
    kept = tmp_path / "elsewhere"
    (kept / ".mlp-fp16-0123abcd").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / variant_files.FOLDER).symlink_to(kept)
    state.drop_leftovers(tmp_path / "other", [])
    assert (kept / ".mlp-fp16-0123abcd").exists()


def test_a_link_in_place_of_the_folder_of_variants_is_not_followed(
    tmp_path: Path, cell: Cell, config: ProfileConfig
) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(config.model).parent.symlink_to(tmp_path / "elsewhere")
    for _ in range(2):  # with a file there that would be taken for the variant, too
        with pytest.raises(RequestError, match="variants: is a link"):
            variant_files.provide(config, cell, Observer())
        (tmp_path / "elsewhere" / Path(config.model).name).write_bytes(MODEL)


def large(out: Path) -> None:
    out.write_bytes(MODEL)
    out.with_name(f"{out.name}.data").write_bytes(WEIGHTS)


def test_weights_that_a_kill_left_are_replaced(
    cell: Cell, config: ProfileConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(_model: str, _kind: str, out: Path, **_: Any) -> type[Made]:
        large(out)
        return Made

    monkeypatch.setattr(variant_files.making, "make", make)
    beside(config).parent.mkdir()
    beside(config).write_bytes(b"of a variant that was never finished")
    variant_files.provide(config, cell, Observer())
    assert (Path(config.model).read_bytes(), beside(config).read_bytes()) == (MODEL, WEIGHTS)
    assert len(list(Path(config.model).parent.iterdir())) == 2


@pytest.mark.parametrize("links", [True, False])
def test_what_another_host_has_finished_meanwhile_stays_as_it_is(
    cell: Cell, config: ProfileConfig, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    path = Path(config.model)

    def make(_model: str, _kind: str, out: Path, **_: Any) -> type[Made]:
        large(out)
        large(path)
        for one in (path, beside(config)):
            os.utime(one, ns=(1, 1))
        return Made

    def no_links(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(variant_files.making, "make", make)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    variant_files.provide(config, cell, Observer())
    assert {one.stat().st_mtime_ns for one in path.parent.iterdir()} == {1}
    variant_files.provide(config, cell, Observer())
    assert len(list(path.parent.iterdir())) == 2
    # Without the other one, it is put in place with links or without.
    path.unlink()
    monkeypatch.setattr(variant_files.making, "make", lambda *a, **_: (large(a[2]), Made)[1])
    variant_files.provide(config, cell, Observer())
    assert path.read_bytes() == MODEL


def test_a_variant_for_which_there_is_no_room_is_told(
    cell: Cell, config: ProfileConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(variant_files.making, "make", make)
    with pytest.raises(MachineError, match="no room to write it"):
        variant_files.provide(config, cell, Observer())
