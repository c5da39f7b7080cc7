"""A profile as one page for a browser: self-contained, nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.analysis.comparing.report import Compared
from harness.records import Profile
from harness.reporters.html.page import page


def write(profiles: Sequence[Profile], path: Path, comparisons: Sequence[Compared] = ()) -> int:
    """Writes the page.

    Args:
        profiles: one or more; several are put side by side, the first as the base.
        path: the file; replaced if it exists.
        comparisons: of each profile but the first against the first; empty where none was
            made.

    Returns:
        Bytes written.

    Raises:
        OSError: the file cannot be written.
    """
    return path.write_bytes(page(profiles, comparisons).encode("utf-8"))


__all__ = ["page", "write"]
