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
                ["_ort.pyx", "log_ring.c", "timing_loop.c"],
                ["ort_abi.h", "ort_abi.pxd", "log_ring.h", "timing_loop.h", "clock.h"],
            ),
            native(
                "probe",
                ["_probe.pyx", "probe_op.c"],
                ["ort_abi.h", "ort_abi.pxd", "probe_op.h", "clock.h"],
            ),
            native(
                "sampler",
                ["_sampler.pyx", "sampler.c", "file_reader.c", "nvml_reader.c"],
                [
                    "sampler.h",
                    "channel.h",
                    "file_reader.h",
                    "nvml_reader.h",
                    "nvml_abi.h",
                    "clock.h",
                ],
            ),
            native(
                "gpu_records",
                ["_kernels.pyx", "node_marks.c", "cupti_records.c"],
                ["ort_abi.h", "ort_abi.pxd", "node_marks.h", "cupti_records.h", "clock.h"],
            ),
            native("yardstick", ["_yardstick.pyx", "yardstick.c"], ["yardstick.h", "clock.h"]),
            native("bandwidth", ["_stream.pyx", "stream.c"], ["stream.h", "clock.h"], "-O3"),
        ],
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives={"language_level": 3},
    ),
)
