"""Real inferences of models, to try chosen inputs on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import onnx
import pytest

from harness.inputs.choice import InputSet
from harness.native import ort
from harness.ort.library import ort_library


@pytest.fixture(scope="module")
def library() -> ort.Library:
    return ort.Library(str(ort_library()))


@dataclasses.dataclass
class Attempts:
    """Real inferences of one model; keeps the sets that were tried."""

    session: ort.Session
    sets: list[InputSet] = dataclasses.field(default_factory=list)

    def __call__(self, made: InputSet) -> list[Any]:
        self.sets.append(made)
        binding = self.session.bind(made.values)
        binding.run()
        return binding.outputs()


@pytest.fixture
def attempts(library: ort.Library) -> Callable[[onnx.ModelProto], Attempts]:
    return lambda model: Attempts(ort.Session(library, model.SerializeToString(), intra_threads=1))
