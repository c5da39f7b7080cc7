"""What ``sweep`` takes from the command line besides its plan."""

from __future__ import annotations

import pytest

from harness.commands.command_line import main


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """(exit code, what was printed)."""
    code = main(["sweep", "--axis", "model=mlp", *words])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize(
    ("words", "cells"),
    [
        (("--axis", "batch=1", "--axis", "batch=8"), 2),
        (("--axis", "batch=1,2", "--axis", "batch=8", "--axis", "threads=1,2"), 6),
        (("--axis", "affinity=0,1"), 2),
        (("--axis", "affinity=['0,1', '0']"), 2),
        (("--axis", "affinity=['0,1']"), 1),
    ],
)
def test_axes_that_are_given_again_have_more_values(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], cells: int
) -> None:
    assert asked(capsys, *words, "--cells") == (0, f"{cells}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--processes", "0"), "harness: --processes 0: must be between 1 and"),
        (("--duration", "0"), "harness: --duration 0.0: must be above 0"),
        (("--axis", "batch=[1,"), "--axis batch=[1,: not a list as in TOML"),
        (("--axis", "batch=[1]\nseed=2"), "more than a list"),
        (("--axis", "batch=[]"), "--axis batch: no values"),
        (("--axis", "batch=1", "--axis", "batch=1"), "is there twice"),
        (("--cell", "0"), "--cells and --cell exclude each other"),
    ],
)
def test_values_that_mean_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, printed = asked(capsys, *words, "--cells")
    assert (code, said in printed) == (2, True), printed
