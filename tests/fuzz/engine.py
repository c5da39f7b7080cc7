"""Tries seeded inputs in forked processes, names what fails, and makes failures small.

An input is a ``Case``: a base, mutations with a seed each, and a command with a seed. It is
written anew from these alone, so a number of a run repeats anywhere, and a failing case is made
small by leaving out mutations while it fails in the same way.

A reader is a module with NAME, BASES, MUTATIONS (by name, what ``make`` applies), REFUSALS (what
its first check says), LIMIT_S, OUTPUTS_BY_NAME (whether the suffix of out.* tells its format), and

- ``load(folder)``: imports what an attempt needs and writes the bases, once, before the forks;
- ``make(case, folder)``: writes the input;
- ``command(random, case)``: the words to try it with, shown in reports;
- ``attempt(words)``: tries them in the current folder; returns the exit code.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import faulthandler
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ALLOWED_CODES = frozenset({0, 2, 3, 130})
LIMIT_BYTES = 1 << 30
#: A line of standard error that is longer fills the terminal.
LIMIT_LINE = 2000
#: Content of the output file that is there before, where a command overwrites it.
OLD = b"what was here before\n"

#: What a list leaves beside the profiles on purpose.
KEPT_BESIDE = {".harness-index.sqlite", ".harness-names"}

_PR_SET_PDEATHSIG = 1  # prctl(2)
_REPOSITORY = Path(__file__).parents[2]
_PAGE = resource.getpagesize()


class Case(NamedTuple):
    """One input: mutations and command as (name, seed)."""

    base: str
    mutations: tuple[tuple[str, int], ...]
    command: int


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """How an input failed.

    Attributes:
        kind: traceback, signal, exit code, time, memory, control bytes, …
        where: innermost place in harness as ``path:line function``; the command where unknown.
        what: type of the error, or what stands for it.
        message: last line of the traceback, or of the output.
    """

    kind: str
    where: str
    what: str
    message: str

    @property
    def key(self) -> str:
        """Equal for failures of one cause."""
        return f"{self.kind} | {self.what} | {self.where}"


@dataclasses.dataclass(frozen=True, slots=True)
class _End:
    """How an attempt ended."""

    status: int
    stopped: str
    cpu_s: float
    stdout: bytes
    stderr: bytes
    stack: str

    @property
    def said(self) -> str:
        """Standard error, with the error that ``--json`` puts on the standard output."""
        error = self.stdout if self.stdout.startswith(b'{"error"') else b""
        return (self.stderr + error).decode("utf-8", "surrogateescape")


def draw(reader: Any, seed: int, number: int) -> Case:
    """Input of this number in the run of this seed."""
    rng = random.Random(f"{reader.NAME}/{seed}/{number}")
    count = 1
    while count < 6 and rng.random() < 0.4:
        count += 1
    names = list(reader.MUTATIONS)
    mutations = tuple((rng.choice(names), rng.getrandbits(32)) for _ in range(count))
    return Case(rng.choice(reader.BASES), mutations, rng.getrandbits(32))


def words_of(reader: Any, case: Case) -> list[str]:
    """The command line of a case."""
    words: list[str] = reader.command(random.Random(case.command), case)
    return words


def attempt(reader: Any, case: Case, keep: Path | None = None) -> tuple[Failure | None, bool]:
    """Tries one case; the failure, and whether the input passed the reader's first check.

    Args:
        reader: what reads it.
        case: the input.
        keep: where to leave the input with what the attempt said; None removes it.
    """
    with _folder(keep) as folder:
        reader.make(case, folder)
        words = words_of(reader, case)
        if keep is not None:
            _keep_command(reader, case, words, keep)
        before = {path.name for path in folder.iterdir()}
        end = _forked(reader, words, folder)
        busy = 0.03 < end.cpu_s / reader.LIMIT_S < 0.7
        if end.stopped == "time" and busy:  # the machine may have been, elsewhere
            for name in {path.name for path in folder.iterdir()} - before:
                _remove(folder / name)
            end = _forked(reader, words, folder)
        if keep is not None:
            (keep / "stdout.txt").write_bytes(end.stdout[:100_000])
            (keep / "stderr.txt").write_bytes(end.stderr[:100_000] + end.stack.encode())
        failure = _judge(words, end) or _judge_files(reader, words, folder, before, end)
        said = end.said
        return failure, not any(refusal in said for refusal in reader.REFUSALS)


def minimised(reader: Any, case: Case, failure: Failure) -> Case:
    """The case with as few mutations as fail in the same way."""
    tries = 6 if failure.kind in ("time", "memory") else 60
    shrunk = len(case.mutations) > 1
    while shrunk and tries > 0:
        shrunk = False
        for at in reversed(range(len(case.mutations))):
            fewer = case._replace(mutations=case.mutations[:at] + case.mutations[at + 1 :])
            again, _ = attempt(reader, fewer)
            tries -= 1
            if again is not None and again.key == failure.key:
                case, shrunk = fewer, True
            if tries <= 0:
                break
    return case


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        _remove(keep)
        (keep / "input").mkdir(parents=True)
        yield (keep / "input").absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="harness-fuzz-"))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _keep_command(reader: Any, case: Case, words: list[str], keep: Path) -> None:
    (keep / "case.json").write_text(json.dumps({"reader": reader.NAME, "case": case}) + "\n")
    shown = " ".join(os.fsencode(word).decode("utf-8", "backslashreplace") for word in words)
    (keep / "command.txt").write_text(f"{shown!a}\n" if "\n" in shown else f"{shown}\n")


def _forked(reader: Any, words: list[str], folder: Path) -> _End:
    with contextlib.ExitStack() as opened:
        out, err, stack = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        child = os.fork()
        if child == 0:
            _become_command(reader, words, folder, out.fileno(), err.fileno(), stack)
        stopped = _watch(child, reader.LIMIT_S)
        _, status, usage = os.wait4(child, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what it had started
        for each in (out, err, stack):
            each.seek(0)
        # The start and the end tell enough of an output without end.
        limit = 20_000_000
        return _End(
            status,
            stopped,
            usage.ru_utime + usage.ru_stime,
            out.read(limit),
            err.read(limit),
            stack.read(100_000).decode(errors="replace"),
        )


def _become_command(
    reader: Any, words: list[str], folder: Path, out: int, err: int, stack: Any
) -> None:
    """The child's whole life."""
    code = 1
    try:
        os.setsid()
        _die_with_parent()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        faulthandler.enable(stack, all_threads=False)
        faulthandler.register(signal.SIGUSR1, stack, all_threads=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            code = reader.attempt(words)
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 255)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(child: int, limit_s: float) -> str:
    """Waits for the child's end; ends it at a limit and says which."""
    deadline = time.monotonic() + limit_s
    descriptor = os.pidfd_open(child)
    try:
        pause = 0.005
        while not select.select([descriptor], [], [], pause)[0]:
            pause = 0.02
            stopped = ""
            if time.monotonic() > deadline:
                stopped = "time"
            elif _resident_bytes(child) > LIMIT_BYTES:
                stopped = "memory"
            if stopped:
                os.kill(child, signal.SIGUSR1)  # faulthandler says where it is
                select.select([descriptor], [], [], 0.3)
                os.kill(child, signal.SIGKILL)
                return stopped
        return ""
    finally:
        os.close(descriptor)


