"""The inferences of a profile as CSV, one per row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reporters.exports.compressed import opened
from harness.reporters.exports.samples import COLUMNS, parts

if TYPE_CHECKING:
    from pathlib import Path

    from harness.records import Profile


def write(profile: Profile, path: Path) -> int:
    """Writes every inference of the warm-up and of the timed pass.

    Args:
        profile: what to write.
        path: the file, compressed if its name ends in ``.gz``; replaced if it exists.

    Returns:
        Number of rows written, not counting the header.

    Raises:
        OSError: the file cannot be written.
    """
    count = 0
    with opened(path) as out:
        out.write((",".join(COLUMNS) + "\n").encode())
        for part in parts(profile):
            place = f"{part.process},{part.name}"
            rows = zip(part.start_ns.tolist(), part.duration_ns.tolist(), strict=True)
            lines = [
                f"{place},{number},{start_ns},{duration_ns}\n"
                for number, (start_ns, duration_ns) in enumerate(rows, part.first)
            ]
            out.write("".join(lines).encode())
            count += len(part)
    return count
