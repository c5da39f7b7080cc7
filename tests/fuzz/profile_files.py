"""Profiles: changed through h5py, then in their bytes; read by every command that reads them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzz import hostile
from tests.fuzz.engine import OLD, Case

NAME = "hdf5"
BASES = ("sample", "golden", "device", "groups")
REFUSALS = ("not an HDF5 file", "not a profile", "no such file", "cannot be read", "is a folder")
LIMIT_S = 10.0
OUTPUTS_BY_NAME = True

_ROOT = Path(__file__).parents[2]
_bases: dict[str, Path] = {}


def load(folder: Path) -> None:
    """The files to start from; one has all that the format knows."""
    import harness.reporters.html  # noqa: F401
    from harness.records import Profile, Stacks
    from harness.storage.profile_file import read_profile, write_profile
    from tests.builders.device_records import kernels, series, timeline
    from tests.builders.side_by_side import side_by_side

    import_commands()
    golden = runpy.run_path(str(_ROOT / "tests" / "golden" / "make_profile_v1.py"))
    profile: Profile = golden["golden_profile"]()
    start = int(profile.processes[0].steady.start_ns[0])
    times = [(start + 1000 * n, 1_500_000_000 + n % 3) for n in range(40)]
    shutil.copy(_ROOT / "profiles" / "sample.h5", folder / "sample.h5")
    shutil.copy(golden["GOLDEN"], folder / "golden.h5")
    write_profile(
        dataclasses.replace(
            profile,
            devices=(
                series("gpu0", "sm_clock_hz", times),
                series("gpu0", "clock_reasons", [(at, 4) for at, _ in times]),
                series("gpu0", "energy_mj", times),
                series("cpu", "frequency_hz", times, process=1),
            ),
            kernels=kernels(("gemm", 0, start, 500), ("copy", -1, start + 600, 50)),
            timeline=timeline(
                [("gemm", 0), ("copy", -1)], [(start, 9, [(start + 1, 3), (start + 5, 2)])], [8]
            ),
            stacks=Stacks(("a;b", "a;c (x.py:1)"), np.array([3, 4]), 100, False, 0),
        ),
        folder / "device.h5",
    )
    assert read_profile(folder / "device.h5").stacks is not None
    write_profile(side_by_side((300.0, 250.0, 320.0), (310.0, 240.0, 300.0)), folder / "groups.h5")
    _bases.update({name: folder / f"{name}.h5" for name in BASES})


def import_commands() -> None:
    """Everything that a command imports when it is called: done once, before the forks."""
    import importlib

    from harness.commands.command_line import COMMANDS

    for name in COMMANDS:
        importlib.import_module(f"harness.commands.{name}")
    for name in (
        "analysis.comparing.profiles",
        "analysis.frames",
        "analysis.gpu_work",
        "analysis.noise",
        "analysis.operators",
        "analysis.history",
        "reporters.exports.csv_file",
        "reporters.exports.json_lines",
        "reporters.exports.parquet_file",
        "reporters.exports.pyperf_file",
        "reporters.exports.stacks_file",
        "reporters.html",
        "analysis.outlines",
        "reporters.scripts.comparison",
        "reporters.scripts.listing",
        "reporters.scripts.profile",
        "reporters.terminal.comparison",
        "reporters.terminal.listing",
        "reporters.terminal.summary",
        "reporters.traces.chrome",
        "reporters.traces.perfetto",
        "storage.profile_file",
    ):
        importlib.import_module(f"harness.{name}")


# ------------------------------------------------------------------------------------------
# Mutations through h5py: of an open file.


def _items(file: h5py.File, kind: type[Any] | None = None) -> list[str]:
    paths: list[str] = []

    def collect(path: str, item: Any) -> None:
        if kind is None or isinstance(item, kind):
            paths.append(path)

    file.visititems(collect)
    # The summary is for other readers, harness does not read it.
    return [path for path in paths if not path.startswith("summary")] or paths or ["/"]


def _dataset(rng: random.Random, file: h5py.File) -> str:
    return rng.choice(_items(file, h5py.Dataset))


def _replace(file: h5py.File, path: str, **how: Any) -> h5py.Dataset:
    attributes = {
        name: value for name, value in file[path].attrs.items() if name in ("units", "long_name")
    }
    del file[path]
    made = file.create_dataset(path, **how)
    made.attrs.update(attributes)
    return made


_DTYPES: tuple[Any, ...] = (
    "i1",
    "u1",
    ">i4",
    "i8",
    "u8",
    "f2",
    "f4",
    "f8",
    "c16",
    "?",
    "S8",
    h5py.string_dtype(),
    h5py.string_dtype("ascii", 6),
    np.dtype([("a", "i4"), ("b", "f8")]),
    np.dtype(("i4", (2,))),
    h5py.enum_dtype({"x": 1, "y": 2}),
    h5py.vlen_dtype(np.dtype("i4")),
    h5py.ref_dtype,
    h5py.opaque_dtype(np.dtype("V5")),
    "longdouble",
)


def _values(rng: random.Random, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Values of a type, or None where the type's own default has to do."""
    dtype = np.dtype(dtype) if not isinstance(dtype, np.dtype) else dtype
    if h5py.check_string_dtype(dtype) is not None:
        texts = [rng.choice(hostile.TEXTS).replace("\0", "") for _ in range(3)]
        return np.array(np.resize(np.array(texts, object), shape), object)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        fitting = [each for each in hostile.INTEGERS_ANY if bounds.min <= each <= bounds.max]
        return np.resize(np.array(rng.choices(fitting, k=3), dtype), shape)
    if dtype.kind in "fc":
        with np.errstate(over="ignore"):
            return np.resize(np.array(rng.choices(hostile.FLOATS, k=3)).astype(dtype), shape)
    return None


