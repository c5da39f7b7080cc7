"""``harness history`` as a user types it, and its page as a browser shows it."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.commands.command_line import main
from harness.storage.profile_file import write_profile
from tests.builders.dated_profiles import levels, on_day
from tests.builders.process_records import process
from tests.integration import browser
from tests.integration.command import Harness
from tests.integration.fork_server import execute

needs_chromium = pytest.mark.skipif(
    browser.executable() is None, reason="no chromium here (Debian: apt-get install chromium)"
)

#: A name that means harm to terminals and pages.
HOSTILE = "net\x1b[31m<script>document.title='taken'</script>" + "long" * 60


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty days of a model that became 5 % slower with an ORT, two of another, and odd files."""
    place = tmp_path_factory.mktemp("kept")
    for day, level in enumerate(levels(30, step_at=20, step=0.05)):
        ort = "1.30.0" if day < 20 else "1.31.1"
        write_profile(on_day(day, level, ort=ort), place / f"day{day:02}.h5")
    for day in range(2):
        write_profile(on_day(day, 5e3, model=HOSTILE), place / f"other{day}.h5")
    cut = dataclasses.replace(on_day(40, 1e6), complete=False)
    write_profile(cut, place / "cut.h5")
    (place / "broken.h5").write_bytes(b"not a profile")
    (place / "notes.txt").write_text("not looked at")
    return place


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    """A copy of them, of which there is no index yet."""
    return Path(shutil.copytree(kept, tmp_path / "runs"))


def test_a_folder_is_shown_with_its_change_and_what_is_left_out(
    harness: Harness, folder: Path
) -> None:
    outcome = harness("history", "runs")
    assert outcome.returncode == 0, outcome.stderr
    lines = [" ".join(line.split()) for line in outcome.stdout.splitlines()]
    assert "net on cpu, 1 thread" in lines
    assert "profiles 30, 2026-03-01 06:00 to 2026-03-30 06:00 UTC" in lines
    assert any(line.startswith("1 change found in 30 profiles, which scatter by") for line in lines)
    (at,) = [number for number, line in enumerate(lines) if line.startswith("SLOWER +")]
    assert lines[at + 1] == "between runs/day19.h5 of 2026-03-20 06:00"
    assert lines[at + 2] == "and runs/day20.h5 of 2026-03-21 06:00"
    assert lines[at + 3] == "with it ort_version: 1.30.0 → 1.31.1"
    assert any("changes are looked for in 12 profiles or more: 10 more" in line for line in lines)
    assert "left out: 2 files" in lines
    assert "left out runs/broken.h5: not an HDF5 file" in lines
    assert "left out runs/cut.h5: it was interrupted" in lines
    assert "\x1b" not in outcome.stdout
    assert "notes.txt" not in outcome.stdout
    # The mark stands below the first block of the new level.
    blocks, marks = (line for line in outcome.stdout.splitlines()[:9] if "series" in line)
    assert blocks[marks.index("^")] in "▄▅▆▇█"
    assert marks.index("^") - blocks.index("series") - len("series     ") == 20


def test_json_has_the_points_and_changes_of_the_longest_series(
    harness: Harness, folder: Path
) -> None:
    outcome = harness("history", "runs", "--json")
    assert outcome.returncode == 0, outcome.stderr
    told = json.loads(outcome.stdout)
    assert len(told["points"]) == 30
    assert told["points"][0]["file"] == "runs/day00.h5"
    (change,) = told["changes"]
    assert change["at"] == 20
    assert change["verdict"] == "SLOWER"
    assert change["interval"][0] < change["ratio"] < change["interval"][1]
    assert change["first_after"]["file"] == "runs/day20.h5"
    assert change["differences"][0]["what"] == "ort_version"
    assert told["changes_reason"] == ""
    assert told["options"] == {"intra_threads": 1}
    (other,) = told["others"]
    assert other["changes"] == []
    assert "12 profiles or more" in other["changes_reason"]
    assert {Path(one["file"]).name for one in told["left_out"]} == {"broken.h5", "cut.h5"}


