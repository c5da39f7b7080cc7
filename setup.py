"""Builds the native modules; everything else about the package is in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

EXT = Path("ext")

#: What any module may include; listed so that the source distribution holds it too.
HEADERS = sorted(str(path) for kind in ("h", "pxd", "pxi") for path in EXT.rglob(f"*.{kind}"))

#: Optimisation where it is not -O2: STREAM's loops are measured vectorised.
LEVELS = {"bandwidth": "-O3"}


def native(pyx: Path) -> Extension:
    """A module of the package: a folder of ext/ with a .pyx of the same name."""
    sources = [pyx, *sorted(pyx.parent.glob("*.c"))]
    opening = EXT / "ort" / "library.c"
    if opening not in sources and "from ort.library cimport" in pyx.read_text():
        sources.append(opening)
    return Extension(
        f"harness.native.{pyx.stem}",
        [str(source) for source in sources],
        include_dirs=[str(EXT)],
        depends=HEADERS,
        # CI adds -Werror: a warning of a newer gcc must not stop an installation.
        extra_compile_args=[
            LEVELS.get(pyx.stem, "-O2"),
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
        [native(pyx) for pyx in sorted(EXT.glob("*/*.pyx"))],
        include_path=[str(EXT)],
        build_dir="build/cython",
        compiler_directives={"language_level": 3},
    ),
)
