"""The kinds of variants, and how they are written: ``fp16``, ``prune-channels:0.5``."""

from __future__ import annotations

import dataclasses
import math

from harness.errors import RequestError

FP16 = "fp16"
INT8_DYNAMIC = "int8-dynamic"
INT8_STATIC = "int8-static"
PRUNE_WEIGHTS = "prune-weights"
PRUNE_CHANNELS = "prune-channels"

#: How each kind is written.
WRITTEN = (FP16, INT8_DYNAMIC, INT8_STATIC, f"{PRUNE_WEIGHTS}:P", f"{PRUNE_CHANNELS}:P")

_PRUNING = (PRUNE_WEIGHTS, PRUNE_CHANNELS)

#: Norms by which channels and heads are ranked.
NORMS = ("l2", "l1")


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What is done to a model.

    Attributes:
        name: one of the constants above.
        share: of the weights or channels that is pruned, above 0 and below 1; None for the others.
        norm: ranks channels and heads by magnitude, one of NORMS.
    """

    name: str
    share: float | None = None
    norm: str = NORMS[0]

    def __str__(self) -> str:
        """As it is written, which is also what ``parse`` reads."""
        if self.share is None:
            return self.name
        norm = "" if self.norm == NORMS[0] else f":{self.norm}"
        return f"{self.name}:{self.share:g}{norm}"

    @property
    def in_file_names(self) -> str:
        """As it is written in a file's name, where a colon troubles shells and other systems."""
        return str(self).replace(":", "-")


def parse(text: str) -> Kind:
    """The kind that is written so.

    ``prune-channels:P:l1`` ranks by the sum of magnitudes; without it, by the Euclidean norm.

    Raises:
        RequestError: there is no such kind, or its share is no number above 0 and below 1.
    """
    name, *rest = text.split(":")
    if name not in (FP16, INT8_DYNAMIC, INT8_STATIC, *_PRUNING):
        raise RequestError(f"`kind` {text}: not known", f"choose one of {', '.join(WRITTEN)}")
    if name not in _PRUNING:
        if rest:
            raise RequestError(f"`kind` {text}: takes nothing after the colon", f"give {name}")
        return Kind(name)
    most = 2 if name == PRUNE_CHANNELS else 1
    try:
        share = float(rest[0])
    except (IndexError, ValueError):
        share = math.nan
    if not 0 < share < 1:
        raise RequestError(
            f"`kind` {text}: P is the share to prune, above 0 and below 1",
            f"give `kind` {name}:0.5 for a half",
        )
    if len(rest) > most or (len(rest) == 2 and rest[1] not in NORMS):
        raise RequestError(f"`kind` {text}: cannot be read", f"choose one of {', '.join(WRITTEN)}")
    return Kind(name, share, *rest[1:])
