"""A study as text: the answer, the claims, then tables."""

from __future__ import annotations

from collections.abc import Sequence

from harness.options import worded
from harness.reporters.numbers import nanoseconds
from harness.reporters.study_words import (
    answers,
    contenders,
    cost_told,
    crossover_told,
    energy_told,
    figure_told,
    latency_told,
    lead_told,
    peak_share,
    rate_told,
    ratio_told,
    role,
    spread,
    times,
)
from harness.reporters.terminal.lines import Column, Page
from harness.reporters.wording import counted
from harness.study.claims import Verdict
from harness.study.effects import ThreadScaling
from harness.study.figures import Study
from harness.study.judging import Judged
from harness.study.ratios import RATE, Estimate
from harness.study.rows import GPU
from harness.study.winners import COST

#: Style of a verdict on a terminal with colours.
_STYLES = {Verdict.HOLDS: "bold green", Verdict.FAILS: "bold red", Verdict.UNKNOWN: "bold yellow"}

#: Pieces of evidence that are printed below a sentence or a verdict.
_SHOWN = 6

#: Files that are named, at most; ``--json`` has all.
_FILES = 20


def print_study(study: Study, judged: Sequence[Judged]) -> None:
    """Prints what ``study`` shows."""
    page = Page()
    joined = study.joined
    page.title("study", f" of {counted(len(joined.rows), 'profile')} of "
                        f"{counted(len(joined.machines), 'machine')}")  # fmt: skip
    _print_answers(page, study)
    _print_claims(page, judged)
    _print_measured(page, study)
    _print_speed_ups(page, study)
    _print_winners(page, study)
    for one in study.scalings:
        _print_scaling(page, one)
    _print_more(page, study)
    _print_files(page, study)


def _print_answers(page: Page, study: Study) -> None:
    found = answers(study)
    if not found:
        page.paragraph("These profiles carry no answer: what is missing is named below", "bold")
    for one in found:
        page.paragraph(f"{one.sentence}.", "bold")
        for text in one.evidence[:_SHOWN]:
            page.say("evidence", text)
        if len(one.evidence) > _SHOWN:
            page.say("evidence", f"{len(one.evidence) - _SHOWN} more figures in the tables below")


def _print_claims(page: Page, judged: Sequence[Judged]) -> None:
    title = ""
    for one in judged:
        if one.text.title != title:
            title = one.text.title
            page.print()
            page.paragraph(f"claims of: {title}", "bold")
        page.paragraph(f"{str(one.verdict).upper()}: {one.claim.says}", _STYLES[one.verdict])
        page.say("why", worded(one.why))
        for each in one.evidence[:_SHOWN]:
            if each.tells and not one.claim.quoted:
                page.say("figure", figure_told(each))
        if one.claim.note:
            page.say("note", one.claim.note)


def _heading(page: Page, text: str) -> None:
    page.print()
    page.paragraph(text, "bold")


def _print_measured(page: Page, study: Study) -> None:
    _heading(page, "measured")
    on_frontier = {id(one) for one, kept in study.frontier if kept}
    shown = study.measured
    page.table(
        (
            Column("case", [one.case.told for one in shown], "<"),
            Column("device", [one.contender.short for one in shown], "<"),
            Column("latency", [_short(latency_told(one)) for one in shown]),
            Column("items/s", [_short(rate_told(one.rate)) for one in shown]),
            Column("energy/item", [energy_told(one.energy) for one in shown]),
            Column("frontier", ["*" if id(one) in on_frontier else "" for one in shown], "<"),
            Column("basis", [one.latency.basis for one in shown], "<"),
        ),
        Column("setting", [one.setting.told for one in shown], "<"),
        spared=("frontier", "basis", "energy/item"),
    )


def _short(told: str) -> str:
    """A figure without the reason why it has no interval."""
    return told if "no interval" not in told else told.partition(" (")[0] + " (no interval)"


def _print_speed_ups(page: Page, study: Study) -> None:
    if study.speed_ups:
        _heading(page, "speed-up: above 1 where the second device has the lower latency")
        shown = study.speed_ups
        page.table(
            (
                Column("case", [one.case.told for one in shown], "<"),
                Column("first", [one.base.short for one in shown], "<"),
                Column("second", [one.other.short for one in shown], "<"),
                Column("speed-up", [ratio_told(one.latency) for one in shown]),
                Column("items/s", [ratio_told(one.rate) for one in shown]),
            ),
            Column("faster", [one.winner.short if one.winner else "cannot tell" for one in shown],
                   "<"),
        )  # fmt: skip
    known = contenders(study)
    for crossing in study.crossovers:
        name = crossing.name
        page.say("crossover", f"{name}: {crossover_told(crossing, known)}")


def _print_winners(page: Page, study: Study) -> None:
    """By throughput and cost; those by latency stand in the table of speed-ups."""
    known = contenders(study)
    for which, title in ((RATE, "most items a second"), (COST, "least cost of a million items")):
        found = [one for one in study.winners if one.which == which]
        if found:
            _heading(page, title)
        for one in found:
            unit = "items/s" if one.case.batch is not None else "inferences/s"
            reached = (
                cost_told(one.figure, one.currency) if which == COST
                else f"{rate_told(one.figure)} {unit}"
            )  # fmt: skip
            how = f"{role(one.first, known)}, {one.setting}"
            page.say("best", f"{one.case.told}: {how}: {reached}; {lead_told(one)}")


