"""Claims as data: a sentence with a condition on figures. docs/STUDY.md describes the file.

A condition holds if the whole interval of its figure fulfils it, fails if the whole interval does
not, and cannot be told in between, nor without an interval.
"""

from __future__ import annotations

import dataclasses
import enum
import fnmatch
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.study.joining import plain_model
from harness.study.measured import Measured
from harness.study.ratios import ENERGY, LATENCY, RATE, Estimate
from harness.study.rows import BROKEN, CPU, GPU
from harness.study.toml_files import LARGEST, Table, read_toml


class Verdict(enum.StrEnum):
    """What the data say about a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "cannot tell"


#: What a claim may be about, with the unit of its figure. A ratio is above 1 where ``of`` is the
#: better side.
FIGURES = {
    "latency": "ms", "latency per item": "ms", "throughput": "items/s", "energy": "J/item",
    "cost": "per million items", "efficiency": "of linear", "speed-up": "",
    "throughput ratio": "", "energy ratio": "", "cost ratio": "", "narrowing": "", "quoted": "",
}  # fmt: skip

#: Ratios of two sides, with the figure that they are of.
RATIOS = {"speed-up": LATENCY, "throughput ratio": RATE, "energy ratio": ENERGY}

#: Ratios of figures an item, which a claim may take between different batches.
PER_ITEM = ("throughput ratio", "energy ratio", "cost ratio")

#: How many of the cases that a claim is about must fulfil it.
WHICH = ("every", "most", "some")

#: What profiles are chosen by, with what a setting has of it.
_TOLD: Mapping[str, Callable[[Measured], object]] = {
    "model": lambda one: (one.setting.model, plain_model(one.setting)),
    "device": lambda one: one.setting.kind,
    "name": lambda one: one.setting.device,
    "machine": lambda one: one.contender.machine,
    "batch": lambda one: one.setting.batch,
    "variant": lambda one: one.setting.variant,
    "threads": lambda one: one.setting.threads,
    "instances": lambda one: one.setting.instances,
    "runtime": lambda one: one.setting.runtime,
    "provider": lambda one: one.setting.provider,
}
_SELECTORS = (*_TOLD, "parameters_at_most", "parameters_at_least")

#: Most claims of a file.
_MOST_CLAIMS = 1000

_BOUNDS = ("above", "below", "equals", "within")
_KNOWN = ("says", "figure", "of", "against", "which", "note", "quoted", "currency", *_BOUNDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Selector:
    """Which profiles a claim is about; what is not named does not matter.

    Attributes:
        wanted: by the names of ``_SELECTORS``: patterns, numbers, or lists of either.
        place: file and claim, for messages.
    """

    wanted: Mapping[str, Any]
    place: str

    def fits(self, one: Measured) -> bool:
        """Whether a setting is meant; that of a broken variant, if a pattern says ``(broken)``."""
        variant = one.setting.variant
        if not variant.endswith(BROKEN):
            return self._agrees(one, self.wanted, variant)
        patterns = [
            each for each in _several(self.wanted.get("variant", [])) if BROKEN.strip() in each
        ]  # fmt: skip
        return bool(patterns) and self._agrees(one, {**self.wanted, "variant": patterns}, variant)

    def leaves_out(self, one: Measured) -> bool:
        """Whether a setting would be meant if its variant were not broken."""
        variant = one.setting.variant.removesuffix(BROKEN)
        broken = variant != one.setting.variant
        return broken and not self.fits(one) and self._agrees(one, self.wanted, variant)

    @staticmethod
    def _agrees(one: Measured, wanted: Mapping[str, Any], variant: str) -> bool:
        parameters = one.setting.parameters
        for name, value in wanted.items():
            if name == "parameters_at_most":
                if not 0 <= parameters <= value:
                    return False
            elif name == "parameters_at_least":
                if parameters < value:
                    return False
            elif not _matches(value, variant if name == "variant" else _TOLD[name](one)):
                return False
        return True

    @property
    def told(self) -> str:
        """``model resnet50, batch 1``."""
        parts = []
        for name, value in self.wanted.items():
            shown = " or ".join(map(str, value)) if isinstance(value, list) else value
            parts.append(f"{name.replace('_', ' ')} {shown}" if shown != "" else f"no {name}")
        return ", ".join(parts) or "anything"


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A sentence with a condition.

    Attributes:
        says: the sentence.
        figure: what it is about, one of ``FIGURES``.
        of: whose figure.
        against: the base of a ratio; None for a figure alone.
        low, high: bounds of the figure, possibly infinite: open where ``above`` or ``below`` was
            written, and both from ``equals`` and ``within``.
        bound: the condition in words.
        which: of the cases that it is about, one of ``WHICH``.
        note: what is to be known about it; may be empty.
        quoted: the text's own figures, of which the first over the second is judged; empty for a
            claim that profiles decide.
        currency: of a cost; of a cost ratio perhaps, whose offers are then of this one.
    """

    says: str
    figure: str
    of: Selector
    against: Selector | None
    low: float
    high: float
    bound: str
    which: str
    note: str
    quoted: tuple[float, ...]
    currency: str

    @property
    def frees_batch(self) -> bool:
        """Whether it holds different batches against each other, because both sides name theirs."""
        sides = [self.of.wanted, self.against.wanted if self.against is not None else {}]
        named = [set(_several(side["batch"])) for side in sides if "batch" in side]
        return len(named) == 2 and named[0] != named[1]

    @property
    def unit(self) -> str:
        """The unit of its figure."""
        return _unit(self.figure, self.currency)

    def judge(self, estimate: Estimate) -> Verdict:
        """The verdict on one figure."""
        ends = estimate.decisive
        if ends is None:
            return Verdict.UNKNOWN
        if self.low < ends[0] and (ends[1] < self.high or self.high == math.inf):
            return Verdict.HOLDS
        return Verdict.FAILS if ends[1] <= self.low or self.high <= ends[0] else Verdict.UNKNOWN


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """The claims of one text.

    Attributes:
        title, source: of the text.
        claims: in its order.
        file: where they stand.
    """

    title: str
    source: str
    claims: tuple[Claim, ...]
    file: Path