def test_profiles_of_different_length_are_one_series_of_equal_looks(
    harness: Harness, folder: Path
) -> None:
    """The model becomes slower within each of the longer profiles, when the short one had ended."""
    longer = [process([10**6] * 17 + [2 * 10**6] * 60, k, start_ns=10**12 + k) for k in range(4)]
    for day in range(2):
        profile = dataclasses.replace(on_day(day, 1e6, model="mixed"), processes=tuple(longer))
        write_profile(profile, folder / f"mixed{day}.h5")
    write_profile(on_day(2, 1e6, model="mixed"), folder / "mixed2.h5")
    files = [f"runs/mixed{day}.h5" for day in range(3)]
    told = json.loads(harness("history", *files, "--json").stdout)
    assert [one["file"] for one in told["points"]] == files
    assert len({one["look_ns"] for one in told["points"]}) == 1
    assert told["scatter"] < 0.01
    assert "measured for longer than mixed2.h5" in " ".join(told["doubts"])
    alone = json.loads(harness("history", files[0], "--json").stdout)
    assert alone["points"][0]["undisturbed_ns"] > 1.4e6
    assert (alone["scatter"], bool(alone["scatter_reason"])) == (None, True)


def test_files_may_be_named_one_by_one_and_twice(harness: Harness, folder: Path) -> None:
    files = ("runs/day03.h5", "runs/day01.h5", "runs/day03.h5")
    told = json.loads(harness("history", *files, "--json").stdout)
    assert [one["file"] for one in told["points"]] == ["runs/day01.h5", "runs/day03.h5"]
    assert told["left_out"] == []


def test_trackers_get_their_files(harness: Harness, folder: Path, tmp_path: Path) -> None:
    outputs = ("--otava", "o.csv", "--bencher", "b.json", "--pytest-benchmark", "p.json")
    outcome = harness("history", "runs", *outputs)
    assert outcome.returncode == 0, outcome.stderr
    assert "30 profiles in o.csv" in outcome.stdout
    assert "2 series in b.json" in outcome.stdout
    for name, rows in (("o.csv", 30), ("o-2.csv", 2)):
        with (tmp_path / name).open(newline="") as file:
            assert len(list(csv.DictReader(file))) == rows
    assert len(json.loads((tmp_path / "b.json").read_text())) == 2
    assert len(json.loads((tmp_path / "p.json").read_text())["benchmarks"]) == 2


def test_an_output_that_exists_stops_all_of_them(
    harness: Harness, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "o-2.csv").write_text("mine")
    outcome = harness("history", "runs", "-o", "page.html", "--otava", "o.csv")
    assert outcome.returncode == 2
    assert "o-2.csv: the file exists" in outcome.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["o-2.csv", "runs"]
    assert (tmp_path / "o-2.csv").read_text() == "mine"


def contents(place: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in place.iterdir() if one.is_file()}


