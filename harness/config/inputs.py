"""What the user fixed about the inputs of a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.config.fields import settle
from harness.errors import RequestError


@dataclasses.dataclass(frozen=True, slots=True)
class InputRequest:
    """What the user fixed about the inputs; the rest is chosen from the model.

    Attributes:
        dims: sizes of free dimensions, by their names in the model.
        shapes: full shapes of inputs, by name.
        batch: batch size, given to the free axes known to be the batch or, without any, to the
            leading ones; None leaves it open.
        files: .npy files of inputs, by name.
        archives: .npz files that hold inputs by name.
        data_set: folder in ONNX's test_data_set_N layout, or None.
        seed: seed of the generated values.
    """

    dims: dict[str, int] = dataclasses.field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    batch: int | None = None
    files: dict[str, Path] = dataclasses.field(default_factory=dict)
    archives: tuple[Path, ...] = ()
    data_set: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        for name, size in self.dims.items():
            if size < 0:
                raise RequestError(
                    f"`dims` {name}={size}: a size must not be negative",
                    f"give `dims` {name}=N with N >= 0",
                )
        if self.batch is not None and self.batch < 1:
            raise RequestError(
                f"`batch` {self.batch}: a batch must be at least 1", "give `batch` N with N >= 1"
            )
        if self.seed < 0:
            raise RequestError(f"`seed` {self.seed}: must not be negative", "give `seed` N, N >= 0")
        for name, shape in self.shapes.items():
            if any(size < 0 for size in shape):
                raise RequestError(
                    f"`shapes` {name}={'x'.join(map(str, shape))}: a size must not be negative",
                    f"give `shapes` {name}=AxBxC with whole numbers",
                )
        if self.data_set is not None and (self.files or self.archives or self.shapes):
            raise RequestError(
                "`data_set` fixes every input and cannot be combined with `files` or `shapes`",
                "drop `data_set`, or drop the other options",
            )
