"""What was measured, in a table: each work on each device in each setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.study.joining import short_cpu
from harness.study.ratios import ENERGY, LATENCY, RATE, Estimate, figure
from harness.study.rows import Row, Setting


class Case(NamedTuple):
    """What is compared: the same work on different devices and in different settings.

    Attributes:
        model: its name.
        sha256: digest of the file.
        shapes: of the inputs.
        batch: items of an inference; None where not known.
        variant: of the model.
        apart: shapes of an item, where the same name and batch stand for several; empty otherwise.
    """

    model: str
    sha256: str
    shapes: tuple[str, ...]
    batch: int | None
    variant: str
    apart: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``resnet50 int8-dynamic``, ``bert-small (128)``."""
        shapes = f"({', '.join(self.apart)})" if self.apart else ""
        return " ".join(filter(None, (self.model, self.variant, shapes)))

    @property
    def told(self) -> str:
        """``resnet50 int8-dynamic, batch 32``."""
        return f"{self.name}, batch {self.batch}" if self.batch is not None else self.name

    @property
    def item_shapes(self) -> tuple[str, ...]:
        """The shapes without their batch, where that is their first size."""
        leading = f"{self.batch}x"
        return tuple(one.removeprefix(leading) for one in self.shapes)


class Contender(NamedTuple):
    """A device of a machine.

    Attributes:
        machine: its name.
        kind: CPU or GPU.
        device: product name.
        apart: whether machines of another make have one as well, or others did the same work on
            theirs: then its machine must be named.
    """

    machine: str
    kind: str
    device: str
    apart: bool = False

    @property
    def short(self) -> str:
        """The device without trade marks, and its machine where that is needed."""
        told = short_cpu(self.device)
        return f"{told} of {self.machine}" if self.apart else told


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One setting on one device.

    Attributes:
        case: what was run.
        contender: on what.
        setting: how.
        rows: its profiles, one an occasion.
        latency, rate, energy: in ns an inference, items a second, joules an item.
    """

    case: Case
    contender: Contender
    setting: Setting
    rows: tuple[Row, ...]
    latency: Estimate
    rate: Estimate
    energy: Estimate

    def figure(self, which: str) -> Estimate:
        """The figure of LATENCY, RATE or ENERGY."""
        return {LATENCY: self.latency, RATE: self.rate, ENERGY: self.energy}[which]


def case_of(row: Row) -> Case:
    """What a profile is of."""
    of = row.setting
    return Case(of.model, of.sha256, of.shapes, of.batch, of.variant)


def contender_of(row: Row) -> Contender:
    """What a profile was measured on."""
    return Contender(row.machine, row.setting.kind, row.setting.device)


def measured_settings(rows: Iterable[Row]) -> tuple[Measured, ...]:
    """Every setting with its figures; interrupted profiles count where there are no whole ones.

    Args:
        rows: the table.
    """
    groups: dict[tuple[str, Setting], list[Row]] = {}
    of_pairs: set[tuple[str, Setting, str]] = set()
    for row in rows:
        # Both sides of an `ab` of the same are one occasion.
        side = (row.machine, row.setting, row.turns.pairs)
        if not row.turns.pairs or side not in of_pairs:
            groups.setdefault((row.machine, row.setting), []).append(row)
        of_pairs.add(side)
    # An interrupted profile does not spoil what whole ones of the same setting tell.
    whole = [
        [row for row in group if row.complete and row.processes > 1] or group
        for group in groups.values()
    ]
    found = [
        Measured(
            case_of(group[0]), contender_of(group[0]), group[0].setting, tuple(group),
            *(figure(group, which) for which in (LATENCY, RATE, ENERGY)),
        )
        for group in whole
    ]  # fmt: skip
    return tuple(sorted(_devices_apart(_told_apart(found)), key=_order))


def _devices_apart(found: Sequence[Measured]) -> list[Measured]:
    """The same, with devices of several machines called by these, too, where they must be."""
    makes: dict[tuple[str, str], set[str]] = {}
    rivals: dict[tuple[Case, str, str], set[str]] = {}
    for one in found:
        machine, kind, device, _ = one.contender
        makes.setdefault((kind, device), set()).add(one.rows[0].make)
        rivals.setdefault((one.case, kind, device), set()).add(machine)
    several = {device for device, of in makes.items() if len(of) > 1}
    several |= {(kind, device) for (_, kind, device), of in rivals.items() if len(of) > 1}
    return [
        dataclasses.replace(one, contender=one.contender._replace(apart=True))
        if (one.contender.kind, one.contender.device) in several else one
        for one in found
    ]  # fmt: skip


def _told_apart(found: Sequence[Measured]) -> list[Measured]:
    """The same, with cases that differ in the shapes of an item alone called by these, too."""
    shapes: dict[str, set[tuple[str, ...]]] = {}
    for one in found:
        shapes.setdefault(one.case.told, set()).add(one.case.item_shapes)
    several = {one.case.name for one in found if len(shapes[one.case.told]) > 1}
    return [
        one if one.case.name not in several
        else dataclasses.replace(one, case=one.case._replace(apart=one.case.item_shapes))
        for one in found
    ]  # fmt: skip


def _order(one: Measured) -> tuple[object, ...]:
    of = one.case
    return (of.model, of.variant, of.batch or 0, of.shapes, of.sha256, one.contender,
            one.setting.runtime, one.setting.threads or 0, one.setting.instances,
            one.setting.concurrency, one.setting.options)  # fmt: skip


def by_case(measured: Iterable[Measured]) -> dict[Case, dict[Contender, list[Measured]]]:
    """The settings of each case, by the device."""
    found: dict[Case, dict[Contender, list[Measured]]] = {}
    for one in measured:
        found.setdefault(one.case, {}).setdefault(one.contender, []).append(one)
    return found


def fastest(of: Sequence[Measured], which: str = LATENCY) -> Measured | None:
    """The setting with the best figure, one with an interval before one without; None if none."""
    known = [one for one in of if one.figure(which).value is not None]
    return min(
        known,
        key=lambda one: (one.figure(which).interval is None, _rank(one.figure(which), which)),
        default=None,
    )


def best_of(of: Sequence[Measured], which: str = LATENCY) -> tuple[Measured | None, str]:
    """The fastest setting, and why it may not be: one without an interval has a better figure."""
    best = fastest(of, which)
    known = [one for one in of if one.figure(which).value is not None]
    better = min(known, key=lambda one: _rank(one.figure(which), which), default=best)
    if best is None or better is None or better is best:
        return best, ""
    return best, f"{better.setting.told}, without an interval, may be better"


def _rank(of: Estimate, which: str) -> float:
    return -(of.value or 0.0) if which == RATE else of.value or 0.0
