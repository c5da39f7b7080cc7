"""Documents name what is there, and what is there is listed where users and code look for it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from harness.analysis import findings
from harness.analysis.findings.rules import RULES
from harness.commands.command_line import COMMANDS
from harness.models import work
from harness.storage.v1 import schema

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


def test_every_column_is_in_the_description_of_the_format() -> None:
    described = (REPOSITORY / "profiles" / "FORMAT.md").read_text()
    columns = {
        name
        for table in vars(schema).values()
        if isinstance(table, dict)
        and all(isinstance(each, schema.Attributes) for each in table.values())
        for name in table
    }
    assert len(columns) > 50
    assert not [name for name in sorted(columns) if f"`{name}`" not in described]


def test_every_subcommand_is_in_the_documents() -> None:
    text = "".join(path.read_text() for path in REPOSITORY.glob("docs/*.md"))
    assert not [name for name in COMMANDS if f"harness {name}" not in text]


def test_every_script_of_benchmarks_is_in_their_document() -> None:
    text = (REPOSITORY / "docs" / "BENCHMARKS.md").read_text()
    scripts = [path.name for path in (REPOSITORY / "benchmarks").glob("*.py")]
    assert len(scripts) > 10
    assert not [name for name in sorted(scripts) if f"`{name}`" not in text]


def test_every_finding_is_among_the_rules() -> None:
    modules = {each.name for each in pkgutil.iter_modules(findings.__path__)} - {"rules", "seen"}
    assert {rule.__module__.rpartition(".")[2] for rule in RULES} == modules


def test_every_formula_is_used_by_an_operator() -> None:
    modules = [
        importlib.import_module(f"{work.__name__}.{each.name}")
        for each in pkgutil.iter_modules(work.__path__)
    ]
    text = "".join(map(inspect.getsource, modules))
    defined = [
        name
        for module in modules
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]
    entries = {"work_of", "definitions"}  # called from other rooms
    used = {name: len(re.findall(rf"\b{name}\b", text)) > 1 for name in defined}
    assert len(defined) > 20
    assert not [name for name in set(defined) - entries if not used[name]]
