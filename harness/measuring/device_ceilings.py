"""The ceilings of a device: what it reached when ONNX Runtime's own provider asked it.

A matrix product of each element type (float32 twice: with and without TF32) and two streams over
the device's memory, in the same looks as the host's (``looks``), with the clocks and the power of
that moment. Times are those of an inference, from an idle device to an idle device: work is made
large until launching and waiting, some 50 µs, are little of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.analysis.ceilings import DEVICE, DEVICE_STREAMS
from harness.analysis.precision import TF32
from harness.machine.available_memory import available_bytes, resident_bytes
from harness.machine.devices import cuda_devices
from harness.machine.devices.clock_reasons import THROTTLED, clock_reasons
from harness.machine.devices.device_state import DeviceState
from harness.measuring.looks import Ceiling, Look, measured
from harness.measuring.products import values
from harness.native import ort
from harness.ort import placement, providers
from harness.ort.execution_provider import ExecutionProvider
from harness.ort.session import load_provider_libraries
from harness.records import Reading

if TYPE_CHECKING:
    from harness.config.profile import ProfileConfig

#: Least time of an inference: launching and waiting are then 3 % of it.
LEAST_NS = 2_000_000
#: Time of a look at one ceiling, two of the periods in which NVIDIA's meters are updated, and
#: repetitions in it.
_LOOK_NS = 200_000_000
_MOST_REPETITIONS = 500

#: Rows and columns of the square matrices, and elements of float32 in a stream's arrays, which no
#: L2 cache holds. The first that takes LEAST_NS counts, or the last that fits.
WIDTHS = (1024, 2048, 4096, 8192, 16384)
ELEMENTS = (2**26, 2**27, 2**28)

#: Operators that follow each other in one inference of a stream, and arrays that each goes over.
_CHAIN = 4
_STREAMS = {"add": ("Add", 3), "relu": ("Relu", 2)}

#: By the ceiling's name: element type, operator, and what TF32 is set to; None leaves it alone.
#: int8 is signed on both sides: ONNX Runtime's CUDA provider has no other MatMulInteger.
_PRODUCTS: Mapping[str, tuple[str, str, str | None]] = {
    "float32": ("float32", "MatMul", "0"),
    TF32: ("float32", "MatMul", "1"),
    "float16": ("float16", "MatMul", None),
    "bfloat16": ("bfloat16", "MatMul", None),
    "int8": ("int8", "MatMulInteger", None),
}

#: Elements of random values; larger arrays repeat them, because drawing takes longer than all else.
_DRAWN = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """Where ceilings are measured.

    Attributes:
        library: the opened libonnxruntime.
        provider: execution provider of ONNX Runtime, its libraries loaded.
        options: its options.
        state: reads the clocks and the power meanwhile.
        memory_bytes: of the host, that an array to be copied to the device may take; None if
            that is not known.
    """

    library: ort.Library
    provider: ExecutionProvider
    options: Mapping[str, str]
    state: DeviceState
    memory_bytes: int | None

    @property
    def told(self) -> str:
        """What it is, in a source."""
        return f"ONNX Runtime {self.library.version}, {self.provider.title}"

    def session(self, model: bytes, options: Mapping[str, str]) -> ort.Session:
        """A session of the model as it is, with every node on the provider.

        Raises:
            LookupError: the provider cannot be used, leaves a node to another, or ONNX Runtime
                converts the type first.
        """
        import onnx

        name = self.provider.api_name  # empty of the one that is always there
        asked = [(name, {**self.options, **options})] if name else []
        with tempfile.TemporaryDirectory() as folder:
            executed = Path(folder) / "executed.onnx"
            try:
                session = ort.Session(
                    self.library,
                    model,
                    optimization="disable",
                    optimized_model_path=str(executed),
                    providers=asked,
                    entries=placement.RECORD,
                )
            except ort.OrtError as error:
                raise LookupError(" ".join(str(error).split())) from error
            operators = {node.op_type for node in onnx.load(executed).graph.node}
        try:
            on = {provider for provider, _ in session.assignments()}
        except ort.OrtError:  # before 1.24
            session.close()
            raise LookupError("this ONNX Runtime does not tell where a node runs") from None
        instead = operators - {node.op_type for node in onnx.load_from_string(model).graph.node}
        if on == {self.provider.ort_name} and not instead:
            return session
        session.close()
        where = ", ".join(sorted(on - {self.provider.ort_name}))
        what = f"runs on {where}" if where else f"executes {', '.join(sorted(operators))}"
        raise LookupError(f"{self.provider.title} has no such kernel: ONNX Runtime {what}")

    def bind(self, session: ort.Session, inputs: Mapping[str, Any]) -> ort.Binding:
        """Binds inputs on the device; an inference ends when the device is idle."""
        if self.provider.synchronise is None:
            return session.bind(inputs)
        return session.bind(inputs, "resident", self.provider.synchronise())


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """Work of a size that the device decides.

    Attributes:
        device: that does it.
        name: of the ceiling.
        unit: of its speed.
        what: what is run, as text.
        model: an ONNX model of one type of operator.
        options: options of the provider that this ceiling is measured with.
        sizes: in rising order.
        inputs: of a size, by name.
        input_bytes: memory of the host that these take.
        amount: operations or bytes of one inference.
    """

    device: Device
    name: str
    unit: str
    what: str
    model: bytes
    options: Mapping[str, str]
    sizes: Sequence[int]
    inputs: Callable[[int], Mapping[str, Any]]
    input_bytes: Callable[[int], int]
    amount: Callable[[int], int]

    @property
    def names(self) -> Sequence[str]:
        """Name of the ceiling that a look yields."""
        return (self.name,)

    @property
    def source(self) -> str:
        """What is run."""
        return f"{self.what}, {self.device.told}"

    def look(self) -> Mapping[str, Look]:
        """The size that takes long enough, or the largest that fits.

        Raises:
            LookupError: the provider has no such kernel, or no memory; the message says so.
        """
        with contextlib.closing(self.device.session(self.model, self.options)) as session:
            try:
                with self._large_enough(session) as (binding, size):
                    start_ns = time.monotonic_ns()
                    wall_ns, on_cpu = _repeat(binding)
                    end_ns = time.monotonic_ns()
            except ort.OrtError as error:
                raise LookupError(" ".join(str(error).split())) from error
        state = self.device.state.during(start_ns, end_ns)
        source = f"{self.source}, size {size}{_state_told(state)}"
        speed = self.amount(size) * 1e9 / wall_ns
        return {self.name: Look(speed, on_cpu, 1, self.unit, source, state)}

    @contextlib.contextmanager
    def _large_enough(self, session: ort.Session) -> Iterator[tuple[ort.Binding, int]]:
        """A binding that has run, and its size.

        Raises:
            LookupError: no size fits the host's memory, or its free memory is not known.
            OrtError: the smallest does not fit the device's.
        """
        memory_bytes = self.device.memory_bytes
        if memory_bytes is None:
            raise LookupError("free memory is not reported")
        fits = [size for size in self.sizes if self.input_bytes(size) <= memory_bytes]
        if not fits:
            raise LookupError(
                f"inputs of {self.input_bytes(self.sizes[0]) // 2**20} MiB do not fit the "
                f"{memory_bytes // 2**20} MiB of memory that may be taken"
            )
        with contextlib.ExitStack() as held:
            binding: ort.Binding | None = None
            size = fits[0]
            for larger in fits:
                try:
                    tried = self.device.bind(session, self.inputs(larger))
                    held.callback(tried.close)
                    tried.run()  # allocates, and chooses kernels
                    took_ns = tried.run()
                except ort.OrtError:
                    if binding is None:
                        raise
                    break  # the device's memory ends here
                if binding is not None:
                    binding.close()
                binding, size = tried, larger
                if took_ns >= LEAST_NS:
                    break
            assert binding is not None
            yield binding, size


def measure(
    device: Device, widths: Sequence[int] = WIDTHS, elements: Sequence[int] = ELEMENTS
) -> tuple[Ceiling | Reading, ...]:
    """Measures every product and stream on a device; some ten seconds.

    Args:
        device: where.
        widths: of the matrices, rising.
        elements: of the streams' arrays, rising.

    Returns:
        A Ceiling each (``matmul_tf32``, ``add``), or a Reading of the same name that is absent,
        with the reason.
    """
    subjects = [_stream(device, name, elements) for name in DEVICE_STREAMS]
    subjects += [
        _product(device, name, widths)
        for name in _PRODUCTS
        if name != TF32 or device.provider.tf32_option
    ]
    return tuple(measured(subjects))


def facts(library: ort.Library, config: ProfileConfig) -> tuple[Reading, ...]:
    """The ceilings as facts of a profile.

    Args:
        library: the opened libonnxruntime.
        config: what is profiled; a quick look measures no ceilings, and a host has no device.
    """
    session = providers.uncaptured(config.session)
    asked = providers.by_name(session.provider)
    if config.quick or not asked.on_device:
        return ()
    load_provider_libraries(library, session)
    # The last one runs single operators: the others leave what they cannot take to it.
    provider, options = [(asked, session.provider_options), *providers.chain(session)][-1]
    used = cuda_devices.device(options.get("device_id", "0"))
    with DeviceState(used.index, used.reason) as state:
        memory_bytes = _memory_bytes(config.memory_limit_gb)
        found = measure(Device(library, provider, options, state, memory_bytes))
    l2 = Reading(
        f"ceiling_{DEVICE}l2_bytes",
        used.l2_bytes,
        "bytes",
        "cuDeviceGetAttribute(L2_CACHE_SIZE)",
        "" if used.l2_bytes is not None else used.reason or "the driver does not tell",
    )
    return (l2, *as_facts(found))


def _memory_bytes(limit_gb: float | None) -> int | None:
    """Memory of the host that an array may take; None if nothing tells."""
    available, known = available_bytes(), []
    if available is not None:
        known.append(available // 2)
    if limit_gb is not None:
        known.append(max(int(limit_gb * 1e9) - resident_bytes(), 0))
    return min(known, default=None)


def as_facts(found: Sequence[Ceiling | Reading]) -> Iterator[Reading]:
    """Each ceiling, and the state of the device while it was reached.

    What of that state was known at no ceiling is one fact, absent with the reason.
    """
    unknown: dict[str, Reading] = {}
    known: set[str] = set()
    for one in found:
        name = f"ceiling_{DEVICE}{one.name}"
        if isinstance(one, Reading):
            yield dataclasses.replace(one, name=name)
            continue
        yield _as_fact(name, one)
        for state in one.conditions:
            quantity = state.name.replace("power_instant", "power")
            if state.value is None:
                unknown.setdefault(quantity, state)
            else:
                known.add(quantity)
                yield dataclasses.replace(state, name=f"{name}_{quantity}")
    for quantity, state in unknown.items():
        if quantity not in known:
            yield dataclasses.replace(state, name=f"ceiling_{DEVICE}{quantity}")


def _as_fact(name: str, found: Ceiling) -> Reading:
    told = (
        f"{found.source}; fastest of {found.samples} undisturbed repetitions out of {found.tried}, "
        f"{found.spread:.2f} times the median, looks agree within {found.agreement:.1%}"
    )
    return Reading(name, found.value, found.unit, told)


def _repeat(binding: ort.Binding) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of each repetition its ns, and the share of it for which the host's thread had its CPU.

    Where it waits for the device it may sleep, so that only a thread that was interrupted against
    its will launched late, or saw the end late. If it spins, its CPU time says for how long.
    """
    times: list[tuple[float, float]] = []
    end_ns = time.monotonic_ns() + _LOOK_NS
    while not times or (time.monotonic_ns() < end_ns and len(times) < _MOST_REPETITIONS):
        before, cpu_ns = resource.getrusage(resource.RUSAGE_THREAD), time.thread_time_ns()
        wall_ns = binding.run()
        cpu_ns = time.thread_time_ns() - cpu_ns
        after = resource.getrusage(resource.RUSAGE_THREAD)
        interrupted = after.ru_nivcsw > before.ru_nivcsw
        times.append((wall_ns, min(cpu_ns / wall_ns, 1.0) if interrupted else 1.0))
    wall, on_cpu = np.array(times, np.float64).T
    return wall, on_cpu


