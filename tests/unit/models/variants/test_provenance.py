"""A variant's file says what it is, and strangers' files can say what they like."""

from __future__ import annotations

from pathlib import Path

import onnx

from harness.models.catalogue import build
from harness.models.variants import provenance


def test_what_is_appended_to_a_file_is_read_from_it(tmp_path: Path) -> None:
    model = build("mlp")
    model.metadata_props.add(key="author", value="me")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    provenance.append(path, {"kind": "fp16", "of": "mlp"})
    read = onnx.load(path)
    assert provenance.told(read) == {"kind": "fp16", "of": "mlp"}
    assert read.graph == model.graph
    assert read.metadata_props[0].value == "me"


def test_a_variant_of_a_variant_forgets_the_first(tmp_path: Path) -> None:
    model = build("mlp")
    model.metadata_props.add(key="author", value="me")
    model.metadata_props.add(key="harness.variant.kind", value="fp16")
    provenance.forget(model)
    assert [each.key for each in model.metadata_props] == ["author"]
    assert provenance.told(model) == {}


def test_endless_texts_are_cut() -> None:
    model = onnx.ModelProto()
    model.metadata_props.add(key="harness.variant.kind", value="x\n" * 100_000)
    told = provenance.told(model)["kind"]
    assert len(told) < 200
    assert "\n" not in told


def test_a_profile_of_a_variant_has_its_error() -> None:
    model = onnx.ModelProto()
    assert provenance.facts(model) == ()
    told = {
        "kind": "fp16", "of": "m", "of_sha256": "0123456789abcdef", "error_max": "0.25",
        "cosine": "1.5", "top1_reason": "no classification",
    }  # fmt: skip
    for key, value in told.items():
        model.metadata_props.add(key=f"harness.variant.{key}", value=value)
    facts = {fact.name: (fact.value, fact.reason) for fact in provenance.facts(model)}
    assert facts == {
        "variant": ("fp16 of m 0123456789ab", ""),
        "variant_error_max": (0.25, ""),
        "variant_error_mean": (None, "the model file does not say it"),
        "variant_cosine": (None, "the model file says 1.5, which it cannot be"),
        "variant_top1": (None, "no classification"),
    }
