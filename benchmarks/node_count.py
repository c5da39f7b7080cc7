"""What a profile costs of models that differ in nothing but the number of their nodes.

    python benchmarks/node_count.py [NODES ...] [--prepared NODES ...]

A model is a chain of small operators (Sin and Cos of four numbers). Of each the table has

* session: seconds that ONNX Runtime takes to create a session of it, in a process of its own;
* prepared: seconds that the preparation of a profile takes, in a process of its own;
* profile: seconds of ``harness profile --quick --processes 1``, from start to end;
* peak: resident memory of the largest of its processes, in MB;
* residual: by how much the operator times and the framework miss the timed pass.

Models after ``--prepared`` are prepared and not profiled; their peak is that of the preparation.
In brackets is the CPU time of the same: on a busy machine only that can be compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

PROFILED = (1_500, 3_000, 6_000, 12_000)
PREPARED = (25_000, 50_000, 100_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nodes", nargs="*", type=int, default=PROFILED)
    parser.add_argument("--prepared", nargs="*", type=int, default=PREPARED)
    parser.add_argument("--child", choices=("session", "prepare"), help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured(arguments.child, arguments.model)))
        return
    heads = (f"{head:>14}" for head in ("session", "prepared", "profile"))
    print(f"{'nodes':>8}{''.join(heads)}  {'peak':>7}  residual")
    with tempfile.TemporaryDirectory(prefix="harness-nodes-") as folder:
        for nodes in (*arguments.nodes, *arguments.prepared):
            model = chain(Path(folder) / f"chain-{nodes}.onnx", nodes)
            *session_s, _ = child("session", model)
            *prepared_s, peak_mb = child("prepare", model)
            row = f"{nodes:8,}{told(*session_s)}{told(*prepared_s)}"
            if nodes in arguments.nodes:
                *profile_s, peak_mb, residual = profiled(model)
                row += f"{told(*profile_s)}  {peak_mb:4.0f} MB  {residual:+.1%}"
            else:
                row += f"{'':14}  {peak_mb:4.0f} MB"
            print(row, flush=True)


def told(wall_s: float, cpu_s: float) -> str:
    return f"{f'{wall_s:.1f} ({cpu_s:.1f})':>14}"


def chain(path: Path, nodes: int) -> Path:
    """A chain of so many nodes, a hundred in each layer."""
    import onnx
    from onnx import TensorProto, helper

    names = ["x", *(f"t{number}" for number in range(nodes))]
    graph = helper.make_graph(
        [
            helper.make_node(
                ("Sin", "Cos")[number % 2], [one], [other], name=f"/{number // 100}/{number}"
            )
            for number, (one, other) in enumerate(itertools.pairwise(names))
        ],
        "chain",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, ["n", 4])],
    )
    imports = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=imports), path)
    return path


def child(what: str, model: Path) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak memory in MB) of one measurement in a fresh process."""
    command = [sys.executable, __file__, "--child", what, "--model", str(model)]
    wall_s, cpu_s, peak_mb = json.loads(subprocess.check_output(command, text=True))
    return wall_s, cpu_s, peak_mb


def measured(what: str, model: Path) -> tuple[float, float, float]:
    """What ``child`` gives, of a session or of a preparation in this process."""
    import gc

    from harness.config.profile import ProfileConfig
    from harness.config.session import SessionConfig
    from harness.measuring import prepared
    from harness.measuring.handover import Job
    from harness.measuring.preparation import prepare
    from harness.measuring.worker import COLLECTED_EVERY
    from harness.ort.library import ort_library
    from harness.ort.session import open_library, open_session

    session = SessionConfig()
    library = open_library(ort_library(), session)
    folder = model.parent / f"{model.stem}-{what}"
    folder.mkdir()
    began_s, cpu_s = time.monotonic(), time.process_time()
    if what == "session":
        open_session(library, model, session)
    else:
        gc.set_threshold(COLLECTED_EVERY)
        cpus = tuple(sorted(os.sched_getaffinity(0)))
        config = ProfileConfig(str(model), session, quick=True, processes=1)
        job = Job(config, Path(ort_library()), model, model.stem, folder, folder, cpus)
        prepared.write(job, prepare(job))
    wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    return wall_s, cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def profiled(model: Path) -> tuple[float, float, float, float]:
    """(wall seconds, CPU seconds, peak memory of the largest process in MB, residual)."""
    output = model.with_suffix(".h5")
    options = ("--quick", "--processes", "1", "--quiet", "--output", str(output))
    command = [sys.executable, "-m", "harness", "profile", str(model), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    began_s = time.monotonic()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began_s
    if status:
        raise SystemExit(f"{model.name}: the profile ended with {status}")
    command = [sys.executable, "-m", "harness", "ops", str(output), "--json"]
    report = json.loads(subprocess.check_output(command, text=True))
    cpu_s = usage.ru_utime + usage.ru_stime
    return seconds, cpu_s, usage.ru_maxrss / 1e3, report["accounts"]["residual"]


if __name__ == "__main__":
    main()
