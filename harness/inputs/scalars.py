"""Inputs whose name alone implies their value: rates, lengths, thresholds, sampling settings."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from harness.inputs.sizes import BOTH, PAST, SAMPLE_RATE, Lengths, is_sample_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.inputs.ports import Port

#: Tokens that a generation adds to its prompt.
GENERATED = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A value implied by an input's name.

    Attributes:
        value: the value of every element.
        reason: what it is.
        firm: whether the value is never replaced by a stand-in, because a different one would
            mean a different use of the model.
    """

    value: float
    reason: str
    firm: bool = False


#: Lengths in tokens: pattern in the name, value, and description. The first match wins.
_LENGTHS: tuple[tuple[str, Callable[[Lengths], int], str], ...] = (
    (
        r"max_(new_)?(len|tok|seq|dec|gen|target)|^max(imum)?_?length",
        lambda lengths: lengths.tokens + GENERATED,
        f"{GENERATED} tokens more than the sequence",
    ),
    (r"min_(new_)?(len|tok|seq|dec|gen|target)", lambda _: 1, "the minimum length"),
    (r"total_seq", lambda lengths: lengths.past + lengths.tokens, BOTH),
    (r"past_seq", lambda lengths: lengths.past, PAST),
    (r"len(gth)?s?$|lens_|lengths?_", lambda lengths: lengths.tokens, "length of the sequence"),
)
#: Names that mention a length without being one.
_NO_LENGTH = r"scale|penalty|ratio|factor"

#: Settings, whole numbers or not: pattern in the name, value, and description.
_SETTINGS: tuple[tuple[str, float, str], ...] = (
    (r"temperature", 1, "a temperature that changes nothing"),
    (r"(repetition|length|rep|len)_?penalty", 1, "a penalty that changes nothing"),
    (r"(presence|frequency)_?penalty", 0, "a penalty that changes nothing"),
    (r"top_?p$|nucleus", 0.9, "customary for sampling"),
    (r"min_?p$", 0.05, "customary for sampling"),
    (r"thresh|_thr?$", 0.5, "a mid-range threshold"),
    (r"guidance|cfg_?scale", 7.5, "customary for guidance"),
    (r"noise_?w|noise_?scale_?(dur|w)", 0.8, "customary for speech synthesis"),
    (r"noise_?scale", 0.667, "customary for speech synthesis"),
    (r"length_?scale|speed|speaking_?rate|(^|_)pace$", 1, "normal speed"),
    (r"(^|_)f_?min$", 50, "a low pitch in Hz"),
    (r"(^|_)f_?max$", 2000, "a high pitch in Hz"),
    (r"scale_?factor|zoom", 1, "a scale that changes nothing"),
    (r"(^|_)eps(ilon)?$", 1e-5, "a small number"),
)
#: Settings that are whole numbers, even if their type is not.
_COUNTS: tuple[tuple[str, float, str], ...] = (
    (r"top_?k", 50, "customary for sampling"),
    (r"(num|n)_?beams?|beam_?(size|width)", 4, "customary for beam search"),
    (r"num_return|return_sequences", 1, "one result"),
    (r"time_?steps?$", 500, "the middle of 1000 steps"),
    (r"(num|n)_?(\w+_)?(steps?|iters?|iterations)$|^(steps|iters|iterations)$", 4, "a small count"),
    (r"max_?(output_?)?(box|det)\w*", 100, "customary for detectors"),
)


def known_scalar(port: Port, lengths: Lengths) -> Known | None:
    """The value that a name implies for a scalar, or for one scalar per example of a batch."""
    # Separates words, whether written samplingRate, sampling-rate or sampling_rate.
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", port.name)
    name = re.sub(r"\W+", "_", name).lower()
    if port.dtype.kind == "b":
        if re.search(r"training|(^|_)train(_|$)", name):
            return Known(0, "false, for inference")
        if lengths.empty_cache and re.search(r"use_(cache|past)", name):
            return Known(0, "false, as the cache is empty")
        return None
    if port.dtype.kind == "O" or not (port.rank <= 1 or (port.rank == 2 and port.dims[1] == 1)):
        return None
    if is_sample_rate(port):
        return Known(SAMPLE_RATE, "sample rate of speech", firm=True)
    if re.search(r"(^|_)fps($|_)|frame_?rate|frames_per_sec", name):
        return Known(30, "video frames per second", firm=True)
    if port.is_integer and port.rank <= 1 and not re.search(_NO_LENGTH, name):
        for pattern, value_of, reason in _LENGTHS:
            if re.search(pattern, name):
                return Known(value_of(lengths), reason)
    settings = _COUNTS if port.is_integer else _COUNTS + _SETTINGS
    if port.is_integer:
        settings += tuple(item for item in _SETTINGS if item[1] == int(item[1]))
    for pattern, value, reason in settings:
        if re.search(pattern, name):
            return Known(value, reason)
    return None
