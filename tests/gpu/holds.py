"""What the tests on a GPU require of figures: apart from them, so that bad figures can try it.

Each function raises AssertionError with what is wrong. test_holds.py feeds them what must not pass.
"""

from __future__ import annotations

import numpy as np

from harness.analysis.device_time import DeviceTime
from harness.analysis.energy import Energy
from harness.analysis.operators.table import OperatorTable
from harness.records import GpuTimeline, KernelEvents

#: By how much the energies of counter and power may differ. On an H200 they did by 0.1 % where the
#: passes were long enough for the meter, by 6 % where they were not.
COUNTER_AND_POWER = 0.10

#: The least share of the GPU's time that belongs to nodes, by model and batch: what an H200 had
#: when outputs were still copied to the host outside of all nodes. Of tessera none was recorded.
JOINED = {
    ("mlp", 1): 0.87,
    ("mlp", 32): 0.91,
    ("bert-small", 1): 0.98,
    ("bert-small", 32): 0.71,
    ("resnet50", 1): 0.995,
    ("resnet50", 32): 0.995,
}
JOINED_OF_OTHERS = 0.9

#: All that a node can be found to be bound by.
CLASSES = {
    "compute-bound", "memory-bound", "overhead-bound", "launch-bound", "small", "copy", "host",
    "unknown",
}  # fmt: skip

#: The least share of the device's busy and idle time in nodes of a class other than unknown, of an
#: inference of batch 1. There the GPU of the recordings was idle for more than half of the time,
#: which classes nodes without any ceilings.
CLASSED = 0.5


def require_energy(told: Energy) -> None:
    """A figure, with its interval, a verdict that its causes bear out, and meters that agree."""
    joules = told.joules.value
    assert joules is not None, told.joules.reason
    assert joules > 0, f"{joules} J"
    assert told.interval_j is not None, "no interval"
    low, high = told.interval_j
    assert low <= joules <= high, f"{joules} J is outside of {low} to {high} J"
    expected = "doubtful" if told.causes else "trusted"
    assert told.verdict == expected, f"{told.verdict} with the causes {told.causes}"
    counter, power = told.counter_j, told.power_j
    assert counter.value is not None or counter.reason, "no counter, and no reason"
    assert power.value is not None or power.reason, "no power, and no reason"
    if counter.value is not None and power.value is not None:
        apart = power.value / counter.value - 1
        assert abs(apart) <= COUNTER_AND_POWER, f"power and counter are apart by {apart:+.0%}"


def require_device(told: DeviceTime) -> None:
    """Parts that are times, of which none is negative, and checks of the split that were made."""
    accounts = told.accounts
    for name, least_ns in (("before", 1), ("busy", 1), ("idle", 0), ("after", 0)):
        value_ns = getattr(accounts, f"{name}_ns")
        assert value_ns >= least_ns, f"{name} {value_ns} ns"
    assert accounts.launches >= 1, "nothing was launched"
    caused_ns = told.nodes.idle_ns
    assert caused_ns is not None, "no idle time of nodes"
    idle_ns = float(caused_ns.sum()) + accounts.unjoined_idle_ns
    assert abs(idle_ns - accounts.idle_ns) <= 1, (
        f"nodes cause {idle_ns} ns idle of {accounts.idle_ns}"
    )
    checks = accounts.checks
    assert checks.apart is not None, checks.reason


def require_joined(
    case: tuple[str, int],
    joined: float,
    kernels: KernelEvents,
    timeline: GpuTimeline,
    unjoined: float,
) -> list[str]:
    """All of the GPU's time joined, or each launch that is not named, a copy, and counted alike.

    Args:
        case: model and batch.
        joined: share of the time.
        kernels: of the pass with node marks.
        timeline: of the pass for times alone.
        unjoined: launches of no node that the accounts have.

    Returns:
        the launches that belong to no node.
    """
    launches = timeline.launches
    first = int(launches.process.min())
    left = np.flatnonzero((launches.node < 0) & (launches.process == first)).tolist()
    named = [f"{launches.kind[row]} {launches.name[row]}" for row in left]
    assert len(left) == unjoined, f"{len(left)} launches are named, {unjoined} are counted"
    within = kernels.inference >= 0
    keys = kernels.process.astype(np.int64) << 32 | kernels.inference
    inferences = len(np.unique(keys[within]))
    marked = np.count_nonzero(within & (kernels.node < 0)) / max(inferences, 1)
    assert marked == len(left), f"{marked} launches of no node with marks, {len(left)} without"
    assert bool(left) == (joined < 1), f"{joined:.2%} joined, {named} of no node"
    assert kernels.unjoined_reason or not left, "no reason"
    others = [what for what in named if what.split()[0] not in ("memcpy", "memset")]
    assert not others, f"kernels of no node: {others}"
    least = JOINED.get(case, JOINED_OF_OTHERS)
    assert joined >= least, f"{joined:.2%} joined, not {least:.1%}"
    return named


def classed(table: OperatorTable) -> float:
    """Share of the device's busy and idle time in nodes of a class other than unknown."""
    times = [(row.bound, (row.kernel_ns or 0) + (row.idle_ns or 0)) for row in table.operators]
    whole = sum(time_ns for _, time_ns in times)
    return sum(time_ns for bound, time_ns in times if bound != "unknown") / max(whole, 1e-9)


def require_classes(table: OperatorTable) -> None:
    """Classes that exist, with the reason of each, and the unknown ones not too many."""
    strange = {row.bound for row in table.operators} - CLASSES
    assert not strange, f"no such class: {sorted(strange)}"
    without = [row.label for row in table.operators if not row.why]
    assert not without, f"classes without a reason: {without}"
    share = classed(table)
    assert share >= CLASSED, f"{share:.0%} of the device's time is in nodes of a known class"
