"""``harness complete``: shells that complete what is typed, by the Tab key."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.commands import complete
from harness.storage.folder import NAMES

if TYPE_CHECKING:
    from tests.integration.command import Harness

#: Shells that read a terminal, without anybody's settings, and their file of settings.
INTERACTIVE = {
    "bash": (("--noprofile", "--rcfile", "settings", "-i"), "settings"),
    "zsh": (("--no-globalrcs", "-i"), ".zshrc"),
}

#: In place of the command: tells the words that it was called with, one in <> each.
WITNESS = "harness() { printf '<%s>' \"$@\"; printf 'END\\n'; }\n"


def installed(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


@pytest.fixture
def folder(harness: Harness, tmp_path: Path) -> Path:
    """With a profile, a model, and files that are neither."""
    (tmp_path / "profiles").mkdir()
    for name in ("profiles/seen.h5", "profiles/seen.txt", "net.onnx", "net.txt", "lite.ort"):
        (tmp_path / name).touch()
    (tmp_path / "profiles" / NAMES).write_text("seen.h5\n")
    return tmp_path


def script(harness: Harness, shell: str) -> str:
    done = harness("complete", shell)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def words_typed(shell: str, settings: str, keys: str, folder: Path) -> list[str]:
    """The words that a command is called with after these keys and Enter, on a terminal."""
    options, name = INTERACTIVE[shell]
    (folder / name).write_text(settings + WITNESS + "PS1='READY> '\n")
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "ZDOTDIR": str(folder)}
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(
        [installed(shell), *options],
        cwd=folder,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        try:
            until(keyboard, "READY> ")
            os.write(keyboard, keys.encode() + b"\n")
            shown = until(keyboard, ">END")
        finally:
            process.kill()
            os.close(keyboard)
    return shown[shown.rindex("\n<") + 2 :].removesuffix(">END").split("><")


def until(terminal: int, awaited: str) -> str:
    shown = ""
    deadline = time.monotonic() + 20
    while awaited not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"no {awaited!r} in {shown!r}"
        shown += os.read(terminal, 4096).decode()
    return shown[: shown.index(awaited) + len(awaited)].replace("\r", "")


def test_the_list_that_is_left_is_the_one_that_is_read() -> None:
    assert complete.NAMES == NAMES


@pytest.mark.parametrize("shell", list(INTERACTIVE))
def test_the_tab_key_completes(shell: str, harness: Harness, folder: Path) -> None:
    settings = script(harness, shell)
    if shell == "zsh":  # as in a user's settings: eval, below compinit
        (folder / "completion").write_text(settings)
        settings = 'autoload -U compinit && compinit -D -u\neval "$(cat completion)"\n'

    def words(keys: str) -> list[str]:
        return words_typed(shell, settings, keys, folder)

    assert words("harness sho\t prof\tse\t") == ["show", "profiles/seen.h5"]
    assert words("harness profile ne\t --prec\t 2 --provider te\t") == [
        *("profile", "net.onnx", "--precision", "2", "--provider", "tensorrt")
    ]


@pytest.mark.parametrize("shell", list(INTERACTIVE))
def test_the_tab_key_finds_profiles_that_were_listed(
    shell: str, harness: Harness, folder: Path
) -> None:
    """By the beginning of their names, from the folder above; nothing in the list is executed."""
    (folder / "profiles" / "other.h5").touch()
    names = ["other.h5", "gone.h5", "$(touch hurt).h5", "`touch hurt`.h5", "ot her.h5", "../out.h5"]
    (folder / "profiles" / ".harness-names").write_text("\n".join(names))
    settings = script(harness, shell)
    if shell == "zsh":
        (folder / "completion").write_text(settings)
        settings = 'autoload -U compinit && compinit -D -u\neval "$(cat completion)"\n'
    assert words_typed(shell, settings, "harness show ot\t", folder) == [
        *("show", "profiles/other.h5")
    ]
    assert words_typed(shell, settings, "harness show go\t", folder) == ["show", "go"]
    assert not (folder / "hurt").exists()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("harness re", {"report", "recover"}),
        ("harness ops --by ", {"node", "op", "layer", "kernel"}),
        ("harness profile ", {"mlp", "resnet50", "net.onnx", "lite.ort", "profiles"}),
        ("harness models bert", {"bert-small", "bert-base"}),
        ("harness compare profiles/", {"profiles/seen.h5"}),
        ("harness compare se", {"profiles/seen.h5"}),
        ("harness list ", {"profiles"}),
        ("harness profile mlp --execution-mode ", {"sequential", "parallel"}),
        ("harness complete ", {"bash", "zsh", "fish"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_what_is_offered(
    shell: str, line: str, offered: set[str], harness: Harness, folder: Path
) -> None:
    program = installed(shell)
    (folder / "completion").write_text(script(harness, shell))
    if shell == "bash":
        words = line.split(" ")
        array = " ".join(f"'{word}'" for word in words)
        ask = (
            f"source ./completion; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; "
            "_shtab_harness; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
    else:
        ask = f"source ./completion; complete -C '{line}'"
    told = subprocess.run(
        [program, "-c", ask],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    got = {one.partition("\t")[0].removesuffix("/") for one in told.stdout.splitlines()}
    assert offered <= got
    assert not {"net.txt", "profiles/seen.txt"} & got