def _state_told(state: Sequence[Reading]) -> str:
    """The state as text, as far as it is known; throttling by name."""
    values = {one.name: one.value for one in state if isinstance(one.value, int)}
    parts = [
        f"{name} {values[quantity] / scale:,.0f} {unit}"
        for quantity, name, scale, unit in (
            ("clock_sm_hz", "SM clock", 1e6, "MHz"),
            ("clock_memory_hz", "memory clock", 1e6, "MHz"),
            ("power_instant_mw", "power", 1e3, "W"),
        )
        if quantity in values
    ]
    parts += clock_reasons(values.get("clock_reasons_mask", 0) & THROTTLED)
    return f", at {', '.join(parts)}" if parts else ""


def _product(device: Device, name: str, widths: Sequence[int]) -> Work:
    dtype, operator, tf32 = _PRODUCTS[name]
    option = device.provider.tf32_option
    itemsize = values(dtype, (1,)).itemsize

    def inputs(width: int) -> Mapping[str, Any]:
        matrix = _filled(dtype, (width, width))
        return {"left": matrix, "right": matrix}

    return Work(
        device=device,
        name=f"matmul_{name}",
        unit="flop/s" if operator == "MatMul" else "op/s",
        what=f"{operator} of two square {dtype} matrices"
        + (f", {option}={tf32}" if option and tf32 is not None else ""),
        model=_product_model(dtype, operator),
        options={option: tf32} if option and tf32 is not None else {},
        sizes=widths,
        inputs=inputs,
        input_bytes=lambda width: width * width * itemsize,
        amount=lambda width: 2 * width**3,
    )


