"""Ratios, speed-ups and curves of a study, from rows with planted figures."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.noise import NoiseVerdict
from harness.reporters.html import study as html
from harness.reporters.scripts.study import COLUMNS, figures, study_csv
from harness.reporters.study_words import answers, money
from harness.reporters.terminal.study import print_study
from harness.statistics.figures import Figure
from harness.statistics.occasions import MEDIAN_OCCASION_SD
from harness.statistics.verdicts import Side
from harness.study import ratios
from harness.study.figures import Study, study
from harness.study.joining import Joined
from harness.study.prices import Offer, Prices
from harness.study.ratios import LATENCY, RATE, figure, ratio, winner
from harness.study.rows import GPU, OperatorTypes, Row, Turns
from harness.study.winners import COST, Winner
from tests.builders.study_rows import row


def of(*rows: Row, prices: Prices | None = None) -> Study:
    return study(Joined(rows, (), (), (), ()), prices)


def test_a_figure_includes_what_occasions_differ_by() -> None:
    low, high = figure([row(10.0)], LATENCY).interval or (0, 0)
    assert low < 10e6 < high
    # One occasion: at least the normal 95 % of the deviation that is assumed between occasions.
    assert math.log(high / 10e6) > 1.95 * MEDIAN_OCCASION_SD
    many = [row(10.0, name=f"{k}") for k in range(8)]
    narrow = figure(many, LATENCY).interval or (0, 0)
    assert math.log(narrow[1] / narrow[0]) < math.log(high / low) / 2


def test_occasions_that_differ_by_more_widen_it() -> None:
    calm = figure([row(10.0 + 0.01 * k, name=f"{k}") for k in range(6)], LATENCY)
    wild = figure([row(10.0 * 1.2**k, name=f"{k}") for k in range(6)], LATENCY)
    widths = [math.log(one.interval[1] / one.interval[0]) for one in (calm, wild) if one.interval]
    assert widths[1] > 3 * widths[0]


def test_ratios_of_latency_and_throughput_are_inverse_to_each_other() -> None:
    slow, fast = [row(20.0)], [row(10.0)]
    latency, rate = ratio(slow, fast, LATENCY), ratio(slow, fast, RATE)
    assert latency.value == pytest.approx(0.5)
    assert rate.value == pytest.approx(2.0)
    assert latency.interval is not None
    assert rate.interval is not None
    # Throughput is held to a smaller deviation between occasions, or an equal one.
    assert rate.interval[0] < 2 < rate.interval[1]
    back = ratio(fast, slow, RATE)
    assert back.interval is not None
    assert back.interval == pytest.approx((1 / rate.interval[1], 1 / rate.interval[0]))


def test_a_profile_against_itself_is_no_ratio() -> None:
    one = row(1.0)
    assert ratio([one], [one], LATENCY).value is None


def by_turns(
    *ratios: float, starts: tuple[Sequence[int], Sequence[int]], boots: tuple[str, str] = ("a", "a")
) -> tuple[Row, Row]:
    """Two cells on a machine that takes longer and longer: the second by these ratios."""
    machine = np.log(1e6) + 0.3 * np.arange(len(ratios))
    one, other = (
        row(
            1.0, name=f"{boots} {k}", sides={"latency_ns": Side(logs)}, log_rate=np.log(1e9) - logs,
            turns=Turns(clock=boots[k], start_ns=dict(enumerate(starts[k]))),
        )
        for k, logs in enumerate((machine, machine + np.log(ratios)))
    )  # fmt: skip
    return one, other


#: The second cell comes after the first, before it, …, in each of five rounds.
IN_ROUNDS = ((0, 11, 20, 31, 40), (1, 10, 21, 30, 41))


@pytest.mark.parametrize("which", [LATENCY, RATE])
def test_cells_of_one_sweep_are_compared_round_by_round(which: str) -> None:
    one, other = by_turns(1.05, 1.06, 1.04, 1.05, 1.05, starts=IN_ROUNDS)
    found = ratio([one], [other], which)
    expected = 1.05 if which == LATENCY else 1 / 1.05
    assert found.value == pytest.approx(expected, abs=1e-3)
    assert winner(found) == (1 if which == LATENCY else -1)
    assert found.interval is not None
    assert found.interval[0] < expected < found.interval[1]
    assert "in 5 rounds" in found.basis
    assert ratio([other], [one], which).value == pytest.approx(1 / expected, abs=1e-3)


@pytest.mark.parametrize(
    ("starts", "boots"),
    [
        (((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)), ("a", "a")),  # one after the other
        (((0, 10, 20, 30, 40), (1, 11, 21, 41, 50)), ("a", "a")),  # a turn of one after the next
        (IN_ROUNDS, ("a", "b")),  # after another boot, the clock begins anew
        (IN_ROUNDS, ("", "")),  # no sweep, or a file that does not tell
    ],
)
def test_what_was_not_measured_by_turns_is_not_paired(
    starts: tuple[Sequence[int], Sequence[int]], boots: tuple[str, str]
) -> None:
    one, other = by_turns(1.05, 1.06, 1.04, 1.05, 1.05, starts=starts, boots=boots)
    found = ratio([one], [other], LATENCY)
    assert "rounds" not in found.basis
    assert winner(found) == 0


def test_both_sides_of_an_ab_are_compared_in_pairs() -> None:
    one, other = by_turns(1.05, 1.06, 1.04, 1.05, 1.05, starts=IN_ROUNDS, boots=("", ""))
    one, other = (
        dataclasses.replace(each, turns=dataclasses.replace(each.turns, pairs="together"))
        for each in (one, other)
    )
    assert winner(ratio([one], [other], LATENCY)) == 1


def test_a_process_that_was_lost_costs_its_pair_alone() -> None:
    one, other = by_turns(
        1.05, 9.0, 1.04, 1.06, 1.05, 1.05, starts=((*IN_ROUNDS[0], 51), (*IN_ROUNDS[1], 50))
    )
    kept = [0, 2, 3, 4, 5]
    short = dataclasses.replace(
        other,
        sides={"latency_ns": Side(other.sides["latency_ns"].log_figure[kept])},
        turns=dataclasses.replace(other.turns, start_ns={k: other.turns.start_ns[k] for k in kept}),
    )
    found = ratio([one], [short], LATENCY)
    assert found.value == pytest.approx(1.05, abs=1e-3)
    assert "in 5 rounds" in found.basis


def test_between_machines_the_yardstick_is_left_out() -> None:
    """It tells that they differ, which is what is asked."""
    sides = {}
    for machine, speed in (("box", 1.0), ("other", 3.0)):
        planted = row(10.0, machine=machine)
        side = planted.sides["latency_ns"]
        yardstick = np.log(np.full((len(side.log_figure), 1), speed))
        sides[machine] = row(
            10.0, machine=machine,
            sides={"latency_ns": type(side)(side.log_figure, yardstick)},
        )  # fmt: skip
    found = ratio([sides["box"]], [sides["other"]], LATENCY)
    assert found.interval is not None
    assert math.log(found.interval[1] / found.interval[0]) < 0.6  # not widened by log 3
    here = row(10.0, sides=sides["other"].sides, name="second")
    same = ratio([sides["box"]], [here], LATENCY)
    assert same.interval is not None
    assert math.log(same.interval[1] / same.interval[0]) > math.log(3)


def test_a_crossover_over_the_batch() -> None:
    rows = []
    for batch in (1, 2, 4, 8, 16, 32):
        rows += [row(batch * 1.0, batch=batch), row(4.0 + batch / 100, kind=GPU, batch=batch)]
    (found,) = of(*rows).crossovers
    assert (found.crossing.kind, found.crossing.low, found.crossing.high) == ("between", 2, 8)
    assert found.crossing.at == pytest.approx(4, rel=0.1)
    sentence = answers(of(*rows))[0].sentence
    assert "the CPU is faster up to batch 2, from batch 8 on the GPU" in sentence


def test_a_crossover_of_each_sequence_length() -> None:
    rows = [
        row(time, kind=kind, batch=batch, shapes=(f"{batch}x{length}",))
        for length, gpu_ms in ((128, 5.0), (512, 1.0))
        for batch in (1, 8)
        for kind, time in (("cpu", 2.0 * batch), (GPU, gpu_ms))
    ]
    kinds = [one.crossing.kind for one in of(*rows).crossovers]
    assert kinds == ["between", "never"]


def test_a_variant_is_held_against_its_model_with_inputs_of_the_same_length() -> None:
    rows = [
        row(10.0, shapes=("1x128",)), row(40.0, shapes=("1x512",)),
        row(30.0, shapes=("1x512",), variant="int8-dynamic", sha256="01"),
    ]  # fmt: skip
    (found,) = of(*rows).variants
    assert found.speed_up.value == pytest.approx(4 / 3)


def test_a_knee_without_intervals_is_not_told_as_sure() -> None:
    rows = [row(8.0 / n, threads=n, processes=1) for n in (1, 2, 4, 8)]
    (found,) = of(*rows).scalings
    assert (found.knee.threads, found.knee.earliest, found.knee.latest) == (8, 1, 8)
    assert answers(of(*rows)) == ()


def test_the_ratio_lies_within_its_interval_however_many_processes_an_occasion_has() -> None:
    few, many = row(10.0, processes=2, name="few"), row(40.0, processes=50, name="many")
    for which in (LATENCY, RATE):
        found = ratio([row(10.0)], [few, many], which)
        assert found.value is not None
        assert found.interval is not None
        assert found.interval[0] < found.value < found.interval[1]


def test_within_the_margin_nobody_wins() -> None:
    one, other = by_turns(1.004, 1.005, 1.003, 1.004, 1.004, starts=IN_ROUNDS)
    found = ratio([one], [other], LATENCY)
    assert found.interval is not None
    assert found.interval[0] > 1
    assert winner(found) == 0


def test_a_setting_without_an_interval_that_may_be_better_leaves_no_sure_winner() -> None:
    rows = [row(5.0), row(10.0, kind=GPU),
            row(1.0, kind=GPU, provider="tensorrt", options=("fp16=1",), processes=1)]  # fmt: skip
    found = of(*rows)
    (latency,) = [one for one in found.winners if one.which == LATENCY]
    assert latency.winner is None
    assert "may be better" in found.speed_ups[0].latency.doubt
    assert answers(found) == ()


def test_rounds_of_several_processes_are_compared_by_their_means() -> None:
    starts: tuple[list[int], list[int]] = ([], [])
    for current in range(5):
        for place, side in enumerate((0, 1) if current % 2 else (1, 0)):
            at = 100 * current + 50 * place
            starts[side].extend((at, at + 10))
    one, other = by_turns(*(1.05, 1.06) * 5, starts=starts)
    found = ratio([one], [other], LATENCY)
    assert "in 5 rounds" in found.basis
    assert found.value == pytest.approx(1.055, abs=1e-3)


def test_sweeps_of_several_days_differ_from_one_to_the_next_too() -> None:
    days = [
        by_turns(*(each + 0.001 * k for k in range(5)), starts=IN_ROUNDS, boots=(day, day))
        for day, each in (("a", 1.05), ("b", 1.20), ("c", 1.35))
    ]
    first = ratio([days[0][0]], [days[0][1]], LATENCY)
    all_days = ratio([one for one, _ in days], [other for _, other in days], LATENCY)
    assert first.interval is not None
    assert all_days.interval is not None
    assert all_days.interval[0] < 1.05
    assert all_days.interval[1] > 1.35
    assert "in 15 rounds" in all_days.basis


def test_both_sides_of_an_ab_of_the_same_are_one_occasion() -> None:
    one, other = by_turns(1.0, 1.01, 0.99, 1.0, 1.01, starts=IN_ROUNDS)
    pair = [
        dataclasses.replace(each, turns=dataclasses.replace(each.turns, pairs="together"))
        for each in (one, other)
    ]
    (found,) = of(*pair).measured
    assert len(found.rows) == 1


def test_a_machine_that_waited_tells_no_throughput() -> None:
    waits = row(10.0, noise=NoiseVerdict("disturbed", (), waited=0.2))
    assert "waited 20%" in figure([waits], RATE).doubt
    assert not figure([waits], LATENCY).doubt


def test_a_busy_machine_tells_nothing_in_rounds_either() -> None:
    one, other = by_turns(1.05, 1.06, 1.04, 1.05, 1.05, starts=IN_ROUNDS)
    noisy = NoiseVerdict("unusable", (), waited=0.5, unusable=("median", "throughput"))
    found = ratio([one], [dataclasses.replace(other, noise=noisy)], LATENCY)
    assert found.interval is not None
    assert winner(found) == 0
    assert "too busy" in found.doubt
    group = row(1.0, instances=2, efficiency=Figure(0.6), efficiency_interval=(0.5, 0.7),
                noise=noisy)  # fmt: skip
    (told,) = of(row(2.0), group).instances
    assert "too busy" in told.efficiency.doubt


def test_two_occasions_that_contradict_each_other_are_doubtful() -> None:
    alike, apart = ([row(10.0), row(each, name="again")] for each in (11.0, 18.0))
    for which in (LATENCY, RATE):
        assert not figure(alike, which).doubt
        assert "differ by 80%" in figure(apart, which).doubt
    assert winner(ratio(apart, [row(3.0)], LATENCY)) == 0


def test_equal_devices_of_several_machines_are_told_apart_by_their_names() -> None:
    rows = [row(10.0), row(5.0, machine="new box", name="2")]
    (found,) = of(*rows).speed_ups
    assert {found.base.short, found.other.short} == {"Xeon of box", "Xeon of new box"}
    assert "new box" in answers(of(*rows))[0].sentence


def test_machines_of_one_make_are_named_where_they_did_the_same_work() -> None:
    rows = [
        row(each, machine=f"Xeon, 16 CPUs ({k})", make="Xeon, 16 CPUs", name=str(k))
        for k, each in ((1, 10.0), (2, 1.0))
    ]
    (found,) = of(*rows).speed_ups
    assert found.base.short == "Xeon of Xeon, 16 CPUs (1)"
    assert "Xeon of Xeon, 16 CPUs (2) is faster" in answers(of(*rows))[0].sentence
    # Where they did not, whose figure it is goes without saying.
    apart = of(rows[0], dataclasses.replace(rows[1], setting=row(1.0, batch=8).setting))
    assert {one.contender.short for one in apart.measured} == {"Xeon"}


def test_threads_of_one_seed_are_one_curve() -> None:
    seeds = [
        row(value, threads=threads, configuration=seed, name=f"{seed}{threads}")
        for seed, threads, value in (("a", 1, 100.0), ("a", 2, 50.0), ("a", 4, 26.0), ("b", 1, 4.0))
    ]
    (found,) = of(*seeds).scalings
    assert [threads for threads, _ in found.points] == [1, 2, 4]
    assert found.points[0][1].latency.value == pytest.approx(100e6)


@pytest.mark.parametrize("numbers", [(0, 10**8), (0, 60_000), tuple(range(9_999))])
def test_no_number_of_a_process_costs_time_or_memory(numbers: tuple[int, ...]) -> None:
    turns = Turns(clock="a", start_ns={number: -number for number in numbers})
    one, other = (row(1.0, name=name, turns=turns) for name in "ab")
    assert ratios.by_turns(one, other) == []


def test_a_broken_variant_beats_nothing() -> None:
    rows = [row(10.0), row(1.0, variant="prune-channels:0.9 (broken)", sha256="02")]
    ((one, kept),) = of(*rows).frontier
    assert (one.case.variant, kept) == ("", True)


def test_sessions_that_make_the_winner_unsure_are_not_told_to_change_nothing() -> None:
    rows = [
        row(10.0, threads=1), row(10.0 / 6, kind=GPU),
        row(10.0, threads=1, instances=8, rate=590.0),
    ]  # fmt: skip
    told = answers(of(*rows))
    assert any(one.sentence.startswith("Sessions side by side") for one in told)
    assert not any("do not change" in one.sentence for one in told)


def test_a_winner_of_three_devices_beats_both_others() -> None:
    cpus = [row(10.0), row(6.0, machine="other", device="EPYC")]
    (latency, _) = of(*cpus, row(3.0, kind=GPU)).winners
    assert latency.winner is not None
    assert latency.winner.kind == GPU
    assert latency.leads[0].value == pytest.approx(2.0)
    (close, _) = of(*cpus, row(5.9, kind=GPU)).winners
    assert close.winner is None
    told = answers(of(*cpus, row(3.0, kind=GPU)))[0].sentence
    assert "the GPU is faster for m (batch 1: 2 times)" in told


def threads(count: int, **more: object) -> Row:
    """Amdahl's law with a tenth that is serial: 1 / (0.1 + 0.9 / n)."""
    time = 10 * (0.1 + 0.9 / count)
    told = OperatorTypes({"MatMul": 9e6 / count, "Loop": 1e6}, 1e4, time * 1e6, 0.001, "")
    return row(time, threads=count, operators=told, **more)


