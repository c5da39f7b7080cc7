"""The process that makes the variant: ``python -m harness.measuring.variants.conversion JOB``.

The only importer of the Python package onnxruntime, whose tools convert models; no process that
runs a model for harness imports it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from harness.errors import ModelError, one_line
from harness.measuring import conduct
from harness.measuring.handover import Job
from harness.measuring.variants import handed
from harness.models.variants import kinds, mending, provenance, pruning, stored

#: Operators by which a quantised graph is known.
_QUANTISED = frozenset(
    {
        "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM",
        "MatMulInteger", "QAttention", "QEmbedLayerNormalization", "QLinearConv", "QLinearMatMul",
        "QuantizeLinear",
    }
)  # fmt: skip

_FP16_ON_CPU = (
    "ONNX Runtime's CPU provider has few fp16 kernels and casts to float32 around the other nodes: "
    "this kind is for GPUs"
)
#: Session entry: the file beside an optimised model that takes its weights.
_WEIGHTS_BESIDE = "session.optimized_model_external_initializers_file_name"

_ZEROS = "zeroed weights alone speed up nothing: ONNX Runtime multiplies by zeros as by any number"
_GENERATED = (
    "calibrated with generated inputs, whose ranges are not those of data: give `calibrate` FOLDER"
)


def convert(job: Job, original: handed.Original) -> handed.Converted:
    """Makes the variant that the job asks for.

    Raises:
        ModelError: the model cannot be converted; says why, and the way out.
    """
    request = handed.request(job)
    kind = kinds.parse(request.kind)
    model = stored.load(job.model)
    provenance.forget(model)
    began = time.monotonic()
    notes: list[str] = []
    pruned: tuple[str, ...] = ()
    left: tuple[pruning.Left, ...] = ()
    if kind.name == kinds.FP16:
        made = _fp16(model, notes)
        stored.save(made, request.variant)
    elif kind.name == kinds.PRUNE_WEIGHTS:
        mending.lift_constants(model)
        zeroed, total = pruning.zero_weights(model, kind.share or 0)
        if not zeroed:
            raise ModelError(
                "it has no layer with constant floating-point weights to prune",
                "choose another kind",
            )
        notes += [f"{zeroed:,} of {total:,} weights set to 0", _ZEROS]
        stored.save(model, request.variant)
    elif kind.name == kinds.PRUNE_CHANNELS:
        pruned, left = _prune_channels(model, kind)
        stored.save(model, request.variant)
    else:
        _quantise(job, request, kind, model, original, notes)
    seconds = time.monotonic() - began
    return handed.Converted(seconds, tuple(notes), pruned, left)


def _prune_channels(
    model: onnx.ModelProto, kind: kinds.Kind
) -> tuple[tuple[str, ...], tuple[pruning.Left, ...]]:
    mending.lift_constants(model)
    cuts, left = pruning.plan(model, kind.share or 0, kind.norm)
    if not cuts:
        why = f": {left[0].node}: {left[0].reason} {left[0].at}".rstrip() if left else ""
        raise ModelError(
            f"no layer of it stands in a straight chain that can be pruned{why}",
            "choose another kind",
        )
    pruning.cut(model, cuts)
    told = tuple(
        f"{cut.chain.label}: {len(cut.kept)} of {cut.chain.channels} "
        f"{'heads' if cut.chain.heads else 'channels'}"
        for cut in cuts
    )
    return told, tuple(left)


def _fp16(model: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    notes.append(_FP16_ON_CPU)
    mending.lift_constants(model)
    kept = mending.beyond_fp16(model)
    if kept:
        notes.append(
            f"float32 stays at {len(kept)} of {len(model.graph.node)} nodes, which have constants "
            f"beyond the range of fp16: {', '.join(kept[:3])}"
        )
    # Shapes are inferred here, without weights: the converter's own inference stops at 2 GB.
    mending.infer_shapes(model)
    made: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=True, disable_shape_infer=True, node_block_list=kept
    )
    return made


def _quantise(
    job: Job,
    request: handed.Request,
    kind: kinds.Kind,
    model: onnx.ModelProto,
    original: handed.Original,
    notes: list[str],
) -> None:
    already = sorted({node.op_type for node in model.graph.node} & _QUANTISED)
    if already:
        raise ModelError(
            f"it is quantised already: it has {', '.join(already[:3])}",
            "quantise the model that it was made from",
        )
    foreign = mending.foreign_operators(model)
    static = kind.name == kinds.INT8_STATIC
    if foreign and static and job.config.session.custom_ops:
        _register(job.config.session.custom_ops)
    mending.lift_constants(model)
    before = mending.opset(model)
    model = mending.upgrade_opset(model, mending.PER_CHANNEL_OPSET)
    if mending.opset(model) != before:
        notes.append(f"opset {before} upgraded to {mending.opset(model)}, which int8 needs")
    if static:
        model = _optimised(job, model, notes)
    if static and not request.calibration:
        notes.append(_GENERATED)
    elif static:
        notes.append(f"calibrated with {original.calibrations} input sets")
    # The tool sets the range of every softmax, but calibrates none in float64, and stops.
    unquantised = mending.doubles(model, "Softmax") if static else []
    source = job.work_folder / "source.onnx"

    def quantise() -> None:
        if static:
            _static(job, source, request.variant, original.calibrations, unquantised)
        else:
            _dynamic(source, request.variant)

    _with_mended_types(model, source, notes, quantise)
    made = onnx.load(request.variant, load_external_data=False)
    if not any(node.op_type in _QUANTISED for node in made.graph.node):
        raise ModelError(
            "nothing in it can be quantised: it has no operator with float32 weights that ONNX "
            "Runtime has in int8",
            "choose another kind",
        )


def _optimised(job: Job, model: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
    """The model after ONNX Runtime's basic optimisations, which fold batch normalisation.

    Between a quantised convolution and a quantised activation it would stay in float32, with a
    conversion on both sides. As the documentation of the tool advises ("Pre-processing"). Constants
    are not folded: some would become far larger than what they are made from.

    Dynamic quantisation converts around each convolution anyway, and gives its weights one scale
    for all channels, which folded weights do not share.
    """
    import onnxruntime

    plain, better = (job.work_folder / name for name in ("plain.onnx", "optimised.onnx"))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(better)
    if len(stored.save(model, plain)) > 1:
        options.add_session_config_entry(_WEIGHTS_BESIDE, f"{better.name}.data")
    options.log_severity_level = 3
    try:
        onnxruntime.InferenceSession(
            plain,
            options,
            disabled_optimizers=["ConstantFolding"],
            providers=["CPUExecutionProvider"],  # not a provider of a session of ours
        )
        made = stored.load(better)
    except Exception as error:  # the package raises many kinds
        notes.append(
            "batch normalisation was not folded before: ONNX Runtime could not save the optimised "
            f"graph: {one_line(str(error), 200)}"
        )
        return model
    mending.lift_constants(made)
    return made


def _with_mended_types(
    model: onnx.ModelProto, source: Path, notes: list[str], quantise: Callable[[], None]
) -> None:
    """Quantises a model, a second time without what its exporter noted, if that is in the way."""
    try:
        stored.save(model, source)
        quantise()
        return
    except Exception as error:  # the library raises whatever its parts raise
        first = one_line(str(error) or type(error).__name__, 200)
    mending.clear_value_info(model)
    mending.infer_shapes(model)
    stored.save(model, source)
    quantise()
    notes.append(
        "quantised without what the exporter noted about tensors between nodes (value_info), "
        f"at which ONNX Runtime's tool stopped: {first}"
    )


def _dynamic(source: Path, variant: Path) -> None:
    import onnxruntime.quantization as tool

    tool.quantize_dynamic(
        source, variant, per_channel=True, use_external_data_format=_is_split(source)
    )


def _static(
    job: Job, source: Path, variant: Path, calibrations: int, unquantised: list[str]
) -> None:
    import onnxruntime.quantization as tool

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        """The input sets, one after the other."""

        def __init__(self) -> None:
            self._next = 0

        def get_next(self) -> dict[str, Any] | None:
            """The next input set; None after the last."""
            if self._next == calibrations:
                return None
            self._next += 1
            return handed.values(job, "calibration", self._next - 1)

    tool.quantize_static(
        source,
        variant,
        Reader(),
        quant_format=tool.QuantFormat.QDQ,
        per_channel=True,
        nodes_to_exclude=unquantised,
        use_external_data_format=_is_split(source),
        calibration_providers=["CPUExecutionProvider"],  # not a provider of a session of ours
    )


def _is_split(path: Path) -> bool:
    return stored.is_split(onnx.load(path, load_external_data=False))


def _register(libraries: tuple[Path, ...]) -> None:
    """Lets the tool's own calibrating session know operators of these libraries."""
    import onnxruntime

    plain = onnxruntime.SessionOptions

    def options() -> Any:
        made = plain()
        for library in libraries:
            made.register_custom_ops_library(str(library.absolute()))
        return made

    onnxruntime.SessionOptions = options


