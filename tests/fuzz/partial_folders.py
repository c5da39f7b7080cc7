"""Partial folders: records and arrays of the shards, their archives, and the folder itself."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import runpy
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import hostile, profile_files
from tests.fuzz.engine import OLD, Case

NAME = "shards"
BASES = ("golden", "device", "sample")
REFUSALS = (
    "not the partial folder",
    "header.shard: damaged",
    "no process had finished",
    "no such partial folder",
    "partial state of version",
)
LIMIT_S = 10.0
OUTPUTS_BY_NAME = True

_ROOT = Path(__file__).parents[2]
_PARTIAL = ".run.h5.partial"
#: By base and file name: the record, and the arrays that it numbers.
_bases: dict[str, dict[str, tuple[Any, list[Any]]]] = {}

_Files = dict[str, tuple[Any, list[Any]]]


def load(folder: Path) -> None:
    """Partial folders as the workers leave them."""
    from harness.records import Profile
    from harness.storage import shards
    from harness.storage.profile_file import read_profile
    from tests.builders.device_records import kernels, series, timeline

    profile_files.import_commands()
    golden = runpy.run_path(str(_ROOT / "tests" / "golden" / "make_profile_v1.py"))
    sample = read_profile(_ROOT / "profiles" / "sample.h5")

    def header(path: Path, profile: Profile, planned: int) -> None:
        known = {field.name for field in dataclasses.fields(shards.ProfileHeader)}
        values = {name: getattr(profile, name) for name in known - {"planned_processes", "absent"}}
        absent = (("energy", "none"),)
        shards.write_header(
            path, shards.ProfileHeader(**values, planned_processes=planned, absent=absent)
        )

    for base in BASES:
        path = folder / base
        if base == "sample":
            header(path, sample, 4)
            for process in sample.processes[:2]:
                shards.write_shard(path, shards.Shard(process, {}, sample.nodes, ()))
        else:
            header(path, golden["golden_profile"](), 3)
            for index in (0, 1):
                process = golden["process"](index)
                start = int(process.steady.start_ns[0])
                devices: tuple[Any, ...] = ()
                recorded = times_alone = None
                if base == "device":
                    times = [(start + 1000 * n, 10 + n % 3) for n in range(9)]
                    devices = (series("gpu0", "sm_clock_hz", times, process=index),)
                    recorded = kernels(("gemm", 0, start, 500), process=index)
                    inference = (start, 900, [(start + 10, 500)])
                    times_alone = timeline([("gemm", 0)], [inference], [890], process=index)
                traces = {"ort": golden["events"](index)}
                shard = shards.Shard(
                    process, traces, golden["nodes"](), (), devices, recorded, times_alone
                )
                shards.write_shard(path, shard)
        _bases[base] = {file.name: _taken_apart(file) for file in sorted(path.glob("*.shard"))}


def _taken_apart(path: Path) -> tuple[Any, list[Any]]:
    with zipfile.ZipFile(path) as archive:
        record = json.loads(archive.read("record.json"))
        count = len(archive.namelist()) - 1
        arrays = [np.load(io.BytesIO(archive.read(f"{n}.npy"))) for n in range(count)]
    return record, arrays


def _any(rng: random.Random, files: _Files) -> tuple[str, Any, list[Any]]:
    # The header is one file of three, but every shard is like another.
    name = rng.choice(list(files))
    record, arrays = files[name]
    return name, record, arrays


def _json(rng: random.Random, files: _Files) -> None:
    name, record, arrays = _any(rng, files)
    if isinstance(record, dict) and "record" in record and rng.random() < 0.9:
        record["record"] = hostile.mutate_json(rng, record["record"])
    else:
        files[name] = (hostile.mutate_json(rng, record), arrays)


def _text(rng: random.Random, files: _Files) -> None:
    """A text of the record."""
    _, record, _ = _any(rng, files)
    texts = [
        (container, key)
        for container, key in hostile._places(record)
        if isinstance(container[key], str)
    ]
    if texts:
        container, key = rng.choice(texts)
        container[key] = rng.choice((*hostile.TEXTS, "\ud800"))


def _config(rng: random.Random, files: _Files) -> None:
    record, _ = files.get("header.shard", ({}, []))
    inner = record.get("record") if isinstance(record, dict) else None
    if isinstance(inner, dict):
        inner["config"] = rng.choice(("no JSON", "[]", "3", "{}", "[" * 100_000, '{"session":[]}'))


def _version(rng: random.Random, files: _Files) -> None:
    _, record, _ = _any(rng, files)
    if isinstance(record, dict):
        record["partial_version"] = hostile.value(rng)


def _index(rng: random.Random, files: _Files) -> None:
    """A number of an array: of another one, or of none."""
    _, record, arrays = _any(rng, files)
    numbers = [
        (container, key)
        for container, key in hostile._places(record)
        if isinstance(container[key], int) and 0 <= container[key] < len(arrays)
    ]
    if numbers:
        container, key = rng.choice(numbers)
        container[key] = rng.randrange(-1, len(arrays) + 1)


def _array(rng: random.Random, files: _Files) -> None:
    """An array of another length, rank, type, or with other values."""
    _, _, arrays = _any(rng, files)
    if not arrays:
        return
    at = rng.randrange(len(arrays))
    values = np.asarray(arrays[at])
    kind = rng.randrange(5)
    count = values.size
    if kind == 0:
        shapes = ((), (0,), (1,), (count + 1,), (max(count - 1, 0),), (count, 1), (count, 2))
        arrays[at] = np.resize(values, rng.choice(shapes)) if count else np.zeros(3, values.dtype)
    elif kind == 1:
        types = ("i1", "u8", "f4", "f8", "?", "U5", "S3", "c16", "M8[s]", "i4,f8", ">i8", "f2")
        made = np.zeros(values.shape, rng.choice(types))
        arrays[at] = made
    elif kind in (2, 3) and count and values.dtype.kind in "iu":
        bounds = np.iinfo(values.dtype)
        fitting = [n for n in hostile.INTEGERS_64 if bounds.min <= n <= bounds.max]
        values = values.copy()
        where = slice(None) if kind == 2 else rng.randrange(count)
        values.reshape(-1)[where] = rng.choice(fitting)
        arrays[at] = values
    else:
        arrays[at] = np.array([{"a": 1}, None], object)  # a pickle


def _huge(rng: random.Random, files: _Files) -> None:
    """A header that claims more than there is; or zeros that compress to nothing."""
    _, _, arrays = _any(rng, files)
    if arrays:
        claim = rng.choice(("1000000000000", "99999999999999999999", "-5", "3, 3", "1e3"))
        header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({claim},), }}\n".encode()
        raw = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(800)
        arrays[rng.randrange(len(arrays))] = raw


def _bomb(rng: random.Random, files: _Files) -> None:
    _, _, arrays = _any(rng, files)
    if arrays:
        arrays[rng.randrange(len(arrays))] = np.zeros(rng.choice((10**6, 3 * 10**7)), np.int64)


def _lose(rng: random.Random, files: _Files) -> None:
    name = rng.choice(list(files))
    if name != "header.shard" or rng.random() < 0.2:
        del files[name]
    if not files:
        files["header.shard"] = ({}, [])


def _rename(rng: random.Random, files: _Files) -> None:
    names = [name for name in files if name != "header.shard"]
    if names:
        other = rng.choice(("process-abc.shard", "process-9999999.shard", "process-001.shard"))
        files[other] = files[rng.choice(names)]


_STRUCTURE: dict[str, Callable[[random.Random, _Files], None]] = {
    "json": _json,
    "more json": _json,
    "text": _text,
    "config": _config,
    "version": _version,
    "index": _index,
    "array": _array,
    "another array": _array,
    "huge": _huge,
    "bomb": _bomb,
    "lose": _lose,
    "rename": _rename,
}
_BYTES = ("zero block", "flip bytes", "cut", "move bytes")
_FOLDER = ("folder for a shard", "link for a shard", "fifo for a shard", "work is a file")
MUTATIONS: dict[str, Any] = {
    **_STRUCTURE,
    **dict.fromkeys(_BYTES),
    **dict.fromkeys(_FOLDER),
}


def make(case: Case, folder: Path) -> None:
    """The partial folder .run.h5.partial."""
    files: _Files = {
        name: (json.loads(json.dumps(record)), list(arrays))
        for name, (record, arrays) in _bases[case.base].items()
    }
    partial = folder / _PARTIAL
    partial.mkdir(mode=0o700)
    compression = zipfile.ZIP_STORED
    for name, seed in case.mutations:
        if name in _STRUCTURE:
            _STRUCTURE[name](random.Random(seed), files)
            if name == "bomb":
                compression = zipfile.ZIP_DEFLATED
    for name, (record, arrays) in files.items():
        with zipfile.ZipFile(partial / name, "w", compression, compresslevel=1) as archive:
            archive.writestr("record.json", json.dumps(record))
            for number, array in enumerate(arrays):
                sink = io.BytesIO()
                if isinstance(array, bytes):
                    sink.write(array)
                else:
                    np.lib.format.write_array(sink, np.asarray(array), allow_pickle=True)
                archive.writestr(f"{number}.npy", sink.getvalue())
    for name, seed in case.mutations:
        rng = random.Random(seed)
        shards = sorted(partial.glob("*.shard"))
        path = rng.choice(shards)
        if name in _BYTES and path.is_file():
            content = bytearray(path.read_bytes())
            hostile.mutate_bytes(rng, name, content)
            path.write_bytes(content)
        elif name in _FOLDER:
            _misplace(name, partial, path)
    if command(random.Random(case.command), case)[-1] == "--force":
        (folder / "out.h5").write_bytes(OLD)


def _misplace(name: str, partial: Path, path: Path) -> None:
    if name == "work is a file":
        if not (partial / "work").exists():
            (partial / "work").write_bytes(b"x")
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if name == "folder for a shard":
        path.mkdir()
    elif name == "link for a shard":
        path.symlink_to("/etc/passwd")
    else:
        os.mkfifo(path)


_COMMANDS = (
    f"recover {_PARTIAL} -o out.h5",
    f"recover {_PARTIAL} -o out.h5",
    f"recover {_PARTIAL} -o out.h5 --json",
    f"recover {_PARTIAL} -o out.h5 --force",
    f"show {_PARTIAL}",
    f"show {_PARTIAL} --json",
    f"ops {_PARTIAL}",
    f"report {_PARTIAL} -o out.html",
    f"export {_PARTIAL} --jsonl out.jsonl",
    f"trace {_PARTIAL} -o out.json",
)


def command(rng: random.Random, case: Case) -> list[str]:
    """recover, or a command that reads the folder as it is."""
    return rng.choice(_COMMANDS).split()


def attempt(words: list[str]) -> int:
    """Tries it; what was recovered is shown too."""
    from harness.commands.command_line import main

    code = main(words)
    return main(["show", "out.h5"]) if words[0] == "recover" and code == 0 else code