def test_the_knee_over_threads_and_the_operator_that_stops() -> None:
    (found,) = of(*map(threads, (1, 2, 4, 8, 16, 32, 64, 128))).scalings
    # 128 threads do 9.34 times the work of one; nine tenths are 8.4: 64 threads (8.77).
    assert found.knee.threads == 64
    assert found.knee.earliest <= 64 <= found.knee.latest
    stops = {one.name: one.stops_at for one in found.operators}
    assert stops == {"MatMul": None, "Loop": 1}
    for count, together, told in found.accounts:
        assert together + told.framework_ns == pytest.approx(told.clean_ns, rel=0.02), count


def test_threads_that_ort_chose_are_no_point_of_a_curve() -> None:
    assert not of(threads(1), row(3.0, threads=0)).scalings


def test_instances_against_the_best_and_against_one_of_as_many_threads() -> None:
    rows = [
        row(10.0, threads=8), row(40.0, threads=1),
        row(50.0, threads=1, instances=8, rate=160.0),
    ]  # fmt: skip
    (found,) = of(*rows).instances
    assert found.gain.value == pytest.approx(1.6)
    assert found.efficiency.value == pytest.approx(160 / (8 * 25))
    told = answers(of(*rows))
    assert "1.6 times the items a second of the best single session" in told[0].sentence


