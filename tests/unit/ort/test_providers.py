"""Execution providers: one description each, found by being in their room."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.analysis.comparing.differences import differences
from harness.analysis.findings.rules import findings
from harness.config.session import SessionConfig
from harness.errors import RequestError
from harness.ort import providers
from harness.records import Profile, Reading
from harness.reporters.html.page import page
from harness.statistics.figures import Figure
from tests.builders.process_records import process, profile

ROOT = Path(__file__).parents[3]

#: What a contributor writes for a provider that harness has never heard of.
MADE_UP = """
from pathlib import Path

from harness.ort.execution_provider import ExecutionProvider
from harness.records import Reading


def state(library: Path) -> tuple[Reading, str]:
    return Reading("abacus", None, "", "made up", "its beads are stuck"), "shake it"


PROVIDER = ExecutionProvider(
    name="abacus",
    title="Abacus",
    ort_name="AbacusExecutionProvider",
    api_name="Abacus",
    capture_option="frozen_beads",
    faster_start="bead_cache=1",
    plugin="libonnxruntime_providers_abacus.so",
    state=state,
    drivers=("beads_",),
)
"""


@pytest.fixture
def abacus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The room of providers with one more file: the file's folder."""
    room = tmp_path / "room"
    room.mkdir()
    (room / "abacus.py").write_text(MADE_UP)
    monkeypatch.setattr(providers, "__path__", [*providers.__path__, str(room)])
    yield room
    sys.modules.pop("harness.ort.providers.abacus", None)


def test_the_host_comes_first_and_each_is_called_as_its_file() -> None:
    assert providers.names()[0] == providers.HOST
    for provider in providers.every():
        assert provider.name in providers.names()
        assert provider is providers.by_name(provider.name)


def test_those_behind_a_provider_are_known_too() -> None:
    for provider in providers.every():
        assert set(provider.followers) <= set(providers.names()) - {provider.name, providers.HOST}


@pytest.mark.parametrize(
    ("provider", "options", "captures"),
    [
        ("cpu", {}, False),
        ("cuda", {}, False),
        ("cuda", {"enable_cuda_graph": "1"}, True),
        ("cuda", {"enable_cuda_graph": "True"}, True),
        ("cuda", {"enable_cuda_graph": "0"}, False),
        # ORT refuses the session: it takes this for neither.
        ("cuda", {"enable_cuda_graph": "yes"}, False),
        ("cuda", {"trt_cuda_graph_enable": "1"}, False),
        ("tensorrt", {"trt_cuda_graph_enable": "true"}, True),
    ],
)
def test_only_the_providers_own_option_asks_for_a_captured_graph(
    provider: str, options: dict[str, str], captures: bool
) -> None:
    config = SessionConfig(provider=provider, provider_options={"device_id": "0", **options})
    assert providers.captures_graph(config) is captures
    uncaptured = providers.uncaptured(config)
    assert not providers.captures_graph(uncaptured)
    assert uncaptured.provider_options["device_id"] == "0"
    if captures:
        assert uncaptured.provider_options == {"device_id": "0"}


@pytest.mark.parametrize("name", ["", "CUDA", "../cuda", "cuda.PROVIDER", "__init__"])
def test_what_is_no_provider_is_refused_with_those_there_are(name: str) -> None:
    assert providers.known(name) is None
    with pytest.raises(RequestError, match="not known") as refusal:
        providers.by_name(name)
    assert all(known in refusal.value.remedy for known in providers.names())


def of_abacus(beads: str, **options: str) -> Profile:
    """A profile on the made-up provider whose first inference took long."""
    slow = dataclasses.replace(process([1_000] * 100), first_inference_ns=10**9)
    return dataclasses.replace(
        profile(slow, dataclasses.replace(slow, index=1)),
        provider="abacus",
        config=json.dumps({"session": {"provider": "abacus", "provider_options": options}}),
        environment=(Reading("beads_version", beads, source="made up"),),
    )


@pytest.mark.usefixtures("abacus")
def test_a_new_provider_is_one_file_to_whoever_reads_a_profile() -> None:
    base, candidate = of_abacus("1"), of_abacus("2")
    told = differences(base, candidate)
    assert [(one.kind, one.what) for one in told if one.what == "beads_version"] == [
        ("driver", "beads_version")
    ]
    found = {one.kind: one for one in findings(base, Figure(None, "no operators"))}
    assert "bead_cache=1" in found["first_inference"].next_step
    assert "on abacus" in page([base])


def test_a_new_provider_is_one_file_to_the_commands(abacus: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import harness.ort.providers as room\nroom.__path__.append({str(abacus)!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}

    def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    diagnosed = json.loads(harness("doctor", "--json").stdout)["findings"]
    mine = next(one for one in diagnosed if one["name"] == "Abacus")
    assert (mine["state"], mine["detail"]) == ("absent", "its beads are stuck")
    refused = harness("profile", "mlp", "--provider", "abacus")
    assert refused.returncode == 3
    assert "--provider abacus cannot be used here: its beads are stuck (shake it)" in refused.stderr
    unknown = harness("profile", "mlp", "--provider", "slide-rule")
    assert unknown.returncode == 2
    known = ("cpu", *sorted({"abacus", *providers.names()} - {"cpu"}))
    assert f"choose one of {', '.join(known)}" in unknown.stderr
    assert "abacus" in harness("profile", "--help").stdout
    assert "abacus" in harness("complete", "bash").stdout
