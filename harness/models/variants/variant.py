"""What a variant is, and how far its outputs are from those of the original."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.models.variants.pruning import Left

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

#: Cosine between the outputs below which a variant is broken.
LEAST_COSINE = 0.95

#: Relative error of a tensor, as a ratio of Euclidean norms, from which on it departs.
DEPARTS = 0.1

#: Why outputs of a model with random weights tell nothing about accuracy.
RANDOM_WEIGHTS = (
    "the weights are random: the error says what the conversion does to numbers, and nothing about "
    "accuracy"
)

#: Names of outputs that are no scores of classes although their shape is that of some.
_NO_SCORES = re.compile("embed|hidden|feature|pool|latent", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class OutputError:
    """Outputs of a variant against those of the original, on the same inputs.

    Attributes:
        max: largest absolute error of any floating-point element.
        mean: mean absolute error of all these elements.
        max_relative: largest error of an output over its largest magnitude; of the worst output.
        mean_relative: mean error of an output over its mean magnitude; of the worst output.
        cosine: between an output of the original and of the variant, the elements of all input
            sets as one vector; of the worst output.
        top1: share of the examples whose largest score is that of the same class; None where the
            model is no classification.
        top1_reason: how that was decided, or why not.
        unlike: share of the elements of other types (labels, indices) that differ; None if none.
        inputs: input sets that were compared.
    """

    max: float
    mean: float
    max_relative: float
    mean_relative: float
    cosine: float
    top1: float | None
    top1_reason: str
    unlike: float | None
    inputs: int


@dataclasses.dataclass(frozen=True, slots=True)
class Departure:
    """The first node whose output departs.

    Attributes:
        node: its name in the original; empty if none departs.
        op_type: of it.
        tensor: its output.
        error: relative error there, as a ratio of Euclidean norms; of the largest if none departs.
        compared: tensors that both graphs have in the same shape, up to this one.
    """

    node: str
    op_type: str
    tensor: str
    error: float
    compared: int


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """A variant of a model.

    Attributes:
        file: of the variant.
        kind: as it is written.
        of: name of the original.
        of_sha256: of its file.
        error: against the original; None if they cannot be compared.
        error_reason: why not.
        broken: why it is broken; empty if it is not.
        bytes_before, bytes: of the files, external data included.
        seconds: that the conversion took.
        notes: what was mended, and what to know about the figures.
        pruned: layers of which something was removed, ``LABEL: KEPT of N``.
        left: layers that were not pruned, and why.
        departure: where the outputs depart, if it was asked for.
    """

    file: Path
    kind: str
    of: str
    of_sha256: str
    error: OutputError | None
    error_reason: str
    broken: str
    bytes_before: int
    bytes: int
    seconds: float
    notes: tuple[str, ...]
    pruned: tuple[str, ...]
    left: tuple[Left, ...]
    departure: Departure | None


class Incomparable(Exception):
    """The outputs have other shapes or types; the text says which."""


@dataclasses.dataclass(slots=True)
class _Sums:
    """Of one output, over all input sets."""

    size: int = 0
    error: float = 0.0
    largest_error: float = 0.0
    magnitude: float = 0.0
    largest: float = 0.0
    dot: float = 0.0
    square: float = 0.0
    square_of_variant: float = 0.0

    def add(self, wanted: npt.NDArray[Any], got: npt.NDArray[Any]) -> None:
        """Takes some finite elements, as float64."""
        off = np.abs(got - wanted)
        self.size += wanted.size
        self.error += float(off.sum())
        self.largest_error = max(self.largest_error, float(off.max(initial=0)))
        self.magnitude += float(np.abs(wanted).sum())
        self.largest = max(self.largest, float(np.abs(wanted).max(initial=0)))
        self.dot += float(wanted @ got)
        self.square += float(wanted @ wanted)
        self.square_of_variant += float(got @ got)

    @property
    def cosine(self) -> float:
        if not self.square or not self.square_of_variant:
            return float(self.square == self.square_of_variant)
        return min(self.dot / math.sqrt(self.square) / math.sqrt(self.square_of_variant), 1.0)

    @property
    def relative(self) -> tuple[float, float]:
        """Largest and mean error over largest and mean magnitude; infinite where these are 0."""
        return tuple(  # type: ignore[return-value]
            error / scale if scale else (math.inf if error else 0.0)
            for error, scale in (
                (self.largest_error, self.largest),
                (self.error, self.magnitude),
            )
        )


class Comparison:
    """Outputs of two models, one input set after the other.

    Attributes:
        not_finite: the output that held NaN or infinity where the original's did not; or empty.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._sums: dict[str, _Sums] = {}
        self._others = self._unlike = self._sets = 0
        self._examples = self._agreed = 0
        self._scores: tuple[bool, str] | None = None
        self.not_finite = ""

    def add(self, wanted: Sequence[Any], got: Sequence[Any]) -> None:
        """Takes the outputs of both models on one input set, in the model's order.

        Raises:
            Incomparable: they differ in number, type or shape.
        """
        one, other = (
            [leaf for name, value in zip(self._names, values, strict=True)
             for leaf in _leaves(name, value)]
            for values in (wanted, got)
        )  # fmt: skip
        if [name for name, _ in one] != [name for name, _ in other]:
            raise Incomparable("the outputs hold other things than those of the original")
        for (name, before), (_, after) in zip(one, other, strict=True):
            self._take(name, before, after)
        self._agree(one, other)
        self._sets += 1

    def _take(self, name: str, wanted: npt.NDArray[Any], got: npt.NDArray[Any]) -> None:
        if wanted.shape != got.shape or _is_float(wanted) != _is_float(got):
            raise Incomparable(
                f"output '{name}' is {got.dtype} {list(got.shape)}, that of the original "
                f"{wanted.dtype} {list(wanted.shape)}"
            )
        if not _is_float(wanted):
            self._others += wanted.size
            self._unlike += int(np.count_nonzero(wanted != got))
            return
        wanted, got = (each.astype(np.float64).ravel() for each in (wanted, got))
        known = np.isfinite(wanted)
        finite = known & np.isfinite(got)
        if finite.sum() < known.sum() and not self.not_finite:
            self.not_finite = name
        self._sums.setdefault(name, _Sums()).add(wanted[finite], got[finite])

    def _agree(self, wanted: list[tuple[str, Any]], got: list[tuple[str, Any]]) -> None:
        if self._scores is None:
            self._scores = are_scores([(name, each) for name, each in wanted if _is_float(each)])
        if not self._scores[0]:
            return
        for (_, before), (_, after) in zip(wanted, got, strict=True):
            if _is_float(before):
                rows = before.reshape(before.shape[0], -1)
                same = rows.argmax(axis=1) == after.reshape(rows.shape).argmax(axis=1)
                self._examples += same.size
                self._agreed += int(same.sum())

    def error(self) -> OutputError:
        """The figures of all that was taken.

        Raises:
            Incomparable: there is nothing to give figures of.
        """
        sums = [each for each in self._sums.values() if each.size]
        if not sums:
            raise Incomparable("the model has no floating-point output with a finite element")
        elements = sum(each.size for each in sums)
        agreed = self._agreed / self._examples if self._examples else None
        return OutputError(
            max=max(each.largest_error for each in sums),
            mean=sum(each.error for each in sums) / elements,
            max_relative=max(each.relative[0] for each in sums),
            mean_relative=max(each.relative[1] for each in sums),
            cosine=min(each.cosine for each in sums),
            top1=agreed,
            top1_reason=self._scores[1] if self._scores else "nothing was compared",
            unlike=self._unlike / self._others if self._others else None,
            inputs=self._sets,
        )


