"""Valid input tensors: generated from the model alone with a seed, or given by the user.

Candidates come in order of plausibility, from the sizes of free dimensions
(``inputs/sizes.py``) and the values that the graph demands (``inputs/demands.py``). Each is
tried on the model: if it fails, ``choose`` learns from ORT's error and moves on to the next.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import math
import re
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import ModelError, one_line
from harness.inputs.axes import find_axes
from harness.inputs.demands import Demands, find_demands
from harness.inputs.items import items_per_inference
from harness.inputs.lessons import clashes, failing_node, is_too_short, reshapes
from harness.inputs.overrides import Overrides, archived_names
from harness.inputs.ports import (
    Dimension,
    Port,
    Shape,
    dtype_name,
    fed_ports,
    free_names,
    is_composed,
)
from harness.inputs.sizes import (
    BOTH,
    IMAGE,
    NEW,
    ONE_SECOND,
    PAST,
    TEXT_LINE,
    WINDOW,
    CustomarySizes,
    image_axes,
    is_image,
    lengths,
)
from harness.inputs.values import VALUE_KINDS, ValueMaker
from harness.native import ort
from harness.records import InputRecord, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx

    from harness.config.inputs import InputRequest

#: Attempts before giving up on a model.
MAX_ATTEMPTS = 32
#: How many of these may be attempts that ORT's earlier errors suggested.
MAX_LEARNED = 16
#: A candidate whose tensors together exceed this is skipped.
MAX_BYTES = 512 << 20
#: The same where the user fixed sizes: a sanity limit only.
MAX_GIVEN_BYTES = 64 << 30

#: Sizes tried for all free dimensions but the batch when the customary ones fail: 1 and 2 for
#: plain tensors, multiples of 32 for networks that halve the image five times, 77 and 512
#: for fixed position tables (CLIP, BERT).
_FALLBACK_SIZES = (1, 2, 32, 64, 640, 320, 4, 8, 16, 77, 256, 512, 3, 5)
#: The same, with the batch included.
_FALLBACK_BATCHES = (2, 3, 4, 8)
_ORT_ASKED = "as ORT asked"


@dataclasses.dataclass(frozen=True, slots=True)
class InputSet:
    """Values for every input of a model that must be fed.

    Attributes:
        values: by input name a numpy array (``ml_dtypes`` element types included, text as
            an object array of str), a list for a sequence, a dict for a map, None for an
            absent optional.
        records: the same inputs described, in the model's order.
        dims: sizes of the named free dimensions.
        items: number of items (the examples of a batch) that are fed, and the axis it is from.
        expected: outputs that the data set expects, in the model's order; None without any.
    """

    values: Mapping[str, Any]
    records: tuple[InputRecord, ...]
    dims: Mapping[str, int]
    items: Reading
    expected: tuple[Any, ...] | None


def candidates(model: onnx.ModelProto, request: InputRequest) -> Iterator[InputSet]:
    """Input sets in order of plausibility; the same request gives the same sets.

    Raises:
        RequestError: the request does not fit the model, or a file does not.
        ModelError: an input has a type that cannot be fed.
    """
    chooser = _Chooser(model, request)
    for plan in chooser.plans():
        if (made := chooser.make(plan)) is not None:
            yield made


def choose(
    model: onnx.ModelProto,
    request: InputRequest,
    attempt: Callable[[InputSet], list[Any]],
) -> tuple[InputSet, list[Any]]:
    """The first candidate that the model accepts, and its outputs.

    Args:
        model: the model.
        request: what the user fixed.
        attempt: one inference; returns its outputs or raises OrtError, ValueError or
            TypeError.

    Raises:
        RequestError: the request does not fit the model.
        ModelError: no candidate worked; gives ORT's reason and the option that would help.
    """
    chooser = _Chooser(model, request)
    waiting = chooser.plans()
    #: Plans that a failure suggested, each with the node that failed before.
    suggested: collections.deque[tuple[_Plan, str]] = collections.deque()
    seen: set[str] = set()
    reasons: list[str] = []
    learned = 0
    while len(reasons) < MAX_ATTEMPTS:
        if suggested:
            plan, failed_before = suggested.popleft()
        elif (following := next(waiting, None)) is not None:
            plan, failed_before = following, ""
        else:
            break
        made = chooser.make(plan)
        if made is None:
            continue
        fingerprint = " ".join(record.sha256 for record in made.records)
        if fingerprint in seen:
            continue
        seen.add(fingerprint)
        try:
            return made, attempt(made)
        except (ort.OrtError, ValueError, TypeError) as error:
            reasons.append(str(error))
            better = list(chooser.learn(plan, reasons[-1]))[: MAX_LEARNED - learned]
            learned += len(better)
            failed = failing_node(reasons[-1])
            if failed == failed_before:  # no progress: earlier suggestions come first
                suggested.extend((item, failed) for item in better)
            else:
                suggested.extendleft((item, failed) for item in reversed(better))
    raise chooser.failure(reasons)


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """One way to choose: sizes of free dimensions, kind of values, rank where none is given.

    replaced: whether that kind also replaces settings recognised by their names.
    """

    sizes: Mapping[Dimension, int]
    reasons: Mapping[Dimension, str]
    values: str = VALUE_KINDS[0]
    replaced: bool = False
    rank: int = 1
    index_limit: int | None = None

    def resized(self, sizes: Mapping[Dimension, int], reason: str) -> _Plan:
        """The plan with other sizes."""
        return dataclasses.replace(
            self,
            sizes={**self.sizes, **sizes},
            reasons={**self.reasons, **dict.fromkeys(sizes, reason)},
        )


class _Chooser:
    """Plans and the input sets made from them, for one model and request."""

    def __init__(self, model: onnx.ModelProto, request: InputRequest) -> None:
        self._model = model
        self._seed = request.seed
        archived = archived_names(request)
        named = request.files.keys() | request.shapes.keys() | archived.keys()
        self._ports = fed_ports(model, named)
        self._axes = find_axes(model, self._ports)
        self._given = Overrides(model, self._ports, self._axes, archived, request)
        self._customary = CustomarySizes(model, self._ports, self._axes)
        given = bool(self._given.sizes or self._given.shapes)
        self._max_bytes = MAX_GIVEN_BYTES if given else MAX_BYTES
        self._walked: dict[tuple[Shape | None, ...], Demands] = {}

    def plans(self) -> Iterator[_Plan]:
        """Ways to choose, in order of plausibility."""
        first = _Plan(self._customary.sizes, self._customary.reasons)
        sized = list(self._sized(first))
        kinds = VALUE_KINDS[1:]
        yield first
        if any(port.kind != "map" and port.shape is None for port in self._ports):
            yield from (dataclasses.replace(first, rank=rank) for rank in (4, 2, 3, 0))
        yield from sized[:4]
        yield from self._apart(first)
        yield from (dataclasses.replace(first, values=kind) for kind in kinds)
        yield from sized[4:]
        for kind, plan in itertools.product(kinds, sized[:2]):
            yield dataclasses.replace(plan, values=kind)
        for kind in kinds:
            yield dataclasses.replace(first, values=kind, replaced=True)

    def _changeable(self, plan: _Plan) -> list[Dimension]:
        """Free dimensions that nothing fixes and that are not calculated from others."""
        dictated = self._given.sizes.keys() | self._customary.required.keys()
        return [
            dimension
            for dimension in plan.sizes
            if dimension not in dictated
            and plan.reasons[dimension] != BOTH
            and not (isinstance(dimension, str) and is_composed(dimension))
        ]

    def _apart(self, plan: _Plan) -> Iterator[_Plan]:
        """The plan with one unnamed axis set to 1, since nothing says which of them are equal."""
        unnamed = [item for item in self._changeable(plan) if isinstance(item, tuple)]
        if len(unnamed) > 1:
            inner = [item for item in unnamed if item not in self._axes.batch]
            yield from (plan.resized({dimension: 1}, "tried") for dimension in inner[:4])

    def _sized(self, plan: _Plan) -> Iterator[_Plan]:
        """The plan with every free dimension that nothing fixes set to the same size."""
        free = self._changeable(plan)
        inner = [dimension for dimension in free if dimension not in self._axes.batch]
        spatial = {
            port.dims[axis]: size
            for port in self._ports
            if is_image(port)
            for axis, size in zip(image_axes(port)[0], TEXT_LINE, strict=True)
        }
        sizings: list[tuple[Mapping[Dimension, int], str]] = [
            (dict.fromkeys(inner, size), "tried") for size in _FALLBACK_SIZES
        ]
        text_line = {dimension: spatial[dimension] for dimension in inner if dimension in spatial}
        windows = [dimension for dimension in inner if plan.reasons[dimension] == ONE_SECOND]
        sizings.insert(0, (dict.fromkeys(windows, WINDOW), "a short window of audio"))
        sizings.insert(3, (text_line, "customary for lines of text"))
        sizings += [(dict.fromkeys(free, size), "tried") for size in _FALLBACK_BATCHES]
        return (plan.resized(sizes, reason) for sizes, reason in sizings if sizes)

    def make(self, plan: _Plan) -> InputSet | None:
        """The input set of a plan; None when it would be too large."""
        sizes = self._customary.resolve(plan.sizes, self._given.sizes)
        shapes = {port.name: self._shape(port, sizes, plan) for port in self._ports}
        bytes_needed = sum(
            math.prod(shapes[port.name] or ()) * port.dtype.itemsize for port in self._ports
        )
        if bytes_needed > self._max_bytes:
            return None
        demands = self._demands(shapes)
        past = self._customary.size_of(PAST, sizes)
        spoken = lengths(self._ports, shapes, self._axes, past, self._customary.image)
        values: dict[str, Any] = {}
        records = []
        for port in self._ports:
            if port.name in self._given.values:
                value, reason = self._given.values[port.name]
            else:
                rng = np.random.default_rng([self._seed, zlib.crc32(port.name.encode())])
                maker = ValueMaker(
                    demands, self._axes, spoken, plan.values, plan.replaced, plan.index_limit, rng
                )
                value, why = maker.make(port, shapes[port.name] or ())
                reason = "; ".join(filter(None, (self._size_reason(port, sizes, plan), why)))
            values[port.name] = value
            records.append(_record(port, value, reason))
        dims = {name: size for name, size in sizes.items() if isinstance(name, str)}
        items = items_per_inference(self._ports, self._axes, sizes)
        return InputSet(values, tuple(records), dims, items, self._given.expected)

    def _shape(self, port: Port, sizes: Mapping[Dimension, int], plan: _Plan) -> Shape | None:
        if port.name in self._given.shapes:
            return self._given.shapes[port.name]
        if port.kind == "map":
            return None
        if port.shape is None:
            return (1, 3, IMAGE, IMAGE) if plan.rank == 4 else (2,) * plan.rank
        return tuple(size if isinstance(size, int) else sizes[size] for size in port.shape)

    def _demands(self, shapes: Mapping[str, Shape | None]) -> Demands:
        key = tuple(shapes.values())
        if key not in self._walked:
            known = {name: shape for name, shape in shapes.items() if shape is not None}
            self._walked[key] = find_demands(self._model, self._ports, known)
        return self._walked[key]

    def _size_reason(self, port: Port, sizes: Mapping[Dimension, int], plan: _Plan) -> str:
        if port.shape is None:
            given = port.name in self._given.shapes
            return "shape as given" if given else "shape tried, the model leaves it open"
        grouped: dict[str, list[str]] = {}
        for dimension in port.free:
            why = self._given.reasons.get(dimension) or plan.reasons[dimension]
            if why == NEW and self._customary.size_of(PAST, sizes) == 0:
                why = "one token, as the cache is empty"
            label = f"'{dimension}'" if isinstance(dimension, str) else f"axis {dimension[1]}"
            grouped.setdefault(why, []).append(f"{label} set to {sizes[dimension]}")
        parts = [f"{', '.join(listed)} ({why})" for why, listed in grouped.items()]
        return f"free dimension {', '.join(parts)}" if parts else ""

    def learn(self, plan: _Plan, reason: str) -> Iterator[_Plan]:
        """Better plans, if ORT's message says what it wanted."""
        if match := _INDEX_RANGE.search(reason):
            limit = int(match[1])
            if plan.index_limit is None or limit < plan.index_limit:
                yield dataclasses.replace(plan, index_limit=limit)
            return
        sizes = self._customary.resolve(plan.sizes, self._given.sizes)
        free = [item for item in self._changeable(plan) if plan.reasons[item] != _ORT_ASKED]
        # The batch last: it usually fits as it is.
        free.sort(key=lambda dimension: dimension in self._axes.batch)
        for got, wanted in clashes(reason):
            yield from self._instead(plan, sizes, free, got, wanted)
        for dimension in free:
            if (size := reshapes(reason, sizes[dimension])) is not None:
                yield plan.resized({dimension: size}, _ORT_ASKED)
        if is_too_short(reason):
            longer = {
                dimension: 4 * sizes[dimension]
                for dimension in free
                if dimension not in self._axes.batch and sizes[dimension] < _LONGEST
            }
            if longer:
                yield plan.resized(longer, "as ORT found fewer too short")

    def _instead(
        self,
        plan: _Plan,
        sizes: Mapping[Dimension, int],
        free: Sequence[Dimension],
        got: int,
        wanted: int,
    ) -> Iterator[_Plan]:
        """Plans that change the size ORT got: of a dimension, or of those it is calculated from."""
        for name in plan.sizes:
            if sizes[name] == got and isinstance(name, str):
                for part, size in self._customary.parts_for(name, wanted, sizes):
                    if part in free:
                        yield plan.resized({part: size}, _ORT_ASKED)
        same = [dimension for dimension in free if sizes[dimension] == got]
        if len(same) > 1 and got > 1 and wanted > 1:
            yield plan.resized(dict.fromkeys(same, wanted), _ORT_ASKED)
        yield from (plan.resized({dimension: wanted}, _ORT_ASKED) for dimension in same)
        if not same and got and wanted:  # the size ORT got may scale with a dimension
            for dimension in free:
                size, rest = divmod(sizes[dimension] * wanted, got)
                if not rest and dimension not in self._axes.batch:
                    yield plan.resized({dimension: size}, _ORT_ASKED)

    def failure(self, reasons: Sequence[str]) -> ModelError:
        """Says why nothing worked: the most plausible candidate's reason, and the way out."""
        if not reasons:
            return ModelError(
                f"every input set tried needs more than {self._max_bytes >> 20} MiB",
                "give smaller sizes with `dims`, `batch` or `shapes`",
            )
        unnamed = [
            port
            for port in self._ports
            if port.shape is None or any(isinstance(dimension, tuple) for dimension in port.free)
        ]
        integers = [port for port in self._ports if port.is_integer]
        flags = [
            *(f"`dims` {name}=N" for name in free_names(self._ports)[:3]),
            *(f"`shapes` {port.name}=AxB" for port in unnamed),
            *(f"`files` {port.name}=FILE.npy" for port in integers[:1]),
        ]
        if self._given.sizes or self._given.values:
            remedy = "the given sizes or values may not fit: change them, or leave them out"
        elif flags:
            remedy = f"set what the model needs: {' or '.join(flags[:4])}"
        else:
            remedy = "feed inputs known to work: `files` NAME=FILE.npy or `data_set` FOLDER"
        return ModelError(
            f"no inputs were found that the model accepts ({len(reasons)} tried): "
            f"{one_line(_without_origin(reasons[0]), 300)}",
            remedy,
        )


