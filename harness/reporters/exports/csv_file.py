"""The inferences of a profile as CSV, one per row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reporters.exports.compressed import opened
from harness.reporters.exports.samples import columns, parts

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
        out.write((",".join(columns(profile)) + "\n").encode())
        for part in parts(profile):
            place = f"{part.process},{part.name}"
            last = [""] * len(part)
            if part.caller is not None:
                last = [f",{one}" if one >= 0 else "," for one in part.caller.tolist()]
            rows = zip(part.start_ns.tolist(), part.duration_ns.tolist(), last, strict=True)
            lines = [
                f"{place},{number},{start_ns},{duration_ns}{caller}\n"
                for number, (start_ns, duration_ns, caller) in enumerate(rows, part.first)
            ]
            out.write("".join(lines).encode())
            count += len(part)
    return count
