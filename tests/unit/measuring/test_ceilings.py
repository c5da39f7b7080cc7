"""Measured ceilings, on this machine and accounted on fake ones."""

from __future__ import annotations

import os
import platform
import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.measuring import ceilings
from harness.measuring.ceilings import Ceiling
from harness.native import bandwidth, ort
from harness.ort.library import ort_library
from harness.records import Reading

if TYPE_CHECKING:
    from pathlib import Path

CPUS = sorted(os.sched_getaffinity(0))
SYSFS = "sys/devices/system/cpu"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def library() -> ort.Library:
    return ort.Library(str(ort_library()))


def plant(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def plant_cpu(root: Path, cpu: int, siblings: str, shared: str, mib: int) -> None:
    """A CPU with an instruction cache, and a last-level cache of its own or shared."""
    caches = {
        "index0": ("1", "Instruction", "32K", siblings),
        "index1": ("3", "Unified", f"{mib * 1024}K", shared),
        "index2": ("2", "Unified", "1024K", siblings),
    }
    plant(root, {f"{SYSFS}/cpu{cpu}/topology/thread_siblings_list": f"{siblings}\n"})
    for index, values in caches.items():
        for field, text in zip(("level", "type", "size", "shared_cpu_list"), values, strict=True):
            plant(root, {f"{SYSFS}/cpu{cpu}/cache/{index}/{field}": f"{text}\n"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with 40 MiB of last-level cache for all CPUs and 2 GiB of memory."""
    for cpu in CPUS:
        plant_cpu(tmp_path, cpu, str(cpu), "all", 40)
    plant(tmp_path, {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:  {2048 * 1024} kB\n"})
    return tmp_path


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Streams that take 1, 2 and 4 s, or 2, 3 and 5 s; the arguments they were asked with."""
    calls: list[tuple[Any, ...]] = []

    def copy_and_triad(*arguments: Any) -> tuple[Any, ...]:
        calls.append(arguments)
        # Long enough for the sleeping thread's share of a CPU to be small.
        time.sleep(0.01)
        seconds = np.array([[4, 1, 2], [3, 2, 5]], np.int64)
        return tuple(seconds * 1_000_000_000)

    monkeypatch.setattr(bandwidth, "copy_and_triad", copy_and_triad)
    return calls


def test_this_machine(library: ort.Library) -> None:
    library.take_log()  # what other tests of this process made ORT say
    found = ceilings.measure(library)
    assert [ceiling.name for ceiling in found] == ["copy", "triad", "matmul_float32"]
    for ceiling in found:
        assert isinstance(ceiling, Ceiling), ceiling
        assert ceiling.value > 0
        assert ceiling.spread >= 1
        assert 0 < ceiling.on_cpu <= 1
        assert ceiling.samples >= 1
        assert 1 <= ceiling.threads <= (os.cpu_count() or 1)
    assert library.take_log() == []


def test_bytes_are_counted_as_stream_counts_them(
    library: ort.Library, root: Path, streamed: list[tuple[Any, ...]]
) -> None:
    copy, triad = ceilings.measure(library, 1, (), root)
    (array_bytes, cpus, repetitions), *others = streamed
    assert not others
    assert array_bytes == 4 * 40 * MIB
    assert cpus == CPUS[:1]
    assert repetitions > 1
    assert isinstance(copy, Ceiling)
    assert isinstance(triad, Ceiling)
    assert (copy.value, copy.spread) == (2 * array_bytes / 1, 2)
    assert (triad.value, triad.spread) == (3 * array_bytes / 2, 1.5)
    for ceiling in (copy, triad):
        assert (ceiling.unit, ceiling.threads, ceiling.samples) == ("bytes/s", 1, 3)
        assert "160 MiB" in ceiling.source
        assert ceiling.on_cpu < 0.5


def test_no_more_streaming_threads_than_cpus(
    library: ort.Library, root: Path, streamed: list[tuple[Any, ...]]
) -> None:
    for ceiling in ceilings.measure(library, len(CPUS) + 7, (), root):
        assert isinstance(ceiling, Ceiling)
        assert ceiling.threads == len(CPUS)
    assert streamed[0][1] == CPUS


def test_small_caches_do_not_make_small_arrays(
    library: ort.Library, root: Path, streamed: list[tuple[Any, ...]]
) -> None:
    for cpu in CPUS:
        plant_cpu(root, cpu, str(cpu), "all", 2)
    ceilings.measure(library, 1, (), root)
    assert streamed[0][0] == 128 * MIB


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"proc/meminfo": f"MemAvailable: {900 * 1024} kB\n"}, "3 arrays of 160 MiB .* 900 MiB"),
        ({"proc/meminfo": "MemTotal: 1 kB\n"}, "/proc/meminfo"),
        (
            {
                "proc/self/cgroup": "0::/pod/job\n",
                "sys/fs/cgroup/pod/memory.max": f"{1000 * MIB}\n",
                "sys/fs/cgroup/pod/memory.current": f"{700 * MIB}\n",
                "sys/fs/cgroup/pod/memory.stat": f"anon 5\ninactive_file {500 * MIB}\n",
                "sys/fs/cgroup/pod/job/memory.max": "max\n",
                "sys/fs/cgroup/pod/job/memory.current": f"{300 * MIB}\n",
                "sys/fs/cgroup/pod/job/memory.stat": "inactive_file 0\n",
            },
            "of the 800 MiB",
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/on/the/host\n2:cpu:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{600 * MIB}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{100 * MIB}\n",
                "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {50 * MIB}\n",
            },
            "of the 550 MiB",
        ),
    ],
    ids=["host", "untold", "control group v2", "control group v1"],
)
def test_too_little_memory_is_an_absence(
    library: ort.Library,
    root: Path,
    streamed: list[tuple[Any, ...]],
    files: dict[str, str],
    reason: str,
) -> None:
    plant(root, files)
    absent = ceilings.measure(library, 1, (), root)
    assert [reading.name for reading in absent] == ["copy", "triad"]
    for reading in absent:
        assert isinstance(reading, Reading)
        assert reading.value is None
        with pytest.raises(ValueError, match=reason):
            raise ValueError(reading.reason)
    assert not streamed


