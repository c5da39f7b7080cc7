"""Print a script that makes a shell complete commands, options, models and profiles.

bash: eval "$(harness complete bash)" in ~/.bashrc
zsh:  eval "$(harness complete zsh)" in ~/.zshrc, below compinit
fish: harness complete fish | source, in ~/.config/fish/config.fish
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.config.session import EXECUTION_MODES, OPTIMIZATION_LEVELS
from harness.ort import providers

SHELLS = ("bash", "zsh", "fish")

#: Choices of options that are checked by ``harness.config`` and unknown to argparse.
_CHOICES = {
    "provider": providers.names(),
    "execution_mode": EXECUTION_MODES,
    "optimization": OPTIMIZATION_LEVELS,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness complete``."""
    parser.add_argument("shell", choices=SHELLS)


def execute(options: argparse.Namespace) -> int:
    """Prints the script: pressing Tab then starts no Python."""
    import shtab

    from harness.commands.command_line import command_line
    from harness.models.catalogue import REFERENCE_MODELS

    parser = command_line()
    for action in _actions(parser):
        completed: Any = action  # shtab reads an attribute that argparse does not declare
        if action.dest == "model":
            completed.complete = _model_files(" ".join(REFERENCE_MODELS))
        elif action.dest == "name":
            action.choices = tuple(REFERENCE_MODELS)
        elif action.dest in ("file", "files"):
            completed.complete = _files("*.h5")
        elif action.dest == "partial":
            completed.complete = shtab.DIRECTORY
        elif action.type is Path:
            completed.complete = shtab.FILE
        elif action.dest in _CHOICES:
            action.choices = _CHOICES[action.dest]
    print(shtab.complete(parser, options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of the parser and of its commands."""
    for action in parser._actions:  # argparse has no public access to them
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _files(*patterns: str) -> dict[str, Any]:
    """Files whose names match one of the patterns, and folders."""
    import shtab

    given = shtab.glob(*patterns)
    if len(patterns) == 1:
        # shtab adds parentheses, in which zsh takes a single pattern for a glob qualifier.
        given["zsh"] = f"_files -g '{patterns[0]}'"
    return given


def _model_files(references: str) -> dict[str, Any]:
    """Reference models and model files (.onnx, .ort), in the syntax of each shell."""
    files = _files("*.onnx", "*.ort")
    return {
        # With "files" in the name, shtab knows that a folder does not complete the word.
        "bash": "_harness_model_files",
        "zsh": "_harness_model_files",
        "fish": f"(printf '%s\\n' {references}; {files['fish'][1:-1]})",
        "preamble": {
            "bash": f"""{files["preamble"]["bash"]}
_harness_model_files() {{
  compgen -W "{references}" -- "$1"
  {files["bash"]} "$1"
}}""",
            "zsh": f"""\
_harness_model_files() {{
  _alternative 'models:reference model:({references})' "files:ONNX file:{files["zsh"]}"
}}""",
            "fish": files["preamble"]["fish"],
        },
    }
