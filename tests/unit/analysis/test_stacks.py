"""Stacks: what py-spy writes is read, told apart, and its refusals come with a remedy."""

from __future__ import annotations

import numpy as np
import pytest

from harness.analysis import stacks
from harness.errors import MachineError
from harness.measuring.stacks import failure
from harness.records import Stacks
from harness.reporters.exports import stacks_file

LOOP = "_run_code (<frozen runpy>:88);<module> (harness/stacks.py:9);_work (harness/stacks.py:8)"
TAKE = f"{LOOP};Measurement.take (harness/worker.py:398)"
NATIVE = "harness/native/ort.cpython-311-x86_64-linux-gnu.so"
OURS = f"{TAKE};time ({NATIVE});timing_loop (harness/native/ort.so)"
ORT = f"{OURS};0x7fe9521f0831 (onnxruntime/capi/libonnxruntime.so.1.31.1)"


def sampled(counts: dict[str, int], *, native: bool) -> Stacks:
    return Stacks(tuple(counts), np.array(list(counts.values()), np.int64), 200, native, 0)


def test_collapsed_stacks_are_read_and_written_alike() -> None:
    text = f"{ORT} 12\n{TAKE} 3\n"
    stack, samples = stacks.parse(text)
    assert stack == (ORT, TAKE)
    assert samples.tolist() == [12, 3]
    assert stacks_file.collapsed(Stacks(stack, samples, 200, True, 0)) == text


def test_what_is_no_collapsed_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="not a collapsed stack"):
        stacks.parse("<svg> nothing")


@pytest.mark.parametrize(
    ("stack", "place"),
    [
        (LOOP, "python"),
        (TAKE, "native"),
        (f"{TAKE};full (numpy/_core/numeric.py:386)", "python"),
        (f"{LOOP};__init__ (<string>:3)", "python"),
        (OURS, "native_loop"),
        (f"{OURS};clock_gettime (libc.so.6);0x7fe95c51baff ([vdso])", "native_loop"),
        (ORT, "ort"),
        (f"{ORT};operator new (libstdc++.so.6.0.30);malloc (libc.so.6)", "ort"),
        (f"{ORT};0x7ffe7bac14c0 (?);launch (libcudart.so.13)", "ort"),
        # The unwinder lost the frames between.
        (f"{TAKE};0x7fe953159708 (onnxruntime/capi/libonnxruntime.so.1.31.1)", "ort"),
        (f"{TAKE};0x7fe95bd8197e (libc.so.6)", "python"),
    ],
)
def test_time_belongs_to_the_innermost_frame_that_is_somebodys(stack: str, place: str) -> None:
    assert stacks.place(stack) == place


def test_shares_of_native_stacks() -> None:
    readings = {
        one.name: one.value
        for one in stacks.shares(sampled({LOOP: 1, OURS: 9, ORT: 90}, native=True))
    }
    assert readings == {
        "python_share": 0.01,
        "native_loop_share": 0.09,
        "ort_share": 0.9,
        "native_share": 0.99,
    }


def test_python_stacks_do_not_tell_our_loop_from_ort() -> None:
    readings = {one.name: one for one in stacks.shares(sampled({LOOP: 1, TAKE: 99}, native=False))}
    assert readings["python_share"].value == 0.01
    assert readings["native_share"].value == 0.99
    assert readings["ort_share"].value is None
    assert "`stacks`=native" in readings["ort_share"].reason


def test_no_samples_are_no_shares() -> None:
    for reading in stacks.shares(sampled({}, native=True)):
        assert reading.value is None
        assert reading.reason


def test_missing_permission_comes_with_the_remedy() -> None:
    said = "Permission Denied: Try running again with elevated permissions by going 'sudo env'"
    error = failure(said)
    assert isinstance(error, MachineError)
    assert "may not look" in error.message
    assert "ptrace_scope" in error.remedy
    assert "root" in error.remedy
    assert "SYS_PTRACE" in error.remedy


def test_other_failures_say_what_py_spy_said() -> None:
    assert "no such process" in failure("py-spy> no such process").message


def test_speedscope_holds_every_frame_once() -> None:
    scope = stacks_file.speedscope(sampled({ORT: 30, OURS: 10}, native=True), "mlp")
    frames = scope["shared"]["frames"]
    assert len(frames) == len({tuple(frame.items()) for frame in frames})
    assert {"name": "Measurement.take", "file": "harness/worker.py", "line": 398} in frames
    (profile,) = scope["profiles"]
    assert profile["weights"] == [0.15, 0.05]
    assert profile["endValue"] == pytest.approx(0.2)
    assert [frames[at]["name"] for at in profile["samples"][1]][-1] == "timing_loop"