def _resident_bytes(process: int) -> int:
    """Of the process and those that it has started."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_bytes().split()[1])
        children = Path(f"/proc/{process}/task/{process}/children").read_bytes().split()
    except (OSError, IndexError):
        return 0
    return pages * _PAGE + sum(_resident_bytes(int(each)) for each in children)


_FRAME = re.compile(r'^ *(?:File )?"(?P<file>[^"]+)", line (?P<line>\d+),? in (?P<name>\S+)', re.M)


def _place(text: str, words: list[str]) -> str:
    """The innermost frame of harness that a traceback names."""
    frames = [
        match
        for match in _FRAME.finditer(text)
        if match["file"].startswith(str(_REPOSITORY / "harness"))
    ]
    if not frames:
        return words[0] if words else ""
    # faulthandler puts the innermost frame first, a traceback last.
    frame = frames[0] if "most recent call first" in text else frames[-1]
    file = Path(frame["file"]).relative_to(_REPOSITORY)
    return f"{file}:{frame['line']} {frame['name']}"


def _judge(words: list[str], end: _End) -> Failure | None:
    stderr = end.stderr.decode("utf-8", "surrogateescape")
    last = (end.said.strip().splitlines() or [""])[-1][:300]
    if end.stopped:
        return Failure(end.stopped, _place(end.stack, words), "over the limit", last)
    if os.WIFSIGNALED(end.status):
        name = signal.Signals(os.WTERMSIG(end.status)).name
        return Failure("signal", _place(end.stack, words), name, last)
    begin = stderr.rfind("Traceback (most recent call last)")
    if begin >= 0:
        rest = [line for line in stderr[begin:].splitlines()[1:] if line[:1] not in (" ", "")]
        error = rest[0] if rest else ""
        what = error.partition(":")[0].rpartition(".")[2][:60]
        return Failure("traceback", _place(stderr[begin:], words), what, error[:300])
    code = os.waitstatus_to_exitcode(end.status)
    tripped = code == 4 and any(word.startswith("--fail-on") for word in words)
    if code not in ALLOWED_CODES and not tripped:
        unexpected = re.search(r"\w+ in a worker", last)
        what = unexpected[0] if unexpected else re.sub(r"\W+|\d+", " ", last)[:60]
        return Failure(f"exit {code}", words[0], what, last)
    for stream, content in (("stdout", end.stdout), ("stderr", end.stderr)):
        if (control := _control(content)) is not None:
            return Failure("control bytes", words[0], stream, control)
    if any(len(line) > LIMIT_LINE for line in stderr.splitlines()):
        return Failure("endless line", words[0], "stderr", last)
    if len(re.findall(r"^harness: (?!warning: )", stderr, re.M)) > 1:
        return Failure("forged line", words[0], "stderr", last)
    if "--json" in words and end.stdout.startswith(b"{") and (odd := _no_number(end.stdout)):
        return Failure("no JSON", words[0], "stdout", odd)
    return None


def _no_number(content: bytes) -> str:
    """A NaN or an infinity, which only some parsers of JSON read; empty where there is none."""
    found: list[str] = []
    with contextlib.suppress(ValueError, RecursionError):  # cut at the limit
        json.loads(content, parse_constant=found.append)
    return found[0] if found else ""


_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]"
)


def _control(content: bytes) -> str | None:
    """Surroundings of the first character that a terminal obeys."""
    text = content.replace(b"\r\n", b"\n").decode("utf-8", "surrogateescape")
    match = _CONTROL.search(text)
    return None if match is None else ascii(text[max(match.start() - 40, 0) : match.end() + 40])


def _judge_files(
    reader: Any, words: list[str], folder: Path, before: set[str], end: _End
) -> Failure | None:
    """Whether an output is half a file, or something else stayed behind."""
    done = os.waitstatus_to_exitcode(end.status) in (0, 4)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("out.") and path.is_file():
            content = path.read_bytes()
            # What another command line names is of the format that its option says.
            judged = done and content != OLD and reader.OUTPUTS_BY_NAME
            if (judged and not is_whole(path, content)) or (
                not done and (content != OLD or path.name not in before)
            ):
                message = f"{path.name} has {len(content)} bytes"
                return Failure("half a file", words[0], path.suffix, message)
        elif path.name not in before | KEPT_BESIDE:
            unfinished = path.name.startswith(".") or path.suffix == ".tmp"
            if path.suffix != ".partial" and (unfinished or not done):
                return Failure("left behind", words[0], path.suffix, path.name)
    for name in before:
        if name.startswith("out.") and not (folder / name).exists():
            return Failure("lost file", words[0], Path(name).suffix, name)
    return None


def is_whole(path: Path, content: bytes) -> bool:
    """Whether a file of this name is complete, as far as its format shows it."""
    if path.suffix == ".html":
        return content.rstrip().endswith(b"</html>")
    if path.suffix in (".json", ".jsonl"):
        lines = content.splitlines() if path.suffix == ".jsonl" else [content]
        with contextlib.suppress(ValueError):
            return all(json.loads(line) is not None for line in lines)
        return False
    if path.suffix == ".csv":
        return content.endswith(b"\n")
    if path.suffix == ".parquet":
        return content[:4] == content[-4:] == b"PAR1"
    if path.suffix == ".h5":
        return content.startswith(b"\x89HDF") and len(content) > 2000
    return True


class Found(NamedTuple):
    """What a lane tells of one number."""

    number: int
    case: Case
    failure: Failure | None
    deep: bool


@dataclasses.dataclass
class Tally:
    """What a run of one reader has found so far, kept in ``state.json``.

    Attributes:
        seed: of the inputs.
        tried: inputs, those of the numbers below it.
        deep: of them, that passed the reader's first check.
        seconds: spent.
        failures: by key: kind, what, where, message, count, first (number), case, and whether
            it is as small as it gets and saved (small).
    """

    seed: int
    tried: int = 0
    deep: int = 0
    seconds: float = 0.0
    failures: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def add(self, found: Found) -> None:
        """Counts one input."""
        self.tried += 1
        self.deep += found.deep
        if found.failure is None:
            return
        key = found.failure.key
        if key in self.failures:
            self.failures[key]["count"] += 1
            return
        print(f"  {found.number}: {key}", flush=True)
        self.failures[key] = {
            **dataclasses.asdict(found.failure),
            "count": 1,
            "first": found.number,
            "case": found.case,
            "small": False,
        }


def run(
    reader: Any,
    tally: Tally,
    folder: Path,
    *,
    seconds: float,
    count: int | None,
    processes: int,
    minimise: bool = True,
) -> Tally:
    """Goes on with a run until its time or its count is used up.

    Args:
        reader: module of the reader.
        tally: what earlier parts of the run found.
        folder: for ``state.json`` and a folder for each failure.
        seconds: not to begin an input after.
        count: inputs in the whole run; None for as many as there is time for.
        processes: that try inputs at the same time.
        minimise: make failing cases small and save them, after that time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="harness-fuzz-bases-") as bases:
        reader.load(Path(bases))
        lanes = [_Lane(reader) for _ in range(processes)]
        begin, before_s = time.monotonic(), tally.seconds

        def numbers() -> Iterator[tuple[Any, ...]]:
            number = tally.tried
            while time.monotonic() - begin <= seconds and (count is None or number < count):
                yield "attempt", tally.seed, number
                number += 1

        waiting: dict[int, Found] = {}
        told = begin
        for found in _spread(lanes, numbers()):
            waiting[found.number] = found
            while tally.tried in waiting:  # in the order of numbers: the state can be resumed
                tally.add(waiting.pop(tally.tried))
            tally.seconds = before_s + time.monotonic() - begin
            if time.monotonic() - told > 20:
                told = time.monotonic()
                _save(tally, folder)
                kinds = len(tally.failures)
                spent = f"{tally.tried} inputs in {tally.seconds:.0f} s"
                print(f"  … {spent}, {kinds} kinds", flush=True)
        _save(tally, folder)
        if minimise:
            for key, case in _spread(lanes, _to_minimise(tally, folder)):
                tally.failures[key] |= {"case": case, "small": True}
                _save(tally, folder)
        for lane in lanes:
            lane.end()
    return tally


