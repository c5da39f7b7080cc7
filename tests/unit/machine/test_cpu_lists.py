from __future__ import annotations

import itertools

import pytest

from harness.machine.cpu_lists import cpu_list, cpu_parts, cpu_ranges


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-2,8\n", [0, 1, 2, 8]), ("5", [5]), ("3-3, 1", [3, 1]), ("", []), ("\n", [])],
)
def test_lists_as_linux_writes_them_are_read(text: str, cpus: list[int]) -> None:
    assert cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["first", "1,,2", "2-1", "-1", "1-", "0-1:2", "1;2"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a CPU or a range of them"):
        cpu_list(text)


def test_a_list_of_more_than_there_is_takes_no_memory() -> None:
    (part,) = cpu_parts("0-999999999999")
    assert list(itertools.islice(part, 2)) == [0, 1]


def test_what_is_written_is_read_again() -> None:
    for cpus in ([], [0], [0, 1, 2, 8], [1, 3, 4, 6]):
        assert cpu_list(cpu_ranges(reversed(cpus))) == cpus
    assert cpu_ranges([8, 0, 2, 1]) == "0-2,8"
