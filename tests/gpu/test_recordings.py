"""The recordings of a GPU that tests replay: what they hold, and that they are small."""

from __future__ import annotations

import numpy as np
import pytest

from tests.builders.recordings import FOLDER, PROFILES, raw_records, recorded
from tests.gpu import cut


def test_no_recording_is_large() -> None:
    files = sorted(path.name for path in FOLDER.iterdir())
    assert files == sorted(["cupti-records.npz", *(f"{name}.h5.gz" for name in PROFILES)])
    assert all((FOLDER / name).stat().st_size < cut.MOST_BYTES for name in files)


@pytest.mark.parametrize("name", PROFILES)
def test_a_recording_holds_the_first_of_everything(name: str) -> None:
    profile = recorded(name)
    assert profile.kernels is not None
    assert {len(one.steady) for one in profile.processes} == {cut.SAMPLES[name]}
    assert {len(one.enqueue_ns) for one in profile.processes} == {cut.SAMPLES[name]}
    assert set(np.unique(profile.kernels.inference).tolist()) == set(range(cut.INFERENCES))
    assert len(profile.traces["ort"].inference_number) == 3 * cut.INFERENCES
    assert {"gpu0", "host", "sampler"} <= {series.device for series in profile.devices}


def test_a_cut_recording_is_cut_no_further() -> None:
    profile = recorded("mlp")
    again = cut.cut(profile, cut.SAMPLES["mlp"])
    assert again.kernels is not None
    assert profile.kernels is not None
    assert len(again.kernels) == len(profile.kernels)
    assert again.environment == profile.environment


def test_raw_records_are_of_three_inferences_of_nine_pieces_of_work() -> None:
    raw = raw_records()
    assert len(raw.columns.work) == 3 * 9
    assert raw.columns.truncated == 0
    assert set(raw.columns.work["name"].tolist()) == set(raw.names)
