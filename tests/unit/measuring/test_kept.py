"""What is left of a profile when measuring it fails."""

from __future__ import annotations

import errno
import runpy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("harness.native.ort", reason="the native module is not built")

from harness.errors import MachineError
from harness.measuring.profile import Measuring
from harness.measuring.stopwatch import Stopwatch
from harness.storage import shards

GOLDEN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "make_profile_v1.py"))


@pytest.fixture
def measuring(tmp_path: Path) -> Measuring:
    profile = GOLDEN["golden_profile"]()
    header = shards.ProfileHeader(
        harness_version=profile.harness_version,
        created=profile.created,
        config=profile.config,
        model=profile.model,
        provider=profile.provider,
        inputs=profile.inputs,
        output_check=profile.output_check,
        environment=profile.environment,
        planned_processes=2,
    )
    target = tmp_path / "out.h5"
    unused: Any = None
    partial = shards.partial_folder(target)
    return Measuring(unused, unused, unused, header, partial, target, Stopwatch())


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
@pytest.mark.parametrize("finished", [False, True])
def test_an_unexpected_failure_leaves_only_what_can_be_recovered(
    measuring: Measuring, error: Exception, finished: bool
) -> None:
    def measure() -> None:
        with measuring.kept():
            assert list(measuring.partial.iterdir())
            if finished:
                process = GOLDEN["golden_profile"]().processes[0]
                shards.write_shard(measuring.partial, shards.Shard(process, {}, None, ()))
            raise error

    expected = MachineError if finished else type(error)
    with pytest.raises(expected) as raised:
        measure()
    assert (f"harness recover {measuring.partial}" in str(getattr(raised.value, "remedy", ""))) is (
        finished
    )
    left = sorted(path.name for path in measuring.partial.iterdir())
    assert left == (["header.shard", shards.file_name(0)] if finished else [])
