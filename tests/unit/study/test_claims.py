"""Verdicts on claims, with planted figures: holds, fails, cannot tell."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RequestError
from harness.reporters.html.study import page
from harness.reporters.scripts.study import study_text
from harness.statistics.figures import Figure
from harness.study import joining
from harness.study.claims import Verdict, read_claims
from harness.study.figures import study
from harness.study.joining import Joined
from harness.study.judging import Judged, judged
from harness.study.measured import Case
from harness.study.prices import Offer, Prices
from harness.study.rows import CPU, GPU, Row
from tests.builders.study_rows import row

CLAIMS = Path(__file__).parents[3] / "profiles" / "claims"

GPU_FASTER = """
says = "The GPU is faster"
figure = "speed-up"
of = { device = "gpu" }
against = { device = "cpu" }
"""


def verdicts(tmp_path: Path, claim: str, *rows: Row, prices: Prices | None = None) -> Judged:
    file = tmp_path / "claims.toml"
    file.write_text(f"[[claim]]\n{claim}")
    joined = Joined(rows, (), (), (), ())
    (found,) = judged([read_claims(file)], study(joined, prices))
    return found


@pytest.mark.parametrize(
    ("gpu_ms", "condition", "expected"),
    [
        (5.0, "above = 1.0", Verdict.HOLDS),
        (20.0, "above = 1.0", Verdict.FAILS),
        (10.1, "above = 1.0", Verdict.UNKNOWN),
        (5.0, "equals = 2.0\nwithin = 0.3", Verdict.HOLDS),
        (5.0, "equals = 4.0\nwithin = 0.1", Verdict.FAILS),
        (5.0, "equals = 2.0\nwithin = 0.01", Verdict.UNKNOWN),
        (5.0, "above = 1.0\nbelow = 1.5", Verdict.FAILS),
    ],
)
def test_a_ratio(tmp_path: Path, gpu_ms: float, condition: str, expected: Verdict) -> None:
    found = verdicts(tmp_path, GPU_FASTER + condition, row(10.0), row(gpu_ms, kind=GPU))
    assert found.verdict is expected, found.why
    (evidence,) = found.evidence
    assert evidence.estimate.value == pytest.approx(10.0 / gpu_ms)
    low, high = evidence.estimate.interval or (0.0, 0.0)
    assert low < 10.0 / gpu_ms < high
    assert len(evidence.estimate.rows) == 2
    assert evidence.estimate.basis == "1 profile, 10 processes each"


def test_one_process_tells_nothing_however_large_the_ratio(tmp_path: Path) -> None:
    rows = (row(10.0, processes=1, complete=False), row(0.1, kind=GPU))
    found = verdicts(tmp_path, GPU_FASTER + "above = 1.0", *rows)
    assert found.verdict is Verdict.UNKNOWN
    assert "no interval" in found.why
    assert found.evidence[0].estimate.value == pytest.approx(100)


def test_a_busy_machine_tells_nothing(tmp_path: Path) -> None:
    busy = row(10.0)
    noise = type(busy.noise)("unusable", ("busy",), waited=0.5, unusable=("median",))
    found = verdicts(
        tmp_path, GPU_FASTER + "above = 1.0", row(10.0, noise=noise), row(0.1, kind=GPU)
    )
    assert found.verdict is Verdict.UNKNOWN
    assert "too busy" in found.why


@pytest.mark.parametrize(
    ("which", "gpu_ms", "expected"),
    [
        ("every", (5.0, 5.0, 5.0), Verdict.HOLDS),
        ("every", (5.0, 5.0, 20.0), Verdict.FAILS),
        ("every", (5.0, 5.0, 10.0), Verdict.UNKNOWN),
        ("most", (5.0, 5.0, 20.0), Verdict.HOLDS),
        ("most", (5.0, 5.0, 10.0), Verdict.HOLDS),
        ("most", (5.0, 20.0, 10.0), Verdict.UNKNOWN),
        ("most", (5.0, 20.0, 20.0), Verdict.FAILS),
        ("some", (5.0, 20.0, 10.0), Verdict.HOLDS),
        ("some", (20.0, 20.0, 20.0), Verdict.FAILS),
        ("some", (20.0, 20.0, 10.0), Verdict.UNKNOWN),
    ],
)
def test_a_claim_about_several_cases_counts_what_cannot_be_told_as_either(
    tmp_path: Path, which: str, gpu_ms: tuple[float, ...], expected: Verdict
) -> None:
    rows = []
    for batch, value in zip((1, 2, 4), gpu_ms, strict=True):
        rows += [row(10.0, batch=batch), row(value, kind=GPU, batch=batch)]
    claim = f'{GPU_FASTER}which = "{which}"\nabove = 1.0'
    assert verdicts(tmp_path, claim, *rows).verdict is expected


def test_the_best_setting_of_each_side_counts_and_is_named(tmp_path: Path) -> None:
    claim = 'says = "fast"\nfigure = "latency"\nof = { device = "cpu" }\nbelow = 6.0'
    rows = [row(20.0, threads=1), row(5.0, threads=8), row(9.0, threads=4)]
    found = verdicts(tmp_path, claim, *rows)
    assert found.verdict is Verdict.HOLDS
    assert "8 threads" in found.evidence[0].of
    assert "best of 3 settings" in found.evidence[0].of
    found = verdicts(tmp_path, GPU_FASTER + "above = 1.0", *rows, row(1.0, kind=GPU))
    assert found.evidence[0].of.endswith("NVIDIA L4 against Xeon (best of 1 and 3 settings)")


def test_energy_without_a_meter_cannot_be_told(tmp_path: Path) -> None:
    claim = (
        'says = "efficient"\nfigure = "energy ratio"\nof = { device = "cpu" }\n'
        'against = { device = "gpu" }\nabove = 1.0'
    )
    metered = {"joules": Figure(2.0), "joules_interval": (1.9, 2.1)}
    gpu = row(5.0, kind=GPU, **metered)
    found = verdicts(tmp_path, claim, row(10.0), gpu)
    assert found.verdict is Verdict.UNKNOWN
    assert "no meter" in found.why
    frugal = row(10.0, joules=Figure(1.0), joules_interval=(0.9, 1.1))
    found = verdicts(tmp_path, claim, frugal, gpu)
    assert found.verdict is Verdict.HOLDS
    assert found.evidence[0].estimate.value == pytest.approx(2.0)


def test_no_profile_of_it_is_named(tmp_path: Path) -> None:
    claim = 'says = "x"\nfigure = "latency"\nof = { model = "tessera*", batch = 2048 }\nbelow = 1.0'
    found = verdicts(tmp_path, claim, row(1.0))
    assert (found.verdict, found.why) == (
        Verdict.UNKNOWN, "no profile is of model tessera*, batch 2048",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ('model = "res*"', 1), ("batch = 8", 1), ("batch = [1, 8]", 3), ('variant = ""', 2),
        ('variant = "int8*"', 1), ("parameters_at_most = 10", 0), ("threads = 4", 1),
        ('provider = "cpu"', 3), ('provider = "cuda"', 0),
        ('name = "*L4"', 0), ('machine = "BOX"', 3), ("parameters_at_least = 1000", 3),
    ],
)  # fmt: skip
def test_what_a_claim_is_about(tmp_path: Path, wanted: str, count: int) -> None:
    rows = [row(1.0, model="resnet50"), row(2.0, batch=8, threads=4), row(3.0, variant="int8-d")]
    claim = f'says = "x"\nfigure = "latency"\nof = {{ {wanted} }}\nbelow = 100.0'
    assert len(verdicts(tmp_path, claim, *rows).evidence) == count


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        ("says = 1", "'says' is not a text"),
        ('says = "x"\nfigure = "speed"', "'figure' is speed"),
        ('says = "x"\nfigure = "latency"', "has no condition"),
        ('says = "x"\nfigure = "latency"\nbelow = nan', "'below' is not between"),
        (f'says = "x"\nfigure = "latency"\nbelow = 1{"0" * 400}', "'below' is not between"),
        (f'says = "x"\nfigure = "quoted"\nquoted = [1{"0" * 400}]\nbelow = 1.0', "above zero"),
        ('says = "x"\nfigure = "latency"\nequals = 1.0', "needs 'within'"),
        ('says = "x"\nfigure = "latency"\nabove = 2.0\nbelow = 1.0', "no figure is above"),
        ('says = "x"\nfigure = "latency"\nbelow = 1.0\ncolour = "red"', "'colour' is not known"),
        ('says = "x"\nfigure = "speed-up"\nabove = 1.0', "is against something"),
        ('says = "x"\nfigure = "latency"\nof = { batch = "1" }\nbelow = 1.0', "whole number"),
        ('says = "x"\nfigure = "latency"\nof = { size = 1 }\nbelow = 1.0', "'size' is not known"),
        ('says = "x"\nfigure = "quoted"\nquoted = [0]\nbelow = 1.0', "above zero"),
        ('says = "x"\nfigure = "latency"\nwhich = "few"\nbelow = 1.0', "'which' is few"),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, claim: str, told: str
) -> None:
    with pytest.raises(RequestError, match=told) as caught:
        verdicts(tmp_path, claim, row(1.0))
    assert "claims.toml: claim 1" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_pipe_is_no_file_of_claims(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="cannot be read"):
        read_claims(tmp_path / "pipe")


def test_the_texts_own_figures_need_no_profile() -> None:
    found = judged([read_claims(CLAIMS / "tessera.toml")], study(Joined((), (), (), (), ())))
    quoted = {one.claim.quoted: one.verdict for one in found if one.claim.quoted}
    assert quoted == {
        (3.33, 5.21): Verdict.FAILS,  # 64 % is not linear
        (6.07, 5.55): Verdict.FAILS,  # measured twice, 9 % apart
        (1026.0, 900.0): Verdict.HOLDS,  # 14 % on the GPU
        (14016.0, 11360.0): Verdict.FAILS,  # 23 % on the CPU
        (1232.0, 1496.0): Verdict.FAILS,  # 0.82 in the other post
    }
    assert all(one.verdict is Verdict.UNKNOWN for one in found if not one.claim.quoted)


def test_every_file_of_claims_can_be_read() -> None:
    texts: list[Any] = [read_claims(file) for file in sorted(CLAIMS.glob("*.toml"))]
    assert sum(len(text.claims) for text in texts) >= 15
    assert {CPU, GPU} == {"cpu", "gpu"}


def test_only_inputs_of_one_shape_are_the_same_work(tmp_path: Path) -> None:
    # The GPU is twice as fast at both lengths; its long input takes longer than the CPU's short.
    rows = [
        row(10.0, shapes=("1x128",)), row(5.0, shapes=("1x128",), kind=GPU),
        row(40.0, shapes=("1x512",)), row(20.0, shapes=("1x512",), kind=GPU),
    ]  # fmt: skip
    found = verdicts(tmp_path, GPU_FASTER + "above = 1.0", *rows)
    assert found.verdict is Verdict.HOLDS, found.why
    assert [one.estimate.value for one in found.evidence] == pytest.approx([2.0, 2.0])
    assert [one.of for one in found.evidence] == [
        "m (128), batch 1: NVIDIA L4 against Xeon", "m (512), batch 1: NVIDIA L4 against Xeon",
    ]  # fmt: skip


BATCHES = """
says = "Sessions in small batches do more than the GPU in large ones"
figure = "throughput ratio"
of = { device = "cpu", batch = 4 }
against = { device = "gpu", batch = 32 }
above = 1.0
"""


def test_a_claim_that_names_two_batches_holds_them_against_each_other(tmp_path: Path) -> None:
    rows = [
        row(4.0, batch=4, shapes=("4x8", "3x4")), row(1.0, batch=32, shapes=("32x8", "3x4")),
        row(64.0, batch=32, shapes=("32x8", "3x4"), kind=GPU),
        row(9.0, batch=32, shapes=("32x9", "3x4"), kind=GPU),
    ]  # fmt: skip
    found = verdicts(tmp_path, BATCHES, *rows)
    assert found.verdict is Verdict.HOLDS, found.why
    # 1,000 items/s against 500; what differs in more than the batch is another work.
    (figure,) = found.evidence
    assert figure.estimate.value == pytest.approx(2.0)
    assert "batch 4 on Xeon against m (8, 3x4), batch 32" in figure.of
    same = BATCHES.replace("batch = 32", "batch = [4]")
    assert not verdicts(tmp_path, same, *rows).evidence


def test_an_inference_of_another_batch_is_not_held_against_it(tmp_path: Path) -> None:
    claim = BATCHES.replace("throughput ratio", "speed-up")
    with pytest.raises(RequestError, match="both sides have one batch") as caught:
        verdicts(tmp_path, claim, row(1.0))
    assert "throughput ratio" in (caught.value.remedy or "")


def test_a_claim_looks_only_at_what_is_of_the_same_work(tmp_path: Path) -> None:
    rows = [
        row(1.0 + batch / 1000, batch=batch, kind=kind)
        for batch in range(1, 201) for kind in (CPU, GPU)
    ]  # fmt: skip
    seen = 0

    class Counted(Case):
        """A case that counts how often it is read."""

        def __getattribute__(self, name: str) -> Any:
            nonlocal seen
            seen += 1
            return super().__getattribute__(name)

    of = study(Joined(tuple(rows), (), (), (), ()))
    measured = tuple(dataclasses.replace(one, case=Counted(*one.case)) for one in of.measured)
    file = tmp_path / "claims.toml"
    file.write_text(f"[[claim]]\n{GPU_FASTER}above = 0.5")
    (found,) = judged([read_claims(file)], dataclasses.replace(of, measured=measured))
    assert len(found.evidence) == 200
    assert seen < 50 * len(rows)  # each with each would be 20,000 pairs


def offers(*given: tuple[str, float, str]) -> Prices:
    """Of a CPU or a GPU, at a price an hour in a currency."""
    made = tuple(
        Offer(f"{device} in {currency}", "*", device, price, currency, "2026-05-20", "list",
              spot=False, share=1.0)
        for device, price, currency in given
    )  # fmt: skip
    return Prices(made, None, 0.0, Path("prices.toml"))


CHEAPER = """
says = "The CPU is cheaper"
figure = "cost ratio"
of = { device = "cpu" }
against = { device = "gpu" }
above = 1.0
"""


def test_costs_are_compared_in_each_currency_of_both_sides(tmp_path: Path) -> None:
    rows = [row(1.0), row(1.0, kind=GPU)]
    prices = offers(("cpu", 5.0, "USD"), ("cpu", 4.0, "EUR"), ("gpu", 6.0, "USD"),
                    ("gpu", 8.0, "EUR"), ("gpu", 1.0, "GBP"), ("cpu", 9.0, "USD"))  # fmt: skip
    found = verdicts(tmp_path, CHEAPER.replace("1.0", "0.8"), *rows, prices=prices)
    assert found.verdict is Verdict.HOLDS, found.why
    told = {one.of.rpartition(", ")[2]: one.estimate.value for one in found.evidence}
    assert told == pytest.approx({"EUR": 2.0, "USD": 1.2})
    assert "cpu in USD: 5 USD/h" in found.evidence[1].estimate.basis
    assert "gpu in USD: 6 USD/h" in found.evidence[1].estimate.basis
    (one,) = verdicts(tmp_path, CHEAPER + 'currency = "EUR"', *rows, prices=prices).evidence
    assert one.estimate.value == pytest.approx(2.0)
    apart = offers(("cpu", 5.0, "USD"), ("gpu", 6.0, "EUR"))
    found = verdicts(tmp_path, CHEAPER, *rows, prices=apart)
    assert "one price is in USD, the other in EUR" in found.why
    found = verdicts(tmp_path, CHEAPER, *rows, prices=offers(("cpu", 5.0, "USD")))
    assert "no offer means NVIDIA L4" in found.why
    # What is on both sides is not held against itself.
    found = verdicts(tmp_path, CHEAPER.replace('{ device = "gpu" }', "{}"), *rows, prices=prices)
    assert all("against NVIDIA L4" in one.of for one in found.evidence)


@pytest.mark.parametrize(
    ("cpu", "gpu", "condition", "expected"),
    [
        (0.0, 1.0, "above = 1.0", Verdict.HOLDS),
        (0.0, 1.0, "below = 2.0", Verdict.FAILS),
        (1.0, 0.0, "above = 1.0", Verdict.FAILS),
        (0.0, 0.0, "above = 1.0", Verdict.UNKNOWN),
    ],
)
def test_what_costs_nothing_is_cheaper_than_what_does_not(
    tmp_path: Path, cpu: float, gpu: float, condition: str, expected: Verdict
) -> None:
    prices = offers(("cpu", cpu, "USD"), ("gpu", gpu, "USD"))
    claim = CHEAPER.replace("above = 1.0", condition)
    found = verdicts(tmp_path, claim, row(1.0), row(1.0, kind=GPU), prices=prices)
    assert found.verdict is expected, found.why
    if cpu == 0 and gpu:
        assert found.why.endswith("one side costs nothing, so there is no ratio")
    # JSON has no number for what is infinitely cheaper.
    (claim_told,) = json.loads(study_text(study(Joined((row(1.0),), (), (), (), ())), [found]))[
        "claims"
    ]
    ends = claim_told["figures"][0]["interval"]
    assert ends is None or all(isinstance(one, float) for one in ends)


COST = """
says = "A million items cost less than 13 dollars"
figure = "cost"
of = { device = "cpu", instances = 1 }
below = 13.0
"""


def test_a_bound_of_a_cost_is_in_one_currency(tmp_path: Path) -> None:
    # 3.6 an hour are 0.001 a second: at 100 items/s a million cost 10.
    prices = offers(("cpu", 3.6, "USD"), ("cpu", 36.0, "EUR"))
    found = verdicts(tmp_path, COST + 'currency = "USD"', row(10.0), prices=prices)
    assert found.verdict is Verdict.HOLDS
    assert found.claim.bound == "below 13 USD per million items"
    assert found.evidence[0].unit == "USD per million items"
    found = verdicts(tmp_path, COST + 'currency = "EUR"', row(10.0), prices=prices)
    assert found.verdict is Verdict.FAILS
    found = verdicts(tmp_path, COST + 'currency = "GBP"', row(10.0), prices=prices)
    assert found.why == "no offer in GBP means these machines and devices"
    with pytest.raises(RequestError, match="an amount of some currency"):
        verdicts(tmp_path, COST, row(10.0))
    with pytest.raises(RequestError, match="a speed-up has no currency"):
        verdicts(tmp_path, GPU_FASTER + 'above = 1.0\ncurrency = "USD"', row(10.0))


def test_a_claim_about_a_cost_chooses_its_settings_like_any_other(tmp_path: Path) -> None:
    rows = [row(10.0, threads=2), row(12.0, threads=1), row(10.0, instances=8, rate=700.0)]
    claim = COST + 'currency = "USD"'
    found = verdicts(tmp_path, claim, *rows, prices=offers(("cpu", 3.6, "USD")))
    (figure,) = found.evidence
    assert figure.estimate.value == pytest.approx(10.0)
    assert "2 threads (best of 2 settings)" in figure.of
    gain = (
        'says = "x"\nfigure = "cost ratio"\nof = { instances = 8 }\nagainst = { instances = 1 }\n'
        "above = 1.0"
    )
    found = verdicts(tmp_path, gain, *rows, prices=offers(("cpu", 3.6, "USD")))
    assert [one.estimate.value for one in found.evidence] == pytest.approx([7.0])


INT8 = """
says = "int8 is faster than the model as it was made"
figure = "speed-up"
of = { device = "cpu", variant = "int8*" }
against = { device = "cpu", variant = "" }
above = 1.0
"""


def test_a_broken_variant_counts_only_where_the_claim_says_so(tmp_path: Path) -> None:
    good, broken = row(11.0, variant="int8-dynamic"), row(2.0, variant="int8-static (broken)")
    found = verdicts(tmp_path, INT8, row(10.0), good, broken)
    assert len(found.evidence) == 1
    assert found.verdict is not Verdict.HOLDS
    assert found.why.endswith("; left out: 1 setting of a variant found broken")
    # No pattern at all asks for it as little.
    fastest = 'says = "x"\nfigure = "latency"\nof = { device = "cpu" }\nbelow = 3.0'
    found = verdicts(tmp_path, fastest, row(10.0), broken)
    assert (found.verdict, len(found.evidence)) == (Verdict.FAILS, 1)
    assert "1 setting of a variant found broken" in found.why
    # Where nothing else is there, the reason says why.
    found = verdicts(tmp_path, INT8.replace("int8*", "int8-static"), row(10.0), broken)
    assert found.why == (
        "no profile is of device cpu, variant int8-static; "
        "left out: 1 setting of a variant found broken"
    )
    for pattern in ("*(broken)", "int8-static (broken)"):
        found = verdicts(tmp_path, INT8.replace("int8*", pattern), row(10.0), good, broken)
        assert found.verdict is Verdict.HOLDS
        assert "left out" not in found.why
    # Each pattern for itself.
    both = INT8.replace('"int8*"', '["int8-d*", "prune* (broken)"]')
    assert len(verdicts(tmp_path, both, row(10.0), good, broken).evidence) == 1


def test_a_model_is_found_by_its_name_though_another_one_shares_it(tmp_path: Path) -> None:
    rows = [row(1.0, model="resnet50", original="a" * 12),
            row(2.0, model="resnet50", original="b" * 12, sha256="11")]  # fmt: skip
    apart = joining._models_apart(rows)
    claim = 'says = "x"\nfigure = "latency"\nof = { model = "MODEL" }\nbelow = 100.0'
    for name, count in (("resnet50", 2), ("resnet50 aaaaaaaa", 1), ("res*", 2), ("resnet", 0)):
        found = verdicts(tmp_path, claim.replace("MODEL", name), *apart)
        assert len(found.evidence) == count


def test_a_better_setting_without_an_interval_leaves_a_claim_open(tmp_path: Path) -> None:
    lone = row(2.0, threads=4, processes=1)
    rows = [row(10.0, threads=1), lone, row(5.0, kind=GPU)]
    found = verdicts(tmp_path, GPU_FASTER + "above = 1.0", *rows)
    assert found.verdict is Verdict.UNKNOWN
    assert "4 threads, without an interval, may be better" in found.why
    slow = 'says = "x"\nfigure = "latency"\nof = { device = "cpu" }\nabove = 5.0'
    assert verdicts(tmp_path, slow, *rows).verdict is Verdict.UNKNOWN
    prices = offers(("cpu", 1.0, "USD"), ("gpu", 1.0, "USD"))
    dearer = CHEAPER.replace("above", "below")
    assert verdicts(tmp_path, dearer, *rows, prices=prices).verdict is Verdict.UNKNOWN
    assert verdicts(tmp_path, dearer, rows[0], rows[2], prices=prices).verdict is Verdict.HOLDS


NARROWS = """
says = "int8 narrows the gap"
figure = "narrowing"
of = { device = "cpu", variant = "int8*" }
against = { device = "gpu" }
above = 1.0
"""


@pytest.mark.parametrize(
    ("cpu_ms", "gpu_ms", "value", "expected"),
    [
        (10.0, 6.0, 3 / 1, Verdict.HOLDS),  # 3 times faster on the CPU, as fast on the GPU
        (20.0, 2.0, 1.5 / 3, Verdict.FAILS),  # the CPU gains, the GPU twice as much
        (15.0, 3.0, 1.0, Verdict.UNKNOWN),  # both gain alike
    ],
)
def test_a_variant_narrows_a_gap_if_the_slower_device_gains_more(
    tmp_path: Path, cpu_ms: float, gpu_ms: float, value: float, expected: Verdict
) -> None:
    plain = [row(30.0), row(6.0, kind=GPU)]
    made = [row(cpu_ms, variant="int8", sha256="11"),
            row(gpu_ms, kind=GPU, variant="int8", sha256="11")]  # fmt: skip
    found = verdicts(tmp_path, NARROWS, *plain, *made)
    assert found.verdict is expected, found.why
    (figure,) = found.evidence
    assert figure.estimate.value == pytest.approx(value)
    assert figure.of == "m int8, batch 1: Xeon against NVIDIA L4"
    assert len(figure.estimate.rows) == 4
    assert figure.estimate.basis == "4 profiles, 40 processes"
    # Both sides need both: the same variant, and the model as it was made.
    found = verdicts(tmp_path, NARROWS, *plain, made[0])
    assert (found.verdict, found.why) == (
        Verdict.UNKNOWN, "no variant of a model was measured on both sides",
    )  # fmt: skip
    found = verdicts(tmp_path, NARROWS, plain[0], *made)
    assert found.verdict is Verdict.UNKNOWN
    assert "NVIDIA L4: the model as it was made was not measured so" in found.why
    found = verdicts(tmp_path, NARROWS, plain[0], *made, row(6.0, kind=GPU, batch=2))
    assert found.verdict is Verdict.UNKNOWN


def test_the_claims_on_quantising_look_at_both_devices(tmp_path: Path) -> None:
    rows = [row(30.0), row(6.0, kind=GPU), row(20.0, variant="int8-static", sha256="11"),
            row(2.0, kind=GPU, variant="int8-static", sha256="11")]  # fmt: skip
    found = judged(
        [read_claims(CLAIMS / "cpu-or-gpu.toml")], study(Joined(tuple(rows), (), (), (), ()))
    )
    told = {
        one.claim.figure: one.verdict for one in found if one.claim.says.startswith("Quantising")
    }
    assert told == {"speed-up": Verdict.HOLDS, "narrowing": Verdict.FAILS}


def test_the_page_names_the_profiles_of_a_verdict(tmp_path: Path) -> None:
    rows = [
        row(value, kind=kind, batch=batch, name=f"{folder}/cell-{batch}.h5")
        for kind, folder, value in ((CPU, "cpu", 10.0), (GPU, "gpu", 1.0)) for batch in (1, 2)
    ]  # fmt: skip
    found = verdicts(tmp_path, GPU_FASTER + "above = 1.0", *rows)
    told = page(study(Joined(tuple(rows), (), (), (), ())), [found])
    folded = told.split("4 profiles</summary>")[-1].partition("</details>")[0]
    assert re.findall(r"[cg]pu/cell-\d\.h5", folded) == [str(one.file) for one in rows]
