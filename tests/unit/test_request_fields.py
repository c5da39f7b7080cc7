"""Types of the fields of a request, as a script gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness import InputRequest, ProfileConfig, SessionConfig
from harness.errors import RequestError


def test_paths_may_be_strings() -> None:
    config: Any = ProfileConfig(
        model=Path("model.onnx"),
        output="folder/out.h5",
        session=SessionConfig(library="lib.so", custom_ops=["one.so", Path("two.so")]),
        inputs=InputRequest(files={"x": "x.npy"}, archives=["all.npz"]),
    )
    assert config.model == "model.onnx"
    assert config.output == Path("folder/out.h5")
    assert config.session.library == Path("lib.so")
    assert config.session.custom_ops == (Path("one.so"), Path("two.so"))
    assert config.inputs.files == {"x": Path("x.npy")}
    assert config.inputs.archives == (Path("all.npz"),)
    assert InputRequest(data_set="folder").data_set == Path("folder")


def test_numbers_of_numpy_become_those_of_python() -> None:
    config: Any = ProfileConfig("m", processes=np.int32(3), duration_s=np.float32(0.5), budget_s=9)
    assert [type(one) for one in (config.processes, config.duration_s, config.budget_s)] == [
        int, float, float,
    ]  # fmt: skip
    assert InputRequest(shapes={"x": [np.int64(1), 3]}).shapes == {"x": (1, 3)}


@pytest.mark.parametrize(
    ("request_of", "field", "value", "wanted"),
    [
        (ProfileConfig, "model", 5, "a string"),
        (ProfileConfig, "processes", "3", "a whole number or None"),
        (ProfileConfig, "processes", True, "a whole number or None"),
        (ProfileConfig, "processes", 2.5, "a whole number or None"),
        (ProfileConfig, "duration_s", "0.5", "a number or None"),
        (ProfileConfig, "quick", 1, "True or False"),
        (ProfileConfig, "trace", "probe", "a list of strings"),
        (ProfileConfig, "output", 3, "a path or None"),
        (ProfileConfig, "session", {"provider": "cpu"}, "a SessionConfig"),
        (ProfileConfig, "inputs", {}, "an InputRequest"),
        (SessionConfig, "provider", None, "a string"),
        (SessionConfig, "provider_options", {"device_id": 0}, "a dict of strings by name"),
        (SessionConfig, "custom_ops", "one.so", "a list of paths"),
        (InputRequest, "dims", {"batch": "4"}, "a dict of whole numbers by name"),
        (InputRequest, "shapes", {"x": "1x3"}, "a dict of lists of whole numbers by name"),
        (InputRequest, "files", ["x.npy"], "a dict of paths by name"),
    ],
)
def test_a_wrong_type_is_refused_by_the_name_of_its_field(
    request_of: type, field: str, value: object, wanted: str
) -> None:
    given = {"model": "m"} if request_of is ProfileConfig else {}
    with pytest.raises(RequestError) as refused:
        request_of(**(given | {field: value}))
    assert refused.value.message.startswith(f"`{field}` {value!r}: of type ")
    assert refused.value.remedy == f"give {wanted}"


def test_a_number_too_large_for_its_field_is_refused() -> None:
    with pytest.raises(RequestError) as refused:
        ProfileConfig("m", precision=10**400)
    assert refused.value.message.startswith("`precision` 1000")
    assert refused.value.remedy == "give a smaller number"
    with pytest.raises(RequestError, match=f"`batch` {2**63}: too large"):
        InputRequest(batch=2**63)


def test_a_shell_completes_the_public_names() -> None:
    assert set(harness.__all__) < set(dir(harness))
    assert not any(name.startswith("_") and name != "__version__" for name in dir(harness))
    assert all(hasattr(harness, name) for name in dir(harness))
