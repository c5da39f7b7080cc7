"""Cuts recorded profiles to what ``harness study`` needs of them.

    python profiles/study-sample/cut.py FOLDER

Reads the profiles of a CPU and an H200 in the folder, and writes small copies next to this script.
What stays is as it was measured: of each timed pass the first 2,048 samples, which is all of them
but for mlp, the readings of the GPU's energy counter and power, and the facts. The executed graph,
traces, kernels, warm-ups, other series and pyperf's metadata go. Most of what is left of a file is
headers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from harness import read_profile
from harness.records import NOTHING, LatencySeries, ProcessRecord, Profile
from harness.storage.v1.write import image

HERE = Path(__file__).parent

#: Samples of each process that stay, and most bytes of a file.
SAMPLES = 2_048
MOST_BYTES = 170_000

#: Series of devices that stay.
QUANTITIES = ("energy", "power")

_NONE = LatencySeries(NOTHING, NOTHING)


def main() -> int:
    """Cuts all profiles of the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with the whole profiles")
    for file in sorted(parser.parse_args().folder.glob("*.h5")):
        written = image(cut(read_profile(file)))[1]
        if len(written) > MOST_BYTES:
            print(f"{file.name}: {len(written)} bytes: more than {MOST_BYTES}", file=sys.stderr)
            return 1
        (HERE / file.name).write_bytes(written)
        print(f"{file.name}: {len(written):,} bytes")
    return 0


def cut(profile: Profile) -> Profile:
    """The small copy of a profile."""
    options = json.loads(profile.config) | {"output": None}
    return dataclasses.replace(
        profile,
        path=None,
        config=json.dumps(options),
        environment=tuple(one for one in profile.environment if not _is_path(one.value)),
        processes=tuple(map(_process, profile.processes)),
        nodes=None,
        traces={},
        kernels=None,
        timeline=None,
        replay=None,
        stacks=None,
        devices=tuple(
            one for one in profile.devices
            if one.device.startswith("gpu") and any(name in one.quantity for name in QUANTITIES)
        ),
        absent=(*profile.absent, ("traces", "left out of this small copy (cut.py in its folder)")),
    )  # fmt: skip


def _is_path(value: object) -> bool:
    """Where files lay on that machine does not stay."""
    return isinstance(value, str) and value.startswith("/")


def _process(process: ProcessRecord) -> ProcessRecord:
    # Cut within a value of pyperf's there are no gaps; between values whole ones stay.
    loops = min(process.loops, SAMPLES)
    count = min(SAMPLES, len(process.steady)) // loops * loops
    return dataclasses.replace(
        process,
        warmup=_NONE,
        steady=process.steady.part(slice(count)),
        loops=loops,
        enqueue_ns=NOTHING,
        copied=_NONE,
        metadata={},
        log=(),
    )


if __name__ == "__main__":
    sys.exit(main())
