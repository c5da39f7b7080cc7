"""What an expert would point out: each sentence with its figures and the next step."""

from __future__ import annotations

import re

from harness.analysis.findings.seen import Finding
from harness.options import worded
from harness.reporters.html.answers import note
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, foreign_names, join
from harness.reporters.html.quantities import duration, percent
from harness.reporters.wording import evidence

#: How many nodes a finding names.
_NODES = 5

#: Text that is typed: a command or an option.
_TYPED = re.compile(r"(`[^`]*`|--[\w-]+)")


def findings(digest: Digest) -> Markup | None:
    """The findings as a list, the most important first; None if there are none."""
    if not digest.findings:
        return None
    return element("ol", [element("li", _finding(found)) for found in digest.findings],
                   class_="findings")  # fmt: skip


def _finding(found: Finding) -> Markup:
    named: list[Content] = []
    for name in foreign_names(found.nodes[:_NODES], 48):
        named += [", " if named else "", name]
    rest = len(found.nodes) - _NODES
    return join(
        [
            element("p", found.sentence, class_="sentence"),
            note(evidence(found, duration, percent)),
            note("Nodes: ", named, f" and {rest:,} more" if rest > 0 else "") if named else None,
            element("p", element("b", "Next: "), _step(found.next_step)),
        ]
    )


def _step(text: str) -> list[Content]:
    """A sentence in which commands and options are set as code, and never broken."""
    return [
        element("code", part.strip("`")) if number % 2 else part
        for number, part in enumerate(_TYPED.split(worded(text)))
    ]
