"""The memory policy that the kernel keeps, and the pages that it tells of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine import memory_policy

#: Sets a policy in a process of its own, and tells what the kernel then has.
SETTING = """
import json, sys
from harness.machine import memory_policy
before = memory_policy.described()
memory_policy.set_policy(sys.argv[1], [0])
print(json.dumps([before, memory_policy.described()]))
"""


@pytest.mark.parametrize(("mode", "told"), [("local", "local"), ("interleave", "interleave 0")])
def test_the_kernel_has_the_policy_that_was_set(mode: str, told: str) -> None:
    try:
        memory_policy.policy()
    except OSError as error:
        pytest.skip(f"the kernel does not tell its memory policy: {error}")
    ran = subprocess.run(
        [sys.executable, "-c", SETTING, mode], capture_output=True, text=True, check=False
    )
    if "OSError" in ran.stderr:
        pytest.skip(f"the kernel refuses a memory policy: {ran.stderr.splitlines()[-1]}")
    assert json.loads(ran.stdout) == ["default", told]


def test_pages_are_counted_by_node_and_size(tmp_path: Path) -> None:
    maps = tmp_path / "proc/self/numa_maps"
    maps.parent.mkdir(parents=True)
    maps.write_text(
        "00400000 local file=/bin/x mapped=3 N0=2 N1=1 kernelpagesize_kB=4\n"
        "7f000000 local anon=1 dirty=1 N1=1 kernelpagesize_kB=2048\n"
        "7f100000 default\n"
    )
    assert memory_policy.pages_on([0], tmp_path) == (8 * 1024, 2060 * 1024)
    assert memory_policy.pages_on([0, 1], tmp_path) == (2060 * 1024, 2060 * 1024)
    maps.write_text("7f100000 default\n")
    with pytest.raises(ValueError, match="lists no pages"):
        memory_policy.pages_on([0], tmp_path)


def test_shares_of_memory_are_read(tmp_path: Path) -> None:
    rollup = tmp_path / "proc/self/smaps_rollup"
    rollup.parent.mkdir(parents=True)
    rollup.write_text(
        "00400000-7fff [rollup]\nRss: 900 kB\nPss: 500 kB\nPss_Anon: 1 kB\n"
        "Private_Clean: 100 kB\nPrivate_Dirty: 300 kB\n"
    )
    assert memory_policy.proportional_bytes(tmp_path) == 500 * 1024
    assert memory_policy.private_bytes(tmp_path) == 400 * 1024
    rollup.write_text("00400000-7fff [rollup]\n")
    with pytest.raises(ValueError, match="has no Pss"):
        memory_policy.proportional_bytes(tmp_path)


def test_this_process_holds_memory() -> None:
    assert memory_policy.private_bytes() <= memory_policy.proportional_bytes()
