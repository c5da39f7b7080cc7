"""Builds the native modules; everything else about the package is in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup


def native(name: str, sources: list[str], headers: list[str], level: str = "-O2") -> Extension:
    """A module of the package made from files in ext/."""
    return Extension(
        f"harness.native.{name}",
        [f"ext/{source}" for source in sources],
        include_dirs=["ext"],
        # Listed so that the source distribution holds them too.
        depends=[f"ext/{header}" for header in headers],
        # CI adds -Werror: a warning of a newer gcc must not stop an installation.
        extra_compile_args=[
            level,
            "-g0",
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
        ],
        libraries=["dl", "pthread"],
    )


setup(
    ext_modules=cythonize(
        [
            native(
                "ort",
                ["ort/ort.pyx", "ort/library.c", "ort/log_ring.c", "ort/timing_loop.c"],
                ["ort/abi.h", "ort/abi.pxd", "ort/log_ring.h", "ort/timing_loop.h", "clock.h"],
            ),
            native(
                "probe",
                ["probe/probe.pyx", "probe/probe_op.c", "ort/library.c"],
                ["ort/abi.h", "ort/abi.pxd", "probe/probe_op.h", "clock.h"],
            ),
            native(
                "sampler",
                [
                    "sampler/sampler.pyx",
                    "sampler/sampling.c",
                    "sampler/file_reader.c",
                    "sampler/nvml_reader.c",
                ],
                [
                    "sampler/sampling.h",
                    "sampler/channel.h",
                    "sampler/file_reader.h",
                    "sampler/nvml_reader.h",
                    "sampler/nvml_abi.h",
                    "clock.h",
                ],
            ),
            native(
                "marks",
                ["marks/marks.pyx", "marks/node_marks.c", "ort/library.c"],
                ["ort/abi.h", "ort/abi.pxd", "marks/node_marks.h", "clock.h"],
            ),
            native(
                "cupti",
                ["cupti/cupti.pyx", "cupti/session.c", "cupti/decode.c"],
                ["cupti/activity.h", "cupti/session.h", "cupti/decode.h", "clock.h"],
            ),
            native(
                "yardstick",
                ["yardstick/yardstick.pyx", "yardstick/workload.c"],
                ["yardstick/workload.h", "clock.h"],
            ),
            native(
                "bandwidth",
                ["bandwidth/bandwidth.pyx", "bandwidth/stream.c"],
                ["bandwidth/stream.h", "clock.h"],
                "-O3",
            ),
        ],
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives={"language_level": 3},
    ),
)
