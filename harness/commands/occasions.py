"""Other occasions of what is compared, as ``compare`` and ``report`` look for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.messages import reading
from harness.errors import RequestError

if TYPE_CHECKING:
    from harness.analysis.comparing.report import Report
    from harness.records import Profile


@dataclasses.dataclass(frozen=True, slots=True)
class Occasions:
    """Profiles of other occasions, read one after another: their samples may be gigabytes.

    Attributes:
        sides: profiles that are compared; the first is the baseline.
        files: of the others, the most welcome first.
        place: where they were looked for; empty if they were not.
        why_none: why they were not, or could not be; empty otherwise.
    """

    sides: tuple[Profile, ...] = ()
    files: tuple[Path, ...] = ()
    place: str = ""
    why_none: str = ""

    def __iter__(self) -> Iterator[Profile]:
        if not self.files:
            return iter(())
        from harness.analysis.comparing.history import others
        from harness.storage.profile_file import readable_profiles

        return others(self.sides[0], self.sides, readable_profiles(self.files))

    def told(self, report: Report) -> str:
        """How many of them a report has used, in one sentence; empty where none were looked for."""
        from harness.reporters.wording import counted

        if not self.place:
            return self.why_none
        used = max((len(one.history) for one in report.candidates), default=0)
        told = f"{counted(used, 'other profile')} of the same thing {self.place}"
        return f"{told}, of {len(self.files)} there" if used < len(self.files) else told


NOT_ASKED = Occasions(why_none="not asked for")


def other_occasions(sides: Sequence[Profile], named: Path | None = None) -> Occasions:
    """Profiles of other occasions of the first one: in a named folder, or beside it.

    Both sides of an ``ab`` are of one occasion, so that a history says nothing about them.

    Args:
        sides: profiles that are compared; the first is the baseline.
        named: folder that the user named.

    Raises:
        RequestError: it cannot be read, or was named where no history is used.
    """
    from harness.analysis.outlines import comparable_beside, outline_of

    base = sides[0]
    pairs = {one.asked.interleaved_with for one in sides}
    if pairs != {""} and len(pairs) == 1:
        if named is not None:
            raise RequestError(
                f"`history` {named}: the profiles are of one `ab`, so of one occasion",
                "drop the option",
            )
        return Occasions()
    folder = named or (base.path.parent if base.path is not None else None)
    if folder is None:
        return Occasions()
    try:
        beside = comparable_beside(
            outline_of(base), folder, without=list(map(outline_of, sides[1:])), announce=reading
        )
    except RequestError as error:
        if named is not None:
            raise RequestError(f"`history` {error.message}", "give `history` FOLDER") from error
        return Occasions(why_none=f"none was found: {error.message}")
    files = tuple(one.path for one in reversed(beside))
    return Occasions(tuple(sides), files, "in `history`" if named else "beside the base")
