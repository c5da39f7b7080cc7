"""What a variant says about itself, in the metadata of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from harness.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "harness.variant."

#: Keys behind the prefix: the kind, name and SHA-256 of the original.
KIND, OF, OF_SHA256 = "kind", "of", "of_sha256"

#: Longest text of a file that is believed.
_LONGEST = 100


def append(path: Path, told: Mapping[str, str]) -> None:
    """Adds to the metadata of a model file without reading it.

    Messages written one after the other are one message to protobuf, with the elements of both in
    its repeated fields (protobuf.dev, "Last One Wins" in its encoding guide).

    Raises:
        OSError: the file cannot be written.
    """
    more = onnx.ModelProto()
    for key, value in told.items():
        more.metadata_props.add(key=PREFIX + key, value=value)
    with path.open("ab") as stream:
        stream.write(more.SerializeToString())


def forget(model: onnx.ModelProto) -> None:
    """Removes what an earlier variant said: what is made of it is another one."""
    kept = [each for each in model.metadata_props if not each.key.startswith(PREFIX)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def told(model: onnx.ModelProto) -> dict[str, str]:
    """What a model says about itself, by key; empty if it is no variant."""
    return {
        each.key.removeprefix(PREFIX): one_line(each.value, _LONGEST)
        for each in model.metadata_props
        if isinstance(each.key, str) and isinstance(each.value, str) and each.key.startswith(PREFIX)
    }
