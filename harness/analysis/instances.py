"""What the callers of a group did side by side: rates, efficiency, spread, memory.

The group is the unit of every interval, as a process is elsewhere. Rates are of what lay wholly in
the window: an instance's is its inferences over the span from its first start to its last end
there, and a group's is the sum of them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from harness.records import Instances, Profile
from harness.statistics.figures import Figure
from harness.statistics.intervals import t_interval, typical

#: Fewest inferences of an instance wholly inside a window that tell its rate.
LEAST_INFERENCES = 20

#: Starts further apart than this mark a group: its instances did not begin together.
MOST_SKEW_NS = 1_000_000

#: An instance stands out if its rate is surely below this share of what the others do.
SLOW_SHARE = 0.95

_Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceFigures:
    """One instance over all groups.

    Attributes:
        number: of the instance; of a single one with several callers, of the caller.
        cpus: it may use.
        memory: its memory policy; empty where not known.
        inferences_per_s: geometric mean over the groups.
        median_ns: likewise, of its latency.
        p99_ns: likewise, or why there is none.
        of_others: its rate as a share of the mean of the others, likewise; None if there is none.
        of_others_interval: of exactly that over groups; None with fewer than two.
        waiting: share of the windows that its calling threads waited for a CPU; None if not known.
        is_slow: whether the whole interval is below SLOW_SHARE.
    """

    number: int
    cpus: str
    memory: str
    inferences_per_s: float
    median_ns: float
    p99_ns: Figure
    of_others: float | None
    of_others_interval: tuple[float, float] | None
    waiting: float | None
    is_slow: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Together:
    """What a profile tells about callers side by side.

    Attributes:
        instances: sessions, each in a process of its own.
        callers: threads that call each of them.
        threads: of each session; 0 where ONNX Runtime chose.
        groups: how often all of this was started and measured.
        window_s: length of the common window, the shortest one.
        efficiency: rate of a group over that of as many which do not disturb each other, by the
            one measured alone in the same group; geometric mean over the groups.
        efficiency_interval: of exactly that; None with fewer than two groups.
        alone_per_s: rate of the one alone, in inferences a second, likewise.
        each: by number.
        spread: highest rate of an instance over the lowest one.
        skew_ns: time from the first instance's start to the last one's, the longest of all groups.
        marked: groups in which that was longer than MOST_SKEW_NS.
        overlap: share of the common window that all instances inferred in, the least of all groups.
        pss_bytes: memory of all instances together, mean over the groups.
        local_pages: share of it on the NUMA nodes of their CPUs, likewise.
        waiting: share of the window that a calling thread waited for a CPU, likewise.
    """

    instances: int
    callers: int
    threads: int
    groups: int
    window_s: float
    efficiency: Figure
    efficiency_interval: tuple[float, float] | None
    alone_per_s: Figure
    each: tuple[InstanceFigures, ...]
    spread: float
    skew_ns: int
    marked: int
    overlap: float
    pss_bytes: Figure
    local_pages: Figure
    waiting: Figure

    @property
    def slow(self) -> tuple[InstanceFigures, ...]:
        """The instances that stand out."""
        return tuple(one for one in self.each if one.is_slow)


def together(profile: Profile) -> Together | None:
    """What the callers of a profile did; None if there was one session with one caller."""
    rows = profile.instances
    if rows is None or not (rows.alone == 0).any():
        return None
    common = rows.alone == 0
    groups = np.unique(rows.process[common])
    callers = max(np.bincount(rows.instance[common & (rows.process == groups[0])]))
    instances = len(np.unique(rows.instance[common]))
    by = rows.instance if instances > 1 else rows.caller
    units = np.unique(by[common])
    why = {what.removeprefix("instances/"): reason for what, reason in profile.absent}
    rates = _rates(rows, np.flatnonzero(common), by, groups, units)
    alone = np.array([_rate(rows, ~common & (rows.process == group)) for group in groups])
    skews = [_extent(rows.start_ns[common & (rows.process == group)]) for group in groups]
    efficiency, alone_per_s = _efficiency(rates, alone)
    lasting = rows.end_ns[common] - rows.begin_ns[common]
    known = np.isfinite(rates).all(axis=1)
    means = _means(rates[known])
    shares = _of_others(rates[known])
    of_unit = _rows_of(by, common, units)
    return Together(
        instances=instances,
        callers=int(callers),
        threads=profile.asked.intra_threads or 0,
        groups=len(groups),
        window_s=float(lasting.min()) * 1e-9,
        efficiency=_typical(efficiency, _no_efficiency(rows)),
        efficiency_interval=t_interval(efficiency),
        alone_per_s=_typical(alone_per_s, "nothing was measured alone"),
        each=tuple(
            _one(rows, of_unit[column], int(unit), float(means[column]), shares[:, column])
            for column, unit in enumerate(units)
        ),
        spread=float(means.max() / means.min()) if known.any() else 1.0,
        skew_ns=max(skews),
        marked=sum(skew > MOST_SKEW_NS for skew in skews),
        overlap=min(_overlap(rows, common & (rows.process == group)) for group in groups),
        pss_bytes=_memory(rows, common, groups, why.get("pss_bytes")),
        local_pages=_local(rows, common, why.get("local_bytes")),
        waiting=_waiting(rows, common),
    )


def too_few(rows: Instances) -> str:
    """Why a rate is not told: an instance had too few inferences in a window; else empty."""
    counts = rows.inferences[rows.alone == 0]
    if not len(counts) or counts.min() >= LEAST_INFERENCES:
        return ""
    return (
        f"an instance had {counts.min()} inferences wholly inside the window, fewer than "
        f"{LEAST_INFERENCES}: use a longer `duration_s`"
    )


def _rate(rows: Instances, chosen: npt.NDArray[np.bool_]) -> float:
    """Inferences a second of these rows together; NaN if one of them has none."""
    spans = rows.done_ns[chosen] - rows.start_ns[chosen]
    counts = rows.inferences[chosen]
    if not len(counts) or (counts < 1).any() or (spans < 1).any():
        return float("nan")
    return float((counts * 1e9 / spans).sum())


def _rates(
    rows: Instances,
    common: npt.NDArray[np.intp],
    by: npt.NDArray[np.int32],
    groups: npt.NDArray[np.int32],
    units: npt.NDArray[np.int32],
) -> _Floats:
    """float64[groups, units]: rate of each; NaN where a caller has no inference, or is missing."""
    spans = (rows.done_ns - rows.start_ns)[common]
    counts = rows.inferences[common]
    ran = (counts > 0) & (spans > 0)
    each = np.full(len(common), np.nan)
    each[ran] = counts[ran] * 1e9 / spans[ran]
    found = np.full((len(groups), len(units)), np.nan)
    places = np.searchsorted(groups, rows.process[common]), np.searchsorted(units, by[common])
    found[places] = 0.0
    np.add.at(found, places, each)
    return found


def _of_others(rates: _Floats) -> _Floats:
    """float64[groups, units]: rate of each as a share of the mean of the others; no rows for one.

    Args:
        rates: likewise, all known.
    """
    several = rates.shape[1] - 1
    if not several:
        return np.empty((0, 1))
    others = (rates.sum(axis=1, keepdims=True) - rates) / several
    return np.asarray(rates / others)


def _rows_of(
    by: npt.NDArray[np.int32], common: npt.NDArray[np.bool_], units: npt.NDArray[np.int32]
) -> list[npt.NDArray[np.intp]]:
    """Rows of the common windows of each unit, in the order of the table."""
    rows = np.flatnonzero(common)
    rows = rows[np.argsort(by[rows], kind="stable")]
    return np.split(rows, np.searchsorted(by[rows], units)[1:])


def _efficiency(rates: _Floats, alone: _Floats) -> tuple[_Floats, _Floats]:
    """Of each group that has both: efficiency, and the rate alone."""
    whole = rates.sum(axis=1)
    both = np.isfinite(whole) & np.isfinite(alone)
    return whole[both] / (rates.shape[1] * alone[both]), alone[both]


def _no_efficiency(rows: Instances) -> str:
    if len(np.unique(rows.caller)) == 1:
        return "there is one caller"
    return "in no group were there inferences both together and alone"


def _typical(values: _Floats, reason: str) -> Figure:
    return Figure(typical(values)) if len(values) else Figure(None, reason)


def _means(rates: _Floats) -> _Floats:
    """Geometric mean of each column; 0 of none."""
    if not len(rates):
        return np.zeros(rates.shape[1])
    return np.asarray(np.exp(np.log(rates).mean(axis=0)))


def _extent(starts: npt.NDArray[np.int64]) -> int:
    """From the first to the last start; 0 where a caller made no inference."""
    started = starts[starts >= 0]
    return int(started.max() - started.min()) if len(started) else 0


def _overlap(rows: Instances, chosen: npt.NDArray[np.bool_]) -> float:
    started, done = rows.start_ns[chosen], rows.done_ns[chosen]
    if (started < 0).any():
        return 0.0
    length = int(rows.end_ns[chosen][0] - rows.begin_ns[chosen][0])
    return max(0.0, float(done.min() - started.max()) / max(length, 1))


def _one(
    rows: Instances,
    chosen: npt.NDArray[np.intp],
    unit: int,
    inferences_per_s: float,
    shares: _Floats,
) -> InstanceFigures:
    medians, tails = rows.median_ns[chosen], rows.p99_ns[chosen]
    interval = t_interval(shares)
    first = int(chosen[0])
    return InstanceFigures(
        number=unit,
        cpus=rows.cpus[first],
        memory=rows.memory[first],
        inferences_per_s=inferences_per_s,
        median_ns=typical(medians[medians > 0].astype(float)) if (medians > 0).any() else 0.0,
        p99_ns=_typical(tails.astype(float), "")
        if len(tails) and (tails > 0).all()
        else Figure(None, "fewer than 500 inferences in a window"),
        of_others=typical(shares) if len(shares) else None,
        of_others_interval=interval,
        waiting=_waiting(rows, chosen).value,
        is_slow=interval is not None and interval[1] < SLOW_SHARE,
    )


def _first_callers(rows: Instances, common: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """One row for each instance of each group: what is of a process is in the rows of all of its
    callers.
    """
    chosen = np.flatnonzero(common)
    pairs = np.stack([rows.process[chosen], rows.instance[chosen]], axis=1)
    _, firsts = np.unique(pairs, axis=0, return_index=True)
    return chosen[firsts]


def _memory(
    rows: Instances,
    common: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.int32],
    why: str | None,
) -> Figure:
    held = rows.pss_bytes[_first_callers(rows, common)]
    if (held < 0).any():
        return Figure(None, why or "the kernel does not tell it of each instance")
    return Figure(float(held.sum()) / len(groups))


def _local(rows: Instances, common: npt.NDArray[np.bool_], why: str | None) -> Figure:
    first = _first_callers(rows, common)
    local, pages = rows.local_bytes[first], rows.pages_bytes[first]
    if (local < 0).any() or (pages < 1).any():
        return Figure(None, why or "the kernel does not tell where the pages of each instance are")
    return Figure(float(local.sum() / pages.sum()))


def _waiting(rows: Instances, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Figure:
    waited = rows.cpu_wait_ns[chosen]
    if (waited < 0).any():
        return Figure(None, "the kernel does not count it")
    # Read from before the window until after it, so that it may be more than the whole.
    share = float((waited / (rows.end_ns[chosen] - rows.begin_ns[chosen])).mean())
    return Figure(min(share, 1.0))
