"""What a list of many profiles costs: by their headers and by the index, against whole reads.

    python benchmarks/list_speed.py [--profiles N] [--of FILE]

N names (5,000 by default) are linked to one profile: every name is read from its file, although
all find it in the page cache. CPU seconds of fresh processes; those of the whole command include
the start of Python. A whole read is what a command did before that wanted to know what a file is.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
INDEX = ".harness-index.sqlite"

#: Reads the same file so often, and says how many CPU seconds that took.
READ = """
import sys, time
from pathlib import Path
from harness.storage.profile_file import {0}
path, times = Path(sys.argv[1]), int(sys.argv[2])
{0}(path)
began = time.process_time()
for _ in range(times):
    {0}(path)
print((time.process_time() - began) / times)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=int, default=5_000, help="names (default 5000)")
    parser.add_argument("--of", type=Path, default=ROOT / "profiles/sample.h5", help="the profile")
    arguments = parser.parse_args()
    whole, header = (
        seconds_a_file(name, arguments.of) for name in ("read_profile", "read_outline")
    )
    with tempfile.TemporaryDirectory(prefix="harness-list-") as made:
        folder = Path(made)
        filled(folder, arguments.of, arguments.profiles)
        rows = [("whole read, calculated", whole * arguments.profiles, None)]
        rows += [(name, *listed(folder, *words)) for name, words in (
            ("list, no index yet", ()),
            ("list, from the index", ()),
            ("list --limit 0", ("--limit", "0")),
            ("list --json", ("--json",)),
        )]  # fmt: skip
        os.link(folder / "profile-00000.h5", folder / "one-more.h5")
        rows.append(("list, one more profile", *listed(folder)))
        size = (folder / INDEX).stat().st_size
    print(
        f"a file of {arguments.of.stat().st_size / 1000:.0f} kB: header {header * 1000:.2f} ms of"
    )
    print(f"CPU, whole {whole * 1000:.1f} ms: a {whole / header:.0f}th")
    print(f"of {arguments.profiles} files:")
    for name, cpu_s, wall_s in rows:
        wall = "      –" if wall_s is None else f"{wall_s:7.2f}"
        part = f"{rows[0][1] / cpu_s:8.1f} times faster" if wall_s is not None else ""
        print(f"  {name:24} {cpu_s:8.2f} s CPU {wall} s wall {part}")
    print(f"  the index takes {size / arguments.profiles / 1000:.1f} kB a profile")


def seconds_a_file(function: str, path: Path, times: int = 60) -> float:
    """CPU seconds of one read by a function of ``harness.storage.profile_file``."""
    script = READ.format(function)
    command = [sys.executable, "-c", script, str(path), str(times)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


def filled(folder: Path, profile: Path, count: int) -> None:
    """Links so many names to a copy of the profile."""
    first = folder / "profile-00000.h5"
    shutil.copy(profile, first)
    for number in range(1, count):
        os.link(first, folder / f"profile-{number:05d}.h5")


def listed(folder: Path, *words: str) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of the whole command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "harness", "list", str(folder), *words]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = sum(getattr(after, one) - getattr(before, one) for one in ("ru_utime", "ru_stime"))
    return used, wall_s


if __name__ == "__main__":
    main()
