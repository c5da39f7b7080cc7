"""What items cost: offers of machines, electricity, and how much of the time is used.

A price is what someone asked for on some day; it stands in a file with its date and source, and no
figure is told without them.
"""

from __future__ import annotations

import csv
import dataclasses
import fnmatch
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import RequestError
from harness.ordinary_files import open_ordinary
from harness.study.ratios import ENERGY, RATE, Estimate, figure, mapped
from harness.study.rows import CPU, GPU, Row
from harness.study.toml_files import Table, read_toml

#: Joules of a kilowatt hour.
JOULES_PER_KWH = 3.6e6

#: Items that a cost is told for.
MILLION = 1e6

_OFFER = (
    "name", "machine", "device", "price_per_hour", "currency", "date", "source", "spot", "share",
)  # fmt: skip
_CATALOG = (
    "file", "instance", "region", "name", "machine", "device", "currency", "date", "source", "spot",
    "share",
)  # fmt: skip
_ELECTRICITY = ("price_per_kwh", "currency", "date", "source")

#: Columns of a catalog that are read; their order differs from cloud to cloud, and so do the others
#: (skypilot-org/skypilot-catalog, catalogs/v7/*/vms.csv).
_COLUMNS = ("InstanceType", "Region", "Price", "SpotPrice")

#: Rows and bytes of a catalog that are read at most; the largest had some 60,000 rows.
_MOST_ROWS = 2_000_000
_MOST_BYTES = 1 << 26


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """A machine for rent, or one's own at what an hour of it costs.

    Attributes:
        name: of the offer: ``g6.xlarge, us-east-1``.
        machine: pattern of the names of machines that it means, ``*`` for all.
        device: ``cpu`` or ``gpu`` where it means figures of one of them only; else empty.
        price_per_hour: in the currency, of the whole offer.
        currency: ``USD``.
        date: of the price.
        source: where it stands.
        spot: whether it may be withdrawn at any time; else the list price.
        share: of the offered machine that is used; only this part is paid.
    """

    name: str
    machine: str
    device: str
    price_per_hour: float
    currency: str
    date: str
    source: str
    spot: bool
    share: float

    @property
    def told(self) -> str:
        """All of it but the source, in one line."""
        kind = "spot" if self.spot else "list"
        share = f", {self.share:.0%} of the machine" if self.share != 1 else ""
        price = f"{self.price_per_hour:g} {self.currency}/h {kind}"
        return f"{self.name}: {price} of {self.date}{share}"


@dataclasses.dataclass(frozen=True, slots=True)
class Electricity:
    """The price of energy.

    Attributes:
        price_per_kwh, currency, date, source: as in Offer.
    """

    price_per_kwh: float
    currency: str
    date: str
    source: str

    @property
    def told(self) -> str:
        """Price and date in one line."""
        return f"electricity: {self.price_per_kwh:g} {self.currency}/kWh of {self.date}"


@dataclasses.dataclass(frozen=True, slots=True)
class Prices:
    """What a price file holds.

    Attributes:
        offers: in the order of the file.
        electricity: None where the file has no price.
        idle_share: share of the paid time in which nothing is to do, 0 to below 1.
        file: where it stands.
    """

    offers: tuple[Offer, ...]
    electricity: Electricity | None
    idle_share: float
    file: Path


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a million items.

    Attributes:
        row: any profile of the setting that it is of.
        estimate: in the currency; without a value the reason.
        currency: of the price.
        by: ``machine`` for an offer, ``electricity``, or ``electricity bound`` where the energy is
            at most that of the nominal power.
        inputs: everything that it was calculated from, in one line.
        source: of the price.
    """

    row: Row
    estimate: Estimate
    currency: str
    by: str
    inputs: str
    source: str


def read_prices(path: Path) -> Prices:
    """Reads a price file, and the catalogs that it names.

    Raises:
        RequestError: a file cannot be read, or says something that makes no sense.
    """
    whole = Table(str(path), read_toml(path))
    offers = [
        _offer(Table(f"{path}: offer {number}", entries))
        for number, entries in enumerate(_list(whole, "offer"), 1)
    ]
    for number, entries in enumerate(_list(whole, "catalog"), 1):
        offers.append(_of_catalog(Table(f"{path}: catalog {number}", entries), path.parent))
    electricity = None
    if (entries := whole.take("electricity")) is not None:
        table = Table(f"{path}: electricity", entries)
        electricity = Electricity(
            table.number("price_per_kwh"), table.currency(), table.text("date"),
            table.text("source"),
        )  # fmt: skip
        table.finish(_ELECTRICITY)
    idle_share = whole.number("idle_share", 0.0, high=0.999)
    whole.finish(("offer", "catalog", "electricity", "idle_share"))
    if not offers and electricity is None:
        whole.refuse("holds no price", "add [[offer]], [[catalog]] or [electricity]")
    return Prices(tuple(offers), electricity, idle_share, path)


def _list(table: Table, name: str) -> list[object]:
    found = table.take(name, [])
    if not isinstance(found, list):
        table.refuse(f"'{name}' is not a list of tables", f"write [[{name}]]")
    return list(found)


def _offer(table: Table, price: float | None = None, default: str | None = None) -> Offer:
    name, machine = table.text("name", default), table.text("machine", "*")
    device = table.text("device", "")
    if device not in ("", CPU, GPU):
        table.refuse(f"'device' is {device}", f"leave it out, or write {CPU} or {GPU}")
    price_per_hour = table.number("price_per_hour") if price is None else price
    found = Offer(
        name=name,
        machine=machine,
        device=device,
        price_per_hour=price_per_hour,
        currency=table.currency(),
        date=table.text("date"),
        source=table.text("source"),
        spot=table.truth("spot"),
        share=table.number("share", 1.0, low=1e-6, high=1.0),
    )
    table.finish(_OFFER if price is None else _CATALOG)
    return found


def _of_catalog(table: Table, folder: Path) -> Offer:
    """An offer whose price stands in SkyPilot's catalog of a cloud."""
    file = folder / table.text("file")
    instance, region = table.text("instance"), table.text("region", "")
    spot = table.truth("spot")
    price, where = catalog_price(file, instance, region, spot=spot)
    rest = Table(table.place, {**table.rest(), "spot": spot})
    return _offer(rest, price, f"{instance}, {where}")


