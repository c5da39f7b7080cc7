"""Searches the best layout of a model's instances on this machine.

The model is read and its inputs are chosen once. Every group of every layout is then measured as
``harness.measuring.group`` measures those of a profile, so that the profile which the winner's
command takes is of the same thing. Only one of the instances alone is left out: the efficiency
that it tells decides nothing here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from harness.analysis.instances import too_few
from harness.analysis.throughput import time_per_inference_ns
from harness.config.profile import ProfileConfig
from harness.errors import HarnessError, RequestError
from harness.machine.topology import topology
from harness.measuring import handover, request, spawning
from harness.measuring.observer import Observer
from harness.measuring.plan import divide_time
from harness.measuring.profile import Measuring, interruptible, started
from harness.measuring.stopwatch import Stopwatch
from harness.ort import providers
from harness.records import ITEMS, Reading
from harness.statistics.figures import percentile
from harness.storage import shards
from harness.study.layouts.candidates import Layout, Unfit, candidates
from harness.study.layouts.records import LayoutStudy, Measured
from harness.study.layouts.search import OnGroup, search


def study_layouts(
    config: ProfileConfig,
    *,
    budget_s: float,
    limit_ns: float | None,
    seed: int,
    observer: Observer,
    on_planned: Callable[[int], None] = lambda _: None,
    on_group: OnGroup = lambda *_: None,
) -> LayoutStudy:
    """Measures layouts of a model until the best one is told from the others.

    Args:
        config: what to measure. Its instances, threads and memory are those of each layout, so
            they must not be set; ``duration_s`` is the window of a group (default: 0.3).
        budget_s: see ``search.search``; the preparation is not part of it.
        limit_ns: likewise.
        seed: of the order in which layouts are measured.
        observer: is told of the preparation.
        on_planned: called with the number of layouts before the first one is measured.
        on_group: called after each group.

    Returns:
        What was found; of an interrupted search, what was known until then.

    Raises:
        RequestError: the request is wrong.
        ModelError: the model cannot be read or does not run.
        MachineError: this machine cannot do what was asked for.
        Interrupted: before anything was measured.
    """
    with interruptible(), groups(config, observer) as measuring:
        on_planned(len(measuring.layouts))
        found = search(
            measuring.layouts,
            measuring.measure,
            seed=seed,
            budget_s=budget_s,
            limit_ns=limit_ns,
            on_group=on_group,
        )
        return LayoutStudy(
            found=found,
            unfit=tuple(measuring.unfit),
            model=measuring.model,
            items=measuring.items,
            limit_ns=limit_ns,
            budget_s=budget_s,
        )


@contextlib.contextmanager
def groups(config: ProfileConfig, observer: Observer) -> Iterator[Groups]:
    """Prepares a model, whose groups can then be measured inside the block.

    Args:
        config: as ``study_layouts`` takes it.
        observer: is told of the preparation.

    Raises:
        HarnessError: as ``study_layouts`` does.
    """
    if providers.by_name(config.session.provider).on_device:
        raise RequestError(
            f"`provider` {config.session.provider}: layouts are of the CPUs of a machine",
            "drop it; instances that share a device: harness profile MODEL `instances` N",
        )
    with tempfile.TemporaryDirectory(prefix="harness-layout-") as folder:
        base = dataclasses.replace(
            config,
            processes=1,
            quick=True,
            trace=(),
            sample_hz=0.0,
            output=Path(folder, "layout.h5"),
        )
        with started(base, observer, Stopwatch()) as measuring:
            layouts, unfit = candidates(topology(allowed=request.usable_cpus(config.affinity)))
            yield Groups(measuring, layouts, unfit)


class Groups:
    """Measures groups of layouts with one preparation.

    Args:
        measuring: of the model, prepared.
        layouts: that can be tried.
        unfit: that cannot.

    Attributes:
        layouts: as given.
        unfit: as given.
    """

    def __init__(self, measuring: Measuring, layouts: list[Layout], unfit: list[Unfit]) -> None:
        self.layouts = layouts
        self.unfit = unfit
        self._measuring = measuring
        self._calibration = handover.read_calibration(measuring.job)
        self._groups = 0

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._measuring.job.model_name

    @property
    def items(self) -> Reading:
        """Fed to each inference: the batch size, or why it is not known."""
        return next(fact for fact in self._measuring.preparation.facts if fact.name == ITEMS)

    def measure(self, layout: Layout) -> Measured:
        """One group.

        Raises:
            HarnessError: the layout does not work here.
        """
        number = self._groups
        self._groups += 1
        job = self._job(layout)
        job.write()
        plan = divide_time(
            job.config,
            self._calibration.latency_ns,
            self._calibration.session_ns,
            executions=0,
            profiled_ns=0,
            insertable=False,
        )
        shard_file = self._measuring.partial / shards.file_name(number)
        try:
            spawning.measure(job, plan, _nobody_waits, self._measuring.clock, first=number)
            shard = shards.read_shard(self._measuring.partial, number)
        finally:
            with contextlib.suppress(OSError):
                shard_file.unlink()
        if shard.instances is not None and (reason := too_few(shard.instances)):
            raise HarnessError(reason)
        items = self.items.value if isinstance(self.items.value, int) else 1
        durations_ns = shard.process.steady.duration_ns
        return Measured(
            items_per_s=items * 1e9 / time_per_inference_ns(shard.process),
            median_ns=float(np.median(durations_ns)),
            p99_ns=percentile(durations_ns, 99).value,
        )

    def _job(self, layout: Layout) -> handover.Job:
        base = self._measuring.job
        if layout.asked is None:
            return base
        config = dataclasses.replace(
            base.config,
            session=dataclasses.replace(base.config.session, intra_threads=layout.threads),
            instances=layout.asked,
            memory=layout.memory,
        )
        return dataclasses.replace(base, config=config, places=layout.places, alone_too=False)


def _nobody_waits(_finished: int) -> None:
    """Ignores single processes: progress is reported group by group."""
