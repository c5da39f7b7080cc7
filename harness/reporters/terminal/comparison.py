"""A comparison as text: what changed, the verdict, every figure, operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.analysis.comparing.report import (
    Compared,
    OperatorChange,
    OperatorChanges,
    Quantity,
    Report,
    Total,
)
from harness.options import flag, worded
from harness.records import Profile
from harness.reporters.names import shortened
from harness.reporters.numbers import joules, nanoseconds, rate
from harness.reporters.terminal.lines import NARROW, PIPED, Column, Page
from harness.reporters.visible import visible
from harness.reporters.wording import counted, figure_of, file_names, place, units
from harness.statistics.figures import Figure
from harness.statistics.verdicts import Comparison, Verdict

#: Style of a verdict on a terminal with colours.
_STYLES = {Verdict.FASTER: "bold green", Verdict.SLOWER: "bold red"}

#: Columns of op types on a terminal narrower than ``NARROW``; elsewhere three times as many, since
#: both sides may differ.
_NARROW_TYPES = 16


def print_comparison(report: Report, limit: int) -> None:
    """Prints what ``compare`` shows.

    Args:
        report: of one candidate or several.
        limit: operators to print per candidate, 0 for all.
    """
    page = Page()
    several = len(report.candidates) > 1
    for number, compared in enumerate(report.candidates, 1):
        if number > 1:
            page.print()
        count = f" {number}" if several else ""
        # The names of two files share the line.
        room = (page.width - len(f"candidate{count}  against ")) // 2
        files = file_names([report.base, compared.candidate])
        base, candidate = shortened(list(map(visible, files)), room)
        page.print(f"candidate{count} {candidate} against {base}", "bold")
        for one in (report.base, *report.also):
            page.say("base", _profile(one))
        for one in (compared.candidate, *compared.also):
            page.say("candidate", _profile(one))
        _print_changed(page, compared)
        for caveat in compared.caveats:
            page.say("beware", worded(caveat))
        _print_verdict(page, compared, report.margin)
        if report.history:
            page.say("history", worded(report.history))
        if compared.latency.comparison.verdict is Verdict.NOT_COMPARABLE:
            continue  # for the same reason as everything below
        for quantity in compared.quantities:
            _print_quantity(page, quantity)
        _print_operators(page, compared.operators, limit, compared.per)


def _profile(profile: Profile) -> str:
    samples = sum(len(process.steady) for process in profile.processes)
    return (
        f"{profile.model.name} on {place(profile)}, {units(profile, len(profile.processes))}, "
        f"{counted(samples, 'sample')}, "
        f"{profile.created[:16].replace('T', ' ')}"
    )


def _print_changed(page: Page, compared: Compared) -> None:
    if not compared.differences:
        page.say("changed", "nothing that the profiles record")
    for one in compared.differences:
        kind = "" if one.kind == one.what else f"{one.kind} "
        page.say("changed", f"{kind}{worded(one.what)}: {one.base} → {one.candidate}")
    if compared.machine:
        parts = ", ".join(f"{part} {ratio - 1:+.1%}" for part, ratio in compared.machine.items())
        page.say("machine", f"yardstick time, candidate against base: {parts}")


def _print_verdict(page: Page, compared: Compared, margin: float) -> None:
    found = compared.latency.comparison
    if compared.per == "item":
        batches = "batch {} against {}".format(*compared.items)
        page.say("per item", f"{batches}: latency, throughput, energy and operators are per "
                 "item; cold start and memory are of the whole batch")  # fmt: skip
    if found.verdict is Verdict.NOT_COMPARABLE:
        page.print("NOT COMPARABLE", "bold")
        page.say("reason", found.reason)
        return
    page.print(
        f"{found.verdict}: {_values(compared.latency, nanoseconds)}{_change(found)}",
        _STYLES.get(found.verdict, "bold"),
    )
    for verdict in dict.fromkeys(one.comparison.verdict for one in compared.beside):
        names = [_name(one) for one in compared.beside if one.comparison.verdict is verdict]
        page.print(f"but {verdict} in {' and '.join(names)}", _STYLES[verdict])
    if told := figure_of(compared):
        label = "throughput" if compared.is_together else "latency"
        page.say(label, f"{told}; median and tails are below")
    chances = found.probability(margin)
    if chances is not None:
        page.say(
            "chances",
            f"slower by more than {margin:.2%}: {chances.slower:.0%}, within it: "
            f"{chances.same:.0%}, faster by more: {chances.faster:.0%}",
        )
    if found.processes_needed is not None:
        unit = "pairs" if compared.paired else "processes per side"
        page.say(
            "latency",
            f"about {found.processes_needed} {unit} would decide it, "
            "if the true difference is as estimated",
        )
    page.say("latency", found.reason)
    if compared.paired:
        page.say("latency", "measured interleaved, compared in pairs")
        apart = _of_the_times(compared.latency)
        if apart:
            page.say("latency", apart)
    elif found.ratio and compared.latency.base and compared.latency.candidate is not None:
        raw = _percent(compared.latency.candidate / compared.latency.base)
        if raw != _percent(found.ratio):
            page.say(
                "latency",
                f"{_percent(found.ratio)} is corrected for how fast the machine was; the two times "
                f"differ by {raw}",
            )


def _name(quantity: Quantity) -> str:
    """What a figure is called within a sentence."""
    return _described(quantity)[1] or quantity.name


def _change(found: Comparison) -> str:
    if found.ratio is None:
        return ""
    text = f", {_percent(found.ratio)}"
    if found.interval is not None:
        text += f" ({_percent(found.interval[0])} to {_percent(found.interval[1])})"
    return text


def _of_the_times(quantity: Quantity) -> str:
    """Why the printed ratio is not that of the two printed times; empty if it is."""
    ratio = quantity.comparison.ratio
    if ratio is None or not quantity.base or quantity.candidate is None:
        return ""
    of_the_times = quantity.candidate / quantity.base
    if _percent(of_the_times) == _percent(ratio):
        return ""
    return (
        f"{_percent(ratio)} is the typical difference within a pair; the two times are the "
        f"medians of each side by itself, which differ by {_percent(of_the_times)}"
    )


def _percent(ratio: float) -> str:
    """A ratio as a change in percent, if that is still easy to read."""
    return f"{ratio - 1:+.1%}" if ratio < 10 else f"×{ratio:.3g}"


def _print_quantity(page: Page, quantity: Quantity) -> None:
    label, name, shown, words = _described(quantity)
    found = quantity.comparison
    prefix = f"{name} " if name else ""
    if found.verdict is Verdict.NOT_COMPARABLE:
        page.say(label, f"{prefix}not compared: {worded(found.reason)}")
        return
    if found.ratio is None:  # a share: the sentence has its figures
        page.say(label, f"{prefix}{words.get(found.verdict, found.verdict)}: {found.reason}")
        return
    turned = quantity.name == "time_per_inference_ns"
    ratio = _ratio_of(found.ratio, turned)
    text = f"{prefix}{_values(quantity, shown)}, ratio {ratio}"
    if quantity.base and quantity.candidate is not None:
        of_the_two = _ratio_of(quantity.candidate / quantity.base, turned)
        if of_the_two != ratio:
            text += f" typical of the pairs ({of_the_two} of the two medians)"
    if found.interval is None:
        page.say(label, f"{text}: {found.reason}")
        return
    ends = [_ratio_of(end, turned) for end in found.interval[:: -1 if turned else 1]]
    text += f" ({' to '.join(ends)}), {words.get(found.verdict, str(found.verdict))}"
    page.say(label, f"{text}; {quantity.note}" if quantity.note else text)


def _ratio_of(ratio: float, turned: bool) -> str:
    """A ratio of times; of rates, which is its inverse, if ``turned``."""
    return f"{1 / ratio if turned else ratio:.3f}"


#: Verdicts on a quantity that is not a time.
_AMOUNTS = {Verdict.FASTER: "LESS", Verdict.SLOWER: "MORE"}
_SHARES = {Verdict.FASTER: "FEWER", Verdict.SLOWER: "MORE", Verdict.UNDECIDED: "no difference"}


def _described(
    quantity: Quantity,
) -> tuple[str, str, Callable[[float], str], dict[Verdict, str]]:
    """Label, name, format of the values, and words for the verdict."""
    name = quantity.name
    if name.startswith("energy_"):
        return "energy", name.removeprefix("energy_").removesuffix("_j"), joules, _AMOUNTS
    plain: dict[Verdict, str] = {}
    return {
        "session_ns": ("cold start", "session", nanoseconds, plain),
        "first_inference_ns": ("cold start", "first inference", nanoseconds, plain),
        "time_per_inference_ns": ("throughput", "", _per_second, plain),
        "peak_memory_bytes": ("memory", "peak", _mebibytes, _AMOUNTS),
        "latency_ns": ("latency", "median", nanoseconds, plain),
        "slow_processes": ("latency", "slow processes", "{:.0%}".format, _SHARES),
    }.get(
        name,
        ("latency", name.removeprefix("latency_").removesuffix("_ns"), nanoseconds, plain),
    )


def _values(quantity: Quantity, shown: Callable[[float], str]) -> str:
    if quantity.base is None or quantity.candidate is None:
        return ""
    return f"{shown(quantity.base)} → {shown(quantity.candidate)}"


def _per_second(time_ns: float) -> str:
    return f"{rate(1e9 / time_ns)}/s"


def _mebibytes(value: float) -> str:
    return f"{value / 2**20:,.1f} MiB"


def _print_operators(
    page: Page, found: OperatorChanges | Figure, limit: int, per: str = "inference"
) -> None:
    if isinstance(found, Figure):
        page.say("operators", f"not compared: {worded(found.reason)}")
        return
    rows = found.changes[:limit] if limit > 0 else found.changes
    page.print(
        f"operators, by change in time per {per}"
        f" ({'probes' if found.source == 'probe' else 'ORT profiler'})",
        "bold",
    )
    types = shortened(
        list(map(_op_types, rows)), _NARROW_TYPES if page.width < NARROW else 3 * _NARROW_TYPES
    )
    columns = [
        Column("change", [_signed(row.change_ns) for row in rows]),
        Column("base", [_or_none(row.base_ns) for row in rows]),
        Column("candidate", [_or_none(row.candidate_ns) for row in rows]),
        Column("ratio", [_ratio(row) for row in rows]),
        Column("verdict", [_operator_verdict(row) for row in rows], "<"),
        Column("op type", types, "<"),
    ]
    room = page.room(columns)
    page.table(
        columns,
        Column("node", [_nodes(row, room) for row in rows]),
        spared=("op type", "ratio", "candidate"),
    )
    hidden = len(found.changes) - len(rows)
    if hidden:
        rest_ns = sum(row.change_ns for row in found.changes[len(rows) :])
        page.print(f"{hidden} more, which change {_signed(rest_ns)}: {flag('limit')} 0 shows all")
    _print_accounts(page, found)


def _print_accounts(page: Page, found: OperatorChanges) -> None:
    page.say("accounts", f"base {_account(found.base)}")
    page.say("accounts", f"candidate {_account(found.candidate)}")
    alone = [row for row in found.changes if row.match.how in ("base only", "candidate only")]
    for side in ("base", "candidate"):
        names = [_nodes(row) for row in alone if row.match.how == f"{side} only"]
        if names:
            page.say("accounts", f"only in the {side}: {_some(page.fitted(names, 0))}")
    page.say(
        "accounts",
        f"{found.judged} operators tested, family-wise error at most 5 % (Holm); ? means UNDECIDED",
    )
    for doubt in found.doubts:
        page.say("accounts", f"do not trust the operator times of {doubt}")


def _account(total: Total) -> str:
    return (
        f"{nanoseconds(total.latency_ns)} = matched operators {nanoseconds(total.matched_ns)} + "
        f"unmatched {nanoseconds(total.unmatched_ns)} + framework and rest "
        f"{nanoseconds(total.rest_ns)}"
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _signed(value_ns: float) -> str:
    return ("+" if round(value_ns) > 0 else "") + nanoseconds(value_ns)


def _or_none(value_ns: float | None) -> str:
    return "none" if value_ns is None else nanoseconds(value_ns)


def _ratio(row: OperatorChange) -> str:
    return "" if row.comparison.ratio is None else f"{row.comparison.ratio:.3f}"


def _operator_verdict(row: OperatorChange) -> str:
    shown = {"base only": "gone", "candidate only": "new"}.get(row.match.how)
    if shown is None:
        shown = {Verdict.NOT_COMPARABLE: "", Verdict.UNDECIDED: "?"}.get(
            row.comparison.verdict, str(row.comparison.verdict)
        )
    return shown


def _op_types(row: OperatorChange) -> str:
    sides = ["+".join(types) for types in (row.base_op_types, row.candidate_op_types) if types]
    return " → ".join(dict.fromkeys(sides))


def _nodes(row: OperatorChange, room: int = PIPED) -> str:
    """Its names in the user's file, from the side with more; the first if they do not fit."""
    more = max(row.candidate_labels, row.base_labels, key=len)
    joined = " + ".join(more)
    return joined if len(more) == 1 or len(joined) <= room else f"{more[0]} +{len(more) - 1}"
