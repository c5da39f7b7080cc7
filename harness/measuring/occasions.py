"""Several short profiles of one configuration, spread over time.

How much the median of a model varies from one occasion to the next on this machine is seen by
nothing but measuring it on several of them.
"""

from __future__ import annotations

import datetime
import math
import time
from pathlib import Path

from harness.config.profile import ProfileConfig
from harness.measuring.request import runs_on
from harness.storage.shards import partial_folder

#: Longest uninterrupted sleep: after a suspend the clock has moved on.
_NAP_S = 10.0


def new_file(config: ProfileConfig, folder: Path) -> Path:
    """A name for the next occasion in this folder that no file and no running profile has.

    Such as ``mlp-cpu-20261128T143000Z-calibrate.h5``; a second one of that second gets a number.
    """
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    stem = f"{Path(config.model).stem}-{runs_on(config)}-{stamp}-calibrate"
    path, number = folder / f"{stem}.h5", 1
    while path.exists() or partial_folder(path).exists():
        number += 1
        path = folder / f"{stem}-{number}.h5"
    return path


def next_due(began_s: float, every_s: float, now_s: float) -> float:
    """When the next occasion is due: a whole number of intervals after the first, and not past.

    An occasion that takes longer than the interval skips those that it overran.

    Args:
        began_s: when the first one began, in seconds of ``time.time``, as the others.
        every_s: the interval.
        now_s: the present.
    """
    return began_s + max(math.ceil((now_s - began_s) / every_s), 1) * every_s


def wait_until(due_s: float) -> None:
    """Sleeps until that moment of ``time.time``, of the clock on the wall."""
    while (left_s := due_s - time.time()) > 0:
        time.sleep(min(left_s, _NAP_S))
