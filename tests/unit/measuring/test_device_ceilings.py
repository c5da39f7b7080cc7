"""Ceilings of a device, with the CPU's provider standing in for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from harness.analysis.ceilings import Ceilings
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.machine.devices import cuda_devices
from harness.machine.devices.cuda_devices import CudaDevice
from harness.machine.devices.device_state import DeviceState
from harness.measuring import device_ceilings
from harness.measuring.device_ceilings import Device, Work
from harness.measuring.looks import Ceiling, Look
from harness.native import ort
from harness.ort import providers
from harness.ort.library import ort_library
from harness.records import Reading
from tests.builders.process_records import process, profile

WIDTHS, ELEMENTS = (64, 128), (2**14, 2**15)
MIB = 2**20

#: The CPU, as if it were a device that multiplies in TF32 where an option says so.
STAND_IN = dataclasses.replace(
    providers.by_name("cpu"), memory="device", tf32_option="use_tf32", title="stand-in"
)


@pytest.fixture(scope="module")
def library() -> ort.Library:
    return ort.Library(str(ort_library()))


@pytest.fixture
def device(library: ort.Library) -> Iterator[Device]:
    with DeviceState(None, "no GPU here") as state:
        yield Device(library, STAND_IN, {}, state, 64 * MIB)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_ceilings, "_LOOK_NS", 5_000_000)


def test_products_and_streams_are_measured_through_onnx_runtime(device: Device) -> None:
    found = {one.name: one for one in device_ceilings.measure(device, WIDTHS, ELEMENTS)}
    products = ("float32", "tf32", "float16", "bfloat16", "int8")
    assert list(found) == ["add", "relu", *(f"matmul_{name}" for name in products)]
    for name in ("add", "relu", "matmul_float32", "matmul_tf32", "matmul_int8"):
        one = found[name]
        if isinstance(one, Ceiling):
            assert one.value > 0
            assert one.agreement <= 0.1
            assert "stand-in, size " in one.source
        else:  # on a busy machine
            assert one.reason.startswith("the machine was busy"), one
    assert found["add"].unit == "bytes/s"
    assert found["matmul_tf32"].unit == "flop/s"
    assert found["matmul_int8"].unit == "op/s"


def test_a_type_that_onnx_runtime_converts_first_is_absent(device: Device) -> None:
    *_, half, brain, _ = device_ceilings.measure(device, (8,), (64,))
    assert isinstance(half, Reading)
    assert half.reason == "stand-in has no such kernel: ONNX Runtime executes Cast, MatMul"
    assert isinstance(brain, Reading)
    assert "Could not find an implementation for MatMul" in brain.reason


def test_a_node_that_falls_back_to_another_provider_is_absent(device: Device) -> None:
    gpu = dataclasses.replace(STAND_IN, ort_name="CUDAExecutionProvider", title="CUDA")
    for one in device_ceilings.measure(dataclasses.replace(device, provider=gpu), (8,), (64,)):
        assert isinstance(one, Reading)
        if one.name != "matmul_bfloat16":
            assert one.reason == (
                "CUDA has no such kernel: ONNX Runtime runs on CPUExecutionProvider"
            )


def test_tf32_is_switched_by_the_providers_option(device: Device) -> None:
    options = {
        name: device_ceilings._product(device, name, WIDTHS).options
        for name in device_ceilings._PRODUCTS
    }
    assert options["float32"] == {"use_tf32": "0"}
    assert options["tf32"] == {"use_tf32": "1"}
    assert options["float16"] == options["bfloat16"] == options["int8"] == {}
    plain = dataclasses.replace(device, provider=providers.by_name("cpu"))
    assert device_ceilings._product(plain, "float32", WIDTHS).options == {}
    names = [one.name for one in device_ceilings.measure(plain, (8,), (64,))]
    assert "matmul_float32" in names
    assert "matmul_tf32" not in names


def test_operations_and_bytes_are_counted(device: Device) -> None:
    product = device_ceilings._product(device, "float32", WIDTHS)
    assert product.amount(100) == 2_000_000
    add, relu = (device_ceilings._stream(device, name, ELEMENTS) for name in ("add", "relu"))
    # Four operators: two arrays read and one written, one read and one written.
    assert (add.amount(10), relu.amount(10)) == (4 * 3 * 40, 4 * 2 * 40)
    assert set(add.inputs(8)) == {"first", "second"}
    assert set(relu.inputs(8)) == {"first"}


# How large


@dataclasses.dataclass
class Scripted:
    """A binding of a size, whose inferences take so long; closed once at the end."""

    took_ns: float
    closed: int = 0

    def run(self) -> int:
        return int(self.took_ns)

    def close(self) -> None:
        self.closed += 1


@dataclasses.dataclass
class Bench:
    """A device that takes 1 ms a step of size, and refuses sizes beyond its memory."""

    memory_bytes: int | None = 1000
    most: int = 1000
    bound: list[Scripted] = dataclasses.field(default_factory=list)

    def bind(self, _session: Any, inputs: dict[str, int]) -> Scripted:
        if inputs["size"] > self.most:
            raise ort.OrtError("out of memory")
        self.bound.append(Scripted(1_000_000 * inputs["size"]))
        return self.bound[-1]


def chosen(bench: Bench, sizes: tuple[int, ...]) -> int:
    work = Work(
        device=bench,  # type: ignore[arg-type]
        name="w",
        unit="1/s",
        what="work",
        model=b"",
        options={},
        sizes=sizes,
        inputs=lambda size: {"size": size},
        input_bytes=lambda size: size,
        amount=lambda size: size,
    )
    with work._large_enough(None) as (binding, size):  # type: ignore[arg-type]
        assert binding is bench.bound[sizes.index(size)]
        assert not bench.bound[sizes.index(size)].closed
    assert all(one.closed for one in bench.bound)
    return size


def test_the_first_size_that_takes_long_enough_counts() -> None:
    bench = Bench()
    assert chosen(bench, (1, 2, 4)) == 2
    assert len(bench.bound) == 2


def test_a_fast_device_gets_the_largest_size() -> None:
    assert chosen(Bench(), (0, 1)) == 1


def test_where_the_devices_memory_ends_the_size_before_counts() -> None:
    assert chosen(Bench(most=1), (1, 2, 4)) == 1
    with pytest.raises(ort.OrtError, match="out of memory"):
        chosen(Bench(most=0), (1, 2))


def test_the_hosts_memory_is_kept_for_others() -> None:
    assert chosen(Bench(memory_bytes=1), (1, 2, 4)) == 1
    with pytest.raises(LookupError, match="do not fit"):
        chosen(Bench(memory_bytes=0), (1, 2))


def test_memory_that_is_not_reported_is_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_ceilings, "resident_bytes", lambda: 10**9)
    monkeypatch.setattr(device_ceilings, "available_bytes", lambda: 4 * 10**9)
    assert device_ceilings._memory_bytes(None) == 2 * 10**9
    assert device_ceilings._memory_bytes(2) == 10**9
    assert device_ceilings._memory_bytes(0.5) == 0
    monkeypatch.setattr(device_ceilings, "available_bytes", lambda: None)
    assert device_ceilings._memory_bytes(2) == 10**9
    assert device_ceilings._memory_bytes(None) is None
    with pytest.raises(LookupError, match="free memory is not reported"):
        chosen(Bench(memory_bytes=None), (1, 2))


def test_a_repetition_that_lost_its_cpu_is_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first sleeps, the second and the third are interrupted: for long, and for a moment.
    switches = iter([0, 0, 0, 3, 3, 4])
    clock_ns = iter([0, 10, 10, 510, 510, 1500])

    def usage(_who: int) -> Any:
        return SimpleNamespace(ru_nivcsw=next(switches))

    monkeypatch.setattr(device_ceilings.resource, "getrusage", usage)
    monkeypatch.setattr(device_ceilings.time, "thread_time_ns", lambda: next(clock_ns))
    monkeypatch.setattr(device_ceilings, "_MOST_REPETITIONS", 3)
    wall, on_cpu = device_ceilings._repeat(Scripted(1000))  # type: ignore[arg-type]
    assert on_cpu.tolist() == [1, 0.5, 0.99]
    assert wall.tolist() == [1000, 1000, 1000]


# Facts


STATE = (
    Reading("clock_sm_hz", 1_755_000_000, "Hz", "NVML"),
    Reading("clock_memory_hz", None, "Hz", "NVML", "not supported"),
    Reading("power_instant_mw", 645_000, "mW", "NVML"),
    Reading("clock_reasons_mask", 4, "1", "NVML"),
)


def ceiling(name: str, value: float, unit: str, state: tuple[Reading, ...] = STATE) -> Ceiling:
    return Ceiling(name, 1, value, unit, 1.1, 0.05, 7, 9, "what was run", state)


def test_a_ceiling_is_stored_with_the_clocks_and_power_of_that_moment() -> None:
    lost = Reading("matmul_int8", None, "op/s", reason="no such kernel")
    found = [ceiling("matmul_tf32", 4e14, "flop/s"), ceiling("add", 4e12, "bytes/s"), lost]
    facts = {one.name: one for one in device_ceilings.as_facts(found)}
    assert facts["ceiling_device_matmul_tf32"].value == 4e14
    assert "fastest of 7 undisturbed" in facts["ceiling_device_matmul_tf32"].source
    assert facts["ceiling_device_matmul_tf32_clock_sm_hz"].value == 1_755_000_000
    assert facts["ceiling_device_add_power_mw"].value == 645_000
    assert facts["ceiling_device_matmul_int8"].reason == "no such kernel"
    # What no ceiling knows is said once.
    absent = facts["ceiling_device_clock_memory_hz"]
    assert (absent.value, absent.reason) == (None, "not supported")
    assert "ceiling_device_add_clock_memory_hz" not in facts
    read = Ceilings.of_device(
        dataclasses.replace(profile(process([1])), environment=tuple(facts.values()))
    )
    assert read.peaks == {"tf32": 4e14}
    assert read.levels[-1].bandwidth == 4e12
    assert read.reasons == ("no such kernel",)


def test_the_source_tells_the_state_too() -> None:
    told = device_ceilings._state_told(STATE)
    assert told == ", at SM clock 1,755 MHz, power 645 W, sw_power_cap"
    assert device_ceilings._state_told(()) == ""


@pytest.fixture
def standing_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[ProfileConfig], tuple[Reading, ...]]:
    """The facts of a profile whose provider is the stand-in."""
    opened, measure = ort.Library(str(ort_library())), device_ceilings.measure
    monkeypatch.setattr(device_ceilings.providers, "by_name", lambda _: STAND_IN)
    monkeypatch.setattr(
        cuda_devices, "device", lambda _: CudaDevice(None, l2_bytes=50 * MIB, reason="not a GPU")
    )
    monkeypatch.setattr(device_ceilings, "load_provider_libraries", lambda *_: None)
    monkeypatch.setattr(
        device_ceilings, "measure", lambda device: measure(device, WIDTHS, ELEMENTS)
    )
    return lambda config: device_ceilings.facts(opened, config)


def test_a_profile_of_a_device_has_its_ceilings(
    standing_in: Callable[[ProfileConfig], tuple[Reading, ...]],
) -> None:
    facts = standing_in(ProfileConfig(model="mlp"))
    names = [one.name for one in facts]
    assert names[0] == "ceiling_device_l2_bytes"
    assert facts[0].value == 50 * MIB
    for name in ("add", "relu", "matmul_float32", "matmul_tf32"):
        assert f"ceiling_device_{name}" in names
    for one in facts:
        assert one.value is not None or one.reason, one


def test_a_quick_profile_has_none(
    standing_in: Callable[[ProfileConfig], tuple[Reading, ...]],
) -> None:
    assert standing_in(ProfileConfig(model="mlp", quick=True)) == ()


def test_the_host_is_no_device(library: ort.Library) -> None:
    assert device_ceilings.facts(library, ProfileConfig(model="mlp")) == ()


def test_a_look_carries_the_state(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceState, "during", lambda *_: STATE)
    work = device_ceilings._stream(device, "relu", (2**14,))
    (look,) = work.look().values()
    assert isinstance(look, Look)
    assert look.conditions == STATE
    assert look.source.endswith("size 16384, at SM clock 1,755 MHz, power 645 W, sw_power_cap")
    assert (look.speed > 0).all()
    assert ((look.on_cpu >= 0) & (look.on_cpu <= 1)).all()


def test_tensorrt_is_measured_through_the_provider_it_leaves_the_rest_to() -> None:
    chain = providers.chain(SessionConfig(provider="tensorrt", provider_options={"device_id": "1"}))
    assert (chain[-1][0].name, chain[-1][1]) == ("cuda", {"device_id": "1"})
