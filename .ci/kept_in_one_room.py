"""Refuses words in the strings of harness/ that only one room of it may know.

    python .ci/kept_in_one_room.py [FOLDER]

Docstrings and comments may hold them. Prints file:line of each and exits 1.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Rule:
    """Words that are kept in one room.

    Attributes:
        words: found in the source of a string, its quotes included.
        rooms: files and folders that may hold them.
        exempt: comment at the end of a line that may hold them.
        remedy: what to write elsewhere.
    """

    words: re.Pattern[str]
    rooms: tuple[str, ...]
    exempt: re.Pattern[str]
    remedy: str


RULES = (
    Rule(
        words=re.compile(r"--[a-z]"),
        rooms=("harness/options.py",),
        exempt=re.compile(
            r"# ((pyperf's|py-spy's|the worker's) option|another program's)"
            r"(  # |$)"  # a second comment, such as "fmt: skip", may follow
        ),
        remedy="name the field in backticks: harness/options.py alone knows its option",
    ),
    Rule(
        words=re.compile(
            r"""["'](cuda|tensorrt|openvino|rocm|qnn)["']|[A-Z]\w+ExecutionProvider"""
        ),
        rooms=("harness/ort/providers/",),
        exempt=re.compile(r"# not a provider"),
        remedy="ask harness.ort.providers: a provider is known in its file alone",
    ),
)

_STRINGS = {
    tokenize.STRING,
    getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING),  # Python 3.12 takes them apart
}


def found(rule: Rule, source: str) -> Iterator[int]:
    """Numbers of the lines that hold such a word in a string."""
    lines = source.splitlines()
    spared = _docstrings(source)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _STRINGS or token.start in spared:
            continue
        for word in rule.words.finditer(token.string):
            line = token.start[0] + token.string.count("\n", 0, word.start())
            if not rule.exempt.search(lines[line - 1]):
                yield line


def _docstrings(source: str) -> set[tuple[int, int]]:
    """Where strings begin that are statements."""
    return {
        (node.value.lineno, node.value.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def main() -> int:
    """Looks at every module; returns the exit code."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    code = 0
    for path in sorted(root.glob("harness/**/*.py")):
        name = path.relative_to(root)
        for rule in RULES:
            if any(name.is_relative_to(room) for room in rule.rooms):
                continue
            for line in found(rule, path.read_text(encoding="utf-8")):
                print(f"{name}:{line}: {rule.remedy}", file=sys.stderr)
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