def _print_scaling(page: Page, of: ThreadScaling) -> None:
    _heading(page, f"threads: {of.case.told} on {of.contender.short}")
    knee = of.knee
    page.say("knee", f"{counted(knee.threads, 'thread')} ({knee.earliest} to {knee.latest}) reach "
                     "nine tenths of the most items a second")  # fmt: skip
    page.table(
        (
            Column("threads", [str(threads) for threads, _ in of.points]),
            Column("items/s", [rate_told(one.rate) for _, one in of.points]),
        ),
        Column("share of the best", [ratio_told(share) for share in of.shares], "<"),
    )
    for operator in of.operators[:_SHOWN]:
        told_times = ", ".join(f"{t}: {nanoseconds(v)}" for t, v in operator.times_ns.items())
        stops = (
            "scales on" if operator.stops_at is None
            else f"stops at {counted(operator.stops_at, 'thread')}"
        )  # fmt: skip
        page.say("operator", f"{operator.name} {stops}: {told_times}")
    for threads, nodes_ns, told in of.accounts:
        timed = "no timed pass" if told.clean_ns is None else nanoseconds(told.clean_ns)
        text = (
            f"{counted(threads, 'thread')}: operators {nanoseconds(nodes_ns)} + framework "
            f"{nanoseconds(told.framework_ns)}, timed pass {timed}"
        )
        text += "" if told.residual is None else f", residual {told.residual:+.1%}"
        page.say("accounts", text + (f"; {worded(told.doubt)}" if told.doubt else ""))
    if of.operators_reason:
        page.say("operators", worded(of.operators_reason))


def _print_more(page: Page, study: Study) -> None:
    if study.instances:
        _heading(page, "sessions side by side")
    for group in study.instances:
        page.say("instances", f"{group.measured.case.told} on {group.measured.contender.short}, "
                 f"{group.measured.setting.told}: gain {_said(group.gain)}, of linear "
                 f"{_said(group.efficiency)}")  # fmt: skip
    if study.variants:
        _heading(page, "variants")
    for variant in study.variants:
        errors = ", ".join(f"{name} {value}" for name, value in variant.errors)
        what = f"{variant.measured.case.told} on {variant.measured.contender.short}"
        gain = _said(variant.speed_up)
        page.say("variant", f"{what}: speed-up {gain}; {errors or 'error not recorded'}")
    if study.runtimes:
        _heading(page, "runtimes")
    for runtime in study.runtimes:
        page.say("runtime", f"{runtime.measured.case.told} on {runtime.measured.contender.short}: "
                 f"{runtime.measured.setting.runtime} {_said(runtime.speed_up)} as fast as "
                 f"{runtime.base}")  # fmt: skip
    idle = [one for one in study.measured if one.setting.kind == GPU
            and one.rows[0].idle_share.value is not None]  # fmt: skip
    if idle:
        _heading(page, "share of an inference in which the GPU does nothing")
    for one in idle:
        row = one.rows[0]
        doubt = f"; doubtful: {worded(row.idle_doubt)}" if row.idle_doubt else ""
        page.say("idle", f"{one.case.told} on {one.contender.short}, {one.setting.told}: "
                 f"{row.idle_share.value:.0%}{doubt}")  # fmt: skip
    if study.peaks:
        _heading(page, "share of the nominal peak")
    for peak in study.peaks:
        if peak.share.value is not None:
            page.say("peak", f"{peak.measured.case.told} on {peak.measured.contender.short}: "
                     f"{peak_share(peak.share.value)} of {peak.peak} ({peak.source})")  # fmt: skip
    if study.costs:
        _heading(page, "cost of a million items")
    for one, cost in study.costs:
        costs = cost_told(cost.estimate, cost.currency)
        page.say("cost" if cost.by == "machine" else cost.by, f"{one.case.told} on "
                 f"{one.contender.short}, {one.setting.told}: {costs}; {cost.inputs}; "
                 f"{cost.source}")  # fmt: skip


def _said(of: Estimate) -> str:
    if of.value is None:
        return worded(of.reason)
    told = f"{times(of.value)} {spread(of)}".rstrip()
    return f"{told}, doubtful: {worded(of.doubt)}" if of.doubt else told


def _print_files(page: Page, study: Study) -> None:
    joined = study.joined
    page.print()
    for machine in joined.machines:
        page.say("machine", f"{machine.name}: {counted(machine.profiles, 'profile')}")
    for what, why in study.absent:
        page.say("absent", f"{what}: {worded(why)}")
    for file in joined.incomplete[:_FILES]:
        page.say("incomplete", f"{file}: interrupted, shown as far as it goes")
    for file, of in joined.copies[:_FILES]:
        page.say("copy", f"{file} is the same measurement as {of}: counted once")
    for file, why in joined.left_out[:_FILES]:
        page.say("left out", f"{file}: {worded(why)}")
    more = sum(max(len(each) - _FILES, 0) for each in
               (joined.incomplete, joined.copies, joined.left_out))  # fmt: skip
    if more:
        page.say("left out", f"{more} more files")
