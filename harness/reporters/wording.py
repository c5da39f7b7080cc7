"""What stands behind a finding, in one line of text."""

from __future__ import annotations

from collections.abc import Callable

from harness.analysis.findings.seen import Finding


def evidence(
    found: Finding, duration: Callable[[float], str], share: Callable[[float], str]
) -> str:
    """The figures of a finding, each after its name.

    Args:
        found: what was found.
        duration: how the page writes a time in ns.
        share: how it writes a part of 1.
    """
    parts = []
    for name, value in found.evidence.items():
        if isinstance(value, str):
            told = value
        elif name.endswith("_ns"):
            told = duration(value)
        elif name.endswith("_share"):
            told = share(value)
        else:
            told = f"{value:,.4g}"
        words = name.removesuffix("_ns").removesuffix("_share").replace("_", " ")
        parts.append(f"{words} {told}")
    return ", ".join(parts)
