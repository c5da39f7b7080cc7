"""Session config keys that ONNX Runtime would take without a word and never read."""

from __future__ import annotations

from pathlib import Path

from harness.ort.config_keys import unread
from harness.ort.library import ort_library


def test_a_misspelt_key_is_told_with_the_one_that_was_meant() -> None:
    keys = [
        "session.intra_op.allow_spining",
        "session.intra_op.allow_spinning",
        "ep.context_enabled",
        "session.use_ort_model_bytes_directly",  # in the wheel in pieces only
        "of.nothing",
    ]
    assert unread(keys, ort_library()) == {
        "session.intra_op.allow_spining": "session.intra_op.allow_spinning",
        "ep.context_enabled": "ep.context_enable",
        "of.nothing": "",
    }


def test_another_library_may_read_a_key_of_its_own(tmp_path: Path) -> None:
    runtime, plugin, empty = (tmp_path / name for name in ("runtime", "plugin", "empty"))
    runtime.write_bytes(b"\0session.known\0session.knowing_more\0")
    plugin.write_bytes(b"text\0mine.key\0text")
    empty.touch()
    keys = ["mine.key", "mine", "session.knows"]
    others = [plugin, empty, tmp_path / "none"]
    assert unread(keys, runtime, others) == {"mine": "", "session.knows": "session.known"}
    assert unread(["session.known"], runtime) == {}