def _stream(device: Device, name: str, elements: Sequence[int]) -> Work:
    operator, arrays = _STREAMS[name]
    taken = ("first", "second")[: arrays - 1]

    def inputs(size: int) -> Mapping[str, Any]:
        return dict.fromkeys(taken, _filled("float32", (size,)))

    return Work(
        device=device,
        name=name,
        unit="bytes/s",
        what=f"{_CHAIN} {operator} in a row over float32, {4 * arrays} bytes an element each",
        model=_stream_model(operator, taken),
        options={},
        sizes=elements,
        inputs=inputs,
        input_bytes=lambda size: 4 * size,
        amount=lambda size: 4 * arrays * size * _CHAIN,
    )


def _filled(dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Random values, repeated to fill the shape: a device computes faster with zeros."""
    drawn = values(dtype, (min(_DRAWN, int(np.prod(shape))),))
    return np.resize(drawn, shape)


def _product_model(dtype: str, operator: str) -> bytes:
    """``product = left @ right``."""
    from onnx import TensorProto, helper

    kind = helper.np_dtype_to_tensor_dtype(values(dtype, (0,)).dtype)
    result = TensorProto.INT32 if operator == "MatMulInteger" else kind
    return _model(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        [
            helper.make_tensor_value_info("left", kind, ["rows", "inner"]),
            helper.make_tensor_value_info("right", kind, ["inner", "columns"]),
        ],
        helper.make_tensor_value_info("product", result, ["rows", "columns"]),
    )


def _stream_model(operator: str, taken: Sequence[str]) -> bytes:
    """An operator over the first input, then again over its result, beside the same others."""
    from onnx import TensorProto, helper

    names = [taken[0], *(f"after{number}" for number in range(1, _CHAIN + 1))]
    nodes = [
        helper.make_node(operator, [before, *taken[1:]], [after])
        for before, after in itertools.pairwise(names)
    ]
    typed = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"])
        for name in (*taken, names[-1])
    ]
    return _model(nodes, typed[:-1], typed[-1])


def _model(nodes: Sequence[Any], inputs: Sequence[Any], output: Any) -> bytes:
    from onnx import helper

    graph = helper.make_graph(nodes, "ceiling", inputs, [output])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())
