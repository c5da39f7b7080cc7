"""Checks of a request that can be made before anything is measured."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterator
from pathlib import Path

from harness.config.profile import ProfileConfig
from harness.config.session import ORT
from harness.errors import MachineError, RequestError
from harness.machine.cpu_lists import cpu_ranges
from harness.machine.placement import Placement, place
from harness.machine.topology import topology
from harness.measuring import possible
from harness.measuring.handover import Job
from harness.measuring.observer import Observer
from harness.ort import config_keys, providers
from harness.records import GROUP_FACTS, Absent, Reading
from harness.storage import files


def output_file(config: ProfileConfig, created: datetime.datetime) -> Path:
    """The file to write.

    Raises:
        RequestError: the file exists already.
    """
    target = config.output
    if target is None:
        stem = Path(config.model).stem
        stamp = created.strftime("%Y%m%dT%H%M%SZ")
        target = Path("profiles") / f"{stem}-{runs_on(config)}-{stamp}.h5"
    files.refuse_existing(target, force=config.force)
    return target


def runs_on(config: ProfileConfig) -> str:
    """Where the model runs, as names of files say it: its provider, after another runtime."""
    provider = config.session.provider
    return provider if config.runtime == ORT else f"{config.runtime}-{provider}"


@contextlib.contextmanager
def folder_of(target: Path) -> Iterator[None]:
    """Creates the output folder, and removes it again if nothing was written into it.

    Raises:
        RequestError: it cannot be created or written to.
    """
    folder = target.parent
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"{folder}: cannot be created: {error.strerror}", "choose another `output`"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RequestError(f"{folder}: the folder is not writable", "choose another `output`")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # one that is not empty stays
            for each in made:
                each.rmdir()


def placement(config: ProfileConfig, cpus: set[int]) -> Placement | None:
    """Where the instances run; None if they are not placed.

    Args:
        config: what to measure.
        cpus: that may be used.

    Raises:
        RequestError: they cannot be placed so.
    """
    if config.instances is None:
        return None
    threads = config.session.intra_threads or None
    return place(topology(allowed=cpus), config.instances, threads)


def group_facts(job: Job) -> tuple[Reading, ...]:
    """Facts of a group: instances, threads and callers of each; none where one is measured."""
    if not job.config.is_group:
        return ()
    source = "the request, and /sys/devices/system for places"
    threads = job.config.session.intra_threads
    why = "" if threads else "ONNX Runtime chose"
    cpus = "; ".join(cpu_ranges(one.cpus) for one in job.places)
    instances, of_each, callers, placed = GROUP_FACTS
    return (
        Reading(instances, max(len(job.places), 1), "1", source),
        Reading(of_each, threads or None, "1", source, why),
        Reading(callers, job.config.callers, "1", source),
        Reading(placed, cpus or None, "", source, "" if cpus else "one session, not placed"),
    )


def left_out(config: ProfileConfig) -> tuple[Absent, ...]:
    """What is not measured of a group."""
    if not config.is_group:
        return ()
    reason = "not recorded of callers side by side: profile one session for its operators"
    return (("trace", reason),)


def fit_to_cpus(
    config: ProfileConfig, cpus: set[int], placed: Placement | None, observer: Observer
) -> ProfileConfig:
    """The configuration, with a thread count that keeps ORT's threads on the requested CPUs.

    Args:
        config: what to measure.
        cpus: that may be used.
        placed: where its instances run.
        observer: is warned.
    """
    if config.is_group:
        config = dataclasses.replace(config, trace=())
    if placed is not None:
        for note in placed.notes:
            observer.warning(note)
        session = dataclasses.replace(config.session, intra_threads=placed.threads)
        return dataclasses.replace(config, session=session)
    if config.affinity is not None and not config.session.intra_threads:
        # When ORT chooses the number of threads, it also pins them itself, to any CPU of the
        # machine and regardless of the affinity they inherit.
        session = dataclasses.replace(config.session, intra_threads=len(cpus))
        config = dataclasses.replace(config, session=session)
    if config.session.intra_threads > len(cpus):
        observer.warning(
            f"`intra_threads` {config.session.intra_threads} on {len(cpus)} "
            f"CPU{'s' if len(cpus) != 1 else ''}: threads will wait for each other, "
            "latencies will be longer and more scattered"
        )
    return config


def usable_cpus(text: str | None) -> set[int]:
    """The CPUs in a list in Linux notation, such as ``0-3,8``; for None, all allowed ones.

    Raises:
        RequestError: it is not such a list, or names a CPU that this process may not use.
    """
    allowed = os.sched_getaffinity(0)
    if text is None:
        return allowed
    cpus: set[int] = set()
    for part in possible.cpus_named(text):
        missing = next((cpu for cpu in part if cpu not in allowed), None)
        if missing is not None:
            raise RequestError(
                f"`affinity` {text}: this process may not use CPU {missing}",
                f"choose among {cpu_ranges(allowed)}",
            )
        cpus.update(part)
    return cpus


def require_custom_ops(config: ProfileConfig) -> None:
    """Refuses custom-operator libraries that do not exist.

    Raises:
        RequestError: a library does not exist.
    """
    for path in config.session.custom_ops:
        if not path.is_file():
            raise RequestError(
                f"`custom_ops` {path}: no such file",
                "give the shared library that exports RegisterCustomOps",
            )


def warn_of_unread_keys(config: ProfileConfig, library: Path, observer: Observer) -> None:
    """Warns of session config entries that nothing reads, most likely because of a typo."""
    session = config.session
    if not session.entries:
        return
    plugins = [one.plugin for one, _ in providers.chain(session) if one.plugin]
    others = [*(library.parent / name for name in plugins), *session.custom_ops]
    for key, nearest in config_keys.unread(session.entries, library, others).items():
        hint = f"; its closest key is {nearest}" if nearest else ""
        observer.warning(f"`entries` {key}: {library.name} contains no such string{hint}")


def require_provider(config: ProfileConfig, library: Path) -> None:
    """Refuses a provider that cannot work, before anything is measured.

    Raises:
        RequestError: there is no such provider, or it takes no options but some are given.
        MachineError: the provider cannot work here; the text says why.
    """
    possible.require_provider_options(config)
    require_usable(config.session.provider, library)


def require_usable(name: str, library: Path) -> None:
    """Refuses a provider that cannot work here.

    Args:
        name: of the provider.
        library: libonnxruntime that shall load it.

    Raises:
        RequestError: there is no such provider.
        MachineError: it cannot work here; the text says why.
    """
    provider = providers.by_name(name)
    if provider.state is None:
        return
    state, remedy = provider.state(library)
    if state.value is None:
        raise MachineError(
            f"`provider` {provider.name} cannot be used here: {state.reason}", remedy
        )
