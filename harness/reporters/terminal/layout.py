"""The layouts of a model's instances: what ``layout`` prints."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

from harness.options import flag, worded
from harness.reporters.numbers import half_width, nanoseconds, rate
from harness.reporters.terminal.lines import Column, Page
from harness.reporters.wording import counted
from harness.study.layouts.candidates import DEFAULT, Layout
from harness.study.layouts.records import Found, LayoutStudy, Told, gained

#: How many layouts a sentence names.
_NAMED = 4

#: Up to so many layouts the table has all that were measured.
_ALL = 12


def print_layouts(study: LayoutStudy, command: Callable[[Layout], str]) -> None:
    """Prints the frontier, the best layout, and the command that uses it.

    Args:
        study: what was found.
        command: what to type to take a profile of a layout.
    """
    page, found = Page(), study.found
    page.title(
        study.model,
        f": {counted(len(found.told), 'layout')}, {counted(found.groups, 'group')} in "
        f"{found.spent_s:.0f} s",
    )
    if found.ended_by == "interrupted":
        page.print("interrupted: this is what was known until then, not a result", "yellow")
    shown = _shown(found)
    if shown:
        _print_table(page, found, shown)
    if found.best is None:
        page.say("best", _why_none(study))
    else:
        _print_best(page, study, found.told[found.best], command)
    _print_others(page, study, shown)


def _shown(found: Found) -> list[int]:
    """The rows of the table, by latency: the frontier, ORT's default and the winner, or all."""
    rows = {*found.frontier, *(one for one in (found.best, found.default) if one is not None)}
    if len(found.told) <= _ALL:
        rows = set(range(len(found.told)))
    having = [number for number in rows if found.told[number].items_per_s is not None]
    return sorted(having, key=lambda number: found.told[number].median_ns or 0.0)


def _print_table(page: Page, found: Found, shown: Sequence[int]) -> None:
    rows = [found.told[number] for number in shown]
    page.table(
        [
            Column("instances", [str(one.layout.instances) for one in rows]),
            Column("threads", [str(one.layout.threads or "ORT's") for one in rows]),
            Column("memory", [one.layout.memory or "-" for one in rows], "<"),
            Column("items/s", [_rate(one) for one in rows]),
            Column("of best", [_of_best(one) for one in rows]),
            Column("latency", [_time(one.median_ns) for one in rows]),
            Column("p99", [_time(one.p99_ns) for one in rows]),
            Column("groups", [str(one.groups) for one in rows]),
        ],
        Column("placement", [_placement(found, number) for number in shown], "<"),
        spared=("groups", "memory", "p99"),
    )


def _placement(found: Found, number: int) -> str:
    marks = []
    if number == found.best:
        marks.append("best")
    if number in found.frontier:
        marks.append("frontier")
    if found.told[number].reason:
        marks.append("left out")
    elif not found.told[number].confirmed:
        marks.append("not confirmed")
    name = found.told[number].layout.placement
    name = "ORT's default" if name == DEFAULT else name
    return f"{name} ({', '.join(marks)})" if marks else name


def _rate(told: Told) -> str:
    assert told.items_per_s is not None
    if told.interval is None:
        return f"{rate(told.items_per_s)} (once)"
    return f"{rate(told.items_per_s)} {half_width(told.interval, told.items_per_s, 1)}"


def _of_best(told: Told) -> str:
    return "-" if told.over_best is None else f"{told.over_best:.1%}"


def _time(value_ns: float | None) -> str:
    return "-" if value_ns is None else nanoseconds(value_ns)


def _print_best(
    page: Page, study: LayoutStudy, best: Told, command: Callable[[Layout], str]
) -> None:
    found, layout = study.found, best.layout
    where = "ORT's default" if layout.placement == DEFAULT else layout.placement
    threads = f" of {counted(layout.threads, 'thread')}" if layout.threads else ""
    memory = f", memory {layout.memory}" if layout.memory else ""
    page.say("best", f"{where}: {counted(layout.instances, 'instance')}{threads}{memory}")
    page.say("best", _certainty(found))
    _print_gain(page, found, best)
    faster = [
        number
        for number, one in enumerate(found.told)
        if one.confirmed and one.over_best_interval is not None and one.over_best_interval[0] > 1
    ]
    if faster:
        page.say(
            "caution",
            f"when measured afresh, {_named(found, faster)} did more: the machine changed, or the "
            f"budget was too small to choose; search again, with a larger {flag('budget_s')}",
        )
    if not best.confirmed and found.ended_by != "interrupted":
        page.say(
            "caution",
            "the budget left no groups to confirm it: its rate is that by which it was chosen, and "
            "luck is part of that",
        )
    page.say("use", command(layout))


def _certainty(found: Found) -> str:
    margin = f"{found.margin:.0%}"
    return {
        "told": "every other layout tried is slower, with 95 % confidence for all of them together",
        "same": f"no other layout tried can be more than {margin} faster, with 95 % confidence for "
        "all of them together",
        "budget": f"the budget was spent before this was sure to within {margin}: "
        f"{_named(found, found.undecided)} may be faster",
        "interrupted": f"not sure to within {margin}: {_named(found, found.undecided)} may be "
        "faster",
    }[found.ended_by]


def _named(found: Found, numbers: Sequence[int]) -> str:
    layouts = [found.told[number].layout for number in numbers]
    names = [
        "ORT's default"
        if one.placement == DEFAULT
        else f"{one.placement} ({one.instances} x {one.threads})"
        for one in layouts[:_NAMED]
    ]
    more = f" and {len(layouts) - _NAMED} more" if len(layouts) > _NAMED else ""
    return f"{', '.join(names)}{more}" if names else "what was not tried"


def _print_gain(page: Page, found: Found, best: Told) -> None:
    if best.layout.placement == DEFAULT:
        page.say("gain", "none: ORT's default is the best layout")
        return
    gain = gained(found)
    if gain is None:
        page.say("gain", "not known: ORT's default was not measured beside it")
        return
    low, high = gain.interval
    page.say(
        "gain",
        f"{rate(gain.ratio)} times ORT's default, {rate(low)} to {rate(high)} with 95 % "
        f"confidence: {gain.verdict}",
    )


def _why_none(study: LayoutStudy) -> str:
    found = study.found
    if study.limit_ns is not None and found.groups:
        fastest = min(
            (one for one in found.told if one.median_ns is not None),
            key=lambda one: one.median_ns or 0.0,
        )
        return (
            f"none: no layout tried meets {flag('latency_limit_ms')} "
            f"{study.limit_ns * 1e-6:g}; the lowest latency is {_time(fastest.median_ns)} (p99 "
            f"{_time(fastest.p99_ns)}), of {fastest.layout.placement}"
        )
    return "none: no layout could be measured"


def _print_others(page: Page, study: LayoutStudy, shown: Sequence[int]) -> None:
    """Says what became of the layouts that the table leaves out."""
    found = study.found
    others = [one for number, one in enumerate(found.told) if number not in shown]
    measured = [one for one in others if one.items_per_s is not None and not one.reason]
    if measured:
        page.say(
            "others",
            f"{counted(len(measured), 'layout')} measured that another one beats in both latency "
            f"and throughput: all figures with {flag('json')}",
        )
    reasons = collections.Counter(one.reason for one in found.told if one.reason)
    reasons.update(f"not tried: {one.reason}" for one in study.unfit)
    for reason, count in reasons.most_common():
        page.say("others", f"{counted(count, 'layout')}: {worded(reason)}")
    if study.items.value is None:
        page.say("items", f"an inference counts as one item: {worded(study.items.reason)}")
