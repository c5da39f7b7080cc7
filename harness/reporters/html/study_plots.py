"""The plots of a study: small multiples on one scale, frontiers, and the map of winners."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from harness.reporters.html import plots
from harness.reporters.html.markup import Content, Markup, element, foreign, join, tooltip
from harness.reporters.html.quantities import axis_duration
from harness.reporters.numbers import nanoseconds, rate
from harness.reporters.study_words import contenders, factor, money, ratio_told, role
from harness.study.effects import ThreadScaling
from harness.study.figures import Study
from harness.study.measured import Contender, Measured
from harness.study.ratios import LATENCY, RATE
from harness.study.winners import COST, Winner

#: Colours that page.css has for devices; further ones share the last.
_COLOURS = 6

#: A ratio at which a cell of the map has its full colour.
_FULL = 20.0

#: Most characters of a name.
_NAME = 40


def colours(study: Study) -> dict[tuple[str, str], str]:
    """The class of each device: equal products of several machines share one."""
    kinds = dict.fromkeys((one.kind, one.device) for one in contenders(study))
    return {kind: f"c{min(k, _COLOURS - 1)}" for k, kind in enumerate(sorted(kinds))}


def _colour(of: Contender, known: dict[tuple[str, str], str]) -> str:
    return known[of.kind, of.device]


def _legend(study: Study) -> Markup:
    named = contenders(study)
    entries: dict[str, Content] = {}
    known = colours(study)
    for one in named:
        entries.setdefault(
            _colour(one, known),
            element("span", foreign(one.short, _NAME), f" ({one.kind.upper()})"),
        )
    return plots.legend(entries.items())


def heat_maps(study: Study) -> Markup | None:
    """Who is best by model and batch, in latency and, where that differs, in throughput."""
    if not study.winners:
        return None
    by_latency = [one for one in study.winners if one.which == LATENCY]
    by_rate = [one for one in study.winners if one.which == RATE]
    by_cost = [one for one in study.winners if one.which == COST]
    currencies = dict.fromkeys(one.currency for one in by_cost)
    several = any(
        one.setting.instances > 1 or one.setting.concurrency > 1 for one in study.measured
    )
    return element(
        "figure", _legend(study),
        element(
            "div",
            _heat_map(study, by_latency, "Lowest latency of an inference"),
            _heat_map(study, by_rate, "Most items a second, sessions side by side included")
            if several else None,
            [
                _heat_map(study, [one for one in by_cost if one.currency == currency],
                          f"Least cost of a million items, {currency}")
                for currency in currencies
            ],
            class_="pair",
        ),
        element("figcaption", "How many times better than the next best device it is, and what it "
                "reaches. Cells without a colour: the data do not decide."),
    )  # fmt: skip


def _heat_map(study: Study, found: Sequence[Winner], title: str) -> Markup:
    """A table whose cells have the winner's colour."""
    known, named = colours(study), contenders(study)
    columns = sorted({one.case.batch or 0 for one in found})
    models: dict[str, dict[int, list[Winner]]] = {}
    for one in found:
        name = one.case.name
        models.setdefault(name, {}).setdefault(one.case.batch or 0, []).append(one)
    heads = [element("th", "model", scope="col")]
    heads += [
        element("th", f"batch {batch:,}" if batch else "batch not known", scope="col")
        for batch in columns
    ]
    body = [
        element("tr", element("th", foreign(name, _NAME), scope="row"),
                [_winner(cells.get(batch, ()), known, named) for batch in columns])
        for name, cells in models.items()
    ]  # fmt: skip
    whole = element(
        "table",
        element("caption", title),
        element("thead", element("tr", heads)),
        element("tbody", body),
        class_="heat",
    )
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=title)


def _winner(
    found: Sequence[Winner], known: dict[tuple[str, str], str], named: Iterable[Contender]
) -> Markup:
    if not found:
        return element("td", element("span", "–", class_="quiet"))
    # Of several shapes in one batch, that which is least clear.
    one = min(found, key=lambda each: (each.winner is not None, each.leads[0].value or 0.0))
    lead = one.leads[0]
    tip = "; ".join([one.setting, *map(ratio_told, one.leads)])
    value = lead.value or 1.0
    best = one.figure.value or 0.0
    told = nanoseconds(best) if one.which == LATENCY else f"{rate(best)} items/s"
    told = money(best, one.currency) if one.which == COST else told
    figure = element("span", told, class_="quiet")
    ahead = lead.reason if lead.value is None else f"{factor(value)} times"
    if one.winner is None:
        return element(
            "td", element("b", "cannot tell"), element("span", f"{ahead}?"), figure,
            class_="open", title=tip,
        )  # fmt: skip
    if lead.value is None:
        ahead, value = "costs nothing", _FULL
    share = min(math.log(max(value, 1.01)) / math.log(_FULL), 1.0)
    name = role(one.first, tuple(named)).removeprefix("the ")
    return element(
        "td", element("b", foreign(name, _NAME)), element("span", ahead), figure,
        class_=f"won {_colour(one.first, known)} s{max(1, round(share * 4))}", title=tip,
    )  # fmt: skip


