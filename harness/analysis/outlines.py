"""Profiles by their outlines: which device, which options, and which ones are of the same thing."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from harness.analysis.configuration import (
    GROUP,
    SESSION_DEFAULTS,
    as_json,
    configuration,
    created,
    occasion,
    on_device,
)
from harness.analysis.used_gpu import used_index
from harness.config.session import ORT
from harness.records import OUTLINED, Outline, Profile
from harness.statistics import latency
from harness.storage.folder import contents

#: Characters of a sha256 from which on a text is taken for its beginning.
_LEAST_DIGEST = 6


def outline_of(profile: Profile) -> Outline:
    """The outline of a profile that was read, its figures calculated and not those stored.

    Raises:
        ValueError: it has no path.
    """
    if profile.path is None:
        raise ValueError("a profile that is not stored has no outline")
    figures = latency.latency(profile.processes) if profile.processes else None
    return Outline(
        path=profile.path,
        harness_version=profile.harness_version,
        created=profile.created,
        complete=profile.complete,
        config=profile.config,
        provider=profile.provider,
        model=profile.model.name,
        model_sha256=profile.model.sha256,
        inputs=profile.inputs,
        facts={
            one.name: one.value
            for one in profile.environment
            if one.value is not None and (one.name in OUTLINED or _names_gpu(one.name))
        },
        processes=len(profile.processes),
        median_ns=None if figures is None else figures.median_ns,
        interval_ns=None if figures is None else figures.interval_ns,
        samples=None if figures is None else figures.samples,
    )


def _names_gpu(fact: str) -> bool:
    return fact.startswith("gpu") and fact.endswith("_name") and fact[3:-5].isdecimal()


def device(outline: Outline) -> str:
    """Product name of the GPU that the provider used, or of the CPU; empty if not known."""
    name = "cpu_model"
    if on_device(outline.provider):
        name = f"gpu{used_index(outline.facts)}_name"
    return str(outline.facts.get(name, ""))


def options(outline: Outline) -> dict[str, Any]:
    """What was asked of the session besides provider and threads; runtime, affinity and callers.

    By field, only what differs from the default.
    """
    session, shown = outline.asked.session, {}
    for name, default in SESSION_DEFAULTS.items():
        value = session.get(name, default)
        if name not in ("provider", "intra_threads") and as_json(value) != as_json(default):
            shown[name] = value
    if outline.asked.runtime != ORT:
        shown = {"runtime": outline.asked.runtime} | shown
    if outline.asked.runtime_options:
        shown["runtime_options"] = dict(outline.asked.runtime_options)
    if outline.asked.affinity is not None:
        shown["affinity"] = outline.asked.affinity
    shown |= {name: value for name in GROUP if (value := outline.asked.options.get(name))}
    return shown


def options_line(outline: Outline) -> str:
    """The same in one line: ``optimization=basic no_arena=true``."""
    return " ".join(
        f"{name}={value if isinstance(value, str) else as_json(value)}"
        for name, value in options(outline).items()
    )


def inputs_line(outline: Outline, most: int) -> str:
    """What was fed in one line: types and shapes of so many inputs, and how many more there are."""
    shown = [
        f"{one.dtype} {'x'.join(map(str, one.shape)) or 'scalar'}" for one in outline.inputs[:most]
    ]
    more = len(outline.inputs) - len(shown)
    return ", ".join(shown) + (f" +{more}" if more else "")


def comparable(
    base: Outline, others: Iterable[Outline], *, without: Collection[Outline] = ()
) -> list[Outline]:
    """The other complete profiles of the same configuration, one an occasion, oldest first.

    Copies count once, known by when they were created and by their number of samples; so do the
    two sides of an ``ab``. Neither the base nor a copy of it is among them.

    Args:
        base: what they are to be beside.
        others: candidates, such as all profiles of a folder.
        without: others to leave out, with their copies: those that are compared with the base.
    """
    wanted = configuration(base)
    seen = {occasion(one) for one in (base, *without)}
    found = []
    for other in others:
        if not other.complete or other.median_ns is None or occasion(other) in seen:
            continue
        if other.model_sha256 == base.model_sha256 and configuration(other) == wanted:
            seen.add(occasion(other))
            found.append(other)
    return sorted(found, key=lambda one: (one.created, str(one.path)))


def comparable_beside(
    base: Outline,
    folder: Path | None = None,
    *,
    without: Collection[Outline] = (),
    announce: Callable[[int], None] | None = None,
) -> list[Outline]:
    """The comparable profiles of a folder, by default of the one that holds the base.

    Args:
        base: what they are to be beside.
        folder: where to look.
        without: others to leave out, as in ``comparable``.
        announce: called with the number of files that must be read, as in ``contents``.

    Raises:
        RequestError: the folder cannot be read.
    """
    found = contents(base.path.parent if folder is None else folder, announce)
    return comparable(base, found.profiles, without=without)


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """Which profiles to list; what is empty or None chooses all.

    Attributes:
        model: part of the model's name, or the first characters of its sha256 (6 or more), in
            any case.
        device: part of the name of the CPU or GPU, in any case.
        provider: the execution provider's name.
        since: when they were created at the earliest.
    """

    model: str = ""
    device: str = ""
    provider: str = ""
    since: datetime.datetime | None = None

    def fits(self, outline: Outline) -> bool:
        """Whether a profile is wanted."""
        model = self.model.casefold()
        digest = len(model) >= _LEAST_DIGEST and outline.model_sha256.startswith(model)
        if not digest and model not in outline.model.casefold():
            return False
        if self.device and self.device.casefold() not in device(outline).casefold():
            return False
        if self.provider and self.provider != outline.provider:
            return False
        if self.since is None:
            return True
        when = created(outline)
        return when is not None and when >= self.since


def chosen(outlines: Iterable[Outline], wanted: Wanted, order: str) -> list[Outline]:
    """The wanted profiles in this order: ``created``, ``median``, ``model`` or ``file``.

    The newest comes first, with ``model`` within each model. Without a median, it comes last.
    """
    early = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    found = sorted(filter(wanted.fits, outlines), key=lambda one: str(one.path))
    if order in ("created", "model"):
        found.sort(key=lambda one: created(one) or early, reverse=True)
    if order == "model":
        found.sort(key=lambda one: (one.model, one.model_sha256))
    if order == "median":
        found.sort(key=lambda one: float("inf") if one.median_ns is None else one.median_ns)
    return found
