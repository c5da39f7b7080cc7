"""The CUDA, cuDNN and TensorRT libraries that ONNX Runtime's GPU providers need.

The loader finds them by itself only if they are on its path, and pip's ``nvidia-*`` wheels never
are. They are searched for in this order: the user's LD_LIBRARY_PATH, the wheels installed for
this interpreter, CUDA toolkits under /usr/local, the loader's own path. A library that a worker
loads by its full path before the provider satisfies every later request for the same name, so no
environment variable has to be set.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from harness.errors import MachineError
from harness.records import Reading

DRIVER = "libcuda.so.1"

_OURS = re.compile(r"lib(cu|nv|onnxruntime_providers)")
_TIMEOUT_S = 60

#: Libraries that the CUDA provider opens by name when an operator needs them, by CUDA version.
_LAZY = {
    "12": ("libcudnn.so.9", "libcufft.so.11", "libnvrtc.so.12"),
    "13": ("libcudnn.so.9", "libcufft.so.12", "libnvrtc.so.13"),
}

#: Wheels by library-name prefix. CUDA's own wheels lost their suffix with CUDA 13.
_WHEELS = (
    ("libcublas", "nvidia-cublas", "-cu12"),
    ("libcudart", "nvidia-cuda-runtime", "-cu12"),
    ("libcudnn", "nvidia-cudnn-cu{cuda}", ""),
    ("libcufft", "nvidia-cufft", "-cu12"),
    ("libcurand", "nvidia-curand", "-cu12"),
    ("libnvrtc", "nvidia-cuda-nvrtc", "-cu12"),
    ("libnvJitLink", "nvidia-nvjitlink", "-cu12"),
    ("libnvinfer", "tensorrt-cu{cuda}", ""),
    ("libnvonnxparser", "tensorrt-cu{cuda}", ""),
)

_TRY_LIBRARIES = """
import ctypes, sys
for name in sys.argv[1:]:
    try:
        ctypes.CDLL(name)
    except OSError:
        continue
    print(name)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class NeededLibrary:
    """A library that a provider needs.

    Attributes:
        name: the name it is requested by: ``libcublas.so.13``.
        path: the file that will be loaded; the bare name if the loader finds it; None if there
            is none.
        lazy: opened only when an operator needs it: the provider loads without it.
    """

    name: str
    path: Path | None
    lazy: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """What a provider's library needs.

    Attributes:
        plugin: the provider's library.
        libraries: the CUDA, cuDNN and TensorRT libraries that it and its dependencies need.
        others: names of other libraries, or of symbol versions, that are missing.
        cuda: major version of CUDA that it was built for; empty if it cannot be determined.
    """

    plugin: Path
    libraries: tuple[NeededLibrary, ...]
    others: tuple[str, ...]
    cuda: str

    @property
    def missing(self) -> tuple[str, ...]:
        """What keeps the provider from loading."""
        return (
            *(one.name for one in self.libraries if one.path is None and not one.lazy),
            *self.others,
        )

    @property
    def missing_lazy(self) -> tuple[str, ...]:
        """What is missing only for the operators that need it."""
        return tuple(one.name for one in self.libraries if one.path is None and one.lazy)

    @property
    def remedy(self) -> str:
        """How to get what is missing; empty if nothing is."""
        return remedy((*self.missing, *self.missing_lazy), self.cuda)


def remedy(missing: tuple[str, ...], cuda: str) -> str:
    """How to get the libraries of these names; empty without any."""
    wheels: dict[str, None] = {}
    others = []
    for name in missing:
        wheel = _wheel(name, cuda)
        if wheel:
            wheels[wheel] = None
        elif name != DRIVER:
            others.append(name)
    parts = []
    if wheels:
        parts.append(f"pip install {' '.join(wheels)}")
    if DRIVER in missing:
        parts.append("install the NVIDIA driver (containers: --gpus all)")  # another program's
    if others:
        parts.append(f"install {', '.join(others)}, or put its folder on LD_LIBRARY_PATH")
    return "; ".join(parts)


def _wheel(name: str, cuda: str) -> str:
    """Requirement specifier of the wheel that contains a library; empty if none is known."""
    for start, wheel, suffix in _WHEELS:
        if name.startswith(start):
            package = wheel.format(cuda=cuda or "13") + (suffix if cuda == "12" else "")
            version = re.search(r"\.so\.(\d+)", name)
            return package + (f"~={version[1]}.0" if version else "")
    return ""