def _decades(low: float, high: float) -> plots.Scale:
    """A logarithmic scale of whole decades, so that at least two of its ticks are told."""
    first = math.floor(math.log10(low) + 1e-9)
    last = max(math.ceil(math.log10(high) - 1e-9), first + 1)
    return plots.Scale(10.0**first, 10.0**last, logarithmic=True)


def _along(values: Sequence[float]) -> plots.Scale:
    """A logarithmic scale with room at both ends."""
    low, high = min(values), max(values)
    room = (high / low) ** 0.08 if high > low else 1.5
    return plots.Scale(low / room, high * room, logarithmic=True)


def _marks(x: plots.Scale, values: Iterable[float]) -> list[Content]:
    """Ticks at the numbers that were measured, less those that would overlap."""
    found: list[Content] = []
    last = -100.0
    for value in values:
        at = x(value)
        found.append(plots.line(at, 0, at, 100, "grid"))
        if at - last > 9:
            found.append(plots.text(at, 100, f"{value:,.0f}", "tick", anchor="middle", dy=18))
            last = at
    return found


def _decade_marks(x: plots.Scale) -> list[Content]:
    """Durations at whole decades, at most four with their text."""
    first, last = round(math.log10(x.low)), round(math.log10(x.high))
    step = max(math.ceil((last - first) / 3), 1)
    found: list[Content] = []
    for power in range(first, last + 1):
        at = x(10.0**power)
        found.append(plots.line(at, 0, at, 100, "grid"))
        if (power - first) % step == 0:
            told = axis_duration(10.0**power)
            found.append(plots.text(at, 100, told, "tick", anchor="middle", dy=18))
    return found


def speed_ups(study: Study) -> Markup | None:
    """Speed-up over the batch, a plot for each model, all on one scale."""
    shown = [
        one for one in study.crossovers
        if any(each.latency.value for each in one.speed_ups)
    ]  # fmt: skip
    if not shown:
        return None
    known = colours(study)
    points = [each for one in shown for each in one.speed_ups if each.latency.value]
    ends = [end for one in points for end in (one.latency.interval or (one.latency.value or 1.0,))]
    batches = sorted({one.case.batch or 1 for one in points})
    x, y = _along(batches), _decades(min([*ends, 0.9]), max([*ends, 1.1]))
    names: dict[str, list[Content]] = {}
    for crossover in shown:
        title = crossover.name
        kind = _colour(crossover.other, known)
        here = [one for one in crossover.speed_ups if one.latency.value]
        drawing = names.setdefault(title, [])
        values = np.array([one.latency.value or 1.0 for one in here])
        at = x.of([one.case.batch or 1 for one in here])
        if len(here) > 1:
            drawing.append(plots.curves(plots.curve(at, y.of(values), f"line {kind}")))
        for place, one in zip(at, here, strict=True):
            ends_of, value = one.latency.interval, one.latency.value or 1.0
            tip = tooltip(one.case.told, ratio_told(one.latency), one.latency.basis)
            if ends_of is not None:
                drawing.append(plots.line(float(place), 100 - y(ends_of[0]), float(place),
                                          100 - y(ends_of[1]), f"whisker {kind}", tip))  # fmt: skip
            hollow = "" if ends_of is not None else " hollow"
            drawing.append(
                plots.point(float(place), 100 - y(value), 4.5, f"mark {kind}{hollow}", tip)
            )
    even = 100 - y(1.0)
    return element(
        "figure",
        element(
            "div",
            [
                _panel(
                    title,
                    plots.plot(
                        _marks(x, batches), plots.line(0, even, 100, even, "even"), drawing,
                        label=f"speed-up of {title} over the batch", y=y, y_text=_times,
                        x_title="batch", kind="multiple",
                    ),
                )
                for title, drawing in names.items()
            ],
            class_="multiples",
        ),
        element("figcaption", "Above the bold line the GPU (or the second device) is faster, below "
                "it the CPU (or the first). A hollow mark has no interval."),
    )  # fmt: skip


def _times(value: float) -> str:
    return f"{value:g}×"


def _panel(title: str, drawing: Content) -> Markup:
    return element("div", element("h4", foreign(title, _NAME)), drawing, class_="panelled")


