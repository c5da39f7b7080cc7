"""Files that are compressed if their name says so."""

from __future__ import annotations

import contextlib
import gzip
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, compressed if its name ends in ``.gz``; replaced if it exists.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("wb") as out:
        if path.suffix != ".gz":
            yield out
            return
        # Level 1: most of the saving for the least time.
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, filename="") as packed:
            yield cast("IO[bytes]", packed)
