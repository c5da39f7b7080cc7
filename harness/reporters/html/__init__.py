"""A profile as one self-contained page for a browser: it loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.analysis.comparing.report import Compared
from harness.records import Profile
from harness.reporters.html.page import page


def write(profiles: Sequence[Profile], path: Path, comparisons: Sequence[Compared] = ()) -> int:
    """Writes the page.

    Args:
        profiles: one or more; several are shown side by side, the first as the base.
        path: the file; replaced if it exists.
        comparisons: of each profile except the first against the first; empty if none was
            made.

    Returns:
        Bytes written.

    Raises:
        OSError: the file cannot be written.
    """
    return path.write_bytes(page(profiles, comparisons).encode("utf-8"))


__all__ = ["page", "write"]
