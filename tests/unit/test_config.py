"""What follows from a session's configuration."""

from __future__ import annotations

import pytest

from harness.config.session import SessionConfig


@pytest.mark.parametrize(
    ("provider", "options", "captures"),
    [
        ("cpu", {}, False),
        ("cuda", {}, False),
        ("cuda", {"enable_cuda_graph": "1"}, True),
        ("cuda", {"enable_cuda_graph": "True"}, True),
        ("cuda", {"enable_cuda_graph": "0"}, False),
        ("cuda", {"trt_cuda_graph_enable": "1"}, False),
        ("tensorrt", {"trt_cuda_graph_enable": "true"}, True),
    ],
)
def test_only_the_providers_own_option_asks_for_cuda_graphs(
    provider: str, options: dict[str, str], captures: bool
) -> None:
    config = SessionConfig(provider=provider, provider_options={"device_id": "0", **options})
    assert config.captures_graph is captures
    assert not config.uncaptured.captures_graph
    assert config.uncaptured.provider_options["device_id"] == "0"
    if not captures:
        return
    assert config.uncaptured.provider_options == {"device_id": "0"}
