"""A slow instance and a low efficiency are told with their likely cause, and noise is not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from harness.analysis.findings.rules import findings
from harness.analysis.findings.seen import Finding
from harness.records import Profile, Reading
from harness.statistics.figures import Figure
from tests.builders.side_by_side import side_by_side

TWO = ((600.0, 610.0), (605.0, 600.0), (598.0, 604.0))


def told(profile: Profile) -> dict[str, Finding]:
    found = findings(profile, Figure(None, "not traced"))
    return {one.kind: one for one in found}


def profile(
    *rates: tuple[float, ...], callers: int = 1, alone: float = 1000.0, threads: int = 1,
    cpus: int = 64, **rows: Any,
) -> Profile:  # fmt: skip
    """Groups on a machine of so many CPUs; ``rows`` fill columns of the table of instances."""
    config = json.dumps({"session": {"provider": "cpu", "intra_threads": threads}})
    facts = (Reading("affinity_cpus", cpus, "1"),)
    made = side_by_side(*rates, callers=callers, alone=alone, config=config, environment=facts)
    table = made.instances
    assert table is not None
    for name, value in rows.items():
        if name == "cpus":
            object.__setattr__(table, name, (value,) * len(table))
        else:
            getattr(table, name)[...] = value
    return made


def test_a_slow_instance_is_named_with_its_cpus() -> None:
    found = told(profile((600.0, 400.0, 610.0), (610.0, 405.0, 600.0), alone=610.0))
    assert found["slow_instance"].sentence == "Instance 1 reaches 67% of the others' rate."
    assert "16-31" in found["slow_instance"].next_step
    assert "efficiency" not in found or "slow" in found["efficiency"].sentence


def test_an_instance_that_is_slow_in_one_group_only_is_not_named() -> None:
    assert "slow_instance" not in told(profile((600.0, 400.0), (400.0, 600.0), alone=600.0))


def test_a_slow_instance_that_waits_is_told_to_share_its_cpus() -> None:
    made = profile((600.0, 400.0, 610.0), (610.0, 405.0, 600.0), alone=610.0)
    assert made.instances is not None
    made.instances.cpu_wait_ns[np.asarray(made.instances.caller) == 1] = 300_000_000
    assert "see what else runs on CPUs 16-31" in told(made)["slow_instance"].next_step


@pytest.mark.parametrize(
    ("columns", "cause", "step"),
    [
        ({"cpus": 1}, "2 threads share 1 CPU", "fewer"),
        ({"threads": 40}, "80 threads share 64 CPUs", "`intra_threads`"),
        ({"cpus_of": "0-3"}, "2 instances share CPUs with another", "per-core"),
        ({"cpu_wait_ns": 400_000_000}, "wait for a CPU 40% of the time", "what else runs"),
        ({"local_bytes": 200}, "only 25% of their memory", "`memory` local"),
        ({}, "caches, memory bandwidth", "per-l3"),
    ],
)
def test_a_low_efficiency_is_told_with_its_likely_cause(
    columns: dict[str, Any], cause: str, step: str
) -> None:
    of = columns.pop("cpus_of", None)
    made = profile(*TWO, **columns)
    if of is not None:
        object.__setattr__(made.instances, "cpus", (of,) * 9)
    found = told(made)["efficiency"]
    assert "reach 60% of what as many undisturbed ones would" in found.sentence
    assert cause in found.sentence
    assert step in found.next_step
    assert found.weight == pytest.approx(0.4, abs=0.01)


def test_callers_of_one_session_are_sent_to_sessions_of_their_own() -> None:
    found = told(profile(*TWO, callers=2))["efficiency"]
    assert "inside the one session" in found.sentence
    assert "`instances`" in found.next_step


def test_an_efficiency_that_may_be_fine_is_not_told() -> None:
    assert told(profile((600.0, 610.0), (800.0, 810.0), alone=700.0)) == {}
    assert told(profile(TWO[0], alone=1000.0)) == {}, "one group cannot show how much they vary"


def test_a_list_of_more_cpus_than_there_are_costs_nothing() -> None:
    made = profile(*TWO)
    object.__setattr__(made.instances, "cpus", ("0-4000000000",) * 9)
    assert "share CPUs" in told(made)["efficiency"].sentence
    object.__setattr__(made.instances, "cpus", ("any",) * 9)
    assert "share CPUs" not in told(made)["efficiency"].sentence