@pytest.mark.parametrize(
    "outputs",
    [
        "--otava o.csv --bencher o-2.csv",  # the second series of Otava's goes there
        "--bencher o-2.csv --otava ./o.csv",
        "--otava o.csv --bencher runs/../o.csv",
        "--bencher here/b.json --pytest-benchmark b.json",
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_no_output_replaces_another(
    harness: Harness, folder: Path, tmp_path: Path, outputs: str, force: list[str]
) -> None:
    (tmp_path / "here").symlink_to(".")
    outcome = harness("history", "runs", *outputs.split(), *force)
    assert outcome.returncode == 2
    (line,) = outcome.stderr.splitlines()
    assert ": two outputs have the same file name (give each a name of its own)" in line
    assert contents(tmp_path) == {}


def test_a_name_that_was_not_given_replaces_only_what_history_wrote(
    harness: Harness, folder: Path, tmp_path: Path
) -> None:
    asked = ("history", "runs", "--otava", "o.csv", "--force")
    assert harness(*asked).returncode == 0
    before = contents(tmp_path)
    outcome = harness(*asked)
    assert outcome.returncode == 0, outcome.stderr
    assert "30 profiles in o.csv\n2 profiles in o-2.csv\n" in outcome.stdout
    assert contents(tmp_path) == before
    (tmp_path / "o-2.csv").write_text("mine")
    outcome = harness(*asked, "--bencher", "b.json")
    assert outcome.returncode == 2
    assert "o-2.csv: the file exists, and was not named nor written" in outcome.stderr
    assert contents(tmp_path) == before | {"o-2.csv": b"mine"}


def test_several_series_are_not_written_to_a_pipe(
    harness: Harness, folder: Path, tmp_path: Path
) -> None:
    outcome = harness("history", "runs", "--otava", "/dev/stdout", "--bencher", "b.json")
    assert outcome.returncode == 2
    assert "/dev/stdout: is not a file, and each of the 2 series needs one" in outcome.stderr
    assert contents(tmp_path) == {}
    assert not Path("/dev/stdout-2").exists()


def test_one_profile_is_one_profile(harness: Harness, folder: Path) -> None:
    outcome = harness("history", "runs/day00.h5", "-o", "p.html", "--otava", "o.csv")
    assert outcome.stdout.endswith("1 profile in p.html\n1 profile in o.csv\n")


def test_a_folder_that_may_not_be_listed_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    for lists in ("listdir", "scandir"):  # root may list any
        monkeypatch.setattr(os, lists, refuse)
    assert main(["history", str(tmp_path)]) == 2
    told = f"harness: {tmp_path}: cannot be read: Permission denied (name another folder)\n"
    assert capsys.readouterr().err == told


def test_the_first_year_is_shown_with_all_digits(
    harness: Harness, surroundings: dict[str, str], tmp_path: Path
) -> None:
    early = dataclasses.replace(on_day(0, 1e6), created="0001-01-01T00:00:00+00:00")
    write_profile(early, tmp_path / "a.h5")
    shown = " ".join(harness("history", "a.h5").stdout.split())
    assert "profiles 1, 0001-01-01 00:00 to 0001-01-01 00:00 UTC" in shown
    for zone in ("America/New_York", "UTC"):
        outcome = execute("list", ".", folder=tmp_path, environment=surroundings | {"TZ": zone})
        assert "0001-01-01 00:00" in outcome.stdout, outcome.stderr


@pytest.mark.parametrize("given", ["nowhere", "empty", "runs/broken.h5"])
def test_without_a_profile_there_is_nothing_to_show(
    harness: Harness, folder: Path, tmp_path: Path, given: str
) -> None:
    (tmp_path / "empty").mkdir()
    outcome = harness("history", given)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("harness: no profile to show")
    assert len(outcome.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    with browser.Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@needs_chromium
def test_the_page_plots_each_series_on_screens_and_phones(
    harness: Harness, folder: Path, tmp_path: Path, chromium: browser.Browser
) -> None:
    outcome = harness("history", "runs", "-o", "page.html")
    assert outcome.returncode == 0, outcome.stderr
    for width in (1280, 390):
        chromium.open(tmp_path / "page.html", width)
        assert chromium.evaluate("document.title").startswith("Over time: net · ")
        assert chromium.evaluate("document.querySelectorAll('section .plot .dot').length") == 32
        assert chromium.evaluate("document.querySelectorAll('.plot .change.slower').length") == 1
        assert chromium.evaluate(browser.OUTSIDE) == []
    text = chromium.evaluate("document.querySelector('main').textContent")
    assert "1 change found in 30 profiles" in text
    assert "ort_version: 1.30.0 → 1.31.1" in text
    assert "broken.h5" in text
    # The first mark of the new level is higher up than the last of the old one.
    heights = chromium.evaluate(
        "[...document.querySelector('.plot').querySelectorAll('.dot')]"
        ".map((dot) => dot.getBoundingClientRect().y)"
    )
    assert heights[20] < heights[19]
