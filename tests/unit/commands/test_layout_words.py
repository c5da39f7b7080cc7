"""The command that ``layout`` prints for a layout."""

from __future__ import annotations

import shlex

from harness.commands.command_line import command_line
from harness.commands.layout import _command
from tests.builders.simulated_layouts import named_layout


def test_the_command_of_a_layout_can_be_pasted_into_a_shell() -> None:
    words = ["layout", "my models/net 1.onnx", "--dim", "n a=2", "--budget", "9", "--duration", "2"]
    options = command_line().parse_args([*words, "--latency-limit", "5", "--json"])

    told = _command(options, named_layout("p", 3, 8))

    parsed = command_line().parse_args(shlex.split(told)[1:])
    assert parsed.command == "profile"
    assert parsed.model == "my models/net 1.onnx"
    assert parsed.dim == ["n a=2"]
    assert (parsed.instances, parsed.threads, parsed.duration) == ("3", 8, 2.0)
    assert not parsed.json
    assert parsed.budget != 9


def test_the_command_of_the_default_places_nothing() -> None:
    options = command_line().parse_args(["layout", "mlp"])

    assert _command(options, named_layout("default", 1, 0)) == "harness profile mlp"