def test_instances_that_turn_the_winner() -> None:
    rows = [row(10.0, threads=8), row(50.0, threads=1, instances=8, rate=160.0)]
    turned = of(*rows, row(8.0, kind=GPU))
    assert [one.first.kind for one in turned.turned] == ["cpu"]
    told = answers(turned)[1].sentence
    assert told.startswith("Sessions side by side change it: 1 thread, 8 instances give 1.6 times")
    assert told.endswith("those of the CPU for m (batch 1: 1.3 times)")
    same = of(*rows, row(2.0, kind=GPU))
    assert same.turned == ()
    assert "do not change who has most items a second" in answers(same)[1].sentence


def test_efficiency_that_the_groups_tell_comes_first() -> None:
    group = row(50.0, instances=8, rate=160.0, efficiency=Figure(0.7),
                efficiency_interval=(0.65, 0.75))  # fmt: skip
    (found,) = of(group).instances
    assert (found.efficiency.value, found.efficiency.interval) == (pytest.approx(0.7), (0.65, 0.75))
    assert found.gain.value is None


def test_a_variant_is_held_against_its_model() -> None:
    facts = {"variant": "int8-dynamic of m 0123456789ab", "variant_error_max": 0.25}
    (found,) = of(row(10.0), row(4.0, variant="int8-dynamic", sha256="11", facts=facts)).variants
    assert found.speed_up.value == pytest.approx(2.5)
    assert found.errors == (("error max", "0.25"),)
    other = row(4.0, variant="int8-dynamic", sha256="11", original="b" * 12)
    (strange,) = of(row(10.0, original="a" * 12), other).variants
    assert strange.speed_up.value is None
    (alone,) = of(row(4.0, variant="int8-dynamic")).variants
    assert "was not measured" in alone.speed_up.reason


