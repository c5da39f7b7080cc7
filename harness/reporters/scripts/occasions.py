"""How much the occasions of one configuration differ: what ``calibrate --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.analysis.comparing.history import Learned
from harness.options import worded
from harness.records import Outline, Profile
from harness.reporters.scripts.strict import json_text


def occasions_text(
    folder: Path, taken: Sequence[Profile], seen: Sequence[Outline], learned: Learned
) -> str:
    """What ``calibrate --json`` prints.

    Args:
        folder: of the profiles.
        taken: occasions that have just been measured.
        seen: all occasions of this configuration in the folder, the new ones included.
        learned: from them, or the newest of them.
    """
    report: dict[str, Any] = {
        "folder": str(folder),
        "files": [str(one.path) for one in taken],
        "occasions": [str(one.path) for one in seen],
        "used": [str(one.path) for one in learned.profiles],
        "undisturbed_ns": learned.undisturbed_ns.tolist(),
        "occasion_sd": learned.occasion_sd.value,
    }
    if learned.occasion_sd.value is None:
        report["occasion_sd_reason"] = worded(learned.occasion_sd.reason)
    return json_text(report)
