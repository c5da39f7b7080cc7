"""Records whose columns are read when they are touched, against the plain ones."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from harness.errors import ProfileFileError
from harness.records import LatencySeries
from harness.storage.columns import CHUNK_ROWS, Column, ProfileFile
from harness.storage.lazy_columns import stored

ROWS = CHUNK_ROWS + 10
PLAIN = LatencySeries(np.arange(ROWS), np.arange(ROWS) * 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "series.h5", "w") as file:
        file.create_dataset("start_ns", data=PLAIN.start_ns, chunks=(1000,), compression="gzip")
        file.create_dataset("duration_ns", data=PLAIN.duration_ns)
    return tmp_path / "series.h5"


def series(path: Path, rows: slice = slice(None)) -> LatencySeries:
    file = ProfileFile(path)
    with file.opened() as opened:
        columns = {
            name: Column(file, (f"/{name}",), 0, len(opened[name])).part(rows)
            for name in ("start_ns", "duration_ns")
        }
    return stored(LatencySeries, columns, len(range(*rows.indices(ROWS))))


def equal(one: LatencySeries, other: LatencySeries) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(LatencySeries)
    )


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(place, rows) of every column that is read from now on."""
    seen: list[tuple[str, int]] = []
    read = Column.read

    def counted(column: Column) -> Any:
        seen.append((column.places[0], column.length))
        return read(column)

    monkeypatch.setattr(Column, "read", counted)
    return seen


def test_a_column_is_read_when_it_is_touched_and_only_once(
    path: Path, reads: list[tuple[str, int]]
) -> None:
    long = series(path)
    assert (len(long), reads) == (ROWS, [])
    assert long.duration_ns[-1] == 3 * (ROWS - 1)
    assert long.duration_ns is long.duration_ns
    assert reads == [("/duration_ns", ROWS)]


def test_what_is_short_is_an_ordinary_record_and_read_at_once(
    path: Path, reads: list[tuple[str, int]]
) -> None:
    short = series(path, slice(CHUNK_ROWS))
    assert type(short) is LatencySeries
    assert len(reads) == 2


def test_a_part_is_read_alone(path: Path, reads: list[tuple[str, int]]) -> None:
    part = series(path).part(slice(5, 12)).part(slice(1, None))
    assert (len(part), reads) == (6, [])
    assert part.start_ns.tolist() == [6, 7, 8, 9, 10, 11]
    assert reads == [("/start_ns", 6)]


def test_it_passes_for_the_plain_record(path: Path) -> None:
    long = series(path)
    assert isinstance(long, LatencySeries)
    assert repr(long) == repr(PLAIN)
    with pytest.raises(AttributeError, match="LatencySeries has no attribute median"):
        long.median  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(dataclasses.FrozenInstanceError):
        long.start_ns = PLAIN.start_ns  # type: ignore[misc]


@pytest.mark.parametrize(
    "copied",
    [
        pytest.param(lambda long: pickle.loads(pickle.dumps(long)), id="pickle"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(dataclasses.replace, id="replace"),
    ],
)
def test_a_copy_is_plain_whole_and_needs_no_file(path: Path, copied: Any) -> None:
    long = series(path)
    made = copied(long)
    path.unlink()
    assert type(made) is LatencySeries
    assert equal(made, PLAIN)


def test_replacing_one_column_reads_the_others(path: Path) -> None:
    changed = dataclasses.replace(series(path), duration_ns=PLAIN.start_ns)
    assert type(changed) is LatencySeries
    assert np.array_equal(changed.start_ns, PLAIN.start_ns)
    assert np.array_equal(changed.duration_ns, PLAIN.start_ns)


def test_damage_is_told_when_the_column_is_touched(path: Path) -> None:
    with h5py.File(path) as file:
        chunk = file["start_ns"].id.get_chunk_info(0)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\xff" * chunk.size)
    long = series(path)
    assert long.duration_ns[1] == 3
    with pytest.raises(ProfileFileError, match="damaged"):
        long.start_ns  # noqa: B018
