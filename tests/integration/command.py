"""The command as a user starts it: in a process of its own, in a folder of its own."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

Harness = Callable[..., subprocess.CompletedProcess[str]]


def execute(
    *arguments: object, folder: Path, environment: dict[str, str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """``python -m harness ARGUMENTS`` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A profile of two processes of the reference model mlp, and how it was made.

    Attributes:
        file: the profile.
        outcome: of the command that made it.
        seen: what each Python process of it told at its end: argv, modules, environ.
    """

    file: Path
    outcome: subprocess.CompletedProcess[str]
    seen: list[dict[str, Any]]