#: The largest index that ORT accepts, in its error message.
_INDEX_RANGE = re.compile(r"inclusive range \[-?\d+,\s*(\d+)\]")
#: Dimensions of this size or more are not grown when ORT finds a tensor too short.
_LONGEST = 4096


def _without_origin(reason: str) -> str:
    text = " ".join(reason.split())
    text = re.sub(
        r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: ",
        r"\1 '\2': ",
        text,
    )
    # Drops the source file and the C++ signature with its template arguments.
    return re.sub(r"/\S*onnxruntime_src/\S+ .*?\)( const)?( \[with [^]]*\])? (?=\S)", "", text)


def _record(port: Port, value: Any, reason: str) -> InputRecord:
    digest = hashlib.sha256()
    for leaf in _leaves(value):
        digest.update(f"{dtype_name(leaf.dtype)} {leaf.shape} ".encode())
        if leaf.dtype.kind == "O":
            digest.update("\0".join(map(str, leaf.flat)).encode())
        else:
            digest.update(np.ascontiguousarray(leaf).tobytes())
    first = next(_leaves(value), None)
    shape = () if first is None else first.shape
    return InputRecord(port.name, port.type_name, shape, reason, digest.hexdigest())


def _leaves(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    if isinstance(value, dict):
        yield np.array(list(value), dtype=object)
        yield np.array(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None:
        yield np.asarray(value)
