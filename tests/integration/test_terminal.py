"""What the commands write to a terminal, to a pipe, and to nobody."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.storage.profile_file import read_profile, write_profile
from tests.integration.fork_server import execute
from tests.integration.terminal import on_terminal

if TYPE_CHECKING:
    from tests.integration.command import Harness, Recorded

pytest.importorskip("harness.native.ort", reason="the native module is not built")

GOLDEN = Path(__file__).parents[1] / "golden" / "profile_v1.h5"

#: What a node may be called; each is a terminal's worst.
NAMES = (
    "/very" + "/long.layer" * 908 + "/MatMul",
    "\u202eשלום עולם/مرحبا بالعالم/MatMul",
    "two\nlines\tand \x1b[31mred\x1b]0;title\x07" + "节点" * 30,
)


#: Names that a terminal of 80 columns cannot hold, and that differ in one word of the middle, or in
#: one letter of a word that is too long itself.
ALIKE = (
    "/model/decoder/layers.7/self_attention/query_projection/dense/MatMul",
    "/model/decoder/layers.8/self_attention/query_projection/dense/MatMul",
    f"{'l' * 60}a{'l' * 60}",
)


@pytest.fixture(scope="module")
def alike(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded profile, with nodes whose names look alike once they are cut."""
    profile = read_profile(recorded.file)
    assert profile.nodes is not None
    nodes = dataclasses.replace(profile.nodes, name=ALIKE, sources=("",) * len(ALIKE))
    file = tmp_path_factory.mktemp("alike") / "alike.h5"
    write_profile(dataclasses.replace(profile, nodes=nodes), file)
    return file


