"""The CUDA, cuDNN and TensorRT libraries that ONNX Runtime's GPU providers need.

The loader finds them by itself only where they are on its path, and pip's ``nvidia-*`` wheels
never are. Here they are looked for in this order: the user's LD_LIBRARY_PATH, the wheels
beside this interpreter, CUDA toolkits under /usr/local, the loader's own path. What a worker
loads by its whole path before the provider serves every later request for the same name, so
no variable has to be set.
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

#: Libraries that the CUDA provider opens by name when an operator wants them, by CUDA version.
_LAZY = {
    "12": ("libcudnn.so.9", "libcufft.so.11", "libnvrtc.so.12"),
    "13": ("libcudnn.so.9", "libcufft.so.12", "libnvrtc.so.13"),
}

#: Wheels by the start of the library's name. Those of CUDA lost their suffix with CUDA 13.
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
        name: as it is asked for: ``libcublas.so.13``.
        path: the file that will serve; its name alone where the loader knows the place; None
            where there is none.
        lazy: opened only when an operator wants it: the provider loads without it.
    """

    name: str
    path: Path | None
    lazy: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """What a provider's library needs.

    Attributes:
        plugin: the provider's library.
        libraries: those that it needs of CUDA, cuDNN and TensorRT, its dependencies' included.
        others: names of further libraries, or of versions of their symbols, that are missing.
        cuda: major version of CUDA that it was built for; empty where it does not tell.
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
        """What operators will miss that want it."""
        return tuple(one.name for one in self.libraries if one.path is None and one.lazy)

    @property
    def remedy(self) -> str:
        """How to get what is missing; empty when nothing is."""
        return remedy((*self.missing, *self.missing_lazy), self.cuda)


def remedy(missing: tuple[str, ...], cuda: str) -> str:
    """How to get libraries of these names; empty where there is none."""
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
    """Requirement of the wheel that brings a library; empty where none is known."""
    for start, wheel, suffix in _WHEELS:
        if name.startswith(start):
            package = wheel.format(cuda=cuda or "13") + (suffix if cuda == "12" else "")
            version = re.search(r"\.so\.(\d+)", name)
            return package + (f"~={version[1]}.0" if version else "")
    return ""


def folders(packages: Path | None = None, root: Path = Path("/")) -> tuple[Path, ...]:
    """Folders with libraries that the loader does not know: of wheels, then of toolkits.

    Args:
        packages: site-packages; this interpreter's where it is None.
        root: where usr/local is looked for.
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
    """``cuda``, which the administrator chose, before ``cuda-13.0`` before ``cuda-9.2``."""
    chosen = toolkit.name == "cuda"  # not a provider
    return chosen, [int(part) for part in re.findall(r"\d+", toolkit.name)]


def needs(plugin: Path, extra: tuple[Path, ...] | None = None) -> Needs:
    """Asks the loader what a provider needs, and where it is; nothing is loaded.

    Args:
        plugin: the provider's library. It is not opened: its constructors call into an ORT
            core and crash where there is none.
        extra: folders to look into besides the loader's; folders() where it is None.

    Raises:
        MachineError: the loader cannot be asked.
    """
    extra = folders() if extra is None else extra
    given = os.environ.get("LD_LIBRARY_PATH", "")
    path = os.pathsep.join(filter(None, (given, *map(str, extra))))
    answer = _ask(["ldd", str(plugin)], path)
    said = answer.stdout + answer.stderr
    # A library that several need is listed again where it is not found.
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
        others.append(complaint or f"ldd ended with {answer.returncode}")
    cuda = next((name[13:] for name in (one.name for one in ours) if "libcudart.so." in name), "")
    known = {one.name for one in ours}
    lazy = [name for name in _LAZY.get(cuda, ("libcudnn.so.9",)) if name not in known]
    return Needs(plugin, (*ours, *_lazy(lazy, path)), tuple(dict.fromkeys(others)), cuda)


def _lazy(names: list[str], path: str) -> Iterator[NeededLibrary]:
    """Libraries that are opened by name, tried in a process of its own."""
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
    """Loads what a provider needs from folders that the loader does not know.

    To be called before ONNX Runtime loads the provider. A library that is found in a known
    place is left to the loader; what is missing is left out, and the provider then tells.

    Returns:
        The files that were loaded, in that order.

    Raises:
        MachineError: a library is there and does not load, or the loader cannot be asked.
    """
    extra = folders() if extra is None else extra
    # A dependency comes after what needs it in the loader's list, so most load at once.
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
                # Local: later requests match the name, symbols need not be everyone's.
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
    """The GPU libraries that this process has loaded, and what versions they say they have.

    To be called when an inference has run: an operator may load what it alone wants.
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
    """A version as the loaded library tells it."""
    if library not in files:
        return Reading(name, None, "", function, f"{library} is not loaded: nothing asked for it")
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

    It is cudaDeviceSynchronize of the CUDA runtime that the provider loaded: it waits for all
    streams, however many a provider made, of the device that Run has just made the calling
    thread's current one. ORT's own Sync of the provider calls nothing else.

    Raises:
        MachineError: no CUDA runtime is loaded: there is no session with such a provider.
    """
    file = mapped(maps).get("libcudart")
    if file is None:
        raise MachineError(
            "no CUDA runtime is loaded: the device cannot be waited for",
            "see 'harness doctor', or profile with `provider` cpu",
        )
    opened = ctypes.CDLL(str(file), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    address = ctypes.cast(opened.cudaDeviceSynchronize, ctypes.c_void_p).value
    assert address is not None
    return address
