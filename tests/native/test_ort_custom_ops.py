"""Sessions with libraries of custom operators, without the arena, without memory patterns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.native import ort
from tests.doubles import build_custom_ops

MODEL = """(float[n] x) => (float[n] y) {
    half = test.custom.Halve(x)
    y = Add(half, x)
}"""


def with_domain(made: bytes) -> bytes:
    import onnx

    model = onnx.ModelProto.FromString(made)
    model.opset_import.add(domain="test.custom", version=1)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("options", [{}, {"arena": False}, {"memory_pattern": False}])
def test_its_operators_execute(
    library: ort.Library, model: Callable[..., bytes], options: dict[str, bool]
) -> None:
    path = build_custom_ops()
    content = with_domain(model(MODEL))
    for _ in range(2):  # a library may be registered again in the same process
        session = ort.Session(library, content, custom_op_libraries=(path,), **options)
        binding = session.bind({"x": np.array([2, 4], np.float32)})
        binding.run()
        assert binding.outputs()[0].tolist() == [3, 6]
        binding.close()
        session.close()


def test_without_the_library_the_operator_is_not_known(
    library: ort.Library, model: Callable[..., bytes]
) -> None:
    with pytest.raises(ort.OrtError, match=r"Halve.* is not a registered function/op"):
        ort.Session(library, with_domain(model(MODEL)))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (build_custom_ops("-DREFUSES"), "made for another version"),
        ("/nowhere/libops.so", "cannot open shared object file"),
        (ort.__file__, "RegisterCustomOps"),
    ],
    ids=["refuses", "is not there", "is another"],  # not paths, which differ by process
)
def test_a_library_that_cannot_be_registered(
    library: ort.Library, model: Callable[..., bytes], path: str, says: str
) -> None:
    with pytest.raises(ort.CustomOpsError, match=says):
        ort.Session(
            library,
            model("(float[n] x) => (float[n] y) { y = Abs(x) }"),
            custom_op_libraries=(path,),
        )


def test_a_path_that_c_would_cut_is_refused(
    library: ort.Library, model: Callable[..., bytes]
) -> None:
    with pytest.raises(ValueError, match="NUL"):
        ort.Session(
            library,
            model("(float[n] x) => (float[n] y) { y = Abs(x) }"),
            custom_op_libraries=("a\0b",),
        )