def test_the_answer_names_the_variant_that_gains_and_the_one_that_loses() -> None:
    rows = [
        row(10.0),
        row(5.0, variant="fp16", sha256="01", facts={"variant_cosine": 0.999}),
        row(2.0, variant="prune-channels:0.9 (broken)", sha256="02"),
        row(40.0, variant="int8-dynamic", sha256="03"),
    ]
    (told,) = answers(of(*rows))
    assert (
        "fp16, batch 1 on Xeon (default threads) gains most: 2 times as fast, cosine 0.999"
        in told.sentence
    )
    assert "int8-dynamic, batch 1 on Xeon (default threads) takes 4 times as long" in told.sentence
    assert len(told.evidence) == 2
    # What is broken gains nothing; what loses is worth a sentence by itself.
    (told,) = answers(of(rows[0], *rows[2:]))
    assert told.sentence.startswith("Of the variants m int8-dynamic")
    assert answers(of(rows[0], rows[2])) == ()


def test_runtimes_against_onnx_runtime() -> None:
    (found,) = of(row(10.0), row(12.0, runtime="torch 2.10")).runtimes
    assert found.base == "ort 1.31"
    assert found.speed_up.value == pytest.approx(10 / 12)


def test_an_interrupted_profile_does_not_spoil_whole_ones() -> None:
    rows = [row(10.0), row(90.0, processes=1, complete=False, name="left")]
    (found,) = of(*rows).measured
    assert found.latency.value == pytest.approx(10e6)
    assert len(of(*rows[1:]).measured) == 1


