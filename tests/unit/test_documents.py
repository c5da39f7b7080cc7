"""Documents name files and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])

#: Paths in backquotes, from the root or from harness/, and names of tests.
_PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*\.(?:py|pyx|sh|md|h5|yml|c|h)\b)(?:::(\w+))?")
_TEST = re.compile(r"`(test_[a-z0-9_]+)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    tests = "\n".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    missing = []
    for path, name in _PATH.findall(text):
        if "NAME" in path:
            continue
        if not any((root / path).exists() for root in (REPOSITORY, REPOSITORY / "harness")):
            missing.append(path)
        if name:
            text += f" `{name}`"
    missing += [name for name in _TEST.findall(text) if not re.search(rf"def {name}\b", tests)]
    assert not missing, sorted(set(missing))