@pytest.fixture(scope="module")
def awkward(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded profile, of a model and with nodes whose names fit no line."""
    profile = read_profile(recorded.file)
    nodes = profile.nodes
    assert nodes is not None
    assert len(nodes) == len(NAMES)
    model = dataclasses.replace(
        profile.model, name="modèle-" + "מודל-" * 40 + "v2", path="/folder" * 300 + "/m.onnx"
    )
    op_types = ("ABlockOfOperatorsThatSomebodyFused", "节点" * 12, "Gemm")
    # Where no source is known a node is called as it is in its file.
    named = dataclasses.replace(nodes, name=NAMES, sources=("",) * len(NAMES), op_type=op_types)
    awkward = dataclasses.replace(
        profile,
        model=model,
        nodes=named,
        inputs=tuple(dataclasses.replace(one, name="input" * 40) for one in profile.inputs),
        # Another measurement than the recorded one, which may be compared with it.
        processes=tuple(dataclasses.replace(one, pid=one.pid + 1) for one in profile.processes),
    )
    file = tmp_path_factory.mktemp("awkward") / f"{'profile-' * 25}.h5"
    write_profile(awkward, file)
    return file


def places(line: str) -> int:
    """Places that a line takes on a terminal, without what only colours it."""
    seen = re.sub(r"\x1b\[[0-9;]*m", "", line)
    # What is left must be nothing but text: a name may not reach the terminal's controls.
    assert seen.isprintable(), seen
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in seen)


@pytest.mark.parametrize(
    "command",
    [
        ("show", "RECORDED"),
        ("ops", "RECORDED"),
        ("show", "AWKWARD"),
        ("ops", "AWKWARD"),
        ("ops", "AWKWARD", "--roofline", "--passes"),
        ("compare", "AWKWARD", "RECORDED"),
    ],
    ids=" ".join,
)
def test_lines_fit_80_columns(
    command: tuple[str, ...], recorded: Recorded, awkward: Path, surroundings: dict[str, str]
) -> None:
    files = {"RECORDED": recorded.file, "AWKWARD": awkward}
    given = [files.get(word, word) for word in command]
    lines = on_terminal(*given, environment=surroundings).splitlines()
    # A file's path is never broken: it is there to be copied.
    wide = [line for line in lines if places(line) > 80 and not line.startswith("  file ")]
    assert wide == []
    assert "\x1b[1m" in lines[0], "the heading is bold"


def test_long_names_keep_their_ends(awkward: Path, surroundings: dict[str, str]) -> None:
    shown = on_terminal("show", awkward, environment=surroundings)
    assert re.match(r"\x1b\[1mmodèle-מ.*….*v2 on cpu, threads", shown)
    operators = on_terminal("ops", awkward, environment=surroundings)
    assert re.search(r"/very\S*…\S*MatMul$", operators, re.MULTILINE)
    assert re.search(r"\\u202eשלום .*…", operators, re.MULTILINE)


@pytest.mark.parametrize("command", ["ops", "show"])
def test_two_nodes_never_look_the_same(
    command: str, alike: Path, surroundings: dict[str, str]
) -> None:
    shown = on_terminal(command, alike, environment=surroundings)
    found = re.findall(r"FusedGemm +(\S*[78]/\S*)", shown)
    assert len(set(found)) == 2, shown
    # What both have in common is what was cut, and no word was broken.
    words = set(re.findall(r"[^\W_]+", ALIKE[0] + ALIKE[1]))
    assert all(set(re.findall(r"[^\W_]+", name)) <= words for name in found)
    assert not any(name in shown for name in ALIKE)


def test_what_has_no_room_is_named(recorded: Recorded, surroundings: dict[str, str]) -> None:
    operators = on_terminal(
        "ops", recorded.file, "--roofline", "--passes", environment=surroundings
    )
    heading = re.sub(r"\x1b\[[0-9;]*m", "", operators.splitlines()[0])
    (left_out,) = re.findall(r"^no room for: (.*)$", operators, re.MULTILINE)
    assert left_out.split(", ")[0] == "±"
    assert "±" not in heading
    assert "ORT prof.  GFLOP/s  of peak" in heading


def test_a_pipe_is_the_same_whatever_the_terminal(
    recorded: Recorded, awkward: Path, surroundings: dict[str, str], tmp_path: Path
) -> None:
    commands = (
        *(("show", awkward), ("ops", awkward), ("ops", awkward, "--by", "layer")),
        ("compare", awkward, recorded.file),
    )
    for command in commands:
        narrow, wide = (
            execute(
                *command,
                folder=tmp_path,
                environment={**surroundings, "COLUMNS": columns, "TERM": term},
            ).stdout
            for columns, term in (("40", "dumb"), ("300", "xterm-256color"))
        )
        assert narrow == wide
        assert "\x1b" not in wide
        # Names of thousands of letters do not make lines of thousands of columns.
        long = [line for line in wide.splitlines() if places(line) > 1000]
        assert all(line.startswith("  file ") for line in long)
        assert places(wide.splitlines()[0]) <= 200


def test_a_pipe_gets_usual_names_whole(harness: Harness, alike: Path) -> None:
    for command in ("show", "ops"):
        piped = harness(command, alike).stdout.splitlines()
        for name in ALIKE[:2]:
            assert any(line.rstrip().endswith(name) for line in piped), command


def test_each_line_of_a_pipe_says_what_it_is_about(harness: Harness, recorded: Recorded) -> None:
    shown = harness("show", recorded.file).stdout.splitlines()
    labelled = [line for line in shown if line.startswith("  ")]
    assert len(labelled) > 10
    assert all(re.match(r"  \S", line) for line in labelled)


def test_escapes_go_to_a_terminal_that_knows_them_only(
    recorded: Recorded, surroundings: dict[str, str]
) -> None:
    assert "\x1b" not in on_terminal("ops", recorded.file, environment=surroundings, TERM="dumb")


@pytest.mark.parametrize(
    "command",
    [
        ("show",),
        ("ops", "--csv"),
        ("compare", GOLDEN),
        ("trace", "-o", "/dev/stdout"),
        ("export", "--csv", "/dev/stdout"),
    ],
    ids=lambda command: command[0],
)
def test_the_reader_of_a_pipe_may_leave(
    command: tuple[object, ...], recorded: Recorded, surroundings: dict[str, str]
) -> None:
    name, *options = command
    arguments = [sys.executable, "-m", "harness", str(name), recorded.file, *map(str, options)]
    reader, writer = os.pipe()
    os.close(reader)
    left = subprocess.run(
        arguments, env=surroundings, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (left.returncode, left.stderr) == (0, b"")


def test_nobody_listens(recorded: Recorded, surroundings: dict[str, str]) -> None:
    for command in (("show", recorded.file), ("compare", recorded.file, GOLDEN)):
        closed = subprocess.run(
            [sys.executable, "-m", "harness", *command],
            env=surroundings,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.close(1),
            check=False,
        )
        assert (closed.returncode, closed.stderr) == (0, b"")