def catalog_price(
    file: Path, instance: str, region: str = "", *, spot: bool = False
) -> tuple[float, str]:
    """The lowest price of an instance type in a catalog, over its zones, and in which region.

    Catalogs are tables of the files ``catalogs/v7/CLOUD/vms.csv`` of skypilot-org/skypilot-catalog:
    US dollars an hour of the whole instance.

    Args:
        file: the table.
        instance: its ``InstanceType``.
        region: its ``Region``; empty for the cheapest of all.
        spot: the spot price, not the list price.

    Raises:
        RequestError: it cannot be read, or has no such price.
    """
    column = "SpotPrice" if spot else "Price"
    prices = []
    for row in _catalog_rows(file):
        if row["InstanceType"] == instance and region in ("", row["Region"]):
            try:
                price = float(row[column])
            except ValueError:
                continue  # not offered so in this zone
            if math.isfinite(price) and price > 0:
                prices.append((price, row["Region"]))
    if not prices:
        where = f" in {region}" if region else ""
        raise RequestError(
            f"{file}: no {column} of {instance}{where}", "check the names in the catalog"
        )
    return min(prices)


def _catalog_rows(file: Path) -> Iterator[dict[str, str]]:
    try:
        with os.fdopen(open_ordinary(file), newline="", encoding="utf-8") as opened:
            if os.fstat(opened.fileno()).st_size > _MOST_BYTES:
                raise RequestError(f"{file}: larger than {_MOST_BYTES:,} bytes", "cut it")
            rows = csv.DictReader(opened)
            missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise RequestError(
                    f"{file}: has no column {missing[0]}", "give a vms.csv of SkyPilot's catalog"
                )
            for number, row in enumerate(rows):
                if number >= _MOST_ROWS:
                    raise RequestError(f"{file}: more than {_MOST_ROWS:,} rows", "cut it")
                yield {name: row.get(name) or "" for name in _COLUMNS}
    except (OSError, ValueError, csv.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RequestError(f"{file}: cannot be read: {reason}", "name another file") from error


def meant(offer: Offer, row: Row) -> bool:
    """Whether an offer is of what a profile was measured on."""
    return offer.device in ("", row.setting.kind) and fnmatch.fnmatchcase(
        row.machine.casefold(), offer.machine.casefold()
    )


def costs(rows: Sequence[Row], prices: Prices, nominal_watts: float | None = None) -> list[Cost]:
    """What a million items cost in one setting, by each price that applies.

    Args:
        rows: of one machine and setting.
        prices: of the study.
        nominal_watts: nominal power of the device; None where not known.
    """
    row, rate = rows[0], figure(rows, RATE)
    if row.setting.batch is None:
        rate = Estimate(
            None, reason="how many items an inference has is not known", rows=tuple(rows)
        )
    found = []
    used = 1 - prices.idle_share
    idle = f", idle {prices.idle_share:.0%} of the time" if prices.idle_share else ""
    at = "" if rate.value is None else f", {rate.value:.6g} items/s"
    for offer in prices.offers:
        if meant(offer, row):
            hourly = offer.price_per_hour * offer.share / used
            cost = mapped(rate, lambda r, hourly=hourly: hourly / 3600 / r * MILLION)  # type: ignore[misc]
            inputs = f"{offer.told}{at}{idle}"
            found.append(Cost(row, cost, offer.currency, "machine", inputs, offer.source))
    if (power := prices.electricity) is not None:
        factor = MILLION / JOULES_PER_KWH * power.price_per_kwh
        joules = figure(rows, ENERGY)
        told = "" if joules.value is None else f", {joules.value:.6g} J/item metered"
        cost = mapped(joules, lambda j: j * factor)
        inputs = f"{power.told}{told}"
        found.append(Cost(row, cost, power.currency, "electricity", inputs, power.source))
        if joules.value is None and nominal_watts is not None and rate.value:
            bound = mapped(rate, lambda r: nominal_watts / r * factor)
            inputs = f"{power.told}, at most {nominal_watts:g} W nominal{at}"
            found.append(
                Cost(row, bound, power.currency, "electricity bound", inputs, power.source)
            )
    return found
