"""The ceilings of the roofline: what this machine reached when it was asked, never a data sheet.

Memory: STREAM's copy and triad (J. D. McCalpin, https://www.cs.virginia.edu/stream/) over
arrays that no cache can hold. Arithmetic: a matrix product by a constant, as weights are, run
by ONNX Runtime itself, per element type. Each is the best of several repetitions, because on a
shared machine others can only make them slower; the spread and the share of CPU time that the
threads got say how much they did.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from harness.machine.available_memory import available_bytes, resident_bytes
from harness.native import bandwidth, ort
from harness.records import Int64Array, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from harness.config.profile import ProfileConfig

#: STREAM's rule: each array at least four times the last-level caches together.
_TIMES_CACHE = 4
#: Virtual machines often show a part of the cache that they use, or none of the last level.
_LEAST_ARRAY_BYTES = 128 * 1024 * 1024
_STREAM_REPETITIONS = 8
#: Arrays of a stream; STREAM counts two for the copy and three for the triad.
_ARRAYS = 3

#: Rows that each thread multiplies by a square constant of these widths; the better width
#: counts. On Zen 4, tried with float32, float64 and int8, one of the two came within 2 % of the
#: best of eight widths from 256 to 2048; 1024 lost 14 % and 2048 32 % in float32, to strides
#: that collide in the caches. Short products, so that some fall between two interruptions.
_ROWS = 512
_WIDTHS = (384, 768)
_MATMUL_NS = 80_000_000
_MATMUL_SAMPLES = 1000

#: Element types of the operands, by dtype asked for, and the operator that multiplies them.
#: int8 is what quantised models have: unsigned activations by signed weights, int32 sums.
_PRODUCTS = {
    "float32": ("float32", "float32", "float32", "MatMul"),
    "float64": ("float64", "float64", "float64", "MatMul"),
    "float16": ("float16", "float16", "float16", "MatMul"),
    "bfloat16": ("bfloat16", "bfloat16", "bfloat16", "MatMul"),
    "int8": ("uint8", "int8", "int32", "MatMulInteger"),
}

#: Element types whose product can be asked for.
DTYPES = frozenset(_PRODUCTS)

#: Share of the time that the threads of a ceiling must have had a CPU, and how often to try.
UNDISTURBED = 0.9
TRIES = 3

QUICK_CEILINGS = "`quick` measures no ceilings; leave it out"

_CPUS = "sys/devices/system/cpu"
_MIB = 1024 * 1024

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True)
class Ceiling:
    """One measured ceiling.

    Attributes:
        name: ``copy``, ``triad``, or ``matmul_`` and the dtype.
        threads: threads that reached it together.
        value: the best repetition: what was counted in it over its time.
        unit: ``bytes/s``, ``flop/s``, or ``op/s`` for whole numbers; a multiplication and an
            addition count as two.
        spread: median time of the repetitions over the best, 1 on a quiet machine.
        on_cpu: share of the time, up to 1, that the threads really had a CPU, or nearly so (they
            spin where they wait). Well below 1 others took it, and the value is too low, even
            where the spread is small.
        samples: repetitions.
        source: what was run: sizes, operators, CPUs.
    """

    name: str
    threads: int
    value: float
    unit: str
    spread: float
    on_cpu: float
    samples: int
    source: str


def measure(
    library: ort.Library,
    threads: int = 0,
    dtypes: Sequence[str] = ("float32",),
    root: Path = Path("/"),
    memory_bytes: int | None = None,
) -> tuple[Ceiling | Reading, ...]:
    """Measures copy, triad and a matrix product of each dtype; about a second.

    Streaming threads are pinned, on cores of their own while there are any, in turn over the
    last-level caches; there are never more of them than CPUs that this process may use.

    Args:
        library: the opened libonnxruntime.
        threads: intra-op threads; 0 for as many as ONNX Runtime starts by itself.
        dtypes: out of float32, float64, float16, bfloat16 and int8.
        root: where /proc and /sys are found (tests).
        memory_bytes: resident, that this process may take; None for half of what is available.

    Returns:
        A Ceiling for copy, triad and each dtype, in this order, or a Reading of the same name
        that is absent, with the reason.

    Raises:
        ValueError: threads is negative, or a dtype is not among those above.
    """
    if threads < 0:
        raise ValueError(f"threads must not be negative: {threads}")
    for dtype in dtypes:
        if dtype not in _PRODUCTS:
            raise ValueError(f"{dtype}: no such ceiling, only of {', '.join(_PRODUCTS)}")
    counted = threads or _default_threads(library)
    return (
        *_streaming(counted, root, memory_bytes),
        *(_matmul(library, dtype, threads, counted) for dtype in dtypes),
    )


def facts(
    library: ort.Library, config: ProfileConfig, dtypes: Collection[str]
) -> tuple[Reading, ...]:
    """The ceilings as facts of a profile, with the threads that the model gets.

    Args:
        library: the opened libonnxruntime.
        config: what is profiled; a quick look measures no ceilings.
        dtypes: element types that the model computes in; those without a ceiling are left out.
    """
    if config.quick:
        return (
            Reading("ceilings", None, source="harness.measuring.ceilings", reason=QUICK_CEILINGS),
        )
    # Where others took the CPUs the values are too low: another try may fall into a gap.
    limit_gb = config.memory_limit_gb
    limit_bytes = None if limit_gb is None else int(limit_gb * 1e9)
    for _ in range(TRIES):
        measured = measure(
            library,
            config.session.intra_threads,
            sorted(DTYPES.intersection(dtypes)),
            memory_bytes=limit_bytes,
        )
        if all(isinstance(one, Reading) or one.on_cpu >= UNDISTURBED for one in measured):
            break
    return tuple(
        Reading(
            f"ceiling_{one.name}",
            one.value,
            one.unit,
            f"{one.source}; {one.threads} thread(s), best of {one.samples}, median "
            f"{one.spread:.2f} times as long, {one.on_cpu:.0%} on a CPU",
        )
        if isinstance(one, Ceiling)
        else dataclasses.replace(one, name=f"ceiling_{one.name}")
        for one in measured
    )


# Memory


def _streaming(threads: int, root: Path, memory_bytes: int | None) -> Iterator[Ceiling | Reading]:
    counts = {"copy": 2, "triad": 3}
    try:
        cpus, cache_bytes = _placement(os.sched_getaffinity(0), threads, root)
        array_bytes = max(_TIMES_CACHE * cache_bytes, _LEAST_ARRAY_BYTES)
        needed, available = _ARRAYS * array_bytes, available_bytes(root)
        if available is None:
            raise LookupError("/proc/meminfo does not tell the available memory")
        if needed > available // 2:
            raise MemoryError(
                f"{_ARRAYS} arrays of {array_bytes // _MIB} MiB would take more than half of "
                f"the {available // _MIB} MiB of memory that are available"
            )
        if memory_bytes is not None and needed > memory_bytes - resident_bytes():
            raise MemoryError(
                f"{_ARRAYS} arrays of {array_bytes // _MIB} MiB would take more than the limit of "
                f"{memory_bytes // _MIB} MiB (`memory_limit_gb`) leaves"
            )
        durations, on_cpu = _watch(
            len(cpus), lambda: bandwidth.copy_and_triad(array_bytes, cpus, _STREAM_REPETITIONS)
        )
    except (OSError, LookupError, ValueError, MemoryError) as error:
        for name in counts:
            yield Reading(name, None, "bytes/s", "STREAM", str(error))
        return
    stores = "non-temporal stores" if bandwidth.bypasses_caches() else "stores through the caches"
    for (name, arrays), duration_ns in zip(counts.items(), durations, strict=True):
        source = (
            f"STREAM {name}, {8 * arrays} bytes an element, arrays of {array_bytes // _MIB} MiB, "
            f"last-level cache {cache_bytes // _MIB} MiB, {stores}, pinned to CPUs "
            f"{','.join(map(str, sorted(cpus)))}"
        )
        counted = arrays * array_bytes
        yield _ceiling(name, len(cpus), counted, duration_ns, on_cpu, "bytes/s", source)


def _placement(allowed: Iterable[int], threads: int, root: Path) -> tuple[list[int], int]:
    """The CPUs for so many threads, and the bytes of their last-level caches together.

    Raises:
        OSError, LookupError, ValueError: sysfs does not tell the caches.
    """
    caches = {cpu: _last_level_cache(root, cpu) for cpu in sorted(allowed)}
    on_core: collections.Counter[str] = collections.Counter()
    in_cache: collections.Counter[tuple[int, str]] = collections.Counter()
    rank: dict[int, tuple[int, int]] = {}
    for cpu, (shared, _) in caches.items():
        core = (root / _CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text()
        hardware_thread = on_core[core]
        rank[cpu] = hardware_thread, in_cache[hardware_thread, shared]
        on_core[core] += 1
        in_cache[hardware_thread, shared] += 1
    cpus = sorted(caches, key=lambda cpu: (rank[cpu], cpu))[:threads]
    return cpus, sum(dict(caches[cpu] for cpu in cpus).values())


def _last_level_cache(root: Path, cpu: int) -> tuple[str, int]:
    """Which CPUs share the last cache before memory, in Linux' notation, and its bytes."""
    folder = root / _CPUS / f"cpu{cpu}/cache"
    caches = [
        (int((index / "level").read_text()), index)
        for index in folder.glob("index*")
        if (index / "type").read_text().strip() != "Instruction"
    ]
    if not caches:
        raise LookupError(
            f"/{folder.relative_to(root)} lists no cache: cannot size arrays to exceed it"
        )
    _, last = max(caches)
    kibibytes = (last / "size").read_text().strip().removesuffix("K")
    return (last / "shared_cpu_list").read_text().strip(), int(kibibytes) * 1024