def _to_minimise(tally: Tally, folder: Path) -> Iterator[tuple[Any, ...]]:
    names = [field.name for field in dataclasses.fields(Failure)]
    for each in list(tally.failures.values()):
        if not each["small"]:
            failure = Failure(**{name: each[name] for name in names})
            yield "minimise", as_case(each["case"]), failure, folder


def _spread(lanes: list[_Lane], tasks: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
    """What the lanes answer to the tasks, in any order."""
    idle = [lane.pipe for lane in lanes]
    working: list[Any] = []
    while True:
        while idle and (task := next(tasks, None)) is not None:
            working.append(idle.pop())
            working[-1].send(task)
        if not working:
            return
        for pipe in multiprocessing.connection.wait(working):
            working.remove(pipe)
            idle.append(pipe)
            yield pipe.recv()  # type: ignore[union-attr]


def _save(tally: Tally, folder: Path) -> None:
    temporary = folder / "state.json.tmp"
    temporary.write_text(json.dumps(dataclasses.asdict(tally), indent=1) + "\n")
    temporary.replace(folder / "state.json")


def load(folder: Path) -> Tally:
    """The state of a run that was ended."""
    return Tally(**json.loads((folder / "state.json").read_text()))


def as_case(stored: Any) -> Case:
    """A case that has been JSON."""
    base, mutations, command = stored
    return Case(base, tuple((name, seed) for name, seed in mutations), command)


class _Lane:
    """A process that tries one input after the other, each in a fork of its own."""

    def __init__(self, reader: Any) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=self._serve, args=(theirs, reader), daemon=True)
        self._process.start()
        theirs.close()

    def end(self) -> None:
        """Ends it, now that it has nothing to do."""
        self.pipe.send(None)
        self._process.join()

    @staticmethod
    def _serve(pipe: Any, reader: Any) -> None:
        _die_with_parent()
        while (task := pipe.recv()) is not None:
            what, *given = task
            if what == "attempt":
                seed, number = given
                case = draw(reader, seed, number)
                try:
                    found = Found(number, case, *attempt(reader, case))
                except Exception as error:
                    error.add_note(f"input {number} of seed {seed} cannot be made: {case}")
                    raise
                pipe.send(found)
            else:
                case, failure, folder = given
                small = minimised(reader, case, failure)
                attempt(reader, small, keep=folder / slug(failure))
                pipe.send((failure.key, small))


def slug(failure: Failure) -> str:
    """Name of the folder that keeps a failure."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", failure.key.replace("harness/", ""))[:120].strip("-")
