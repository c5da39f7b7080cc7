"""Peak of resident memory, on fake trees and of a real process."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.machine.peak_memory import peak_memory

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_what_the_kernel_says(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    status = tmp_path / "proc/self/status"
    status.write_text("Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t     123 kB\nVmRSS:\t 100 kB\n")
    assert peak_memory(tmp_path).value == 123 * 1024
    assert peak_memory(tmp_path).unit == "bytes"


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "No such file"), ("Name:\tpython\n", "no line VmHWM")]
)
def test_where_the_kernel_does_not_say_it_is_absent(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    if text is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/status").write_text(text)
    found = peak_memory(tmp_path)
    assert found.value is None
    assert reason in found.reason


def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    ballast = bytearray(b"\1" * 200_000_000)
    code = "from harness.machine.peak_memory import peak_memory; print(peak_memory().value)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert 0 < int(told) < len(ballast)