def work(path: Path) -> None:
    """Body of the process."""
    job = Job.read(path)
    with conduct.process(job):
        job.inferred.touch()  # it makes no inference to wait for
        # The tool refuses to write weights under a name that the current folder holds.
        empty = job.work_folder / "empty"
        empty.mkdir()
        os.chdir(empty)
        try:
            handed.leave(job, convert(job, handed.original(job)))
        except ModelError as error:
            raise _told(job, error.message, error.remedy) from error
        except (OSError, MemoryError):
            raise
        except Exception as error:  # the library raises whatever its parts raise
            reason = one_line(str(error), 300)
            raise _told(job, f"{type(error).__name__}: {reason}", _way_out(job)) from error
    conduct.end()


def _told(job: Job, reason: str, remedy: str) -> ModelError:
    kind = handed.request(job).kind
    if str(job.model) in reason:
        return ModelError(reason, remedy)
    return ModelError(f"{job.model}: cannot be made {kind}: {reason}", remedy)


def _way_out(job: Job) -> str:
    foreign = mending.foreign_operators(stored.load(job.model))
    if foreign:
        return (
            f"it has operators of a library ({', '.join(foreign[:3])}): name the library with "
            "`custom_ops`, or choose int8-dynamic or fp16, which run nothing"
        )
    return "export the model again with a newer opset, or choose another kind"


if __name__ == "__main__":
    work(Path(sys.argv[1]))
