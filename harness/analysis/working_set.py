"""Which caches a node's data can still be in: what an inference touches since it last did.

Inferences follow each other and touch the same data. A byte is still in a cache if no more than
the cache holds was touched since its last use (its reuse distance). A constant was last used in
the inference before: everything that an inference touches lies in between. What a node hands on
was written earlier in the same inference: the distance is at least that data itself, and at most
the whole inference. docs/METHODS.md has the reasons.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis.ceilings import Level
from harness.records import NodeTable

#: A cache surely keeps what is half of its size and surely loses what is twice its size. In
#: between it depends on its associativity, on its replacement and on who else uses it.
_SURE = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """Bytes by the level that serves them, as near to the cores and as far as sizes allow.

    Attributes:
        near: float64, a value for each level.
        far: likewise; the same sum.
    """

    near: npt.NDArray[np.float64]
    far: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class WorkingSet:
    """What an inference touches, and what of it each node does.

    Attributes:
        least_bytes, most_bytes: different bytes that an inference touches. At least all
            constants and the data of one node; at most everything counted whenever it is
            touched, infinite where that is not known of a node.
        constants: float64[n], bytes of a node's constants in one execution.
        variables: float64[n], bytes of its other data.
        calls: float64[n], executions in an inference.
        levels: what can serve data, the nearest first.
    """

    least_bytes: float
    most_bytes: float
    constants: npt.NDArray[np.float64]
    variables: npt.NDArray[np.float64]
    calls: npt.NDArray[np.float64]
    levels: Sequence[Level]

    @classmethod
    def of(
        cls, nodes: NodeTable, calls: npt.NDArray[np.float64], levels: Sequence[Level]
    ) -> WorkingSet:
        """Of the nodes that ran.

        Args:
            nodes: the executed graph.
            calls: float64[n], executions of each in an inference.
            levels: what can serve data, the nearest first.
        """
        traffic = nodes.traffic_bytes.astype(float)
        reported = nodes.activation_bytes + nodes.output_bytes
        told = (nodes.activation_bytes >= 0) & (nodes.output_bytes >= 0)
        # What neither came in from another node nor goes out to one is a constant: also a weight
        # that ORT repacked and no longer reports, and the rows that are read of a table.
        constants = np.where((traffic >= 0) & told, np.maximum(traffic - reported, 0), 0)
        variables = np.maximum(traffic, 0) - constants
        # Without a formula, at most what ORT says the node was given and gave.
        parameters = np.where(nodes.parameter_bytes >= 0, nodes.parameter_bytes, math.inf)
        given = np.where(told, reported + parameters, math.inf)
        most = np.where(traffic >= 0, traffic, given)
        ran = calls > 0
        return cls(
            least_bytes=float(constants[ran].sum() + variables[ran].max(initial=0)),
            most_bytes=float((most * np.maximum(calls, 1))[ran].sum()),
            constants=constants,
            variables=variables,
            calls=calls,
            levels=levels,
        )

    def served(self, rows: Mapping[int, float]) -> Served:
        """What serves the data of some nodes.

        Args:
            rows: how often each is executed, by row.
        """
        near, far = np.zeros((2, len(self.levels)))
        furthest = self._furthest(self.most_bytes)
        for row, count in rows.items():
            constants, variables = self.constants[row], self.variables[row]
            # Executed again in the same inference, a node meets its constants earlier.
            between = constants + variables if self.calls[row] > 1 else self.least_bytes
            near[self._nearest(between)] += count * constants
            near[self._nearest(variables)] += count * variables
            far[furthest] += count * (constants + variables)
        return Served(near, far)

    def _nearest(self, least_bytes: float) -> int:
        """The first level that can hold so much."""
        return next(
            at for at, level in enumerate(self.levels) if least_bytes <= _SURE * level.bytes
        )

    def _furthest(self, most_bytes: float) -> int:
        """The first level that surely holds so much, for every thread."""
        return next(
            (
                at
                for at, level in enumerate(self.levels)
                if level.shared and _SURE * most_bytes <= level.bytes
            ),
            len(self.levels) - 1,
        )
