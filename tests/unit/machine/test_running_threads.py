"""Whether other threads of this process run."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from harness.machine.running_threads import others_run


def task(root: Path, name: str, state: str, comm: str = "python") -> None:
    folder = root / "proc/self/task" / name
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{name} ({comm}) {state} 1 2 3\n")


def test_only_other_threads_count_by_their_state(tmp_path: Path) -> None:
    task(tmp_path, str(threading.get_native_id()), "R")
    task(tmp_path, "11", "S", comm="odd) R (name")
    assert not others_run(tmp_path)
    task(tmp_path, "12", "R")
    assert others_run(tmp_path)
    assert not others_run(tmp_path / "nowhere"), "what the kernel does not report"


def test_a_thread_that_spins_is_seen_until_it_sleeps() -> None:
    spin, stop = threading.Event(), threading.Event()

    def turn() -> None:
        while not spin.is_set():
            pass
        stop.wait()

    before = others_run()
    thread = threading.Thread(target=turn)
    thread.start()
    try:
        # Reading /proc gives the lock of the interpreter away, so that the thread gets it.
        seen = any(others_run() for _ in range(1000))
        spin.set()
        until_s = time.monotonic() + 60
        while others_run() and time.monotonic() < until_s:
            time.sleep(0.01)
        assert seen
        assert before or not others_run()
    finally:
        stop.set()
        thread.join()
