"""Plans: what they may hold, and what an error in one says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.commands import command_line
from harness.config.profile import ProfileConfig
from harness.errors import RequestError
from harness.measuring import handover
from harness.measuring.profile import model_file
from harness.options import words
from harness.study.sweeps import plan as plan_module
from harness.study.sweeps.cells import cells_of
from harness.study.sweeps.plan import SweepPlan, read_plan, request
from harness.study.sweeps.results import shown

PLANS = sorted((Path(__file__).parents[4] / "profiles" / "plans").glob("*.toml"))


def plan(folder: Path, text: str) -> SweepPlan:
    path = folder / "plan.toml"
    path.write_text(text)
    return read_plan(path, words())


def refused(folder: Path, text: str) -> str:
    with pytest.raises(RequestError) as caught:
        plan(folder, text)
    said = f"{caught.value.message} ({caught.value.remedy})"
    assert "\n" not in said
    return said.replace(f"{folder}/", "")


MLP = '[axes]\nmodel = ["mlp"]\n'

GRAPH = "enable_cuda_graph"


def test_every_combination_is_a_cell_and_the_last_axis_varies_fastest(tmp_path: Path) -> None:
    cells = cells_of(plan(tmp_path, f"{MLP}batch = [1, 8]\nthreads = [1, 'all']\n"))
    assert [one.number for one in cells] == [1, 2, 3, 4]
    assert [list(shown(one.settings).values()) for one in cells] == [
        ["mlp", 1, 1],
        ["mlp", 1, "all"],
        ["mlp", 8, 1],
        ["mlp", 8, "all"],
    ]
    assert len({one.id for one in cells}) == 4


def test_only_and_skip_leave_out_combinations_before_they_are_numbered(tmp_path: Path) -> None:
    text = (
        f"{MLP}batch = [1, 8]\nthreads = [1, 2, 'all']\n"
        "[[only]]\nbatch = 1\n[[only]]\nthreads = [2]\n"
        "[[skip]]\nbatch = 1\nthreads = ['all', 1]\n"
    )
    cells = cells_of(plan(tmp_path, text))
    assert [(one.number, *list(shown(one.settings).values())[1:]) for one in cells] == [
        (1, 1, 2),
        (2, 8, 2),
    ]


def test_a_field_has_the_name_of_its_option_its_own_and_that_of_its_part(tmp_path: Path) -> None:
    found = [
        cells_of(plan(tmp_path, f"{MLP}{name} = [2]\n"))
        for name in ("threads", "intra_threads", "session.intra_threads", "session.threads")
    ]
    assert len({cells[0].id for cells in found}) == 1
    assert request(found[0][0].all).session.intra_threads == 2


def test_an_entry_of_a_dict_is_an_axis(tmp_path: Path) -> None:
    text = (
        '[sweep]\nprovider_options = {}\n[axes]\nmodel = ["mlp"]\n'
        'entries."session.intra_op.allow_spinning" = [0, "1"]\nshape.input = ["1x64", [2, 64]]\n'
        'trace = ["none", "probe,ort"]\n'
    )
    asked = [request(one.all) for one in cells_of(plan(tmp_path, text))]
    assert len(asked) == 8
    assert asked[0].session.entries == {"session.intra_op.allow_spinning": "0"}
    assert (asked[0].inputs.shapes, asked[0].trace) == ({"input": (1, 64)}, ())
    assert (asked[-1].inputs.shapes, asked[-1].trace) == ({"input": (2, 64)}, ("probe", "ort"))


def test_what_defines_a_cell_gives_it_its_identity(tmp_path: Path) -> None:
    def id_of(text: str) -> str:
        return cells_of(plan(tmp_path, text))[-1].id

    base = id_of(f"{MLP}batch = [8]\n")
    same = [
        f"[sweep]\nseed = 5\nrounds = 2\n{MLP}batch = [1, 8]\n",  # order, and other cells
        f"[sweep]\nprocesses = 10\n{MLP}batch = [8]\n",  # the default, said
        f"[sweep]\nbatch = 8\n{MLP}",
        f"{MLP}batch = [8]\nthreads = ['default']\n",
    ]
    assert {id_of(text) for text in same} == {base}
    other = [
        f"{MLP}batch = [9]\n",
        f"[sweep]\nquick = true\n{MLP}batch = [8]\n",
        f"[sweep]\nduration_s = 1\n{MLP}batch = [8]\n",
        f"{MLP}batch = [8]\nthreads = ['all']\n",
    ]
    assert len({base, *map(id_of, other)}) == 5


def test_a_model_file_counts_by_what_it_holds_and_not_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.onnx", "deep/b.onnx"):
        (tmp_path / name).write_bytes(b"not a model, whatever it is called")
    cells = cells_of(plan(tmp_path, '[axes]\nmodel = ["a.onnx", "deep/b.onnx"]\n'))
    assert cells[0].id == cells[1].id
    assert [one.model for one in cells] == ["a", "b"]
    (tmp_path / "a.onnx").write_bytes(b"another")
    text = '[axes]\nmodel = ["./a.onnx", "deep/b.onnx"]\n'
    # A plan is read once in a command: another name stands for another command.
    assert cells_of(plan(tmp_path, text))[0].id != cells[0].id


def test_a_folder_counts_by_what_it_holds(tmp_path: Path) -> None:
    def ids() -> list[str]:
        text = f"{MLP}data_set = ['a/test_data_set_0', 'b/test_data_set_0']\n"
        return [one.id for one in cells_of(plan(tmp_path, text))]

    for place in ("a", "b"):
        (tmp_path / place / "test_data_set_0").mkdir(parents=True)
        (tmp_path / place / "test_data_set_0/input_0.pb").write_bytes(b"the same")
    first, second = ids()
    assert first == second
    (tmp_path / "b/test_data_set_0/output_0.pb").write_bytes(b"and more")
    first, second = ids()
    assert first != second
    # Too many to read: then its place tells it from others.
    for number in range(1000):
        for place in ("a", "b"):
            (tmp_path / place / f"test_data_set_0/{number}").touch()
    first, second = ids()
    assert first != second


def test_paths_that_are_not_here_count_by_their_places(tmp_path: Path) -> None:
    text = f"{MLP}ort_library = ['1.20/libonnxruntime.so', '1.21/libonnxruntime.so']\n"
    first, second = cells_of(plan(tmp_path, text))
    assert first.id != second.id
    # However the place is written.
    text = f"{MLP}ort_library = ['x/../1.20/libonnxruntime.so']\n"
    assert cells_of(plan(tmp_path, text))[0].id == first.id
    (tmp_path / "1.20").mkdir()
    (tmp_path / "1.20/libonnxruntime.so").mkdir()
    (tmp_path / "1.20/libonnxruntime.so/inner").mkdir(mode=0)
    if not os.access(tmp_path / "1.20/libonnxruntime.so/inner", os.R_OK):
        assert cells_of(plan(tmp_path, text))[0].id == first.id


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_plans_that_come_along_are_right(path: Path) -> None:
    cells = cells_of(read_plan(path, words()))
    assert len(cells) > 10
    assert len({one.id for one in cells}) == len(cells)


def test_the_matrix_of_gpu_against_cpu_is_whole() -> None:
    path = next(one for one in PLANS if one.name == "gpu-vs-cpu.toml")
    cells = [shown(one.settings) for one in cells_of(read_plan(path, words()))]
    on_cpu = [one for one in cells if one["provider"] == "cpu"]
    free = [one for one in on_cpu if "placement" not in one]
    assert {one["threads"] for one in free} == {1, 4, 8, 16, 32, 64, 128, 192}
    assert {one["batch"] for one in free} == {2**power for power in range(5, 13)}
    jobs = {(one["placement"], one["instances"]) for one in on_cpu if one.get("instances", 1) > 1}
    assert {(f"{n}-l3", n) for n in (2, 4, 6, 12, 24)} <= jobs
    assert {(f"{2 * n}-l3", n) for n in (2, 4, 6, 12)} <= jobs
    spread = {one["placement"] for one in on_cpu if one.get("memory") == "interleave"}
    assert spread == {f"{n}-l3" for n in (1, 2, 4, 6, 12)}
    on_gpu = [one["batch"] for one in cells if one["provider"] != "cpu"]
    assert (min(on_gpu), max(on_gpu)) == (32, 6144)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"[sweep]\nquik = true\n{MLP}",
            "plan.toml:2: quik: no such setting (did you mean quick?)",
        ),
        (f"{MLP}thread = [1]\n", "plan.toml:3: thread: no such setting (did you mean threads?)"),
        ("[axis]\nmodel = ['mlp']\n", "plan.toml:1: axis: no such table (did you mean axes?)"),
        (
            "\n[axes]\nmodel = ['mlq']\n",
            'plan.toml:3: model: "mlq": neither a file nor a reference',
        ),
        (f"{MLP}batch = [0, 8]\n", "plan.toml:3: batch: 0: a batch must be at least 1"),
        (f"{MLP}batch = 8\n", "plan.toml:3: batch = 8: an axis is a list of values"),
        (f"{MLP}batch = []\n", "plan.toml:3: batch = []: an axis is a list of values"),
        (f"{MLP}batch = [1, 1]\n", "plan.toml:3: batch: 1 is there twice"),
        (
            f"{MLP}batch = ['two']\n",
            'plan.toml:3: batch: "two": is not a whole number (write a whole number)',
        ),
        (f"{MLP}quick = ['yes']\n", 'quick: "yes": is not true or false (write true or false)'),
        (f"{MLP}batch = [{10**20}]\n", f"plan.toml:3: batch: {10**20}: too large"),
        (f"{MLP}shapes.x = [[{10**20}]]\n", f"shape.x: [{10**20}]: too large"),
        (f"{MLP}entries.x = [[1]]\n", "session_config.x: [1]: is not text"),
        (f"{MLP}threads = ['most']\n", 'plan.toml:3: threads: "most": is not a whole number'),
        (f"{MLP}provider = ['cudda']\n", "plan.toml:3: provider: cudda: not known"),
        (f"{MLP}placement = ['per-l4']\n", 'plan.toml:3: placement: "per-l4": no such placement'),
        (f"{MLP}placement = ['0-l3']\n", 'plan.toml:3: placement: "0-l3": no such placement'),
        (f"{MLP}instances = ['per-disk']\n", "plan.toml:3: instances: per-disk: neither a number"),
        (
            f"{MLP}threads = [1]\nsession.intra_threads = [2]\n",
            "plan.toml:4: session.intra_threads: another axis sets the same",
        ),
        (
            f"[sweep]\nthreads = 2\n{MLP}threads = [1]\n",
            "plan.toml:2: threads: set for all cells, and an axis",
        ),
        (
            f"{MLP}placement = ['1-l3']\naffinity = ['0']\n",
            "plan.toml:4: affinity contradicts placement",
        ),
        (
            f"{MLP}placement = ['per-l3']\ninstances = [2]\n",
            'model = "mlp", placement = "per-l3", instances = 2: instances contradicts placement',
        ),
        (
            f"[sweep]\nsample_hz = 0\n{MLP}energy = [true]\n",
            'plan.toml:5: model = "mlp", energy = true, sample_hz = 0: energy needs',
        ),
        (f"{MLP}memory = ['local']\n", "memory local: only instances are placed"),
        (
            f"{MLP}variant = ['fp17']\n",
            "plan.toml:3: variant: fp17: not known (did you mean fp16?)",
        ),
        (f"[sweep]\nprecision = 0.1\n{MLP}", "plan.toml:2: precision: not in a plan: in rounds"),
        (f"[sweep]\noutput = 'x'\n{MLP}", "plan.toml:2: output: not in a plan: the folder"),
        (f"[sweep]\nseed = -1\n{MLP}", "plan.toml:2: seed = -1: must be a whole number"),
        (f"[sweep]\nrounds = 0\n{MLP}", "plan.toml:2: rounds = 0: must be a whole number betw"),
        (
            f"[sweep]\nrounds = 1000000000\n{MLP}",
            "plan.toml:2: rounds = 1000000000: must be a whole number between 1 and 10,000",
        ),
        (
            f"[sweep]\nmemory = 'local'\nbatch = 2\n{MLP}threads = [1]\n",
            'plan.toml:2: model = "mlp", threads = 1, memory = "local": memory local: only inst',
        ),
        (
            f"[sweep]\ninstances = 4\n{MLP}placement = ['per-l3']\nbatch = [1]\n",
            'placement = "per-l3", batch = 1, instances = 4: instances contradicts placement',
        ),
        (
            f"{MLP}runtime = ['openvin']\n",
            "plan.toml:3: runtime: openvin: not known (did you mean openvino?)",
        ),
        (f"{MLP}provider = ['cudda']\n", "(did you mean cuda?)"),
        (f"{MLP}threads = ['al']\n", "(did you mean all?)"),
        (f"{MLP}threads = ['per-l4']\n", "(did you mean per-l3?)"),
        (f"{MLP}threads = ['many']\n", "(write a whole number, or one of all, half, per-socket, "),
        (f"{MLP}trace = ['prob']\n", "plan.toml:3: trace: prob: not known (did you mean probe?)"),
        (f"{MLP}affinity = ['0-x']\n", "plan.toml:3: affinity: 0-x: '0-x' is not a CPU or a range"),
        (f"[sweep]\naffinity = ''\n{MLP}", "plan.toml:2: affinity: names no CPU"),
        (
            f"{MLP}provider_options.device_id = [0, 'default']\nprovider = ['cpu', 'cuda']\n",
            "(drop it, or choose another provider; or leave such cells out with [[skip]])",
        ),
        (f"{MLP}threads = [1]\n[[skip]]\nthreads = 1\nintra_threads = 2\n", "plan.toml:6: intra_"),
        (f"[axes]\nmodel = ['{'x' * 300}']\n", "neither a file nor a reference model"),
        (f"{MLP}duration_s = [1, 1.0]\n", "plan.toml:3: duration: 1 is there twice"),
        (f"{MLP}batch = [{'9' * 5000}]\n", "plan.toml: is not TOML: Exceeds the limit"),
        (f"{MLP}[[skip]]\nbatch = 1\n", "plan.toml:4: batch: is no axis of this plan"),
        (
            f"{MLP}batch = [1, 8]\n[[skip]]\nbatch = 1\n[[skip]]\nbatch = 2\n",
            "plan.toml:7: batch: 2 is not among the axis' values (they are 1, 8)",
        ),
        (f"{MLP}[[skip]]\nmodel = 'mlp'\n", "plan.toml:3: no cell is left"),
        (f"{MLP}[[only]]\n", "plan.toml:3: [[only]] names no axis"),
        ("[axes]\nbatch = [1]\n", "plan.toml:1: no model is named"),
        ("[sweep]\nquick = true\n", "plan.toml: there are no axes"),
        ("[axes]\nmodel = ['mlp'\nbatch = 3\n", "plan.toml:3: is not TOML"),
        ("axes = 3\n", "plan.toml:1: axes: write it as [axes]"),
        (f"{MLP}batch = {list(range(1, 2000))}\nseed = {list(range(600))}\n", "1,199,400 combina"),
        (
            f"{MLP}batch = {list(range(1, 200))}\nseed = {list(range(60))}\n",
            "more than 10,000 cells",
        ),
    ],
)
def test_an_error_names_the_line_and_the_nearest_name(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_axes_of_the_command_line_replace_those_of_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f"{MLP}batch = [1, 8]\n")
    given = [("batch", ["2"]), ("threads", ["1", "all"])]
    cells = cells_of(read_plan(path, words(), given, {"quick": True}))
    assert [list(shown(one.settings).values()) for one in cells] == [
        ["mlp", 2, 1],
        ["mlp", 2, "all"],
    ]
    assert request(cells[0].all).quick
    with pytest.raises(RequestError, match="`axis` thraeds: no such setting"):
        read_plan(None, words(), [("thraeds", ["1"])])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"[sweep]\ninstances = 4\n{MLP}placement = ['per-l3']\nbatch = [1, 2]\n", 2),
        (f"{MLP}provider_options.device_id = [0]\nprovider = ['cpu']\n", 3),
        (f"{MLP}provider_options.a = ['default']\nprovider_options.b = [0]\n", 4),
        (f"{MLP}concurrency = [2]\nprovider_options.{GRAPH} = [1]\nprovider = ['cuda']\n", 3),
        (f"[sweep]\nenergy = true\n{MLP}sample_hz = [0, 10]\n", 2),
    ],
)
def test_the_line_is_that_of_the_setting_that_is_named_first(
    tmp_path: Path, text: str, line: int
) -> None:
    assert refused(tmp_path, text).startswith(f"plan.toml:{line}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{MLP}runtime = ['ort', 'openvino']\noptimization = ['basic']\n", "plan.toml:4: "),
        (f"{MLP}instances = [2]\nruntime = ['torch']\n", "plan.toml:3: "),
        (f"{MLP}runtime = ['torch']\nprovider = ['tensorrt']\n", "plan.toml:4: "),
        (f"{MLP}placement = ['per-l3']\nruntime = ['torch']\n", "plan.toml:3: "),
        (f"{MLP}\nruntime_options.a = [1]\n", "plan.toml:4: "),
        (f"{MLP}runtime = ['torch']\nruntime_options = [{{compil = 'x'}}]\n", "plan.toml:4: "),
    ],
)
def test_what_no_runtime_can_do_is_refused_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    pytest.importorskip("harness.native.calls", reason="the native module is not built")
    assert refused(tmp_path, text).startswith(said)


def test_axes_of_one_name_on_the_command_line_are_joined() -> None:
    given = [("batch", ["1"]), ("model", ["mlp"]), ("batch", ["8"]), ("affinity", ["0-3,8"])]
    told = [shown(one.settings) for one in cells_of(read_plan(None, words(), given))]
    assert [(one["batch"], one["affinity"]) for one in told] == [(1, "0-3,8"), (8, "0-3,8")]
    with pytest.raises(RequestError, match='`axis` threads: "1" is there twice'):
        read_plan(None, words(), [("threads", ["1"]), ("intra_threads", ["1"])])


def test_a_number_is_the_same_cell_however_it_is_written(tmp_path: Path) -> None:
    def ids(text: str, common: dict[str, Any] | None = None) -> list[str]:
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return [one.id for one in cells_of(read_plan(path, words(), (), common))]

    base = ids(f"{MLP}duration_s = [1]\n")
    assert ids(f"{MLP}duration_s = [1.0]\n") == base
    assert ids(f"[sweep]\nduration_s = 1\n{MLP}") == base
    assert ids(MLP, {"duration_s": 1.0}) == base


def test_entries_are_text_also_in_a_table_of_them(tmp_path: Path) -> None:
    (cell,) = cells_of(plan(tmp_path, f"{MLP}entries = [{{a = 1, b = true, c = 'd'}}]\n"))
    assert request(cell.all).session.entries == {"a": "1", "b": "1", "c": "d"}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"a = 1\n" * 300_000,
        b"[" + b" " * 900_000,  # no expression takes time by the square of it
        b"a" + b" " * 900_000,
        b"a." * 450_000 + b"a = 1",
    ],
    ids=["binary", "large", "header", "key", "dots"],
)
def test_strange_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(content)
    with pytest.raises(RequestError):
        read_plan(path, words())
    with pytest.raises(RequestError, match="cannot be read"):
        read_plan(tmp_path, words())


_NAMES = st.sampled_from(
    ["model", "batch", "threads", "quick", "entries.a", "seed", "nothing", "x.y"]
)


@given(st.lists(st.tuples(_NAMES, st.lists(st.text(min_size=1, max_size=5), min_size=1))))
def test_whatever_axes_are_given_the_answer_is_a_plan_or_one_sentence(
    axes: list[tuple[str, list[str]]],
) -> None:
    said = ""
    found = None
    try:
        found = read_plan(None, words(), axes)
    except RequestError as error:
        said = error.message
    assert (found is None) == bool(said)
    assert "\n" not in said
    if found is not None:
        assert all(isinstance(request(one.all), ProfileConfig) for one in cells_of(found))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sweep.quick = true\naxes.model = ['mlp']\naxes.btach = [1]\n", 3),
        ("# two tables\nsweep = {quick = true}\naxes = {model = ['mlp'], btach = [1]}\n", 3),
        ("# \u2028 \u2029 \x85\n[axes]\nmodel = ['mlp']\nbtach = [1]\n", 4),
        ("[axes]\nmodel = ['mlp']\n[axes.session]\nthreads = [1]\nbtach = [1]\n", 5),
        ("\ufeff[axes]\r\nmodel = ['mlp']\r\nbtach = [1]\r\n", 3),
    ],
)
def test_the_line_is_found_however_a_table_is_written(tmp_path: Path, text: str, line: int) -> None:
    said = refused(tmp_path, text).replace("session.", "")
    assert said == f"plan.toml:{line}: btach: no such setting (did you mean batch?)"


def test_lists_in_each_other_too_deeply_are_refused(tmp_path: Path) -> None:
    assert "too deeply" in refused(tmp_path, f"a = {'[' * 5000}{']' * 5000}\n")


def test_the_way_out_names_a_setting_as_the_plan_does(tmp_path: Path) -> None:
    assert "(write threads N" in refused(tmp_path, f"{MLP}threads = [1, -1]\n")


def test_a_name_of_a_plan_means_the_same_model_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere, work = (tmp_path / name for name in ("here", "elsewhere", "work"))
    for folder in (here, elsewhere, work):
        folder.mkdir()
    (here / "mlp").write_bytes(b"no model")
    monkeypatch.chdir(here)
    # No file beside the plan: that of the current folder has nothing to do with it.
    (cell,) = cells_of(plan(elsewhere, MLP))
    assert model_file(request(cell.all).model, work) == (work / "mlp.onnx", "mlp")
    assert handover_of(request(cell.all), tmp_path).model == "mlp"
    # A file beside the plan is what it means, here too.
    (own,) = cells_of(plan(here, MLP))
    (typed,) = cells_of(read_plan(None, words(), [("model", ["mlp"])]))
    assert own.id == typed.id != cell.id
    for one in (own, typed):
        assert model_file(request(one.all).model, work)[0] == here / "mlp"
    # A folder is no model.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlp").mkdir()
    assert model_file("mlp", work)[0] == work / "mlp.onnx"


def handover_of(config: ProfileConfig, folder: Path) -> ProfileConfig:
    handover.write(folder / "config.json", config)
    return handover.read(folder / "config.json", ProfileConfig)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("".join(f"entries.a{at} = [1]\n" for at in range(20_000)), "20,001 axes, 100 at most"),
        (
            f"batch = {list(range(1, 1001))}\nthreads = {list(range(1, 1001))}\n"
            + "".join(f"[[only]]\nbatch = {at}\nthreads = 1\n" for at in range(1, 1001)),
            "1,000 [[skip]] and [[only]] for 1,000,000 combinations",
        ),
        (
            f"batch = {list(range(1, 10_001))}\n"
            + "".join(f"[[skip]]\nbatch = {at}\n" for at in range(1, 9001)),
            "9,000 [[skip]] and [[only]] for 10,000 combinations",
        ),
        ("[sweep.entries]\n" + "".join(f"a{at} = 1\n" for at in range(9000)), "9,000 settings for"),
    ],
)
def test_a_plan_that_would_take_minutes_to_read_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in refused(tmp_path, MLP + text)


def test_the_values_of_an_axis_are_looked_up_and_not_gone_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    key = plan_module._key
    monkeypatch.setattr(plan_module, "_key", lambda value: made.append(value) or key(value))
    rules = "".join(f"[[skip]]\nbatch = {at}\n" for at in range(1, 101))
    assert len(cells_of(plan(tmp_path, f"{MLP}batch = {list(range(1, 201))}\n{rules}"))) == 100
    assert len(made) < 2000


HUGE = f"0x{'f' * 5000}"
DEEP = ".".join(["a"] * 990)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{MLP}batch = [{HUGE}]\n", "plan.toml:3: batch: a number of more than 128 bits"),
        (f"[sweep]\nseed = {HUGE}\n{MLP}", "plan.toml:2: seed: a number of more than"),
        (f"[sweep]\nduration_s = {HUGE}\n{MLP}", "plan.toml:2: duration_s: a number of"),
        (
            f"{MLP}batch = [1]\n[[skip]]\nbatch = 1\n[[skip]]\nbatch = {HUGE}\n",
            "plan.toml:7: batch",
        ),
        (f"{MLP}{DEEP} = [1]\n", "in each other, more than 50"),
        (f"{MLP}batch = [{{{DEEP} = 1}}]\n", "plan.toml:3: batch.a.a.a"),
        (f"skip = [{{{DEEP} = 1}}]\n{MLP}", "in each other, more than 50"),
        (f"{MLP}batch = [{'[' * 60}{']' * 60}]\n", "batch: lists or tables in each other"),
    ],
)
def test_what_python_cannot_print_or_go_through_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f"[{HUGE}]", "a number of more than 128 bits"),
        (f"[{{{DEEP} = 1}}]", "in each other, more than 50"),
        (f"[{{{'.'.join(['a'] * 60_000)} = 1}}]", "more than 1,000 dots"),
    ],
)
def test_an_axis_of_the_command_line_is_bounded_too(
    value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["sweep", "--axis", "model=mlp", "--axis", f"batch={value}", "--dry-run"]
    assert command_line.main(given) == 2
    assert "--axis batch" in (error := capsys.readouterr().err)
    assert said in error
    assert error.count("\n") == 1
