from __future__ import annotations

import numpy as np
import pytest

from harness.analysis import machine_speed
from harness.measuring import yardstick
from harness.records import NO_YARDSTICK, Yardstick


def timed(*parts: list[int]) -> Yardstick:
    columns = [np.array(part, np.int64) for part in parts]
    return Yardstick(np.arange(len(parts[0]), dtype=np.int64), *columns)


def test_as_many_repetitions_as_asked_for_one_after_the_other() -> None:
    measured = yardstick.measure(3)
    assert len(measured) == 3
    assert (np.diff(measured.start_ns) > 0).all()
    for part in (measured.compute_ns, measured.cache_ns, measured.memory_ns):
        assert part.dtype == np.int64
        assert part.shape == (3,)
        assert (part > 0).all()


@pytest.mark.parametrize("repetitions", [0, -1])
def test_no_repetition_cannot_be_meant(repetitions: int) -> None:
    with pytest.raises(ValueError, match="repetitions"):
        yardstick.measure(repetitions)


def test_speed_is_the_log_of_what_each_part_usually_takes() -> None:
    measured = timed([200] * 8, [30] * 8, [4000] * 8)
    np.testing.assert_allclose(machine_speed.speed(measured), np.log([200, 30, 4000]))


def test_half_of_the_repetitions_being_interrupted_does_not_change_the_speed() -> None:
    quiet = timed([200] * 8, [30] * 8, [4000] * 8)
    disturbed = timed([200] * 4 + [9000] * 4, [9000] * 4 + [30] * 4, [4000, 9000] * 4)
    np.testing.assert_array_equal(machine_speed.speed(disturbed), machine_speed.speed(quiet))


def test_what_was_not_timed_has_no_speed() -> None:
    with pytest.raises(ValueError, match="not timed"):
        machine_speed.speed(NO_YARDSTICK)


def test_parts_are_put_together_in_their_order() -> None:
    whole = yardstick.concatenate([timed([1], [2], [3]), NO_YARDSTICK, timed([4], [5], [6])])
    assert whole.compute_ns.tolist() == [1, 4]
    assert whole.cache_ns.tolist() == [2, 5]
    assert whole.memory_ns.tolist() == [3, 6]
    assert whole.start_ns.dtype == np.int64
    assert len(yardstick.concatenate([])) == 0
