"""How much the occasions of one configuration differ: what ``calibrate`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.analysis.comparing.history import Learned
from harness.options import worded
from harness.records import NOISE, Outline
from harness.reporters.numbers import nanoseconds
from harness.reporters.terminal.lines import Page
from harness.reporters.wording import UNDISTURBED, counted


def print_occasions(
    folder: Path, taken: Sequence[Path], seen: Sequence[Outline], learned: Learned
) -> None:
    """Prints the new files, and how much all occasions so far differ.

    Args:
        folder: of the profiles.
        taken: files of the occasions that have just been measured.
        seen: all occasions of this configuration in the folder, the new ones included; not empty.
        learned: from them, or the newest of them.
    """
    page = Page()
    page.title(seen[-1].model, f" on {seen[-1].provider}, {counted(len(seen), 'occasion')}")
    for path in taken:
        page.say("file", str(path))
    deviation, used = learned.occasion_sd, len(learned.profiles)
    if deviation.value is None:
        page.say("deviation", f"not known: {worded(deviation.reason)}")
    else:
        low, high = map(nanoseconds, (min(learned.undisturbed_ns), max(learned.undisturbed_ns)))
        page.say(
            "deviation",
            f"{deviation.value:.2%} between {counted(used, 'occasion')} in {folder} ({low} to "
            f"{high}), beyond what the yardstick explains: compare allows for it",
        )
        page.say("latency", UNDISTURBED)
    if used < len(seen):
        page.say("used", f"{used} of {len(seen)}: compare takes the newest of two processes or "
                         "more, of machines that were not too busy")  # fmt: skip
    verdicts = Counter(str(one.facts.get(NOISE, "of unknown noise")) for one in seen)
    if set(verdicts) != {"quiet"}:
        page.say("noise", ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