def test_no_data_no_answer() -> None:
    assert answers(of(row(1.0))) == ()
    undecided = of(row(10.0), row(10.0, kind=GPU))
    assert answers(undecided) == ()
    assert {what for what, _ in of(row(1.0)).absent} >= {
        "speed-up", "crossover batch", "thread scaling", "instances", "variants", "runtimes",
        "energy", "cost",
    }  # fmt: skip


def test_at_most_three_sentences_the_cost_among_them() -> None:
    offers = tuple(
        Offer(kind, "*", kind, price, "USD", "2026-05-20", "list", spot=False, share=1.0)
        for kind, price in (("cpu", 1.0), ("gpu", 30.0))
    )
    rows = [*map(threads, (1, 2, 4)), row(1.0, kind=GPU),
            row(4.0, threads=1, instances=4, rate=900.0)]  # fmt: skip
    told = answers(of(*rows, prices=Prices(offers, None, 0.0, Path("prices.toml"))))
    assert len(told) == 3
    (cheapest,) = [
        one for one in of(*rows, prices=Prices(offers, None, 0.0, Path("p.toml"))).winners
        if one.which == COST
    ]  # fmt: skip
    assert (cheapest.first.kind, cheapest.currency) == ("cpu", "USD")
    # 30 / 1,000 over 1 / 900.
    assert cheapest.leads[0].value == pytest.approx(27)
    assert cheapest.winner is not None
    # 900 items/s for 1 USD an hour: 0.31 USD a million; 1,000 items/s for 30: 8.33 USD.
    assert "cost least on the CPU for m (batch 1: 27 times less)" in told[2].sentence
    assert any("Xeon 0.31 USD" in one for one in told[2].evidence)
    assert any("NVIDIA L4 8.33 USD" in one for one in told[2].evidence)
    assert all(one.evidence for one in told)


