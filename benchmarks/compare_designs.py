"""Designs of ``compare`` side by side: false alarms, and planted changes found.

Every pair of occasions of one model is compared, once as it is, and with one side made slower by 1,
2, 5 and 10 %. Since pairs share occasions, the upper bound of a rate counts only as many pairs as
share none. Where the folder holds a chain and a longer one, the real change is counted, too.

``present`` compares medians of all processes; with the busy gate, and without it. ``A`` compares
the undisturbed latency, ``C`` also with a history: the first ten occasions, then left out.
``Welch`` is the t test on the processes' medians.

    python benchmarks/compare_designs.py [--machines N]
    python benchmarks/compare_designs.py FOLDER            of profiles (*.h5) or occ*.json
    python benchmarks/compare_designs.py --pack FOLDER     makes occasions.npz from occ*.json

Without a folder: the recorded occasions, then simulated machines, then histories of few occasions,
then the probabilities.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import occasion_data
import simulated_machines
from occasion_data import Occasion
from scipy import stats

from harness.statistics import undisturbed, verdicts
from harness.statistics.verdicts import Comparison, Verdict

#: Changes that are planted, in percent.
CHANGES = (1, 2, 5, 10)

#: Occasions that serve as history.
HISTORY = 10

#: Judges two occasions, the second slower by a shift of the logarithm, given a history.
Design = Callable[[Occasion, Occasion, float, Sequence[Occasion]], Verdict]


def present(one: Occasion, other: Occasion, shift: float, _: Sequence[Occasion]) -> Verdict:
    return verdicts.compare(one.present(), other.present(shift), same_occasion=False).verdict


def gated(one: Occasion, other: Occasion, shift: float, history: Sequence[Occasion]) -> Verdict:
    if one.unusable or other.unusable:
        return Verdict.UNDECIDED
    return present(one, other, shift, history)


def welch(one: Occasion, other: Occasion, shift: float, _: Sequence[Occasion]) -> Verdict:
    a, b = one.by_percent[50], other.by_percent[50] + shift
    if stats.ttest_ind(a, b, equal_var=False).pvalue >= 0.05:
        return Verdict.UNDECIDED
    return Verdict.SLOWER if b.mean() > a.mean() else Verdict.FASTER


def compared(
    one: Occasion,
    other: Occasion,
    shift: float,
    history: Sequence[Occasion],
    percent: int = undisturbed.PERCENT,
) -> Comparison:
    """What ``compare`` says of the undisturbed latency; with a history if there is one."""
    return undisturbed.compare(
        [one.undisturbed(percent)],
        [other.undisturbed(percent, shift)],
        history=[each.undisturbed(percent) for each in history],
    )


def design(percent: int, *, history: bool) -> Design:
    def judged(one: Occasion, other: Occasion, shift: float, known: Sequence[Occasion]) -> Verdict:
        if one.busy or other.busy:
            return Verdict.UNDECIDED
        return compared(one, other, shift, known if history else (), percent).verdict

    return judged


DESIGNS: dict[str, Design] = {
    "present": gated,
    "present, no busy gate": present,
    "Welch": welch,
    "A": design(undisturbed.PERCENT, history=False),
    "C": design(undisturbed.PERCENT, history=True),
}

#: The same with other percentiles of a process: the table that the choice is from.
OTHERS: dict[str, Design] = {
    f"{name} with p{percent}": design(percent, history=name == "C")
    for name in ("A", "C")
    for percent in occasion_data.PERCENTILES
    if percent != undisturbed.PERCENT
}


@dataclasses.dataclass(frozen=True)
class Counted:
    """Verdicts on all pairs.

    Attributes:
        pairs: how many.
        disjoint: how many share no occasion.
        alarms: of unchanged pairs called different.
        same: of unchanged pairs called SAME.
        found: by planted change in percent.
        real: real changes found, of how many.
    """

    pairs: int
    disjoint: int
    alarms: int
    same: int
    found: dict[int, int]
    real: tuple[int, int]

    @property
    def bound(self) -> float:
        """Upper end of the 95 % interval of the rate of false alarms (Clopper & Pearson 1934)."""
        alarms = math.ceil(self.alarms / self.pairs * self.disjoint)
        return float(stats.binomtest(alarms, self.disjoint).proportion_ci().high)


def count(
    judged: Design, occasions: Sequence[Occasion], slower: Sequence[Occasion] = ()
) -> Counted:
    """All pairs of the occasions after the history, each once, in turns forwards and backwards."""
    history, rest = occasions[:HISTORY], occasions[HISTORY:]
    pairs = [
        (rest[j], rest[k]) if (j + k) % 2 else (rest[k], rest[j])
        for j, k in itertools.combinations(range(len(rest)), 2)
    ]
    unchanged = [judged(one, other, 0.0, history) for one, other in pairs]
    real = [judged(one, other, 0.0, history) for one in rest for other in slower[HISTORY:]]
    return Counted(
        len(pairs),
        len(rest) // 2,
        sum(one in (Verdict.FASTER, Verdict.SLOWER) for one in unchanged),
        unchanged.count(Verdict.SAME),
        {
            change: sum(
                judged(one, other, math.log1p(change / 100), history) is Verdict.SLOWER
                for one, other in pairs
            )
            for change in CHANGES
        },
        (real.count(Verdict.SLOWER), len(real)),
    )


def print_designs(
    designs: dict[str, Design],
    occasions: Sequence[Occasion],
    slower: Sequence[Occasion] = (),
) -> None:
    heads = "".join(f"{f'+{change} %':>7}" for change in CHANGES)
    print(f"{'design':24}{'false':>7}{'at most':>9}{'SAME':>7}{heads}{'real':>7}")
    for name, judged in designs.items():
        found = count(judged, occasions, slower)
        rates = [found.same, *found.found.values()]
        real = f"{found.real[0] / found.real[1]:7.0%}" if found.real[1] else f"{'–':>7}"
        print(
            f"{name:24}{found.alarms / found.pairs:7.1%}{found.bound:9.1%}"
            + "".join(f"{one / found.pairs:7.0%}" for one in rates)
            + real,
            flush=True,
        )


def print_occasions(found: dict[str, list[Occasion]], *, others: bool) -> None:
    """The table of each model; a chain also against the longer one."""
    for name, occasions in found.items():
        if len(occasions) < HISTORY + 4:
            print(f"\n{name}: {len(occasions)} occasions are too few")
            continue
        rest = len(occasions) - HISTORY
        busy = sum(one.busy for one in occasions)
        print(
            f"\n{name}: {rest} occasions after {HISTORY} of history, {rest * (rest - 1) // 2} "
            f"pairs, {rest // 2} of them disjoint; {busy} occasions too busy"
        )
        sds = [
            np.std([undisturbed.faster(one.by_percent[p]).mean for one in occasions], ddof=1)
            for p in occasion_data.PERCENTILES
        ]
        told = ", ".join(
            f"p{p} {sd:.2%}" for p, sd in zip(occasion_data.PERCENTILES, sds, strict=True)
        )
        means = np.std([one.by_percent[50].mean() for one in occasions], ddof=1)
        speeds = np.std(
            [[undisturbed.faster(c, 1 / 4).mean for c in one.fastest.T] for one in occasions],
            axis=0, ddof=1,
        )  # fmt: skip
        print(
            f"deviation between occasions: mean of medians {means:.2%}; faster half {told}; "
            f"fastest quarter of the yardstick {', '.join(f'{sd:.2%}' for sd in speeds)}"
        )
        longer = {"chain": "chain + 5 %", "chain100": "chain105"}.get(name, "")
        print_designs(DESIGNS | (OTHERS if others else {}), occasions, found.get(longer, ()))


#: Machines, the reaction of the model, whether the yardstick is blind, and the reaction after the
#: history, if it is another one than during it.
SIMULATED: tuple[tuple[str, float, bool, float | None], ...] = (
    *((name, 1.0, False, None) for name in simulated_machines.MACHINES),
    ("AR(.99) 7%", 2.4, False, None),
    ("episodes 15%", 2.4, False, None),
    ("step 10%", 1.0, True, None),
    ("AR(.9) 3%", 1.0, False, 2.4),
    ("AR(.99) 7%", 1.0, False, 2.4),
)


def print_simulated(machines: int) -> None:
    """False alarms and changes found on simulated machines whose state is known."""
    for name, reaction, blind, later in SIMULATED:
        then = "" if later is None else f", after the history by {later:g}"
        blindly = ", yardstick blind" * blind
        print(f"\nsimulated: {name}, model reacts by {reaction:g}{then}{blindly}")
        heads = "".join(f"{f'+{change} %':>7}" for change in CHANGES)
        print(f"{'design':24}{'false':>7}{'SAME':>7}{heads}")
        series = [
            occasion_data.simulated(name, seed, reaction, blind=blind, later=later)
            for seed in range(machines)
        ]
        for label in ("present", "Welch", "A", "C"):
            counted = [count(DESIGNS[label], occasions) for occasions in series]
            pairs = sum(one.pairs for one in counted)
            rates = [sum(one.same for one in counted)]
            rates += [sum(one.found[change] for one in counted) for change in CHANGES]
            alarms = sum(one.alarms for one in counted) / pairs
            print(f"{label:24}{alarms:7.1%}" + "".join(f"{one / pairs:7.0%}" for one in rates))


#: Lengths of history that are tried on many machines each, and how many machines that is for each
#: of ``--machines``: what a few occasions tell differs much from one machine to the next.
LENGTHS = (0, 3, 4, HISTORY)
MANY = 75

#: Machines, the reaction of the model, and the deviation of what the yardstick does not see.
WITH_FEW: tuple[tuple[str, float, float], ...] = (
    ("quiet", 1.0, 0.0),
    ("AR(.9) 3%", 1.0, 0.0),
    ("AR(.99) 7%", 1.0, 0.0),
    ("AR(.99) 7%", 2.4, 0.0),
    ("walk 1%", 1.0, 0.0),
    ("step 10%", 1.0, 0.0),
    ("episodes 15%", 1.0, 0.0),
    ("episodes 15%", 2.4, 0.0),
    ("quiet", 1.0, 0.01),
    ("quiet", 1.0, 0.02),
    ("quiet", 1.0, 0.03),
    ("AR(.9) 3%", 1.0, 0.02),
    ("AR(.9) 3%", 1.0, 0.03),
)


def print_lengths(machines: int) -> None:
    """False alarms and changes of 5 % found, by the length of the history.

    Pairs of neighbours after the longest history, which share no occasion.
    """
    heads = "".join(f"{f'{length} occasions':>16}" for length in LENGTHS)
    print(f"\nhistory of … occasions: false alarms; +5 % found\n{'':36}{heads}")
    for name, reaction, unseen in WITH_FEW:
        alarms, found, pairs = dict.fromkeys(LENGTHS, 0), dict.fromkeys(LENGTHS, 0), 0
        for seed in range(machines * MANY):
            occasions = occasion_data.simulated(name, seed, reaction, unseen=unseen)
            rest = occasions[HISTORY:]
            for one, other in zip(rest[::2], rest[1::2], strict=True):
                pairs += 1
                for length in LENGTHS:
                    equal = compared(one, other, 0.0, occasions[:length]).verdict
                    alarms[length] += equal in (Verdict.FASTER, Verdict.SLOWER)
                    slower = compared(one, other, math.log1p(0.05), occasions[:length]).verdict
                    found[length] += slower is Verdict.SLOWER
        label = f"{name}, reacts by {reaction:g}" + f", unseen {unseen:.0%}" * (unseen > 0)
        cells = (f"{alarms[k] / pairs:.1%}; {found[k] / pairs:.0%}" for k in LENGTHS)
        print(f"{label:36}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def said(machine: str, machines: int, *, history: bool, sure: float = 0.9) -> tuple[int, int]:
    """Of statements with at least this probability, how many were right, and how many there were.

    True changes are normal with a deviation of 4 %: a third within 2 %, one in five beyond 5 %.
    """
    right = all_ = 0
    for seed in range(machines):
        occasions = occasion_data.simulated(machine, seed, 1.0)
        random = np.random.default_rng(1000 + seed)
        known, rest = occasions[:HISTORY] if history else (), occasions[HISTORY:]
        for one, other in itertools.combinations(rest, 2):
            change = float(random.normal(0, 0.04))
            found = compared(one, other, change, known)
            told = found.probability(verdicts.MARGIN)
            if told is None:
                continue
            limit = math.log1p(verdicts.MARGIN)
            truths = (change > limit, -limit <= change <= limit, change < -limit)
            for probability, truth in zip(dataclasses.astuple(told), truths, strict=True):
                if probability >= sure:
                    right, all_ = right + truth, all_ + 1
    return right, all_


def print_probabilities(machines: int) -> None:
    """How often statements with a probability of 0.9 or more are right."""
    print("\nof statements with P >= 0.9, right (how many were made), without and with a history:")
    for name in simulated_machines.MACHINES:
        cells = []
        for history in (False, True):
            right, made = said(name, machines, history=history)
            cells.append(f"{right / made:6.1%} ({made:5})" if made else f"{'–':>14}")
        print(f"{name:16}{cells[0]}   {cells[1]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--machines", type=int, default=4)
    parser.add_argument("--pack", type=Path)
    options = parser.parse_args()
    if options.pack is not None:
        occasion_data.pack(options.pack)
    elif options.folder is not None:
        original = any(options.folder.glob("occ*.json"))
        read = occasion_data.recorded if original else occasion_data.profiles
        print_occasions(read(options.folder), others=True)
    else:
        print_occasions(occasion_data.recorded(), others=True)
        print_simulated(options.machines)
        print_lengths(options.machines)
        print_probabilities(options.machines)


if __name__ == "__main__":
    main()
