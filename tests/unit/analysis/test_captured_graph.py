"""What a captured graph gains."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from harness.analysis.captured_graph import Gain, gain
from harness.records import Profile
from harness.statistics.figures import Figure
from harness.storage.assembly import merge_timelines
from tests.builders.device_records import timeline
from tests.builders.process_records import process, profile


def measured(**columns: Any) -> Profile:
    """Two processes of 100 and 200 ns, which a graph made 40 and 50 ns."""
    replay = merge_timelines(
        [
            timeline([("gemm", 0)], [(5, 70, [(10, 20)])], [40, 40, 41], process=0),
            timeline([], [], [50, 50, 49], process=1),
        ]
    )
    timed = (process([100] * 9), process([200] * 9, 1), process([300] * 9, 2))
    return profile(*timed, **{"provider": "cuda", "replay": replay} | columns)


def why(profile: Profile) -> str:
    told = gain(profile)
    assert isinstance(told, Figure)
    return told.reason


def test_the_same_processes_are_compared_without_what_cupti_costs() -> None:
    told = gain(measured())
    assert isinstance(told, Gain)
    assert (told.option, told.plain_ns, told.captured_ns) == (
        "enable_cuda_graph=1", (100, 200), (40, 50),
    )  # fmt: skip
    assert told.shares == [0.6, 0.75]
    assert round(told.typical_plain_ns**2) == 20_000
    assert round(told.typical_captured_ns**2) == 2_000


def test_why_a_gain_is_not_known() -> None:
    assert "no captured graph was tried" in why(measured(replay=None))
    refused = measured(replay=None, absent=(("trace/replay", "cannot capture"), ("x", "y")))
    assert why(refused) == "cannot capture"
    assert "which captures no graph" in why(measured(provider="cpu"))
    config = json.dumps({"session": {"provider_options": {"enable_cuda_graph": "1"}}})
    assert "replays a captured graph itself" in why(measured(config=config))
    others = dataclasses.replace(measured(), processes=(process([300] * 9, 2),))
    assert "no process has a timed pass and replays" in why(others)
