"""What ONNX Runtime refuses to the probes and the node marks: told in its words, nothing leaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles import build_onnxruntime

CHECKOUT = Path(__file__).parents[2]

# Statuses, domains and references to the environment that are left.
PROBE = """
def use():
    return probe.domain(LIBRARY)
"""
MARKS = """
def use():
    made = marks.NodeMarks(LIBRARY)
    try:
        made.append_to(0)
    finally:
        made.close()
"""


def refused(code: str, function: str) -> list[str]:
    """Lines told by code that uses an ONNX Runtime of which a function refuses.

    In a process of its own: the probes' domain is made once for all.
    """
    script = f"""
import ctypes
from harness.native import marks, probe
LIBRARY = {build_onnxruntime()!r}
double = ctypes.CDLL(LIBRARY)
double.refuse({function!r}.encode())
{code}
for _ in range(2):
    try:
        use()
    except OSError as error:
        print(error)
left = ("statuses", "domains", "environments")
print(*(ctypes.c_int.in_dll(double, name).value for name in left))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("function", ["CreateCustomOpDomain", "CustomOpDomain_Add"])
def test_a_refused_probe_says_why(function: str) -> None:
    assert refused(PROBE, function) == ["not today", "not today", "0 0 0"]


def test_the_probes_domain_is_made_once_and_stays() -> None:
    assert refused(PROBE, "") == ["0 1 0"]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("CreateEnv", "not today"),
        ("RegisterExecutionProviderLibrary", "not today"),
        ("GetEpDevices", "not today"),
        ("UnregisterExecutionProviderLibrary", "not today"),
        ("GetEpApi", "this ONNX Runtime accepts no plugin providers"),
        ("", "ONNX Runtime knows no CPU to register HarnessNodeMarks for"),
    ],
)
def test_refused_node_marks_say_why_and_may_be_tried_again(function: str, reason: str) -> None:
    assert refused(MARKS, function) == [reason, reason, "0 0 0"]
