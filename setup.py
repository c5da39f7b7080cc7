"""Builds the native modules; everything else about the package is in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [
            Extension(
                "harness._ort",
                ["ext/_ort.pyx", "ext/log_ring.c", "ext/timing_loop.c"],
                include_dirs=["ext"],
                # Listed so that the source distribution holds them too.
                depends=[
                    "ext/ort_abi.h",
                    "ext/ort_abi.pxd",
                    "ext/log_ring.h",
                    "ext/timing_loop.h",
                    "ext/clock.h",
                ],
                # CI adds -Werror: a warning of a newer gcc must not stop an installation.
                extra_compile_args=[
                    "-O2",
                    "-g0",
                    "-std=gnu11",
                    "-Wall",
                    "-Wextra",
                    "-Wno-unused-parameter",
                ],
                libraries=["dl", "pthread"],
            ),
        ],
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives={"language_level": 3},
    ),
)
