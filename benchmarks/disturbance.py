"""What tracing costs: each model clean, with probes, and under ORT's profiler.

Clean and probed inferences alternate in blocks of a millisecond. It prints what probes add to an
inference and to a node, with twice the standard error; if the model's own scatter hides that, it
says so. Next to it is the calibrated cost of a probe. Interleaved rounds in the same process then
give what ORT's profiler adds, the residual of the accounts (nodes + framework against the clean
latency), and the share of the nodes' time in nodes with their own probe.

    python benchmarks/disturbance.py [--rounds N] [--threads N] [MODEL|FOLDER ...]

Without a model: all reference models and the light models of the onnx package.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
from side_by_side import Contestants

from harness.config.inputs import InputRequest
from harness.config.session import SessionConfig
from harness.errors import HarnessError
from harness.inputs import choice
from harness.models import catalogue
from harness.models.file import load
from harness.native import ort
from harness.ort.library import ort_library
from harness.ort.session import open_session

ROUND_S = 0.15
PAIRS_S = 6.0
BLOCK_S = 0.001


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    library = ort.Library(str(ort_library()))
    print(
        f"ONNX Runtime {library.version}, {options.threads} thread(s), {options.rounds} "
        f"interleaved rounds\n{'model':22} {'nodes':>5} {'clean':>10} {'probes':>15} "
        f"{'a node':>15} {'calibrated':>10} {'ORT prof.':>9} {'residual':>9} {'own probe':>9}"
    )
    counts = {"kept": 0, "unclear": 0, "share": 0, "residual": 0, "coverage": 0}
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, path in _models(options.models, Path(folder)):
            try:
                good = compare(library, name, path, options.rounds, options.threads)
            except (HarnessError, ort.OrtError, ValueError) as error:
                print(f"{name:22} not measured: {' '.join(str(error).split())}")
                continue
            total += 1
            for key in counts:
                counts[key] += good[key]
            if path.parent == Path(folder):
                path.unlink()
    print(
        f"\nof {total} models: {counts['kept']} within 200 ns a node, {counts['unclear']} where "
        f"the model's own scatter hides it; {counts['share']} within 5 % or with nodes below 5 µs; "
        f"{counts['residual']} with a residual within 5 %; "
        f"{counts['coverage']} with at least 99 % of the time in nodes with a probe of their own"
    )


def _models(given: list[Path], folder: Path):
    if given:
        for path in given:
            found = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
            for file in found:
                yield (file.stem if file.stem != "model" else file.parent.name), file
        return
    for name in catalogue.REFERENCE_MODELS:
        path = folder / f"{name}.onnx"
        catalogue.write(name, path)
        yield name, path
    package = importlib.util.find_spec("onnx")
    assert package is not None
    assert package.submodule_search_locations
    light = Path(package.submodule_search_locations[0], "backend", "test", "data", "light")
    for file in sorted(light.glob("*.onnx")):
        yield file.stem, file


def compare(
    library: ort.Library, name: str, path: Path, rounds: int, threads: int
) -> dict[str, bool]:
    """Prints one line; returns which of the bounds hold."""
    config = SessionConfig(intra_threads=threads)
    session = open_session(library, path, config)

    def attempt(candidate: choice.InputSet) -> list[object]:
        with contextlib.closing(session.bind(candidate.values)) as binding:
            binding.run()
            return binding.outputs()

    feeds = dict(choice.choose(load(path), InputRequest(), attempt)[0].values)
    session.close()
    with tempfile.TemporaryDirectory() as folder:
        contestants = Contestants(library, path, feeds, Path(folder), config)
        latency = min(contestants.clean.run() for _ in range(5))
        count = int(min(max(3, ROUND_S * 1e9 / latency), 300))
        block = max(1, round(BLOCK_S * 1e9 / latency))
        added, error = contestants.added(int(max(50, PAIRS_S * 1e9 / latency / block / 2)), block)
        clean, probed, profiled = [], [], []
        for _ in range(rounds):
            clean.append(contestants.time(count))
            probed.append(contestants.probe(count))
            profiled.append(contestants.profile(max(2, min(count // 4, 5))))
        contestants.close()
    nodes = int(np.count_nonzero(contestants.nodes.order >= 0))
    base = np.array(clean)
    # Each round against its own clean pass: the machine drifts between rounds.
    tax = float(np.median([one.latency_ns for one in profiled] / base)) - 1
    residual = float(np.median([one.accounted_ns for one in probed] / base)) - 1
    own = float(np.median([one.own_share for one in probed]))
    clean_ns = float(np.median(base))
    cost = float(np.median([one.cost_ns for one in probed]))
    share, each, error = added / clean_ns, added / nodes, error / nodes
    print(
        f"{name[:22]:22} {nodes:5} {clean_ns / 1e3:7,.1f} µs {added / 1e3:+8.1f} {share:+6.1%} "
        f"{each:5.0f} ±{error:5.0f} ns {cost:7.0f} ns {tax:+9.0%} {residual:+9.1%} {own:9.2%}"
    )
    return {
        "kept": each + error <= 200,
        "unclear": each - error <= 200 < each + error,
        "share": clean_ns / nodes < 5000 or share <= 0.05,
        "residual": abs(residual) <= 0.05,
        "coverage": own >= 0.99,
    }


if __name__ == "__main__":
    main()
