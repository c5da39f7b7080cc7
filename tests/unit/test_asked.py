"""What readers take from the stored configuration, of whatever hand it is."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.records import Asked

NAMES = st.sampled_from(
    [field.name for one in (ProfileConfig, SessionConfig) for field in dataclasses.fields(one)]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def test_what_harness_stores_is_read_again() -> None:
    session = SessionConfig("cuda", {"enable_cuda_graph": "1"}, intra_threads=3)
    config = ProfileConfig("mlp", session, quick=True, affinity="0-2", interleaved_with="x")
    asked = Asked.of(json.dumps(dataclasses.asdict(config), default=str))

    assert (asked.quick, asked.energy, asked.processes) == (True, False, None)
    assert (asked.precision, asked.budget_s) == (config.precision, config.budget_s)
    assert (asked.affinity, asked.interleaved_with) == ("0-2", "x")
    assert (asked.provider, asked.intra_threads) == ("cuda", 3)
    assert asked.provider_options == {"enable_cuda_graph": "1"}


@settings(derandomize=True, deadline=None)
@given(JSON)
def test_odd_content_counts_as_not_given(content: object) -> None:
    asked = Asked.of(json.dumps(content))
    assert all(isinstance(value, str) for value in asked.provider_options.values())
    assert asked.intra_threads is None or type(asked.intra_threads) is int
    assert asked.affinity is None or asked.affinity


@pytest.mark.parametrize("config", ["", "{", "null", "[1]", '"text"', "[" * 100_000])
def test_no_object_is_a_configuration_of_which_nothing_is_known(config: str) -> None:
    assert Asked.of(config) == Asked.of("{}")


def test_a_provider_that_is_not_known_stays_text() -> None:
    session = {"provider": "of-tomorrow", "provider_options": {"level": 3}}
    asked = Asked.of(json.dumps({"session": session}))
    assert (asked.provider, asked.provider_options) == ("of-tomorrow", {"level": "3"})
