"""``harness variant`` through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Harness = Callable[..., CompletedProcess[str]]


def test_a_sound_variant_is_told_and_known_by_its_profile(harness: Harness, tmp_path: Path) -> None:
    told = harness("variant", "mlp", "--kind", "int8-dynamic", "--where", "--seeds", "2")
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "mlp-int8-dynamic.onnx").exists()
    for said in ("cosine", "top-1      agrees in", "nothing about accuracy", "where"):
        assert said in told.stdout
    quick = ("--quick", "--processes", "1", "--duration", "0.05", "--trace", "none", "-q")
    profiled = harness("profile", "mlp-int8-dynamic.onnx", *quick, "-o", "p.h5")
    assert profiled.returncode == 0, profiled.stderr
    facts = harness("export", "p.h5", "--jsonl", "/dev/stdout").stdout
    assert "int8-dynamic of mlp" in facts
    for name in ("error_max", "error_mean", "cosine", "top1"):
        assert f"variant_{name}" in facts


def test_a_broken_variant_exits_4_and_says_why_in_json(harness: Harness, tmp_path: Path) -> None:
    told = harness("variant", "mlp", "--kind", "prune-channels:0.9", "-o", "v.onnx", "--json")
    assert told.returncode == 4, told.stderr
    assert told.stderr == ""
    report = json.loads(told.stdout)
    assert report["broken"] is True
    assert "below 0.95" in report["broken_reason"]
    assert {"max", "mean", "cosine", "top1"} <= report["error"].keys()
    assert report["bytes"] == (tmp_path / "v.onnx").stat().st_size < report["bytes_before"]
    assert [one["node"] for one in report["not_pruned"]] == ["fc3/Gemm"]


def test_a_wrong_request_exits_2_in_one_line(harness: Harness, tmp_path: Path) -> None:
    told = harness("variant", "mlp", "--kind", "prune-channels:50")
    assert told.returncode == 2
    assert told.stderr.startswith("harness: --kind prune-channels:50: P is the share to prune")
    assert told.stderr.count("\n") <= 2
    assert not list(tmp_path.iterdir())
