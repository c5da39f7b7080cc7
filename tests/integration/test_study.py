"""``harness study`` on the sample, as a user calls it, and its page as a browser shows it."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from pathlib import Path

import pytest
from browser import Browser, executable
from conftest import REPOSITORY, Harness, execute

SAMPLE = REPOSITORY / "profiles" / "study-sample"
CLAIMS = [
    word
    for file in sorted((REPOSITORY / "profiles" / "claims").glob("*.toml"))
    for word in ("--claims", str(file))
]

PRICES = """
[[offer]]
name = "<b>rented</b>"
machine = "*"
device = "gpu"
price_per_hour = 3.6
currency = "USD"
date = 2026-11-01
source = "made up for this test"
spot = false
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, surroundings: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "prices.toml").write_text(PRICES)
    done = execute(
        *("study", SAMPLE, *CLAIMS, "--prices", "prices.toml", "-o", "page.html"),
        *("--csv", "figures.csv", "--json"),
        folder=folder,
        environment=surroundings,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (folder / "study.json").write_text(done.stdout)
    return folder


def test_the_verdicts_that_were_written_down_before(made: Path) -> None:
    told = json.loads((made / "study.json").read_text())
    verdicts = {one["text"]: one["verdict"] for one in told["claims"]}
    assert len(verdicts) == 22
    assert verdicts["A net of a few thousand parameters is faster on the CPU"] == "holds"
    assert verdicts["ResNet-50, one image: 12 ms on the GPU"] == "fails"
    assert verdicts["ResNet-50, one image: the GPU is twice as fast"] == "fails"
    assert verdicts["The GPU wins most of the time"] == "cannot tell"
    assert verdicts["CPUs are the more energy-efficient"] == "cannot tell"
    fails = next(one for one in told["claims"] if "twice as fast" in one["text"])
    (figure,) = fails["figures"]
    assert figure["interval"][0] < figure["value"] < figure["interval"][1]
    assert {Path(file).name for file in figure["files"]} == {
        "resnet50-b1-cpu.h5", "resnet50-b1-cuda.h5",
    }  # fmt: skip


def test_what_the_answer_says_and_what_it_does_not(made: Path) -> None:
    told = json.loads((made / "study.json").read_text())
    sentence = told["answers"][0]["sentence"]
    assert "the GPU is faster for bert-small" in sentence
    assert "the CPU is faster for mlp" in sentence
    assert "of resnet50, batch 32 it cannot be told" in sentence
    (lone,) = [
        one for one in told["figures"]
        if one["figure"] == "speed-up" and (one["model"], one["batch"]) == ("resnet50", 32)
    ]  # fmt: skip
    assert lone["value"] > 20
    assert (lone["low"], lone["reason"] != "") == (None, True)
    assert [Path(file).name for file in told["incomplete"]] == ["resnet50-b32-cpu.h5"]
    # Two machines of equal make, told apart by their GPUs.
    assert [one["profiles"] for one in told["machines"]] == [4, 8]


def test_cost_is_that_of_the_figures(made: Path) -> None:
    with (made / "figures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    costs = [one for one in rows if one["figure"] == "cost by machine"]
    rates = {
        (one["model"], one["batch"]): float(one["value"])
        for one in rows
        if one["figure"] == "throughput" and one["device"] == "NVIDIA H200"
    }
    assert len(costs) == 6
    for one in costs:
        # 3.60 USD an hour are 0.001 USD a second.
        expected = 1e6 / rates[one["model"], one["batch"]] * 0.001
        assert float(one["value"]) == pytest.approx(expected)
        assert "2026-11-01" in one["told"]


@pytest.mark.skipif(executable() is None, reason="no chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_asks_for_nothing(made: Path, tmp_path: Path, width: int) -> None:
    with Browser(tmp_path) as browser:
        browser.open(made / "page.html", width)
        assert browser.complaints == []
        assert browser.requests == [(made / "page.html").as_uri()]
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.querySelectorAll('.heat td').length") == 6
        assert browser.evaluate("document.querySelectorAll('.heat .won').length") == 5
        # All small multiples of a kind have one scale, so their ticks are the same.
        ticks = browser.evaluate(
            "[...document.querySelectorAll('#speedup .multiple')].map(one => "
            "[...one.querySelectorAll('.tick')].map(tick => tick.textContent).join())"
        )
        assert len(ticks) == 3
        assert len(set(ticks)) == 1
        # Figures of a claim and the files they rest on stand below each other, on a phone, too.
        assert browser.evaluate(
            "[...document.querySelectorAll('#claims td')].every(td => new Set([...td"
            ".querySelectorAll('details')].map(one => one.getBoundingClientRect().left)).size < 2)"
        )
        assert browser.evaluate("document.querySelectorAll('#claims td details').length") > 5
        # What a file says is text, not markup.
        assert browser.evaluate("document.querySelectorAll('#cost bdi b').length") == 0


def test_the_page_begins_with_the_answer(made: Path) -> None:
    page = (made / "page.html").read_text()
    assert page.index("the GPU is faster for bert-small") < page.index("Winners at a glance")
    shown = re.findall(r'<section id="(\w+)"', page)
    assert shown[:2] == ["winners", "claims"]
    assert "instances" not in shown  # nothing was measured, which "absent" says
    assert shown[-1] == "absent"


def test_the_text_names_what_is_absent(harness: Harness) -> None:
    done: subprocess.CompletedProcess[str] = harness("study", SAMPLE / "mlp-b1-cpu.h5")
    assert (done.returncode, done.stderr) == (0, "")
    assert "carry no answer" in done.stdout
    assert "no file of prices was given (--prices)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "no such file"),
        ([SAMPLE, "--claims", "none.toml"], "none.toml: cannot be read"),
        ([SAMPLE, "--machine", "box"], "is not NAME=FOLDER"),
        ([SAMPLE, "-o", "x", "--csv", "x"], "two outputs"),
    ],
)
def test_a_wrong_request_is_one_line(harness: Harness, arguments: list[object], told: str) -> None:
    done = harness("study", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
