"""One instance of a group: ``python -m harness.measuring.instance JOB NUMBER PARENT``.

A session in a process of its own, on the CPUs and the memory of its place. It does what the leader
of the group (``group``) tells it on stdin, a JSON object a line, and answers on stdout. What it
measured it leaves in a file.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec

from harness.config.profile import ProfileConfig
from harness.errors import HarnessError, MachineError
from harness.machine import memory_policy
from harness.machine.cpu_lists import cpu_ranges
from harness.measuring import conduct, handover
from harness.measuring.callers import Called, Callers, Window
from harness.measuring.handover import Job, PlainError
from harness.ort import providers
from harness.ort.session import bind, load_provider_libraries, open_library, open_session


class Started(NamedTuple):
    """What an instance says when it has made its first inference.

    Attributes:
        cpus: that it may use, as the kernel tells them.
        memory: its memory policy likewise; empty where the kernel does not tell.
        memory_reason: why not; empty otherwise.
        library_ns: opening libonnxruntime.
        provider_ns: loading the execution providers' libraries; 0 where they are built in.
        session_ns: creating its session.
        first_inference_ns: its first inference.
        private_bytes: memory that it shares with no other process; -1 if not known.
    """

    cpus: str
    memory: str
    memory_reason: str
    library_ns: int
    provider_ns: int
    session_ns: int
    first_inference_ns: int
    private_bytes: int


class Measured(NamedTuple):
    """What an instance leaves of a window.

    Attributes:
        called: by each of its threads.
        pss_bytes: its memory, of what it shares with others its part; None if not known.
        pages_bytes: its pages that the kernel tells the place of; None likewise.
        local_bytes: those of them on the nodes of its place; None likewise.
        reasons: why what is not known is not, by its name.
        cpu_time_ns: CPU time of all its threads, from before the window until it was over.
        usage: counters of its process over the same time: getrusage(2) fields by name.
        log: lines that ONNX Runtime logged since the last window.
    """

    called: list[Called]
    pss_bytes: int | None
    pages_bytes: int | None
    local_bytes: int | None
    reasons: dict[str, str]
    cpu_time_ns: int
    usage: dict[str, int]
    log: list[str]


#: What Measured.usage holds.
USAGE = ("ru_nvcsw", "ru_nivcsw", "ru_minflt", "ru_majflt")


def result_file(job: Job, number: int) -> Path:
    """Where an instance leaves a window's Measured."""
    return job.work_folder / f"instance-{number}.json"


def _work(path: Path, number: int, parent: int) -> None:
    # Libraries print to descriptor 1 as they like.
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = Job.read(path)
    with conduct.process(job, parent, _tell_error):
        place = job.places[number] if job.places else None
        memory, reason = "default", ""
        if place is not None:
            os.sched_setaffinity(0, place.cpus)
            memory, reason = _place_memory(job.config, place.nodes)
        library = open_library(job.library, job.config.session)
        began_ns = time.monotonic_ns()
        load_provider_libraries(library, job.config.session)
        provider_ns = time.monotonic_ns() - began_ns
        session = open_session(library, job.model, job.config.session)
        provider = providers.by_name(job.config.session.provider)
        inputs = handover.read_inputs(job)
        where: tuple[Any, ...] = ()
        if provider.synchronise is not None:
            where = ("resident", provider.synchronise())
        bindings = [bind(session, inputs, *where) for _ in range(job.config.callers)]
        first_ns = bindings[0].run()
        for binding in bindings[1:]:
            binding.run()
        _tell(
            Started(
                cpus=cpu_ranges(os.sched_getaffinity(0)),
                memory=memory,
                memory_reason=reason,
                library_ns=library.open_ns,
                provider_ns=provider_ns + session.provider_ns if provider.plugin else 0,
                session_ns=session.create_ns,
                first_inference_ns=first_ns,
                private_bytes=_or_unknown(memory_policy.private_bytes),
            )
        )
        commands, over = _commands()
        callers = Callers(bindings)
        while (command := commands.get()) is not None:
            if "warm_up_s" in command:
                _tell(callers.warm_up(command["warm_up_s"]))
                continue
            window = Window(**command)
            usage, cpu_ns = resource.getrusage(resource.RUSAGE_SELF), time.process_time_ns()
            called = callers.measure(window, lambda: _tell("left"), over)
            over.clear()
            cpu_ns = time.process_time_ns() - cpu_ns
            after = resource.getrusage(resource.RUSAGE_SELF)
            known, reasons = _memory(place.nodes if place is not None else None)
            measured = Measured(
                called=called,
                pss_bytes=known.get("pss_bytes"),
                pages_bytes=known.get("pages_bytes"),
                local_bytes=known.get("local_bytes"),
                reasons=reasons,
                cpu_time_ns=cpu_ns,
                usage={name: getattr(after, name) - getattr(usage, name) for name in USAGE},
                log=library.take_log(),
            )
            handover.write(result_file(job, number), measured)
            _tell("measured")
    conduct.end()


def _place_memory(config: ProfileConfig, nodes: tuple[int, ...]) -> tuple[str, str]:
    """Sets the memory policy; returns it as the kernel tells it, or why it does not.

    Raises:
        MachineError: it was asked for, and the kernel refuses.
    """
    try:
        memory_policy.set_policy(config.memory or "local", nodes)
        return memory_policy.described(), ""
    except OSError as error:
        if config.memory:
            raise MachineError(
                f"`memory` {config.memory}: the kernel refuses: {error.strerror}",
                "drop it, or allow set_mempolicy(2) (containers: with the capability SYS_NICE)",
            ) from error
        return "", f"set_mempolicy: {error.strerror}"


def _memory(nodes: tuple[int, ...] | None) -> tuple[dict[str, int], dict[str, str]]:
    """What is known of this process's memory, and why the rest is not."""
    known: dict[str, int] = {}
    reasons: dict[str, str] = {}
    try:
        known["pss_bytes"] = memory_policy.proportional_bytes()
    except (OSError, ValueError) as error:
        reasons["pss_bytes"] = str(error)
    if nodes is None:
        reasons["local_bytes"] = "the session is not placed"
        return known, reasons
    try:
        known["local_bytes"], known["pages_bytes"] = memory_policy.pages_on(nodes)
    except (OSError, ValueError) as error:
        reasons["local_bytes"] = str(error)
    return known, reasons


def _or_unknown(read: Any) -> int:
    try:
        return int(read())
    except (OSError, ValueError):
        return -1


def _commands() -> tuple[queue.SimpleQueue[dict[str, Any] | None], threading.Event]:
    """Commands of the leader, None when there are no more; and the event that a window is over."""
    commands: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    over = threading.Event()

    def read() -> None:
        for line in sys.stdin:
            command = json.loads(line)
            if command == "over":
                over.set()
            else:
                commands.put(command)
        commands.put(None)

    threading.Thread(target=read, daemon=True).start()
    return commands, over


def _tell(answer: object) -> None:
    sys.stdout.write(json.dumps(msgspec.to_builtins(answer)) + "\n")
    sys.stdout.flush()


def _tell_error(_job: Job, error: HarnessError) -> NoReturn:
    _tell({"error": PlainError.of(error)})
    sys.exit(error.exit_code)


if __name__ == "__main__":
    _work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
