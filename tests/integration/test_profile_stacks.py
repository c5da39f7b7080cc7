"""Stacks of a worker in the timing loop, as a user asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness as package

if TYPE_CHECKING:
    from tests.integration.command import Harness

PROFILE = ("profile", "mlp", "--quick", "--processes", "1", "--duration", "0.05", "--trace", "none")


@pytest.mark.slow
def test_stacks_are_sampled_in_a_worker_of_their_own_or_the_reason_is_said(
    harness: Harness, tmp_path: Path
) -> None:
    done = harness(*PROFILE, "--stacks", "-o", "out.h5")
    assert done.returncode == 0, done.stderr
    profile = package.read_profile(tmp_path / "out.h5")
    assert len(profile.processes) == 1
    reasons = dict(profile.absent)
    assert (profile.stacks is None) is ("stacks" in reasons)
    if profile.stacks is None:  # a machine that lets nobody look: the remedy is said
        assert "(" in reasons["stacks"]
        return
    assert profile.stacks.samples.sum() > 0
    assert "python" in harness("show", "out.h5").stdout
    assert harness("report", "out.h5", "-o", "out.html").returncode == 0
    page = (tmp_path / "out.html").read_text()
    assert 'id="stacks"' in page
    assert "Measurement.take" in page
    exported = harness("export", "out.h5", "--stacks", "out.txt")
    assert exported.returncode == 0, exported.stderr
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == profile.stacks.samples.sum()


def test_a_profile_without_stacks_says_how_to_get_them(harness: Harness) -> None:
    assert harness(*PROFILE, "-o", "out.h5").returncode == 0
    refused = harness("export", "out.h5", "--stacks", "out.txt", "--json")
    assert refused.returncode == 2
    assert "--stacks" in json.dumps(refused.stdout + refused.stderr)
