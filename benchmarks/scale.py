"""Seconds and peak memory of each command that reads a profile, by the size of the profile.

    python benchmarks/scale.py [--events 0.1 1 10] [--folder FOLDER] [--only show ops]

A profile of N million events holds ten processes: N million executions of 200 nodes, half of them
from the probes and half from ORT's profiler with all its memory fields, a tenth as many GPU
kernels, N million latency samples, and six device series. The times are random; the file is
written by the writer that ``profile`` uses. Each command is a separate process; the profiles are
in the page cache when it starts.

MB read are rchar of /proc/PID/io, which includes Python's modules, some 10 MB. Peak memory is
ru_maxrss, which starts at the parent's size: so this program loads nothing large itself, and makes
the profiles in separate processes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    from harness.records import DeviceSeries, KernelEvents, NodeEvents, ProcessRecord, Profile

PROCESSES = 10
NODES = 200
MILLION = 1_000_000

#: Typical time of a sample, so that device series are as long as real ones.
SAMPLE_NS = 50_000

#: What ORT's profiler reports about each node besides its time.
DETAILS = (
    "mem_in_use_bytes", "mem_in_use_delta_bytes", "mem_in_use_peak_bytes",
    "mem_requested_in_use_bytes", "mem_requested_in_use_delta_bytes", "mem_arena_held_bytes",
    "mem_arena_held_delta_bytes", "main_thread_run_ns", "main_thread_dispatch_ns",
    "main_thread_wait_ns",
)  # fmt: skip

#: Commands by name; A and B stand for two profiles, OUT for a new file.
COMMANDS = {
    "show": ("show", "A"),
    "show --json": ("show", "A", "--json"),
    "ops": ("ops", "A"),
    "ops --by kernel": ("ops", "A", "--by", "kernel"),
    "compare": ("compare", "A", "B"),
    "report": ("report", "A", "-o", "OUT.html"),
    "trace chrome": ("trace", "A", "-o", "OUT.json"),
    "trace perfetto": ("trace", "A", "-o", "OUT.pftrace"),
    "export --csv": ("export", "A", "--csv", "OUT.csv"),
}


class Cost(NamedTuple):
    """Cost of a command."""

    seconds: float
    peak_mb: float
    read_mb: float
    written_mb: float

    def __str__(self) -> str:
        return f"{self.seconds:6.2f} s {self.peak_mb:6,.0f} MB peak {self.read_mb:5,.0f} MB read"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--events", type=float, nargs="+", default=[0.1, 1, 10], help="millions (default 0.1 1 10)"
    )
    parser.add_argument("--folder", type=Path, help="make the profiles here and keep them")
    parser.add_argument("--only", nargs="+", choices=COMMANDS, help="commands (default: all)")
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        target, millions, seed = arguments.make
        make(Path(target), float(millions), int(seed))
        return
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        measure(arguments.folder, arguments.events, arguments.only or list(COMMANDS))
        return
    with tempfile.TemporaryDirectory(prefix="harness-scale-") as folder:
        measure(Path(folder), arguments.events, arguments.only or list(COMMANDS))


def measure(folder: Path, sizes: list[float], names: list[str]) -> None:
    costs: dict[tuple[str, float], Cost] = {}
    for millions in sizes:
        files = {}
        for seed, name in enumerate("AB"):
            files[name] = folder / f"{millions:g}-{name}.h5"
            if not files[name].exists():
                made = [__file__, "--make", str(files[name]), str(millions), str(seed)]
                subprocess.run([sys.executable, *made], check=True)
        stored = files["A"].stat().st_size
        print(f"{millions:g} million events: {stored / 1e6:,.1f} MB stored", flush=True)
        for name in names:
            costs[name, millions] = took(COMMANDS[name], files, folder)
            cost = costs[name, millions]
            print(f"  {name:16} {cost} {cost.written_mb:8,.2f} MB written", flush=True)
    if len(sizes) > 1:
        first, last = min(sizes), max(sizes)
        print(f"\nfrom {first:g} to {last:g} million events, {last / first:g} times as many:")
        for name in names:
            low, high = costs[name, first], costs[name, last]
            print(
                f"  {name:16} {high.seconds / low.seconds:5.1f} times the time, "
                f"{high.peak_mb / low.peak_mb:4.1f} times the memory"
            )


def took(command: tuple[str, ...], files: dict[str, Path], folder: Path) -> Cost:
    """Cost of one command, from its start to its end."""
    given = [str(files.get(word, word)) for word in command]
    out = next((folder / word for word in command if word.startswith("OUT")), None)
    given = [str(out) if word.startswith("OUT") else word for word in given]
    before = time.perf_counter()
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", *given], cwd=ROOT, stdout=printed, stderr=printed
        )
        # /proc has the counters of a finished process until it is waited for.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.perf_counter() - before
        io = Path(f"/proc/{process.pid}/io").read_text()
        told = dict(line.split(": ") for line in io.splitlines())
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(given)}: {(folder / 'printed').read_text()}")
    written = (folder / "printed").stat().st_size
    if out is not None:
        written = out.stat().st_size
        out.unlink()
    return Cost(seconds, usage.ru_maxrss / 1024, int(told["rchar"]) / 1e6, written / 1e6)


def make(target: Path, millions: float, seed: int) -> None:
    """Writes such a profile."""
    from harness.storage.profile_file import write_profile

    free = shutil.disk_usage(target.parent).free
    if free < 200 * millions * MILLION:
        sys.exit(f"{target.parent}: {free / 1e9:.1f} GB free are too few")
    write_profile(profile(round(millions * MILLION), seed), target)


def profile(events: int, seed: int) -> Profile:
    """A profile with this many node executions."""
    import numpy as np

    from harness.records import InputRecord, ModelRecord, NodeTable, Profile, Reading

    random = np.random.default_rng(seed)
    typical_ns = np.random.default_rng(7).lognormal(5.5, 1.0, NODES)
    each = events // PROCESSES
    starts_ns = 10**12 * (seed + 1) + np.arange(PROCESSES) * each * 4 * SAMPLE_NS
    whole = np.arange(NODES, dtype=np.int64)
    op_types = ("Conv", "Relu", "MatMul", "Add", "LayerNormalization", "Softmax")
    shape = '[{"float":[1,64,56,56]}]'
    nodes = NodeTable(
        name=tuple(f"/encoder/layer.{row // 20}/part.{row % 20}/node" for row in range(NODES)),
        op_type=tuple(op_types[row % len(op_types)] for row in range(NODES)),
        domain=("",) * NODES,
        provider=("CUDAExecutionProvider",) * NODES,
        order=whole,
        depth=np.zeros(NODES, np.int64),
        parent=np.full(NODES, -1, np.int64),
        branch=("",) * NODES,
        input_type_shape=(shape,) * NODES,
        output_type_shape=(shape,) * NODES,
        activation_bytes=np.full(NODES, 802_816),
        parameter_bytes=np.full(NODES, 4096),
        output_bytes=np.full(NODES, 802_816),
        carrier=whole,
        flops=np.full(NODES, 10**6),
        traffic_bytes=np.full(NODES, 10**5),
        arithmetic=("float32",) * NODES,
        sources=("",) * NODES,
    )
    probe_ns, ort_ns = (starts_ns + part * each * SAMPLE_NS for part in (2, 3))
    probes = [
        traced(random, "probe", index, int(start_ns), each // 2, typical_ns)
        for index, start_ns in enumerate(probe_ns)
    ]
    profiled = [
        traced(random, "ort", index, int(start_ns), each // 2, typical_ns * 1.3)
        for index, start_ns in enumerate(ort_ns)
    ]
    launched = [kernels(random, events) for events in profiled]
    return Profile(
        path=None,
        harness_version="0.1.0",
        created=f"2026-01-0{seed + 1}T00:00:00+00:00",
        complete=True,
        config='{"session": {"intra_threads": 1}}',
        model=ModelRecord("drawn", "drawn.onnx", "00" * 32, 1, "", 10, ("ai.onnx:21",), NODES, 1),
        provider="cuda",
        inputs=(InputRecord("x", "float32", (1, 3), "drawn", "00"),),
        output_check=Reading("largest_error", None, "1", "", "no data set was given"),
        environment=(
            Reading("ceiling_matmul_float32", 1e12, "1", "drawn"),
            Reading("ceiling_copy", 1e11, "bytes", "drawn"),
        ),
        processes=tuple(
            process(random, index, int(start_ns), each) for index, start_ns in enumerate(starts_ns)
        ),
        nodes=nodes,
        traces={"probe": joined(probes), "ort": joined(profiled)},
        absent=(),
        devices=devices(random, starts_ns, each),
        kernels=joined(launched),
    )


def process(random: Generator, index: int, start_ns: int, samples: int) -> ProcessRecord:
    import numpy as np

    from harness.records import LatencySeries, ProcessRecord, Reading

    level_ns = SAMPLE_NS * random.normal(1, 0.01)
    duration_ns = (level_ns * random.lognormal(0, 0.05, samples)).astype(np.int64)
    begin_ns = start_ns + np.cumsum(duration_ns + 40) - duration_ns
    warmup = LatencySeries(begin_ns[:100] - 10**9, duration_ns[:100] * 2)
    return ProcessRecord(
        index=index,
        pid=4000 + index,
        library_ns=18_000_000,
        session_ns=90_000_000,
        first_inference_ns=3_000_000,
        warmup=warmup,
        steady=LatencySeries(begin_ns, duration_ns),
        loops=20,
        noise=(Reading("wall_ns", int(duration_ns.sum()), "ns", "drawn"),
               Reading("steal_ns", 0, "ns", "drawn")),
        metadata={"mem_max_rss": 10**8 + index * 4096},
        log=(),
    )  # fmt: skip


def traced(
    random: Generator,
    source: str,
    process: int,
    start_ns: int,
    events: int,
    typical_ns: NDArray[np.float64],
) -> NodeEvents:
    """A traced pass of one process: all nodes in turn, one inference after the other."""
    import numpy as np

    from harness.records import NodeEvents

    inferences = events // NODES
    count = inferences * NODES
    step_ns = 1 if source == "probe" else 1000
    taken_ns = np.tile(typical_ns, inferences) * random.lognormal(0, 0.1, count)
    taken_ns = taken_ns.astype(np.int64) // step_ns * step_ns
    gap_ns = np.tile(np.append(5_000, np.full(NODES - 1, 100)), inferences)
    begin_ns = start_ns + np.cumsum(taken_ns + gap_ns) - taken_ns
    first = begin_ns[::NODES]
    last = (begin_ns + taken_ns)[NODES - 1 :: NODES]
    details = {"probe_cost_ns": random.integers(90, 110, count)}
    if source != "probe":
        details = {
            name: random.integers(0, 10_000, count) * (64 if "bytes" in name else 1000)
            for name in DETAILS
        }
    return NodeEvents(
        source=source,
        node=np.tile(np.arange(NODES, dtype=np.int32), inferences),
        process=np.full(count, process, np.int32),
        inference=np.repeat(np.arange(inferences, dtype=np.int32), NODES),
        start_ns=begin_ns,
        duration_ns=taken_ns,
        self_ns=taken_ns,
        details=details,
        inference_process=np.full(inferences, process, np.int32),
        inference_number=np.arange(inferences, dtype=np.int32),
        inference_start_ns=first - 2_000,
        inference_duration_ns=last - first + 4_000,
        inference_framework_ns=np.full(inferences, 4_000),
        dropped=0,
        resolution_ns=step_ns,
    )


def kernels(random: Generator, events: NodeEvents) -> KernelEvents:
    """A kernel for every fifth node execution, as long as that execution."""
    import numpy as np

    from harness.records import KernelEvents

    rows = np.arange(0, len(events), 5)
    count = len(rows)
    names = tuple(f"void gemm_{number}<float, 128, 64>(Params)" for number in range(NODES))
    return KernelEvents(
        kind=("kernel",) * count,
        name=tuple(names[row] for row in events.node[rows].tolist()),
        node=events.node[rows],
        process=events.process[rows],
        inference=events.inference[rows],
        start_ns=events.start_ns[rows] + 3_000,
        duration_ns=events.duration_ns[rows],
        launch_ns=events.start_ns[rows] + random.integers(0, 50, count),
        stream=np.full(count, 7, np.int32),
        grid=np.tile(np.array([8, 2, 1], np.int32), (count, 1)),
        block=np.tile(np.array([128, 1, 1], np.int32), (count, 1)),
        registers=np.full(count, 32, np.int32),
        shared_bytes=np.full(count, 1024),
        bytes=np.full(count, -1),
        unjoined_reason="",
        disagreements=0,
        dropped=0,
    )


def devices(
    random: Generator, starts_ns: NDArray[np.int64], samples: int
) -> tuple[DeviceSeries, ...]:
    """Six series, read a hundred times a second."""
    import numpy as np

    from harness.records import DeviceSeries

    count = max(samples * SAMPLE_NS // 10_000_000, 2)
    time_ns = (starts_ns[:, None] + np.arange(count) * 10_000_000).reshape(-1)
    process = np.repeat(np.arange(PROCESSES, dtype=np.int32), count)

    def series(device: str, quantity: str, unit: str, value: NDArray[Any]) -> DeviceSeries:
        changed = np.append(1, np.diff(value) != 0).astype(np.int8)
        value = value.astype(np.int64)
        return DeviceSeries(device, quantity, unit, "drawn", process, time_ns, value, changed)

    total = len(time_ns)
    power_mw = random.normal(60_000, 500, total)
    return (
        series("gpu0", "power_instant_mw", "mW", power_mw),
        series("gpu0", "energy_mj", "mJ", np.cumsum(power_mw * 0.01)),
        series("gpu0", "temperature_c", "C", np.full(total, 60)),
        series("gpu0", "clock_sm_hz", "Hz", np.full(total, 1_980_000_000)),
        series("host", "steal_ns", "ns", np.cumsum(random.random(total) > 0.999) * 10**7),
        series("cpu0", "frequency_hz", "Hz", random.normal(3.7e9, 1e6, total)),
    )


def joined(parts: list[Any]) -> Any:
    """The processes' events as the profile holds them."""
    from harness.storage import assembly

    if hasattr(parts[0], "source"):
        return assembly.merge_events(parts)
    return assembly.merge_kernels(parts)


if __name__ == "__main__":
    main()
