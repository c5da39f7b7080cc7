"""Reads a million events of ORT's profiler with harness and with json.load, and stores them.

    python benchmarks/ingest.py [--threads N] [--keep PROFILE.json]

The profile is a real one: ORT's profiler stays on while a chain of 100 small operators
executes until the profiler reaches its own limit of 1,000,000 events. Each reader gets a
fresh process that reports its time and its peak resident memory. Bytes per event are what HDF5
allocated for four columns in chunks of 65,536 with gzip=1 and shuffle, for this profile and for
one of SqueezeNet, whose operators take long enough to vary.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from harness.native import ort
    from harness.records import NodeEvents, NodeTable

CHAIN_NODES = 100
CHAIN_INFERENCES = 9_900  # 102 events each: just past the limit
SQUEEZENET_INFERENCES = 500
CHUNK = 65_536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="intra-op threads (default 1)")
    parser.add_argument("--keep", type=Path, help="leave the profile here")
    parser.add_argument("--child", choices=("harness", "json"), help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(read(arguments.child, *arguments.files)))
        return
    with tempfile.TemporaryDirectory(prefix="harness-ingest-") as folder:
        compare(Path(folder), arguments.threads)
        if arguments.keep:
            next(Path(folder).glob("chain_*.json")).replace(arguments.keep)


def compare(folder: Path, threads: int) -> None:
    library = open_library()
    renamed, profile = record_chain(library, folder, threads)
    size = profile.stat().st_size
    print(f"profile: {size / 1e6:.0f} MB, {threads} intra-op thread(s), ORT {library.version}")
    with profile.open("rb") as stream:  # both readers find it in the page cache
        while stream.read(1 << 20):
            pass
    results = {}
    for tool in ("harness", "json"):
        command = [sys.executable, __file__, "--child", tool, "--files", profile, renamed]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        results[tool] = json.loads(done.stdout)
        print(
            "{:8} {seconds:6.2f} s ({cpu_seconds:.2f} s of CPU), peak {peak_mb:5.0f} MB "
            "({start_mb:.0f} MB before), {events} events".format(tool, **results[tool])
        )
    print(
        f"ratio: {results['json']['seconds'] / results['harness']['seconds']:.1f} times faster, "
        f"{results['json']['peak_mb'] / results['harness']['peak_mb']:.1f} times less memory"
    )
    squeezenet = record_squeezenet(library, folder, threads)
    for name, (graph, trace) in {"chain": (renamed, profile), "squeezenet": squeezenet}.items():
        events = ort_events(trace, node_table(graph))
        for encoding, sizes in stored_bytes(events, folder).items():
            columns = ", ".join(f"{column} {size:.2f}" for column, size in sizes.items())
            print(
                f"{name} ({len(events)} events), {encoding}: "
                f"{sum(sizes.values()):.2f} bytes an event ({columns})"
            )


def open_library() -> ort.Library:
    from harness.native import ort

    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.origin is None:
        sys.exit("onnxruntime is not installed")
    return ort.Library(str(next((Path(found.origin).parent / "capi").glob("libonnxruntime.so.*"))))


def record_chain(library: ort.Library, folder: Path, threads: int) -> tuple[Path, Path]:
    import onnx
    from onnx import helper

    operators = [("Relu", ()), ("Neg", ()), ("Sigmoid", ()), ("MatMul", ("weight",))]
    nodes = []
    for number in range(CHAIN_NODES):
        op_type, more = operators[number % len(operators)]
        nodes.append(helper.make_node(op_type, [f"t{number}", *more], [f"t{number + 1}"]))
    tensor = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("t0", tensor, [1, 32])],
        [helper.make_tensor_value_info(f"t{CHAIN_NODES}", tensor, [1, 32])],
        [helper.make_tensor("weight", tensor, [32, 32], [0.01] * 1024)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "chain.onnx")
    return record(library, folder / "chain.onnx", folder, threads, CHAIN_INFERENCES)


def record_squeezenet(library: ort.Library, folder: Path, threads: int) -> tuple[Path, Path]:
    import onnx

    from harness.native import ort

    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    saved = folder / "squeezenet.onnx"
    ort.Session(
        library, str(light / "light_squeezenet.onnx"), optimized_model_path=str(saved)
    ).close()
    return record(library, saved, folder, threads, SQUEEZENET_INFERENCES)


def record(
    library: ort.Library, model: Path, folder: Path, threads: int, inferences: int
) -> tuple[Path, Path]:
    """Profiles a model as it is; returns its renamed form and the profile."""
    import numpy as np

    from harness.models import executed_graph
    from harness.native import ort

    graph = executed_graph.prepare(model, folder / f"{model.stem}-renamed.onnx")
    session = ort.Session(
        library,
        str(graph.path),
        optimization="disable",
        intra_threads=threads,
        profile_prefix=str(folder / model.stem),
    )
    inputs = {
        one.name: np.ones([int(n or 1) for n in one.shape or ()], np.float32)
        for one in session.inputs
    }
    binding = session.bind(inputs)
    for _ in range(inferences):
        binding.run()
    profile = Path(session.end_profiling())
    binding.close()
    session.close()
    return graph.path, profile


def read(tool: str, profile: Path, renamed: Path) -> dict[str, float]:
    """Cost of one reader, in a separate process."""
    nodes = node_table(renamed) if tool == "harness" else None
    start_mb = peak_mb()
    before, cpu_before = time.perf_counter(), time.process_time()
    if nodes is None:
        with profile.open() as stream:
            events = sum(event["cat"] == "Node" for event in json.load(stream))
    else:
        events = len(ort_events(profile, nodes))
    return {
        "seconds": time.perf_counter() - before,
        "cpu_seconds": time.process_time() - cpu_before,
        "peak_mb": peak_mb(),
        "start_mb": start_mb,
        "events": events,
    }


def node_table(renamed: Path) -> NodeTable:
    from harness.models import executed_graph
    from harness.tracing.ort_profiler import reader  # noqa: F401 - imports are not measured

    return executed_graph.prepare(renamed, renamed.with_suffix(".again.onnx")).nodes


def ort_events(profile: Path, nodes: NodeTable) -> NodeEvents:
    from harness.tracing.ort_profiler import reader

    return reader.read([reader.TraceFile(profile, 0)], nodes, process=0).events


def peak_mb() -> float:
    # Not getrusage: its ru_maxrss starts at the parent's size when it forked.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    sys.exit("/proc/self/status has no VmHWM")


def stored_bytes(events: NodeEvents, folder: Path) -> dict[str, dict[str, float]]:
    import h5py
    import numpy as np

    inference_start_ns = events.inference_start_ns[events.inference]
    plain = {
        "node": events.node,
        "inference": events.inference,
        "start": events.start_ns,
        "duration": events.duration_ns,
    }
    offset = plain | {
        "start": (events.start_ns - inference_start_ns).astype(np.int32),
        "duration": events.duration_ns.astype(np.int32),
    }
    sizes: dict[str, dict[str, float]] = {}
    with h5py.File(folder / "columns.h5", "w", libver=("v110", "v110")) as file:
        for encoding, columns in (("as recorded", plain), ("int32 after inference", offset)):
            sizes[encoding] = {}
            for name, values in columns.items():
                dataset = file.create_dataset(
                    f"{encoding}/{name}",
                    data=values,
                    chunks=(CHUNK,),
                    maxshape=(None,),
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                )
                sizes[encoding][name] = dataset.id.get_storage_size() / len(values)
    return sizes


if __name__ == "__main__":
    main()
