"""Where the control groups of this process are, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def control_groups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Folders of this process's group for a controller and of its parents, innermost first.

    Args:
        root: where /proc and /sys are looked for.
        controller: ``cpu`` or ``memory``.

    Yields:
        (folder, whether it is of version 2). In a container, the path reported by the kernel
        may be the host's and not exist here; its parents do.

    Raises:
        OSError: /proc/self/cgroup cannot be read.
    """
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mount):
                break
            yield folder, not controllers
