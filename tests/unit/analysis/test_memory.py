"""Memory: what is known of it, the largest tensors, and why the rest is not known."""

from __future__ import annotations

import dataclasses

from harness.analysis.memory import memory
from harness.machine.peak_memory import PEAK_MEMORY
from harness.records import ARENA, WEIGHTS, Reading
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile


def test_the_process_in_which_it_was_greatest_is_told() -> None:
    processes = [
        process([10] * 5, index, {PEAK_MEMORY: 1000 + index, ARENA: 200 - index})
        for index in range(2)
    ]
    found = memory(profile(*processes, environment=(Reading(WEIGHTS, 64, "bytes"),)))
    assert found.peak_bytes.value == 1001
    assert found.arena_bytes.value == 200
    assert found.weights_bytes.value == 64


def test_largest_tensors_are_told_after_their_sources_and_views_are_none() -> None:
    nodes = table(
        [-1, -1, -1, -1],
        name=("a", "wide", "view", "text"),
        op_type=("Split", "Conv", "Reshape", "Unique"),
        sources=("layer/split", "layer/conv; layer/act", "layer/view", ""),
        output_type_shape=(
            '[{"float":[2,3]},{"int8":[5]}]',
            '[{"float16":[1,100]}]',
            '[{"float16":[100,1]}]',
            '[{"string":[1000]}]',
        ),
    )
    found = memory(profile(nodes=nodes))
    assert [(one.name, one.node, one.bytes) for one in found.largest] == [
        ("layer/conv +1", "wide", 200),
        ("layer/split, output 0", "a", 24),
        ("layer/split, output 1", "a", 5),
    ]
    assert not found.largest_reason


def test_what_is_not_known_says_why() -> None:
    refused = Reading(ARENA, None, "bytes", "", "1.23 or newer is needed")
    old = dataclasses.replace(process([10] * 5), noise=(refused,))
    found = memory(profile(old))
    assert (found.arena_bytes.value, found.arena_bytes.reason) == (None, refused.reason)
    assert found.peak_bytes.reason == "not recorded"
    assert found.weights_bytes.reason == "not recorded"
    assert found.largest_reason