def test_caches_that_are_not_told_are_an_absence(library: ort.Library, root: Path) -> None:
    shutil.rmtree(root / f"{SYSFS}/cpu{CPUS[0]}/cache")
    for reading in ceilings.measure(library, 1, (), root):
        assert isinstance(reading, Reading)
        assert f"/{SYSFS}/cpu{CPUS[0]}/cache" in reading.reason


def test_threads_go_to_other_cores_and_caches_first(tmp_path: Path) -> None:
    # Two sockets of two cores with two hardware threads each: CPUs 0-3 are the first ones.
    for cpu in range(8):
        core = cpu % 4
        siblings, shared = f"{core},{core + 4}", "0-1,4-5" if core < 2 else "2-3,6-7"
        plant_cpu(tmp_path, cpu, siblings, shared, 32)

    def place(threads: int, allowed: range = range(8)) -> tuple[list[int], int]:
        return ceilings._placement(allowed, threads, tmp_path)

    assert place(1) == ([0], 32 * MIB)
    assert place(2) == ([0, 2], 64 * MIB)
    assert place(5) == ([0, 2, 1, 3, 4], 64 * MIB)
    assert place(3, range(4, 6)) == ([4, 5], 32 * MIB)
    assert place(2, range(0, 5, 4)) == ([0, 4], 32 * MIB)


def test_operations_of_a_product_are_counted_and_the_better_width_wins(
    library: ort.Library,
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    streamed: list[tuple[Any, ...]],
) -> None:
    # The wide product does four times the work of the narrow one, here in three times the time.
    milliseconds = {384: (6, 2, 4), 768: (6, 6, 12)}

    def time_product(_: ort.Library, dtype: str, width: int, threads: int, counted: int) -> Any:
        return ["MatMul"], np.array(milliseconds[width], np.int64) * 1_000_000, 0.75

    monkeypatch.setattr(ceilings, "_time_product", time_product)
    *_, product = ceilings.measure(library, 2, ("float32",), root)
    assert isinstance(product, Ceiling)
    assert product.value == pytest.approx(2 * 1024 * 768 * 768 / 6e-3)
    assert (product.unit, product.threads, product.spread) == ("flop/s", 2, 1)
    assert product.on_cpu == 0.75
    assert "1024x768x768" in product.source


def test_int8_is_counted_in_operations(
    library: ort.Library, root: Path, streamed: list[tuple[Any, ...]]
) -> None:
    *_, product = ceilings.measure(library, 1, ("int8",), root)
    assert isinstance(product, Ceiling), product
    assert product.unit == "op/s"
    assert product.value > 0
    assert "MatMulInteger" in product.source


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other CPUs have such kernels")
def test_type_that_ort_cannot_multiply_is_absent_with_what_ort_says(
    library: ort.Library, root: Path, streamed: list[tuple[Any, ...]]
) -> None:
    *_, half, brain = ceilings.measure(library, 1, ("float16", "bfloat16"), root)
    assert isinstance(half, Reading)
    assert "executes Cast, MatMul" in half.reason
    assert isinstance(brain, Reading)
    assert "Could not find an implementation for MatMul" in brain.reason


def test_what_cannot_be_asked_is_refused(library: ort.Library) -> None:
    with pytest.raises(ValueError, match="-1"):
        ceilings.measure(library, -1)
    with pytest.raises(ValueError, match="complex64"):
        ceilings.measure(library, 1, ("complex64",))


def test_a_limit_of_memory_is_kept_by_the_ceilings_too(
    library: ort.Library, root: Path, streamed: list[tuple[Any, ...]]
) -> None:
    copy, triad, _ = ceilings.measure(library, 1, root=root, memory_bytes=300 * 1024 * 1024)
    for one in (copy, triad):
        assert isinstance(one, Reading)
        assert "more than the limit of 300 MiB" in one.reason
    assert not streamed