@pytest.mark.parametrize(
    ("value", "told"),
    [(1234.5, "1,234.50 X"), (0.994, "0.99 X"), (0.0043, "0.0043 X"), (0.0, "0.00 X"),
     (1e-7, "0.00000010 X")],
)  # fmt: skip
def test_money(value: float, told: str) -> None:
    assert money(value, "X") == told


def test_every_figure_has_the_same_columns_and_a_reason_where_it_has_no_value() -> None:
    found = of(*map(threads, (1, 2, 4)), row(1.0, kind=GPU), row(9.0, processes=1, batch=8))
    rows = list(figures(found))
    assert len({one["figure"] for one in rows}) > 8
    for one in rows:
        assert tuple(one) == COLUMNS
        assert one["value"] is not None or one["reason"], one
        assert one["low"] is not None or one["reason"], one
        assert one["files"], one
        assert one["runtime"] == "ort 1.31", one
    lines = study_csv(found).splitlines()
    assert len(lines) == len(rows) + 1
    gpu = [one for one in rows if one["figure"] in ("latency", "speed-up")
           and one["device"] == "NVIDIA L4"]  # fmt: skip
    assert [(one["provider"], one["shapes"]) for one in gpu] == 2 * [("cuda", ["1x8"])]


def offered(name: str, device: str, price: float, currency: str = "USD", **more: Any) -> Offer:
    given = {"machine": "*", "spot": False, "share": 1.0, **more}
    return Offer(name, device=device, price_per_hour=price, currency=currency, date="2026-05-20",
                 source="list", **given)  # fmt: skip


def at_prices(*offers: Offer) -> Study:
    """A CPU with 100 and a GPU with 1,000 items a second."""
    prices = Prices(offers, None, 0.0, Path("prices.toml"))
    return of(row(10.0), row(1.0, kind=GPU), prices=prices)


def cost_sentence(found: Study) -> str:
    return next((one.sentence for one in answers(found) if "cost least" in one.sentence), "")


def by_cost(found: Study) -> list[Winner]:
    return [one for one in found.winners if one.which == COST]


