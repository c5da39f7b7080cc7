"""Two configurations measured in pairs of processes, until it is known whether they differ.

Drift of the machine falls on both members of a pair alike, and a fair coin draws their
order: whatever the machine does, it cannot tell the two apart (``harness.statistics.pairs``).
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
from harness.config.profile import ProfileConfig
from harness.errors import RequestError
from harness.measuring import spawning
from harness.measuring.observer import Observer
from harness.measuring.plan import Plan, equal_looks
from harness.measuring.profile import Measuring, interruptible, started
from harness.measuring.stopping import is_spent
from harness.records import ITEMS, Profile, Reading
from harness.statistics.pairs import Decision, decide
from harness.statistics.verdicts import DECIDED
from harness.storage import shards

#: Pairs whose processes make traced passes: enough for an interval of each operator, and
#: fewer than any decision needs, so that looking again and again does not choose how many.
TRACED_PAIRS = 5

#: Pairs that are traced however long it takes, and share of the budget after which no further
#: one is: with a slow model tracing would leave no time for the verdict.
LEAST_TRACED_PAIRS = 2
TRACING_SHARE = 0.5

#: Pairs beyond which a difference is too small for this to find.
MOST_PAIRS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What the pairs told.

    Attributes:
        decision: of the second configuration against the first.
        ended_by: why no further pair was measured: ``decided``; ``budget``; ``undecidable``, as
            the pairs contradict each other or there were ``MOST_PAIRS``.
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
    seed: int | None,
    observer: Observer,
    on_pair: Callable[[Decision], None],
) -> Outcome:
    """Measures both in turns and stores both profiles.

    Args:
        first: the base.
        second: what is compared with it; another output than the first's.
        margin: ratios from 1 / (1 + margin) to 1 + margin count as the same.
        budget_s: seconds of measuring after which no further pair is begun.
        seed: of the coin that draws the order within each pair; None for one that nobody
            knows beforehand. It is stored with both profiles.
        observer: told about the preparation of both.
        on_pair: told what is known after each pair.

    Of different batches the time of an item is compared.

    Raises:
        RequestError: the two are not fed inputs of the same shapes, the batch aside.
        HarnessError: as ``harness.profile`` does; what has finished is kept.
    """
    shared = uuid.uuid4().hex
    # The same order every time would put whatever the machine always does at first, such as
    # to cool down, on the same side every time.
    seed = secrets.randbits(32) if seed is None else seed
    configs = [
        dataclasses.replace(one, interleaved_with=shared, order_seed=seed)
        for one in (first, second)
    ]
    coin = np.random.default_rng(seed)
    with (
        interruptible(),
        started(configs[0], observer) as one,
        started(configs[1], observer) as other,
    ):
        items = items_apart(*(_items(side) for side in (one, other)))
        unlike = unlike_inputs(one.preparation.inputs, other.preparation.inputs, items)
        if unlike:
            raise RequestError(unlike, "give both the same `shapes`, `dims` or `batch`")
        plans = equal_looks(one.plan, other.plan)
        sides = (_Side(one, plans[0]), _Side(other, plans[1]))
        log_items = math.log(items[1] / items[0])
        with one.kept(), other.kept():
            began_s = time.monotonic()
            differences: list[float] = []
            while True:
                pair = len(differences)
                trace = traced(pair, (time.monotonic() - began_s) / budget_s)
                for number in (0, 1) if coin.random() < 0.5 else (1, 0):
                    sides[number].measure(pair, trace=trace)
                differences.append(math.log(sides[1].median_ns / sides[0].median_ns) - log_items)
                decision = decide(np.array(differences), margin=margin, budget=MOST_PAIRS)
                on_pair(decision)
                elapsed_s = time.monotonic() - began_s
                if not decision.go_on:
                    ended_by = "decided" if decision.verdict in DECIDED else "undecidable"
                    break
                if is_spent(budget_s, elapsed_s, len(differences)):
                    ended_by = "budget"
                    break
        return Outcome(decision, ended_by, (one.store(), other.store()))


def traced(pair: int, spent: float) -> bool:
    """Whether the processes of a pair make traced passes after so much of the budget."""
    return pair < LEAST_TRACED_PAIRS or (pair < TRACED_PAIRS and spent < TRACING_SHARE)


def _nobody_waits(_finished: int) -> None:
    """Progress is told pair by pair."""


def _items(measuring: Measuring) -> Reading:
    return next(fact for fact in measuring.preparation.facts if fact.name == ITEMS)


class _Side:
    """One of the two, measured process by process.

    Attributes:
        medians_ns: of the processes so far.
    """

    def __init__(self, measuring: Measuring, plan: Plan) -> None:
        self._measuring = measuring
        self._plan = dataclasses.replace(plan, processes=1)
        self.medians_ns: list[float] = []

    @property
    def median_ns(self) -> float:
        """Of the last process."""
        return self.medians_ns[-1]

    def measure(self, pair: int, *, trace: bool) -> None:
        """Measures the process of this number."""
        plan = self._plan
        if not trace:
            plan = dataclasses.replace(plan, trace_inferences=0, probe_inferences=0)
        spawning.measure(self._measuring.job, plan, _nobody_waits, first=pair)
        process = shards.read_shard(self._measuring.partial, pair).process
        self.medians_ns.append(float(np.median(process.steady.duration_ns)))
