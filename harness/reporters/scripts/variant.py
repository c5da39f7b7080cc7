"""A variant of a model: what ``variant --json`` prints."""

from __future__ import annotations

import dataclasses
from typing import Any

from harness.models.variants.variant import DEPARTS, Variant
from harness.options import worded
from harness.reporters.scripts.strict import json_text


def variant_text(variant: Variant) -> str:
    """One JSON object; figures that could not be had are null, with the reason beside them."""
    report: dict[str, Any] = {
        "file": str(variant.file),
        "kind": variant.kind,
        "of": {"name": variant.of, "sha256": variant.of_sha256},
        "error": None if variant.error is None else dataclasses.asdict(variant.error),
        "bytes": variant.bytes,
        "bytes_before": variant.bytes_before,
        "broken": bool(variant.broken),
        "seconds": round(variant.seconds, 3),
        "notes": [worded(note) for note in variant.notes],
        "pruned": list(variant.pruned),
        "not_pruned": [dataclasses.asdict(one) for one in variant.left],
    }
    if variant.error is None:
        report["error_reason"] = variant.error_reason
    if variant.broken:
        report["broken_reason"] = variant.broken
    if variant.departure is not None:
        report["departure"] = {
            **dataclasses.asdict(variant.departure),
            "departs": bool(variant.departure.node),
            "threshold": DEPARTS,
        }
    return json_text(report)
