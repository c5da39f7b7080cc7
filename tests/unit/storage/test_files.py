"""Files that are written beside their place and renamed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import MachineError, RequestError
from harness.storage import files
from harness.storage.files import new_file


def test_an_unfinished_file_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("before")

    def fail(unfinished: Path) -> None:
        unfinished.write_text("half")
        raise PermissionError(13, "Permission denied")

    with pytest.raises(RequestError, match="cannot be written"), new_file(target, force=True) as to:
        fail(to)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_file_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("before")
    with pytest.raises(RequestError, match="exists"), new_file(target, force=False):
        pass
    with new_file(target, force=True) as to:
        to.write_text("after")
    assert target.read_text() == "after"


def test_what_is_no_ordinary_file_is_written_to_and_stays(tmp_path: Path) -> None:
    with new_file(Path("/dev/null"), force=False) as to:
        to.write_text("gone")
    assert Path("/dev/null").is_char_device()


def test_what_was_there_is_there_until_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("before")
    with new_file(target, force=True) as to:
        to.write_text("half")
        assert target.read_text() == "before"
        assert (to.parent, to.suffix) == (tmp_path, ".html")
        assert to.name.startswith(".page-")
    assert target.read_text() == "half"
    assert list(tmp_path.iterdir()) == [target]


def test_no_two_unfinished_files_have_the_same_name(tmp_path: Path) -> None:
    with new_file(tmp_path / "a", force=True) as one, new_file(tmp_path / "a", force=True) as two:
        assert one != two


def test_whoever_foretells_the_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "known")
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / ".out-known.csv").symlink_to(precious)
    refused = pytest.raises(RequestError, match="File exists")
    with refused, new_file(tmp_path / "out.csv", force=True):
        pytest.fail("the link was taken for a new file")
    assert precious.read_text() == "keep"


def test_a_link_of_the_name_asked_for_is_replaced_not_followed(tmp_path: Path) -> None:
    precious, target = tmp_path / "precious", tmp_path / "out.csv"
    precious.write_text("keep")
    target.symlink_to(precious)
    with pytest.raises(RequestError, match="exists"), new_file(target, force=False):
        pass
    with new_file(target, force=True) as to:
        to.write_text("new")
    assert (precious.read_text(), target.read_text()) == ("keep", "new")
    assert not target.is_symlink()


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    with pytest.raises(RequestError, match="exists"), new_file(target, force=False):
        target.write_text("theirs")
    assert target.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with new_file(tmp_path / "out.csv", force=False):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 125 + ".json")
    with new_file(target, force=False) as to:
        to.write_text("{}")
    assert target.read_text() == "{}"


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "a.csv", force=False):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is a folder"), new_file(tmp_path, force=True):
        pass


def test_a_redirected_standard_output_is_written_to(tmp_path: Path) -> None:
    program = """
from pathlib import Path
from harness.storage.files import new_file
with new_file(Path("/dev/stdout"), force=False) as to:
    with to.open("w") as out:
        out.write("told")
"""
    redirected = tmp_path / "out.txt"
    with redirected.open("w") as out:
        subprocess.run(
            [sys.executable, "-c", program], stdout=out, check=True, cwd=Path(__file__).parents[3]
        )
    assert redirected.read_text() == "told"


def test_a_full_disk_is_the_machines_fault() -> None:
    full = Path("/dev/full")
    with pytest.raises(MachineError, match="no room to write it"), new_file(full, force=True) as to:
        to.write_text("x")
