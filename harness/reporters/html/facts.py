"""Everything that was recorded besides times: with its source, or why it is absent."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from harness.options import worded
from harness.records import Reading
from harness.reporters import wording
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, foreign, foreign_names, join
from harness.reporters.html.quantities import of_unit, size
from harness.reporters.html.tables import Column, table

#: How many lines of ORT's log are shown, and the longest fact and reason, in characters.
_LOG_LINES = 200
_FACT = 160
_REASON = 400


def inputs(digest: Digest) -> Markup:
    """What was fed, and why it was chosen."""
    columns = (Column("input"), Column("type"), Column("shape"), Column("chosen because"))
    called = foreign_names([each.name for each in digest.profile.inputs])
    rows: list[list[Content]] = [
        [
            name,
            each.dtype,
            "×".join(map(str, each.shape)) or "scalar",
            foreign(worded(each.chosen_because), _REASON),
        ]
        for name, each in zip(called, digest.profile.inputs, strict=True)
    ]
    return table(columns, rows, caption="Inputs as they were fed", stacked=True)


def model(digest: Digest) -> Markup:
    """Facts of the model."""
    told = digest.profile.model
    check = digest.profile.output_check
    error = f"{check.value:g}" if isinstance(check.value, (int, float)) else check.reason
    facts: list[tuple[str, Content]] = [
        ("name", foreign(told.name, _FACT)),
        ("file", foreign(told.path, _FACT)),
        ("SHA-256", element("code", told.sha256)),
        ("size", size(told.size_bytes)),
        ("producer", foreign(told.producer) if told.producer else "not stated"),
        ("IR version", _known(told.ir_version)),
        ("operator sets", foreign(", ".join(told.opsets), _FACT)),
        ("nodes in the file", _known(told.node_count)),
        ("parameters", _known(told.parameter_count)),
        ("largest output error", error or "not checked"),
    ]
    return table((Column("fact"), Column("value")), facts, caption="Model")


def _known(number: int) -> str:
    """A count from the model's file; a file in ORT's own format does not state it."""
    return f"{number:,}" if number >= 0 else "not stated"


def environment(digest: Digest) -> Markup:
    """The facts of the machine that are known."""
    known = [fact for fact in digest.profile.environment if fact.value is not None]
    return _readings(known, "Environment, and where each fact was read")


def absent(digest: Digest) -> Markup | None:
    """What is absent, with the reason."""
    rows: list[list[Content]] = [
        [what, foreign(worded(reason), _REASON)] for what, reason in digest.profile.absent
    ]
    rows += [
        [fact.name, foreign(worded(fact.reason), _REASON)]
        for fact in digest.profile.environment
        if fact.value is None
    ]
    if not rows:
        return None
    columns = (Column("what"), Column("why"))
    return table(columns, rows, caption="What is absent, and why", stacked=True)


def recorded(digest: Digest) -> Markup:
    """The long tables and raw texts, folded until they are opened."""
    blocks = [
        ("Environment, and where each fact was read", environment(digest)),
        ("The host during each timed pass", noise(digest)),
        ("Sampled series and their sources", series(digest)),
    ]
    return join([[_folded(title, block) for title, block in blocks if block], raw(digest)])


def noise(digest: Digest) -> Markup | None:
    """The readings of the host taken around each timed pass."""
    processes = digest.profile.processes
    names = dict.fromkeys(fact.name for process in processes for fact in process.noise)
    if not names:
        return None
    rows: list[list[Content]] = []
    for name in names:
        found = [next((f for f in p.noise if f.name == name), None) for p in processes]
        seen = [fact for fact in found if fact is not None]
        cells = [_value(fact) if fact is not None else "–" for fact in found]
        rows.append([name, *cells, seen[0].source])
    columns = (
        Column("reading"),
        *(Column(f"{digest.unit} {process.index}", number=True) for process in processes),
        Column("source"),
    )
    return table(columns, rows, caption="The host during each timed pass")


def series(digest: Digest) -> Markup | None:
    """Every series with its source; those of test doubles are included and marked."""
    if not digest.profile.devices:
        return None
    columns = (
        Column("device"), Column("quantity"), Column("readings", number=True),
        Column("changes", "readings that differ from the previous one", number=True),
        Column("min", number=True), Column("median", number=True), Column("max", number=True),
        Column("source"),
    )  # fmt: skip
    rows: list[list[Content]] = []
    for each in digest.profile.devices:
        told: list[Content] = ["refused"] * 3
        if not len(each):
            told = ["–"] * 3
        elif not each.double:
            ends = (each.value.min(), np.median(each.value), each.value.max())
            told = [of_unit(float(value), each.unit) for value in ends]
        source = f"test double, no measurement: {each.source}" if each.double else each.source
        rows.append(
            [each.device, each.quantity, f"{len(each):,}", f"{int(each.changed.sum()):,}", *told,
             source]
        )  # fmt: skip
    return table(columns, rows, caption="Sampled series, all processes together")


def raw(digest: Digest) -> Markup:
    """The configuration, pyperf's metadata and ORT's log."""
    profile = digest.profile
    config = json.dumps(profile.asked.options, indent=2, ensure_ascii=False)
    blocks: list[Content] = [_folded("Configuration", element("pre", config))]
    for process in profile.processes[:1]:
        rows: list[list[Content]] = [
            [name, foreign(str(value), _FACT)] for name, value in process.metadata.items()
        ]
        if rows:
            facts = table((Column("name"), Column("value")), rows, caption="Metadata of pyperf")
            blocks.append(_folded(f"pyperf's metadata of process {process.index}", facts))
    lines = [f"process {p.index}: {line}" for p in profile.processes for line in p.log]
    if lines:
        rest = len(lines) - _LOG_LINES
        text = "\n".join(lines[:_LOG_LINES]) + (f"\n… {rest} more" if rest > 0 else "")
        blocks.append(
            _folded(
                f"ORT's log, {wording.counted(len(lines), 'line')}",
                element("pre", text, dir="auto"),
            )
        )
    return join(blocks)


def _folded(title: str, *content: Content) -> Markup:
    return element("details", element("summary", title), content)


def _readings(readings: Iterable[Reading], caption: str) -> Markup:
    rows: list[list[Content]] = [
        [fact.name, _value(fact), foreign(worded(fact.source), _FACT)] for fact in readings
    ]
    columns = (Column("fact"), Column("value"), Column("source"))
    return table(columns, rows, caption=caption, stacked=True)


def _value(fact: Reading) -> Markup:
    if fact.value is None:
        return element("span", "absent: ", foreign(worded(fact.reason), _FACT), class_="absent")
    if isinstance(fact.value, str):
        return foreign(fact.value, _FACT)
    return element("span", of_unit(fact.value, fact.unit), title=f"{fact.value:g} {fact.unit}")
