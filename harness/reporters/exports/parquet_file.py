"""The inferences of a profile as Parquet, one per row; needs pyarrow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import MachineError
from harness.reporters.exports.samples import columns as column_names
from harness.reporters.exports.samples import parts

if TYPE_CHECKING:
    from pathlib import Path

    from harness.records import Profile


def write(profile: Profile, path: Path) -> int:
    """Writes every inference of the warm-up and of the timed pass.

    Args:
        profile: what to write; its model and provider go into the file's metadata.
        path: the file; replaced if it exists.

    Returns:
        Number of rows written.

    Raises:
        MachineError: pyarrow is not installed.
        OSError: the file cannot be written.
    """
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MachineError(
            "`parquet` needs pyarrow, which is not installed", "python -m pip install pyarrow"
        ) from error
    int64 = arrow.int64()
    text = arrow.dictionary(arrow.int32(), arrow.string())
    names = column_names(profile)
    types = (arrow.int32(), text, int64, int64, int64, arrow.int32())[: len(names)]
    metadata = {
        "model": profile.model.name,
        "model_sha256": profile.model.sha256,
        "provider": profile.provider,
        "runtime": profile.asked.runtime,
        "created": profile.created,
        "harness_version": profile.harness_version,
        "complete": str(int(profile.complete)),
    }
    schema = arrow.schema(list(zip(names, types, strict=True)), metadata=metadata)
    count = 0
    with parquet.ParquetWriter(str(path), schema) as out:
        for part in parts(profile):
            rows = len(part)
            columns = [
                np.full(rows, part.process, np.int32),
                arrow.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [part.name]),
                np.arange(part.first, part.first + rows, dtype=np.int64),
                part.start_ns,
                part.duration_ns,
            ]
            if part.caller is not None:
                columns.append(arrow.array(part.caller, mask=part.caller < 0))
            arrays = [arrow.array(one) if isinstance(one, np.ndarray) else one for one in columns]
            out.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            count += rows
    return count