def are_scores(outputs: Sequence[tuple[str, npt.NDArray[Any]]]) -> tuple[bool, str]:
    """Whether a model's floating-point outputs are scores of classes, and how that was decided.

    By shape: one output, examples x classes, behind which there may be axes of size 1. A name that
    says it is an embedding decides against it.
    """
    if len(outputs) != 1:
        return False, f"no classification: {len(outputs)} floating-point outputs, not one"
    name, value = outputs[0]
    shape = "x".join(map(str, value.shape))
    if value.ndim < 2 or value.shape[1] < 2 or value.size != value.shape[0] * value.shape[1]:
        return False, f"no classification: '{name}' is {shape}, not examples x classes"
    if _NO_SCORES.search(name):
        return False, f"no classification: by its name, '{name}' holds no scores"
    return True, f"'{name}', {shape}, taken for scores of {value.shape[1]} classes by its shape"


def _leaves(name: str, value: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The arrays in an output, each with a name of its own."""
    if value is None:
        return
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _leaves(f"{name}[{key}]", value[key])
    elif isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from _leaves(f"{name}[{number}]", each)
    else:
        yield name, np.asarray(value)


def _is_float(value: npt.NDArray[Any]) -> bool:
    # Types of ml_dtypes, such as bfloat16, are of kind V to older numpy, and convert all the same.
    return value.dtype.kind == "f" or value.dtype.name in ("bfloat16",)


def relative_error(wanted: npt.NDArray[Any], got: npt.NDArray[Any]) -> float:
    """Euclidean norm of the difference over that of the original; NaN or infinity is infinite."""
    wanted, got = (each.astype(np.float64).ravel() for each in (wanted, got))
    known = np.isfinite(wanted)
    off = float(np.linalg.norm(got[known] - wanted[known]))
    scale = float(np.linalg.norm(wanted[known]))
    if not np.isfinite(off):
        return float("inf")
    return off / scale if scale else (float("inf") if off else 0.0)
