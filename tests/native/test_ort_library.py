"""The opened library: which ones are refused, and what becomes of its log lines."""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.native import ort

OpenSession = Callable[..., ort.Session]
Interpreter = Callable[..., subprocess.CompletedProcess[str]]

# Warns when it is opened, and fails at its second inference, which ORT logs as an error.
TALKATIVE = """(float[n] x) => (float[1] y) <float[1] unused = {1}> {
    r = RandomUniform<shape = [1], low = 100.0, high = 200.0, seed = 5.0>()
    i = Cast<to = 7>(r)
    y = Gather(x, i)
}"""


def test_a_library_says_what_it_is(library: ort.Library, library_path: str) -> None:
    assert library.path == library_path
    assert re.fullmatch(r"1\.\d+\.\d+", library.version)
    assert library.build_info
    assert library.open_ns > 0
    assert "CPUExecutionProvider" in library.available_providers()


def test_a_library_may_be_opened_again_and_outlive_the_first(
    library_path: str, model: Callable[..., bytes]
) -> None:
    first = ort.Library(library_path)
    session = ort.Session(first, model("(float[n] x) => (float[n] y) { y = Neg(x) }"))
    second = ort.Library(library_path)
    del first
    binding = session.bind({"x": np.ones(2, "f4")})
    binding.run()
    assert binding.outputs()[0].tolist() == [-1, -1]
    assert second.available_providers()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/nowhere/libonnxruntime.so", OSError),
        (__file__, OSError),
        ("/", OSError),
        ("", OSError),
        ("libc.so.6", OSError),
        ("a\0b", ValueError),
        (None, TypeError),
        (3, TypeError),
    ],
)
def test_what_is_no_library_is_refused(path: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ort.Library(path)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("1.14.1", r"ONNX Runtime 1\.14\.1 cannot be used, 1\.15 or newer is needed"),
        ("2.0.0", r"ONNX Runtime 2\.0\.0 cannot be used"),
        ("1.15.0", "has no API version 15"),
        ("1.99.0", "has no API version 25"),
    ],
)
def test_a_library_without_the_api_is_refused(tmp_path: Path, version: str, reason: str) -> None:
    source = tmp_path / "fake.c"
    source.write_text(
        f"""
        static const void *get_api(unsigned version) {{ (void)version; return 0; }}
        static const char *get_version(void) {{ return "{version}"; }}
        static const struct {{
            const void *(*get_api)(unsigned);
            const char *(*get_version)(void);
        }} base = {{get_api, get_version}};
        const void *OrtGetApiBase(void) {{ return &base; }}
        """
    )
    library = tmp_path / "libfake.so"
    compiler = shlex.split(sysconfig.get_config_var("CC"))
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    with pytest.raises(OSError, match=reason):
        ort.Library(str(library))


def test_ort_s_lines_are_kept_and_taken_once(library: ort.Library, session: OpenSession) -> None:
    library.take_log()
    binding = session(TALKATIVE).bind({"x": np.ones(3, "f4")})
    with pytest.raises(ort.OrtError):
        binding.run()
    warning, error = library.take_log()
    assert warning.startswith("WARNING ")
    assert "unused" in warning
    assert error.startswith("ERROR ")
    assert "Gather" in error
    assert error == error.rstrip()
    assert library.take_log() == []


def test_of_many_lines_the_last_are_kept_and_the_lost_counted(
    library: ort.Library, session: OpenSession
) -> None:
    binding = session(TALKATIVE).bind({"x": np.ones(3, "f4")})
    library.take_log()
    for _ in range(300):
        with pytest.raises(ort.OrtError) as caught:
            binding.run()
    lost, *lines = library.take_log()
    assert lost == "(44 earlier lines were lost)"
    assert len(lines) == 256
    assert lines[-1].removeprefix("ERROR ").startswith(str(caught.value)[:100])
    assert library.take_log() == []


@pytest.mark.parametrize("padding", range(4))
def test_a_long_line_is_cut_between_characters(
    library: ort.Library, session: OpenSession, padding: int
) -> None:
    name = "p" * padding + "😀" * 1000
    binding = session(TALKATIVE.replace("y = Gather", f'["{name}"] y = Gather')).bind(
        {"x": np.ones(3, "f4")}
    )
    library.take_log()
    with pytest.raises(ort.OrtError) as caught:
        binding.run()
    assert name in str(caught.value)
    (line,) = library.take_log()
    text = line.removeprefix("ERROR ")
    assert 1020 <= len(text.encode()) <= 1023
    assert text.endswith("😀")
    assert text in str(caught.value)


def test_ort_writes_nothing_to_the_terminal_and_its_package_is_not_imported(
    interpreter: Interpreter,
) -> None:
    done = interpreter(
        """
import sys
import numpy
library = ort.Library(LIBRARY)
for providers in ([], [("CUDA", {})], [("NoSuch", {})]):
    try:
        ort.Session(library, MODEL, providers=providers).bind({"x": numpy.ones(3, "f4")}).run()
    except ort.OrtError:
        pass
severities = {line.split()[0] for line in library.take_log()}
assert severities == {"WARNING", "ERROR"}, severities
assert "onnxruntime" not in sys.modules and "onnx" not in sys.modules
""",
        TALKATIVE,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
