"""An instance is slower than the others, or being side by side costs much, and why."""

from __future__ import annotations

import math

from harness.analysis.findings.seen import WORTH_CHANGING, Finding, Seen, counted
from harness.analysis.findings.threads import usable_cpus
from harness.analysis.instances import Together, together
from harness.machine.cpu_lists import cpu_parts

#: Below this efficiency, surely, being side by side costs more than what is not worth changing.
EFFICIENT = 1 - WORTH_CHANGING

#: Below this share of local pages, memory of other nodes is a cause.
LOCAL = 1 - WORTH_CHANGING

#: Most instances that a finding names.
_NAMED = 5


def slow_instance(seen: Seen) -> Finding | None:
    """An instance is slower than the others in every group."""
    found = together(seen.profile)
    if found is None or not found.slow:
        return None
    one = "instance" if found.instances > 1 else "caller"
    slow = sorted(found.slow, key=lambda each: each.of_others or 0.0)
    worst = slow[0]
    share = worst.of_others or 0.0
    what = f"{one.capitalize()} {worst.number} reaches"
    if len(slow) > 1:
        what = f"{counted(len(slow), one).capitalize()} are slow: {one} {worst.number} reaches"
    evidence: dict[str, float | str] = {
        "of_the_others_share": share,
        "slow": ", ".join(f"{each.number} (CPUs {each.cpus})" for each in slow[:_NAMED])
        + (", …" if len(slow) > _NAMED else ""),
    }
    waits = worst.waiting or 0.0
    step = (
        f"Compare the clocks and the memory of CPUs {worst.cpus} with the others', or leave these "
        "CPUs out with `affinity`."
    )
    if worst.waiting is not None:
        evidence["waiting_share"] = waits
    if found.instances == 1:
        step = "The callers share one session: give each its own with `instances`."
    elif waits >= WORTH_CHANGING:
        step = (
            f"Its thread waits for a CPU: see what else runs on CPUs {worst.cpus}, or leave these "
            "out with `affinity`."
        )
    lost = sum(1 - (each.of_others or 0.0) for each in slow) / len(found.each)
    return Finding(
        kind="slow_instance",
        sentence=f"{what} {share:.0%} of the others' rate.",
        evidence=evidence,
        nodes=(),
        next_step=step,
        weight=lost,
    )


def efficiency(seen: Seen) -> Finding | None:
    """Side by side the callers reach much less than as many alone would, with the likely cause."""
    found = together(seen.profile)
    if found is None or found.efficiency.value is None or found.efficiency_interval is None:
        return None
    if found.efficiency_interval[1] >= EFFICIENT:
        return None
    low, high = found.efficiency_interval
    evidence: dict[str, float | str] = {
        "efficiency_share": found.efficiency.value,
        "at_least_share": low,
        "at_most_share": high,
    }
    for name, figure in (("waiting", found.waiting), ("local_pages", found.local_pages)):
        if figure.value is not None:
            evidence[f"{name}_share"] = figure.value
    cause, step = _cause(seen, found)
    who = "instances" if found.instances > 1 else "callers of the session"
    return Finding(
        kind="efficiency",
        sentence=f"Side by side the {who} reach {found.efficiency.value:.0%} of what as many "
        f"undisturbed ones would: {cause}.",
        evidence=evidence,
        nodes=(),
        next_step=step,
        weight=1 - found.efficiency.value,
    )


def _cause(seen: Seen, found: Together) -> tuple[str, str]:
    """The likely cause, and what to try."""
    cpus, waits = usable_cpus(seen), found.waiting.value or 0.0
    threads = found.instances * max(found.threads, 1) + (found.callers - 1) * found.instances
    if cpus is not None and threads > math.ceil(cpus):
        return (
            f"{threads} threads share {counted(cpus, 'CPU')}",
            "Use fewer `instances`, callers (`concurrency`) or threads (`intra_threads`).",
        )
    shared = _sharing(found)
    if shared:
        return (
            f"{counted(shared, 'instance')} share CPUs with another",
            "Use no more `instances` than fit on CPUs of their own, such as `instances` per-core.",
        )
    if waits >= WORTH_CHANGING:
        return (
            f"their threads wait for a CPU {waits:.0%} of the time",
            "End what else runs on these CPUs, or leave room for it with fewer `instances`."
            if found.instances > 1
            else "End what else runs, or give each caller a session on its own CPUs: `instances`.",
        )
    if found.instances == 1:
        return (
            "they wait for each other inside the one session",
            "Give each caller a session of its own: use `instances` instead of `concurrency`.",
        )
    local = found.local_pages.value
    if local is not None and local < LOCAL:
        return (
            f"only {local:.0%} of their memory is on the NUMA node of their CPUs",
            "Use `memory` local, and instances that do not span nodes (`instances` per-numa).",
        )
    if found.slow:
        return (
            f"{counted(len(found.slow), 'instance')} of {found.instances} are slow",
            "Mend these first: the others are held against the same one alone.",
        )
    return (
        "they share what no instance has for itself: caches, memory bandwidth, the clock",
        "Try fewer `instances` with more `intra_threads` each, such as `instances` per-l3.",
    )


def _sharing(found: Together) -> int:
    """How many instances may run on a CPU of another one; 0 if a list of CPUs is not known."""
    if found.instances < 2:
        return 0
    try:
        parts = [
            (part.start, part.stop, each.number)
            for each in found.each
            for part in cpu_parts(each.cpus)
        ]
    except ValueError:  # not a CPU list: harness did not write the file
        return 0
    sharing: set[int] = set()
    until, owner = 0, -1
    for first, stop, number in sorted(parts):
        if first < until and number != owner:
            sharing |= {owner, number}
        if stop > until:
            until, owner = stop, number
    return len(sharing)
