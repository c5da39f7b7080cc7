"""Variants of models that cells measure: each is made once, beside the profiles of its sweep."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.config.profile import ProfileConfig
from harness.errors import HarnessError, RequestError, not_written
from harness.measuring.observer import Observer
from harness.measuring.variants import making
from harness.storage import holders, shards
from harness.storage.files import put_in_place
from harness.study.sweeps.cells import Cell
from harness.study.sweeps.settings import DEFAULT, VARIANT

#: Folder of the variants, in that of the sweep.
FOLDER = "variants"

#: Folders in it that variants are made in.
_ASIDE = re.compile(r"\..+-[a-z0-9_]{8}", re.ASCII)


def of_cell(cell: Cell) -> str:
    """The kind of variant that a cell measures; empty for the model as it is."""
    told = next((value for one, value in cell.all.items() if one.field == VARIANT), DEFAULT)
    return "" if told == DEFAULT else str(told)


def instead(config: ProfileConfig, cell: Cell, folder: Path) -> ProfileConfig:
    """The request with the variant's file in place of the model, where the cell measures one.

    Args:
        config: as the cell asks for it, of the model itself.
        cell: likewise.
        folder: of the sweep.
    """
    kind = of_cell(cell)
    if not kind:
        return config
    name = making.file_name(config.model, kind)
    held = f"{Path(name).stem}-{cell.model_id}.onnx"
    return dataclasses.replace(config, model=str(folder / FOLDER / held))


def provide(config: ProfileConfig, cell: Cell, observer: Observer) -> None:
    """Makes the variant of a cell unless an earlier cell has.

    A broken one is measured all the same: it is as fast as it is, and its profile tells its error.

    Args:
        config: the request, with the variant's file as its model.
        cell: that it is of.
        observer: is warned of a broken variant.

    Raises:
        HarnessError: it cannot be made.
        RequestError: the folder of variants is a link.
    """
    kind, path = of_cell(cell), Path(config.model)
    if not kind:
        return
    if path.parent.is_symlink():
        raise RequestError(
            f"{path.parent}: is a link: variants stay in the folder of their sweep",
            "delete the link, or choose another `output`",
        )
    if path.exists():
        return
    original = next(value for one, value in cell.all.items() if one.field == "model")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Aside: what a kill or another host has left under this name is in nobody's way.
        with _aside(path) as aside:
            made = making.make(
                original,
                kind,
                aside / path.name,
                # Of whatever batch: all cells of the variant share it.
                inputs=dataclasses.replace(config.inputs, batch=None),
                session=config.session,
            )
            _put_in_place(aside / path.name, path)
    except OSError as error:
        raise not_written(path, error) from error
    if made.broken:
        observer.warning(f"{kind} of {cell.model} is broken: {made.broken}; measured all the same")


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A folder beside a variant to make it in; held, so that nobody takes it for a leftover.

    Raises:
        OSError: it cannot be made.
        HarnessError: likewise.
    """
    aside = path.with_name(f".{path.stem[:32]}-{secrets.token_hex(4)}")
    # Held before it is there: nobody finds it without its holder.
    with holders.hold(_lock_file(aside), aside):
        aside.mkdir(mode=0o700)
        try:
            # By the folder as well, where the file system has no locks of files.
            with shards.hold(aside):
                yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _lock_file(aside: Path) -> Path:
    return aside.with_name(f"{aside.name}.lock")


def drop_leftovers(folder: Path) -> None:
    """Removes what a kill has left of variants that were being made; what is held stays.

    Args:
        folder: of the sweep.
    """
    variants = folder / FOLDER
    if variants.is_symlink() or not variants.is_dir():
        return
    names: set[str] = set()
    with contextlib.suppress(OSError):
        names = {path.name.removesuffix(".lock") for path in variants.iterdir()}
    for name in names:
        if not _ASIDE.fullmatch(name):
            continue
        path = variants / name
        # Refused where somebody holds it, or it is a link.
        with contextlib.suppress(HarnessError), holders.hold(_lock_file(path), path):
            if path.is_dir():
                with shards.hold(path):
                    shutil.rmtree(path, ignore_errors=True)


def _put_in_place(made: Path, path: Path) -> None:
    """Moves a variant to its place, its weights first, unless another host has finished it.

    A finished one stays as it is: cells that go on would take it for another model.

    Raises:
        OSError: it cannot be moved.
    """
    if path.exists():
        return
    weights, beside = (one.with_name(f"{one.name}.data") for one in (made, path))
    if weights.exists():
        put_in_place(weights, beside)
    else:
        beside.unlink(missing_ok=True)
    try:
        os.link(made, path)  # unlike renaming, this replaces nothing
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        put_in_place(made, path)
