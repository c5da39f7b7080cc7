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
from harness.measuring import runtimes
from harness.ort import providers

#: The list of names that ``harness.storage.folder`` leaves beside profiles; importing that takes
#: longer than all the rest of this command.
NAMES = ".harness-names"

SHELLS = ("bash", "zsh", "fish")

#: Choices of options that are checked by ``harness.config`` and unknown to argparse.
_CHOICES = {
    "provider": providers.names(),
    "runtime": runtimes.names(),
    "execution_mode": EXECUTION_MODES,
    "optimization": OPTIMIZATION_LEVELS,
    "kind": ("fp16", "int8-dynamic", "int8-static", "prune-weights:0.5", "prune-channels:0.5"),
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
        if action.dest == "model" and not action.option_strings:
            completed.complete = _model_files(" ".join(REFERENCE_MODELS))
        elif action.dest == "name":
            action.choices = tuple(REFERENCE_MODELS)
        elif action.dest in ("file", "files"):
            completed.complete = _profile_files()
        elif action.dest in ("partial", "folder") or action.metavar == "FOLDER":
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


def _profile_files() -> dict[str, Any]:
    """Profiles; where none here begins like the word, those that ``list`` saw in ``profiles/``.

    The list of names may be a stranger's: it is cut, and only lines that a shell takes as they
    stand are used, of files that are there.
    """
    files = _files("*.h5")
    names = (
        f"[ -f profiles/{NAMES} ] && head -c 1000000 profiles/{NAMES} 2>/dev/null "
        r"| LC_ALL=C grep -E '^[A-Za-z0-9_.+=@-]+\.h5$'"
    )
    return {
        "bash": "_harness_profile_files",
        "zsh": "_harness_profile_files",
        "fish": "(_harness_profile_files)",
        "preamble": {
            "bash": f"""{files["preamble"]["bash"]}
_harness_profile_files() {{
  local found name
  found=$({files["bash"]} "$1")
  if [[ -n $found || -z $1 || $1 == */* ]]; then
    printf '%s\\n' "$found"
    return
  fi
  while IFS= read -r name; do
    [[ $name == "$1"* && -e profiles/$name ]] && printf 'profiles/%s\\n' "$name"
  done < <({names})
}}""",
            "zsh": f"""\
_harness_profile_files() {{
  {files["zsh"]} && return
  [[ -n $PREFIX && $PREFIX != */* ]] || return 1
  local -a names
  names=(${{(f)"$({names})"}})
  names=(${{(M)names:#${{(b)PREFIX}}*}})
  names=(profiles/${{^names}}(N))
  (( $#names )) && compadd -U -f -a names
}}""",
            "fish": f"""{files["preamble"]["fish"]}
function _harness_profile_files
  set found {files["fish"]}
  printf '%s\\n' $found
  set word (commandline -ct)
  if test -z "$found"; and test -n "$word"; and not string match -q '*/*' -- $word
    for name in ({names})
      test -e profiles/$name; and printf 'profiles/%s\\n' $name
    end
  end
end""",
        },
    }


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
