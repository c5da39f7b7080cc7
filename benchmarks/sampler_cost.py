"""What sampling the devices costs: the inference, the CPU, and other Python threads.

A model is timed without a sampler and with one at several rates, interleaved in short rounds
in one process; each difference is relative to the same round without a sampler. Then a Python
thread spins with and without a sampler: a sampler that held the GIL would slow it down.

    python benchmarks/sampler_cost.py [--rounds N] [--gpu N | --priced] [MODEL ...]

With --priced, the test double of NVML stands in for a GPU, and each of its calls takes the CPU time
that it took on an H200. Then take long rounds (--round-s 5): each begins and ends with a reading of
the costly energy counter, as a timed pass does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from intervals import interval_of_median

from harness.config.inputs import InputRequest
from harness.inputs import choice
from harness.machine.devices.sampling import DeviceSampler
from harness.models import catalogue, file
from harness.native import ort
from harness.ort.library import ort_library

RATES_HZ = (10, 100, 1000)
SPIN_S = 0.2


class Cost:
    """Cost of the sampling threads at one rate, over all rounds."""

    def __init__(self) -> None:
        self.cpu_ns = 0
        self.ticks = 0
        self.missed = 0
        self.lateness_ns: list[np.ndarray] = []
        self.shares: dict[str, list[float]] = {}

    @contextlib.contextmanager
    def sampling(self, hz: float, gpu: int | None, nvml_library: str | None):
        """Samples while the block runs, and adds the cost."""
        sampler = DeviceSampler(
            hz, gpu, os.sched_getaffinity(0), nvml_library=nvml_library, seconds=30
        )
        sampler.start()
        try:
            yield
        finally:
            for series in sampler.stop(0)[0]:
                if series.quantity == "lateness_ns":
                    self.lateness_ns.append(series.value)
                    self.ticks += len(series)
                elif series.quantity == "cpu_time_ns":
                    self.cpu_ns += int(series.value[0])
                elif series.quantity == "missed_ticks":
                    self.missed += int(series.value[0])
                elif series.quantity == "cpu_share_ppm":
                    self.shares.setdefault(series.device, []).append(series.value[0] / 1e6)

    def __str__(self) -> str:
        late = np.percentile(np.concatenate(self.lateness_ns), [50, 90, 99]) / 1000
        return (
            f"{self.cpu_ns / self.ticks / 1000:6.1f} µs CPU a tick, lateness p50 {late[0]:.0f} "
            f"p90 {late[1]:.0f} p99 {late[2]:.0f} µs, {self.missed} of "
            f"{self.ticks + self.missed} ticks missed; share of a core: "
            + ", ".join(f"{name} {np.median(each):.2%}" for name, each in self.shares.items())
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["mlp", "resnet50"])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--round-s", type=float, default=0.2, help="length of one measurement")
    parser.add_argument("--gpu", type=int, help="sample this GPU of NVML as well")
    parser.add_argument("--priced", action="store_true", help="a double of NVML at real prices")
    options = parser.parse_args()
    options.nvml_library = None
    if options.priced:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from tests.doubles import NvmlDouble, build_nvml

        double = NvmlDouble(build_nvml())
        double.price(on=True)
        options.gpu, options.nvml_library = 0, double.path
    library = ort.Library(str(ort_library()))
    print(
        f"ONNX Runtime {library.version}, one thread, {len(os.sched_getaffinity(0))} CPUs, "
        f"{options.rounds} interleaved rounds\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            path = Path(name)
            if name in catalogue.REFERENCE_MODELS:
                path = Path(folder, f"{name}.onnx")
                catalogue.write(name, path)
            compare(library, name, path, options)
    spin(options)


def compare(library: ort.Library, name: str, path: Path, options: argparse.Namespace) -> None:
    """Prints what sampling adds to one model."""
    with contextlib.closing(ort.Session(library, str(path), intra_threads=1)) as session:

        def attempt(candidate: choice.InputSet) -> list[object]:
            with contextlib.closing(session.bind(candidate.values)) as binding:
                binding.run()
                return binding.outputs()

        model = file.load(path)
        feeds = dict(choice.choose(model, InputRequest(), attempt)[0].values)
        with contextlib.closing(session.bind(feeds)) as binding:
            latency_ns = min(binding.run() for _ in range(5))
            count = max(3, int(options.round_s * 1e9 / latency_ns))
            start_ns, duration_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)

            def time_round() -> tuple[float, float]:
                binding.time(start_ns, duration_ns)
                return float(np.median(duration_ns)), float(np.mean(duration_ns))

            off, taken, costs = measure(time_round, options)
    print(f"{name}: median {np.median(off[:, 0]):,.0f} ns without, {count} inferences a round")
    for hz in RATES_HZ:
        print(f"  {hz:4} Hz {costs[hz]}")
        for column, what in enumerate(("median", "mean")):
            difference = taken[hz][:, column] - off[:, column]
            low, high = interval_of_median(difference)
            verdict = "inside the noise" if low <= 0 <= high else "outside the noise"
            share = 100 * np.median(difference) / np.median(off[:, column])
            print(
                f"          {what:6} {np.median(difference):+10,.0f} ns [{low:+,.0f}, {high:+,.0f}]"
                f" {share:+.2f} %, {verdict}"
            )
    print()


def measure(time_round, options: argparse.Namespace):
    """(median, mean) of each round without a sampler and with one, in random order."""
    rng = np.random.default_rng(0)
    costs = {hz: Cost() for hz in RATES_HZ}
    taken = {hz: np.zeros((options.rounds, 2)) for hz in (0, *RATES_HZ)}
    time_round()
    for number in range(options.rounds):
        for hz in rng.permutation(list(taken)):
            sampling = (
                costs[hz].sampling(float(hz), options.gpu, options.nvml_library)
                if hz
                else contextlib.nullcontext()
            )
            with sampling:
                taken[hz][number] = time_round()
    return taken.pop(0), taken, costs


def spin(options: argparse.Namespace) -> None:
    """Prints the progress of a spinning Python thread with a sampler, relative to without."""
    count = 0
    done = False

    def work() -> None:
        nonlocal count
        while not done:
            count += 1

    def progress() -> int:
        before = count
        time.sleep(SPIN_S)
        return count - before

    spinner = threading.Thread(target=work)
    spinner.start()
    ratios = {hz: np.zeros(options.rounds) for hz in RATES_HZ}
    for number in range(options.rounds):
        for hz in RATES_HZ:
            alone = progress()
            with Cost().sampling(hz, options.gpu, options.nvml_library):
                ratios[hz][number] = progress() / alone
    done = True
    spinner.join()
    print("a Python thread that spins, its progress with a sampler against without:")
    for hz, ratio in ratios.items():
        low, high = interval_of_median(ratio)
        print(f"  {hz:4} Hz {np.median(ratio):.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
