"""CUPTI and the marks of nodes together, with a double of CUPTI: it takes no GPU to join them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doubles import build_cupti

CHAIN = "(float[4] x) => (float[4] y) { a = Relu(x)  b = Exp(a)  y = Neg(b) }"

# What the double notes of a recording that starts and of one that ends.
ON, OFF = "RREEEEEE", "FDDDDDDF"


def test_cupti_names_each_event_while_it_records_and_only_then(
    interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """In a process of its own: a libcupti that was opened stays."""
    done = interpreter(
        f"""
import contextlib, ctypes
from pathlib import Path
import numpy as np
from harness.config.session import SessionConfig
from harness.tracing.kernels.recorder import KernelPass
from tests.builders.executed import save_graph
from harness.tracing.kernels import join

join.cupti_candidates = lambda: ({build_cupti()!r},)
calls = (ctypes.c_char * (1 << 16)).in_dll(ctypes.CDLL({build_cupti()!r}), "calls")
folder, config = Path({str(tmp_path)!r}), SessionConfig(intra_threads=1)
library = ort.Library(LIBRARY)
graph = save_graph(library, Path(MODEL), config, folder)
recorder = KernelPass(library, config, graph, {{"x": np.ones(4, np.float32)}}, folder)
with contextlib.closing(recorder):
    try:
        recorder.capture(1, 1 << 60)
    except (MemoryError, ValueError):
        print("no room for marks")
    for inferences in (1, 2):
        marked, recording = recorder.capture(inferences, len(graph.nodes))
        print(len(marked.mark), recording.unnamed, len(recording.buffers))
print(calls.value.decode())
""",
        CHAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    refused, *told, calls = done.stdout.splitlines()
    assert refused == "no room for marks"
    events = [int(line.split()[0]) for line in told]
    assert events[1] == 2 * events[0] > 6
    assert [line.split()[1:] for line in told] == [["0", "0"]] * 2

    nothing, *recordings = calls.removeprefix(ON).split(ON)
    assert nothing == OFF
    for recording, count in zip(recordings, events, strict=True):
        named = recording[: -len(OFF)]
        assert recording == named + OFF
        assert sorted(named) == sorted("+-" * count)
        assert (named[0], named[-1]) == ("+", "-")


#: A session whose device is the double: three kernels of three nodes, while it is waited for.
DEVICE = """
import contextlib, ctypes, dataclasses
from pathlib import Path
import numpy as np
from harness.config.session import SessionConfig
from harness.ort import providers
from harness.tracing.kernels import join
from harness.tracing.kernels.recorder import KernelPass
from harness.tracing.kernels.turns import TURNS
from tests.builders.executed import save_graph

path = {double!r}
device = ctypes.CDLL(path)
wait = ctypes.cast(device.device_wait, ctypes.c_void_p).value
join.cupti_candidates = lambda: (path,)
resident = dataclasses.replace(providers.by_name("cpu"), synchronise=lambda: wait)
providers.by_name = lambda name: resident
ctypes.c_int.in_dll(device, "launches").value = 3
folder, config = Path({folder!r}), SessionConfig(intra_threads=1)
library = ort.Library(LIBRARY)
graph = save_graph(library, Path(MODEL), config, folder)
recorder = KernelPass(library, config, graph, {{"x": np.ones(4, np.float32)}}, folder)
"""


def test_times_are_taken_without_marks_and_joined_to_those_with(
    interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = interpreter(
        DEVICE.format(double=build_cupti(), folder=str(tmp_path))
        + """
calls = (ctypes.c_char * (1 << 16)).in_dll(device, "calls")
with contextlib.closing(recorder):
    try:
        recorder.timeline(2)
    except ValueError as error:
        print(error)
    events = recorder.record(2, len(graph.nodes), 5)
    seen = len(calls.value)
    times = recorder.timeline(4)
within = events.inference >= 0  # The device is waited for before each inference, too.
print(*np.array(events.name)[within], *events.node[within], *events.inference[within])
print(*times.launches.name, *times.launches.node, *times.launches.process)
print(*times.inferences.recorded)
print(*times.times.launch[:4], *times.times.inference[:4], len(times.times))
print(calls.value[seen:].decode())
within = times.inferences.start_ns[times.times.inference]
ends = within + times.inferences.duration_ns[times.times.inference]
print((times.times.start_ns >= within).all(), (times.times.start_ns < ends).all())
print((times.inferences.enqueue_ns < times.inferences.duration_ns).all(), *TURNS)
""",
        CHAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "the nodes of the device's work are not known"
    assert lines[1] == "gemm relu softmax gemm relu softmax 0 1 2 0 1 2 0 0 0 1 1 1"
    assert lines[2] == "gemm relu softmax 0 1 2 5 5 5"
    assert lines[3].replace(" ", "") == "00001111111100000000111111110000"
    assert lines[4] == "0 1 2 0 4 4 4 5 48"
    # Four turns with CUPTI, each with the three kinds of work alone, and no names of nodes.
    assert lines[5] == "RREEEFDDDF" * 4
    assert lines[6] == "True True"
    assert lines[7] == "True False True True False False True True False"


def test_a_device_that_does_something_else_once_has_no_timeline(
    interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = interpreter(
        DEVICE.format(double=build_cupti(), folder=str(tmp_path))
        + """
