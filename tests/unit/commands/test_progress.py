"""What is said of the time left while processes are measured."""

from __future__ import annotations

import dataclasses

import pytest

from harness.commands.progress import Progress, time_left
from harness.config.profile import ProfileConfig
from harness.measuring.plan import Plan, divide_time
from harness.measuring.prepared import Preparation
from harness.records import ModelRecord, Reading

PLAN = dataclasses.replace(
    divide_time(ProfileConfig("model.onnx", budget_s=60), 10**6, 0, 0, 0),
    processes=10,
    warmup_chunks=1,
    steady_chunks=1,
    chunk_inferences=1000,
    untimed_s=1.0,
    traced=frozenset(range(10)),
    profiled=frozenset(),
    probed_s=1.0,
    profiled_s=0.0,
)
FIXED = dataclasses.replace(PLAN, budget_s=None)


def told(plan: Plan, *spent: float) -> list[str]:
    return [time_left(plan, finished, elapsed_s) for finished, elapsed_s in enumerate(spent)]


PREPARATION = Preparation(
    model=ModelRecord("model", "model.onnx", "", 0, "", 8, (), 0, 0),
    inputs=(),
    output_check=Reading("output_error", None),
    facts=(),
    graph=None,
    probed=None,
    repeatable=True,
    executions=0,
    profiled_ns=0,
    latency_ns=0,
    executed_session_ns=0,
    absent=(),
)


@pytest.mark.parametrize("assumed_s", [0.0, 3.0, 12.0])
def test_the_forecast_says_what_of_it_was_not_timed(
    capfd: pytest.CaptureFixture[str], assumed_s: float
) -> None:
    with Progress(quiet=False) as progress:
        progress.prepared(PREPARATION, dataclasses.replace(FIXED, assumed_s=assumed_s))
    said = "measuring 10 processes, about 40 s"
    if assumed_s > 4:  # a tenth of it
        said += ", of it 12 s for sessions of the executed graph: none was timed, they are "
        said += "reckoned like the model's"
    assert said in capfd.readouterr().err.splitlines()


def test_it_shrinks_as_planned_from_one_process_to_the_next() -> None:
    assert told(FIXED, 0.0, 4.0, 8.0) == ["about 40 s left", "about 36 s left", "about 32 s left"]
    assert time_left(FIXED, 10, 42.0) == "about 0 s left"


def test_processes_that_have_finished_tell_better_than_the_plan() -> None:
    assert told(FIXED, 0.0, 10.0)[1] == "about 1 min 30 s left"
    assert told(FIXED, 0.0, 1.0)[1] == "about 9 s left"


def test_processes_that_do_not_trace_take_less() -> None:
    first = dataclasses.replace(FIXED, traced=frozenset({0}), probed_s=9.0)
    # The first took 12 s as planned, the others take 3 s each.
    assert time_left(first, 1, 12.0) == "about 27 s left"


def test_beyond_the_planned_processes_the_budget_counts_down() -> None:
    assert time_left(PLAN, 10, 42.0) == "at most 18 s left"
    assert time_left(PLAN, 13, 55.0) == "at most 5 s left"
    assert time_left(PLAN, 15, 61.0) == "at most 0 s left"
