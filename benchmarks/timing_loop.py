"""What a timing loop adds to the inference that it times.

Four ways to repeat one inference are measured in one process, interleaved in short rounds:
the bare C call without any stamp, harness' timing loop, Python's run_with_iobinding and
Python's session.run. Added cost is the difference to the bare call of the same round.

    python benchmarks/timing_loop.py [--rounds N] [MODEL ...]

A difference that drowns in the scatter of the model's own latency is printed with its interval
and marked. Next to it is what can be measured directly at any latency: the time that one stamp
and two stores take right after an inference, whatever state it leaves the caches in.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from intervals import interval_of_median

from harness.config.inputs import InputRequest
from harness.inputs import choice
from harness.models import catalogue, file
from harness.native import ort
from harness.ort.library import ort_library

ROUND_S = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["mlp", "resnet50"])
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    library = ort.Library(str(ort_library()))
    print(f"ONNX Runtime {library.version}, one thread, {options.rounds} interleaved rounds\n")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            path = Path(name)
            if name in catalogue.REFERENCE_MODELS:
                path = Path(folder, f"{name}.onnx")
                catalogue.write(name, path)
            compare(library, name, path, options.rounds)


def compare(library: ort.Library, name: str, path: Path, rounds: int) -> None:
    """Prints the added costs for one model."""
    session = ort.Session(library, str(path), intra_threads=1)
    model = file.load(path)

    def attempt(candidate: choice.InputSet) -> list[object]:
        with contextlib.closing(session.bind(candidate.values)) as binding:
            binding.run()
            return binding.outputs()

    feeds = dict(choice.choose(model, InputRequest(), attempt)[0].values)
    binding = session.bind(feeds)

    python_options = onnxruntime.SessionOptions()
    python_options.intra_op_num_threads = 1
    python = onnxruntime.InferenceSession(
        str(path), python_options, providers=["CPUExecutionProvider"]
    )
    python_binding = python.io_binding()
    for key, value in feeds.items():
        python_binding.bind_cpu_input(key, value)
    for output in python.get_outputs():
        python_binding.bind_output(output.name)

    latency_ns = min(binding.run() for _ in range(5))
    count = max(1, int(ROUND_S * 1e9 / latency_ns))
    start_ns, duration_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)

    def ours() -> float:
        binding.time(start_ns, duration_ns)
        return float(start_ns[-1] + duration_ns[-1] - start_ns[0])

    def iobinding() -> float:
        started = time.perf_counter_ns()
        for _ in range(count):
            python.run_with_iobinding(python_binding)
        return time.perf_counter_ns() - started

    def session_run() -> float:
        started = time.perf_counter_ns()
        for _ in range(count):
            python.run(None, feeds)
        return time.perf_counter_ns() - started

    ways = {
        "bare C call": lambda: binding.repeat(count),
        "harness timing loop": ours,
        "run_with_iobinding": iobinding,
        "session.run": session_run,
    }
    for way in ways.values():
        way()
    rng = np.random.default_rng(0)
    taken = {label: np.zeros(rounds) for label in ways}
    for number in range(rounds):
        for label in rng.permutation(list(ways)):
            taken[label][number] = ways[label]() / count
    bare = taken["bare C call"]
    print(f"{name}: bare C call {np.median(bare):,.0f} ns, {count} inferences a round")
    added = {}
    for label in list(ways)[1:]:
        difference = taken[label] - bare
        added[label] = float(np.median(difference))
        low, high = interval_of_median(difference)
        # A negative cost is not real: two ORT cores differ by more, or the machine drifted.
        lost = "  (drowns in the model's own scatter)" if low <= 0 else ""
        print(f"  {label:20} adds {added[label]:10,.0f} ns  [{low:,.0f}, {high:,.0f}]{lost}")
    seen_ns = np.zeros(max(count, 50), np.int64)
    binding.stamp_cost(seen_ns)
    seen = float(np.median(seen_ns))
    print(f"  seen directly, a stamp and two stores behind an inference: {seen:.0f} ns (median)")
    if added["session.run"] > 0:
        ratio = added["session.run"] / max(added["harness timing loop"], 1.0)
        print(f"  session.run adds {ratio:,.0f} times what our loop adds")
    print()


if __name__ == "__main__":
    main()
