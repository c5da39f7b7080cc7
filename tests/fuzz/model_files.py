"""Models through the preparation of a profile: messages, external data and bytes changed."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz import hostile
from tests.fuzz.engine import Case

NAME = "onnx"
REFUSALS = ("is not an ONNX model", "truncated or damaged", "is empty", "format, not ONNX")
LIMIT_S = 10.0
#: What a first inference may take, as a user's --timeout would have it.
INFERENCE_S = 5.0
OUTPUTS_BY_NAME = True

_HEAD = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>'
_TEXTS = {
    "dense": "m (float[N, 8] x) => (float[N, 4] y) { a = MatMul (x, w) b = Add (a, v) "
    "y = Softmax (b) }",
    "external": "m (float[4] x) => (float[4] y) { y = Add (x, e) }",
    "branches": "m (float[N, 4] x, bool c) => (float[N, 4] y) { y = If (c) <then_branch = t () => "
    "(float[N, 4] p) { p = Relu (x) }, else_branch = e () => (float[N, 4] q) { q = Neg (x) }> }",
    "loop": "m (float[4] x) => (float[4] y) <int64 n = {3}> { y = Loop (n, , x) <body = b "
    "(int64 i, bool go, float[4] s) => (bool still, float[4] t) { still = Identity (go) "
    "t = Exp (s) }> }",
    "image": "m (float[1, 3, 8, 8] x) => (float[1, 2, H, W] y) { y = Conv <pads = [1, 1, 1, 1]> "
    "(x, k) }",
    "texts": "m (string[N] x) => (int64[N] y) { y = ai.onnx.ml.LabelEncoder <keys_strings = "
    '["a", "b"], values_int64s = [1, 2], default_int64 = 0> (x) }',
    "sparse": "m (float[5] x) => (float[5] y) { y = Add (x, z) }",
    "many": "m (float[B, S, 8] x, int64[B, S] ids, float[B, S] mask) => (float[B, S, 8] y) "
    "{ g = Gather (table, ids) s = Add (x, g) u = Unsqueeze (mask, last) y = Mul (s, u) }",
}
BASES = (*_TEXTS, "function", "external", "external")
_bases: dict[str, bytes] = {}
_library: list[Path] = []


def load(folder: Path) -> None:
    """The models; ORT itself is opened by each attempt, it has threads."""
    import ctypes

    import harness.inputs.choice
    import harness.measuring.ceilings
    import harness.measuring.worker
    import harness.models.work.table  # noqa: F401
    from harness.ort.library import ort_library

    _library.append(ort_library())
    ctypes.CDLL(str(_library[0]))  # read and linked once, before the forks
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.random(shape, np.float32), name)

    for name, text in _TEXTS.items():
        model = onnx.parser.parse_model(f"{_HEAD} {text}")
        graph = model.graph
        if name == "dense":
            graph.initializer.extend([weight("w", 8, 4), weight("v", 4)])
        elif name == "external":
            graph.initializer.append(_external_tensor("e", (4,), "w.bin", None, None))
        elif name == "image":
            graph.initializer.append(weight("k", 2, 3, 3, 3))
        elif name == "many":
            graph.initializer.extend(
                [weight("table", 10, 8), numpy_helper.from_array(np.array([2]), "last")]
            )
        elif name == "sparse":
            values = weight("z", 2)
            indices = numpy_helper.from_array(np.array([1, 3]), "at")
            graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [5]))
        _bases[name] = model.SerializeToString()
    node = helper.make_node("Twice", ["x"], ["y"], domain="own")
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Twice", ["a"], ["b"], body, opsets)
    graph = helper.make_graph(
        [node],
        "m",
        [helper.make_tensor_value_info("x", 1, ["n", 3])],
        [helper.make_tensor_value_info("y", 1, ["n", 3])],
    )
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=8)
    _bases["function"] = model.SerializeToString()


def _external_tensor(
    name: str, dims: tuple[int, ...], location: str, offset: str | None, length: str | None
) -> TensorProto:
    tensor = TensorProto(name=name, data_type=1, dims=dims, data_location=1)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    return tensor


# ------------------------------------------------------------------------------------------
# Mutations of the message. A text that stands for bytes that are no UTF-8 is put in as a
# marker, and exchanged in the file.

_MARKER = "QzQzQz"
_NO_UTF8 = b"\xff\xfe\x80\x81\xc0\xaf"


def _messages(message: Message) -> list[Message]:
    found = [message]
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in value if _repeated(field) else (value,):
                found += _messages(each)
    return found


def _repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _scalar(rng: random.Random, field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        texts = (*hostile.TEXTS, _MARKER, _MARKER, "x", "y", "a", "b", "w", "If", "Loop", "Cast")
        return rng.choice(texts)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice((b"", b"\0" * 4, b"\xff" * 48, b"x" * 7))
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(hostile.FLOATS[:4])
    wide = field.type in (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64)
    unsigned = field.type == FieldDescriptor.TYPE_UINT64
    fitting = hostile.INTEGERS_64 if wide else hostile.INTEGERS[:10]
    return abs(rng.choice(fitting)) % 2**63 if unsigned else rng.choice(fitting)


def _field(rng: random.Random, model: onnx.ModelProto) -> None:
    """Any field of any message: cleared, set, doubled or shortened."""
    message = rng.choice(_messages(model))
    present = [field for field, _ in message.ListFields()]
    fields = present if present and rng.random() < 0.7 else list(message.DESCRIPTOR.fields)
    field = rng.choice(fields)
    if field.type == FieldDescriptor.TYPE_ENUM:
        values = [each.number for each in field.enum_type.values]
        if _repeated(field):
            return
        setattr(message, field.name, rng.choice(values))
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if rng.random() < 0.4:
            message.ClearField(field.name)
        elif _repeated(field):
            held = getattr(message, field.name)
            if len(held) and rng.random() < 0.5:
                held.add().CopyFrom(rng.choice(held))
            elif len(held):
                del held[rng.randrange(len(held))]
            else:
                held.add()
        else:
            getattr(message, field.name).SetInParent()
    elif _repeated(field):
        held = getattr(message, field.name)
        if len(held) and rng.random() < 0.6:
            held[rng.randrange(len(held))] = _scalar(rng, field)
        else:
            held.extend([_scalar(rng, field)] * rng.choice((1, 1, 3, 100)))
    elif rng.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _scalar(rng, field))


def _strings(model: onnx.ModelProto) -> list[str]:
    found: list[str] = []
    for message in _messages(model.graph):
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_STRING:
                found += list(value) if _repeated(field) else [value]
    return sorted(set(found) - {""})


def _rename(rng: random.Random, model: onnx.ModelProto) -> None:
    """A name everywhere it stands: the model remains consistent."""
    names = _strings(model)
    if not names:
        return
    old = rng.choice(names)
    odd = [text for text in hostile.TEXTS if text] + [_MARKER] * 8
    new = rng.choice((*odd, *names))
    for message in _messages(model.graph):
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_STRING:
                if _repeated(field):
                    kept = [new if each == old else each for each in value]
                    del value[:]
                    value.extend(kept)
                elif value == old:
                    setattr(message, field.name, new)


def _tensors(model: onnx.ModelProto) -> list[TensorProto]:
    return [each for each in _messages(model) if isinstance(each, TensorProto)]


def _hidden(rng: random.Random, model: onnx.ModelProto) -> TensorProto:
    """A tensor where few look: default of a function, sparse attribute, graph without nodes."""
    for node in model.graph.node:
        owner: Any = node.attribute
    if model.functions and rng.random() < 0.7:
        owner = rng.choice(model.functions).attribute_proto
    elif not model.graph.node:
        owner = model.functions.add(name="F", domain="own").attribute_proto
    attribute = owner.add(name="value", type=rng.choice((4, 5, 11)))
    kind = rng.randrange(3)
    if kind == 0:
        tensor = attribute.t
    elif kind == 1:
        tensor = rng.choice((attribute.sparse_tensor.values, attribute.sparse_tensor.indices))
    else:
        tensor = attribute.g.initializer.add()
    tensor.name, tensor.data_type = "hidden", 1
    tensor.dims.append(4)
    return tensor


def _external(rng: random.Random, model: onnx.ModelProto) -> None:
    """Where the weights are said to lie."""
    tensors = _tensors(model)
    if not tensors:
        tensors = [model.graph.initializer.add(name="extra", data_type=1, dims=[4])]
    tensor = rng.choice(tensors)
    if rng.random() < 0.3:
        tensor = _hidden(rng, model)
    if rng.random() < 0.5:  # of no elements: a file of any size is long enough
        del tensor.dims[:]
        tensor.dims.extend(rng.choice(((0,), (0,), (0, 4), (2**40,), (-4,), (2**33, 2**31))))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    locations = (
        "w.bin",
        "w.bin",
        "w.bin",
        "/etc/passwd",
        "/dev/zero",
        "../../../../../../../../dev/zero",
        "../../../../../../../../etc/passwd",
        "fifo",
        "link",
        "zero",
        "folder",
        ".",
        "",
        "w\0x",
        "a" * 5000,
        "\x1b[31mmissing",
        "*/_ORT_MEM_ADDR_/",
        "*/_ORT_fifo",
        _MARKER,
        "input.onnx",
    )
    numbers = ("abc", "-1", "0", "16", "4096", "", "9" * 30, "1e3", "0x10", " 4", "٣", "4_0")
    for key, value in (
        ("location", rng.choice(locations)),
        ("offset", rng.choice(numbers) if rng.random() < 0.3 else None),
        ("length", rng.choice(numbers) if rng.random() < 0.3 else None),
        ("checksum", rng.choice((None, None, "x"))),
    ):
        if value is not None:
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value


def _type(rng: random.Random, model: onnx.ModelProto) -> None:
    """Element type, also one that nobody knows, of a tensor or a value."""
    kind = rng.choice((*range(28), 0, 8, 99, -1, 2**31 - 1))
    values = [each for each in _messages(model) if isinstance(each, onnx.TypeProto.Tensor)]
    chosen: list[Any] = _tensors(model) if rng.random() < 0.5 else values
    if chosen:
        each = rng.choice(chosen)
        setattr(each, "data_type" if isinstance(each, TensorProto) else "elem_type", kind)


def _shape(rng: random.Random, model: onnx.ModelProto) -> None:
    """Rank and sizes of an input, an output or a tensor."""
    sizes = rng.choice(
        (
            [1] * 1000,
            [1] * 65,
            [],
            [2**40],
            [10**9, 4],
            [-5, 4],
            [0, 4],
            [2**62, 2**62],
            ["n", "n", "n"],
            [_MARKER, 4],
            ["\x1b[2J", 4],
            [2**63 - 1],
        )
    )
    shapes = [each for each in _messages(model.graph) if isinstance(each, onnx.TensorShapeProto)]
    if shapes and rng.random() < 0.8:
        shape = rng.choice(shapes)
        del shape.dim[:]
        for size in sizes:
            named = isinstance(size, str)
            shape.dim.add(**{"dim_param" if named else "dim_value": size})
    elif _tensors(model):
        tensor = rng.choice(_tensors(model))
        del tensor.dims[:]
        tensor.dims.extend(size for size in sizes if isinstance(size, int))


def _kind(rng: random.Random, model: onnx.ModelProto) -> None:
    """An input that is a sequence, a map, an optional, sparse, or of no type."""
    if not model.graph.input:
        return
    fed = rng.choice(model.graph.input)
    tensor = helper.make_tensor_type_proto(1, [4])
    fed.type.CopyFrom(
        rng.choice(
            (
                helper.make_sequence_type_proto(tensor),
                helper.make_optional_type_proto(tensor),
                helper.make_map_type_proto(8, tensor),
                helper.make_sparse_tensor_type_proto(1, [4]),
                helper.make_sequence_type_proto(helper.make_sequence_type_proto(tensor)),
                onnx.TypeProto(),
            )
        )
    )


def _wiring(rng: random.Random, model: onnx.ModelProto) -> None:
    """A cycle, names given twice, an input of nothing, an order that cannot run."""
    nodes = model.graph.node
    if not nodes:
        return
    node = rng.choice(nodes)
    kind = rng.randrange(5)
    if kind == 0 and node.input and node.output:
        node.input[rng.randrange(len(node.input))] = rng.choice(node.output)
    elif kind == 1:
        nodes.add().CopyFrom(node)
    elif kind == 2 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice((*_strings(model), "nothing"))
    elif kind == 3:
        reordered = list(nodes)
        rng.shuffle(reordered)
        copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in reordered]
        del nodes[:]
        nodes.extend(copies)
    else:
        model.graph.input.add().CopyFrom(rng.choice([*model.graph.input, *model.graph.output]))


def _operator(rng: random.Random, model: onnx.ModelProto) -> None:
    """Another operator with the same inputs, or one that makes something large."""
    node = rng.choice(
        [each for each in _messages(model) if isinstance(each, onnx.NodeProto)]
        or [onnx.NodeProto()]
    )
    names = ("Relu", "Add", "MatMul", "Loop", "If", "Scan", "Constant", "ConstantOfShape", "Range")
    more = ("Probe", "Blorb", "RandomNormalLike", "SplitToSequence", "Conv", "Resize", "", "Erf")
    node.op_type = rng.choice((*names, *more))
    if rng.random() < 0.2:
        node.domain = rng.choice(
            ("harness.probe", "ai.onnx.ml", "com.microsoft", "\x1b[31m", "own")
        )


def _large(rng: random.Random, model: onnx.ModelProto) -> None:
    """Much memory from a few bytes."""
    size = rng.choice((2**20, 2**40, 2**62))
    model.graph.initializer.append(numpy_helper.from_array(np.array([size]), "size_of_large"))
    made = helper.make_node("ConstantOfShape", ["size_of_large"], ["large"], name="large")
    model.graph.node.insert(0, made)
    total = helper.make_node("ReduceSum", ["large"], ["total"], keepdims=0)
    model.graph.node.insert(1, total)
    if model.graph.output:
        model.graph.output.add().CopyFrom(helper.make_tensor_value_info("total", 1, []))


def _nest(rng: random.Random, model: onnx.ModelProto) -> None:
    """Bodies within bodies."""
    inner = helper.make_graph(
        [helper.make_node("Identity", ["cond"], ["deep"])],
        "leaf",
        [],
        [helper.make_tensor_value_info("deep", 9, [])],
    )
    for depth in range(rng.choice((1, 3, 12, 28))):
        node = (
            helper.make_node("If", ["cond"], [f"deep{depth}"], then_branch=inner, else_branch=inner)
            if depth < 4
            else helper.make_node("If", ["cond"], [f"deep{depth}"], then_branch=inner)
        )
        out = helper.make_tensor_value_info(f"deep{depth}", 9, [])
        inner = helper.make_graph([node], f"g{depth}", [], [out])
    node = helper.make_node("If", ["cond"], ["deepest"], then_branch=inner, else_branch=inner)
    model.graph.node.append(node)
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("cond", 9, []))


def _heads(rng: random.Random, model: onnx.ModelProto) -> None:
    """Versions, producers, metadata."""
    kind = rng.randrange(4)
    if kind == 0:
        model.ir_version = rng.choice((0, 1, 3, 99, -1, 2**62))
    elif kind == 1:
        opset = rng.choice(model.opset_import) if model.opset_import else model.opset_import.add()
        opset.version = rng.choice((0, 1, 7, 99, -1, 2**62))
    elif kind == 2:
        model.producer_name = rng.choice((*hostile.TEXTS, _MARKER))
    else:
        model.graph.name = rng.choice((*hostile.TEXTS, _MARKER))


_STRUCTURE: dict[str, Callable[[random.Random, onnx.ModelProto], None]] = {
    "field": _field,
    "another field": _field,
    "yet another field": _field,
    "rename": _rename,
    "rename more": _rename,
    "external": _external,
    "other external": _external,
    "type": _type,
    "shape": _shape,
    "kind": _kind,
    "wiring": _wiring,
    "operator": _operator,
    "large": _large,
    "nest": _nest,
    "heads": _heads,
}
_BYTES = ("flip bytes", "zero block", "cut", "ones")
MUTATIONS: dict[str, Any] = {**_STRUCTURE, **dict.fromkeys(_BYTES)}


def make(case: Case, folder: Path) -> None:
    """input.onnx, with what external data may name beside it."""
    model = onnx.ModelProto.FromString(_bases[case.base])
    for name, seed in case.mutations:
        if name in _STRUCTURE:
            _STRUCTURE[name](random.Random(seed), model)
    content = bytearray(model.SerializePartialToString().replace(_MARKER.encode(), _NO_UTF8))
    for name, seed in case.mutations:
        if name not in _STRUCTURE:
            hostile.mutate_bytes(random.Random(seed), name, content)
    (folder / "input.onnx").write_bytes(content)
    (folder / "w.bin").write_bytes(np.ones(64, np.float32).tobytes())
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "fifo")
    (folder / "*").mkdir()
    os.mkfifo(folder / "*/_ORT_fifo")


def command(rng: random.Random, case: Case) -> list[str]:
    """The preparation, with probes or without."""
    return ["prepare", "input.onnx", rng.choice(("probe", "ort", "none"))]


def attempt(words: list[str]) -> int:
    """What the preparation process does."""
    from harness.config.profile import ProfileConfig
    from harness.config.session import SessionConfig
    from harness.errors import HarnessError
    from harness.measuring import worker

    work = Path(".work.partial")
    work.mkdir()
    passes = {"probe": ("probe", "ort"), "ort": ("ort",), "none": ()}[words[2]]
    config = ProfileConfig(
        model=words[1],
        session=SessionConfig(intra_threads=1),
        processes=1,
        duration_s=0.05,
        quick=True,
        trace=passes,
    )
    cpus = tuple(os.sched_getaffinity(0))
    job = worker.Job(config, _library[0], Path(words[1]), "input", work, work, cpus)
    threading.Thread(target=_watch_inference, args=(threading.get_ident(),), daemon=True).start()
    try:
        worker.prepare(job)
    except HarnessError as error:
        print(f"harness: {ascii(error.message)[:300]}", file=sys.stderr)
        return error.exit_code
    return 0


def _watch_inference(thread: int) -> None:
    """Stands for the parent's watch (``--timeout``): a model may loop for ever, we may not.

    So it ends the process only while ONNX Runtime executes the model.
    """
    time.sleep(INFERENCE_S)
    frame = sys._current_frames()[thread]
    place = f"{Path(frame.f_code.co_filename).name} {frame.f_code.co_name}"
    if place == "preparation.py attempt":
        os.write(2, b"harness: made no inference in time\n")
        os._exit(3)
