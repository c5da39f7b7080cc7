"""What the tests that need a GPU share: where they run, their figures, and what they leave."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("stand_in")

#: All tests that need a GPU must have ended after so many seconds.
LONGEST_S = 300

#: Where the bundle goes, if --bundle does not say.
BUNDLE = "HARNESS_GPU_BUNDLE"

#: The smallest model: a rehearsal takes no other.
REHEARSED = "mlp"

#: Names of user properties of reports: figures, the folder with what was recorded, and prefixes of
#: numbers for the closing line, of which that tells the largest, and of texts for it.
FIGURE, FOLDER, WORST, CLOSING = "gpu figure", "gpu folder", "gpu worst ", "gpu closing "

#: Numbers of the closing line, with the form of each.
NUMBERS = {
    "probe": "a probe {:.0f} ns",
    "host": "host residual {:.1%}",
    "device": "device residual {:.1%}",
    "graph": "residual of replays {:.1%}",
    "unjoined": "not joined {:.2%}",
    "sampler": "sampler {:.2%} of a core",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpu", "tests that need a GPU")
    group.addoption(
        "--rehearse",
        action="store_true",
        help="run them without a GPU: the CPU's provider and doubles take its place",
    )
    group.addoption("--bundle", metavar="FOLDER", help=f"leave the recordings there (or ${BUNDLE})")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Of a rehearsal only the smallest model, of which the double has all kernels."""
    if "case" in metafunc.fixturenames:
        rehearsed = metafunc.config.getoption("--rehearse", default=False)
        models = (REHEARSED,) if rehearsed else (REHEARSED, "resnet50", "bert-small", "tessera")
        cases = [(model, batch) for model in models for batch in (1, 32)]
        names = [f"{model}-b{batch}" for model, batch in cases]
        metafunc.parametrize("case", cases, ids=names, scope="session")
    if "whole" in metafunc.fixturenames:
        rehearsed = metafunc.config.getoption("--rehearse", default=False)
        models = (REHEARSED,) if rehearsed else ("resnet50", "bert-small", REHEARSED)
        metafunc.parametrize("whole", models, scope="session")


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where the tests measure.

    Attributes:
        rehearsed: whether doubles take the place of the GPU: what they give is no figure.
        folder: for what is recorded.
        environment: of the processes that measure.
        nvml: path of libnvidia-ml.
        until_s: when all must have ended, by time.monotonic.
    """

    rehearsed: bool
    folder: Path
    environment: dict[str, str]
    nvml: str | None
    until_s: float

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """``python ARGUMENTS`` in the folder, for as long as there is time."""
        left_s = self.until_s - time.monotonic()
        if left_s < 5:
            pytest.fail(f"the {LONGEST_S} s that all tests may take are over")
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=left_s,
            check=False,
        )


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The GPU, or what stands in for it; without either the test is skipped with the reason."""
    rehearsed = request.config.getoption("--rehearse", default=False)
    paths, more, nvml = [str(ROOT)], {}, None
    if rehearsed:
        from tests import doubles

        nvml = doubles.build_nvml()
        more = {
            "REHEARSAL_NVML": nvml,
            "REHEARSAL_CUDA": doubles.build_cuda(),
            "REHEARSAL_CUPTI": doubles.build_cupti(),
            "HARNESS_DOUBLE_GPUS": "3",
        }
        paths.insert(0, str(STAND_IN))
    else:
        why_not = no_gpu()
        if why_not:
            pytest.skip(why_not)
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    paths += inherited.get("PYTHONPATH", "").split(os.pathsep)
    environment = inherited | more | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    folder = tmp_path_factory.mktemp("gpu")
    return Bench(rehearsed, folder, environment, nvml, time.monotonic() + LONGEST_S)


def no_gpu() -> str:
    """Why ONNX Runtime can use no GPU here; empty if it can."""
    from harness.errors import HarnessError
    from harness.ort import providers
    from harness.ort.library import ort_library

    ask = providers.by_name("cuda").state
    assert ask is not None
    try:
        state, remedy = ask(ort_library())
    except HarnessError as error:
        return error.message
    return "" if state.value is not None else f"no usable GPU: {state.reason} ({remedy})"


@pytest.fixture
def figure(bench: Bench, record_property: Any) -> Any:
    """Notes a line of figures for the end: ``figure(TEXT)``.

    Numbers of NUMBERS given by their names, and ``closing=TEXT``, go into the closing line.
    """
    record_property(FOLDER, str(bench.folder))

    def note(text: str, closing: str = "", **numbers: float) -> None:
        record_property(FIGURE, text)
        if closing:
            record_property(CLOSING, closing)
        for name, value in numbers.items():
            record_property(WORST + name, abs(float(value)))

    return note


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints the figures and leaves the bundle. Of xdist's workers they come with the reports."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        if getattr(report, "when", "") == "call"
    ]
    told = [(name, text) for report in reports for name, text in report.user_properties]
    figures = [text for name, text in told if name == FIGURE]
    if not figures:
        return
    rehearsed = config.getoption("--rehearse", default=False)
    title = "figures of a rehearsal, which measure no GPU" if rehearsed else "figures"
    terminalreporter.section(title)
    for text in figures:
        terminalreporter.write_line(text)
    target = config.getoption("--bundle", default=None) or os.environ.get(BUNDLE)
    if target:
        folders = {Path(text) for name, text in told if name == FOLDER}
        bundle = pack(folders, figures, Path(target))
        terminalreporter.write_line(f"bundle: {bundle} ({bundle.stat().st_size / 2**20:.1f} MiB)")
    passed = sum(report.outcome == "passed" for report in reports)
    worst = [
        form.format(max(values))
        for name, form in NUMBERS.items()
        if (values := [value for each, value in told if each == WORST + name])
    ]
    closing = [text for name, text in told if name == CLOSING]
    largest = f"at most: {', '.join(worst)}" if worst else ""
    line = filter(None, (f"{passed} of {len(reports)} held", largest, *closing))
    terminalreporter.write_line(" | ".join(line))


def pack(folders: set[Path], figures: list[str], target: Path) -> Path:
    """All recordings and the figures in one archive; returns its path."""
    target.mkdir(parents=True, exist_ok=True)
    bundle = target / f"gpu-recordings-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz"
    with tarfile.open(bundle, "w:gz") as archive:
        for folder in sorted(folders):
            (folder / "figures.txt").write_text("\n".join(figures) + "\n")
            for path in sorted(folder.iterdir()):
                if path.is_file() and not path.name.startswith("."):
                    archive.add(path, path.name)
    return bundle
