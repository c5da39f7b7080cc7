"""Where samples found a worker in its timing loop: shares, and a flame graph of the stacks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from harness.analysis.stacks import frames, place, shares
from harness.options import flag
from harness.records import Stacks
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, tooltip
from harness.reporters.html.quantities import counted, percent

#: Height of a frame in pixels, and most levels drawn.
_HEIGHT = 18
_DEEPEST = 48

#: Shares of the width below which a frame is left out, and its label.
_NARROWEST = 0.002
_LABELLED = 0.04

#: Smaller shares are rounding errors of the sums.
_LEAST = 1e-9

#: Colour and name of each place that ``harness.analysis.stacks.place`` returns.
_PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "python": ("c1", "Python"),
    "native_loop": ("c2", "timing loop"),
    "ort": ("c0", "ONNX Runtime"),
    "native": ("c4", "the call of the timing loop, which calls ONNX Runtime"),
}

#: A frame known only by its address.
_NAMELESS = re.compile(r"^0x[0-9a-f]+ \((?P<file>.*)\)$")


def stacks(digest: Digest) -> Markup | None:
    """Shares and flame graph; None if no stacks were sampled."""
    seen = digest.profile.stacks
    if seen is None or not int(seen.samples.sum()):
        return None
    return element("figure", _shares(seen), _flame(seen))


def _shares(seen: Stacks) -> list[Content]:
    told = {one.name.removesuffix("_share"): one for one in shares(seen)}
    parts = {
        name: float(one.value) for name, one in told.items() if isinstance(one.value, (int, float))
    }
    # It includes the two before it; the rest is what the unwinder could not attribute.
    parts["native"] -= parts.get("native_loop", 0.0) + parts.get("ort", 0.0)
    if parts["native"] < _LEAST:
        del parts["native"]
    bars: list[Content] = []
    at = 0.0
    for name, share in parts.items():
        kind, words = _PLACES[name]
        bars.append(plots.rectangle(at, 0, share * 100, 100, kind, tooltip(words, percent(share))))
        at += share * 100
    return [
        element("svg", bars, class_="bar", role="img", aria_label="share of each place"),
        plots.legend((_PLACES[name][0], f"{_PLACES[name][1]} {percent(share)}")
                     for name, share in parts.items()),
        note(f"{told['python'].source}, in an extra worker that was not timed."),
        None if seen.native else note(f"The two are not told apart: see {flag('stacks')}=native."),
    ]  # fmt: skip


@dataclasses.dataclass(slots=True)
class _Frame:
    """A frame and the frames that it called.

    Attributes:
        samples: in it or in a frame that it called.
        place: what it belongs to.
        called: the frames that it called, by label.
    """

    samples: int = 0
    place: str = "python"
    called: dict[str, _Frame] = dataclasses.field(default_factory=dict)


def _flame(seen: Stacks) -> list[Content]:
    root = _tree(seen)
    total = sum(frame.samples for frame in root.called.values())
    boxes: list[Content] = []
    levels = 0
    for label, frame, level, begin in _placed(root, total):
        share = frame.samples / total
        # The statement that calls the loop is Python's, except for samples of the statement itself.
        called = frame.place == "native" and frame.called
        kind, words = _PLACES["python" if called else frame.place]
        tip = tooltip(label, f"{percent(share)}, {counted(frame.samples, 'sample')}", words)
        boxes.append(
            element(
                "svg", tip, element("rect", width="100%", height="100%"),
                element("text", label, x=4, y=13) if share > _LABELLED else None,
                x=f"{begin * 100:.6g}%", y=level * _HEIGHT, width=f"{share * 100:.6g}%",
                height=_HEIGHT, class_=f"box leaf {kind}",
            )
        )  # fmt: skip
        levels = max(levels, level + 1)
    return [
        element("svg", boxes, class_="flame", role="img", height=levels * _HEIGHT,
                aria_label="sampled stacks, callers above"),
        element("figcaption", "Width is the share of the samples; callers are above what they "
                "call. Unnamed frames are merged with their neighbours of the same library. "
                "Point at a frame or tap it for its numbers."),
    ]  # fmt: skip


def _tree(seen: Stacks) -> _Frame:
    root = _Frame()
    for stack, samples in zip(seen.stack, seen.samples.tolist(), strict=True):
        at, path = root, ""
        for label, frame in _labelled(frames(stack)):
            path = f"{path};{frame}" if path else frame
            if label not in at.called:
                at.called[label] = _Frame(place=place(path))
            at = at.called[label]
            at.samples += samples
    return root


def _labelled(frames: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(label, frame) of a stack, with unnamed neighbours of a library merged.

    Unnamed frames above the first named one are where the unwinder happened to begin.
    """
    last = ""
    for frame in frames:
        nameless = _NAMELESS.match(frame)
        if nameless is None:
            last = frame
        elif not last or nameless["file"] == last:
            continue
        else:
            last = nameless["file"]
        yield last, frame


def _placed(
    frame: _Frame, total: int, level: int = 0, begin: float = 0.0
) -> Iterator[tuple[str, _Frame, int, float]]:
    """(label, frame, level, begin as a share of the width) of all frames that are wide enough."""
    if level == _DEEPEST:
        return
    for label, one in sorted(frame.called.items(), key=lambda item: -item[1].samples):
        if one.samples < _NARROWEST * total:
            return
        yield label, one, level, begin
        yield from _placed(one, total, level + 1, begin)
        begin += one.samples / total
