"""A traced pass summed up by inference and node."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import ProfileFileError
from harness.records import NodeEvents
from harness.statistics.figures import Float64Array


@dataclasses.dataclass(frozen=True, slots=True)
class Cells:
    """A traced pass by inference and node; only inferences recorded in full.

    Attributes:
        own, total: float64[inferences, nodes], ns.
        calls: int32[inferences, nodes], executions.
        process: int64[inferences], ProcessRecord.index.
        duration, framework: int64[inferences], ns.
        probes: float64[inferences], cost of the probes, ns.
    """

    own: Float64Array
    total: Float64Array
    calls: npt.NDArray[np.int32]
    process: npt.NDArray[np.int64]
    duration: npt.NDArray[np.int64]
    framework: npt.NDArray[np.int64]
    probes: npt.NDArray[np.float64]

    @classmethod
    def of(cls, node_count: int, events: NodeEvents) -> Cells:
        """Sums the events of ``node_count`` nodes, one part of the events at a time.

        Raises:
            ProfileFileError: an event belongs to no inference of the table.
        """
        inferences = len(events.inference_number)
        shape = (inferences, node_count)
        own, total, calls = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int32)
        probes = np.zeros(inferences)
        # An event finds its (process, inference) pair in the inference table.
        span = 1 << 31  # more than any number of an inference
        known = events.inference_process.astype(np.int64) * span + events.inference_number
        order = np.argsort(known)
        known = known[order]
        for part in events.parts() if inferences else ():
            keys = part.process.astype(np.int64) * span + part.inference
            place = np.minimum(np.searchsorted(known, keys), inferences - 1)
            if not np.array_equal(known[place], keys):
                raise ProfileFileError(
                    "damaged: an event belongs to no inference of its trace",
                    "take a copy of it, or profile again",
                )
            place = order[place]
            cell = place * node_count + part.node
            _add(own, cell, part.self_ns)
            _add(total, cell, part.duration_ns)
            _add(calls, cell, None)
            if "probe_cost_ns" in part.details:
                _add(probes, place, part.details["probe_cost_ns"])
        whole = events.inference_duration_ns >= 0
        if not whole.all():
            own, total, calls, probes = own[whole], total[whole], calls[whole], probes[whole]
        return cls(
            own=own,
            total=total,
            calls=calls,
            process=events.inference_process[whole].astype(np.int64),
            duration=events.inference_duration_ns[whole],
            framework=events.inference_framework_ns[whole],
            probes=probes,
        )

    def own_ns(self, members: Sequence[int]) -> Float64Array:
        """Own time of some nodes together, by inference."""
        own: Float64Array = self.own[:, members].sum(axis=1)
        return own

    def medians_ns(self, values: Float64Array) -> Float64Array:
        """float64[processes], the median of each over its inferences.

        Args:
            values: float64[inferences], one for each.
        """
        indices = np.unique(self.process)
        return np.array([float(np.median(values[self.process == one])) for one in indices])

    def sums(
        self, members: Sequence[int], outermost: Sequence[int]
    ) -> tuple[Float64Array, Float64Array, npt.NDArray[np.int64]]:
        """(own time, total time, executions) of some nodes together, by inference.

        Args:
            members: their rows.
            outermost: those of them nested in no other, whose total time includes the rest.
        """
        return (
            self.own_ns(members),
            self.total[:, outermost].sum(axis=1),
            self.calls[:, members].sum(axis=1),
        )


def _add(
    table: npt.NDArray[Any], cell: npt.NDArray[np.int64], values: npt.NDArray[np.int64] | None
) -> None:
    """Adds the values, or ones, to cells of a table.

    Events come in the order of time, so the cells of one part lie close together and only that
    range is touched.
    """
    first = int(cell.min())
    sums = np.bincount(cell - first, values)
    flat = table.reshape(-1)[first : first + len(sums)]
    flat += sums.astype(table.dtype, copy=False)