with contextlib.closing(recorder):
    recorder.record(2, len(graph.nodes), 0)
    waits = ctypes.c_int.in_dll(device, "waits").value
    # Each call of run and of time waits once more, before it begins. A turn is two inferences that
    # settle and two that are timed: seven waits. Those of the second turn are recorded.
    ctypes.c_int.in_dll(device, "wrong_wait").value = waits + 7 + 4 + 2
    try:
        recorder.timeline(2)
    except ValueError as error:
        print(error)
    print(len(recorder.timeline(2).times))
    waits = ctypes.c_int.in_dll(device, "waits").value
    ctypes.c_int.in_dll(device, "wrong_wait").value = waits + 1
    recorder.record(2, len(graph.nodes), 0)
    try:
        recorder.timeline(2)
    except ValueError as error:
        print(error)
""",
        CHAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    differs = "the device does not do the same in each inference:"
    assert done.stdout.splitlines() == [
        f"{differs} 2 launches in inference 3, 3 in the first",
        "24",
        f"{differs} 3 launches in inference 1, 2 in the first",
    ]


def test_what_cupti_costs_is_measured_by_turns(
    interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = interpreter(
        DEVICE.format(double=build_cupti(), folder=str(tmp_path))
        + """
from harness.analysis.device_time import device_time
from tests.builders.process_records import profile
for name, value in (("kernel_ns", 100_000), ("gap_ns", 100_000), ("cost_ns", 3_000_000)):
    ctypes.c_int64.in_dll(device, name).value = value
with contextlib.closing(recorder):
    recorder.record(2, len(graph.nodes), 0)
    times = recorder.timeline(4)
told = device_time(dataclasses.replace(profile(), timeline=times, nodes=graph.nodes))
accounts, idle_ns = told.accounts, told.nodes.idle_ns
print(accounts.recorder_ns > 3_000_000, accounts.busy_ns > 300_000, accounts.idle_ns < 6_000_000)
print(idle_ns[0], np.isclose(idle_ns.sum(), accounts.idle_ns))
""",
        CHAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # Two gaps of more than 3 ms were seen, most of which is CUPTI's.
    assert done.stdout.splitlines() == ["True True True", "0.0 True"]


@pytest.mark.parametrize("wrong", [False, True])
def test_a_process_leaves_both_passes_or_says_why_not(
    interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, wrong: bool
) -> None:
    done = interpreter(
        DEVICE.format(double=build_cupti(), folder=str(tmp_path))
        + f"""
from types import SimpleNamespace
from harness.measuring.stopwatch import Stopwatch
from harness.measuring.traced_passes import TracedPasses
recorder.close()
resident = dataclasses.replace(resident, memory="device")
if {wrong}:  # in the second inference after those that warm up
    ctypes.c_int.in_dll(device, "wrong_wait").value = ctypes.c_int.in_dll(device, "waits").value + 9
job = SimpleNamespace(
    config=SimpleNamespace(session=config, trace=("kernels",)), work_folder=folder
)
preparation = SimpleNamespace(graph=graph, probed=None, executions=len(graph.nodes))
passes = TracedPasses(job, preparation, library, {{"x": np.ones(4, np.float32)}}, 3, Stopwatch())
traced = passes.record([], 4, 0)
print(len(traced.kernels), traced.timeline and len(traced.timeline.times), *traced.absent)
""",
        CHAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if wrong:
        assert done.stdout.startswith("23 None ('trace/timeline', 'the device does not do the same")
    else:
        assert done.stdout == "24 48\n"


#: Replays of a captured graph in a session of their own, after the nodes were learnt without it.
#: What captures is the double, not the session: the CPU's provider has nothing to capture with.
REPLAY = """
from harness.tracing.kernels.replay import ReplayPass
LAUNCHES, REPLAYS_NODES, REPLAYS_NODELESS, REPLAYS_WHOLE = range(4)
graph_of = ctypes.c_int.in_dll(device, "graph")
with contextlib.closing(recorder):
    recorder.record(2, len(graph.nodes), 5)
    launches = recorder.launches()
def replayed(kind, launches=launches):
    graph_of.value = kind
    replays = ReplayPass(library, config, Path(MODEL), {{"x": np.ones(4, np.float32)}})
    with contextlib.closing(replays):
        return replays.timeline(4, launches, 5)