def read_claims(path: Path) -> Text:
    """Reads a file of claims.

    Raises:
        RequestError: it cannot be read, or says something that makes no sense.
    """
    whole = Table(str(path), read_toml(path))
    text = Table(f"{path}: text", whole.take("text", {}))
    title, source = text.text("title", path.stem), text.text("source", "")
    text.finish(("title", "source"))
    entries = whole.take("claim", [])
    whole.finish(("text", "claim"))
    if not isinstance(entries, list) or not entries:
        whole.refuse("holds no claim", "add [[claim]]")
    if len(entries) > _MOST_CLAIMS:
        whole.refuse(f"{len(entries):,} claims, {_MOST_CLAIMS:,} at most", "make two files of it")
    claims = tuple(
        _claim(Table(f"{path}: claim {number}", entry)) for number, entry in enumerate(entries, 1)
    )
    return Text(title, source, claims, path)


def _claim(table: Table) -> Claim:
    says, name = table.text("says"), table.text("figure")
    if name not in FIGURES:
        table.refuse(f"'figure' is {name}", f"choose one of {', '.join(FIGURES)}")
    of = _selector(table, "of")
    against = _selector(table, "against")
    ratios = name in ratio_figures()
    if ratios and against is None:
        table.refuse(f"a {name} is against something", "add 'against'")
    if not ratios and against is not None:
        table.refuse(f"a {name} is not against anything", "leave 'against' out")
    quoted = table.take("quoted", [])
    numbers = isinstance(quoted, list) and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and 0 < one < LARGEST
        for one in quoted
    )
    if not numbers or (name == "quoted") != (len(quoted) in (1, 2)):
        table.refuse("'quoted' holds one or two numbers above zero where 'figure' is quoted")
    currency = _currency(table, name)
    low, high, bound = _bounds(table, _unit(name, currency))
    which = table.text("which", "every")
    if which not in WHICH:
        table.refuse(f"'which' is {which}", f"choose one of {', '.join(WHICH)}")
    note = table.text("note", "")
    table.finish(_KNOWN)
    nothing = Selector({}, table.place)
    found = Claim(
        says, name, of or nothing, against, low, high, bound, which, note,
        tuple(map(float, quoted)), currency,
    )  # fmt: skip
    if found.frees_batch and name not in PER_ITEM:
        table.refuse(
            f"a {name} is of an inference, so both sides have one batch",
            f"name one batch, or choose {', '.join(PER_ITEM)}",
        )
    return found


