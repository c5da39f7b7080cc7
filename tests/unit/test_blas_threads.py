"""The limit on the threads of BLAS reaches workers, and nothing of the user's."""

from __future__ import annotations

import os

import pytest

from harness import blas_threads

SETTING = "OPENBLAS_NUM_THREADS"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SETTING, "HARNESS_LIMITS_BLAS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_the_limit_is_taken_back() -> None:
    before = dict(os.environ)
    blas_threads.limit()
    assert os.environ[SETTING] == "1"
    blas_threads.release()
    assert dict(os.environ) == before


def test_the_users_own_setting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "4")
    blas_threads.limit()
    blas_threads.release()
    assert os.environ[SETTING] == "4"
