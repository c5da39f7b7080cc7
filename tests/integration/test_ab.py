"""Two configurations measured in pairs: a plain difference is found, a wrong request refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import harness as package

if TYPE_CHECKING:
    from conftest import Harness

COMMON = "--threads 1 --duration 0.02 --trace none"


def test_a_plain_difference_is_found_and_both_profiles_are_stored(
    harness: Harness, tmp_path: Path
) -> None:
    done = harness(
        *("ab", "--a", f"mlp {COMMON} -o a.h5", "--b", f"bert-small {COMMON} -o b.h5"),
        *("--budget", "8", "--fail-on", "slower:100", "--json"),
    )
    # Two models with other inputs: said, and no number.
    assert done.returncode in (2, 4), done.stderr
    profiles = [package.read_profile(tmp_path / name) for name in ("a.h5", "b.h5")]
    together = {json.loads(one.config)["interleaved_with"] for one in profiles}
    assert len(together) == 1
    assert together != {""}
    assert len({len(one.processes) for one in profiles}) == 1
    assert all(one.complete for one in profiles)
    # In pairs: the next one begins when both of the one before have finished.
    first, second = (
        [int(process.steady.start_ns[0]) for process in one.processes] for one in profiles
    )
    pairs = list(zip(first, second, strict=True))
    assert all(max(one) < min(other) for one, other in itertools.pairwise(pairs))


def test_wrong_requests_name_the_side(harness: Harness) -> None:
    for arguments, said in (
        (("--a", "mlp", "--b", "mlp --nonsense"), "--b"),
        (("--a", "mlp --threads x", "--b", "mlp"), "--a"),
        (("--a", "mlp", "--b", "mlp", "--margin", "0"), "--margin"),
        (("--a", "mlp", "--b", "mlp", "--fail-on", "faster"), "--fail-on"),
        (("--a", "mlp"), "--b"),
    ):
        refused = harness("ab", *arguments)
        assert refused.returncode == 2, arguments
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
