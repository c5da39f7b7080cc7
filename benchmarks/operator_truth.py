"""Whose operator times are true: the probes' or those of ORT's built-in profiler?

The true time of an operator can be found without any tracer: a chain of N equal operators takes N
times as long, so the slope of the clean latency over N is one operator. Chains of several
operators and sizes are measured clean at several N, and one chain of each with probes and with
ORT's profiler, all interleaved in rounds of one process. The speed of a shared machine may double
or halve in between, so each round is compared with its own truth, and the error is the median
over the rounds, with its interval.

Chains of equal operators cannot tell whether time is told of the wrong one. So there are mixed
ones, too: a MatMul and four Sqrt, again and again. The true time of the MatMul is the slope of
chains of MatMuls; what the first Sqrt behind it adds is the slope of MatMul + Sqrt less that; and
each further Sqrt a third of what three more add. What a MatMul leaves behind in the caches slows
whatever comes next, a probe where there is one: between it and the first Sqrt the truth is
divided by convention, so that both together are a line of their own.

    python benchmarks/operator_truth.py [--rounds N]
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from side_by_side import Contestants

from harness.config.session import SessionConfig
from harness.native import ort
from harness.ort.library import ort_library

LENGTHS = (25, 50, 100, 200, 400)
TRACED_LENGTH = 100
ROUND_S = 0.01
CONFIG = SessionConfig(intra_threads=1, entries={"session.disable_prepacking": "1"})


#: Mixed chains: widths of their MatMul (512 fill a cache of 1 MiB), and blocks, of a MatMul and as
#: many Sqrt.
WIDTHS = (64, 256, 512)
BLOCKS, SMALL = 20, 4


def relu_like(op_type: str) -> Callable[[int, str, str], tuple[onnx.NodeProto, list]]:
    def make(_: int, x: str, y: str) -> tuple[onnx.NodeProto, list]:
        return helper.make_node(op_type, [x], [y]), []

    return make


def weighted(op_type: str, shape: tuple[int, ...], **attributes: object):
    # One weight for all, without a packed copy each: a longer chain must not need more cache.
    def make(number: int, x: str, y: str) -> tuple[onnx.NodeProto, list]:
        rng = np.random.default_rng(0)
        fan_in = int(np.prod(shape[1:])) if op_type == "Conv" else shape[0]
        values = (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
        node = helper.make_node(op_type, [x, "w"], [y], **attributes)
        return node, [] if number else [numpy_helper.from_array(values, "w")]

    return make


CHAINS = (
    ("Sigmoid 64", relu_like("Sigmoid"), (1, 64)),
    ("Sigmoid 16384", relu_like("Sigmoid"), (1, 16384)),
    ("Sqrt 64", relu_like("Sqrt"), (1, 64)),
    ("Transpose 64x64", relu_like("Transpose"), (64, 64)),
    ("Softmax 128x64", relu_like("Softmax"), (128, 64)),
    ("MatMul 1x64", weighted("MatMul", (64, 64)), (1, 64)),
    ("MatMul 32x256", weighted("MatMul", (256, 256)), (32, 256)),
    ("Conv 16x28x28", weighted("Conv", (16, 16, 3, 3), pads=[1, 1, 1, 1]), (1, 16, 28, 28)),
)


def chain(make: Callable, shape: tuple[int, ...], length: int) -> onnx.ModelProto:
    """Model of a chain of equal operators."""
    nodes, weights = [], []
    for number in range(length):
        node, more = make(number, f"t{number}", f"t{number + 1}")
        nodes.append(node)
        weights += more
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"t{length}", TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    library = ort.Library(str(ort_library()))
    print(f"ONNX Runtime {library.version}, one thread, {options.rounds} interleaved rounds")
    print("operators' weights are not packed (session.disable_prepacking), one copy for a chain")
    print(f"{'chain':16} {'true':>9} {'probes':>9} {'error':>14} {'95 % interval':>18} "
          f"{'ORT prof.':>10} {'error':>8} {'sum/clean':>9}")  # fmt: skip
    passed = 0
    for name, make, shape in CHAINS:
        passed += compare(library, name, make, shape, options.rounds)
    print(f"\n{passed} of {len(CHAINS)} chains: probes within 10 % or 30 ns of the truth, and "
          "nodes + framework within 5 % of the clean latency\n")  # fmt: skip
    for width in WIDTHS:
        compare_mixed(library, width, options.rounds)


def mixed(width: int, blocks: int, small: int) -> onnx.ModelProto:
    """Model of so many MatMuls, with so many Sqrt behind each."""
    big, plain = weighted("MatMul", (width, width)), relu_like("Sqrt")
    makes = [big, *[plain] * small] * blocks
    made = [make(n, f"t{n}", f"t{n + 1}") for n, make in enumerate(makes)]
    graph = helper.make_graph(
        [node for node, _ in made],
        "mixed",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, (1, width))],
        [helper.make_tensor_value_info(f"t{len(made)}", TensorProto.FLOAT, None)],
        [weight for _, weights in made for weight in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def compare_mixed(library: ort.Library, width: int, rounds: int) -> None:
    """Prints a line for the large operator, the first small one behind it, and the later ones."""
    feeds = {"t0": np.ones((1, width), np.float32)}
    clean = {}
    for blocks, small in itertools.product((BLOCKS, 2 * BLOCKS), (0, 1, SMALL)):
        content = mixed(width, blocks, small).SerializeToString()
        session = ort.Session(library, content, intra_threads=1, entries=CONFIG.entries)
        clean[blocks, small] = session.bind(feeds)
    names = ("MatMul", "first Sqrt", "both", "later Sqrt")
    true: list[tuple[float, ...]] = []
    told: list[tuple[float, ...]] = []
    closed = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mixed.onnx")
        path.write_bytes(mixed(width, BLOCKS, SMALL).SerializeToString())
        contestants = Contestants(library, path, feeds, Path(folder), CONFIG)
        for _ in range(rounds):
            latency = {}
            for one, binding in clean.items():
                count = max(5, int(ROUND_S * 1e9 / binding.run()))
                start, duration = np.zeros(count, np.int64), np.zeros(count, np.int64)
                binding.time(start, duration)
                latency[one] = float(np.median(duration))
            big, two, block = (
                (latency[2 * BLOCKS, small] - latency[BLOCKS, small]) / BLOCKS
                for small in (0, 1, SMALL)
            )
            true.append((big, two - big, two, (block - two) / (SMALL - 1)))
            inferences = max(8, int(ROUND_S * 1e9 / latency[BLOCKS, SMALL]))
            medians, accounted_ns = contestants.node_times(inferences)
            table = np.array(medians).reshape(BLOCKS, 1 + SMALL)
            big, first, *later = np.median(table[1:], axis=0)  # before the first block is none
            told.append((big, first, big + first, float(np.mean(later))))
            closed.append(accounted_ns / latency[BLOCKS, SMALL] - 1)
        contestants.close()
    truth, probes = np.median(true, axis=0), np.median(told, axis=0)
    errors = np.median(np.array(told) - true, axis=0)
    for name, right, ours, error in zip(names, truth, probes, errors, strict=True):
        missed = abs(error) > max(0.10 * right, 30)
        print(
            f"{width:4} {name:11} {right:6,.0f} ns {ours:6,.0f} ns {error:+5.0f} ns "
            f"{error / right:+4.0%}{'  MISSED' if missed else ''}"
        )
    print(f"{width:4} sum/clean {np.median(closed):+.1%}")


def compare(
    library: ort.Library, name: str, make: Callable, shape: tuple[int, ...], rounds: int
) -> bool:
    """Prints one line; returns whether the probes are within their bounds."""
    rng = np.random.default_rng(0)
    feeds = {"t0": rng.random(shape, dtype=np.float32)}
    clean = {}
    for length in LENGTHS:
        content = chain(make, shape, length).SerializeToString()
        session = ort.Session(library, content, intra_threads=1, entries=CONFIG.entries)
        clean[length] = session.bind(feeds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "chain.onnx")
        path.write_bytes(chain(make, shape, TRACED_LENGTH).SerializeToString())
        contestants = Contestants(library, path, feeds, Path(folder), CONFIG)
        slopes, probed, profiled, closed = [], [], [], []
        for _ in range(rounds):
            latency = {}
            for length in rng.permutation(LENGTHS).tolist():
                binding = clean[length]
                count = max(5, int(ROUND_S * 1e9 / binding.run()))
                start, duration = np.zeros(count, np.int64), np.zeros(count, np.int64)
                binding.time(start, duration)
                latency[length] = float(np.median(duration))
            slope, _ = np.polyfit(LENGTHS, [latency[length] for length in LENGTHS], 1)
            slopes.append(slope)
            count = max(4, int(ROUND_S * 1e9 / latency[TRACED_LENGTH]))
            probe = contestants.probe(count)
            probed.append(probe.node_ns)
            closed.append(probe.accounted_ns / latency[TRACED_LENGTH])
            profiled.append(contestants.profile(2).node_ns)
        contestants.close()
    true, ours, theirs = (float(np.median(values)) for values in (slopes, probed, profiled))
    errors = np.sort(np.array(probed) - slopes)
    error = float(np.median(errors))
    # Order statistics: the binomial interval of a median (David & Nagaraja, section 7.1).
    outside = int(max(0, np.floor(rounds / 2 - 0.98 * np.sqrt(rounds))))
    low, high = errors[outside], errors[-1 - outside]
    total = float(np.median(closed)) - 1
    ok = abs(error) <= max(0.10 * true, 30) and abs(total) <= 0.05
    print(
        f"{name:16} {true:6,.0f} ns {ours:6,.0f} ns {error:+5.0f} ns {error / true:+4.0%} "
        f"{low:+8,.0f} to {high:+6,.0f} {theirs:7,.0f} ns {theirs / true - 1:+8.0%} {total:+9.1%}"
        f"{'' if ok else '  MISSED'}"
    )
    return ok


if __name__ == "__main__":
    main()
