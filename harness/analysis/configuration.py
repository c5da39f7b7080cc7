"""What profiles have in common that differ by their occasions only, and copies of one profile.

Everything that puts profiles together goes by this: the history of ``compare``, the occasions of
``calibrate`` and the series of ``history``.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from harness.analysis.used_gpu import used_index
from harness.config.session import SessionConfig
from harness.ort import providers
from harness.records import RUNTIME_VERSION, Outline, Profile

#: What the session options are where the file, of an older version, does not say: what an option
#: does by default is what was done before there was such an option.
SESSION_DEFAULTS: Mapping[str, Any] = {
    field.name: default
    for field, default in zip(
        dataclasses.fields(SessionConfig), dataclasses.astuple(SessionConfig()), strict=True
    )
    if field.name not in ("library", "strict")  # told by the facts; changes nothing that runs
}

#: What makes callers side by side; missing in files of older versions, as where there is one.
GROUP = ("instances", "memory", "concurrency")

#: Facts that must agree for two profiles to be of the same machine.
_MACHINE = ("cpu_model", "cpu_threads", "affinity_cpus")

#: Likewise of a GPU, besides its name.
_DEVICE = ("gpu_used_uuid", "gpu_used_mig")

#: Likewise of the software that runs the model, and of that for a GPU.
_VERSIONS = ("ort_version", "ort_build", RUNTIME_VERSION)
_DEVICE_VERSIONS = ("nvml_driver",)


def configuration(
    of: Outline | Profile, *, versions: bool = True, without: Collection[str] = ()
) -> tuple[str, ...]:
    """What must agree for two profiles to differ by their occasions only.

    The model, the shapes, types and values of the inputs, the runtime and its options, provider,
    session options, threads, affinity and callers side by side, the CPU, the GPU where one was
    used, and the versions of the runtime and of the GPU's driver. How long and in how many
    processes it was measured, and what was traced after the timed pass, may differ.

    Args:
        of: the profile.
        versions: without them, profiles of other versions are of the same configuration, too.
        without: options of the session that may differ.
    """
    asked, facts = of.asked, facts_of(of)
    machine = _MACHINE + (_VERSIONS if versions else ())
    device = _DEVICE + (_DEVICE_VERSIONS if versions else ())
    gpu = f"gpu{used_index(facts)}_name" if on_device(of.provider) else ""
    parts: list[object] = [
        of.model_sha256 if isinstance(of, Outline) else of.model.sha256,
        [(one.dtype, one.shape, one.sha256) for one in of.inputs],
        of.provider,
        {
            name: asked.session.get(name, default)
            for name, default in SESSION_DEFAULTS.items()
            if name not in without
        },
        [asked.runtime, dict(asked.runtime_options)],
        asked.affinity,
        [asked.options.get(name) or None for name in GROUP],
        [facts.get(name) for name in machine],
        [facts.get(name) for name in (gpu, *device)] if gpu else None,
    ]
    return tuple(map(as_json, parts))


def facts_of(of: Outline | Profile) -> Mapping[str, int | float | str]:
    """The values of the facts that are known, by name."""
    if isinstance(of, Outline):
        return of.facts
    return {one.name: one.value for one in of.environment if one.value is not None}


def measurement(of: Outline | Profile) -> tuple[object, ...]:
    """What copies of one profile share, and nothing else in a folder.

    Not the median: of a profile that was read it is calculated, of an outline it is the one stored.
    """
    if isinstance(of, Outline):
        return (of.created, of.processes, of.samples)
    return (of.created, len(of.processes), sum(len(one.steady) for one in of.processes))


def occasion(of: Outline | Profile) -> tuple[object, ...]:
    """What copies of one profile share, and both sides of an ``ab``, which it measured by turns.

    Two profiles of the same configuration and of one occasion count once.
    """
    paired = of.asked.interleaved_with
    return (paired,) if paired else measurement(of)


def same_measurement(one: Profile, other: Profile) -> bool:
    """Whether two whole profiles are copies, by the processes' own clocks."""
    first, second = (each.processes[0] if each.processes else None for each in (one, other))
    if first is None or second is None:
        return False
    return first.pid == second.pid and np.array_equal(first.steady.start_ns, second.steady.start_ns)


def created(of: Outline | Profile) -> datetime.datetime | None:
    """When it was measured; None if the file says nothing that makes sense."""
    try:
        told = datetime.datetime.fromisoformat(of.created)
        return told.astimezone(datetime.UTC) if told.tzinfo else told.replace(tzinfo=datetime.UTC)
    except (ValueError, OverflowError):
        return None


@functools.cache
def on_device(provider: str) -> bool:
    """Whether a provider, by its name, is known to use a device."""
    known = providers.known(provider)
    return known is not None and known.on_device


def as_json(value: object) -> str:
    """A value as JSON: a tuple is a list, as in files."""
    return json.dumps(value, sort_keys=True, default=str)
