"""When this process was started."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from harness.machine.process_start import process_start_ns


def test_a_process_knows_when_it_was_spawned() -> None:
    # The kernel's tick, and what the two clocks of a virtual machine drift apart.
    tick_ns = 100_000_000
    code = "from harness.machine.process_start import process_start_ns as s; print(s())"
    before_ns = time.monotonic_ns()
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert before_ns - tick_ns <= int(told.stdout) <= time.monotonic_ns()
    assert process_start_ns() < before_ns


def test_it_is_now_where_the_kernel_does_not_report_it(tmp_path: Path) -> None:
    before_ns = time.monotonic_ns()
    assert before_ns <= process_start_ns(tmp_path) <= time.monotonic_ns()
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/stat").write_text("1 (a) b) S 1 2\n")
    assert before_ns <= process_start_ns(tmp_path) <= time.monotonic_ns()
