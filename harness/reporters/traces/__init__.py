"""Every pass on one time axis, for trace viewers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from harness.records import Profile
from harness.reporters.exports.compressed import opened
from harness.reporters.traces import chrome, perfetto
from harness.reporters.traces.tracks import Intervals, Readings, batches


def write(profile: Profile, path: Path, form: Literal["chrome", "perfetto"]) -> int:
    """Writes every pass of a profile.

    Args:
        profile: what to write; ``harness.reporters.traces.tracks`` says what is drawn where.
        path: the file, compressed when its name ends in ``.gz``; replaced if it exists.
        form: Chrome's JSON, or Perfetto's own format.

    Returns:
        Number of intervals written.

    Raises:
        OSError: the file cannot be written.
    """
    intervals = 0

    def counted() -> Iterator[Intervals | Readings]:
        nonlocal intervals
        for batch in batches(profile):
            intervals += len(batch) if isinstance(batch, Intervals) else 0
            yield batch

    encoded = (
        chrome.encoded(profile, counted()) if form == "chrome" else perfetto.encoded(counted())
    )
    with opened(path) as out:
        out.writelines(encoded)
    return intervals


__all__ = ["write"]