# Arithmetic


def _default_threads(library: ort.Library) -> int:
    """Threads of a session that leaves their number to ORT: those it starts, and the caller."""

    def tasks() -> set[Path]:
        return set(Path("/proc/self/task").iterdir())

    before = tasks()
    session = ort.Session(library, _product("float32", 8))
    started = tasks() - before
    session.close()
    return len(started) + 1


def _matmul(library: ort.Library, dtype: str, threads: int, counted: int) -> Ceiling | Reading:
    left, right, _, operator = _PRODUCTS[dtype]
    name, unit = f"matmul_{dtype}", "flop/s" if operator == "MatMul" else "op/s"
    rows = _ROWS * counted
    ceilings = []
    for width in _WIDTHS:
        what = f"{operator} {rows}x{width}x{width} {left}, constant {right}"
        source = f"{what}, ONNX Runtime {library.version}, CPU"
        try:
            executed, duration_ns, on_cpu = _time_product(library, dtype, width, threads, counted)
        except ort.OrtError as error:
            return Reading(name, None, unit, source, " ".join(str(error).split()))
        if executed != [operator]:
            instead = ", ".join(dict.fromkeys(executed))
            reason = f"ONNX Runtime has no such kernel, it executes {instead}"
            return Reading(name, None, unit, source, reason)
        operations = 2 * rows * width * width
        ceilings.append(_ceiling(name, counted, operations, duration_ns, on_cpu, unit, source))
    return max(ceilings, key=lambda ceiling: ceiling.value)


