"""A folder of profiles: what is there, whatever has happened to the index beside them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RequestError
from harness.storage import index, shards
from harness.storage.folder import NAMES, Contents, contents

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "profiles/sample.h5"
GOLDEN = ROOT / "tests/golden/profile_v1.h5"

#: Lists a folder in a process of its own, and says how many files it read and what it found.
LIST = """
import sys
from pathlib import Path
from harness.storage.folder import contents
read = []
found = contents(Path(sys.argv[1]), read.append)
print(read[0], len(found.profiles), len(found.unreadable))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three profiles, one of them twice, and a damaged file."""
    made = tmp_path / "made"
    made.mkdir()
    shutil.copy(SAMPLE, made / "mlp-1.h5")
    shutil.copy(SAMPLE, made / "mlp-2.h5")
    shutil.copy(GOLDEN, made / "golden.h5")
    (made / "cut.h5").write_bytes(SAMPLE.read_bytes()[:5_000])
    return made


def listed(folder: Path) -> tuple[Contents, int]:
    """What is there, and how many files had to be read to know it."""
    read: list[int] = []
    return contents(folder, read.append), read[0]


def names(found: Contents) -> list[str]:
    return [one.path.name for one in found.profiles]


def test_damaged_files_are_named_with_the_reason_and_cost_no_other(folder: Path) -> None:
    (folder / "text.h5").write_text("not HDF5")
    os.mkfifo(folder / "pipe.h5")
    (folder / "nowhere.h5").symlink_to("gone")
    (folder / "circle.h5").symlink_to("circle.h5")
    (folder / "notes.txt").touch()
    (folder / ".hidden.h5").touch()
    found, _ = listed(folder)
    assert names(found) == ["golden.h5", "mlp-1.h5", "mlp-2.h5"]
    reasons = {path.name: reason for path, reason in found.unreadable}
    assert reasons.keys() == {"cut.h5", "text.h5", "pipe.h5", "nowhere.h5", "circle.h5"}
    assert "truncated" in reasons["cut.h5"]
    assert reasons["text.h5"] == "not an HDF5 file"
    assert "a pipe or a device" in reasons["pipe.h5"]
    assert reasons["nowhere.h5"] == "a link to nothing"


def test_links_to_files_are_followed_and_folders_are_named_not_entered(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    shutil.move(folder / "mlp-2.h5", inner / "mlp-2.h5")
    (folder / "linked.h5").symlink_to("inner/mlp-2.h5")
    (folder / "again").symlink_to("inner")
    found, _ = listed(folder)
    assert names(found) == ["golden.h5", "linked.h5", "mlp-1.h5"]
    assert found.folders == ("again", "inner")


def test_unfinished_profiles_are_told_from_running_ones(folder: Path) -> None:
    for name in (".left.h5.partial", ".running.h5.partial"):
        (folder / name).mkdir()
        (folder / name / shards.file_name(0)).touch()
    with shards.hold(folder / ".running.h5.partial"):
        found, _ = listed(folder)
        # Looking is not in the way of whoever wants the lock.
        with shards.hold(folder / ".left.h5.partial"):
            pass
    assert [(one.path.name, one.processes, one.running) for one in found.partial] == [
        (".left.h5.partial", 1, False),
        (".running.h5.partial", 1, True),
    ]


def test_what_the_index_knows_is_not_read_again(folder: Path) -> None:
    first, read = listed(folder)
    assert read == 4
    again, read = listed(folder)
    assert again == first
    assert read == 1, "only what no index can know: that a file is damaged"


def test_changes_are_seen(folder: Path) -> None:
    listed(folder)
    shutil.copy(GOLDEN, folder / "new.h5")
    (folder / "mlp-1.h5").unlink()
    shutil.copy(GOLDEN, folder / "other.h5")
    (folder / "other.h5").replace(folder / "mlp-2.h5")
    found, read = listed(folder)
    assert read == 3
    assert {one.path.name: one.model for one in found.profiles} == {
        "golden.h5": "mödel",
        "mlp-2.h5": "mödel",
        "new.h5": "mödel",
    }
    with contextlib.closing(sqlite3.connect(folder / index.NAME)) as held:
        kept = {name for (name,) in held.execute("SELECT name FROM outlines")}
    assert kept == {b"golden.h5", b"mlp-2.h5", b"new.h5"}, "those that are gone are forgotten"


def test_a_file_that_becomes_damaged_is_forgotten(folder: Path) -> None:
    listed(folder)
    content = (folder / "mlp-1.h5").read_bytes()
    (folder / "mlp-1.h5").write_bytes(content[:1000])
    found, _ = listed(folder)
    assert "mlp-1.h5" not in names(found)
    (folder / "mlp-1.h5").write_bytes(content)
    assert "mlp-1.h5" in names(listed(folder)[0])


def test_a_folder_may_be_moved_with_its_index(folder: Path) -> None:
    listed(folder)
    moved = folder.rename(folder.with_name("moved"))
    found, read = listed(moved)
    assert read == 1
    assert {one.path.parent for one in found.profiles} == {moved}


def sql(*statements: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as held:
            for statement in statements:
                held.execute(statement)

    return change


def deleted(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_something_else(path: Path) -> None:
    path.write_bytes(b"not a database " * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scrambled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:6000] = bytes(5900)
    path.write_bytes(content)


def foreign(path: Path) -> None:
    path.unlink()
    sql("CREATE TABLE mine (value)")(path)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def with_more_rows_than_anybody_can_count(path: Path) -> None:
    """Twelve pages of the table, each of which has the next one as all of its children."""
    path.unlink()
    table = index._TABLE
    sql(
        "PRAGMA page_size = 512", f"PRAGMA application_id = {index._APPLICATION_ID}",
        f"PRAGMA user_version = {index._VERSION}", table,
        "INSERT INTO outlines VALUES (x'61', 's', x'6f')",
    )(path)  # fmt: skip
    with contextlib.closing(sqlite3.connect(path)) as held:
        (root,) = held.execute("SELECT rootpage FROM sqlite_master").fetchone()
    content = bytearray(path.read_bytes())
    pages = len(content) // 512
    leaf = content[(root - 1) * 512 : root * 512]
    content[(root - 1) * 512 : root * 512] = interior(pages + 1)
    for level in range(1, 13):
        content += interior(pages + level + 1) if level < 12 else leaf
    struct.pack_into(">I", content, 28, len(content) // 512)
    path.write_bytes(content)


def interior(child: int) -> bytes:
    """A page of the b-tree of an index (SQLite's file format, 1.6), full of one child."""
    cell = struct.pack(">I", child) + bytes([7, 4, 14, 15, 14]) + b"aso"
    count = (512 - 12) // (len(cell) + 2)
    first = 512 - count * len(cell)
    places = struct.pack(f">{count}H", *range(first, 512, len(cell)))
    page = bytearray(struct.pack(">BHHHBI", 2, 0, count, first, 0, child) + places)
    return bytes(page.ljust(first, b"\0")) + count * cell


def says(field: str, value: str) -> Callable[[Path], None]:
    """The index says something that no file can say."""
    told = f"json_set(CAST(outline AS TEXT), '$.{field}', {value})"
    return sql(f"UPDATE outlines SET outline = CAST({told} AS BLOB)")


#: A table of our name that computes for ever.
ENDLESS = """CREATE VIEW outlines AS WITH RECURSIVE n(name) AS (
    SELECT x'00' UNION ALL SELECT name FROM n) SELECT name, '' AS state, '' AS outline FROM n"""


@pytest.mark.parametrize(
    "harm",
    [
        deleted, emptied, of_something_else, cut, scrambled, foreign, a_pipe,
        pytest.param(sql("PRAGMA user_version = 999"), id="of another version"),
        pytest.param(sql("DROP TABLE outlines"), id="without the table"),
        pytest.param(sql("DROP TABLE outlines", ENDLESS), id="endless"),
        pytest.param(sql("CREATE TABLE more (value)"), id="with more in it"),
        pytest.param(sql("UPDATE outlines SET outline = '{}'"), id="not understood"),
        pytest.param(sql("UPDATE outlines SET outline = zeroblob(100000000)"), id="huge"),
        with_more_rows_than_anybody_can_count,
        pytest.param(says("median_ns", "-5.0"), id="a negative time"),
        pytest.param(says("median_ns", "1e308"), id="a time beyond all"),
        pytest.param(says("processes", "-1"), id="negative processes"),
        pytest.param(says("samples", "-3"), id="negative samples"),
        pytest.param(says("config", "'no JSON'"), id="a request that is none"),
        pytest.param(says("interval_ns", "json('[9.0, 3.0]')"), id="an inverted interval"),
        pytest.param(sql("UPDATE outlines SET state = '1:2:3'"), id="out of date"),
        pytest.param(sql("UPDATE outlines SET name = 7 WHERE name = x'6d6c702d312e6835'"), id="7"),
    ],
)  # fmt: skip
def test_whatever_has_become_of_the_index_the_files_are_listed_and_it_is_mended(
    harm: Callable[[Path], None], folder: Path
) -> None:
    first, _ = listed(folder)
    harm(folder / index.NAME)
    again, _ = listed(folder)
    assert again == first
    assert listed(folder) == (first, 1)
    assert not list(folder.glob(f".harness-index-*{Path(index.NAME).suffix}")), "nothing is left"


def test_a_folder_in_place_of_the_index_is_left_alone(folder: Path) -> None:
    (folder / index.NAME).mkdir()
    (folder / index.NAME / "mine").touch()
    assert names(listed(folder)[0]) == ["golden.h5", "mlp-1.h5", "mlp-2.h5"]
    assert (folder / index.NAME / "mine").exists()


def test_a_link_in_place_of_the_index_is_replaced_not_followed(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "mine.sqlite"
    foreign_before = b"something of mine"
    other.write_bytes(foreign_before)
    (folder / index.NAME).symlink_to(other)
    (folder / NAMES).symlink_to(other)
    first, _ = listed(folder)
    assert listed(folder) == (first, 1)
    assert other.read_bytes() == foreign_before
    assert not (folder / index.NAME).is_symlink()


def test_a_lock_on_the_index_stops_nobody(folder: Path) -> None:
    first, _ = listed(folder)
    with contextlib.closing(sqlite3.connect(folder / index.NAME, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert listed(folder) == (first, 1)
        (folder / "mlp-2.h5").unlink()
        assert names(listed(folder)[0]) == ["golden.h5", "mlp-1.h5"]
        other.execute("ROLLBACK")
    assert names(listed(folder)[0]) == ["golden.h5", "mlp-1.h5"]


def planted_journal(index_file: Path, named: Path) -> Path:
    """A journal beside the index that names another file as its super-journal."""
    name, magic = str(named).encode(), bytes.fromhex("d9d505f920a163d7")
    pages = index_file.stat().st_size // 16384
    numbers = b"".join(number.to_bytes(4, "big") for number in (0, 0, pages, 512, 16384))
    ending = b"".join(number.to_bytes(4, "big") for number in (len(name), sum(name)))
    journal = index_file.with_name(f"{index_file.name}-journal")
    journal.write_bytes((magic + numbers).ljust(512, b"\0") + bytes(4) + name + ending + magic)
    return journal


def test_a_journal_that_somebody_put_beside_the_index_is_left_alone(
    folder: Path, tmp_path: Path
) -> None:
    """SQLite would play it back, and then delete the file that it names."""
    first, _ = listed(folder)
    before = (folder / index.NAME).read_bytes()
    named = tmp_path / "mine.txt"
    named.write_text("mine")
    journal = planted_journal(folder / index.NAME, named)
    assert listed(folder) == (first, 1)
    assert (folder / index.NAME).read_bytes() == before
    assert named.read_text() == "mine"
    assert journal.exists()
    with contextlib.closing(sqlite3.connect(folder / index.NAME)) as other:
        other.execute("SELECT count(*) FROM outlines").fetchone()
    if named.exists():
        pytest.skip(f"SQLite {sqlite3.sqlite_version} is no longer harmed by such a journal")


def test_names_that_are_no_text_are_listed(folder: Path) -> None:
    odd = os.fsdecode(b"odd-\xff\n.h5")
    try:
        shutil.copy(SAMPLE, folder / odd)
    except OSError:
        pytest.skip("the file system has only names that are text")
    first, _ = listed(folder)
    assert odd in names(first)
    assert listed(folder) == (first, 1)
    assert "odd" not in (folder / NAMES).read_text()


def test_the_list_of_names_has_the_newest_first_and_only_what_a_shell_takes(folder: Path) -> None:
    for name in ("two words.h5", "$(true).h5", "-x.h5", "é.h5"):
        shutil.copy(GOLDEN, folder / name)
    listed(folder)
    # golden.h5 was created a year before.
    assert (folder / NAMES).read_text().split() == ["mlp-2.h5", "mlp-1.h5", "golden.h5", "-x.h5"]


def test_a_list_of_names_that_has_not_changed_is_not_written_again(folder: Path) -> None:
    listed(folder)
    before = (folder / NAMES).stat()
    listed(folder)
    assert (folder / NAMES).stat() == before


def start(folder: Path, script: str = LIST, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


def said(process: subprocess.Popen[str]) -> list[int]:
    out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "")
    return list(map(int, out.split()))


def test_lists_at_the_same_time_do_not_hurt_each_other(folder: Path) -> None:
    for number in range(40):
        os.link(folder / "mlp-1.h5", folder / f"linked-{number}.h5")
    for _ in range(2):
        together = [start(folder) for _ in range(4)]
        assert [said(each)[1:] for each in together] == [[43, 1]] * 4
        (folder / index.NAME).write_bytes(b"damaged meanwhile")
    listed(folder)
    assert listed(folder)[1] == 1


@contextlib.contextmanager
def read_only(profiles: Path) -> Iterator[tuple[Path, Path]]:
    """A folder that nobody can write to, and a cache folder that nobody else can."""
    with tempfile.TemporaryDirectory(prefix="harness-list-") as made:
        above = Path(made)
        above.chmod(0o755)
        cache = above / "cache"
        cache.mkdir()
        if os.geteuid() == 0:
            os.chown(cache, 65_534, 65_534)
        folder = Path(shutil.copytree(profiles, above / "profiles"))
        for path in folder.iterdir():
            path.chmod(0o644)
        folder.chmod(0o555)
        try:
            yield folder, cache
        finally:
            folder.chmod(0o755)


#: Root can write everywhere, so it becomes nobody, with everything imported that it may not read.
NOBODY = """
import os
import harness.storage.folder, harness.storage.profile_file
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65_534)
    os.setuid(65_534)
"""


def test_a_folder_that_is_only_read_has_its_index_in_the_cache(folder: Path) -> None:
    def listed_by_nobody(cache: Path) -> list[int]:
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        return said(start(kept, NOBODY + LIST, env=environment))

    with read_only(folder) as (kept, cache):
        before = sorted(path.name for path in kept.iterdir())
        assert listed_by_nobody(cache) == [4, 3, 1]
        assert listed_by_nobody(cache) == [1, 3, 1]
        closed = cache / "closed"
        closed.mkdir(mode=0o000)
        for nowhere in (Path("/proc/nowhere"), cache / ("x" * 300), closed):
            assert listed_by_nobody(nowhere) == [4, 3, 1], "without a place for one, too"
        assert sorted(path.name for path in kept.iterdir()) == before


def test_a_full_disk_costs_the_index_and_leaves_nothing(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + LIST, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("4 3 1\n", "")
    assert sorted(path.name for path in folder.iterdir()) == before


def test_what_was_read_before_an_interruption_is_kept(folder: Path) -> None:
    from harness.storage import folder as room

    class StopError(Exception):
        pass

    real, left = room._outline, [2]

    def failing(path: Path) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise StopError
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_outline", failing)
        with pytest.raises(StopError):
            listed(folder)
    assert listed(folder)[1] == 3


def test_three_hundred_profiles_are_read_once(folder: Path) -> None:
    for number in range(300):
        os.link(folder / "mlp-1.h5", folder / f"linked-{number}.h5")
    began = time.process_time()
    first, read = listed(folder)
    cold = time.process_time() - began
    assert (len(first.profiles), read) == (303, 304)
    began = time.process_time()
    assert listed(folder) == (first, 1)
    assert time.process_time() - began < cold / 4, "the index is worth having"


@pytest.mark.parametrize("name", ["nowhere", "golden.h5", "a\0b"])
def test_what_is_no_folder_is_one_error(name: str, folder: Path) -> None:
    with pytest.raises(RequestError):
        contents(folder / name)
