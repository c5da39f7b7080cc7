"""Measured ceilings, on this machine and accounted on fake ones."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.config.profile import ProfileConfig
from harness.measuring import ceilings, looks, products, streams
from harness.measuring.looks import Ceiling, Look
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
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Streams whose parts take 4, 1 and 2 s (copy) and 3, 2 and 5 s; what they were asked.

    The fastest part of each has lost its CPUs for a while.
    """
    calls: list[dict[str, Any]] = []

    def copy_and_triad(array_bytes: int, cpus: list[int], rounds: int, **options: Any) -> Any:
        calls.append({"bytes": array_bytes, "cpus": cpus, "rounds": rounds, **options})
        wall = np.array([[4, 1, 2], [3, 2, 5]], np.int64) * 1_000_000_000
        share = np.array([[1, 0.5, 1], [0.95, 0.3, 1]])
        return tuple(np.stack([wall, wall * share * len(cpus)], axis=1).astype(np.int64))

    monkeypatch.setattr(bandwidth, "copy_and_triad", copy_and_triad)
    return calls


def in_memory(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [call for call in calls if call["past_caches"]]


def test_this_machine(library: ort.Library) -> None:
    library.take_log()  # what other tests of this process made ORT say
    found = {one.name: one for one in ceilings.measure(library)}
    assert {"copy", "triad", "copy_l1", "triad_l1", "matmul_float32"} <= found.keys()
    assert found["l1_bytes"].value >= 1024
    for name, one in found.items():
        if isinstance(one, Ceiling):
            assert one.value > 0
            assert one.spread >= 1
            assert one.agreement <= 0.1
            assert 2 <= one.samples <= one.tried
            assert 1 <= one.threads <= (os.cpu_count() or 1)
        elif one.value is None:  # on a busy machine
            assert one.reason.startswith("the machine was busy"), name
    assert library.take_log() == []


def test_bytes_are_counted_as_stream_counts_them_where_nothing_disturbed(
    library: ort.Library, root: Path, streamed: list[dict[str, Any]]
) -> None:
    found = {one.name: one for one in ceilings.measure(library, 1, (), root)}
    memory = in_memory(streamed)
    assert len(memory) == 2, "two looks, which agree"
    array_bytes = 4 * 40 * MIB
    assert [call["bytes"] for call in memory] == [array_bytes] * 2
    assert memory[0]["cpus"] == CPUS[:1]
    copy, triad = found["copy"], found["triad"]
    assert isinstance(copy, Ceiling)
    assert isinstance(triad, Ceiling)
    # Not in 1 s and 2 s, where the threads had lost their CPUs.
    part = array_bytes / memory[0]["parts"]
    assert (copy.value, copy.spread) == (2 * part / 2, 4 / 3)
    assert (triad.value, triad.spread) == (3 * part / 3, 5 / 4)
    for ceiling in (copy, triad):
        assert (ceiling.unit, ceiling.threads) == ("bytes/s", 1)
        assert (ceiling.samples, ceiling.tried, ceiling.agreement) == (4, 6, 0)
        assert "160 MiB" in ceiling.source


def test_every_cache_level_is_streamed_through_in_a_size_of_its_own(
    library: ort.Library, root: Path, streamed: list[dict[str, Any]]
) -> None:
    found = {one.name: one for one in ceilings.measure(library, 1, (), root)}
    # 1 MiB of L2, nothing nearer; 40 MiB of L3 for all.
    assert (found["l2_bytes"].value, found["l2_caches"].value) == (MIB, 1)
    assert (found["l3_bytes"].value, found["l3_caches"].value) == (40 * MIB, 1)
    sizes = sorted({3 * call["bytes"] for call in streamed if not call["past_caches"]})
    assert len(sizes) == 2
    assert sizes[0] <= MIB / 2, "half of it"
    assert 2 * MIB <= sizes[1] <= 20 * MIB, "twice what is nearer, half of what is meant"
    for name in ("copy_l2", "triad_l2", "copy_l3", "triad_l3"):
        assert isinstance(found[name], Ceiling), found[name]


def test_a_level_hardly_larger_than_those_before_it_is_not_measured(
    library: ort.Library, root: Path, streamed: list[dict[str, Any]]
) -> None:
    for cpu in CPUS:
        plant_cpu(root, cpu, str(cpu), "all", 2)
    found = {one.name: one for one in ceilings.measure(library, 1, (), root)}
    assert isinstance(found["copy_l2"], Ceiling)
    assert found["l3_bytes"].value == 2 * MIB
    for name in ("copy_l3", "triad_l3"):
        absent = found[name]
        assert isinstance(absent, Reading)
        told = "hold 2 MiB, less than 4 times the 1 MiB of the nearer levels, so no array size"
        assert told in absent.reason


def test_no_more_streaming_threads_than_cpus(
    library: ort.Library, root: Path, streamed: list[dict[str, Any]]
) -> None:
    for ceiling in ceilings.measure(library, len(CPUS) + 7, (), root):
        assert not isinstance(ceiling, Ceiling) or ceiling.threads == len(CPUS)
    assert streamed[0]["cpus"] == CPUS


# Looks


@dataclasses.dataclass
class Scripted:
    """A subject whose looks see what a test says, then the last of it again."""

    looks: list[tuple[list[float], list[float]]]
    taken: int = 0
    names: tuple[str, ...] = ("copy",)
    unit: str = "bytes/s"
    source: str = "scripted"

    def look(self) -> dict[str, Look]:
        speed, on_cpu = self.looks[min(self.taken, len(self.looks) - 1)]
        self.taken += 1
        return {"copy": Look(np.array(speed), np.array(on_cpu), 1, self.unit, self.source)}


def judged(*seen: tuple[list[float], list[float]]) -> tuple[Ceiling | Reading, int]:
    subject = Scripted(list(seen))
    (found,) = looks.measured([subject])
    return found, subject.taken


def test_two_looks_that_agree_are_enough() -> None:
    found, taken = judged(([90, 96], [1, 1]), ([100, 80], [1, 1]))
    assert isinstance(found, Ceiling)
    assert (found.value, found.agreement, taken) == (100, pytest.approx(0.04), 2)
    assert (found.samples, found.tried) == (4, 4)
    assert found.spread == pytest.approx(100 / 93), "over the median of both looks"


def test_looks_that_disagree_are_repeated() -> None:
    found, taken = judged(([50], [1]), ([100], [1]), ([99], [1]))
    assert isinstance(found, Ceiling)
    assert (found.value, taken) == (100, 3)


def test_looks_that_never_agree_are_an_absence() -> None:
    found, taken = judged(([50], [1]), ([60], [1]), ([70], [1]))
    assert isinstance(found, Reading)
    assert (found.value, taken) == (None, looks.MOST_LOOKS)
    assert "the best two of 3 looks differ by 14%" in found.reason
    assert "profile again" in found.reason


def test_repetitions_without_their_cpus_count_for_nothing() -> None:
    # As fast as they may be: a thread that waits for another makes it look faster.
    found, _ = judged(([500, 100], [0.89, 0.9]), ([700, 95], [0.2, 1]))
    assert isinstance(found, Ceiling)
    assert (found.value, found.samples, found.tried) == (100, 2, 4)


def test_a_machine_that_is_always_busy_has_no_ceiling() -> None:
    found, _ = judged(([500, 100], [0.5, 0.6]))
    assert isinstance(found, Reading)
    assert "only 0 of 6 repetitions kept their CPUs throughout" in found.reason


def test_looks_at_one_subject_are_apart() -> None:
    order: list[str] = []

    @dataclasses.dataclass
    class Noted(Scripted):
        called: str = ""

        def look(self) -> dict[str, Look]:
            order.append(self.called)
            return {self.names[0]: Scripted(self.looks).look()["copy"]}

    looks.measured([Noted([([1], [1])], names=(name,), called=name) for name in "abc"])
    assert order == [*"abc", *"abc"]


def test_busy_ceilings_are_absent_facts_with_the_reason(
    library: ort.Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Scripted([([500, 100], [0.5, 0.6])])
    monkeypatch.setattr(ceilings, "streams", lambda *_: ([subject], []))
    (fact,) = ceilings.facts(library, ProfileConfig(model="mlp"), ())
    assert (fact.name, fact.value, fact.unit) == ("ceiling_copy", None, "bytes/s")
    assert fact.reason.startswith("the machine was busy")


# Where it is measured


def test_small_caches_do_not_make_small_arrays(
    library: ort.Library, root: Path, streamed: list[dict[str, Any]]
) -> None:
    for cpu in CPUS:
        plant_cpu(root, cpu, str(cpu), "all", 2)
    ceilings.measure(library, 1, (), root)
    assert in_memory(streamed)[0]["bytes"] == 128 * MIB


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
    streamed: list[dict[str, Any]],
    files: dict[str, str],
    reason: str,
) -> None:
    plant(root, files)
    found = {one.name: one for one in ceilings.measure(library, 1, (), root)}
    for reading in (found["copy"], found["triad"]):
        assert isinstance(reading, Reading)
        assert reading.value is None
        assert re.search(reason, reading.reason)
    assert not in_memory(streamed)
    assert isinstance(found["copy_l2"], Ceiling), "caches take little"


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

    def place(threads: int, allowed: range = range(8)) -> tuple[list[int], tuple[int, int, int]]:
        cpus, levels = streams.placement(allowed, threads, tmp_path)
        assert [level.level for level in levels] == [2, 3]
        return cpus, dataclasses.astuple(levels[-1])

    assert place(1) == ([0], (3, 32 * MIB, 1))
    assert place(2) == ([0, 2], (3, 64 * MIB, 2))
    assert place(5) == ([0, 2, 1, 3, 4], (3, 64 * MIB, 2))
    assert place(3, range(4, 6)) == ([4, 5], (3, 32 * MIB, 1))
    assert place(2, range(0, 5, 4)) == ([0, 4], (3, 32 * MIB, 1))


def test_operations_of_a_product_are_counted_and_the_better_width_wins(
    library: ort.Library,
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    streamed: list[dict[str, Any]],
) -> None:
    # The wide product does four times the work of the narrow one, here in three times the time.
    milliseconds = {384: (6, 2, 4), 768: (6, 6, 1)}

    def time_product(_: products.Product, width: int) -> Any:
        # The last one lost its CPUs, and is not believed.
        on_cpu = np.array([1, 1, 0.75])
        return ["MatMul"], np.array(milliseconds[width], np.float64) * 1_000_000, on_cpu

    monkeypatch.setattr(products.Product, "_time", time_product)
    *_, product = ceilings.measure(library, 2, ("float32",), root)
    assert isinstance(product, Ceiling)
    assert product.value == pytest.approx(2 * 1024 * 768 * 768 / 6e-3)
    assert (product.unit, product.threads, product.spread) == ("flop/s", 2, 1)
    assert "1024x768x768" in product.source


def test_int8_is_counted_in_operations(library: ort.Library) -> None:
    (look,) = products.Product(library, "int8", 1, 1).look().values()
    assert look.unit == "op/s"
    assert (look.speed > 0).all()
    assert "MatMulInteger" in look.source


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other CPUs have such kernels")
def test_type_that_ort_cannot_multiply_is_absent_with_what_ort_says(
    library: ort.Library, root: Path, streamed: list[dict[str, Any]]
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
    library: ort.Library, root: Path, streamed: list[dict[str, Any]]
) -> None:
    limit = 300 * 1024 * 1024
    found = {one.name: one for one in ceilings.measure(library, 1, (), root, limit)}
    for one in (found["copy"], found["triad"]):
        assert isinstance(one, Reading)
        assert "more than the limit of 300 MiB" in one.reason
    assert not in_memory(streamed)