def folders(packages: Path | None = None, root: Path = Path("/")) -> tuple[Path, ...]:
    """Library folders that the loader does not search: those of wheels, then of toolkits.

    Args:
        packages: site-packages; this interpreter's if None.
        root: folder that contains usr/local.
    """
    packages = packages or Path(sysconfig.get_path("purelib"))
    toolkits = sorted((root / "usr/local").glob("cuda*"), key=_version, reverse=True)
    found = [
        *sorted(packages.glob("nvidia/*/lib")),
        *sorted(packages.glob("tensorrt*_libs")),
        *(toolkit / lib for toolkit in toolkits for lib in ("lib64", "targets/x86_64-linux/lib")),
    ]
    return tuple(dict.fromkeys(folder for folder in found if folder.is_dir()))


def _version(toolkit: Path) -> tuple[bool, list[int]]:
    """Sort key: ``cuda``, the administrator's choice, then ``cuda-13.0``, then ``cuda-9.2``."""
    chosen = toolkit.name == "cuda"  # not a provider
    return chosen, [int(part) for part in re.findall(r"\d+", toolkit.name)]


def needs(plugin: Path, extra: tuple[Path, ...] | None = None) -> Needs:
    """Asks the loader what a provider needs, and where it is; nothing is loaded.

    Args:
        plugin: the provider's library. It is not opened: its constructors call into an ORT
            core and crash without one.
        extra: folders to search besides the loader's; folders() if None.

    Raises:
        MachineError: the loader cannot be asked.
    """
    extra = folders() if extra is None else extra
    given = os.environ.get("LD_LIBRARY_PATH", "")
    path = os.pathsep.join(filter(None, (given, *map(str, extra))))
    answer = _ask(["ldd", str(plugin)], path)
    said = answer.stdout + answer.stderr
    # ldd repeats a library that is not found for each one that needs it.
    places = dict(
        re.findall(
            r"^\s*(\S+) => (not found|.*?)(?: \(0x[0-9a-f]+\))?$", answer.stdout, re.MULTILINE
        )
    )
    libraries = [
        NeededLibrary(name, None if place == "not found" else Path(place))
        for name, place in places.items()
    ]
    ours = [one for one in libraries if _OURS.match(one.name)]
    others = [one.name for one in libraries if one.path is None and one not in ours]
    others += re.findall(r"version [`'](\S+)' not found", said)
    if answer.returncode and not (others or any(one.path is None for one in ours)):
        complaint = (answer.stderr or answer.stdout).strip().rpartition("\n")[2]
        others.append(complaint or f"ldd exited with {answer.returncode}")
    cuda = next((name[13:] for name in (one.name for one in ours) if "libcudart.so." in name), "")
    known = {one.name for one in ours}
    lazy = [name for name in _LAZY.get(cuda, ("libcudnn.so.9",)) if name not in known]
    return Needs(plugin, (*ours, *_lazy(lazy, path)), tuple(dict.fromkeys(others)), cuda)


def _lazy(names: list[str], path: str) -> Iterator[NeededLibrary]:
    """Libraries that are opened by name, tried in a separate process."""
    places = [Path(folder) for folder in path.split(os.pathsep) if folder]
    candidates = {
        name: next((place / name for place in places if (place / name).exists()), Path(name))
        for name in names
    }
    command = [sys.executable, "-IS", "-c", _TRY_LIBRARIES, *map(str, candidates.values())]
    loadable = _ask(command, path).stdout.splitlines()
    for name, candidate in candidates.items():
        yield NeededLibrary(name, candidate if str(candidate) in loadable else None, lazy=True)


def _ask(command: list[str], path: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LD_LIBRARY_PATH": path, "LC_ALL": "C"}
    if not path:
        del environment["LD_LIBRARY_PATH"]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except FileNotFoundError as error:
        raise MachineError(
            f"the loader cannot be asked: no {command[0]} in PATH", "install glibc's ldd"
        ) from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, -1, "", f"no answer within {_TIMEOUT_S} s")


