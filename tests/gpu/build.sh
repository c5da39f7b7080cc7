#!/usr/bin/env bash
# Builds the native modules on a machine without Cython, setuptools and a package registry:
#
#   tests/gpu/build.sh [PYTHON]
#
# Takes the C that Cython left in build/cython where an installation was made (pack.sh takes it
# along), and compiles all modules at once. Which these are, with which flags, setup.py says: it is
# executed with stand-ins for the packages that it imports.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3}
commands=$("$python" - <<'PYTHON'
import runpy, shlex, sys, sysconfig, types
from pathlib import Path

modules = []


class Extension:
    def __init__(self, name, sources, **flags):
        self.name, self.sources, self.flags = name, sources, flags


def cythonize(extensions, *, build_dir, **rest):
    for one in extensions:
        made = [str(Path(build_dir, each).with_suffix(".c")) for each in one.sources[:1]]
        one.sources = made + one.sources[1:]
    return extensions


setuptools, build = types.ModuleType("setuptools"), types.ModuleType("Cython.Build")
setuptools.Extension, setuptools.setup = Extension, lambda ext_modules: modules.extend(ext_modules)
build.cythonize = cythonize
sys.modules |= {"setuptools": setuptools, "Cython": types.ModuleType("Cython"), "Cython.Build": build}
runpy.run_path("setup.py")
missing = [one.sources[0] for one in modules if not Path(one.sources[0]).is_file()]
if missing:
    sys.exit(f"{missing[0]} is missing: python -m pip install --editable . makes it, elsewhere")
include, suffix = sysconfig.get_paths()["include"], sysconfig.get_config_var("EXT_SUFFIX")
if not Path(include, "Python.h").is_file():
    sys.exit(f"{include}/Python.h is missing: install this Python's headers (python3-dev)")
for one in modules:
    folders = [f"-I{folder}" for folder in (include, *one.flags["include_dirs"])]
    # Warnings are for whoever changes the C; that of Cython, made for another Python, has some.
    flags = [*one.flags["extra_compile_args"], "-w"]
    target = one.name.replace(".", "/") + suffix
    libraries = [f"-l{library}" for library in one.flags["libraries"]]
    print(shlex.join(["-shared", "-fPIC", *flags, *folders, *one.sources, "-o", target, *libraries]))
PYTHON
)
began=$SECONDS
compilers=()
while IFS= read -r arguments; do
    eval "${CC:-gcc} $arguments" &
    compilers+=($!)
done <<<"$commands"
for compiler in "${compilers[@]}"; do
    wait "$compiler" || { echo "a native module did not compile" >&2; exit 1; }
done
# Each of them, whichever there are: an undefined symbol shows when a module is loaded.
"$python" - <<'PYTHON'
import importlib.util, sys, sysconfig
from pathlib import Path

suffix = sysconfig.get_config_var("EXT_SUFFIX")
for path in sorted(Path("harness/native").glob(f"*{suffix}")):
    name = f"harness.native.{path.name.removesuffix(suffix)}"
    importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, path))
PYTHON
echo "${#compilers[@]} native modules built in $((SECONDS - began)) s"
