"""What items cost, held against calculations by hand, to the cent."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.reporters.study_words import money
from harness.statistics.figures import Figure
from harness.study.known_devices import KNOWN, known_device
from harness.study.prices import catalog_price, costs, read_prices
from harness.study.rows import GPU
from tests.builders.study_rows import row

OFFER = """
[[offer]]
name = "rented"
machine = "{machine}"
price_per_hour = {price}
currency = "USD"
date = 2026-05-20
source = "price list"
spot = false
{more}
"""

#: As SkyPilot's catalogs are, in the order of columns of one cloud, with zones and a missing price.
CATALOG = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,Price,SpotPrice,Region,GpuInfo
g6.xlarge,L4,1,4,0.8048,0.30,us-east-1,"{'Gpus': [{'Name': 'L4'}]}"
g6.xlarge,L4,1,4,0.8048,0.25,us-east-1,"{'Gpus': [{'Name': 'L4'}]}"
g6.xlarge,L4,1,4,0.9,,eu-west-1,
c7a.large,,,2,0.1026,0.05,us-east-1,
"""


def priced(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    return file


def offer(price: float, machine: str = "*", more: str = "") -> str:
    return OFFER.format(price=price, machine=machine, more=more)


@pytest.mark.parametrize(
    ("price", "per_s", "items", "expected"),
    [
        # A tile takes 25 min 45 s on a T4 at 0.526 USD an hour: 0.2257.
        (0.526, 1 / (25 * 60 + 45), 1, "0.23 USD"),
        # 26 min 6 s on a machine with AMX at 0.667 USD an hour: 0.2901.
        (0.667, 1 / (26 * 60 + 6), 1, "0.29 USD"),
        # 36 USD an hour are 0.01 a second; 100 items/s: a million take 10,000 s.
        (36.0, 100.0, 1_000_000, "100.00 USD"),
    ],
)
def test_cost_by_the_hour(
    tmp_path: Path, price: float, per_s: float, items: int, expected: str
) -> None:
    prices = read_prices(priced(tmp_path, offer(price)))
    (cost,) = costs([row(1.0, rate=per_s)], prices)
    assert money((cost.estimate.value or 0) * items / 1e6, "USD") == expected
    low, high = cost.estimate.interval or (0, 0)
    assert low < (cost.estimate.value or 0) < high
    for told in ("rented", f"{price:g} USD/h list", "2026-05-20", "items/s"):
        assert told in cost.inputs
    assert cost.source == "price list"


def test_share_and_idle_time_enter_once_each(tmp_path: Path) -> None:
    # A quarter of a machine of 8 USD an hour, idle half of the time: 4 USD for each busy hour.
    # 1,000 items/s: a million take 1,000 s = 0.2777… hours: 1.11 USD.
    prices = read_prices(priced(tmp_path, "idle_share = 0.5\n" + offer(8.0, more="share = 0.25")))
    (cost,) = costs([row(1.0)], prices)
    assert money(cost.estimate.value or 0, "USD") == "1.11 USD"
    assert "25% of the machine" in cost.inputs
    assert "idle 50% of the time" in cost.inputs


def test_an_offer_is_of_the_machines_and_devices_that_it_names(tmp_path: Path) -> None:
    text = offer(1.0, machine="box*", more='device = "gpu"')
    prices = read_prices(priced(tmp_path, text))
    assert not costs([row(1.0)], prices)
    assert not costs([row(1.0, kind=GPU, machine="other")], prices)
    assert len(costs([row(1.0, kind=GPU, machine="Box 1")], prices)) == 1


POWER = (
    '[electricity]\nprice_per_kwh = 0.36\ncurrency = "EUR"\ndate = 2026-01-01\nsource = "bill"\n'
)


def test_electricity_needs_a_meter(tmp_path: Path) -> None:
    prices = read_prices(priced(tmp_path, POWER))
    # 10 J an item are 10 MJ a million: 2.777… kWh, 1.00 EUR.
    metered = row(1.0, joules=Figure(10.0), joules_interval=(9.0, 11.0))
    (cost,) = costs([metered], prices)
    assert (money(cost.estimate.value or 0, "EUR"), cost.by) == ("1.00 EUR", "electricity")
    assert cost.estimate.interval == pytest.approx((0.9, 1.1))
    (absent,) = costs([row(1.0)], prices)
    assert (absent.estimate.value, absent.estimate.reason) == (None, "no meter")


def test_nominal_power_is_a_bound_with_a_name_of_its_own(tmp_path: Path) -> None:
    prices = read_prices(priced(tmp_path, POWER))
    # 72 W at 1,000 items/s: 0.072 J an item at most, 72 kJ a million: 0.02 kWh, 0.0072 EUR.
    absent, bound = costs([row(1.0, kind=GPU)], prices, nominal_watts=72)
    assert absent.estimate.value is None
    assert (bound.by, money(bound.estimate.value or 0, "EUR")) == (
        "electricity bound",
        "0.0072 EUR",
    )
    assert "at most 72 W nominal" in bound.inputs


def test_cost_an_item_needs_the_number_of_items(tmp_path: Path) -> None:
    (cost,) = costs([row(1.0, batch=None)], read_prices(priced(tmp_path, offer(1.0))))
    assert cost.estimate.value is None
    assert "items" in cost.estimate.reason


@pytest.mark.parametrize(
    ("region", "spot", "expected"),
    [("us-east-1", False, 0.8048), ("us-east-1", True, 0.25), ("", False, 0.8048)],
)
def test_the_price_of_a_catalog(tmp_path: Path, region: str, spot: bool, expected: float) -> None:
    file = tmp_path / "vms.csv"
    file.write_text(CATALOG)
    price, where = catalog_price(file, "g6.xlarge", region, spot=spot)
    assert price == expected
    assert where  # also where none was asked for


def test_an_offer_of_a_catalog(tmp_path: Path) -> None:
    (tmp_path / "vms.csv").write_text(CATALOG)
    text = (
        '[[catalog]]\nfile = "vms.csv"\ninstance = "g6.xlarge"\nregion = "us-east-1"\nspot = true\n'
        'currency = "USD"\ndate = 2026-11-01\nsource = "SkyPilot catalog v7, aws"\n'
    )
    (found,) = read_prices(priced(tmp_path, text)).offers
    assert found.told == "g6.xlarge, us-east-1: 0.25 USD/h spot of 2026-11-01"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no price"),
        ("[[offer]]\n", "'name' is missing"),
        (offer(-1.0), "'price_per_hour' is not between"),
        (offer(1.0, more="share = 2.0"), "'share' is not between"),
        (offer(1.0, more="colour = 1"), "'colour' is not known"),
        (offer(1.0, more='device = "tpu"'), "'device' is tpu"),
        ("idle_share = 1.0\n" + offer(1.0), "'idle_share' is not between"),
        (offer(1.0).replace("spot = false", ""), "'spot' is missing"),
        ("[offer", "is not TOML"),
        ('[[catalog]]\nfile = "no.csv"\ninstance = "x"\nspot = false', "cannot be read"),
    ],
)
def test_prices_that_make_no_sense_are_refused_in_one_line(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(RequestError, match=told) as caught:
        read_prices(priced(tmp_path, text))
    assert "\n" not in caught.value.message


def test_catalogs_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "vms.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(RequestError, match="no column InstanceType"):
        catalog_price(file, "x")
    file.write_text(CATALOG)
    with pytest.raises(RequestError, match=r"no SpotPrice of g6\.xlarge in eu-west-1"):
        catalog_price(file, "g6.xlarge", "eu-west-1", spot=True)


def test_known_devices_are_known_by_their_whole_name() -> None:
    assert known_device("NVIDIA H200") is not None
    assert known_device("NVIDIA H200 NVL") is None
    assert all(one.source and one.watts > 0 for one in KNOWN)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = " + "9" * 1900, "is not a table|not known|is not TOML"),
        ("a = " + "\n".join(["["] * 5000), "is not TOML"),
        ("a." * 5000 + "b = 1", "a line is longer"),
        ("a = [" + "1,\n" * 400_000 + "]", "larger than"),
    ],
)
def test_hostile_toml_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(RequestError, match=reason) as told:
        read_prices(file)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("code", ["dollars", "usd", "<b>", "US$", "ÄÖÜ", ""])
def test_a_currency_is_a_code(tmp_path: Path, code: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(f'[electricity]\nprice_per_kwh = 0.36\ncurrency = "{code}"\n')
    with pytest.raises(RequestError, match="three capital letters"):
        read_prices(file)