"""


def test_kernels_of_a_replayed_graph_are_joined_in_the_order_learnt_without_it(
    interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = interpreter(
        DEVICE.format(double=build_cupti(), folder=str(tmp_path))
        + REPLAY.format()
        + """
times, why = replayed(REPLAYS_NODES)
print(repr(why), *times.launches.name, *times.launches.node, *times.launches.process)
print(*times.inferences.recorded)
print(*times.times.launch[:4], *times.times.inference[:4], len(times.times))
within = times.inferences.start_ns[times.times.inference]
print((times.times.start_ns >= within).all(), (times.times.duration_ns > 0).all())
""",
        CHAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "'' gemm relu softmax 0 1 2 5 5 5",
        " ".join("00001111111100000000111111110000"),
        "0 1 2 0 4 4 4 5 48",
        "True True",
    ]


def test_a_replay_whose_records_do_not_tell_has_its_total_and_the_reason(
    interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = interpreter(
        DEVICE.format(double=build_cupti(), folder=str(tmp_path))
        + REPLAY.format()
        + """
def told(times, why):
    timed = times.inferences
    assert (timed.duration_ns > 0).all() and timed.recorded.sum() == len(timed) // 2
    print(len(times.launches), len(times.times), len(timed), why)
told(*replayed(REPLAYS_NODELESS))
told(*replayed(REPLAYS_WHOLE))
told(*replayed(REPLAYS_NODES, None))
told(*replayed(REPLAYS_NODES, dataclasses.replace(launches, stream=np.array([7, 7, 8]))))
told(*replayed(REPLAYS_NODES, dataclasses.replace(launches, name=("gemm", "relu", "exp"))))
# The first turn with CUPTI comes after three inferences that warm up, four and four without it, and
# a wait before each call of run and of time.
waits = ctypes.c_int.in_dll(device, "waits").value
ctypes.c_int.in_dll(device, "swapped_wait").value = waits + 2 * 3 + 13 + 8 + 3
told(*replayed(REPLAYS_NODES))
""",
        CHAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    nodeless, whole, unknown, streams, other, swapped = done.stdout.splitlines()
    for line in (nodeless, whole, unknown, streams, other, swapped):
        assert line.startswith(("0 0 32 ", "0 0 40 "))
    assert "of CUPTI's" in nodeless
    assert nodeless.endswith("records of the replay do not tell which node of the graph they are")
    assert "CUPTI recorded no kernels of the replayed graph, but " in whole
    assert "the nodes of the device's work are not known" in unknown
    assert "without the graph the work is on 2 streams" in streams
    assert "launch 2 is kernel softmax" in other
    assert "kernel exp in the first" in other
    assert swapped.endswith("the nodes of the graph do not run in the same order each time")


@pytest.mark.parametrize("refused", [False, True])
def test_a_process_replays_a_graph_beside_it_or_says_why_the_session_refuses(
    interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, refused: bool
) -> None:
    done = interpreter(
        DEVICE.format(double=build_cupti(), folder=str(tmp_path))
        + f"""
from types import SimpleNamespace
from harness.measuring.stopwatch import Stopwatch
from harness.measuring.traced_passes import TracedPasses
recorder.close()
resident = dataclasses.replace(
    resident, memory="device", capture_option="enable_cuda_graph", takes_options=True
)
if {refused}:  # as open_session says it; the CPU's provider has nothing to refuse
    from harness.errors import RequestError
    from harness.tracing.kernels import replay

    def refuse(*arguments):
        raise RequestError("cannot capture m.onnx as a CUDA graph: 2 nodes", "drop the option")

    replay.open_session = refuse
job = SimpleNamespace(
    config=SimpleNamespace(session=config, trace=("kernels",), quick=False),
    work_folder=folder, model=Path(MODEL),
)
preparation = SimpleNamespace(graph=graph, probed=None, executions=len(graph.nodes))
watch = Stopwatch()
passes = TracedPasses(job, preparation, library, {{"x": np.ones(4, np.float32)}}, 3, watch)
traced = passes.record([], 4, 0)
print(len(traced.timeline.times), traced.replay and len(traced.replay.inferences), *traced.absent)
job.config.quick = True
traced = passes.record([], 4, 0)
print(traced.replay, traced.absent)
""",
        CHAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told, quick = done.stdout.splitlines()
    if refused:
        assert told.startswith("48 None ('trace/replay', ")
        assert "cannot capture m.onnx as a CUDA graph: 2 nodes" in told
    else:
        # The double launches one by one here: its records name no node of a graph.
        assert told.startswith("48 32 ('trace/replay', \"kernels of the replayed graph: ")
        assert "do not tell which node of the graph they are" in told
    assert quick == "None []"
