"""``harness report`` as a user calls it, and the page as a browser shows it."""

from __future__ import annotations

import dataclasses
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from harness.storage.profile_file import read_profile, write_profile
from tests.integration import browser
from tests.integration.command import Harness, Recorded
from tests.integration.fork_server import execute

NAMES = (
    '/block.0/<script>document.title = "taken"</script>',
    "/block.0/\"'><img src=x onerror=\"document.title='taken'\">",
    "/block.1/" + "long" * 2500,
    "/block.1/שלום\u202e",
)

needs_chromium = pytest.mark.skipif(
    browser.executable() is None, reason="no chromium here (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, surroundings: dict[str, str]) -> Path:
    """The page of a real profile of a model whose names mean harm."""
    folder = tmp_path_factory.mktemp("hostile")
    nodes, last = [], "x"
    for number, name in enumerate(NAMES):
        op_type = ("Cos", "Sqrt", "Sin", "Exp")[number]
        nodes.append(helper.make_node(op_type, [last], [f"v{number}"], name=name))
        last = f"v{number}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [64, 64]) for n in ("x", last)]
    graph = helper.make_graph(nodes, "hostile", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(
        helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "hostile<b>.onnx"
    )
    outcome = execute(
        *("profile", "hostile<b>.onnx", "--quick", "--processes", "2", "--duration", "0.1"),
        *("--output", "hostile.h5"),
        folder=folder,
        environment=surroundings,
    )
    assert outcome.returncode == 0, outcome.stderr
    outcome = execute(
        "report", "hostile.h5", "-o", "page.html", folder=folder, environment=surroundings
    )
    assert outcome.returncode == 0, outcome.stderr
    return folder / "page.html"


@pytest.fixture(scope="module")
def three(hostile: Path, recorded: Recorded, surroundings: dict[str, str]) -> Path:
    """The page of three profiles: two of one model, whose files have one name, and another."""
    folder = hostile.parent
    profile = read_profile(folder / "hostile.h5")
    later = tuple(dataclasses.replace(one, pid=one.pid + 1) for one in profile.processes)
    (folder / "again").mkdir()
    write_profile(dataclasses.replace(profile, processes=later), folder / "again" / "hostile.h5")
    outcome = execute(
        *("report", "hostile.h5", "again/hostile.h5", recorded.file, "-o", "three.html"),
        folder=folder,
        environment=surroundings,
    )
    assert outcome.returncode == 0, outcome.stderr
    return folder / "three.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    with browser.Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def test_it_writes_one_page(harness: Harness, recorded: Recorded, tmp_path: Path) -> None:
    outcome = harness("report", recorded.file, "-o", "page.html", "--json")
    assert outcome.returncode == 0, outcome.stderr
    told = json.loads(outcome.stdout)
    page = tmp_path / "page.html"
    assert told == {"file": "page.html", "bytes": page.stat().st_size}
    assert page.read_text().startswith("<!doctype html>")
    assert told["bytes"] < 1_000_000


def test_an_existing_page_is_overwritten_only_by_force(
    harness: Harness, recorded: Recorded, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("mine")
    assert harness("report", recorded.file, "-o", "page.html").returncode == 2
    assert (tmp_path / "page.html").read_text() == "mine"
    assert harness("report", recorded.file, "-o", "page.html", "--force").returncode == 0
    assert (tmp_path / "page.html").read_text() != "mine"


def test_a_page_that_finds_no_room_leaves_the_old_one(
    python_m_harness: Harness, recorded: Recorded, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("mine")
    outcome = python_m_harness(
        *("report", recorded.file, "-o", "page.html", "--force"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert outcome.returncode == 3
    assert "page.html: no room to write it" in outcome.stderr
    assert (tmp_path / "page.html").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_folder_that_is_not_there_is_a_wrong_request(
    harness: Harness, recorded: Recorded
) -> None:
    outcome = harness("report", recorded.file, "-o", "nowhere/page.html")
    assert outcome.returncode == 2
    assert "cannot be written" in outcome.stderr


def test_several_profiles_stand_side_by_side_with_a_verdict(
    harness: Harness, recorded: Recorded, tmp_path: Path
) -> None:
    outcome = harness("report", recorded.file, recorded.file, "-o", "page.html")
    assert outcome.returncode == 0, outcome.stderr
    page = (tmp_path / "page.html").read_text()
    assert "2 profiles side by side" in page
    assert 'class="big compared ' in page


@needs_chromium
def test_several_profiles_begin_with_one_table(
    chromium: browser.Browser, three: Path, recorded: Recorded, surroundings: dict[str, str]
) -> None:
    chromium.open(three)
    heads, *rows = chromium.evaluate(
        "[...document.querySelector('main table').rows]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    assert heads == [
        *("profile", "file", "median", "95 % interval"),
        *("ratio to the base", "its 95 % interval", "verdict"),
    ]
    assert [row[0][:2] for row in rows] == ["1.", "2.", "3."]
    assert len({row[1] for row in rows}) == 3, "files of one name are told apart"
    compared = execute(
        *("compare", "hostile.h5", "again/hostile.h5", recorded.file, "--json"),
        folder=three.parent,
        environment=surroundings,
    )
    assert rows[0][4:] == ["1", "–", "base"]
    first = json.loads(compared.stdout)
    for row, told in zip(rows[1:], [first, *first["others"]], strict=True):
        ratio, interval = told["ratio"], told["interval"]
        assert row[4] == ("–" if ratio is None else f"{ratio:.3f}")
        assert row[5] == ("–" if interval is None else "{:.3f} to {:.3f}".format(*interval))
        assert row[6] == told["verdict"].replace("_", " ")


@needs_chromium
def test_equal_cards_of_several_profiles_align(chromium: browser.Browser, three: Path) -> None:
    chromium.open(three)
    tops, bottoms = (
        chromium.evaluate(
            "[...document.querySelectorAll('.column')].map((column) => "
            "[...column.querySelectorAll('.card')].map((card) => "
            f"Math.round(card.getBoundingClientRect().{end})))"
        )
        for end in ("top", "bottom")
    )
    assert len(tops) == 3
    assert len(tops[0]) == 7
    assert tops[0] == tops[1] == tops[2]
    assert bottoms[0] == bottoms[1] == bottoms[2]


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_hangs_out_of_the_window(
    chromium: browser.Browser, hostile: Path, three: Path, width: int
) -> None:
    for page in (hostile, three):
        chromium.open(page, width)
        assert chromium.evaluate(browser.OUTSIDE) == []
        columns = "[...document.querySelectorAll('.column, .overview table')]"
        reach = f"Math.max(0, ...{columns}.map((one) => one.getBoundingClientRect().right))"
        assert chromium.evaluate(reach) <= width


@needs_chromium
def test_a_phone_shows_what_tells_names_apart(
    chromium: browser.Browser, tmp_path: Path, recorded: Recorded, surroundings: dict[str, str]
) -> None:
    names = [f"/model/decoder/layers.{at}/self_attention/query/MatMul" for at in (7, 8, 9)]
    profile = read_profile(recorded.file)
    assert profile.nodes is not None
    nodes = dataclasses.replace(profile.nodes, name=tuple(names), sources=("",) * 3)
    write_profile(dataclasses.replace(profile, nodes=nodes), tmp_path / "alike.h5")
    done = execute("report", "alike.h5", "-o", "p.html", folder=tmp_path, environment=surroundings)
    assert done.returncode == 0, done.stderr
    cells = "[...document.querySelectorAll('.by-node tbody td:first-child')]"
    hidden = f"{cells}.flatMap((cell) => [...cell.querySelectorAll('.common')])"
    for width, size in ((1280, "14px"), (390, "0px")):
        chromium.open(tmp_path / "p.html", width)
        assert sorted(chromium.evaluate(f"{cells}.map((cell) => cell.textContent)")) == names
        sizes = f"[...new Set({hidden}.map((one) => getComputedStyle(one).fontSize))]"
        assert chromium.evaluate(sizes) == [size]
    gone = set(chromium.evaluate(f"{hidden}.map((one) => one.textContent)"))
    assert not any(at in text for text in gone for at in "789")
    chromium.evaluate(f"{cells}[0].querySelector('bdi').click()")
    assert chromium.evaluate("document.querySelector('#tip').textContent") in names


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_loads_without_complaint_or_request(
    chromium: browser.Browser, hostile: Path, width: int, dark: bool
) -> None:
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(hostile, width, dark=dark)
    assert chromium.complaints == []
    outside = [one for one in chromium.requests if not one.startswith("data:,")]
    assert outside == [hostile.as_uri()]
    # The page itself never scrolls sideways, only what is in a frame of its own.
    root = "document.documentElement"
    assert chromium.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(19, 21, 25)" if dark else "rgb(252, 252, 251)"
    )


@needs_chromium
def test_names_of_the_model_stay_text(chromium: browser.Browser, hostile: Path) -> None:
    chromium.open(hostile)
    assert "taken" not in chromium.evaluate("document.title")
    assert chromium.evaluate("document.querySelectorAll('script, img').length") == 1
    shown = chromium.evaluate("document.querySelector('.by-node tbody').textContent")
    assert NAMES[0] in shown


@needs_chromium
def test_sorting_by_a_column(chromium: browser.Browser, hostile: Path) -> None:
    chromium.open(hostile)
    keys = (
        "[...document.querySelectorAll('.by-node tbody tr')]"
        ".map((row) => parseFloat(row.cells[2].dataset.key))"
    )
    button = "document.querySelectorAll('.by-node th')[2].querySelector('button')"
    falling = sorted(chromium.evaluate(keys), reverse=True)
    assert len(falling) >= len(NAMES)
    chromium.evaluate(f"{button}.click()")
    assert chromium.evaluate(keys) == falling
    chromium.evaluate(f"{button}.click()")
    assert chromium.evaluate(keys) == falling[::-1]
    assert chromium.evaluate(f"{button}.parentElement.getAttribute('aria-sort')") == "ascending"


@needs_chromium
def test_searching_by_op_type_and_layer(chromium: browser.Browser, hostile: Path) -> None:
    chromium.open(hostile)
    search = (
        "(() => { const box = document.querySelector('.search'); box.value = WANTED;"
        " box.dispatchEvent(new Event('input'));"
        " return [...document.querySelectorAll('.by-node tbody tr:not([hidden])')]"
        ".map((row) => row.cells[4].textContent); })()"
    )

    def found(text: str) -> list[str]:
        names: list[str] = chromium.evaluate(search.replace("WANTED", json.dumps(text)))
        return names

    assert found("sqrt") == ["Sqrt"]
    assert sorted(found("block.1")) == ["Exp", "Sin"]
    assert found("nothing of that kind") == []
    assert "0 of" in chromium.evaluate("document.querySelector('.found').textContent")
    assert len(found("")) >= len(NAMES)


@needs_chromium
def test_the_keyboard_reaches_search_and_tables(chromium: browser.Browser, hostile: Path) -> None:
    chromium.open(hostile)
    for kind in ("keyDown", "keyUp"):
        chromium.command("Input.dispatchKeyEvent", type=kind, key="/", code="Slash", text="/")
    assert chromium.evaluate("document.activeElement.className") == "search"
    chromium.evaluate("document.querySelector('input[value=op]').click()")
    shown = "getComputedStyle(document.querySelector('.by-op')).display"
    assert chromium.evaluate(shown) == "block"


@needs_chromium
def test_a_tap_on_a_mark_shows_its_numbers(chromium: browser.Browser, hostile: Path) -> None:
    chromium.open(hostile)
    chromium.evaluate(
        "document.querySelector('.treemap .leaf rect')"
        ".dispatchEvent(new MouseEvent('click', { bubbles: true }))"
    )
    assert "%" in chromium.evaluate("document.querySelector('#tip').textContent")
