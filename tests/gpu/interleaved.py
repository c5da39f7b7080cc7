"""All passes of one model by turns in one process: what they say can be held against each other.

    python tests/gpu/interleaved.py MODEL BATCH FOLDER

The processes of a profile make one pass after the other, and the machine may change in between.
Here each round makes all of them, between pieces of the timed pass: latencies, probes, kernels,
times of the device, and the same with a captured CUDA graph. In the profiles that it leaves,
MODEL-bN.h5 and MODEL-bN-graph.h5, a round stands for a process. MODEL-bN.json holds what profiles
do not.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from harness.analysis import precision
from harness.config.inputs import InputRequest
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import HarnessError, one_line
from harness.machine import facts
from harness.measuring import handover, preparation
from harness.measuring.handover import Job
from harness.measuring.prepared import Preparation
from harness.models import catalogue
from harness.models.outputs import same_values
from harness.native import cupti, ort
from harness.ort import placement, providers
from harness.ort.library import ort_library
from harness.ort.session import DURATION_HOLDS, bind, open_library, open_session
from harness.records import NOTHING, LatencySeries, ProcessRecord
from harness.storage import assembly, profile_file, shards
from harness.tracing.kernels import join, turn_taking
from harness.tracing.kernels.recorder import KernelPass
from harness.tracing.kernels.replay import ReplayPass
from harness.tracing.kernels.turns import TURNS
from harness.tracing.probes.recorder import ProbePass
from harness.version import __version__

ROUNDS = 4

#: Nanoseconds that a piece of the timed pass takes, and its fewest and most inferences. A round has
#: three of these.
PIECE_NS = 60e6
FEWEST, MOST = 8, 400

#: Nanoseconds that a traced pass of a round takes at most, and the fewest and most inferences: with
#: probes in each of four graphs, and in each of the eight turns that take the device's times.
PASS_NS = 400e6
PROBED, TIMED = (4, 40), (2, 12)

#: Passes that may fail while the others go on, by what a profile calls their absence.
PASSES = {"probes": "trace/probe", "kernels": "trace/kernels", "replay": "trace/replay"}

#: The fewest inferences after which clocks and caches are as they stay.
WARM = 20

#: Raw records are kept of the smallest model and batch only.
RAW = "mlp", 1


@dataclasses.dataclass
class Pieces:
    """The pieces of a timed pass of one round: (start, enqueue, duration) of each."""

    taken: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = dataclasses.field(default_factory=list)

    def take(self, binding: ort.Binding, inferences: int) -> float:
        """Times some inferences; returns the median until the call returned, in ns."""
        start_ns, enqueue_ns, duration_ns = (np.zeros(inferences, np.int64) for _ in range(3))
        binding.time(start_ns, duration_ns, enqueue_ns=enqueue_ns)
        self.taken.append((start_ns, enqueue_ns, duration_ns))
        return float(np.median(enqueue_ns))

    def process(self, index: int, holds: str) -> ProcessRecord:
        """The round as a process of a profile."""
        start_ns, enqueue_ns, duration_ns = map(np.concatenate, zip(*self.taken, strict=True))
        return ProcessRecord(
            index=index,
            pid=os.getpid(),
            library_ns=0,
            session_ns=0,
            first_inference_ns=0,
            warmup=LatencySeries(NOTHING, NOTHING),
            steady=LatencySeries(start_ns, duration_ns),
            loops=len(self.taken[0][0]),
            noise=(),
            metadata={},
            log=(),
            duration_holds=DURATION_HOLDS[holds],
            enqueue_ns=enqueue_ns,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=sorted(catalogue.REFERENCE_MODELS))
    parser.add_argument("batch", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    work = options.folder / f".{options.model}-b{options.batch}"
    work.mkdir(parents=True)
    try:
        told = measure(options.model, options.batch, work, options.folder)
    except HarnessError as error:
        print(f"{options.model}: {error.message} ({error.remedy})", file=sys.stderr)
        return 1
    name = f"{options.model}-b{options.batch}.json"
    (options.folder / name).write_text(json.dumps(told, indent=1) + "\n")
    return 0


def measure(model: str, batch: int, work: Path, folder: Path) -> dict[str, Any]:
    """Measures, leaves the profiles in the folder, and returns what they do not hold."""
    config = ProfileConfig(
        model=model,
        session=SessionConfig(provider="cuda"),
        inputs=InputRequest(batch=batch),
        trace=("probe", "kernels"),
        quick=True,
        output=folder / f"{model}-b{batch}.h5",
    )
    catalogue.write(model, work / "model.onnx")
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    job = Job(config, ort_library(), work / "model.onnx", model, work, work, cpus)
    # Before the preparation opens it, too, and kept: once nobody holds its environment, ONNX
    # Runtime unloads the providers' libraries.
    library = open_library(job.library, config.session)
    prepared = preparation.prepare(job)
    graph, probed = prepared.graph, prepared.probed
    if graph is None or probed is None:
        return {"absent": dict(prepared.absent)}
    inputs = handover.read_inputs(job)
    session_config = config.session
    told: dict[str, Any] = {
        "absent": dict(prepared.absent),
        "repeatable": prepared.repeatable,
        "nodes": len(graph.nodes),
        "copies": sum(op_type in placement.COPIES for op_type in graph.nodes.op_type),
        # Why each pass is missing; empty where it is there.
        **dict.fromkeys(PASSES, ""),
        "kernels_of_replay": "",
    }
    launched: list[shards.Shard] = []
    replayed: list[shards.Shard] = []
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(
            contextlib.closing(open_session(library, job.model, session_config))
        )
        with contextlib.closing(bind(session, inputs, "copied")) as copied:
            copied.run()
            outputs = copied.outputs()
        synchronise = providers.by_name(session_config.provider).synchronise
        assert synchronise is not None
        plain = stack.enter_context(
            contextlib.closing(bind(session, inputs, "resident", synchronise()))
        )
        latency_ns = min(plain.run() for _ in range(WARM))
        piece, probed_inferences, timed_inferences = (
            int(np.clip(span_ns / max(latency_ns, 1), *bounds))
            for span_ns, bounds in (
                (PIECE_NS, (FEWEST, MOST)),
                (PASS_NS / 4, PROBED),
                (PASS_NS / len(TURNS), TIMED),
            )
        )
        probes: ProbePass | None = None
        kernels: KernelPass | None = None
        replay: ReplayPass | None = None
        with noting(told, "probes"):
            probes = _probes(
                stack,
                ProbePass(library, session_config, probed, graph.nodes, inputs, 0),
                work,
                told,
            )
        with noting(told, "kernels"):
            kernels = stack.enter_context(
                contextlib.closing(KernelPass(library, session_config, graph, inputs, work))
            )
        with noting(told, "replay"):
            captures = providers.captured(session_config)
            replay = stack.enter_context(
                contextlib.closing(ReplayPass(library, captures, job.model, inputs))
            )
        added_ns = []
        for index in range(ROUNDS):
            pieces, captured = Pieces(), Pieces()
            before_ns = pieces.take(plain, piece)
            traces, events, timeline, again = {}, None, None, None
            if probes is not None and not told["probes"]:
                with noting(told, "probes"):
                    recorded = probes.record(probed_inferences, index)
                    traces = {"probe": recorded.nodes, "probe_calibration": recorded.calibration}
                    if recorded.split is not None:
                        traces["probe_split"] = recorded.split
                    probed_ns = Pieces().take(probes.binding, piece)
                    after_ns = pieces.take(plain, piece)
                    longer_ns = probed_ns - (before_ns + after_ns) / 2
                    added_ns.append(longer_ns / probes.stamps_in_inference)
            if kernels is not None and not told["kernels"]:
                with noting(told, "kernels"):
                    events = kernels.record(2, prepared.executions, index)
                    timeline = kernels.timeline(timed_inferences)
            pieces.take(plain, piece)
            if replay is not None and not told["replay"]:
                with noting(told, "replay"):
                    captured.take(replay.binding, piece)
                    launches = None if timeline is None else timeline.launches
                    again, why = replay.timeline(timed_inferences, launches, index)
                    told["kernels_of_replay"] = told["kernels_of_replay"] or why
                    captured.take(replay.binding, piece)
            shard = shards.Shard(
                pieces.process(index, "resident"),
                traces,
                graph.nodes,
                tuple((PASSES[what], told[what]) for what in PASSES if told[what]),
                kernels=events,
                timeline=timeline,
                replay=again,
            )
            launched.append(shard)
            if again is not None:
                process = captured.process(index, "captured")
                replayed.append(dataclasses.replace(shard, process=process))
        if probes is not None and added_ns:
            told["identical"] = same_values(outputs, probes.outputs())
            told["probe_added_ns"] = float(np.median(added_ns))
        if (model, batch) == RAW and kernels is not None:
            _raw_records(kernels, replay, prepared, folder / "cupti-records.npz")
    _store(config, prepared, launched, folder / f"{model}-b{batch}.h5")
    if replayed:
        of_graph = dataclasses.replace(config, session=captures)
        _store(of_graph, prepared, replayed, folder / f"{model}-b{batch}-graph.h5")
    return told


@contextlib.contextmanager
def noting(told: dict[str, Any], what: str) -> Iterator[None]:
    """A pass that fails is missing from then on, with the reason; the others go on.

    Args:
        told: where reasons are kept.
        what: the pass.
    """
    try:
        yield
    except (HarnessError, ort.OrtError, ValueError) as error:
        told[what] = one_line(str(error))


def _probes(
    stack: contextlib.ExitStack, opened: ProbePass, work: Path, told: dict[str, Any]
) -> ProbePass:
    """The probes, if they keep the order of execution and add no copy.

    Raises:
        ValueError: they do not.
    """
    stack.enter_context(contextlib.closing(opened))
    opened.require_order(work)
    told["half_order"] = opened.half_order(work)
    if told["half_order"]:
        opened.leave_half_out()
    return opened


def _store(
    config: ProfileConfig, prepared: Preparation, parts: list[shards.Shard], target: Path
) -> None:
    header = shards.ProfileHeader(
        harness_version=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        config=json.dumps(msgspec.to_builtins(config, enc_hook=str)),
        model=dataclasses.replace(prepared.model, path=config.model),
        provider=config.session.provider,
        inputs=prepared.inputs,
        output_check=prepared.output_check,
        environment=(*facts.collect(), *prepared.facts),
        planned_processes=len(parts),
        absent=prepared.absent,
    )
    profile = assembly.assemble(header, parts, complete=True)
    profile = dataclasses.replace(
        profile, environment=(*profile.environment, *precision.facts(profile))
    )
    profile_file.write_profile(profile, target)


def _raw_records(
    kernels: KernelPass, replay: ReplayPass | None, prepared: Preparation, target: Path
) -> None:
    """A few inferences as CUPTI recorded them, for tests to replay; those of a graph, too."""
    marks, recording = kernels.capture(3, prepared.executions)
    arrays = _arrays(recording, "") | {"marks": marks.mark, "first_id": marks.first_id}
    if replay is not None:
        recorder = cupti.Cupti(join.cupti_candidates())
        turn_taking.start(recorder, launches=False)
        try:
            for _ in range(3):
                replay.binding.run()
        finally:
            recording = recorder.stop()
        arrays |= _arrays(recording, "replay_")
    np.savez_compressed(target, **arrays)


def _arrays(recording: cupti.CuptiRecording, prefix: str) -> dict[str, Any]:
    work = turn_taking.decoded(recording).work
    names = cupti.names_at(work["name"].tolist())
    buffers = list(enumerate(recording.buffers))
    return {
        **{f"{prefix}data_{n}": np.frombuffer(one.data, np.uint8) for n, one in buffers},
        **{f"{prefix}offsets_{n}": one.offsets for n, one in buffers},
        f"{prefix}offset_ns": recording.offset_ns,
        f"{prefix}addresses": np.array(list(names), np.uint64),
        f"{prefix}names": np.array(list(names.values())),
    }


if __name__ == "__main__":
    sys.exit(main())
