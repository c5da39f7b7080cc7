"""A group of instances: the process that leads it, and what it makes of their windows.

The leader takes the place of a measuring process: it starts the instances (``instance``), each a
child of its own, has them warm up together, and then measures two windows: the common one in which
all infer, and one in which a single one does while the others are asleep. Which comes first
alternates from group to group, and so does the one that is measured alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from harness.analysis.instances import LEAST_INFERENCES
from harness.config.profile import ENERGY_IDLE_S
from harness.errors import HarnessError, MachineError
from harness.machine.available_memory import available_bytes
from harness.machine.devices.sampling import DeviceSampler
from harness.machine.host_counters import HostNoise
from harness.machine.peak_memory import PEAK_MEMORY
from harness.measuring import conduct, handover, yardstick
from harness.measuring.callers import Window
from harness.measuring.handover import Job, PlainError
from harness.measuring.instance import Measured, Started, result_file
from harness.measuring.limits import MOST_OF_AVAILABLE
from harness.measuring.stopwatch import Stopwatch
from harness.measuring.timed_pass import YARDSTICK_REPETITIONS, device_sampler, holds
from harness.ort.session import DURATION_HOLDS
from harness.records import (
    Absent,
    DeviceSeries,
    Instances,
    LatencySeries,
    ProcessRecord,
    Reading,
    Yardstick,
)
from harness.storage import shards

#: Seconds that all instances infer together before they are measured, and at least so many
#: inferences.
WARM_UP_S = 0.3
WARM_UP_INFERENCES = 3

#: Inferences of an instance that a window is planned to hold: some more than its rate needs
#: (`harness.analysis.instances.LEAST_INFERENCES`).
PLANNED_INFERENCES = 30

#: How often a window is begun whose slowest caller makes too few inferences.
WINDOW_TRIES = 3

#: Inferences of all callers together at which a window ends: 16 MB of raw data.
MOST_SAMPLES = 1_000_000

#: The shortest window, in seconds: 50 times the skew at which a group is marked.
SHORTEST_S = 0.05

#: Seconds between the command for a window and its beginning: all have woken up by then.
LEAD_S = 0.1

#: Peaks of processes that share pages do not add up to anything.
_NO_PEAK = Reading(
    PEAK_MEMORY, None, "bytes", reason="of a group, the memory that its instances hold is told"
)

#: Durations of which a p99 is told.
_LEAST_FOR_P99 = 500


class Group:
    """One group of instances, measured once.

    Args:
        job: what to measure, with the places of the instances; must be prepared.
        index: number of this group.

    Attributes:
        watch: clocks its parts.
    """

    def __init__(self, job: Job, index: int) -> None:
        self.watch = Stopwatch()
        self._job = job
        self._index = index
        self._absent: list[Absent] = []
        self._devices: tuple[DeviceSeries, ...] = ()
        self._yardsticks: list[Yardstick] = []
        self._windows: list[tuple[Window, int, bool, list[Measured]]] = []
        self._started: list[Started] = []

    def take(self) -> float:
        """Starts the instances, measures them and ends them; returns the common window's seconds.

        Raises:
            HarnessError: an instance failed, or there is not enough memory for them.
        """
        with contextlib.ExitStack() as stack:
            sampler = self._sampler()
            if sampler is not None:
                with self.watch.on("starting to sample"):
                    sampler.start()
                if self._job.config.energy:
                    self._leave_idle(sampler)
                    sampler.edge()
            with self.watch.on("starting the instances"):
                instances = self._start(stack)
            self._job.inferred.touch()
            with self.watch.on("warm-up"):
                latency_ns = self._warm_up(instances)
            self._measure_yardstick()
            whole_first = self._index % 2 == 0
            if not whole_first:
                self._measure_alone(instances, latency_ns)
            if sampler is not None:
                sampler.edge()
            noise = HostNoise()
            noise.start()
            window = self._measure_together(instances, latency_ns)
            self._noise = noise.stop()
            if sampler is not None:
                sampler.edge()
            if whole_first:
                self._measure_alone(instances, latency_ns)
            self._measure_yardstick()
            if sampler is not None:
                if sampler.gpu is not None and self._job.config.energy:
                    self._leave_idle(sampler)
                self._devices, absent = sampler.stop(self._index)
                self._absent += absent
        return (window.end_ns - window.begin_ns) * 1e-9

    def _sampler(self) -> DeviceSampler | None:
        if not self._job.config.sample_hz:
            return None
        # The planned windows may grow with the latency of instances that disturb each other.
        latency_ns = 4 * PLANNED_INFERENCES * handover.read_calibration(self._job).latency_ns
        return device_sampler(self._job, latency_ns, 2)

    def _leave_idle(self, sampler: DeviceSampler) -> None:
        since_ns = time.monotonic_ns()
        with self.watch.on("idle"):
            time.sleep(ENERGY_IDLE_S)
        sampler.left_idle(since_ns)

    def _start(self, stack: contextlib.ExitStack) -> list[_Instance]:
        """The first instance alone, to know what each takes; then all others at once."""
        count = max(len(self._job.places), 1)
        instances = [stack.enter_context(_Instance(self._job, 0))]
        self._started = [instances[0].started()]
        self._require_memory(count, self._started[0].private_bytes)
        instances += [
            stack.enter_context(_Instance(self._job, number)) for number in range(1, count)
        ]
        self._started += [one.started() for one in instances[1:]]
        reason = next((one.memory_reason for one in self._started if one.memory_reason), "")
        if reason:
            self._absent.append(("instances/memory", reason))
        return instances

    def _require_memory(self, count: int, each_bytes: int) -> None:
        """Refuses more instances than fit, before the kernel ends one of them.

        Raises:
            MachineError: they do not fit.
        """
        limit_gb = self._job.config.memory_limit_gb
        available = available_bytes()
        room = None if available is None else int(MOST_OF_AVAILABLE * available)
        if limit_gb is not None:
            room = int(limit_gb * 1e9) - each_bytes
        if room is None or each_bytes < 0 or (count - 1) * each_bytes <= room:
            return
        fit = 1 + max(room, 0) // each_bytes
        raise MachineError(
            f"{count} instances of {self._job.model_name} take {each_bytes / 1e9:.2f} GB each, "
            f"{count * each_bytes / 1e9:.1f} GB together, and "
            f"{(room + each_bytes) / 1e9:.1f} GB may be used",
            f"give `instances` {fit} at most, or `memory_limit_gb` GB",
        )

    def _warm_up(self, instances: Sequence[_Instance]) -> int:
        """All infer together; returns the latency of the slowest one then, in ns."""
        guess_s = handover.read_calibration(self._job).latency_ns * 1e-9
        seconds = max(WARM_UP_S, WARM_UP_INFERENCES * guess_s)
        for one in instances:
            one.tell({"warm_up_s": seconds})
        return max(int(one.answer()) for one in instances)

    def _window(self, latency_ns: int, callers: int, instances: int) -> Window:
        """The next window: as long as was asked for, if it holds neither too few nor too many."""
        most_s = MOST_SAMPLES * latency_ns * 1e-9 / (callers * instances)
        least_s = max(SHORTEST_S, PLANNED_INFERENCES * latency_ns * 1e-9)
        seconds = max(min(self._job.config.timed_s, most_s), least_s)
        # Where callers share CPUs, each has to wait for its turn to wake up.
        lead_s = LEAD_S * max(1.0, callers * instances / len(self._job.cpus))
        begin_ns = time.monotonic_ns() + round(lead_s * 1e9) + 4 * latency_ns
        return Window(begin_ns, begin_ns + round(seconds * 1e9), callers)

    def _measure_together(self, instances: Sequence[_Instance], latency_ns: int) -> Window:
        """The common window; anew and longer if the machine has become too slow for it."""
        for _ in range(WINDOW_TRIES):
            window = self._window(latency_ns, self._job.config.callers, len(instances))
            measured = self._measure(instances, window, "common window")
            least = min(len(called.start_ns) for one in measured for called in one.called)
            if least >= LEAST_INFERENCES:
                break
            latency_ns = (window.end_ns - window.begin_ns) // max(least, 1)
        self._windows.append((window, 0, False, measured))
        return window

    def _measure_alone(self, instances: Sequence[_Instance], latency_ns: int) -> None:
        """One instance while the others sleep; of one with several callers, one caller.

        For as long as all together: it makes no more inferences than they, and a long window of a
        fast model would otherwise take memory without end.
        """
        callers = self._job.config.callers
        if not self._job.alone_too or len(instances) * callers == 1:
            return  # not asked for, or the common window is of one alone already
        number = self._index % len(instances)
        together = self._window(latency_ns, callers, len(instances))
        window = together._replace(callers=callers if len(instances) > 1 else 1)
        measured = self._measure([instances[number]], window, "window of one alone")
        self._windows.append((window, number, True, measured))

    def _measure(self, instances: Sequence[_Instance], window: Window, part: str) -> list[Measured]:
        """Has these instances infer through a window, and on until the last one has left it."""
        with self.watch.on(part):
            for one in instances:
                one.tell(window._asdict())
            for one in instances:
                one.answer()
            for one in instances:
                one.tell("over")
        with self.watch.on("results of the instances"):
            return [one.measured() for one in instances]

    def _measure_yardstick(self) -> None:
        with self.watch.on("yardstick"):
            self._yardsticks.append(yardstick.measure(YARDSTICK_REPETITIONS))

    def finish(self, metadata: Mapping[str, str | int | float]) -> shards.Shard:
        """All measurements of the group.

        Args:
            metadata: of this process.
        """
        _, _, _, measured = next(each for each in self._windows if not each[2])
        called = [one for instance in measured for one in instance.called]
        lengths = [len(one.start_ns) for one in called]
        start_ns = np.concatenate([one.start_ns for one in called])
        if not len(start_ns):
            raise MachineError(
                "no inference lay wholly inside the common window",
                "give a longer `duration_s`, or fewer `instances`",
            )
        order = np.argsort(start_ns, kind="stable")
        steady = LatencySeries(
            start_ns[order], np.concatenate([one.duration_ns for one in called])[order]
        )
        caller = np.repeat(np.arange(len(called), dtype=np.int32), lengths)[order]
        slowest = max(self._started, key=lambda one: one.session_ns)
        process = ProcessRecord(
            index=self._index,
            pid=os.getpid(),
            library_ns=slowest.library_ns,
            session_ns=slowest.session_ns,
            first_inference_ns=max(one.first_inference_ns for one in self._started),
            warmup=LatencySeries(np.empty(0, np.int64), np.empty(0, np.int64)),
            steady=steady,
            loops=len(steady),
            noise=(*_noise(self._noise, measured), _NO_PEAK),
            metadata=metadata,
            log=tuple(line for one in measured[:1] for line in one.log),
            yardstick=yardstick.concatenate(self._yardsticks),
            duration_holds=DURATION_HOLDS[holds(self._job.config.session)],
            provider_ns=slowest.provider_ns,
            caller=caller,
        )
        for one in measured[:1]:
            self._absent += [(f"instances/{what}", why) for what, why in one.reasons.items()]
        return shards.Shard(
            process, {}, None, tuple(self._absent), self._devices, instances=self._table()
        )

    def _table(self) -> Instances:
        """The rows of all callers in both windows."""
        rows: list[dict[str, Any]] = []
        for window, first, alone, measured in self._windows:
            for number, one in enumerate(measured, first):
                started = self._started[number]
                for thread, called in enumerate(one.called):
                    took = called.duration_ns
                    begun = called.start_ns
                    rows.append(
                        {
                            "process": self._index,
                            "instance": number,
                            "caller": number * self._job.config.callers + thread,
                            "alone": int(alone),
                            "cpus": started.cpus,
                            "memory": started.memory,
                            "begin_ns": window.begin_ns,
                            "end_ns": window.end_ns,
                            "start_ns": begun[0] if len(took) else -1,
                            "done_ns": begun[-1] + took[-1] if len(took) else -1,
                            "inferences": len(took),
                            "median_ns": round(float(np.median(took))) if len(took) else -1,
                            "p99_ns": round(float(np.percentile(took, 99)))
                            if len(took) >= _LEAST_FOR_P99
                            else -1,
                            "cpu_wait_ns": called.waited_ns,
                            "session_ns": started.session_ns,
                            "first_inference_ns": started.first_inference_ns,
                            "pss_bytes": _known(one.pss_bytes),
                            "pages_bytes": _known(one.pages_bytes),
                            "local_bytes": _known(one.local_bytes),
                        }
                    )
        columns: dict[str, Any] = {}
        for field in dataclasses.fields(Instances):
            values = [row[field.name] for row in rows]
            if field.name in ("cpus", "memory"):
                columns[field.name] = tuple(values)
            else:
                small = field.name in ("process", "instance", "caller", "alone")
                columns[field.name] = np.array(values, np.int32 if small else np.int64)
        return Instances(**columns)


def _known(value: int | None) -> int:
    return -1 if value is None else value


def _noise(leader: Sequence[Reading], measured: Sequence[Measured]) -> list[Reading]:
    """The leader's readings of the common window, those of its own process put right.

    It sleeps meanwhile, so that CPU time, switches and faults are those of the instances, and their
    CPU time is none of others. ``cpu_wait_ns`` is the mean of the calling threads.
    """
    own = {one.name: one for one in leader}
    cpu_ns = sum(one.cpu_time_ns for one in measured)
    waits = [called.waited_ns for one in measured for called in one.called]
    changed = {
        "cpu_time_ns": Reading("cpu_time_ns", cpu_ns, "ns", "CLOCK_PROCESS_CPUTIME_ID, summed"),
        "cpu_wait_ns": Reading(
            "cpu_wait_ns",
            sum(waits) // len(waits) if min(waits) >= 0 else None,
            "ns",
            "/proc/thread-self/schedstat, mean of the calling threads",
            "" if min(waits) >= 0 else "/proc/thread-self/schedstat: not counted",
        ),
    }
    others, leader_ns = own.get("other_load_ns"), own["cpu_time_ns"].value
    if others is not None and isinstance(others.value, int) and isinstance(leader_ns, int):
        left_ns = max(0, others.value + leader_ns - cpu_ns)
        changed["other_load_ns"] = dataclasses.replace(others, value=left_ns)
    counted = {
        "voluntary_switches": "ru_nvcsw",
        "involuntary_switches": "ru_nivcsw",
        "minor_faults": "ru_minflt",
        "major_faults": "ru_majflt",
    }
    for name, field in counted.items():
        total = sum(one.usage[field] for one in measured)
        changed[name] = Reading(name, total, "1", f"getrusage {field}, summed over the instances")
    return [changed.get(one.name, one) for one in leader]


class _Instance:
    """An instance, as the leader of its group sees it; ends with the block.

    Args:
        job: of the group.
        number: of the instance.
    """

    def __init__(self, job: Job, number: int) -> None:
        self._job = job
        self._number = number
        command = conduct.python(
            "harness.measuring.instance", str(job.path), str(number), str(os.getpid())
        )
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise MachineError(
                f"{self._name} cannot be started: {error.strerror}",
                "give fewer `instances`, or check ulimit -u and -n",
            ) from error

    def __enter__(self) -> _Instance:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    @property
    def _name(self) -> str:
        places = self._job.places
        on = f" on CPUs {','.join(map(str, places[self._number].cpus))}" if places else ""
        return f"instance {self._number}{on}"

    def tell(self, command: object) -> None:
        """Sends a command.

        Raises:
            HarnessError: the instance has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.answer()

    def answer(self) -> Any:
        """Its next answer.

        Raises:
            HarnessError: it failed, or has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer = json.loads(line)
            if not isinstance(answer, dict) or "error" not in answer:
                return answer
            error = msgspec.convert(answer["error"], PlainError).restored()
            raise type(error)(f"{self._name}: {error.message}", error.remedy)
        code = self._process.wait()
        if code == -signal.SIGKILL:
            raise MachineError(
                f"{self._name}: killed by SIGKILL, most likely by the kernel because memory ran "
                "out; its group is void",
                "see dmesg, or give fewer `instances`",
            )
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        raise HarnessError(
            f"{self._name}: {how}; its group is void",
            "try fewer `instances` or another `library`; if it persists, report it with the model",
        )

    def started(self) -> Started:
        """What it says once it has made its first inference."""
        return msgspec.convert(self.answer(), Started)

    def measured(self) -> Measured:
        """What it left of the window that is over."""
        self.answer()
        path = result_file(self._job, self._number)
        return handover.read(path, Measured)
