"""Reads of a file of version 1 only what tells it from others: a few milliseconds a file."""

from __future__ import annotations

import re

from harness.memory_budget import Budget
from harness.records import OUTLINED, Outline
from harness.storage.checked import Group
from harness.storage.columns import ProfileFile
from harness.storage.v1.read import is_process, read_facts, read_inputs, require_object

#: How far a stored median may lie outside its stored interval.
_ROUNDING = 1e-6

_NAME_OF_GPU = re.compile(r"gpu\d{1,4}_name")


def outline(profile: ProfileFile) -> Outline:
    """What a profile in a file of version 1 says about itself.

    Raises:
        ProfileFileError: what is read of it is damaged.
    """
    with profile.opened() as file:
        root = Group(profile, file["/"], Budget(profile.data_bytes))
        config = root.text_attribute("config")
        require_object(config)
        model = root.group_of("model")
        median_ns, interval_ns, samples = _figures(root)
        return Outline(
            path=profile.path,
            harness_version=root.text_attribute("harness_version"),
            created=root.text_attribute("created"),
            complete=root.flag("complete"),
            config=config,
            provider=root.text_attribute("provider"),
            model=model.text_attribute("name"),
            model_sha256=model.text_attribute("sha256"),
            inputs=read_inputs(root.group_of("inputs")),
            facts=_facts(root.group_of("environment")),
            processes=_processes(root.group_of("processes")),
            median_ns=median_ns,
            interval_ns=interval_ns,
            samples=samples,
        )


def _facts(group: Group) -> dict[str, int | float | str]:
    """The facts that an outline holds, without those that are absent."""
    names = group.texts("name")
    return {
        name: value
        for name, value in zip(names, read_facts(group, len(names)), strict=True)
        if value is not None and (name in OUTLINED or _NAME_OF_GPU.fullmatch(name))
    }


def _processes(group: Group) -> int:
    count = sum(map(is_process, group))
    if not count:
        raise ValueError("/processes: is empty")
    return count


def _figures(root: Group) -> tuple[float | None, tuple[float, float] | None, int | None]:
    """The median, its interval, and the number of samples, as far as they are stored.

    None of them where the interval does not hold the median: then at least one was not measured.
    """
    if "summary" not in root:
        return None, None, None
    summary = root.group_of("summary")
    low, high = (summary.figure(f"latency_interval_{side}_ns") for side in ("low", "high"))
    median = summary.figure("latency_median_ns")
    samples = summary.figure("latency_samples")
    if low is not None and high is not None:
        centre = low if median is None else median
        # Calculated apart, so a last digit may differ. The whole reader trusts none of these
        # either: it calculates them from the samples.
        if low > high or not low * (1 - _ROUNDING) <= centre <= high * (1 + _ROUNDING):
            return None, None, None
    return (
        median,
        None if low is None or high is None else (low, high),
        None if samples is None else int(samples),
    )
