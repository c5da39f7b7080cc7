"""Two configurations measured in pairs of processes, until it is known whether they differ.

Drift of the machine affects both members of a pair alike, and a fair coin draws their order:
whatever the machine does, it cannot favour one of them (``harness.statistics.pairs``).
"""

from __future__ import annotations

import dataclasses
import math
import secrets
import time
import uuid
from collections.abc import Callable

import numpy as np

from harness.analysis.comparing.differences import items_apart, unlike_inputs
from harness.analysis.throughput import time_per_inference_ns
from harness.config.profile import ProfileConfig
from harness.errors import RequestError
from harness.measuring import foreign, spawning
from harness.measuring.observer import Observer
from harness.measuring.plan import Plan, equal_looks
from harness.measuring.profile import Measuring, interruptible, started
from harness.measuring.stopwatch import Stopwatch
from harness.records import ITEMS, ProcessRecord, Profile, Reading
from harness.statistics.pairs import Decision, decide, fewest_pairs
from harness.statistics.verdicts import DECIDED, Verdict
from harness.storage import shards

#: Pairs whose processes make traced passes: as many as are fewer than any decision needs, so that
#: their number does not depend on when the comparison stops. Compared by pairs, seven find what
#: five on either side found on a machine at rest, and far more where it drifts (docs/METHODS.md).
TRACED_PAIRS = 7

#: Pairs that are always traced, and the share of the budget after which no more are: with a
#: slow model, tracing would leave no time for the verdict.
LEAST_TRACED_PAIRS = 2
TRACING_SHARE = 0.5

#: Probability of a wrong verdict.
CHANCE_OF_ERROR = 0.05

