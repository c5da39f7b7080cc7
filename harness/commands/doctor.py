"""Report what this machine can measure, what it cannot, and how to fix that."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from harness.options import declare, worded

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from harness.machine.diagnosis import Capability
    from harness.native import ort


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness doctor``."""
    declare(parser, "doctor")


def execute(options: argparse.Namespace) -> int:
    """Examines the machine and prints what it can do.

    Returns:
        0, or 3 when ONNX Runtime cannot be opened: then nothing can be profiled.
    """
    from harness.errors import MachineError
    from harness.machine import diagnosis
    from harness.machine.facts import collect
    from harness.machine.topology import topology
    from harness.ort.diagnosis import of_library, open_library

    readings = collect()
    facts = {reading.name: reading for reading in readings}
    try:
        library: ort.Library | MachineError = open_library(options.ort_library)
    except MachineError as error:
        library = error
    capabilities = [
        *of_library(library),
        *diagnosis.of_facts(facts),
        *diagnosis.of_topology(topology()),
        *diagnosis.of_this_moment(Path("profiles")),
    ]
    if options.json:
        import json

        report = {"findings": list(map(_typed, capabilities)), "environment": readings}
        print(json.dumps(report, default=dataclasses.asdict))
    else:
        _print_table(list(map(_typed, capabilities)))
    return library.exit_code if isinstance(library, MachineError) else 0


def _typed(one: Capability) -> Capability:
    """The capability as shown: fields in its sentences become options."""
    return dataclasses.replace(one, detail=worded(one.detail), remedy=worded(one.remedy))


def _print_table(capabilities: Sequence[Capability]) -> None:
    from harness.reporters.terminal.lines import Page

    page = Page()
    colours = {"ok": "green", "limited": "yellow", "absent": "red"}
    page.facts(
        [
            (one.name, what, text, style)
            for one in capabilities
            for what, text, style in (
                (one.state, one.detail, colours[one.state]),
                ("remedy", one.remedy, "dim"),
            )
            if text
        ]
    )
    page.print()
    page.paragraph(_verdict(capabilities), "bold")


def _verdict(capabilities: Sequence[Capability]) -> str:
    """One sentence that sums them up."""
    named = {
        state: ", ".join(one.name for one in capabilities if one.state == state)
        for state in ("limited", "absent")
    }
    runtime = next(one for one in capabilities if one.name == "ONNX Runtime")
    if runtime.state == "absent":
        return "Nothing can be profiled here until ONNX Runtime can be opened."
    parts = ["Models can be profiled here"]
    if named["absent"]:
        parts.append(f"without: {named['absent']}")
    if named["limited"]:
        parts.append(f"with limits on: {named['limited']}")
    return "; ".join(parts) + "."
