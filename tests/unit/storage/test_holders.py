"""Files that say who holds something, to other processes and to other hosts."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.storage import holders
from harness.storage.shards import HeldError

#: Holds a file until it is killed. Over NFS, flock is what lockf is: of the server, and exclusive
#: only where the file is open for writing.
HOLD = """
import fcntl, sys, time
from pathlib import Path
from harness.storage import holders
if sys.argv[2] == "as over NFS": fcntl.flock = fcntl.lockf
with holders.hold(Path(sys.argv[1]), Path("results")): print(1, flush=True); time.sleep(100)
"""


@pytest.fixture(params=["as here", "as over NFS"])
def holder(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the file."""
    if request.param == "as over NFS":
        monkeypatch.setattr(fcntl, "flock", fcntl.lockf)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "held"), request.param], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.read(1)
        yield other
        other.kill()


def test_the_holder_is_named_and_its_end_ends_the_lock(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "held"
    named = rf"results: process {holder.pid} on .+, since 2\S+, is measuring into it"
    with pytest.raises(HeldError, match=named), holders.hold(path, Path("results")):
        pass
    holder.kill()
    holder.wait()
    assert path.exists(), "what a kill leaves is no hindrance"
    with holders.hold(path, Path("results")):
        assert str(os.getpid()) in path.read_text()
    assert not path.exists()


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{" * 9999, b'{"process": 1, "host": 2, "since": ""}', b"\xff"]
)
def test_a_strange_note_names_nobody(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "held"
    with holders.hold(path, Path("results")):
        path.write_bytes(content)
        with (
            pytest.raises(HeldError, match="results: another command is measuring"),
            holders.hold(path, Path("results")),
        ):
            pass


def test_links_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "held"
    target = tmp_path / "precious"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(RequestError, match="cannot be written"), holders.hold(path, tmp_path):
        pass
    assert target.read_text() == "precious"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RequestError, match="Is a pipe"), holders.hold(path, tmp_path):
        pass


def test_where_there_are_no_locks_we_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with holders.hold(tmp_path / "held", tmp_path):
        assert (tmp_path / "held").exists()
    assert not (tmp_path / "held").exists()


def test_a_file_that_its_holder_removed_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "held"
    lock, removed = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not removed:
            path.unlink()  # between our opening and our locking
            removed.append(path)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with holders.hold(path, tmp_path):
        assert path.exists()


def test_a_file_of_two_names_is_not_written_to(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    (tmp_path / "held").hardlink_to(mine)
    with (
        pytest.raises(RequestError, match="held: cannot be written: Has another name"),
        holders.hold(tmp_path / "held", tmp_path),
    ):
        pass
    assert mine.read_text() == "precious"