#: Pairs after which to give up: a difference still undecided is too small to find this way.
MOST_PAIRS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a comparison in pairs.

    Attributes:
        decision: about the second configuration against the first.
        ended_by: why measuring stopped: ``decided``; ``budget``; ``undecidable``, because the
            pairs contradict each other or ``MOST_PAIRS`` was reached.
        profiles: of both configurations, as they were stored.
    """

    decision: Decision
    ended_by: str
    profiles: tuple[Profile, Profile]


def ab(
    first: ProfileConfig,
    second: ProfileConfig,
    *,
    margin: float,
    budget_s: float,
    threshold: float | None = None,
    seed: int | None,
    observer: Observer,
    on_pair: Callable[[Decision], None],
) -> Outcome:
    """Measures both configurations in turns and stores both profiles.

    With different batch sizes, the time per item is compared.

    Args:
        first: the baseline.
        second: what is compared with it; its output must differ from the first's.
        margin: ratios from 1 / (1 + margin) to 1 + margin count as the same.
        budget_s: seconds of measuring after which no further pair is begun.
        threshold: a ratio; when the verdict is SLOWER, measuring goes on until it is known on
            which side of this ratio the difference lies. None to stop at the verdict.
        seed: of the coin that draws the order within each pair; None for a random one. It is
            stored with both profiles.
        observer: receives the preparation of both, and the least time a decision takes.
        on_pair: called with the decision so far after each pair.

    Raises:
        RequestError: the inputs of the two differ in shape other than in batch size, or the
            budget is too small for any decision.
        HarnessError: as ``harness.profile`` does; finished processes are kept.
    """
    shared = uuid.uuid4().hex
    # With a fixed order, anything the machine does at the start of each pair, such as cooling
    # down, would always fall on the same side.
    seed = secrets.randbits(32) if seed is None else seed
    configs = [
        dataclasses.replace(one, interleaved_with=shared, order_seed=seed)
        for one in (first, second)
    ]
    for each in configs:
        foreign.settled(each)  # what cannot be had is said before the first is prepared
    coin = np.random.default_rng(seed)
    with (
        interruptible(),
        started(configs[0], observer, Stopwatch()) as one,
        started(configs[1], observer, Stopwatch()) as other,
    ):
        items = items_apart(*(_items(side) for side in (one, other)))
        unlike = unlike_inputs(one.preparation.inputs, other.preparation.inputs, items)
        if unlike:
            raise RequestError(unlike, "give both the same `shapes`, `dims` or `batch`")
        plans = equal_looks(one.plan, other.plan)
        _require_budget(budget_s, plans, observer)
        # What is compared of callers side by side is what they reach together.
        figure = _median_ns
        if first.is_group or second.is_group:
            figure = time_per_inference_ns
        sides = (_Side(one, plans[0], figure), _Side(other, plans[1], figure))
        log_items = math.log(items[1] / items[0])
        with one.kept(), other.kept():
            began_s = time.monotonic()
            differences: list[float] = []
            while True:
                pair = len(differences)
                pair_began_s = time.monotonic()
                trace = traced(pair, (time.monotonic() - began_s) / budget_s)
                for number in (0, 1) if coin.random() < 0.5 else (1, 0):
                    sides[number].measure(pair, trace=trace)
                differences.append(math.log(sides[1].last_ns / sides[0].last_ns) - log_items)
                decision = decide(
                    np.array(differences),
                    margin=margin,
                    alpha=CHANCE_OF_ERROR,
                    budget=MOST_PAIRS,
                )
                on_pair(decision)
                now_s = time.monotonic()
                if not decision.go_on and not is_between(decision, threshold):
                    ended_by = "decided" if decision.verdict in DECIDED else "undecidable"
                    break
                # The last pair, not the average: the first ones are traced and take longer.
                if now_s - began_s + (now_s - pair_began_s) > budget_s:
                    ended_by = "budget"
                    break
        return Outcome(decision, ended_by, (one.store(), other.store()))


def _require_budget(budget_s: float, plans: tuple[Plan, Plan], observer: Observer) -> None:
    """Reports the least time a decision takes; refuses a budget below it."""
    pairs = fewest_pairs(CHANCE_OF_ERROR)
    least_s = sum(
        pairs * plan.timed_process_s + LEAST_TRACED_PAIRS * (plan.probed_s + plan.profiled_s)
        for plan in plans
    )
    observer.pairs_planned(pairs, least_s)
    if budget_s < least_s:
        raise RequestError(
            f"`budget_s` {budget_s:g}: a decision takes at least {pairs} pairs of processes, "
            f"about {least_s:.0f} s",
            f"give `budget_s` {math.ceil(least_s)} or more, or both a shorter `duration_s`",
        )


def is_between(decision: Decision, threshold: float | None) -> bool:
    """Whether it is slower, but more pairs are needed to know on which side of the threshold."""
    if threshold is None or decision.verdict != Verdict.SLOWER or decision.interval is None:
        return False
    low, high = decision.interval
    return low <= threshold < high and decision.pairs < MOST_PAIRS


def traced(pair: int, spent: float) -> bool:
    """Whether the processes of a pair make traced passes, given the share of the budget spent."""
    return pair < LEAST_TRACED_PAIRS or (pair < TRACED_PAIRS and spent < TRACING_SHARE)


def _nobody_waits(_finished: int) -> None:
    """Ignores single processes: progress is reported pair by pair."""


def _items(measuring: Measuring) -> Reading:
    return next(fact for fact in measuring.preparation.facts if fact.name == ITEMS)


def _median_ns(process: ProcessRecord) -> float:
    return float(np.median(process.steady.duration_ns))


class _Side:
    """One of the two configurations, measured process by process.

    Args:
        measuring: the configuration, prepared.
        plan: of its processes.
        figure: what is compared of a process.

    Attributes:
        last_ns: the figure of the last process.
    """

    def __init__(
        self, measuring: Measuring, plan: Plan, figure: Callable[[ProcessRecord], float]
    ) -> None:
        self._measuring = measuring
        self._plan = dataclasses.replace(plan, processes=1)
        self._figure = figure
        self.last_ns = math.nan

    def measure(self, pair: int, *, trace: bool) -> None:
        """Measures the process with this index."""
        traced = frozenset({pair} if trace else ())
        plan = dataclasses.replace(self._plan, traced=traced, profiled=traced)
        clock = self._measuring.clock
        spawning.measure(self._measuring.job, plan, _nobody_waits, clock, first=pair)
        process = shards.read_shard(self._measuring.partial, pair).process
        self.last_ns = self._figure(process)
