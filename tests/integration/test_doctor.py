"""``doctor`` as a user runs it, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.machine import diagnosis
from harness.machine.facts import collect
from harness.ort.library import ort_library
from tests.integration.terminal import on_terminal

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("harness.native.ort", reason="the native module is not built")

CPUS = "sys/devices/system/cpu"
SUBJECTS = {
    "ONNX Runtime",
    "CUDA",
    "TensorRT",
    "CUDA libraries",
    "TensorRT libraries",
    "GPU sampling (NVML)",
    "CPU energy",
    "Hardware counters",
    "perf events",
    "Stacks (py-spy)",
    "Clock",
    "Frequency governor",
    "SMT",
    "Own machine",
    "CPU limit",
    "Memory",
    "CPU topology",
    "Other load",
    "Disk",
}


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", "doctor", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_json_gives_every_finding_and_a_remedy_for_what_is_missing() -> None:
    outcome = doctor("--json")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    report = json.loads(outcome.stdout)
    findings = {finding["name"]: finding for finding in report["findings"]}
    assert findings.keys() == SUBJECTS
    for finding in findings.values():
        assert finding["state"] in {"ok", "limited", "absent"}
        assert finding["detail"]
        assert finding["remedy"] or finding["state"] == "ok"
    assert findings["ONNX Runtime"]["state"] == "ok"
    assert "CPU" in findings["ONNX Runtime"]["detail"]
    environment = {reading["name"]: reading for reading in report["environment"]}
    assert environment["kernel"]["value"] == os.uname().release
    assert all(reading["reason"] for reading in environment.values() if reading["value"] is None)


def test_each_library_of_a_gpu_provider_is_found_or_missing() -> None:
    report = json.loads(doctor("--json").stdout)
    findings = {finding["name"]: finding for finding in report["findings"]}
    plugin = ort_library().parent / "libonnxruntime_providers_cuda.so"
    found = findings["CUDA libraries"]
    if not plugin.exists():
        assert "built without cuda" in found["detail"]
        return
    for name in ("libcudart.so", "libcublas.so", "libcublasLt.so", "libcudnn.so.9"):
        assert name in found["detail"]
    if "libcublas.so.13" in found["detail"].partition("missing: ")[2]:
        assert found["state"] == "absent"
        assert "nvidia-cublas~=13.0" in found["remedy"]


def test_text_ends_with_a_verdict() -> None:
    outcome = doctor()
    assert outcome.returncode == 0
    assert "\x1b" not in outcome.stdout
    verdict = outcome.stdout.rpartition("\n\n")[2]
    assert verdict.startswith("Models can be profiled here")
    assert verdict.rstrip().endswith(".")


@pytest.mark.parametrize("columns", ["40", "200"])
def test_a_pipe_gets_a_line_for_each_fact(columns: str) -> None:
    findings = json.loads(doctor("--json").stdout)["findings"]
    lines = doctor(COLUMNS=columns).stdout.splitlines()
    for one in findings:
        mine = [line for line in lines if line.startswith(f"{one['name']}  ")]
        told = [line.removeprefix(one["name"]).split(maxsplit=1) for line in mine]
        assert told
        # What is measured anew by each call differs; the rest is there, whole.
        if one["name"] not in {"Clock", "Memory", "Other load", "Disk"}:
            kinds = [one["state"], *(["remedy"] * bool(one["remedy"]))]
            assert [what for what, _ in told] == kinds
            assert [text for _, text in told] == list(filter(None, (one["detail"], one["remedy"])))


def test_lines_fit_a_terminal_and_words_stay_whole() -> None:
    # What is measured anew by each call, such as the load, may be told otherwise a moment later.
    piped = set(doctor().stdout.split())
    shown = on_terminal("doctor", environment=dict(os.environ))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 80
    piped |= set(doctor().stdout.split())
    words = {word for line in lines for word in line.split() if "…" not in word}
    # Numbers may have changed in between.
    assert {word for word in words - piped if not re.search(r"\d", word)} == set()


def test_library_that_is_not_onnx_runtime_ends_with_3(tmp_path: Path) -> None:
    impostor = tmp_path / "libonnxruntime.so"
    impostor.write_text("not a library")
    outcome = doctor("--json", "--ort-library", str(impostor))
    assert (outcome.returncode, outcome.stderr) == (3, "")
    runtime = json.loads(outcome.stdout)["findings"][0]
    assert (runtime["name"], runtime["state"]) == ("ONNX Runtime", "absent")
    assert str(impostor) in runtime["detail"]
    assert runtime["remedy"]

    assert "Nothing can be profiled here" in doctor("--ort-library", str(impostor)).stdout


def test_restricted_machine_gets_the_remedy_for_each_restriction(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "flags\t\t: fpu avx2\n",
        "proc/meminfo": "MemTotal: 2000000 kB\nMemAvailable: 500000 kB\n",
        "proc/self/cgroup": "0::/\n",
        "proc/self/status": "CapEff:\t0000000000000000\n",
        "proc/sys/kernel/perf_event_paranoid": "3\n",
        "proc/sys/kernel/yama/ptrace_scope": "1\n",
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
        "sys/devices/system/clocksource/clocksource0/available_clocksource": "hpet tsc\n",
        f"{CPUS}/smt/active": "1\n",
        f"{CPUS}/cpu0/cpufreq/scaling_governor": "powersave\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    facts = {reading.name: reading for reading in collect(tmp_path)}
    found = {one.name: one for one in diagnosis.of_facts(facts)}

    remedies = {
        ("perf events", "absent"): "kernel.perf_event_paranoid=1",
        ("Stacks (py-spy)", "limited"): "kernel.yama.ptrace_scope=0",
        ("Clock", "limited"): "echo tsc",
        ("Frequency governor", "limited"): "performance",
        ("SMT", "limited"): "`affinity`",
        ("CPU limit", "limited"): "`intra_threads` 1",
        ("Memory", "limited"): "stop other programs",
        ("CPU energy", "absent"): "modprobe",
    }
    for (name, state), remedy in remedies.items():
        assert found[name].state == state
        assert remedy in found[name].remedy
    assert found["Own machine"].state == "ok"
