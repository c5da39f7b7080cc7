"""Whatever shows a profile's sentences names options, never the fields that they hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.analysis.comparing.profiles import compare_profiles
from harness.records import InputRecord, Profile, Reading
from harness.reporters import html
from harness.reporters.exports import json_lines
from harness.reporters.scripts.comparison import comparison_text
from harness.reporters.scripts.profile import summary_text
from harness.reporters.terminal.comparison import print_comparison
from harness.reporters.terminal.summary import print_summary
from tests.builders.device_records import series
from tests.builders.process_records import process, profile


def told(**session: object) -> Profile:
    """A profile with a sentence that names a field wherever there is one."""
    config = {"quick": True, "session": {"intra_threads": 8, **session}}
    passes = [process([10_000] * 20, index) for index in range(3)]
    reason = "`stacks`: py-spy failed (leave `stacks` out)"
    return profile(
        *passes,
        config=json.dumps(config),
        inputs=(InputRecord("x", "float32", (2, 4), "'n' set to 2 (`dims` n=2)", "aa"),),
        environment=(
            Reading("affinity_cpus", 2, "1", "sched_getaffinity"),
            Reading("ceilings", None, reason="`quick` measures no ceilings; leave it out"),
            Reading("provider_options_asked", "a=1", source="`provider_options`"),
        ),
        absent=(("stacks", reason), ("trace/probe", reason), ("trace/ort", reason)),
        # Too short for a meter.
        devices=(series("gpu0", "power_w", [(10, 5), (20, 5)], process=0),),
    )


def shown(how: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    base, other = told(), told(inter_threads=2, intra_threads=9)
    compared = compare_profiles(base, [other])
    if how == "summary":
        print_summary(base)
    elif how == "summary as JSON":
        print(summary_text(base))
    elif how == "comparison":
        print_comparison(compared, 0)
    elif how == "comparison as JSON":
        print(comparison_text(compared))
    elif how == "page":
        html.write([base], folder / "out")
    elif how == "pages side by side":
        html.write([base, other], folder / "out", compared.candidates)
    else:
        json_lines.write(base, folder / "out")
    file = folder / "out"
    return file.read_text() if file.exists() else capsys.readouterr().out


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ("summary", {"--stacks", "--dim", "--quick", "--threads"}),
        ("summary as JSON", {"--stacks", "--dim", "--threads"}),
        ("comparison", {"--quick", "--threads"}),
        ("comparison as JSON", {"--quick", "--threads"}),
        ("page", {"--stacks", "--dim", "--quick", "--threads", "--provider-option"}),
        ("pages side by side", {"--stacks", "--quick", "--threads", "--provider-option"}),
        ("JSON lines", {"--stacks", "--dim", "--quick", "--provider-option"}),
    ],
)
def test_options_stand_where_sentences_hold_fields(
    how: str, options: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(how, tmp_path, capsys)
    assert options <= set(re.findall(r"--[a-z-]+", text))
    assert re.findall(r"`\w+`", re.sub(r"<(script|style).*?</\1>", "", text, flags=re.S)) == []
