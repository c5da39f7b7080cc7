"""``python -m tests.fuzz.faults signals|full-disk``: commands that are hit in the middle.

``signals`` sends a random signal to ``profile``, ``ab``, ``report`` and ``recover`` at a random
moment. ``full-disk`` lets every command that writes run into the end of file systems that grow in
steps (tmpfs: needs root). Whatever happens, the output must be the old file or a whole new one,
every process that had finished must be in it or be recovered, no process may live on, and
standard error holds at most one line of error and no traceback. Exit 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness import read_profile
from harness.errors import HarnessError
from harness.storage import shards
from tests.fuzz.engine import is_whole

HARNESS = (sys.executable, "-m", "harness")
REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "profiles" / "sample.h5"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
OLD = b"what was here before\n"

#: A command still running so long after its signal hangs.
PATIENCE_S = 30.0

PROFILE = ("profile", "mlp", "--quick", "--quiet", "--processes", "3", "--force", "-o", "out.h5")
AB = (
    *("ab", "--a", "mlp -o out-a.h5 --force", "--b", "mlp --threads 1 -o out-b.h5 --force"),
    *("--budget", "20", "--quiet"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A command to hit.

    Attributes:
        words: its command line, which writes ``outputs``.
        outputs: names of the files that it makes.
        recovers: it works on a partial folder that is put there before.
    """

    words: tuple[str, ...]
    outputs: tuple[str, ...]
    recovers: bool = False


TARGETS = {
    "profile": Target(PROFILE, ("out.h5",)),
    "ab": Target(AB, ("out-a.h5", "out-b.h5")),
    "report": Target(("report", str(SAMPLE), "--force", "-o", "out.html"), ("out.html",)),
    "recover": Target(("recover", ".out.h5.partial", "--force"), ("out.h5",), recovers=True),
}

SIGNALS = ("TERM", "INT", "HUP", "KILL", "STOP")


