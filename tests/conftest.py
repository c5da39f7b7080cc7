"""What all tests share."""

from __future__ import annotations

import os
import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def host_lock(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No sweep of the tests waits for one that somebody else runs on this machine, or for another
    worker's."""
    os.environ["HARNESS_LOCK"] = str(tmp_path_factory.getbasetemp() / "host.lock")


@pytest.fixture(scope="session", autouse=True)
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where Python may write no bytecode, each of hundreds of processes would compile harness anew.

    They get a folder for it among the tests' own; the checkout is left alone.
    """
    if sys.dont_write_bytecode and os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        base = tmp_path_factory.getbasetemp()
        shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(shared / "bytecode"))
