"""How long cells take: from the request before anything is known, then from what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.config.profile import ENERGY_IDLE_S, ProfileConfig
from harness.measuring.plan import PROCESS_OVERHEAD_S, TRACED_PROCESSES, Plan
from harness.measuring.rounds import Progress

#: Seconds until a model has been tried, calibrated and its graphs prepared, and until the ceilings
#: of the machine have been measured: of resnet50 on a 2-core EPYC.
PREPARATION_S = 5.0
CEILINGS_S = 8.0

#: Seconds of the traced passes of a process, likewise.
TRACED_S = 4.0

#: Seconds to join and write a profile.
STORING_S = 0.4


def of_request(config: ProfileConfig) -> float:
    """Roughly how many seconds a cell takes of whose model nothing is known.

    A slow model takes longer: three inferences at least are timed in each process.
    """
    processes = config.process_count
    # Warm-up is a quarter of the timed pass; the calibrating process takes as long as another one.
    each = 1.25 * config.timed_s + PROCESS_OVERHEAD_S + (ENERGY_IDLE_S if config.energy else 0)
    seconds = (processes + 1) * each + PREPARATION_S + STORING_S
    if config.trace:
        seconds += min(processes, TRACED_PROCESSES) * TRACED_S
        seconds += 0 if config.quick else CEILINGS_S
    return seconds


class Pace:
    """How long the processes of a cell take, by those that were measured in this command."""

    def __init__(self) -> None:
        self._taken_s = 0.0
        self._expected_s = 0.0

    def measured(self, plan: Plan, before: frozenset[int], after: frozenset[int], s: float) -> None:
        """So many seconds took the processes that are finished after, and were not before."""
        self._taken_s += s
        self._expected_s += sum(plan.expected_of(range(one, one + 1)) for one in after - before)

    @property
    def ratio(self) -> float | None:
        """Seconds taken over those expected; None before any was measured."""
        return self._taken_s / self._expected_s if self._expected_s else None

    def left_s(self, progress: Progress, otherwise: float) -> float:
        """Seconds that the missing processes will take.

        Args:
            progress: of the cell.
            otherwise: the ratio where none of this cell was measured.
        """
        missing = [one for one in range(progress.plan.processes) if one not in progress.finished]
        expected = sum(progress.plan.expected_of(range(one, one + 1)) for one in missing)
        ratio = self.ratio
        return expected * (otherwise if ratio is None else ratio) + STORING_S


def left_s(works: Sequence[tuple[ProfileConfig, Progress | None, Pace]]) -> float:
    """Seconds that all cells will still take.

    Args:
        works: of each cell that has not ended: its request, how far it is, or None where it has
            not begun, and how long its processes took.
    """
    ratios = [pace.ratio for _, _, pace in works if pace.ratio is not None]
    typical = float(np.median(ratios)) if ratios else 1.0
    return sum(
        of_request(config) if progress is None else pace.left_s(progress, typical)
        for config, progress, pace in works
    )
