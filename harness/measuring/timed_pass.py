"""The timed pass of a measuring process: session, first inference, chunks of the timing loop."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.config.profile import ENERGY_IDLE_S
from harness.config.session import SessionConfig
from harness.errors import ModelError, one_line
from harness.machine.devices import cuda_devices
from harness.machine.devices.sampling import DeviceSampler
from harness.machine.host_counters import HostNoise
from harness.machine.peak_memory import peak_memory
from harness.measuring import foreign, handover, yardstick
from harness.measuring.handover import Job
from harness.measuring.runtime import InferenceFailed, Opened
from harness.measuring.stopwatch import Stopwatch
from harness.native import ort
from harness.ort import providers
from harness.ort.arena import arena_bytes
from harness.ort.session import (
    DURATION_HOLDS,
    bind,
    device_failure,
    load_provider_libraries,
    open_library,
    open_session,
)
from harness.records import (
    ARENA,
    NOTHING,
    Absent,
    DeviceSeries,
    Int64Array,
    LatencySeries,
    ProcessRecord,
    Reading,
    Yardstick,
)
from harness.storage import shards

#: Repetitions of the yardstick just before the timed pass, and just after; about 4 ms each.
#: With fewer, it tracks latencies less well (benchmarks/false_alarms.py).
YARDSTICK_REPETITIONS = 10

#: How long to discard inferences after the yardstick, which leaves the caches full of its own
#: data; and the least and most inferences to discard.
YARDSTICK_DISCARDED_S = 0.02
YARDSTICK_DISCARDED = (3, 2000)

#: Seconds that calibration takes, its minimum number of inferences, and the seconds after which
#: a slow model's calibration stops even if it has fewer.
CALIBRATION_S = 0.05
CALIBRATION_LEAST = 3
CALIBRATION_LONGEST_S = 1.0

#: Minimum number of inferences timed with copies between host and device.
MIN_COPIED = 10

#: Seconds allowed in the sampler's buffers for opening ORT and creating a session.
SESSION_S = 30.0


class Measurement:
    """One measuring process: session, first inference, then chunks of the timing loop.

    Args:
        job: what to measure; its preparation must have finished.
        index: number of this process; -1 if it is not a measuring process.
        warmup_chunks: calls of take() that are warm-up.
        steady_chunks: calls of take() after them that make up the timed pass.

    Attributes:
        watch: clocks its parts.
        opened: the model in another runtime; None with ONNX Runtime.
    """

    def __init__(self, job: Job, index: int, warmup_chunks: int, steady_chunks: int) -> None:
        self.watch = Stopwatch()
        self._job = job
        self._index = index
        self._warmup_chunks = warmup_chunks
        self._steady_chunks = steady_chunks
        self._chunks: list[LatencySeries] = []
        self._noise = HostNoise()
        self._readings: tuple[Reading, ...] = ()
        self._devices: tuple[DeviceSeries, ...] = ()
        self._yardsticks: list[Yardstick] = []
        self._absent: list[Absent] = []
        self._sampler: DeviceSampler | None = None
        if job.config.sample_hz and index >= 0:
            # Before there is a session, to record the devices' state without our load.
            latency_ns = handover.read_calibration(job).latency_ns
            self._sampler = device_sampler(job, latency_ns, warmup_chunks + steady_chunks)
            with self.watch.on("starting to sample"):
                self._sampler.start()
            if job.config.energy:
                self._leave_idle(self._sampler, time.monotonic_ns())
                self._sampler.edge()
        with self.watch.on("inputs"):
            self._inputs = handover.read_inputs(job)
        self._enqueued: list[Int64Array] = []
        self.opened: Opened | None = None
        self._library: ort.Library | Opened
        self._session: ort.Session | Opened
        self._binding: ort.Binding | Opened
        if foreign.is_foreign(job.config):
            self._open_foreign()
        else:
            self._open()
        job.inferred.touch()

    def _open_foreign(self) -> None:
        """Opens the model in another runtime, and makes the first inference."""
        self._provider_ns = 0
        self._on_device = providers.by_name(self._job.config.session.provider).on_device
        try:
            with self.watch.on("session"):
                opened = foreign.open_model(self._job, self._inputs)
            with self.watch.on("first inference"):
                self._first_inference_ns = opened.run()
        except InferenceFailed as error:
            raise foreign.not_run(self._job, error) from error
        self.opened = self._library = self._session = self._binding = opened

    def _open(self) -> None:
        """Opens ONNX Runtime and the session, and makes the first inference."""
        job = self._job
        with self.watch.on("library"):
            library = self._library = open_library(job.library, job.config.session)
        with self.watch.on("session"):
            session = self._open_session(library)
        place: tuple[Any, ...] = ()
        synchronise = providers.by_name(job.config.session.provider).synchronise
        if synchronise is not None:
            place = ("resident", synchronise())
        with self.watch.on("first inference"):
            self._binding = bind(session, self._inputs, *place)
            self._first_inference_ns = self._binding.run()

    def _open_session(self, library: ort.Library) -> ort.Session:
        """Loads the providers' libraries and creates the session."""
        job = self._job
        provider = providers.by_name(job.config.session.provider)
        began_ns = time.monotonic_ns()
        load_provider_libraries(library, job.config.session)
        self._provider_ns = time.monotonic_ns() - began_ns
        session = self._session = open_session(library, job.model, job.config.session)
        self._provider_ns += session.provider_ns
        if not provider.plugin:  # built in: nothing was loaded
            self._provider_ns = 0
        self._on_device = provider.on_device
        return session

    @property
    def session_ns(self) -> int:
        """What creating the session took, its providers loaded first."""
        return self._provider_ns + self._session.create_ns

    def take(self, inferences: int) -> float:
        """Takes the next chunk of samples; returns the seconds spent in the native loop.

        Raises:
            MachineError: an inference failed by the fault of the device.
            ModelError: one failed otherwise.
        """
        number = len(self._chunks)
        # Not np.zeros, whose pages are not backed by memory yet: writing them now keeps their
        # page faults out of the timed region.
        start_ns = np.full(inferences, -1, dtype=np.int64)
        duration_ns = np.full(inferences, -1, dtype=np.int64)
        if number == self._warmup_chunks:
            # Before the yardstick, whose memory does not belong to the model.
            self._peak_memory = peak_memory()
            self._measure_yardstick()
            if self._sampler is not None:
                self._sampler.edge()
            with self.watch.on("refilling caches"):
                self._discard()
            self._noise.start()
        enqueue_ns = np.full(inferences, -1, dtype=np.int64) if self._on_device else None
        with self.watch.on("warm-up" if number < self._warmup_chunks else "timed pass"):
            self._time(start_ns, duration_ns, enqueue_ns)
        if number == self._warmup_chunks + self._steady_chunks - 1:
            self._readings = (
                *self._noise.stop(),
                self._peak_memory,
                self._arena(),
            )
            sampler = self._sampler
            if sampler is None or sampler.gpu is None or not self._job.config.energy:
                self._stop_sampling()
                self._measure_yardstick()
            else:
                sampler.edge()
                since_ns = time.monotonic_ns()
                self._measure_yardstick()  # on a CPU
                # Idle once more, but warm: with the session open, and right after its load.
                self._leave_idle(sampler, since_ns)
                self._stop_sampling()
        self._chunks.append(LatencySeries(start_ns, duration_ns))
        if enqueue_ns is not None:
            self._enqueued.append(enqueue_ns)
        return float(start_ns[-1] + duration_ns[-1] - start_ns[0]) * 1e-9

    def undisturbed_latency_ns(self) -> int:
        """Latency of an undisturbed inference, in ns, to plan with; not a result.

        The lower quartile of the second half: the first half is warm-up, and on a busy machine
        most of the others may have waited for a CPU. An estimate that is too low makes the timed
        pass too long, which costs time; one that is too high would cost samples.
        """
        took: list[Int64Array] = []
        began_s = time.monotonic()
        count = 1
        while True:
            start_ns, duration_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)
            enqueue_ns = np.zeros(count, np.int64) if self._on_device else None
            self._time(start_ns, duration_ns, enqueue_ns)
            took.append(duration_ns)
            spent_s = time.monotonic() - began_s
            longest_s = CALIBRATION_S if 2 * count > CALIBRATION_LEAST else CALIBRATION_LONGEST_S
            if spent_s >= longest_s:
                break
            count *= 2
        all_of_them = np.concatenate(took)
        return max(int(np.percentile(all_of_them[len(all_of_them) // 2 :], 25)), 1)

    def _time(
        self, start_ns: Int64Array, duration_ns: Int64Array, enqueue_ns: Int64Array | None
    ) -> None:
        """Times as many inferences as the arrays hold.

        Raises:
            MachineError: an inference failed by the fault of the device.
            ModelError: one failed otherwise.
        """
        try:
            self._binding.time(start_ns, duration_ns, enqueue_ns=enqueue_ns)
        except (ort.OrtError, InferenceFailed) as error:
            if failure := device_failure(error):
                raise failure from error
            raise ModelError(
                f"an inference failed after {error.completed} of {len(start_ns)} had succeeded: "
                f"{one_line(str(error))}",
                "fix the inputs with `files` or `shapes`",
            ) from error

    def _arena(self) -> Reading:
        """Bytes in the session's arena."""
        if isinstance(self._session, ort.Session):
            return arena_bytes(self._session)
        return Reading(ARENA, None, reason=f"{self._job.config.runtime} does not tell")

    def _leave_idle(self, sampler: DeviceSampler, since_ns: int) -> None:
        """Does nothing for a while, and notes for how long the devices were idle."""
        with self.watch.on("idle"):
            time.sleep(ENERGY_IDLE_S)
        sampler.left_idle(since_ns)

    def _stop_sampling(self) -> None:
        if self._sampler is not None:
            self._devices, absent = self._sampler.stop(self._index)
            self._absent += absent

    def _measure_yardstick(self) -> None:
        with self.watch.on("yardstick"):
            self._yardsticks.append(yardstick.measure(YARDSTICK_REPETITIONS))

    def _discard(self) -> None:
        """Runs inferences that fill the caches with the model's data again."""
        least, most = YARDSTICK_DISCARDED
        end_s = time.monotonic() + YARDSTICK_DISCARDED_S
        for number in range(most):
            if number >= least and time.monotonic() > end_s:
                break
            self._binding.run()

    def finish(
        self,
        chunk_inferences: int,
        trace_inferences: int,
        probe_inferences: int,
        metadata: Mapping[str, str | int | float],
        *,
        profiled: bool = True,
    ) -> shards.Shard:
        """Closes the timed session, makes the traced passes and returns all measurements.

        Args:
            chunk_inferences: inferences in a chunk.
            trace_inferences: inferences to record with ORT's profiler; 0 for no traced pass.
            probe_inferences: inferences to record with probes; 0 for no such pass.
            metadata: of this process.
            profiled: whether to use ORT's profiler even if probes work.
        """
        with self.watch.on("outputs"):
            outputs, copied = self._outputs()
        with self.watch.on("closing the session"):
            self._binding.close()
            self._session.close()
        traced = None
        if trace_inferences and isinstance(self._library, ort.Library):
            # Only now: most processes are not traced, and a tenth of their start would be this.
            from harness.measuring import prepared
            from harness.measuring.traced_passes import TracedPasses

            passes = TracedPasses(
                self._job,
                prepared.read(self._job),
                self._library,
                self._inputs,
                self._index,
                self.watch,
            )
            traced = passes.record(outputs, trace_inferences, probe_inferences, profiled=profiled)
        process = ProcessRecord(
            index=self._index,
            pid=os.getpid(),
            library_ns=self._library.open_ns,
            session_ns=self._session.create_ns,
            first_inference_ns=self._first_inference_ns,
            warmup=_join(self._chunks[: self._warmup_chunks]),
            steady=_join(self._chunks[self._warmup_chunks :]),
            loops=chunk_inferences,
            noise=self._readings,
            metadata=metadata,
            log=tuple(self._library.take_log()),
            yardstick=yardstick.concatenate(self._yardsticks),
            duration_holds=(
                DURATION_HOLDS[holds(self._job.config.session)]
                if self.opened is None
                else self.opened.holds
            ),
            enqueue_ns=np.concatenate([NOTHING, *self._enqueued[self._warmup_chunks :]]),
            copied=copied,
            provider_ns=self._provider_ns,
        )
        if traced is None:
            return shards.Shard(process, {}, None, tuple(self._absent), self._devices)
        return shards.Shard(
            process,
            traced.events,
            traced.nodes,
            (*self._absent, *traced.absent),
            self._devices,
            traced.kernels,
            traced.timeline,
            traced.replay,
        )

    def _outputs(self) -> tuple[list[Any], LatencySeries]:
        """The model's outputs; on a device, also the latencies of inferences with copies.

        None of another runtime, which calibration has held against ONNX Runtime: traced passes
        need them, and there are none.
        """
        library, session = self._library, self._session
        if not (isinstance(library, ort.Library) and isinstance(session, ort.Session)):
            return [], LatencySeries(NOTHING, NOTHING)
        if not self._on_device:
            return self._binding.outputs(), LatencySeries(NOTHING, NOTHING)
        if (
            holds(self._job.config.session) == "captured"
        ):  # such a session only works with the binding it captured
            config = providers.uncaptured(self._job.config.session)
            session = open_session(library, self._job.model, config)
        with contextlib.closing(bind(session, self._inputs, "copied")) as binding:
            binding.run()
            count = max(MIN_COPIED, len(self._chunks[-1]))
            start_ns, duration_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)
            binding.time(start_ns, duration_ns)
            outputs = binding.outputs()
        if session is not self._session:
            session.close()
        return outputs, LatencySeries(start_ns, duration_ns)


def holds(session: SessionConfig) -> str:
    """What the durations of the timed pass of such a session include: a key of DURATION_HOLDS."""
    if not providers.by_name(session.provider).on_device:
        return "host"
    return "captured" if providers.captures_graph(session) else "resident"


def device_sampler(job: Job, latency_ns: int, chunks: int) -> DeviceSampler:
    """The sampler of a process, with room for twice the expected duration of its passes."""
    config = job.config
    passes_s = config.timed_s + chunks * latency_ns * 1e-9
    seconds = SESSION_S + 2 * (passes_s + (2 * ENERGY_IDLE_S if config.energy else 0.0))
    gpu, why_no_gpu = None, ""
    if providers.by_name(config.session.provider).on_device:
        used = cuda_devices.device(config.session.provider_options.get("device_id", "0"))
        gpu, why_no_gpu = used.index, used.reason
    return DeviceSampler(config.sample_hz, gpu, job.cpus, seconds=seconds, why_no_gpu=why_no_gpu)


def _join(chunks: list[LatencySeries]) -> LatencySeries:
    if not chunks:
        return LatencySeries(np.empty(0, np.int64), np.empty(0, np.int64))
    return LatencySeries(
        np.concatenate([chunk.start_ns for chunk in chunks]),
        np.concatenate([chunk.duration_ns for chunk in chunks]),
    )
