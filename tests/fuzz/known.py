"""Kinds of failures that the code still has; the only place that excuses one.

Whoever closes a kind takes its line out. Empty is the aim: then every failure is a new one.
"""

from __future__ import annotations

import fnmatch
from typing import NamedTuple


class Known(NamedTuple):
    """A kind: patterns of fnmatch for the reader and for ``Failure.key``, and the cause."""

    reader: str
    key: str
    reason: str


_UNCHECKED = "nothing checks lengths, types and indices of stored columns against each other"
_CLAIMED = "whatever length a dataset claims is read"
_RAW = "names and values reach the terminal as they are, and at any length"

KNOWN: tuple[Known, ...] = (
    Known("hdf5", "traceback |*", _UNCHECKED),
    Known("hdf5", "memory |*", f"{_CLAIMED}; a virtual dataset is its own source without end"),
    Known("hdf5", "signal |*", "a virtual dataset is its own source without end"),
    Known("hdf5", "time |*", "external storage may be a pipe; zeroed blocks make HDF5 spin"),
    Known("hdf5", "control bytes |*", _RAW),
    Known("hdf5", "endless line |*", _RAW),
    Known("hdf5", "forged line |*", _RAW),
    Known("hdf5", "half a file |*", "a report is written in place"),
    Known("shards", "traceback |*", _UNCHECKED),
    Known("shards", "memory |*", _CLAIMED),
    Known("shards", "time |*", "a pipe in a shard's place is opened"),
    Known("shards", "control bytes |*", _RAW),
    Known("shards", "endless line |*", _RAW),
    Known("shards", "forged line |*", _RAW),
    Known("shards", "half a file |*", _UNCHECKED),
    Known("onnx", "traceback |*", "damaged external data, types, names and ranks are not caught"),
    Known("onnx", "time |*", "external data may be a device or a pipe, and is read to its end"),
    Known("onnx", "memory |*", "nothing limits what a model takes"),
    Known("onnx-command", "*", "as for onnx; the worker's error ends the command with exit 1"),
    Known("ort-json", "traceback | OverflowError |*_int64", "times beyond int64"),
    Known("inputs", "traceback | BadZipFile |*", "of a damaged .npy, two errors are caught only"),
    Known("inputs", "traceback | TokenError |*", "of a damaged .npy, two errors are caught only"),
    Known("inputs", "traceback | *MemoryError |*", "a header may claim any number of elements"),
    Known("inputs", "traceback | *Error |*_read_npy", "of a damaged .npy, two errors are caught"),
    Known("inputs", "time |*", "a pipe in a file's place is opened"),
    Known("inputs", "memory |*", "a device in a file's place is read"),
    Known("command-line", "traceback |*", "--option=--, names too long or not UTF-8"),
    Known("command-line", "time |*", "a pipe in a profile's place is opened"),
    Known("command-line", "memory |*", "a device in a profile's place is read"),
    Known("command-line", "exit 1 |*", "--option=--, names too long or not UTF-8"),
    Known("command-line", "control bytes |*", _RAW),
    Known("command-line", "endless line |*", _RAW),
    Known("command-line", "forged line |*", _RAW),
    Known("command-line", "left behind |*", "ab leaves an empty folder profiles"),
    Known("command-line", "half a file |*", "a report is written in place"),
)


def reason(reader: str, key: str) -> str | None:
    """Why a failure is no news; None where it is."""
    for known in KNOWN:
        if fnmatch.fnmatchcase(reader, known.reader) and fnmatch.fnmatchcase(key, known.key):
            return known.reason
    return None
