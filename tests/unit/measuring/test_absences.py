"""What cannot be had is noted with its reason, and the rest goes on."""

from __future__ import annotations

import pytest

pytest.importorskip("harness.native.ort", reason="the native module is not built")

from harness.errors import HarnessError, MachineError
from harness.measuring.absences import Absences
from harness.native import ort


@pytest.mark.parametrize("kind", [HarnessError, MachineError, ort.OrtError, OSError, ValueError])
def test_what_may_fail_is_noted_on_one_line_and_the_rest_goes_on(kind: type[Exception]) -> None:
    absent = Absences()
    with absent.noting("trace/probe"):
        raise kind("no\n  room")
    with absent.noting("trace/ort"):
        pass
    with absent.noting("nodes", because="not known: "):
        raise kind("none")
    assert absent == [("trace/probe", "no room"), ("nodes", "not known: none")]


@pytest.mark.parametrize("kind", [AssertionError, RuntimeError, KeyError, KeyboardInterrupt])
def test_a_fault_of_the_program_is_no_absence(kind: type[BaseException]) -> None:
    absent = Absences()
    with pytest.raises(kind), absent.noting("trace/probe"):
        raise kind
    assert absent == []
