"""Other occasions of what is compared, as ``compare`` and ``report`` look for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.messages import reading
from harness.errors import ProfileFileError, RequestError

if TYPE_CHECKING:
    from harness.analysis.comparing.history import History
    from harness.records import Profile


def history_of(sides: Sequence[Profile], named: Path | None = None) -> History:
    """Profiles of other occasions of the first one: from a named folder, or from beside it.

    Both sides of an ``ab`` are of one occasion, so that a history says nothing about them.

    Args:
        sides: profiles that are compared; the first is the baseline.
        named: folder that the user named.

    Raises:
        RequestError: it cannot be read, or was named where no history is used.
    """
    from harness.analysis.comparing import history
    from harness.analysis.outlines import comparable_beside, outline_of

    base = sides[0]
    pairs = {one.asked.interleaved_with for one in sides}
    if pairs != {""} and len(pairs) == 1:
        if named is not None:
            raise RequestError(
                f"`history` {named}: the profiles are of one `ab`, so of one occasion",
                "drop the option",
            )
        return history.History()
    folder = named or (base.path.parent if base.path is not None else None)
    if folder is None:
        return history.History()
    if not folder.is_dir():
        raise RequestError(f"`history` {folder}: no such folder", "give `history` FOLDER")
    beside = comparable_beside(
        outline_of(base), folder, without=list(map(outline_of, sides[1:])), announce=reading
    )
    found = history.others(base, sides, _read(one.path for one in reversed(beside)))
    told = f"{len(found)} other profile{'s' * (len(found) != 1)} of the same thing"
    told += " in `history`" if named else " beside the base"
    if len(found) == history.MOST_OCCASIONS < len(beside):
        told += f", the newest of {len(beside)}"
    return history.History(tuple(found), told)


def _read(files: Iterable[Path]) -> Iterator[Profile]:
    """Each one that is a profile."""
    from harness.storage.profile_file import read_profile

    for file in files:
        try:
            yield read_profile(file)
        except (ProfileFileError, OSError):
            continue
