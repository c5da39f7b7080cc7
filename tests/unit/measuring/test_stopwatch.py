"""What the command and its workers clock, and what becomes of it."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from harness.measuring.stopwatch import Life, Stamp, Stopwatch, Stretch, of_life, wall_time


def test_parts_are_clocked_one_after_another_even_if_one_fails() -> None:
    watch = Stopwatch()
    with watch.on("sleeping"):
        time.sleep(0.01)
    with pytest.raises(ValueError, match="no"), watch.on("failing"):
        raise ValueError("no")
    sleeping, failing = watch.stretches
    assert (sleeping.part, failing.part) == ("sleeping", "failing")
    assert watch.began_ns <= sleeping.start.wall_ns
    assert sleeping.end.wall_ns - sleeping.start.wall_ns >= 10_000_000
    assert sleeping.end.wall_ns <= failing.start.wall_ns <= failing.end.wall_ns
    # Whoever sleeps uses no CPU.
    cpu_ns = sleeping.end.cpu_ns - sleeping.start.cpu_ns
    assert 0 <= cpu_ns < sleeping.end.wall_ns - sleeping.start.wall_ns


def test_the_life_of_a_worker_has_its_cpu_time() -> None:
    watch = Stopwatch()
    busy = "import time\nwhile time.process_time() < 0.1: pass"
    with watch.life_of("3"):
        subprocess.run([sys.executable, "-c", busy], check=True)
    (life,) = watch.lives
    assert life.worker == "3"
    assert watch.began_ns <= life.start_ns < life.end_ns
    assert life.cpu_ns >= 100_000_000


def test_start_and_exit_take_the_clocks_of_both() -> None:
    life = Life("0", 100, 200, cpu_ns=70)
    session = Stretch("session", Stamp(130, 20), Stamp(150, 40))
    start, clocked, exit_ = of_life(life, [session])
    assert start == Stretch("start", Stamp(100, 0), Stamp(130, 20))
    assert clocked == session
    assert exit_ == Stretch("exit", Stamp(150, 40), Stamp(200, 70))
    assert of_life(life, []) == [], "nothing is known of a worker that died"


def test_the_wall_time_holds_what_was_clocked_and_nothing_else() -> None:
    watch = Stopwatch(began_ns=1000)
    watch.stretches.append(Stretch("request", Stamp(1000, 0), Stamp(1010, 5)))
    watch.stretches.append(Stretch("assembly", Stamp(1300, 5), Stamp(1350, 40)))
    workers = [
        (
            Life("preparation", 1020, 1100, 60),
            [Stretch("model", Stamp(1050, 25), Stamp(1090, 50))],
        ),
        (
            Life("0", 1110, 1200, 80),
            [
                Stretch("session", Stamp(1130, 20), Stamp(1150, 40)),
                Stretch("timed pass", Stamp(1155, 41), Stamp(1180, 65)),
            ],
        ),
        (Life("1", 1210, 1290, 50), []),
    ]
    told = wall_time(watch, workers, ended_ns=1360)
    assert told.part == (
        "request",
        "preparation: start",
        "preparation: model",
        "preparation: exit",
        "start",
        "session",
        "timed pass",
        "exit",
        "assembly",
    )
    assert told.process.tolist() == [-1, -1, -1, -1, 0, 0, 0, 0, -1]
    assert told.process.dtype == np.int32
    assert told.duration_ns.tolist() == [10, 30, 40, 10, 20, 20, 25, 20, 50]
    assert told.cpu_ns.tolist() == [5, 25, 25, 10, 20, 20, 24, 15, 35]
    assert (told.began_ns, told.ended_ns) == (1000, 1360)
    # No two stretches overlap, so their sum cannot exceed the wall time.
    assert (told.start_ns[1:] >= (told.start_ns + told.duration_ns)[:-1]).all()