def _drop(rng: random.Random, file: h5py.File) -> None:
    del file[rng.choice(_items(file))]


def _rename(rng: random.Random, file: h5py.File) -> None:
    path = rng.choice(_items(file))
    parent = path.rpartition("/")[0]
    names = (
        "x",
        "-1",
        "9" * 400,
        "٣",
        "1 ",
        "ä\x1b[2J",
        "..",
        "000",
        "kernels",
        "=1+1",
        "a" * 3000,
    )
    name = rng.choice(names)
    if name not in file[f"/{parent}"] and name != "..":
        file.move(path, f"/{parent}/{name}")


def _swap(rng: random.Random, file: h5py.File) -> None:
    one, other = rng.choice(_items(file)), rng.choice(_items(file))
    if one.startswith(other) or other.startswith(one):
        return
    file.move(one, "between")
    file.move(other, one)
    file.move("between", other)


def _copy(rng: random.Random, file: h5py.File) -> None:
    one, other = rng.choice(_items(file)), rng.choice(_items(file))
    if one.startswith(other) or other.startswith(one):
        return
    del file[other]
    file.copy(one, other)


#: Elements that are written; an earlier mutation may claim more.
_HELD = 1_000_000


def _retype(rng: random.Random, file: h5py.File) -> None:
    path = _dataset(rng, file)
    shape, dtype = file[path].shape or (), rng.choice(_DTYPES)
    values = _values(rng, dtype, shape) if math.prod(shape) <= _HELD else None
    _replace(file, path, shape=shape, dtype=dtype, data=values)


def _reshape(rng: random.Random, file: h5py.File) -> None:
    path = _dataset(rng, file)
    dataset = file[path]
    count = dataset.shape[0] if dataset.shape else 1
    if count > _HELD:
        return
    shape = rng.choice(
        ((), (0,), (1,), (count + 1,), (max(count - 1, 0),), (count, 1), (count, 3), (0, 5))
    )
    values = _stretched(dataset[()], shape)
    _replace(file, path, shape=shape, dtype=dataset.dtype, data=values)


