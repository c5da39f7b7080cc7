"""A study as one page: the answer, winners at a glance, claims, and every figure behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.options import worded
from harness.reporters.html import study_plots as drawn
from harness.reporters.html.answers import note
from harness.reporters.html.markup import Content, Markup, element, foreign, join
from harness.reporters.html.page import document
from harness.reporters.html.quantities import duration
from harness.reporters.html.tables import Cell, Column, table
from harness.reporters.study_words import (
    answers,
    contenders,
    cost_told,
    crossover_told,
    energy_told,
    figure_told,
    latency_told,
    peak_share,
    rate_told,
    ratio_told,
)
from harness.reporters.wording import counted
from harness.study.claims import Verdict
from harness.study.figures import Study
from harness.study.judging import Judged
from harness.study.measured import Measured
from harness.study.ratios import Estimate
from harness.study.rows import GPU

#: Most characters of a name, of a sentence, and of one that is the answer.
_NAME, _SENTENCE, _WHOLE = 60, 400, 2000

#: Rows of a table that is not framed, at most, and figures of a claim that are not folded.
_FRAMED, _FOLDED = 14, 4

#: Files and pieces of evidence that are named, at most; JSON has all.
_MOST = 100

#: Title of each section, and what it shows.
_TITLES = {
    "winners": (
        "Winners at a glance",
        (
            "By model and batch, each device in the best setting that was measured. With one "
            "profile a side it is assumed that occasions differ by 7 %; where they differ by 14 %, "
            "31 % of simulated comparisons of equals name a false winner, of three profiles a side "
            "2 %."
        ),
    ),
    "claims": (
        "Claims",
        (
            "Each with the verdict that these profiles allow, judged one by one at 95 %: of twenty "
            "that hold by a hair one may be wrong."
        ),
    ),
    "speedup": (
        "Speed-up",
        "How many times lower the second device's latency is, with 95 % intervals, on one scale.",
    ),
    "frontier": (
        "Latency and throughput",
        (
            "Each setting that was measured; those on the line are beaten by no other in both. All "
            "plots have one scale."
        ),
    ),
    "threads": ("Threads", "How far more threads of one session pay."),
    "instances": ("Sessions side by side", "What pinned sessions gain over a single one."),
    "variants": ("Variants", "What they gain, and what they cost in error."),
    "runtimes": ("Runtimes", "Another runtime on the same device."),
    "energy": ("Energy", "Of the device that ran the model, without the host's share for a GPU."),
    "cost": ("Cost of a million items", "Each price with what it was calculated from."),
    "gpu": ("How busy the GPU is", "In its setting with the most items a second."),
    "measured": (
        "Everything measured",
        (
            "Figures with 95 % intervals, which include what machines differ by from one occasion "
            "to the next."
        ),
    ),
    "files": ("Machines and files", "What the study was made of."),
    "absent": ("Absent", "What these profiles cannot tell, and why."),
}

_KINDS = {Verdict.HOLDS: "good", Verdict.FAILS: "bad", Verdict.UNKNOWN: "doubtful"}


def write(study: Study, judged: Sequence[Judged], path: Path) -> int:
    """Writes the page; returns its size in bytes.

    Args:
        study: the figures.
        judged: the verdicts on claims, perhaps none.
        path: the file; replaced if it exists.

    Raises:
        OSError: the file cannot be written.
    """
    text = page(study, judged).encode("utf-8")
    path.write_bytes(text)
    return len(text)


def page(study: Study, judged: Sequence[Judged]) -> str:
    """The whole page."""
    joined = study.joined
    sub = f"{counted(len(joined.rows), 'profile')} of {counted(len(joined.machines), 'machine')}"
    contents: dict[str, list[Content]] = {
        "winners": [drawn.heat_maps(study)],
        "claims": [_claims(judged)],
        "speedup": [drawn.speed_ups(study), _speed_ups(study)],
        "frontier": [drawn.frontiers(study)],
        "threads": [_scalings(study)],
        "instances": [_instances(study)],
        "variants": [_variants(study)],
        "runtimes": [_runtimes(study)],
        "energy": [_energy(study)],
        "cost": [_costs(study)],
        "gpu": [_gpu(study)],
        "measured": [_measured(study)],
        "files": [_files(study)],
        "absent": [_absent(study)],
    }
    sections = [(name, *_TITLES[name], content) for name, content in contents.items()]
    kept = [one for one in sections if any(one[3])]
    body: list[Content] = [
        element("a", "Skip to the figures", href="#main", class_="skip"),
        element("header", element("h1", "Which device for what"),
                element("p", f"{sub} · ", _devices(study), class_="sub")),
        element(
            "main",
            _answers(study),
            element("nav", [element("a", title, href=f"#{name}") for name, title, _, _ in kept],
                    aria_label="sections"),
            [
                element(
                    "section", element("h2", title),
                    element("p", lead, class_="lead"), content, id=name,
                )
                for name, title, lead, content in kept
            ],
            id="main",
        ),
    ]  # fmt: skip
    models = " · ".join(dict.fromkeys(one.case.model for one in study.measured))
    return document(f"Study: {models}", body)


def _devices(study: Study) -> Markup:
    names = dict.fromkeys(one.name for one in study.joined.machines)
    return join([[" · " if k else "", foreign(name, _NAME)] for k, name in enumerate(names)])


def _answers(study: Study) -> Markup:
    found = answers(study)
    if not found:
        return element("p", "These profiles carry no answer yet; what is missing is under Absent.",
                       class_="sentence")  # fmt: skip
    return element(
        "div",
        [
            element(
                "article",
                element("p", foreign(f"{one.sentence}.", _WHOLE), class_="big long"),
                element(
                    "details", element("summary", counted(len(one.evidence), "figure")),
                    element("ul", [element("li", foreign(worded(text), _WHOLE))
                                   for text in one.evidence[:_MOST]],
                            class_="reasons"),
                    open=len(found) == 1 and len(one.evidence) <= 3,
                ),
                class_="card",
            )
            for one in found
        ],
        class_="cards answers",
    )  # fmt: skip


def _claims(judged: Sequence[Judged]) -> Markup | None:
    if not judged:
        return None
    texts: dict[str, list[Judged]] = {}
    for one in judged:
        texts.setdefault(one.text.title, []).append(one)
    columns = (Column("verdict"), Column("claim"), Column("why"), Column("figures"))
    tables = []
    for title, claims in texts.items():
        rows: list[list[Content]] = []
        for one in claims:
            told = element("b", str(one.verdict), class_=_KINDS[one.verdict])
            extra = (
                element("span", foreign(one.claim.note, _WHOLE), class_="note")
                if one.claim.note
                else None
            )
            says = element(
                "span", foreign(one.claim.says, _WHOLE), element("br") if extra else None, extra
            )
            rows.append([told, says, foreign(worded(one.why), _SENTENCE), _evidence(one)])
        counts = {v: sum(one.verdict is v for one in claims) for v in Verdict}
        summary = ", ".join(f"{count} {v}" for v, count in counts.items() if count)
        source = claims[0].text.source
        tables.append(
            element(
                "div",
                table(columns, rows, caption=f"{title}: {summary}", stacked=True, kind="claims"),
                note("Source: ", foreign(source, _SENTENCE)) if source else None,
            )
        )
    return join(tables)


def _evidence(one: Judged) -> Content:
    if one.claim.quoted:  # the reason tells it already
        return ""
    told = [
        element("li", foreign(figure_told(each), _SENTENCE))
        for each in one.evidence[:_MOST]
        if each.tells
    ]
    shown: Content = element("ul", told, class_="reasons") if told else ""
    if len(told) > _FOLDED:
        shown = element("details", element("summary", counted(len(told), "figure")), shown)
    # One element: on a phone, each of a cell's is a column.
    return element("div", shown, _profiles(one))


def _profiles(one: Judged) -> Markup | None:
    """The files that a verdict rests on, folded."""
    files = sorted({str(row.file) for each in one.evidence for row in each.estimate.rows})
    if not files:
        return None
    named = [element("li", foreign(file, _SENTENCE)) for file in files[:_MOST]]
    if len(files) > _MOST:
        named.append(element("li", f"{len(files) - _MOST} more"))
    return element(
        "details", element("summary", counted(len(files), "profile")),
        element("ul", named, class_="reasons"),
    )  # fmt: skip


def _names(of: Measured) -> tuple[Content, Content]:
    return foreign(of.case.told, _NAME), foreign(of.contender.short, _NAME)


def _long(columns: Sequence[Column], rows: Sequence[Sequence[Content | Cell]], name: str) -> Markup:
    """A table, which scrolls in a frame of its own where it has many rows."""
    kind = "tall" if len(rows) > _FRAMED else ""
    return table(columns, rows, caption=name, stacked=True, kind=kind)


def _ratio_cell(of: Estimate) -> Cell:
    return Cell(ratio_told(of), of.value)


def _speed_ups(study: Study) -> Markup | None:
    if not study.speed_ups:
        return None
    columns = (
        Column("case"), Column("first"), Column("second"),
        Column("speed-up", "latency of the first over that of the second", number=True),
        Column("items/s", "of the second over the first", number=True), Column("faster"),
        Column("rests on"),
    )  # fmt: skip
    rows: list[list[Content | Cell]] = []
    for one in study.speed_ups:
        won = one.winner
        faster = element("b", foreign(won.short, _NAME)) if won else element(
            "span", "cannot tell: ",
            worded(one.latency.reason or one.latency.doubt or "the interval includes 1"),
            class_="undecided",
        )  # fmt: skip
        chosen = max(one.settings) > 1
        settings = f"; best of {one.settings[0]} and {one.settings[1]} settings: " if chosen else ""
        how = f"{one.base_setting} against {one.other_setting}" if chosen else ""
        rows.append([
            foreign(one.case.told, _NAME), foreign(one.base.short, _NAME),
            foreign(one.other.short, _NAME), _ratio_cell(one.latency), _ratio_cell(one.rate),
            faster,
            f"{one.latency.basis}{settings}{how}",
        ])  # fmt: skip
    known = contenders(study)
    crossings = [
        element("li", element("b", foreign(one.name, _NAME)), ": ",
                crossover_told(one, known))
        for one in study.crossovers
    ]  # fmt: skip
    return join(
        [
            [element("h4", "Where the faster device changes over the batch"),
             element("ul", crossings, class_="reasons")] if crossings else None,
            _long(columns, rows, "Speed-up, device against device"),
        ]
    )  # fmt: skip


def _scalings(study: Study) -> Markup | None:
    if not study.scalings:
        return None
    parts: list[Content] = [drawn.thread_curves(study)]
    for one in study.scalings:
        knee = one.knee
        told = (
            f"{counted(knee.threads, 'thread')} ({knee.earliest} to {knee.latest}) reach nine "
            "tenths of the most items a second"
        )
        name = f"{one.case.told} on {one.contender.short}"
        parts.append(element("h4", foreign(name, _SENTENCE)))
        parts.append(element("p", told, "."))
        if one.operators:
            threads = [count for count, _ in one.points]
            columns = (
                Column("operator type"), Column("stops at", number=True),
                *(Column(counted(count, "thread"), number=True) for count in threads),
            )  # fmt: skip
            rows: list[list[Content]] = [
                [foreign(each.name, _NAME),
                 "–" if each.stops_at is None else counted(each.stops_at, "thread"),
                 *(duration(each.times_ns[count]) if count in each.times_ns else "–"
                   for count in threads)]
                for each in one.operators[:12]
            ]  # fmt: skip
            by_count = {count: (nodes, told_of) for count, nodes, told_of in one.accounts}
            for title, values in (
                ("all operators", {c: duration(nodes) for c, (nodes, _) in by_count.items()}),
                ("framework", {c: duration(t.framework_ns) for c, (_, t) in by_count.items()}),
                ("timed pass", {c: duration(t.clean_ns) for c, (_, t) in by_count.items()
                                if t.clean_ns is not None}),
                ("residual", {c: f"{t.residual:+.1%}" for c, (_, t) in by_count.items()
                              if t.residual is not None}),
            ):  # fmt: skip
                rows.append([element("b", title), "", *(values.get(c, "–") for c in threads)])
            summary = element("summary", "Operator types over threads, and their sum")
            parts.append(
                element("details", summary, table(columns, rows, caption="Operator types"),
                        open=len(study.scalings) == 1)
            )  # fmt: skip
            doubts = [f"{c} threads: {t.doubt}" for c, (_, t) in by_count.items() if t.doubt]
            parts += [note("Doubtful: ", worded(text)) for text in doubts[:3]]
        elif one.operators_reason:
            parts.append(note("No operators: ", worded(one.operators_reason)))
    return join(parts)


def _instances(study: Study) -> Markup | None:
    rows: list[list[Content | Cell]] = [
        [*_names(one.measured), foreign(one.measured.setting.told, _NAME),
         Cell(rate_told(one.measured.rate), one.measured.rate.value), _ratio_cell(one.gain),
         _ratio_cell(one.efficiency)]
        for one in study.instances
    ]  # fmt: skip
    columns = (
        Column("case"), Column("device"), Column("setting"), Column("items/s", number=True),
        Column("gain", "over the best single session", number=True),
        Column("of linear", "items/s over so many times one session of as many threads",
               number=True),
    )  # fmt: skip
    return _long(columns, rows, "Instances") if rows else None


def _variants(study: Study) -> Markup | None:
    rows: list[list[Content | Cell]] = [
        [*_names(one.measured), foreign(one.measured.setting.told, _NAME),
         _ratio_cell(one.speed_up),
         foreign(", ".join(f"{name} {value}" for name, value in one.errors) or "not recorded",
                 _SENTENCE)]
        for one in study.variants
    ]  # fmt: skip
    columns = (
        Column("case"), Column("device"), Column("setting"), Column("speed-up", number=True),
        Column("error"),
    )  # fmt: skip
    return _long(columns, rows, "Variants") if rows else None


def _runtimes(study: Study) -> Markup | None:
    rows: list[list[Content | Cell]] = [
        [*_names(one.measured), foreign(one.measured.setting.runtime, _NAME),
         foreign(one.base, _NAME), _ratio_cell(one.speed_up)]
        for one in study.runtimes
    ]  # fmt: skip
    columns = (
        Column("case"), Column("device"), Column("runtime"), Column("against"),
        Column("speed-up", number=True),
    )  # fmt: skip
    return _long(columns, rows, "Runtimes") if rows else None


def _energy(study: Study) -> Markup | None:
    known = [one for one in study.measured if one.energy.value is not None]
    rows: list[list[Content | Cell]] = [
        [*_names(one), foreign(one.setting.told, _NAME),
         Cell(energy_told(one.energy), one.energy.value),
         foreign(worded(one.energy.doubt), _SENTENCE) if one.energy.doubt else "none"]
        for one in known
    ]  # fmt: skip
    columns = (
        Column("case"), Column("device"), Column("setting"), Column("an item", number=True),
        Column("doubt"),
    )  # fmt: skip
    return _long(columns, rows, "Energy of an item") if rows else None


def _costs(study: Study) -> Markup | None:
    rows: list[list[Content | Cell]] = [
        [*_names(one), foreign(one.setting.told, _NAME),
         Cell(cost_told(cost.estimate, cost.currency), cost.estimate.value), cost.by,
         element("span", foreign(cost.inputs, _SENTENCE), "; source: ",
                 foreign(cost.source, _SENTENCE))]
        for one, cost in study.costs
    ]  # fmt: skip
    columns = (
        Column("case"), Column("device"), Column("setting"), Column("cost", number=True),
        Column("by"), Column("calculated from"),
    )  # fmt: skip
    return _long(columns, rows, "Cost of a million items") if rows else None


def _gpu(study: Study) -> Markup | None:
    peaks = {id(one.measured): one for one in study.peaks}
    rows: list[list[Content | Cell]] = []
    for one in study.measured:
        row = one.rows[0]
        peak = peaks.get(id(one))
        idle = row.idle_share
        if peak is None and (row.setting.kind != GPU or idle.value is None):
            continue
        told = "–" if idle.value is None else f"{idle.value:.0%}"
        share = "–" if peak is None or peak.share.value is None else (
            f"{peak_share(peak.share.value)} of {peak.peak}")  # fmt: skip
        beware: Content = foreign(worded(row.idle_doubt), _SENTENCE) if row.idle_doubt else ""
        of_peak = Cell(share, None if peak is None else peak.share.value)
        rows.append([*_names(one), Cell(told, idle.value), of_peak, beware])
    columns = (
        Column("case"), Column("device"),
        Column("idle", "share of an inference in which the GPU does nothing", number=True),
        Column("nominal peak", "operations a second over the maker's figure", number=True),
        Column("beware"),
    )  # fmt: skip
    sources = dict.fromkeys(one.source for one in study.peaks)
    return join(
        [
            _long(columns, rows, "Use of the device"),
            [note("Peak: ", source, ".") for source in sources],
        ]
    ) if rows else None  # fmt: skip


def _measured(study: Study) -> Markup:
    best = {id(one) for one, kept in study.frontier if kept}
    rows: list[list[Content | Cell]] = [
        [*_names(one), foreign(one.setting.told, _NAME), foreign(one.setting.runtime, _NAME),
         Cell(_short(one.latency, latency_told(one)), one.latency.value),
         Cell(_short(one.rate, rate_told(one.rate)), one.rate.value),
         "yes" if id(one) in best else "", one.latency.basis]
        for one in study.measured
    ]  # fmt: skip
    columns = (
        Column("case"), Column("device"), Column("setting"), Column("runtime"),
        Column("latency", number=True), Column("items/s", number=True),
        Column("on the line", "no other setting of the model beats it in both"),
        Column("rests on"),
    )  # fmt: skip
    return _long(columns, rows, "Settings")


def _short(of: Estimate, told: str) -> Content:
    if of.interval is not None or of.value is None:
        return told
    return element("span", told.partition(" (")[0], " (no interval)", title=of.reason)


def _files(study: Study) -> Markup:
    joined = study.joined
    machines: list[list[Content | Cell]] = [
        [foreign(one.name, _NAME), foreign(one.cpu or "not known", _NAME),
         str(one.threads or "not known"), foreign(", ".join(one.gpus) or "none", _NAME),
         str(one.profiles)]
        for one in joined.machines
    ]  # fmt: skip
    columns = (
        Column("machine"), Column("CPU"), Column("logical CPUs", number=True), Column("GPUs"),
        Column("profiles", number=True),
    )  # fmt: skip
    told: list[Content] = [
        *(element("li", foreign(file.name, _NAME), ": interrupted, shown as far as it goes")
          for file in joined.incomplete[:_MOST]),
        *(element("li", foreign(file.name, _NAME), ": the same measurement as ",
                  foreign(of.name, _NAME), ", counted once") for file, of in joined.copies[:_MOST]),
        *(element("li", foreign(file.name, _NAME), ": left out: ",
                  foreign(worded(why), _SENTENCE)) for file, why in joined.left_out[:_MOST]),
    ]  # fmt: skip
    return join(
        [
            table(columns, machines, caption="Machines", stacked=True),
            element("ul", told, class_="reasons") if told else None,
        ]
    )


def _absent(study: Study) -> Markup | None:
    rows: Iterable[Sequence[Content]] = [
        [what, foreign(worded(why), _SENTENCE)] for what, why in study.absent
    ]
    return (
        table((Column("what"), Column("why")), rows, caption="Absent", stacked=True)
        if study.absent
        else None
    )
