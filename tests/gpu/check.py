"""Proves on a machine with a GPU what the tests cannot prove without one.

    python tests/gpu/check.py [--out FOLDER] [--models NAME ...]

Profiles the reference models on CUDA and prints, for each: latency resident on the device, its
enqueue time and the latency with copies; host and kernel time of the longest operators, and how
long the GPU waited for them; the share of kernels joined to a node, and how many launches lie
outside of their node's interval; the accounts of the device with their residual; energy with its
verdict; what sampling cost. Before that: NVML's update periods, the provider's libraries, the
fallback gate. Writes the profiles and a small recording of CUPTI's raw records, which cut.py cuts
for the tests to replay.

Exit code 0 if all was measured, every kernel found its node and the accounts can be trusted, 1 if
not, 3 without a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from survey import survey

import harness
from harness.analysis import energy, gpu_work
from harness.analysis.device_time import device_time
from harness.analysis.gpu_work import KernelTable
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import HarnessError
from harness.machine.devices import nvml
from harness.models import catalogue
from harness.native import cupti, ort
from harness.ort import nvidia_libraries, providers
from harness.ort.library import ort_library
from harness.records import Profile
from harness.reporters.numbers import joules, nanoseconds
from harness.statistics.figures import Figure
from harness.tracing.kernels.recorder import KernelPass
from harness.tracing.sessions import open_saving, saved_graph

MODELS = ("resnet50", "bert-small", "mlp")
TOP = 8


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("profiles", "gpu-check"))
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    library = ort_library()
    ask = providers.by_name("cuda").state
    assert ask is not None
    state, remedy = ask(library)
    if state.value is None:
        print(f"no usable GPU: {state.reason} ({remedy})", file=sys.stderr)
        return 3
    options.out.mkdir(parents=True, exist_ok=True)
    device()
    good = True
    for name in options.models:
        try:
            good &= check(name, options.out)
        except HarnessError as error:
            print(f"{name}: FAILED: {error.message} ({error.remedy})")
            good = False
    record(library, options.out / "cupti-records.npz")
    print("\nall measured, every kernel joined" if good else "\nsomething is missing, see above")
    return 0 if good else 1


def device() -> None:
    """The GPU and how often its meters are updated."""
    for gpu in nvml.gpus().found:
        named = {fact.name.partition("_")[2]: fact.value for fact in gpu.facts}
        print(f"gpu{gpu.index}: {named['name']}, {named['uuid']}, driver {nvml.gpus().driver}")
        surveyed = survey(gpu.index, seconds=2)
        for quantity, period in surveyed.update_period_ns.items():
            print(f"  {quantity:26} updated every {nanoseconds(period) if period else '?'}")
        for quantity, cost_ns in surveyed.cost_ns.items():
            print(f"  {quantity}: a call takes {cost_ns / 1000:,.1f} µs")
        for what, why in surveyed.absent:
            print(f"  {what}: absent: {why}")
    for reading in nvidia_libraries.readings():
        print(f"  {reading.name}: {reading.value or 'absent: ' + reading.reason}")


def check(name: str, out: Path) -> bool:
    """Profiles one model on CUDA and prints what was found."""
    measured = harness.profile(
        ProfileConfig(
            model=name,
            session=SessionConfig(provider="cuda"),
            processes=3,
            energy=True,
            output=out / f"{name}.h5",
            force=True,
        )
    )
    print(f"\n{name} on CUDA: {measured.path}")
    latencies(measured)
    for fact in measured.environment:
        if fact.name.startswith(("placement", "added_copies", "gpu_used", "precision")):
            print(f"  {fact.name}: {fact.value}")
        if fact.name.startswith("ceiling_device_"):
            told = fact.reason if fact.value is None else f"{fact.value:.4g} {fact.unit}"
            print(f"  {fact.name}: {told}")
    for what, why in measured.absent:
        print(f"  absent: {what}: {why}")
    table = operator_table(measured)
    if isinstance(table, OperatorTable):
        print(f"  {'operator':30} {'host':>10} {'kernels':>10} {'idle':>10} {'launches':>8}")
        for row in table.operators[:TOP]:
            kernel = "?" if row.kernel_ns is None else nanoseconds(row.kernel_ns)
            idle = "?" if row.idle_ns is None else nanoseconds(row.idle_ns)
            launches = "?" if row.launches is None else f"{row.launches:.3g}"
            label = f"{row.op_type} {row.node}"[:30]
            host = nanoseconds(row.median_ns)
            print(f"  {label:30} {host:>10} {kernel:>10} {idle:>10} {launches:>8}")
    work = gpu_work.kernel_table(measured)
    for one in energy.energy(measured):
        cost = one.joules.reason if one.joules.value is None else joules(one.joules.value)
        print(f"  energy {one.device}: {cost}, {one.verdict}: {'; '.join(one.causes)}")
    sampler(measured)
    if not isinstance(work, KernelTable):
        print(f"  no kernels: {work.reason}")
        return False
    print(
        f"  joined to a node {work.joined:.2%} {work.unjoined_reason}; {work.disagreements} "
        f"disagreements, {work.dropped} records lost"
    )
    return device_accounts(measured) and work.joined == 1 and work.disagreements == 0


def device_accounts(measured: Profile) -> bool:
    """Where the time of an inference goes on the device; whether that can be trusted."""
    told = device_time(measured)
    if isinstance(told, Figure):
        print(f"  no device accounts: {told.reason}")
        return False
    accounts = told.accounts
    parts = ", ".join(
        f"{part} {nanoseconds(getattr(accounts, f'{part}_ns'))}"
        for part in ("before", "busy", "idle", "after", "recorder", "told")
    )
    residual = "?" if accounts.residual is None else f"{accounts.residual:+.2%}"
    print(f"  device: {parts}; residual {residual} {accounts.doubt}")
    return not accounts.doubt


def latencies(measured: Profile) -> None:
    """Each kind of time, labelled."""
    for process in measured.processes:
        resident, enqueue, copied = (
            nanoseconds(float(np.median(values)))
            for values in (
                process.steady.duration_ns, process.enqueue_ns, process.copied.duration_ns
            )
        )  # fmt: skip
        print(
            f"  process {process.index}: {resident} ({process.duration_holds}), "
            f"enqueue {enqueue}, with copies {copied}"
        )


def sampler(measured: Profile) -> None:
    """What sampling cost."""
    for series in measured.devices:
        if series.quantity == "cpu_time_ns":
            print(f"  {series.device}: {nanoseconds(float(series.value.mean()))} of CPU a process")
        if series.quantity == "lateness_ns" and len(series):
            late = np.percentile(series.value, [50, 99])
            print(f"  {series.device}: late by {late[0] / 1e3:.0f} µs, p99 {late[1] / 1e3:.0f} µs")


def record(library: Path, target: Path) -> None:
    """A few inferences of the MLP as CUPTI recorded them, for tests to replay."""
    opened = ort.Library(str(library))
    config = SessionConfig(provider="cuda")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalogue.write("mlp", folder / "mlp.onnx")
        open_saving(opened, folder / "mlp.onnx", config, folder).close()
        graph = saved_graph(folder)
        inputs = {"input": np.zeros((1, 64), np.float32)}
        try:
            with contextlib.closing(
                KernelPass(opened, config, graph, inputs, folder)
            ) as kernel_pass:
                marks, recording = kernel_pass.capture(3, len(graph.nodes))
        except (HarnessError, ValueError) as error:
            print(f"no recording: {error}")
            return
    work = cupti.decode((one.data, one.offsets.tolist()) for one in recording.buffers).work
    names = cupti.names_at(work["name"].tolist())
    np.savez_compressed(
        target,
        **{
            f"data_{n}": np.frombuffer(one.data, np.uint8)
            for n, one in enumerate(recording.buffers)
        },
        **{f"offsets_{n}": one.offsets for n, one in enumerate(recording.buffers)},
        marks=marks.mark,
        first_id=marks.first_id,
        offset_ns=recording.offset_ns,
        addresses=np.array(list(names), np.uint64),
        names=np.array(list(names.values())),
    )
    print(f"raw records: {target}")


if __name__ == "__main__":
    sys.exit(main())