def _stretched(values: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(values, h5py.Empty) or not np.size(values):
        return None
    return np.resize(np.asarray(values, getattr(values, "dtype", object)), shape)


def _set_values(rng: random.Random, file: h5py.File) -> None:
    path = _dataset(rng, file)
    dataset = file[path]
    if not dataset.size or dataset.size > _HELD:
        return
    values = _values(rng, dataset.dtype, dataset.shape)
    if values is not None and dataset.ndim == 1 and rng.random() < 0.6:
        row = rng.randrange(dataset.shape[0])
        dataset[row] = values[0]
    elif values is not None:
        dataset[...] = values


def _null(rng: random.Random, file: h5py.File) -> None:
    path = _dataset(rng, file)
    dtype = file[path].dtype
    del file[path]
    file[path] = h5py.Empty(dtype if dtype.kind != "O" else "S1")


def _attribute(rng: random.Random, file: h5py.File) -> None:
    path = rng.choice(("/", "/", "model", *_items(file)))
    if path not in file:
        return
    attributes = file[path].attrs
    names = [*attributes, "units", "double", "source", "unjoined_reason"]
    name = rng.choice(names)
    values: tuple[Any, ...] = (
        rng.choice(hostile.INTEGERS_64),
        rng.choice(hostile.FLOATS),
        rng.choice(hostile.TEXTS).replace("\0", ""),
        np.bytes_(b"\xff\xfe"),
        np.arange(5),
        np.array(["a", "b"], object),
        h5py.Empty("f4"),
        True,
    )
    chosen = rng.choice(values)
    if name in attributes:
        del attributes[name]
    if isinstance(chosen, np.ndarray) and chosen.dtype.kind == "O":
        attributes.create(name, chosen, dtype=h5py.string_dtype())
    else:
        attributes[name] = chosen


def _drop_attribute(rng: random.Random, file: h5py.File) -> None:
    path = rng.choice(("/", "model", *_items(file)))
    if path in file and len(file[path].attrs):
        del file[path].attrs[rng.choice(list(file[path].attrs))]


def _format(rng: random.Random, file: h5py.File) -> None:
    version = rng.choice(("9", 0, 2, "one", 1.5, np.array([1, 1]), 2**40))
    file.attrs["format_version"] = version
    file.attrs["harness_version"] = rng.choice(hostile.TEXTS).replace("\0", "")


def _config(rng: random.Random, file: h5py.File) -> None:
    text = str(file.attrs.get("config", "{}"))
    if rng.random() < 0.4:
        text = rng.choice(
            ("no JSON", "", "3", "[]", "null", '"x"', "[" * 100_000, "{}", '{"session":1}', "NaN")
        )
    else:
        try:
            content = json.loads(text)
        except ValueError:
            return
        for _ in range(rng.choice((1, 1, 3))):
            content = hostile.mutate_json(rng, content)
        text = json.dumps(content).replace("\\u0000", "")
    if len(text) < 60_000:
        file.attrs["config"] = text


def _provider(rng: random.Random, file: h5py.File) -> None:
    """What a later version may hold: an unknown provider, element type or source."""
    name = rng.choice(("rocm", "cuda", "openvino"))
    file.attrs["provider"] = name
    file.attrs["config"] = str(file.attrs.get("config", "{}")).replace('"cpu"', f'"{name}"')


def _addition(rng: random.Random, file: h5py.File) -> None:
    """What a later version may add."""
    group = rng.choice(["/", *_items(file, h5py.Group)])
    name = f"{group.rstrip('/')}/later"
    if name not in file:
        if rng.random() < 0.5:
            file.create_group(name)
        else:
            file[name] = np.arange(3)


def _soft_link(rng: random.Random, file: h5py.File) -> None:
    path, target = rng.choice(_items(file)), rng.choice(_items(file))
    del file[path]
    file[path] = h5py.SoftLink(rng.choice(("/nowhere", f"/{path}", "/", f"/{target}")))


def _hard_link(rng: random.Random, file: h5py.File) -> None:
    """A group inside itself, or one dataset under two names."""
    path = rng.choice(_items(file))
    target = rng.choice(("/", path.rpartition("/")[0] or "/", rng.choice(_items(file))))
    held = file[target]
    if rng.random() < 0.5:
        del file[path]
        file[path] = held
    else:
        file[f"{path.rpartition('/')[0]}/again"] = held


def _external_link(rng: random.Random, file: h5py.File) -> None:
    path = rng.choice(_items(file))
    del file[path]
    where = rng.choice(("input.h5", "base.h5", "/etc/passwd", "/dev/zero", "missing.h5"))
    file[path] = h5py.ExternalLink(where, f"/{path}")


def _virtual(rng: random.Random, file: h5py.File) -> None:
    path = _dataset(rng, file)
    shape, dtype = file[path].shape or (1,), file[path].dtype
    if 0 in shape or dtype.kind == "O":
        return
    layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
    where = rng.choice((".", "other.h5", "input.h5", "base.h5", "/dev/zero"))
    layout[...] = h5py.VirtualSource(where, f"/{path}", shape=shape)
    del file[path]
    file.create_virtual_dataset(path, layout)


def _external_storage(rng: random.Random, file: h5py.File) -> None:
    path = _dataset(rng, file)
    shape, dtype = file[path].shape or (1,), file[path].dtype
    if 0 in shape or dtype.kind == "O":
        return
    where = rng.choice(("/etc/passwd", "/dev/zero", "missing.bin", "fifo"))
    if where == "fifo":
        where = str(Path(file.filename).with_name("fifo"))
        if not os.path.exists(where):  # noqa: PTH110
            os.mkfifo(where)
    _replace(file, path, shape=shape, dtype=dtype, external=[(where, 0, h5py.h5f.UNLIMITED)])


def _huge(rng: random.Random, file: h5py.File) -> None:
    """More rows than the file's size can justify: chunks that were never written."""
    path = _dataset(rng, file)
    dtype = file[path].dtype
    rows = rng.choice((10**6, 10**8, 10**9, 10**15))
    paths = [path]
    if rng.random() < 0.5:  # all columns of the group, so that they agree
        group = file[path].parent
        paths = [f"{group.name}/{name}" for name in group if isinstance(group[name], h5py.Dataset)]
    for each in paths:
        kind = file[each].dtype if each != path else dtype
        _replace(file, each, shape=(rows,), dtype=kind, chunks=(min(rows, 10**6),))


def _bomb(rng: random.Random, file: h5py.File) -> None:
    """Rows that compress to almost nothing."""
    path = _dataset(rng, file)
    dtype = file[path].dtype
    if dtype.kind not in "iuf":
        return
    rows, chunk = rng.choice((3 * 10**6, 3 * 10**7)), 10**6
    data = _replace(file, path, shape=(rows,), dtype=dtype, chunks=(chunk,), compression="gzip")
    ones = np.ones(chunk, dtype)
    data[:chunk] = ones
    _, compressed = data.id.read_direct_chunk((0,))
    for at in range(chunk, rows, chunk):
        data.id.write_direct_chunk((at,), compressed)


def _kind(rng: random.Random, file: h5py.File) -> None:
    """A group where a dataset was, or the reverse."""
    path = rng.choice(_items(file))
    was_group = isinstance(file[path], h5py.Group)
    del file[path]
    if was_group:
        file[path] = np.arange(4)
    else:
        file.create_group(path)


def _empty_group(rng: random.Random, file: h5py.File) -> None:
    """No rows in all columns of a group."""
    path = rng.choice(_items(file, h5py.Group))
    names = [name for name, item in file[path].items() if isinstance(item, h5py.Dataset)]
    rows = rng.choice((0, 0, 1, 2))
    for name in names:
        dataset = file[path][name]
        if dataset.ndim == 1:
            held = rows and dataset.size <= _HELD
            values = _stretched(dataset[()], (rows,)) if held else None
            _replace(file, f"{path}/{name}", shape=(rows,), dtype=dataset.dtype, data=values)


def _texts(file: h5py.File, path: str, texts: list[str]) -> None:
    _replace(file, path, data=np.array(texts, object), dtype=h5py.string_dtype())


#: Beginnings of the facts that harness reads, and numbers as text that no machine has.
_FACTS = (
    "ceiling_matmul_float32",
    "ceiling_matmul_",
    "ceiling_copy",
    "ceiling_triad",
    "ceiling_copy_l1",
    "ceiling_triad_l2",
    "ceiling_l1_bytes",
    "ceiling_l1_caches",
    "ceilings",
    "cpu_cores",
    "memory_total_bytes",
)
_ABSURD = ("5e-324", "1.7e308", "1e-300", "1e25", "inf", "nan", "-1", "0", "9" * 40)


def _fact(rng: random.Random, file: h5py.File) -> None:
    """Facts of the machine that harness reckons with, with numbers that no machine has."""
    columns = ("name", "value", "kind", "unit", "source", "reason")
    told = [file[f"environment/{name}"].asstr()[()].tolist() for name in columns]
    rows = [row for row in zip(*told, strict=True) if not row[0].startswith("ceiling")]
    absurd = rng.choice(_ABSURD)
    for name in _FACTS if rng.random() < 0.5 else rng.sample(_FACTS, 3):
        ending = rng.choice(("", "", "x", "1" * 30))
        value = absurd if rng.random() < 0.7 else rng.choice((*_ABSURD, "1e10"))
        rows.append((name + ending, value, "float", "", "", ""))
    for name, texts in zip(columns, zip(*rows, strict=True), strict=True):
        _texts(file, f"environment/{name}", list(texts))


def _long_names(rng: random.Random, file: h5py.File) -> None:
    """Names and shapes of nodes as long as a file can hold, of each kind of word."""
    path = f"nodes/{rng.choice(('name', 'op_type', 'provider', 'domain', 'sources'))}"
    if rng.random() < 0.2:
        path = f"nodes/{rng.choice(('output_type_shape', 'input_type_shape'))}"
    if path not in file:
        return
    big = "9223372036854775807"
    word = rng.choice(
        (
            "a" + " +1" * 3_000,
            "é" * 1_000_000,
            "aB" * 500_000,
            "1." * 500_000,
            "/" * 1_000_000,
            "b/".join(map(str, range(150_000))),
            '[{"float":[' + ",".join([big] * 50_000) + "]}]",
            '[{"float":[' + ",".join([big] * 60) + "]}]",
        )
    )
    rows = len(file[path])
    if rows > 1000:  # another mutation claims them
        return
    _texts(file, path, [word + str(row) * (word[0] != "[") for row in range(rows)])


def _sparse(rng: random.Random, file: h5py.File) -> None:
    """Columns in one piece that were never written: a hole as long as they claim to be."""
    rows = rng.choice((10**7, 3 * 10**8))
    group = f"processes/{rng.choice(list(file['processes']))}/latency"
    for name in list(file[group]):
        attributes = dict(file[group][name].attrs)
        del file[group][name]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((rows,))
        made = h5py.h5d.create(
            file.id, f"{group}/{name}".encode(), h5py.h5t.NATIVE_INT64, space, how
        )
        h5py.Dataset(made).attrs.update(attributes)


_STRUCTURE: dict[str, Callable[[random.Random, h5py.File], None]] = {
    "drop": _drop,
    "rename": _rename,
    "swap": _swap,
    "copy": _copy,
    "retype": _retype,
    "reshape": _reshape,
    "values": _set_values,
    "values again": _set_values,
    "null": _null,
    "attribute": _attribute,
    "drop attribute": _drop_attribute,
    "format": _format,
    "config": _config,
    "provider": _provider,
    "addition": _addition,
    "soft link": _soft_link,
    "hard link": _hard_link,
    "external link": _external_link,
    "virtual": _virtual,
    "external storage": _external_storage,
    "huge": _huge,
    "bomb": _bomb,
    "kind": _kind,
    "empty group": _empty_group,
    "fact": _fact,
    "long names": _long_names,
    "sparse": _sparse,
}
_BYTES = ("zero block", "flip bytes", "ones", "cut", "move bytes")

#: A hole of a terabyte at the end.
_TAIL = "sparse tail"

#: Size of a file above which its bytes are not changed: most of them are a hole.
_MOST_CHANGED = 200 << 20

MUTATIONS: dict[str, Any] = {**_STRUCTURE, **dict.fromkeys((*_BYTES, _TAIL))}


def make(case: Case, folder: Path) -> None:
    """input.h5, and base.h5 beside it."""
    shutil.copy(_bases[case.base], folder / "base.h5")
    shutil.copy(_bases[case.base], folder / "input.h5")
    structure = [(name, seed) for name, seed in case.mutations if name in _STRUCTURE]
    if structure:
        with h5py.File(folder / "input.h5", "r+") as file:
            for name, seed in structure:
                # One that meets what an earlier one has broken does nothing.
                try:
                    _STRUCTURE[name](random.Random(seed), file)
                except (KeyError, ValueError, TypeError, RuntimeError, OSError, AttributeError):
                    continue
    _change_bytes(case, folder / "input.h5")
    for word in command(random.Random(case.command), case):
        if word == "--force":
            for output in ("out.html", "out.csv", "out.json", "out.pftrace", "out.jsonl"):
                (folder / output).write_bytes(OLD)


def _change_bytes(case: Case, path: Path) -> None:
    """The mutations of its bytes, or a hole behind them; a file with large holes stays as it is."""
    if path.stat().st_size > _MOST_CHANGED:
        return
    content = bytearray(path.read_bytes())
    for name, seed in case.mutations:
        if name in _BYTES:
            hostile.mutate_bytes(random.Random(seed), name, content)
    path.write_bytes(content)
    if any(name == _TAIL for name, _ in case.mutations):
        os.truncate(path, 1 << 40)


_COMMANDS = (
    "show input.h5",
    "show input.h5",
    "show input.h5 --json",
    "show input.h5 --exclude-throttled",
    "ops input.h5",
    "ops input.h5 --by op --passes --roofline",
    "ops input.h5 --by layer --source ort --sort order --limit 0",
    "ops input.h5 --by kernel",
    "ops input.h5 --by kernel --csv",
    "ops input.h5 --csv",
    "ops input.h5 --json",
    "compare base.h5 input.h5",
    "compare input.h5 base.h5 --json",
    "compare input.h5 base.h5 --limit 0",
    "history base.h5 input.h5",
    "history input.h5 --json",
    "history input.h5 base.h5 -o out.html --otava out.csv",
    "history input.h5 base.h5 --bencher out.json --pytest-benchmark more.json",
    "report input.h5 -o out.html",
    "report base.h5 input.h5 -o out.html --force",
    "report input.h5 base.h5 -o out.html",
    "trace input.h5 -o out.json",
    "trace input.h5 -o out.json --force",
    "trace input.h5 -o out.pftrace --force",
    "list .",
    "list . --limit 0",
    "list . --csv",
    "list . --json",
    "export input.h5 --csv out.csv",
    "export input.h5 --csv out.csv --jsonl out.jsonl --force",
    "export input.h5 --jsonl out.jsonl",
    "export input.h5 --pyperf out.json --force",
    "export input.h5 --parquet out.parquet",
    "export input.h5 --stacks out.txt",
    "export input.h5 --stacks out.json --format speedscope",
    "read input.h5",
)


def command(rng: random.Random, case: Case) -> list[str]:
    """One of the commands that read a profile; "read" stands for the library's functions."""
    return rng.choice(_COMMANDS).split()


def attempt(words: list[str]) -> int:
    """Tries it."""
    if words[0] == "read":
        return _read(Path(words[1]))
    from harness.commands.command_line import main

    return main(words)


def _read(path: Path) -> int:
    """What a script does: reads the profile, touches every column, asks for frames."""
    from harness.errors import HarnessError
    from harness.storage.profile_file import read_outline, read_profile

    try:
        read_outline(path)
        profile = read_profile(path)
        for record in (profile, *profile.processes, *profile.traces.values(), *profile.devices):
            for field in dataclasses.fields(record):
                getattr(record, field.name)
        profile.to_pandas()
    except HarnessError as error:
        print(f"harness: {ascii(error.message)[:300]}", file=sys.stderr)
        return error.exit_code
    return 0
