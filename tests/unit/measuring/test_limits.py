"""What workers may take: told of the machine and the group that they are in."""

from __future__ import annotations

from pathlib import Path

from harness.machine.available_memory import available_bytes


def machine(root: Path, available_kb: int) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {available_kb} kB\n")
    (root / "proc/self/cgroup").write_text("0::/job\n")
    return root


def test_without_a_group_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, 1_000)) == 1_024_000


def test_a_group_with_a_limit_leaves_what_it_has_not_used(tmp_path: Path) -> None:
    group = machine(tmp_path, 1_000) / "sys/fs/cgroup/job"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("500000\n")
    (group / "memory.current").write_text("300000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 50000\n")
    assert available_bytes(tmp_path) == 250_000


def test_a_group_without_a_limit_limits_nothing(tmp_path: Path) -> None:
    group = machine(tmp_path, 1_000) / "sys/fs/cgroup/job"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    assert available_bytes(tmp_path) == 1_024_000


def test_where_nobody_tells_nothing_is_known(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None
