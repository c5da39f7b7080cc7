"""A variant of a model: what ``variant`` prints."""

from __future__ import annotations

from collections import Counter

from harness.models.variants.variant import DEPARTS, LEAST_COSINE, OutputError, Variant
from harness.options import worded
from harness.reporters.numbers import size
from harness.reporters.terminal.lines import Page
from harness.reporters.wording import counted

#: Layers that were not pruned which are listed by name for each reason.
_NAMED = 3


def print_variant(variant: Variant) -> None:
    """Prints the file, the verdict, the error, the size, and what to know about them."""
    page = Page()
    page.title(variant.of, f" as {variant.kind}")
    page.say("file", str(variant.file))
    if variant.broken:
        page.say("BROKEN", variant.broken)
    ratio = variant.bytes / variant.bytes_before if variant.bytes_before else 1.0
    page.say(
        "size",
        f"{size(variant.bytes)}, {ratio:.0%} of the {size(variant.bytes_before)} of the original",
    )
    if variant.error is None:
        page.say("error", f"not known: {variant.error_reason}")
    else:
        _print_error(page, variant.error)
    for note in variant.notes:
        page.say("note", worded(note))
    if variant.departure is not None:
        _print_departure(page, variant)
    if variant.pruned:
        page.say("pruned", f"{counted(len(variant.pruned), 'layer')}: {variant.pruned[0]}")
        for line in variant.pruned[1:_NAMED]:
            page.say("pruned", line)
    _print_left(page, variant)


def _print_error(page: Page, error: OutputError) -> None:
    sets = counted(error.inputs, "input set")
    page.say(
        "error",
        f"largest {error.max:.3g}, {error.max_relative:.2%} of the largest output; mean "
        f"{error.mean:.3g}, {error.mean_relative:.2%} of the mean output ({sets})",
    )
    page.say("cosine", f"{error.cosine:.6f} (broken below {LEAST_COSINE:g})")
    if error.top1 is None:
        page.say("top-1", f"not known: {error.top1_reason}")
    else:
        page.say("top-1", f"agrees in {error.top1:.1%}; {error.top1_reason}")
    if error.unlike is not None:
        page.say("others", f"{error.unlike:.1%} of the elements that are no floats differ")


def _print_departure(page: Page, variant: Variant) -> None:
    where = variant.departure
    assert where is not None
    limit = f"error of {DEPARTS:.0%} of a tensor's norm"
    compared = counted(where.compared, "tensor")
    if not where.node:
        page.say(
            "where",
            f"no tensor reaches an {limit}: the worst of {compared}, '{where.tensor}', has "
            f"{where.error:.2%}",
        )
        return
    page.say(
        "where",
        f"{where.op_type} '{where.node}' is the first to reach an {limit}: {where.error:.1%} of "
        f"'{where.tensor}' ({compared} compared up to there)",
    )


def _print_left(page: Page, variant: Variant) -> None:
    """Prints the layers that were not pruned: those with the same reason on one line."""
    for reason, count in Counter(one.reason for one in variant.left).most_common():
        named = [
            f"{one.node} ({one.at})" if one.at else one.node
            for one in variant.left
            if one.reason == reason
        ][:_NAMED]
        more = f" and {count - _NAMED} more" if count > _NAMED else ""
        page.say("not pruned", f"{counted(count, 'layer')} ({reason}): {', '.join(named)}{more}")