def harness(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder to its end."""
    return subprocess.run(
        (*HARNESS, *words),
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def main() -> int:
    """Hits the commands; prints what each attempt left, and at the end what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.faults", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    hits = kinds.add_parser("signals")
    hits.add_argument("--count", type=int, default=200)
    hits.add_argument("--seed", type=int, default=0)
    full = kinds.add_parser("full-disk")
    full.add_argument("--steps", type=int, default=40, help="sizes tried for each command")
    options = parser.parse_args()
    if options.kind == "full-disk" and options.steps < 2:
        parser.error("--steps: the smallest and the largest size are two")
    with tempfile.TemporaryDirectory(prefix="harness-faults-") as scratch:
        if options.kind == "signals":
            return signals(Path(scratch), options.count, options.seed)
        if os.geteuid() != 0:
            print("full-disk mounts tmpfs, which takes root: not run", file=sys.stderr)
            return 3
        return full_disk(Path(scratch), options.steps)


# ---- Signals ----


def signals(scratch: Path, count: int, seed: int) -> int:
    """Hits ``count`` commands; returns the exit code."""
    partial = _partial_folder(scratch)
    durations = {name: _duration_s(scratch, target, partial) for name, target in TARGETS.items()}
    print(", ".join(f"{name} takes {each:.1f} s" for name, each in durations.items()))
    rng = random.Random(seed)
    wrong: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    finished = kept = 0
    for number in range(count):
        name, signal_name = rng.choice(list(TARGETS)), rng.choice(SIGNALS)
        at_s = rng.uniform(0, 1.1 * durations[name])
        group, over = rng.random() < 0.5, rng.random() < 0.5
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            hit = _Hit(Path(folder), TARGETS[name], partial, over=over)
            code = hit.send(signal_name, at_s, group=group)
            faults = hit.faults(code, signal_name)
        finished += sum(hit.finished.values())
        kept += sum(hit.kept.values())
        ended[f"{name} {signal_name}"] += 1
        for fault in faults:
            wrong[f"{name} {signal_name}: {fault}"] += 1
        print(
            f"{number:4} {name:8} {signal_name:4} {'group' if group else 'command':8}"
            f"{at_s:6.2f} s  exit {code:4}  {hit.state:8}  {'; '.join(faults) or '-'}",
            flush=True,
        )
    print(", ".join(f"{what} {times}" for what, times in sorted(ended.items())))
    print(f"{kept} of {finished} finished processes kept")
    return _verdict(f"{count} signals", wrong)


class _Hit:
    """One command in a folder of its own.

    Attributes:
        state: of the outputs: ``none``, ``old`` or ``new``; ``mixed`` where they differ.
        finished: processes that had finished when the signal came, by output.
        kept: of them, in the output or recovered.
    """

    def __init__(self, folder: Path, target: Target, partial: Path, *, over: bool) -> None:
        self.state = "none"
        self.finished = dict.fromkeys(target.outputs, 0)
        self.kept = dict.fromkeys(target.outputs, 0)
        self._folder, self._target, self._over = folder, target, over
        if target.recovers:
            shutil.copytree(partial, folder / ".out.h5.partial")
        if over:
            for output in target.outputs:
                (folder / output).write_bytes(OLD)
        with (folder / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                (*HARNESS, *target.words),
                cwd=folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def send(self, name: str, at_s: float, *, group: bool) -> int:
        """Waits, sends the signal and waits for the end; returns the exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(at_s)
        self.finished = {output: self._shards(output) for output in self._target.outputs}
        send = os.killpg if group else os.kill
        with contextlib.suppress(ProcessLookupError):
            send(self._process.pid, signal.Signals[f"SIG{name}"])
            if name == "STOP":
                time.sleep(0.7)
                send(self._process.pid, signal.SIGCONT)
        try:
            return self._process.wait(120 if name == "STOP" else PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return 999

    def faults(self, code: int, name: str) -> list[str]:
        """What should not be as it is."""
        wrong = []
        # A signal that comes before Python takes signals ends the process as it ends any other.
        early = {"TERM": -15, "INT": -2, "HUP": -1, "KILL": -9, "STOP": 0}[name]
        allowed = {0, early} | ({130} if name in ("TERM", "INT", "HUP") else set())
        if code == 999:
            wrong.append("hangs")
        elif code not in allowed:
            wrong.append(f"exit code {code}")
        stderr = (self._folder / "stderr").read_text(errors="replace")
        if "Traceback" in stderr and code not in (-2,):
            wrong.append(f"traceback: {stderr.splitlines()[-1][:200]}")
        told = sum(line.startswith("harness: ") for line in stderr.splitlines())
        if told > 1:
            wrong.append(f"{told} lines of error")
        if not _all_ended(self._process.pid):
            wrong.append("a process lives on")
        states = set()
        for output in self._target.outputs:
            state, faults = self._output_faults(output, code)
            states.add(state)
            wrong += faults
        self.state = states.pop() if len(states) == 1 else "mixed"
        if name != "KILL":
            left = [each.name for each in self._folder.iterdir()]
            expected = {"stderr", "out.h5", "out-a.h5", "out-b.h5", "out.html", "profiles"}
            for output, finished in self.finished.items():
                if self._target.recovers or self.kept[output] < finished:
                    expected.add(_partial_of(output))
            if code != early and (others := sorted(set(left) - expected)):
                wrong.append(f"left behind: {', '.join(others)}")
        return wrong

    def _output_faults(self, output: str, code: int) -> tuple[str, list[str]]:
        """(state of an output, what is wrong with it)."""
        path = self._folder / output
        held = path.read_bytes() if path.exists() else None
        if held is None or held == OLD:
            state = "none" if held is None else "old"
            if self._over and held is None:
                return state, [f"the old {output} is lost"]
            if code == 0:
                return state, [f"exit code 0 without {output}"]
            return state, self._recover(output)
        if path.suffix == ".html":
            return "new", [] if held.rstrip().endswith(b"</html>") else ["half a page"]
        try:
            processes = len(read_profile(path).processes)
        except HarnessError as error:
            return "new", [f"the new {output} cannot be read: {error.message[:120]}"]
        finished = self.finished[output]
        self.kept[output] = min(processes, finished)
        if processes < finished:
            return "new", [f"{processes} of {finished} finished processes in {output}"]
        return "new", []

    def _recover(self, output: str) -> list[str]:
        """Makes a profile of what a killed command left, as its user would."""
        finished, name = self.finished[output], _partial_of(output)
        if not finished:
            return []
        if not (self._folder / name).is_dir():
            return [f"{finished} finished processes of {output} are lost"]
        done = harness("recover", name, "--force", folder=self._folder)
        if done.returncode != 0:
            return [f"recover of {output} fails: {done.stderr.strip()[-200:]}"]
        kept = self.kept[output] = len(read_profile(self._folder / output).processes)
        if kept < finished:
            return [f"{kept} of {finished} finished processes of {output} recovered"]
        return []

    def _shards(self, output: str) -> int:
        return len(list((self._folder / _partial_of(output)).glob("process-*.shard")))


def _partial_of(output: str) -> str:
    """Name of the folder in which a command keeps finished processes until it writes this file."""
    return shards.partial_folder(Path(output)).name


def _partial_folder(scratch: Path) -> Path:
    """What a profile leaves that is killed after two of its processes."""
    folder = scratch / "killed"
    folder.mkdir()
    process = subprocess.Popen(
        (*HARNESS, *PROFILE),
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    partial = folder / ".out.h5.partial"
    deadline_s = time.monotonic() + 120
    while len(list(partial.glob("process-*.shard"))) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(shards.read_shards(partial)[0]) >= 2
    return partial


def _duration_s(scratch: Path, target: Target, partial: Path) -> float:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        begin_s = time.monotonic()
        hit = _Hit(Path(folder), target, partial, over=False)
        code = hit.send("STOP", 1000, group=False)
        assert code == 0, (target.words, code)
        return time.monotonic() - begin_s


def _all_ended(session: int, patience_s: float = 5.0) -> bool:
    """Whether every process of the session ends in time."""
    deadline_s = time.monotonic() + patience_s
    while any(True for _ in _members(session)):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def _members(session: int) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = process.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                yield int(process.parent.name)


# ---- A full disk ----

#: Command and output of each command that writes.
WRITERS: dict[str, tuple[tuple[str, ...], str]] = {
    "report": (("report", str(SAMPLE), "--force", "-o", "t/out.html"), "out.html"),
    "trace": (("trace", str(SAMPLE), "--force", "-o", "t/out.pftrace"), "out.pftrace"),
    "csv": (("export", str(SAMPLE), "--force", "--csv", "t/out.csv"), "out.csv"),
    "jsonl": (("export", str(SAMPLE), "--force", "--jsonl", "t/out.jsonl"), "out.jsonl"),
    "parquet": (("export", str(SAMPLE), "--force", "--parquet", "t/out.parquet"), "out.parquet"),
    "pyperf": (("export", str(SAMPLE), "--force", "--pyperf", "t/out.json"), "out.json"),
    "models": (("models", "mlp", "--force", "-o", "t/out.onnx"), "out.onnx"),
    "recover": (("recover", "t/.out.h5.partial", "--force"), "out.h5"),
    "profile": ((*PROFILE[:-1], "t/out.h5"), "out.h5"),
}


def full_disk(scratch: Path, steps: int) -> int:
    """Runs every writer on file systems of growing size; returns the exit code."""
    partial = _partial_folder(scratch)
    mounted = scratch / "t"
    mounted.mkdir()
    wrong: Counter[str] = Counter()
    tried = 0
    for name in WRITERS:
        enough = _needed_bytes(scratch, name, partial)
        least = _bytes_under(partial) if name == "recover" else 4096
        # Beside the file lie the shards that it is made of, and what the workers hand over.
        enough += {"recover": least, "profile": 3 * _bytes_under(partial)}.get(name, 0)
        codes: Counter[int] = Counter()
        for step in range(steps):
            size = least + (enough - least) * step // (steps - 1)
            size += -size % 4096 + 8192  # pages; the folder and the old file take two
            with _tmpfs(mounted, size):
                code, faults = _written_on(mounted, scratch, name, partial, size)
            codes[code] += 1
            tried += 1
            for fault in faults:
                wrong[f"{name}: {fault}"] += 1
                print(f"  {name} on {size} bytes: {fault}", flush=True)
        told = ", ".join(f"exit {code}: {times}" for code, times in sorted(codes.items()))
        print(f"{name:8} {steps} sizes from {least} to {enough} bytes: {told}", flush=True)
    return _verdict(f"{tried} runs on full disks", wrong)


def _needed_bytes(scratch: Path, name: str, partial: Path) -> int:
    """What the command needs where there is room."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        inside = Path(folder) / "t"
        inside.mkdir()
        if name == "recover":
            shutil.copytree(partial, inside / ".out.h5.partial")
        done = harness(*WRITERS[name][0], folder=Path(folder))
        assert done.returncode == 0, done.stderr
        size = (inside / WRITERS[name][1]).stat().st_size
    return size + 65536


def _bytes_under(folder: Path) -> int:
    files = (each for each in folder.rglob("*") if each.is_file())
    return sum(-(-each.stat().st_size // 4096) * 4096 for each in files) + 4096


def _written_on(
    mounted: Path, scratch: Path, name: str, partial: Path, size: int
) -> tuple[int, list[str]]:
    output = mounted / WRITERS[name][1]
    output.write_bytes(OLD)
    try:
        if name == "recover":
            shutil.copytree(partial, mounted / ".out.h5.partial")
    except (OSError, shutil.Error):
        return -1, []  # too small to begin with
    done = harness(*WRITERS[name][0], folder=scratch)
    wrong = []
    if done.returncode not in (0, 3):
        wrong.append(f"exit code {done.returncode}: {done.stderr.strip()[-200:]}")
    if "Traceback" in done.stderr:
        wrong.append(f"traceback: {done.stderr.strip().splitlines()[-1][:200]}")
    told = [line for line in done.stderr.splitlines() if line.startswith("harness: ")]
    if done.returncode == 3 and len(told) != 1:
        wrong.append(f"{len(told)} lines of error")
    held = output.read_bytes() if output.exists() else b""
    if done.returncode == 0:
        if held == OLD or not is_whole(output, held):
            wrong.append(f"exit code 0 with {len(held)} bytes that are not a whole file")
    elif held != OLD and not (name == "profile" and _is_profile(output)):
        # (A profile keeps the processes that had finished, in a whole file.)
        wrong.append(f"{len(held)} bytes in the place of the old file")
    left = {each.name for each in mounted.iterdir()} - {output.name, ".out.h5.partial"}
    if left:
        wrong.append(f"left behind: {', '.join(sorted(left))}")
    return done.returncode, wrong + _recovered(mounted, scratch, name, size)


def _recovered(mounted: Path, scratch: Path, name: str, size: int) -> list[str]:
    """Whether the processes that had finished come back once there is room."""
    folder = mounted / ".out.h5.partial"
    count = len(list(folder.glob("process-*.shard"))) if folder.is_dir() else 0
    if name == "recover" and folder.is_dir() and not count:
        return ["the shards are lost"]
    if not count:
        return []
    remount = ("mount", "-o", f"remount,size={size + (8 << 20)}", str(mounted))
    subprocess.run(remount, check=True)
    done = harness("recover", "t/.out.h5.partial", "--force", folder=scratch)
    if done.returncode != 0:
        return [f"recover fails afterwards: {done.stderr.strip()[-200:]}"]
    kept = len(read_profile(mounted / "out.h5").processes)
    return [] if kept == count else [f"{kept} of {count} finished processes recovered"]


def _is_profile(path: Path) -> bool:
    try:
        return len(read_profile(path).processes) > 0
    except HarnessError:
        return False


@contextlib.contextmanager
def _tmpfs(place: Path, size: int) -> Iterator[None]:
    subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place), check=True)
    try:
        yield
    finally:
        subprocess.run(("umount", "--lazy", place), check=True)


def _verdict(tried: str, wrong: Counter[str]) -> int:
    print(f"{'FAIL' if wrong else 'PASS'}: {tried}, {wrong.total()} wrong")
    for what, times in wrong.most_common():
        print(f"  {times:4} {what}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