def preload(plugin: Path, extra: tuple[Path, ...] | None = None) -> tuple[Path, ...]:
    """Loads what a provider needs from folders that the loader does not search.

    Call it before ONNX Runtime loads the provider. A library that the loader finds is left to
    it; a missing one is skipped, and the provider then reports it.

    Returns:
        The files that were loaded, in load order.

    Raises:
        MachineError: a library is there but does not load, or the loader cannot be asked.
    """
    extra = folders() if extra is None else extra
    # ldd lists a dependency after the library that needs it: in reverse, most load at once.
    waiting = [
        one.path
        for one in reversed(needs(plugin, extra).libraries)
        if one.path is not None and one.path.parent in extra
    ]
    loaded: list[Path] = []
    while waiting:
        failed: dict[Path, str] = {}
        for path in waiting:
            try:
                # Local: later requests match by name, so symbols need not be global.
                ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
            except OSError as error:
                failed[path] = str(error)
            else:
                loaded.append(path)
        if len(failed) == len(waiting):
            path, complaint = next(iter(failed.items()))
            raise MachineError(
                f"{plugin.name} needs {path}, which does not load: {complaint}",
                "see 'harness doctor': its remedy names the packages that belong together",
            )
        waiting = list(failed)
    return tuple(loaded)


# What this process has loaded


def mapped(maps: Path = Path("/proc/self/maps")) -> dict[str, Path]:
    """Files of GPU libraries in this process, by name up to ``.so``."""
    files = sorted(set(re.findall(r"\s(/\S*/(?:lib\S+?)\.so\S*)$", maps.read_text(), re.MULTILINE)))
    return {
        Path(file).name.partition(".so")[0]: Path(file)
        for file in files
        if _OURS.match(Path(file).name)
    }


def readings(maps: Path = Path("/proc/self/maps")) -> tuple[Reading, ...]:
    """The GPU libraries that this process has loaded, and the versions that they report.

    Call it after an inference: an operator may load libraries that it alone needs.
    """
    files = mapped(maps)
    return (
        *(
            Reading(f"gpu_{name}", str(file), source="/proc/self/maps")
            for name, file in sorted(files.items())
        ),
        _version_of(files, "cuda_runtime_version", "libcudart", "cudaRuntimeGetVersion"),
        _version_of(files, "cuda_driver_version", "libcudart", "cudaDriverGetVersion"),
        _version_of(files, "cudnn_version", "libcudnn", "cudnnGetVersion"),
        _version_of(files, "tensorrt_version", "libnvinfer", "getInferLibVersion"),
    )


def _version_of(files: dict[str, Path], name: str, library: str, function: str) -> Reading:
    """A version as the loaded library reports it."""
    if library not in files:
        return Reading(name, None, "", function, f"{library} is not loaded: nothing needed it")
    opened = ctypes.CDLL(str(files[library]), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    if library == "libcudart":
        number = ctypes.c_int()
        code = opened[function](ctypes.byref(number))
        if code:
            return Reading(name, None, "", function, f"{function} failed with {code}")
        if not number.value:
            return Reading(name, None, "", function, "there is no NVIDIA driver")
        return Reading(name, f"{number.value // 1000}.{number.value % 1000 // 10}", "", function)
    call = opened[function]
    call.restype = ctypes.c_size_t if library == "libcudnn" else ctypes.c_int
    version = int(call())
    # 91002 is 9.10.2; before cuDNN 9 and TensorRT 10 it was 8907 for 8.9.7.
    step = 10_000 if version >= 10_000 else 1_000
    text = f"{version // step}.{version % step // 100}.{version % 100}"
    return Reading(name, text, "", function)


def synchronise_address(maps: Path = Path("/proc/self/maps")) -> int:
    """Address of the function that waits for the device, for ``Session.bind``.

    It is cudaDeviceSynchronize of the CUDA runtime that the provider loaded: it waits for every
    stream, however many the provider created, on the device that Run has just made current for
    the calling thread. The provider's own Sync in ORT calls nothing else.

    Raises:
        MachineError: no CUDA runtime is loaded: there is no session with such a provider.
    """
    file = mapped(maps).get("libcudart")
    if file is None:
        raise MachineError(
            "no CUDA runtime is loaded, so waiting for the device is impossible",
            "see 'harness doctor', or profile with `provider` cpu",
        )
    opened = ctypes.CDLL(str(file), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    address = ctypes.cast(opened.cudaDeviceSynchronize, ctypes.c_void_p).value
    assert address is not None
    return address
