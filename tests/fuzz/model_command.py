"""Models through the whole of ``harness profile``."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzz import model_files, profile_files
from tests.fuzz.engine import Case

NAME = "onnx-command"
BASES = model_files.BASES
MUTATIONS = model_files.MUTATIONS
REFUSALS = model_files.REFUSALS
#: Three interpreters start, on a machine that may be busy.
LIMIT_S = 30.0
OUTPUTS_BY_NAME = True

make = model_files.make


def load(folder: Path) -> None:
    """The models, and the command."""
    model_files.load(folder)
    profile_files.import_commands()


def command(rng: random.Random, case: Case) -> list[str]:
    """A small measurement."""
    passes = rng.choice(("probe,ort", "probe,ort", "none"))
    words = f"profile input.onnx --quick --processes 1 --duration 0.02 --trace {passes} -o out.h5"
    return [*words.split(), *(["--json"] if rng.random() < 0.3 else [])]


def attempt(words: list[str]) -> int:
    """Tries it; what was measured is shown too, by other commands."""
    from harness.commands.command_line import main

    code = main(words)
    return main(["ops", "out.h5", "--csv"]) if code == 0 else code