def test_a_machine_that_is_paid_already_is_the_cheapest_without_a_ratio() -> None:
    found = at_prices(offered("own", "cpu", 0.0), offered("rented", "gpu", 1.0))
    (best,) = by_cost(found)
    assert (best.first.kind, best.winner) == ("cpu", best.first)
    assert (best.figure.value, best.leads[0].value) == (0.0, None)
    assert "on the CPU for m (batch 1: it costs nothing)" in cost_sentence(found)
    page = html.page(found, ())
    assert "costs nothing" in page
    assert not re.search(r"\binf\b", page)
    (told,) = [one for one in figures(found) if one["figure"] == "best by cost"]
    assert (told["value"], told["high"], told["told"]) == (None, None, "it wins")
    # Of two that cost nothing neither is the cheaper.
    found = at_prices(offered("own", "cpu", 0.0), offered("own", "gpu", 0.0))
    assert [(one.winner, one.leads[0].reason) for one in by_cost(found)] == [
        (None, "both cost nothing")
    ]
    assert cost_sentence(found) == ""
    assert html.page(found, ())


def test_two_offers_for_one_device_hide_no_answer() -> None:
    # The GPU is ahead with either of its prices.
    found = at_prices(offered("c", "cpu", 1.0), offered("list", "gpu", 2.0),
                      offered("spot", "gpu", 1.0, spot=True))  # fmt: skip
    (best,) = by_cost(found)
    assert best.leads[0].value == pytest.approx(10)
    assert "on the GPU for m (batch 1: 10 times less)" in cost_sentence(found)


def test_the_sentence_of_cost_says_what_the_map_of_winners_shows() -> None:
    # In dollars the CPU is cheaper, in euros the GPU: two maps, both in the sentence.
    found = at_prices(
        offered("a", "cpu", 1.0), offered("b", "gpu", 30.0),
        offered("c", "cpu", 1.0, "EUR"), offered("d", "gpu", 1.0, "EUR"),
    )  # fmt: skip
    assert "on the CPU in USD for m (batch 1: 3 times less)" in cost_sentence(found)
    assert "on the GPU in EUR for m (batch 1: 10 times less)" in cost_sentence(found)
    close = at_prices(
        offered("a", "cpu", 1.0), offered("b", "gpu", 30.0),
        offered("c", "cpu", 1.0, "EUR"), offered("d", "gpu", 10.0, "EUR"),
    )  # fmt: skip
    assert cost_sentence(close).endswith("; of m, batch 1 in EUR it cannot be told")
    page = html.page(found, ())
    assert [page.count(f"Least cost of a million items, {one}</caption>")
            for one in ("USD", "EUR", "USD and EUR")] == [1, 1, 0]  # fmt: skip


def test_an_offer_that_means_nothing_here_is_named() -> None:
    found = at_prices(offered("good", "", 1.0, machine="bo*"),
                      offered("typo", "gpu", 1.0, machine="bxo*"),
                      offered("elsewhere", "", 1.0, machine="other"))  # fmt: skip
    assert [why for what, why in found.absent if what == "cost"] == [
        "typo: no profile is of machine bxo*, device gpu",
        "elsewhere: no profile is of machine other",
    ]


def test_the_terminal_tells_every_kind_of_winner_and_where_the_gpu_is_idle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    offers = (offered("own", "cpu", 2.0), offered("rented", "gpu", 1.0))
    gpu = row(1.0, kind=GPU, idle_share=Figure(0.4), idle_doubt="the split differs")
    found = of(row(10.0), gpu, row(8.0, batch=2), row(8.0, batch=2, kind=GPU),
               prices=Prices(offers, None, 0.0, Path("prices.toml")))  # fmt: skip
    print_study(found, ())
    told = capsys.readouterr().out
    rates, costs = re.findall(r"most items a second\n(.*?)\n\n.*?items\n(.*?)\n\n", told, re.S)[0]
    assert "m, batch 1: the GPU, default threads: 1,000" in rates
    assert "10 times the items a second of the next best" in rates
    assert "no sure win" in rates.splitlines()[1]
    assert "m, batch 1: the GPU, default threads, rented: 1 USD/h" in costs
    assert "20 times less than the next best" in costs
    assert re.search(r"idle +m, batch 1 on NVIDIA L4, default threads: 40%; doubtful: the sp", told)
    # It is shown where it is known only.
    print_study(of(row(10.0), row(1.0, kind=GPU)), ())
    assert "does nothing" not in capsys.readouterr().out