def _time_product(
    library: ort.Library, dtype: str, width: int, threads: int, counted: int
) -> tuple[list[str], Int64Array, float]:
    """The operators that ORT executes for a product, its times, and their share of CPU."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder) / "executed.onnx"
        # A higher level changes convolutions only, and warns that the file fits this machine.
        session = ort.Session(
            library,
            _product(dtype, width),
            intra_threads=threads,
            optimization="extended",
            optimized_model_path=str(executed),
        )
        operators = [node.op_type for node in onnx.load(executed).graph.node]
    left = _values(_PRODUCTS[dtype][0], (_ROWS * counted, width))
    start_ns = np.zeros(_MATMUL_SAMPLES, np.int64)
    duration_ns = np.zeros(_MATMUL_SAMPLES, np.int64)
    with contextlib.closing(session), contextlib.closing(session.bind({"left": left})) as binding:
        binding.run()  # the first inference allocates
        taken, on_cpu = _watch(
            counted, lambda: binding.time(start_ns, duration_ns, ort.monotonic_ns() + _MATMUL_NS)
        )
    return operators, duration_ns[:taken], on_cpu


def _product(dtype: str, width: int) -> bytes:
    """A model that multiplies its input, any rows by width, by a square constant."""
    import onnx.helper

    left, right, product, operator = _PRODUCTS[dtype]
    elements = {
        name: onnx.helper.np_dtype_to_tensor_dtype(_values(name, (0,)).dtype)
        for name in (left, right, product)
    }
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        [onnx.helper.make_tensor_value_info("left", elements[left], ["rows", width])],
        [onnx.helper.make_tensor_value_info("product", elements[product], ["rows", width])],
        [
            onnx.TensorProto(
                name="right",
                data_type=elements[right],
                dims=[width, width],
                raw_data=_values(right, (width, width)).tobytes(),
            )
        ],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())


def _values(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[Any]]:
    """Random values of a type: [0, 1) for fractions, its whole range for whole numbers."""
    import ml_dtypes

    random = np.random.default_rng(0)
    if dtype == "bfloat16":
        return random.random(shape, np.float32).astype(ml_dtypes.bfloat16)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return random.random(shape, np.float32).astype(dtype)


# Both


def _watch(threads: int, work: Callable[[], _Result]) -> tuple[_Result, float]:
    """What work returns, and the share of its time that so many threads were on a CPU."""
    start_ns, start_cpu_ns = time.monotonic_ns(), time.process_time_ns()
    result = work()
    cpu_ns = time.process_time_ns() - start_cpu_ns
    return result, min(1.0, cpu_ns / (threads * (time.monotonic_ns() - start_ns)))


def _ceiling(
    name: str,
    threads: int,
    amount: int,
    duration_ns: Int64Array,
    on_cpu: float,
    unit: str,
    source: str,
) -> Ceiling:
    """The ceiling that repetitions of equal amount reached."""
    best_ns = int(duration_ns.min())
    return Ceiling(
        name=name,
        threads=threads,
        value=amount * 1e9 / best_ns,
        unit=unit,
        spread=float(np.median(duration_ns)) / best_ns,
        on_cpu=on_cpu,
        samples=len(duration_ns),
        source=source,
    )
