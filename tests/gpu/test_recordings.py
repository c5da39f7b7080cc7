"""The recordings of a GPU that tests replay: what they hold, and that they are small."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.analysis.device_time import DeviceTime, device_time
from harness.storage.assembly import merge_timelines
from tests.builders.recordings import FOLDER, PROFILES, raw_records, recorded, replayed
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


def test_of_the_devices_times_the_first_inferences_of_one_process_stay() -> None:
    first = replayed("mlp")
    times = first.timeline
    assert times is not None
    both = merge_timelines([times, times])
    assert both is not None
    count = len(times.inferences)
    index = np.repeat(np.array([0, 1], np.int32), count)
    launched = np.repeat(np.array([0, 1], np.int32), len(times.launches))
    whole = dataclasses.replace(
        both,
        launches=dataclasses.replace(both.launches, process=launched),
        inferences=dataclasses.replace(both.inferences, process=index),
    )
    profile = dataclasses.replace(first, timeline=whole)
    kept = cut.cut(profile, 10).timeline
    assert kept is not None
    assert set(kept.inferences.process.tolist()) == {0}
    assert np.bincount(kept.inferences.recorded).max() <= cut.INFERENCES
    assert kept.launches.name == times.launches.name
    assert len(kept.times) == len(kept.launches) * int(kept.inferences.recorded.sum())
    told = device_time(dataclasses.replace(first, timeline=kept))
    assert isinstance(told, DeviceTime), told.reason


def test_raw_records_are_of_three_inferences_of_nine_pieces_of_work() -> None:
    raw = raw_records()
    assert len(raw.columns.work) == 3 * 9
    assert raw.columns.truncated == 0
    assert set(raw.columns.work["name"].tolist()) == set(raw.names)
