"""Make an fp16, int8 or pruned variant of a model, and tell how far its outputs are off.

MODEL is the path of an ONNX file, or the name of a built-in reference model. Both models run on the
same inputs over several seeds. A variant that does not load, whose outputs hold NaN or infinity, or
whose cosine is below 0.95 is broken: it is written all the same, and the exit code is 4.

What it gains in speed, 'harness ab' tells:

    harness variant resnet50 --kind int8-static -o int8.onnx
    harness ab --a resnet50 --b int8.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.config.inputs import InputRequest
from harness.config.session import SessionConfig
from harness.options import declare

#: The exit code of a broken variant.
BROKEN = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness variant``."""
    parser.add_argument("model", metavar="MODEL")
    declare(parser, "variant")


def execute(options: argparse.Namespace) -> int:
    """Makes the variant, and prints what it is."""
    from harness.commands.messages import say
    from harness.commands.profile import pairs, whole
    from harness.measuring.variants.making import file_name, make

    output = options.output or Path(file_name(options.model, options.kind))
    variant = make(
        options.model,
        options.kind,
        output,
        inputs=InputRequest(
            dims={name: whole("dims", name, size) for name, size in pairs("dims", options.dim)},
            shapes={
                name: tuple(whole("shapes", name, size) for size in shape.split("x") if size)
                for name, shape in pairs("shapes", options.shape)
            },
            batch=options.batch,
        ),
        session=SessionConfig(custom_ops=tuple(options.custom_ops), library=options.ort_library),
        calibrate=options.calibrate,
        seeds=options.seeds,
        where=options.where,
        force=options.force,
        tell=(lambda _: None) if options.json else say,
    )
    if options.json:
        from harness.reporters.scripts.variant import variant_text

        print(variant_text(variant))
    else:
        from harness.reporters.terminal.variant import print_variant

        print_variant(variant)
    return BROKEN if variant.broken else 0
