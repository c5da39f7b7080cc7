"""Counts for how many models inputs chosen without flags work, and lists the failures.

Usage: python benchmarks/input_coverage.py [MODEL.onnx | FOLDER …]

It tries the light models of the onnx package, the models of onnxruntime/datasets, the one-op
models of onnx.backend.test.case.node (their graphs only, not the inputs that come with them),
and whatever is named on the command line. A model counts if ORT loads it on the CPU; it succeeds
if an inference with the chosen inputs does. Models are tried in worker processes, so that one
that crashes ONNX Runtime is counted as a failure and named.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib.util
import multiprocessing
import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from harness.config.inputs import InputRequest
from harness.errors import HarnessError
from harness.inputs.choice import choose
from harness.models.file import load
from harness.native import ort

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

#: The newest versions that ORT 1.31 reads. The onnx package's newer one-op models are relabelled
#: with these and counted separately; their graphs are unchanged.
NEWEST_IR_VERSION = 13
NEWEST_OPSET = 26
#: A model that takes longer than this is stopped and counted as a failure.
LIMIT_S = 120.0


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """Result for one model; reason is empty if an inference succeeded."""

    group: str
    name: str
    loaded: bool
    reason: str = ""
    attempts: int = 0


def cases(paths: list[str]) -> Iterator[tuple[str, str, Path | bytes]]:
    """Group, name, and path or serialised model of everything to try."""
    package = _package_folder("onnx")
    for path in sorted((package / "backend/test/data/light").glob("light_*.onnx")):
        yield "light models", path.stem, path
    for path in sorted((_package_folder("onnxruntime") / "datasets").glob("*.onnx")):
        yield "onnxruntime/datasets", path.stem, path
    for given in map(Path, paths):
        found = sorted(given.rglob("*.onnx")) if given.is_dir() else [given]
        for path in found:
            yield str(given), path.stem, path
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, from computing expected outputs
        for case in collect_testcases(None):
            model, group = case.model, "one-op models"
            for opset in model.opset_import:
                if opset.domain == "" and opset.version > NEWEST_OPSET:
                    group = f"one-op models, newer, as opset {NEWEST_OPSET}"
                    opset.version = NEWEST_OPSET
                    model.ir_version = min(model.ir_version, NEWEST_IR_VERSION)
            yield group, case.name, model.SerializeToString()


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])


def serve(connection: Connection, library_path: str) -> None:
    """Worker process: receives models and sends outcomes until it receives None."""
    library = ort.Library(library_path)
    while (case := connection.recv()) is not None:
        connection.send(attempt_model(library, *case))


def attempt_model(library: ort.Library, group: str, name: str, source: Path | bytes) -> Outcome:
    try:
        session = ort.Session(
            library, source if isinstance(source, bytes) else str(source), intra_threads=1
        )
    except ort.OrtError as error:
        return Outcome(group, name, loaded=False, reason=str(error))
    attempts = 0

    def attempt(made: Any) -> list[Any]:
        nonlocal attempts
        attempts += 1
        binding = session.bind(made.values)
        try:
            binding.run()
            return binding.outputs()
        finally:
            binding.close()

    try:
        model = onnx.load_from_string(source) if isinstance(source, bytes) else load(source)
        choose(model, InputRequest(), attempt)
    except HarnessError as error:
        return Outcome(group, name, True, error.message, attempts)
    except Exception as error:  # a defect of ours is a failure too
        return Outcome(group, name, True, f"{type(error).__name__}: {error}", attempts)
    finally:
        session.close()
    return Outcome(group, name, True, "", attempts)


class Worker:
    """A process that tries models one after the other and is replaced when it dies."""

    def __init__(self, library_path: str) -> None:
        self._library_path = library_path
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._library_path))
        self._process.start()
        theirs.close()

    def ask(self, case: tuple[str, str, Path | bytes]) -> Outcome:
        """Result for one model; a crash or a hang is a failure."""
        try:
            self._connection.send(case)
            if self._connection.poll(LIMIT_S):
                answer: Outcome = self._connection.recv()
                return answer
            reason = f"took longer than {LIMIT_S:.0f} s"
            self._process.kill()
        except (EOFError, ConnectionError):
            reason = "ONNX Runtime crashed"
        self._process.join()
        if reason.endswith("crashed"):
            reason += f" (exit code {self._process.exitcode})"
        self._start()
        return Outcome(case[0], case[1], loaded=True, reason=reason)

    def close(self) -> None:
        """Ends the process."""
        self._connection.send(None)
        self._process.join()


def main() -> int:
    libraries = sorted((_package_folder("onnxruntime") / "capi").glob("libonnxruntime.so.*"))
    if not libraries:
        sys.exit("the installed onnxruntime has no libonnxruntime.so")
    begin = time.monotonic()
    worker = Worker(str(libraries[0]))
    outcomes = [worker.ask(case) for case in cases(sys.argv[1:])]
    worker.close()
    groups = dict.fromkeys(outcome.group for outcome in outcomes)
    print(f"{'models':<40} {'tried':>6} {'loadable':>9} {'succeeded':>10} {'share':>8}")
    for group in groups:
        tried = [outcome for outcome in outcomes if outcome.group == group]
        loaded = [outcome for outcome in tried if outcome.loaded]
        succeeded = sum(not outcome.reason for outcome in loaded)
        share = f"{100 * succeeded / len(loaded):.2f} %" if loaded else "-"
        label = group if len(group) <= 40 else f"…{group[-39:]}"
        print(f"{label:<40} {len(tried):>6} {len(loaded):>9} {succeeded:>10} {share:>8}")
    attempts = collections.Counter(o.attempts for o in outcomes if o.loaded and not o.reason)
    listing = ", ".join(f"{count} with {number}" for number, count in sorted(attempts.items()))
    print(f"attempts needed: {listing}; {time.monotonic() - begin:.0f} s")
    failures: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.loaded and outcome.reason:
            failures.setdefault(outcome.reason, []).append(outcome.name)
    for reason, names in sorted(failures.items(), key=lambda item: -len(item[1])):
        print(f"{len(names)} x {reason}\n    {', '.join(names)}")
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
