"""What a model takes where nothing disturbs it, from processes that were disturbed now and then.

Others on a machine only ever add time, to some inferences and to some processes. Estimators that
look at the fast end are then far steadier than means and medians (Chen & Revels, Robust
Benchmarking in Noisy Environments, 2016, arXiv 1608.04295). They are blind to what is slow by the
model's own doing: a second state of some processes, a tail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.statistics.figures import Float64Array

#: Percentile of a process's samples: lower ones depend more on how many samples there are.
PERCENT = 25.0


def faster_half(durations_ns: Sequence[npt.NDArray[np.int64]]) -> Float64Array:
    """Lower quartiles of the faster half of the processes, the fastest first.

    Args:
        durations_ns: of the timed pass of each process, none of them empty; at least one.

    Returns:
        float64[half], ns: half of the processes, rounded up, and two of two or three.
    """
    quartiles = np.sort([np.percentile(one, PERCENT) for one in durations_ns])
    kept = min(max(2, math.ceil(len(quartiles) / 2)), len(quartiles))
    return np.asarray(quartiles[:kept], np.float64)
