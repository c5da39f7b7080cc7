"""``harness calibrate``: short profiles of one configuration on several occasions."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.config.profile import ProfileConfig
from harness.measuring.occasions import new_file, next_due
from harness.storage.profile_file import read_outline, read_profile
from harness.storage.shards import partial_folder

if TYPE_CHECKING:
    from tests.integration.command import Harness

pytest.importorskip("harness.native.ort", reason="the native module is not built")

#: As short as can be.
SHORT = ("--processes", "2", "--duration", "0.02")


def test_occasions_lie_beside_each_other_and_are_told_apart(
    harness: Harness, tmp_path: Path
) -> None:
    first = harness("calibrate", "mlp", *SHORT, "--times", "2", "--every", "0.02", "--threads", "1")
    assert first.returncode == 0, first.stderr
    assert re.search(
        r"1 of 2 occasions taken; the next is due at \d\d:\d\d:\d\d, in \d+ s", first.stderr
    )
    files = sorted((tmp_path / "profiles").glob("*.h5"))
    assert len(files) == 2
    for file in files:
        assert re.fullmatch(r"mlp-cpu-\d{8}T\d{6}Z-calibrate(-2)?\.h5", file.name)
        profile = read_profile(file)
        assert (len(profile.processes), profile.nodes, profile.complete) == (2, None, True)
        # It is no quick look: compare would warn of one. Ceilings were not asked for either.
        assert not profile.asked.quick
        assert not [one.name for one in profile.environment if one.name.startswith("ceiling")]
    assert "deviation not known: it takes 3 occasions" in " ".join(first.stdout.split())
    # Other profiles of the same configuration count; those of another do not.
    assert harness("profile", "mlp", "--quick", *SHORT, "--threads", "1").returncode == 0
    told = json.loads(
        harness("calibrate", "mlp", *SHORT, "--times", "1", "--threads", "1", "--json").stdout
    )
    assert len(told["files"]) == 1
    assert len(told["occasions"]) == 4
    # On a machine that is busy, not all of them can be used.
    assert len(told["used"]) == len(told["undisturbed_ns"]) <= 4
    assert set(told["used"]) <= set(told["occasions"])
    assert (told["occasion_sd"] is None) == ("occasion_sd_reason" in told)
    seen = json.loads(harness("history", "profiles", "--json").stdout)
    assert [one["file"] for one in seen["points"]] == told["occasions"]
    compared = harness("compare", *told["occasions"][:2]).stdout
    assert "`quick`" not in compared
    assert "measured with --quick" not in compared
    other = harness("calibrate", "mlp", *SHORT, "--times", "1", "--threads", "2", "--json")
    told = json.loads(other.stdout)
    assert told["occasions"] == told["files"]
    assert (told["occasion_sd"], bool(told["occasion_sd_reason"])) == (None, True)
    assert read_outline(tmp_path / told["files"][0]).asked.intra_threads == 2


def test_ctrl_c_between_two_occasions_keeps_the_first_and_says_how_to_go_on(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "harness", "calibrate", "mlp", *SHORT, "--times", "3", "-o"]
    with subprocess.Popen(
        [*command, "kept"],
        cwd=tmp_path,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "the next is due" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == (
        "harness: interrupted; 1 of 3 occasions kept in kept "
        "(go on with the same command and --times 2)"
    )
    assert len(list((tmp_path / "kept").glob("*-calibrate.h5"))) == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("mlp --times 0", 2, "--times 0: must be from 1 to 1000"),
        ("mlp --every 0", 2, "--every 0: must be at least 0.001 and at most a week"),
        ("mlp --times 2 --every 1e-310", 2, "--every 1e-310: must be at least 0.001 and at most"),
        ("mlp -o file.txt", 2, "file.txt: is a file (give --output FOLDER)"),
        ("mlp --trace probe", 2, "--trace: harness calibrate has no such option"),
        ("mlp --batch 0", 2, "--batch 0: a batch must be at least 1"),
        ("nowhere.onnx --times 1", 2, "nowhere.onnx: no such file"),
    ],
)
def test_wrong_requests(words: str, code: int, says: str, harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    refused = harness("calibrate", *words.split())
    assert (refused.returncode, refused.stdout) == (code, "")
    assert says in refused.stderr
    assert not (tmp_path / "profiles").exists()


def test_a_name_is_never_used_twice(tmp_path: Path) -> None:
    config = ProfileConfig(model="a/net.onnx")
    names = []
    for number in range(4):
        path = new_file(config, tmp_path)
        names.append(path.name)
        if number % 2:
            partial_folder(path).mkdir()  # another one is being measured under this name
        else:
            path.touch()
    assert len(set(names)) == 4
    assert all(name.startswith("net-cpu-") for name in names)


@pytest.mark.parametrize(
    ("now_s", "due_s"), [(100, 160), (130, 160), (159.9, 160), (161, 220), (400.5, 460), (90, 160)]
)
def test_an_occasion_that_takes_too_long_skips_those_that_it_overran(
    now_s: float, due_s: float
) -> None:
    assert next_due(100, 60, now_s) == due_s
