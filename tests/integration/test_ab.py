"""Two configurations measured in pairs: a plain difference is found, a wrong request refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto, helper

import harness as package
from harness.measuring.pairs import MOST_PAIRS, TRACED_PAIRS, is_between, traced
from harness.statistics.pairs import Decision, fewest_pairs
from harness.statistics.verdicts import Verdict

if TYPE_CHECKING:
    from tests.integration.command import Harness


def chain(length: int) -> onnx.ModelProto:
    """So many equal operators one after the other."""
    nodes = [helper.make_node("Sigmoid", [f"t{k}"], [f"t{k + 1}"]) for k in range(length)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 512])
        for name in ("t0", f"t{length}")
    ]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


COMMON = "--threads 1 --duration 0.02 --trace none"


def test_a_plain_difference_is_found_and_both_profiles_are_stored(
    harness: Harness, tmp_path: Path
) -> None:
    for name, length in (("short", 20), ("long", 80)):
        onnx.save(chain(length), tmp_path / f"{name}.onnx")
    done = harness(
        *("ab", "--a", f"short.onnx {COMMON} -o a.h5", "--b", f"long.onnx {COMMON} -o b.h5"),
        # On a busy machine a pair takes ten times as long; a decision ends it before on any other.
        *("--budget", "250", "--fail-on", "slower:100", "--json"),
    )
    assert done.returncode == 4, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "SLOWER"
    assert told["ended_by"] == "decided"
    assert told["interval"][0] > 2
    profiles = [package.read_profile(tmp_path / name) for name in ("a.h5", "b.h5")]
    together = {json.loads(one.config)["interleaved_with"] for one in profiles}
    assert len(together) == 1
    assert together != {""}
    assert len({json.loads(one.config)["order_seed"] for one in profiles} - {None}) == 1
    assert len({len(one.processes) for one in profiles}) == 1
    assert fewest_pairs(0.05) <= len(profiles[0].processes) < MOST_PAIRS
    assert all(one.complete for one in profiles)
    assert all("processes" not in dict(one.absent) for one in profiles), "no number was planned"
    # In pairs: the next one begins when both of the one before have finished.
    first, second = (
        [int(process.steady.start_ns[0]) for process in one.processes] for one in profiles
    )
    pairs = list(zip(first, second, strict=True))
    assert all(max(one) < min(other) for one, other in itertools.pairwise(pairs))


def test_tracing_leaves_time_for_the_verdict() -> None:
    # A fast model, and one of which a pair takes a quarter of the budget.
    assert sum(traced(pair, 0.01 * pair) for pair in range(50)) == TRACED_PAIRS
    assert sum(traced(pair, 0.25 * pair) for pair in range(4)) == 2
    assert sum(traced(pair, 0.6 * pair) for pair in range(4)) == 2


def test_models_with_other_inputs_are_refused_before_anything_is_measured(
    harness: Harness, tmp_path: Path
) -> None:
    refused = harness("ab", "--a", f"mlp {COMMON}", "--b", f"bert-small {COMMON}")
    assert refused.returncode == 2
    assert "not like with like" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.glob("profiles/*.h5"))


def test_a_decision_takes_more_pairs_than_are_traced() -> None:
    # Else the moment at which one stops looking would choose what operators are judged by.
    assert fewest_pairs(0.05) > TRACED_PAIRS


def test_a_budget_that_no_decision_fits_into_is_refused_with_the_least_one(
    harness: Harness, tmp_path: Path
) -> None:
    sides = ("--a", f"mlp {COMMON}", "--b", f"mlp {COMMON}")
    refused = harness("ab", *sides, "--budget", "3", "--fail-on", "slower")
    assert (refused.returncode, refused.stdout) == (2, "")
    said, error = refused.stderr.splitlines()[-2:]
    fewest = fewest_pairs(0.05)
    assert said.startswith(f"a decision takes at least {fewest} pairs of processes, about ")
    assert error.startswith("harness: --budget 3: ")
    least = re.search(r"give --budget (\d+) or more", error)
    assert least is not None
    assert int(least[1]) > 3
    assert not list(tmp_path.glob("profiles/*"))


@pytest.mark.parametrize(
    ("low", "high", "more"), [(1.02, 1.08, True), (1.06, 1.2, False), (1.01, 1.04, False)]
)
def test_slower_by_more_than_a_threshold_may_take_more_pairs(
    low: float, high: float, more: bool
) -> None:
    found = Decision(Verdict.SLOWER, 1.05, (low, high), 10, None, go_on=False, reason="")
    assert is_between(found, 1.05) is more
    assert not is_between(found, None)
    assert not is_between(dataclasses.replace(found, verdict=Verdict.SAME), 1.05)
    assert not is_between(dataclasses.replace(found, pairs=MOST_PAIRS), 1.05)


def test_wrong_requests_name_the_side(harness: Harness) -> None:
    for arguments, said in (
        (("--a", "mlp", "--b", "mlp --nonsense"), "--b"),
        (("--a", "mlp --threads x", "--b", "mlp"), "--a"),
        (("--a", "mlp", "--b", "mlp", "--margin", "0"), "--margin"),
        (("--a", "mlp", "--b", "mlp", "--budget", "0"), "--budget"),
        (("--a", "mlp", "--b", "mlp", "--budget", "nan"), "--budget"),
        (("--a", "mlp", "--b", "mlp", "--fail-on", "faster"), "--fail-on"),
        (("--a", "mlp"), "--b"),
        (("--a", "", "--b", "mlp"), "--a '': the following arguments are required: MODEL"),
        (("--a", "mlp --processes 3", "--b", "mlp"), "ab would ignore --processes"),
        (("--a", "mlp", "--b", "mlp --quick"), "--b 'mlp --quick'"),
        (("--a", "mlp", "--b", "mlp --precision 1"), "ab would ignore --precision"),
        (("--a", "mlp --budget 60", "--b", "mlp"), "ab's own --budget"),
        (("--a", "mlp", "--b", "mlp --stacks"), "ab would ignore --stacks"),
        (("--a", "mlp --json", "--b", "mlp"), "ab would ignore --json"),
        (("--a", "mlp -q", "--b", "mlp"), "ab would ignore --quiet"),
    ):
        refused = harness("ab", *arguments)
        assert refused.returncode == 2, arguments
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