def frontiers(study: Study) -> Markup | None:
    """Latency and throughput of every setting, a plot for each model, all on one scale."""
    models: dict[str, list[tuple[Measured, bool]]] = {}
    for one, kept in study.frontier:
        models.setdefault(one.case.model, []).append((one, kept))
    shown = {name: points for name, points in models.items() if len(points) > 1}
    if not shown:
        return None
    known = colours(study)
    every = [one for points in shown.values() for one, _ in points]
    x = _decades(min(one.latency.value or 1 for one in every),
                 max(one.latency.value or 1 for one in every))  # fmt: skip
    y = _decades(min(one.rate.value or 1 for one in every),
                 max(one.rate.value or 1 for one in every))  # fmt: skip
    panels = []
    for name, points in shown.items():
        drawing: list[Content] = []
        line = sorted((one for one, kept in points if kept), key=lambda one: one.latency.value or 0)
        if len(line) > 1:
            drawing.append(plots.curves(plots.steps(
                x.of([one.latency.value or 1 for one in line]),
                y.of([one.rate.value or 1 for one in line]), "level")))  # fmt: skip
        for one, kept in points:
            tip = tooltip(
                f"{one.case.told} on {one.contender.short}", one.setting.told,
                f"{nanoseconds(one.latency.value or 0)}, {rate(one.rate.value or 0)} items/s",
                "no other setting beats it in both" if kept else "",
            )  # fmt: skip
            kind = f"mark {_colour(one.contender, known)}{'' if kept else ' beaten'}"
            drawing.append(plots.point(x(one.latency.value or 1), 100 - y(one.rate.value or 1),
                                       5 if kept else 4, kind, tip))  # fmt: skip
        panels.append(_panel(name, plots.plot(
            _decade_marks(x), drawing, label=f"latency and throughput of {name}", y=y,
            y_text=_rate, x_title="latency of an inference", y_title="items/s", kind="multiple",
        )))  # fmt: skip
    return element(
        "figure", _legend(study), element("div", panels, class_="multiples"),
        element("figcaption", "To the left and up is better. Faint marks are beaten in both by "
                "another setting of the same model; batches of any size are in one plot."),
    )  # fmt: skip


def _rate(value: float) -> str:
    for unit, amount in (("M", 1e6), ("k", 1e3)):
        if value >= amount:
            return f"{value / amount:g}{unit}"
    return f"{value:g}"


def thread_curves(study: Study) -> Markup | None:
    """Share of the best throughput over threads, a plot for each model, all on one scale."""
    if not study.scalings:
        return None
    known = colours(study)
    counts = sorted({threads for one in study.scalings for threads, _ in one.points})
    x, y = _along(counts), plots.Scale(0.0, 1.1)
    models: dict[tuple[str, str, Contender], list[ThreadScaling]] = {}
    for one in study.scalings:
        key = (one.case.model, one.case.variant, one.contender)
        models.setdefault(key, []).append(one)
    panels = []
    for (model, variant, device), group in models.items():
        name = f"{model} {variant}".strip()
        several = len(models) > len({(m, v) for m, v, _ in models})
        title = f"{name} on {device.short}" if several else name
        kind = _colour(device, known)
        drawing = [_thread_curve(one, kind, x, y) for one in group]
        knees = sorted({one.knee.threads for one in group})
        for count in knees:
            at = x(count)
            drawing.append(plots.line(at, 0, at, 100, "median"))
        at = x(knees[0])
        told = f"knee {knees[0]}" if len(knees) == 1 else f"knees {knees[0]} to {knees[-1]}"
        drawing.append(
            plots.text(
                at, 0, told, "axis", anchor="end" if at > 60 else "start",
                dx=-4.0 if at > 60 else 4.0, dy=11,
            )
        )  # fmt: skip
        panel = plots.plot(
            _marks(x, counts), drawing, label=f"throughput of {title} over threads", y=y,
            y_text=lambda value: f"{value:.0%}", x_title="threads",
            y_title="of the most items/s", kind="multiple",
        )  # fmt: skip
        panels.append(_panel(title, panel))
    return element(
        "figure",
        element("div", panels, class_="multiples"),
        element("figcaption", "A line for each batch. The knee is where nine tenths are reached."),
    )


def _thread_curve(of: ThreadScaling, kind: str, x: plots.Scale, y: plots.Scale) -> Markup:
    threads = [count for count, _ in of.points]
    values = [share.value or 0.0 for share in of.shares]
    drawn: list[Content] = [plots.curves(plots.curve(x.of(threads), y.of(values), f"line {kind}"))]
    for count, share in zip(threads, of.shares, strict=True):
        tip = tooltip(
            of.case.told, f"{count} threads: {share.value or 0:.0%} of the best", share.basis
        )
        if share.interval is not None:
            low, high = (100 - y(end) for end in share.interval)
            drawn.append(plots.line(x(count), low, x(count), high, f"whisker {kind}", tip))
        at = 100 - y(share.value or 0)
        drawn.append(plots.point(x(count), at, 4.5, f"mark {kind}", tip))
    return join(drawn)
