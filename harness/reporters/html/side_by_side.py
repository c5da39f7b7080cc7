"""Several profiles: a table, then a column each with the same questions and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from harness.analysis.comparing.report import Compared
from harness.analysis.operators.table import OperatorTable
from harness.options import worded
from harness.reporters.html import answers, plots
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import (
    Content,
    Markup,
    element,
    foreign,
    foreign_names,
    moment,
    tooltip,
)
from harness.reporters.html.quantities import axis_duration, duration, percent
from harness.reporters.html.tables import Column, table
from harness.reporters.wording import figure_of, file_names
from harness.statistics.figures import Figure
from harness.statistics.verdicts import Verdict

#: How many op types, and changed operators, are listed.
_OPERATORS = 12


def side_by_side(digests: Sequence[Digest], comparisons: Sequence[Compared]) -> Markup:
    """A table, and a column per profile; the first profile is the base of the others.

    Args:
        digests: two or more.
        comparisons: of each except the first against the first; empty if none was made.
    """
    columns = []
    grouped = any(digest.together is not None for digest in digests)
    names, files = _names(digests)
    for number, digest in enumerate(digests):
        said: Content = None
        if number == 0:
            said = _base() if comparisons else None
        elif comparisons:
            said = verdict(comparisons[number - 1])
        columns.append(
            element(
                "article",
                element(
                    "header",
                    element("h2", _link(number, digest, names[number])),
                    answers.note(files[number], ", ", moment(digest.profile.created)),
                ),
                said,
                answers.answers(digest, together=grouped),
                class_="column",
            )
        )  # fmt: skip
    return element(
        "section",
        _overview(digests, comparisons),
        element("div", columns, class_="columns grouped" if grouped else "columns"),
        element(
            "figure",
            _medians(digests),
            element(
                "figcaption",
                f"Median of each {'process or group' if grouped else 'process'}, and the 95 % "
                "interval of the profile.",
            ),
        ),
        _op_types(digests),
        id="side-by-side",
    )  # fmt: skip


def _names(digests: Sequence[Digest]) -> tuple[list[Markup], list[Markup]]:
    """Models and files of the profiles, shortened so that different ones still differ."""
    profiles = [digest.profile for digest in digests]
    return (
        foreign_names([profile.model.name for profile in profiles], 40),
        foreign_names(file_names(profiles), 60),
    )


def _link(number: int, digest: Digest, name: Markup) -> Markup:
    return element("a", f"{number + 1}. ", name, href=f"#{digest.anchor}top")


def _overview(digests: Sequence[Digest], comparisons: Sequence[Compared]) -> Markup:
    """What most readers came for, one profile per row."""
    columns = [
        Column("profile"), Column("file"), Column("median", number=True),
        Column("95 % interval", number=True),
    ]  # fmt: skip
    if comparisons:
        columns += [
            Column("ratio to the base", "latency, as compare calculates it", number=True),
            Column("its 95 % interval", number=True),
            Column("verdict"),
        ]
    rows: list[list[Content]] = []
    for number, (digest, name, file) in enumerate(zip(digests, *_names(digests), strict=True)):
        figures = digest.latency
        rows.append(
            [
                _link(number, digest, name),
                file,
                "–" if figures is None else duration(figures.median_ns),
                "–" if figures is None else _range(figures.interval_ns, duration),
            ]
        )
        if comparisons and number == 0:
            rows[-1] += ["1", "–", element("b", "base")]
        elif comparisons:
            rows[-1] += _judged(comparisons[number - 1])
    return table(columns, rows, caption="Latency of one inference", stacked=True, kind="overview")


def _judged(compared: Compared) -> list[Content]:
    """Ratio, its interval and the verdict, in cells."""
    found = compared.latency.comparison
    told, kind = _told(found.verdict)
    per_item = " per item" if compared.per == "item" else ""
    ratio = "–" if found.ratio is None else f"{found.ratio:.3f}{per_item}"
    return [ratio, _range(found.interval, "{:.3f}".format), element("b", told, class_=kind)]


def _range(ends: tuple[float, float] | None, form: Callable[[float], str]) -> str:
    return "–" if ends is None else f"{form(ends[0])} to {form(ends[1])}"


def _told(verdict: Verdict) -> tuple[str, str]:
    """A verdict in words, and the class of its colour."""
    words = str(verdict).replace("_", " ")
    return words, words.lower().replace(" ", "-")


def _base() -> Markup:
    return element(
        "div",
        element("p", "BASE", class_="big"),
        answers.note("the others are compared with this one"),
        class_="card",
    )


def verdict(compared: Compared) -> Markup:
    """What ``compare`` says of a profile against the base."""
    found = compared.latency.comparison
    told, kind = _told(found.verdict)
    ratio: Content = None
    if found.ratio is not None:
        text = f"{found.ratio:.3f} times the base"
        if found.interval is not None:
            low, high = found.interval
            text += f", {low:.3f} to {high:.3f} with 95 % confidence"
        ratio = answers.note(text)
    per_item: Content = None
    if compared.per == "item":
        per_item = answers.note(
            "per item, batch {} against {}: the verdict and the operators; everything else on "
            "this page is per inference".format(*compared.items)
        )
    return element(
        "div",
        element("p", told, class_=f"big compared {kind}"),
        per_item,
        ratio,
        _beside(compared),
        answers.note(worded(found.reason)),
        _folded("What to know first", list(map(worded, compared.caveats))),
        _folded(
            "What else differs",
            [f"{worded(one.what)}: {one.base} → {one.candidate}" for one in compared.differences],
        ),
        _changes(compared),
        class_="card",
    )


def _beside(compared: Compared) -> Markup | None:
    """What the verdict is on, and what changed otherwise."""
    told = figure_of(compared)
    if not told or compared.latency.comparison.ratio is None:
        return None
    changed = [f"{one.name.replace('_', ' ').removesuffix(' ns')} {one.comparison.verdict}"
               for one in compared.beside]  # fmt: skip
    but = f" But: {', '.join(changed)}." if changed else ""
    return answers.note(f"{told[0].upper()}{told[1:]}.{but}")


def _folded(title: str, sentences: Sequence[str]) -> Markup | None:
    if not sentences:
        return None
    items = [element("li", foreign(sentence, 300)) for sentence in sentences]
    summary = element("summary", f"{title} ({len(sentences)})")
    return element("details", summary, element("ul", items, class_="reasons"))


def _changes(compared: Compared) -> Markup | None:
    """The operators that changed most, if they could be compared."""
    found = compared.operators
    if isinstance(found, Figure) or not found.changes:
        return None
    sentences = []
    for change in found.changes[:_OPERATORS]:
        names = (change.candidate_labels or change.base_labels)[:1]
        longer = f"{'+' if change.change_ns > 0 else '−'}{duration(abs(change.change_ns))}"
        sentences.append(f"{''.join(names)}: {longer}, {change.comparison.verdict}")
    return _folded("Operators that changed most", sentences)


def _medians(digests: Sequence[Digest]) -> Markup:
    medians = [
        [float(np.median(p.steady.duration_ns)) for p in one.profile.processes if len(p.steady)]
        for one in digests
    ]
    intervals = [one.latency.interval_ns if one.latency else None for one in digests]
    ends = [value for values in medians for value in values]
    ends += [value for interval in intervals if interval for value in interval]
    if not ends:
        return answers.note("No process has finished a timed pass.")
    margin = (max(ends) - min(ends)) * 0.05 + 1
    scale = plots.Scale(max(min(ends) - margin, 0), max(ends) + margin)
    each = 100 / len(digests)
    marks: list[Content] = []
    for number, (values, interval) in enumerate(zip(medians, intervals, strict=True)):
        top = number * each
        marks.append(
            plots.text(0, top + each / 2, str(number + 1), "tick", anchor="end", dx=-8, dy=4)
        )
        if interval:
            low, high = scale(interval[0]), scale(interval[1])
            tip = tooltip(f"{duration(interval[0])} to {duration(interval[1])}")
            marks.append(
                plots.rectangle(low, top + each * 0.25, high - low, each / 2, "interval", tip)
            )
        marks += [
            plots.point(scale(value), top + each / 2, 4, "dot", tooltip(duration(value)))
            for value in values
        ]
    return plots.plot(
        marks, label="medians of the processes of each profile", x=scale, x_text=axis_duration,
        x_title="latency", kind=f"rows{min(len(digests), 12)}",
    )  # fmt: skip


def _op_types(digests: Sequence[Digest]) -> Markup | None:
    """Own time of the op types in each profile, without a verdict: that is for ``compare``."""
    times: list[Mapping[str, float] | None] = []
    for digest in digests:
        found = digest.tables["op"]
        if not isinstance(found, OperatorTable):
            times.append(None)
            continue
        sums: dict[str, float] = {}
        for row in found.operators:
            sums[row.op_type] = sums.get(row.op_type, 0.0) + row.median_ns
        times.append(sums)
    names = dict.fromkeys(name for sums in times if sums for name in sums)
    if not names:
        return None
    order = sorted(names, key=lambda name: -max((s or {}).get(name, 0.0) for s in times))
    columns = (
        Column("op type"),
        *(Column(f"{n}. {one.profile.model.name[:24]}", number=True)
          for n, one in enumerate(digests, 1)),
    )  # fmt: skip
    rows: list[list[Content]] = []
    for name in order[:_OPERATORS]:
        cells: list[Content] = []
        for told in times:
            if told is None or name not in told:
                cells.append("–")
                continue
            whole = sum(told.values()) or 1.0
            cells.append(f"{duration(told[name])} ({percent(told[name] / whole)})")
        rows.append([foreign(name), *cells])
    caption = "Own time of the op types in one inference"
    return table(columns, rows, caption=caption, stacked=True)
