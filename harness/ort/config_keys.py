"""Session config keys that nothing reads: ONNX Runtime accepts any key without complaint."""

from __future__ import annotations

import contextlib
import difflib
import mmap
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

#: Prefixes of the known keys.
_AREAS = ("session.", "optimization.", "ep.", "mlas.")

#: Documented keys that official builds do not hold as one string: the compiler inlined them.
_IN_PIECES = frozenset(
    {
        "ep.context_node_name_prefix",
        "ep.share_ep_contexts",
        "mlas.enable_gemm_fastmath_arm64_bfloat16",
        "session.allow_released_opsets_only",
        "session.model_external_initializers_file_folder_path",
        "session.use_ort_model_bytes_directly",
    }
)


def unread(keys: Collection[str], library: Path, others: Iterable[Path] = ()) -> dict[str, str]:
    """Keys whose text does not occur in any library, each with the most similar one that does.

    A key that a library assembles from parts is not found either, so not finding one is no
    reason to refuse it.

    Args:
        keys: as the user gave them.
        library: libonnxruntime.
        others: further libraries that may read keys of their own.

    Returns:
        By key not found, the most similar one that libonnxruntime knows; empty without any.
    """
    left = [key for key in keys if key not in _IN_PIECES]
    for path in (library, *others):
        if left:
            with _content(path) as content:
                left = [key for key in left if content.find(f"\0{key}\0".encode()) < 0]
    if not left:
        return {}
    with _content(library) as content:
        known = [*_IN_PIECES, *_known(content)]
    near = {key: difflib.get_close_matches(key, known, n=1) for key in left}
    return {key: found[0] if found else "" for key, found in near.items()}


@contextlib.contextmanager
def _content(path: Path) -> Iterator[mmap.mmap | bytes]:
    """Content of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # ValueError: it is empty
        yield b""
        return
    with content:
        yield content


def _known(content: mmap.mmap | bytes) -> Iterator[str]:
    """Keys among the constants of a library, each a whole C string."""
    for area in _AREAS:
        start = 0
        while (start := content.find(f"\0{area}".encode(), start)) >= 0:
            key = re.match(rb"[a-z0-9_.]+(?=\0)", content[start + 1 : start + 200])
            if key is not None and len(key[0]) > len(area):
                yield key[0].decode()
            start += 1
