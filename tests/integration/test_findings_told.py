"""What is said at the end of a real profile, by every command that shows one."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.integration.command import Harness, Recorded
from tests.integration.fork_server import execute
from tests.integration.terminal import on_terminal

THREADS = len(os.sched_getaffinity(0)) + 3
SENTENCE = f"{THREADS} threads share "


@pytest.fixture(scope="module")
def crowded(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, surroundings: dict[str, str]
) -> tuple[Path, str]:
    """A profile with more threads than there are CPUs, and what ``profile`` printed."""
    folder = tmp_path_factory.mktemp("crowded")
    outcome = execute(
        *("profile", tiny_model, "--quick", "--processes", "1", "--duration", "0.05"),
        *("--trace", "none", "--threads", THREADS, "--output", "crowded.h5"),
        folder=folder,
        environment=surroundings,
    )
    assert outcome.returncode == 0, outcome.stderr
    return folder / "crowded.h5", outcome.stdout


def test_profile_and_show_close_with_them(harness: Harness, crowded: tuple[Path, str]) -> None:
    file, printed = crowded
    shown = harness("show", file).stdout
    for text in (printed, shown):
        # A container's CPU limit may add a finding of its own.
        lines = text[text.index("  findings ") :].splitlines()
        found = [line.removeprefix("  findings ").strip() for line in lines]
        at = next(k for k, line in enumerate(found) if SENTENCE in line)
        assert found[at + 1].startswith(f"– threads {THREADS}, cpus ")
        assert found[at + 2].startswith("→ Use --threads ")


def test_scripts_get_the_figures(harness: Harness, crowded: tuple[Path, str]) -> None:
    told = json.loads(harness("show", crowded[0], "--json").stdout)
    (found,) = (one for one in told["findings"] if one["kind"] == "threads")
    assert found["evidence"]["threads"] == THREADS
    assert found["sentence"].startswith(SENTENCE)
    assert found["nodes"] == []


def test_they_fit_a_terminal(crowded: tuple[Path, str], surroundings: dict[str, str]) -> None:
    text = on_terminal("show", crowded[0], environment=surroundings)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    found = plain[plain.index("  findings ") :].splitlines()
    assert max(map(len, found)) <= 80


def test_the_page_shows_them(harness: Harness, crowded: tuple[Path, str], tmp_path: Path) -> None:
    assert harness("report", crowded[0], "-o", "page.html").returncode == 0
    page = (tmp_path / "page.html").read_text()
    assert SENTENCE in page[page.index('id="findings"') : page.index('id="latency"')]


def test_the_text_and_the_json_of_a_profile_say_the_same(
    harness: Harness, recorded: Recorded
) -> None:
    told = json.loads(harness("show", recorded.file, "--json").stdout)["findings"]
    shown = harness("show", recorded.file).stdout
    assert [one["sentence"] in shown for one in told] == [True] * len(told)
    assert ("  findings " in shown) is bool(told)
    assert len(told) <= 5