def _selector(table: Table, name: str) -> Selector | None:
    entries = table.take(name)
    if entries is None:
        return None
    inner = Table(f"{table.place}: {name}", entries)
    wanted = inner.rest()
    for key, value in wanted.items():
        if key not in _SELECTORS:
            inner.refuse(f"'{key}' is not known", f"known are {', '.join(_SELECTORS)}")
        values = _several(value)
        numeric = key in ("batch", "threads", "instances") or key.startswith("parameters")
        kind = int if numeric else str
        if any(not isinstance(one, kind) or isinstance(one, bool) for one in values):
            inner.refuse(f"'{key}' is not {'a whole number' if numeric else 'a text'}")
        if key.startswith("parameters") and isinstance(value, list):
            inner.refuse(f"'{key}' is a list", "give one number")
        if key == "device" and not set(values) <= {CPU, GPU}:
            inner.refuse(f"'device' is {value}", f"write {CPU} or {GPU}; 'name' is the product's")
    return Selector(wanted, inner.place)


def _currency(table: Table, figure: str) -> str:
    given = "currency" in table.rest()
    if figure == "cost" and not given:
        table.refuse("a cost is an amount of some currency", 'add currency = "USD"')
    if given and figure not in ("cost", "cost ratio"):
        table.refuse(f"a {figure} has no currency", "leave 'currency' out")
    return table.currency() if given else ""


def _unit(figure: str, currency: str) -> str:
    return f"{currency} {FIGURES[figure]}" if figure == "cost" else FIGURES[figure]


def _bounds(table: Table, unit: str) -> tuple[float, float, str]:
    low, high, told = -math.inf, math.inf, []
    given = {name: table.number(name) for name in _BOUNDS if name in table.rest()}
    if not given:
        table.refuse("has no condition", f"add {', '.join(_BOUNDS[:3])}")
    if "equals" in given:
        within = given.get("within")
        if within is None or len(given) != 2 or not 0 < within < 1:
            table.refuse("'equals' needs 'within', a share below 1, and nothing else")
        centre, share = given["equals"], float(within or 0.0)
        low, high = centre * (1 - share), centre * (1 + share)
        told = [f"{centre:g} {unit}".rstrip() + f" within {share:.0%}"]
    elif "within" in given:
        table.refuse("'within' needs 'equals'")
    else:
        low, high = given.get("above", low), given.get("below", high)
        told = [f"{name} {value:g} {unit}".rstrip() for name, value in given.items()]
        if low >= high:
            table.refuse("no figure is above one bound and below the other")
    return low, high, " and ".join(told)


def _several(value: Any) -> list[Any]:
    """What a selector names, one or several, as a list."""
    return value if isinstance(value, list) else [value]


def _matches(wanted: object, told: object) -> bool:
    if isinstance(wanted, list):
        return any(_matches(one, told) for one in wanted)
    if isinstance(told, tuple):
        return any(_matches(wanted, one) for one in told)
    if isinstance(wanted, str):
        return fnmatch.fnmatchcase(str(told or "").casefold(), wanted.casefold())
    return wanted == told


def ratio_figures() -> tuple[str, ...]:
    """Figures of two sides."""
    return (*RATIOS, "cost ratio", "narrowing")
