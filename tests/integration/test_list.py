"""``harness list``: what a folder of profiles holds."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.analysis.outlines import outline_of
from harness.storage import shards
from harness.storage.profile_file import read_outline, read_profile, write_profile
from tests.integration.terminal import on_terminal

if TYPE_CHECKING:
    from tests.integration.command import Harness, Recorded

pytest.importorskip("harness.native.ort", reason="the native module is not built")

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/profile_v1.h5"


@pytest.fixture
def folder(tmp_path: Path, recorded: Recorded) -> Path:
    """``profiles`` with two profiles, a damaged one, what was left of one, and a folder."""
    made = tmp_path / "profiles"
    made.mkdir()
    shutil.copy(recorded.file, made / "mlp.h5")
    shutil.copy(GOLDEN, made / "golden.h5")
    (made / "cut.h5").write_bytes(GOLDEN.read_bytes()[:1000])
    left = made / ".left.h5.partial"
    left.mkdir()
    (left / shards.file_name(0)).touch()
    (made / "older").mkdir()
    return made


def test_a_new_profile_says_of_itself_what_the_whole_of_it_says(recorded: Recorded) -> None:
    whole = outline_of(read_profile(recorded.file))
    assert read_outline(recorded.file) == whole
    assert whole.facts["noise_verdict"] in ("quiet", "disturbed", "unusable")
    told = json.loads(recorded.outcome.stdout)
    assert whole.median_ns == told["latency"]["median_ns"]
    assert whole.facts["noise_verdict"] == told["noise"]["verdict"]


def test_the_table_ends_with_what_is_no_profile(harness: Harness, folder: Path) -> None:
    for _ in range(2):  # without an index, and with one
        shown = harness("list")
        assert (shown.returncode, shown.stderr) == (0, "")
        title, newest, older, *rest = shown.stdout.splitlines()
        assert re.fullmatch(r"created +model +median +± +noise +procs .* file +fed, options", title)
        assert re.search(r" mlp +\S+ .?s .* 2 +cpu +ORT's .* mlp\.h5 +float32 1x64$", newest)
        assert re.search(r" mödel +1\.2\d µs .* golden\.h5 +float32 1x3x0 \+1$", older)
        left, cut, inner = rest
        assert left.startswith("  unfinished .left.h5.partial: 1 process finished; harness recover")
        assert cut.startswith("  unreadable cut.h5: damaged: ")
        assert inner == "  folders    not looked into: older"


def test_json_and_csv_hold_the_same(harness: Harness, folder: Path) -> None:
    told = json.loads(harness("list", folder, "--json").stdout)
    first, second = told["profiles"]
    assert first["file"] == str(folder / "mlp.h5")
    assert first["model"]["name"] == "mlp"
    assert first["inputs"][0]["shape"] == [1, 64]
    assert first["threads"] == 0
    low, high = first["interval_ns"]
    assert low <= first["median_ns"] <= high
    assert (second["noise"], bool(second["noise_reason"])) == (None, True)
    assert told["partial"] == [
        {"folder": str(folder / ".left.h5.partial"), "processes": 1, "running": False}
    ]
    assert [one["file"] for one in told["unreadable"]] == [str(folder / "cut.h5")]
    assert told["folders"] == ["older"]
    rows = list(csv.DictReader(io.StringIO(harness("list", folder, "--csv").stdout)))
    assert [row["file"] for row in rows] == [one["file"] for one in told["profiles"]]
    assert float(rows[0]["median_ns"]) == first["median_ns"]
    assert rows[1]["inputs"] == "float32 1x3x0, bfloat16 scalar"


@pytest.mark.parametrize(
    ("words", "files"),
    [
        ("--model ML", ["mlp.h5"]),
        ("--model abababab", ["golden.h5"]),
        ("--device turin", ["golden.h5"]),
        ("--provider cpu --sort file", ["golden.h5", "mlp.h5"]),
        ("--sort created --limit 1", ["mlp.h5"]),
        ("--since 2026-01-01", ["mlp.h5"]),
        ("--since 2400-01-01", []),
        ("--since 0001-01-01 --sort file", ["golden.h5", "mlp.h5"]),
    ],
)
def test_filters_and_orders(words: str, files: list[str], harness: Harness, folder: Path) -> None:
    told = json.loads(harness("list", "--json", *words.split()).stdout)
    assert [Path(one["file"]).name for one in told["profiles"]] == files


def test_what_fits_nothing_says_so(harness: Harness, folder: Path) -> None:
    shown = harness("list", "--model", "nothing")
    assert shown.stdout.splitlines()[0] == "profiles: none of 2 profiles fits"
    (folder.parent / "empty").mkdir()
    shown = harness("list", "empty")
    assert (shown.returncode, shown.stdout) == (0, "empty: no profiles\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["profiles/mlp.h5"], "profiles/mlp.h5: is a file (harness show profiles/mlp.h5"),
        (["--since", "soon"], "--since soon: is no moment (give --since 2026-11-28"),
        (["--limit", "-1"], "--limit must not be negative"),
        (["--json", "--csv"], "not allowed with argument"),
    ],
)
def test_wrong_requests(words: list[str], says: str, harness: Harness, folder: Path) -> None:
    refused = harness("list", *words)
    assert (refused.returncode, refused.stdout) == (
        2,
        "" if "--json" not in words else refused.stdout,
    )
    assert says in refused.stderr + refused.stdout


def test_without_a_folder_of_profiles_it_says_how_to_make_one(harness: Harness) -> None:
    refused = harness("list")
    assert refused.returncode == 2
    assert "harness profile MODEL writes into this one" in refused.stderr


def test_names_in_files_control_no_terminal(
    harness: Harness, folder: Path, recorded: Recorded, surroundings: dict[str, str]
) -> None:
    profile = read_profile(recorded.file)
    evil = dataclasses.replace(
        profile,
        created="=1+1",
        model=dataclasses.replace(profile.model, name="\x1b[31m=red\nrow" * 20),
        environment=tuple(
            dataclasses.replace(one, value="\x1b]0;t\x07") if one.name == "cpu_model" else one
            for one in profile.environment
        ),
    )
    write_profile(evil, folder / "evil.h5")
    for words in (["list"], ["list", "--csv"], ["list", "--limit", "0"]):
        shown = harness(*words)
        assert shown.returncode == 0
        assert "\x1b" not in shown.stdout
        assert "\x07" not in shown.stdout
    assert ",'=1+1," in harness("list", "--csv").stdout
    written = on_terminal("list", folder, environment=surroundings)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", written)
    assert max(map(len, plain.splitlines()[:4])) <= 80
    assert "mlp.h5" in plain


def test_what_json_has_no_number_for_is_a_text(harness: Harness, folder: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    profile = read_profile(GOLDEN)
    config = '{"session": {"inter_threads": NaN, "entries": {"a": [-Infinity]}}}'
    write_profile(dataclasses.replace(profile, config=config), folder / "odd.h5")
    for words in ("list", "show profiles/odd.h5", "ops profiles/odd.h5", "history profiles"):
        json.loads(harness(*words.split(), "--json").stdout, parse_constant=refuse)
    shown = json.loads(harness("list", "--json").stdout)["profiles"]
    (odd,) = [one for one in shown if one["file"].endswith("odd.h5")]
    assert odd["options"] == {"inter_threads": "NaN", "entries": {"a": ["-Infinity"]}}


def test_an_index_lets_it_start_without_hdf5(
    folder: Path, surroundings: dict[str, str], harness: Harness
) -> None:
    (folder / "cut.h5").unlink()  # what is damaged is looked at each time
    harness("list")
    script = (
        "import sys\nfrom harness.commands.command_line import main\nmain(['list'])\n"
        "print('loaded:', *sorted({'h5py', 'scipy', 'onnx', 'pyperf'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script],
        env=surroundings,
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mlp.h5" in shown.stdout
    assert shown.stdout.splitlines()[-1] == "loaded:"
