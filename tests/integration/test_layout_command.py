"""``harness layout``: the layouts of this machine, measured; the command it gives; Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.machine.topology import topology
from harness.records import GROUP_FACTS
from harness.storage.profile_file import read_profile
from harness.study.layouts.candidates import candidates

if TYPE_CHECKING:
    from tests.integration.command import Harness

pytest.importorskip("harness.native.ort", reason="the native module is not built")

#: As short as can be: the figures mean nothing.
SHORT = ("--duration", "0.05", "--budget", "5")


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, surroundings: dict[str, str]
) -> dict[str, Any]:
    """What one search told, with the folder in which it ran."""
    folder = tmp_path_factory.mktemp("a folder")
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "harness",
            "layout",
            str(tiny_model),
            "--batch",
            "2",
            *SHORT,
            "--json",
        ],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
    return {**json.loads(ended.stdout), "folder": folder}


def test_layouts_are_those_of_this_machine_and_each_has_its_figures(found: dict[str, Any]) -> None:
    layouts, unfit = candidates(topology(allowed=os.sched_getaffinity(0)))

    assert len(found["layouts"]) == len(layouts) + len(unfit)
    assert found["model"] == "tiny"
    assert found["items_per_inference"] == 2
    assert found["default"]["placement"] == "default"
    assert found["best"]["items_per_s"] > 0
    measured = [one for one in found["layouts"] if one["items_per_s"] is not None]
    assert all(one["median_ns"] > 0 for one in measured)
    assert all(one["items_per_s"] is not None or one["reason"] for one in found["layouts"])
    assert found["ended_by"] in ("told", "same", "budget")
    assert not list(found["folder"].iterdir())  # nothing was left behind


def test_the_command_of_a_layout_takes_a_profile_of_it(
    found: dict[str, Any], harness: Harness, tmp_path: Path
) -> None:
    told = next(one for one in found["layouts"] if one["instances"] > 1 or one["cpus"])
    words = shlex.split(told["command"])
    assert words[:2] == ["harness", "profile"]

    ended = harness(*words[1:], "--processes", "1", "-o", "out.h5", "--quiet")

    assert ended.returncode == 0, ended.stderr
    profile = read_profile(tmp_path / "out.h5")
    facts = {one.name: one.value for one in profile.environment}
    instances, threads, _, placement = (facts[name] for name in GROUP_FACTS)
    assert placement == "; ".join(told["cpus"])
    assert (instances, threads) == (told["instances"], told["threads"])
    assert profile.items.value == 2


def test_ctrl_c_tells_what_is_known_and_leaves_no_worker(
    tmp_path: Path, tiny_model: Path, surroundings: dict[str, str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "layout", str(tiny_model), "--duration", "0.05"],
        cwd=tmp_path,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("group 2"):
            process.send_signal(signal.SIGINT)
            break
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "interrupted: this is what was known until then" in out
    assert "groups in" in out
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("mlp", "--latency-limit", "0"), "--latency-limit 0: must be above 0"),
        (("mlp", "--provider", "cuda"), "layouts are of the CPUs of a machine"),
        (("mlp", "--budget", "0"), "--budget 0: must be above 0"),
        (("mlp", "--threads", "2"), "harness layout has no such option"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_measured(
    harness: Harness, arguments: tuple[str, ...], told: str
) -> None:
    ended = harness("layout", *arguments)

    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
