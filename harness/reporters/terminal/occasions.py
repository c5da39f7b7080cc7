"""How much the occasions of one configuration differ: what ``calibrate`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.analysis.outlines import medians_of
from harness.records import NOISE, Outline
from harness.reporters.numbers import nanoseconds
from harness.reporters.terminal.lines import Page
from harness.reporters.wording import counted


def print_occasions(
    folder: Path, taken: Sequence[Path], seen: Sequence[Outline], spread: float | None
) -> None:
    """Prints the new files, and the spread of all occasions so far.

    Args:
        folder: of the profiles.
        taken: files of the occasions that have just been measured.
        seen: all occasions of this configuration in the folder, the new ones included; not empty.
        spread: between them; None with one.
    """
    page = Page()
    page.title(seen[-1].model, f" on {seen[-1].provider}, {counted(len(seen), 'occasion')}")
    for path in taken:
        page.say("file", str(path))
    medians = medians_of(seen)
    if spread is None:
        page.say("spread", "not known: one occasion cannot show how much occasions differ")
    else:
        page.say(
            "spread",
            f"{spread:.2%} between {counted(len(seen), 'occasion')} in {folder} (standard "
            f"deviation of their medians, {nanoseconds(min(medians))} to "
            f"{nanoseconds(max(medians))})",
        )
    verdicts = Counter(str(one.facts.get(NOISE, "of unknown noise")) for one in seen)
    if set(verdicts) != {"quiet"}:
        page.say("noise", ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
