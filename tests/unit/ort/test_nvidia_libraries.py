"""Where the libraries of a GPU provider are found, with small ones built on the spot."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.ort import nvidia_libraries

CHECKOUT = Path(__file__).parents[3]

RUNTIME = """
int cudaRuntimeGetVersion(int *version) { *version = 13020; return 0; }
int cudaDriverGetVersion(int *version) { *version = 0; return 0; }
int cudaDeviceSynchronize(void) { return 7; }
"""
CUDNN = "#include <stddef.h>\nsize_t cudnnGetVersion(void) { return 91002; }"


def build(target: Path, source: str = "", needs: tuple[Path, ...] = ()) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    linked = [flag for path in needs for flag in (f"-L{path.parent}", f"-l:{path.name}")]
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-Wl,--no-as-needed", *linked,
         f"-Wl,-soname,{target.name}", "-Wl,--allow-shlib-undefined", "-o", str(target)],
        input=source,
        text=True,
        check=True,
    )  # fmt: skip
    return target


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site-packages with CUDA 13 and cuDNN."""
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    packages = tmp_path / "site-packages"
    cuda, cudnn = packages / "nvidia/cu13/lib", packages / "nvidia/cudnn/lib"
    light = build(cuda / "libcublasLt.so.13", "int light(void) { return 1; }")
    build(cuda / "libcublas.so.13", "int light(void); int blas(void) { return light(); }", (light,))
    build(cuda / "libcudart.so.13", RUNTIME)
    build(cudnn / "libcudnn.so.9", CUDNN)
    (packages / "nvidia/nothing").mkdir()
    return packages


@pytest.fixture
def plugin(tmp_path: Path, wheels: Path) -> Path:
    """A provider that needs them, and works only where they are found."""
    cuda = wheels / "nvidia/cu13/lib"
    names = ("libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13")
    source = "int blas(void); int answer(void) { return blas(); }"
    return build(
        tmp_path / "ort/libonnxruntime_providers_cuda.so", source, tuple(cuda / n for n in names)
    )


def test_folders_are_those_of_the_wheels_then_of_the_newest_toolkit(tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    for folder in ("nvidia/cu13/lib", "nvidia/cudnn/lib", "nvidia/none/bin", "tensorrt_libs"):
        (packages / folder).mkdir(parents=True)
    for toolkit in ("cuda-9.2", "cuda-12.8", "cuda", "other"):
        (tmp_path / "usr/local" / toolkit / "lib64").mkdir(parents=True)
    found = [
        str(path.relative_to(tmp_path)) for path in nvidia_libraries.folders(packages, tmp_path)
    ]
    assert found == [
        "site-packages/nvidia/cu13/lib",
        "site-packages/nvidia/cudnn/lib",
        "site-packages/tensorrt_libs",
        "usr/local/cuda/lib64",
        "usr/local/cuda-12.8/lib64",
        "usr/local/cuda-9.2/lib64",
    ]
    assert nvidia_libraries.folders(tmp_path / "none", tmp_path / "none") == ()


def test_what_a_provider_needs_is_found_in_wheels(wheels: Path, plugin: Path) -> None:
    extra = nvidia_libraries.folders(wheels, wheels)
    needs = nvidia_libraries.needs(plugin, extra)
    found = {one.name: one for one in needs.libraries}
    cuda = wheels / "nvidia/cu13/lib"
    assert needs.cuda == "13"
    assert needs.missing == ()
    for name in ("libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13"):
        assert (found[name].path, found[name].lazy) == (cuda / name, False)
    assert found["libcudnn.so.9"].path == wheels / "nvidia/cudnn/lib/libcudnn.so.9"
    assert found["libcudnn.so.9"].lazy


def test_what_is_missing_is_named_with_the_package_that_brings_it(
    wheels: Path, plugin: Path
) -> None:
    (wheels / "nvidia/cu13/lib/libcublasLt.so.13").unlink()
    (wheels / "nvidia/cudnn/lib/libcudnn.so.9").write_text("cut short")
    needs = nvidia_libraries.needs(plugin, nvidia_libraries.folders(wheels, wheels))
    assert needs.missing == ("libcublasLt.so.13",)
    assert "libcudnn.so.9" in needs.missing_lazy
    assert "pip install nvidia-cublas~=13.0 nvidia-cudnn-cu13~=9.0" in needs.remedy


@pytest.mark.parametrize(
    ("missing", "cuda", "says"),
    [
        (("libcublas.so.12", "libcublasLt.so.12"), "12", "pip install nvidia-cublas-cu12~=12.0"),
        (("libcudnn.so.9",), "12", "pip install nvidia-cudnn-cu12~=9.0"),
        (("libnvinfer.so.10", "libnvonnxparser.so.10"), "13", "pip install tensorrt-cu13~=10.0"),
        (("libcuda.so.1",), "13", "NVIDIA driver"),
        (("libother.so.1",), "13", "LD_LIBRARY_PATH"),
        ((), "13", ""),
    ],
)
def test_remedy(missing: tuple[str, ...], cuda: str, says: str) -> None:
    remedy = nvidia_libraries.remedy(missing, cuda)
    assert remedy.count("nvidia-cublas") <= 1
    assert says in remedy if says else remedy == ""


def test_what_is_not_a_library_is_named(wheels: Path, tmp_path: Path) -> None:
    broken = tmp_path / "libonnxruntime_providers_cuda.so"
    broken.write_text("cut short")
    needs = nvidia_libraries.needs(broken, ())
    assert len(needs.missing) == 1
    assert needs.remedy


def test_without_ldd_nothing_is_guessed(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="no ldd in PATH"):
        nvidia_libraries.needs(plugin, ())


def test_preloading_serves_a_provider_that_no_path_would(wheels: Path, plugin: Path) -> None:
    # In a process of its own: what is loaded stays.
    code = f"""
import ctypes
from pathlib import Path
from harness.ort import nvidia_libraries
plugin, wheels = Path({str(plugin)!r}), Path({str(wheels)!r})
try:
    ctypes.CDLL(str(plugin))
except OSError:
    pass
else:
    raise SystemExit("loads without help")
loaded = nvidia_libraries.preload(plugin, nvidia_libraries.folders(wheels, wheels))
names = [path.name for path in loaded]
assert sorted(names) == [
    "libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13", "libcudnn.so.9"
], names
assert ctypes.CDLL(str(plugin)).answer() == 1
facts = {{fact.name: fact for fact in nvidia_libraries.readings()}}
assert facts["gpu_libcublas"].value == str(wheels / "nvidia/cu13/lib/libcublas.so.13")
assert facts["gpu_libonnxruntime_providers_cuda"].value == str(plugin)
assert facts["cuda_runtime_version"].value == "13.2"
assert facts["cuda_driver_version"].reason == "there is no NVIDIA driver"
assert facts["cudnn_version"].value == "9.10.2"
assert "libnvinfer is not loaded" in facts["tensorrt_version"].reason
wait = ctypes.CFUNCTYPE(ctypes.c_int)(nvidia_libraries.synchronise_address())
assert wait() == 7
"""
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        timeout=60,
    )


def test_a_library_that_does_not_load_is_named(wheels: Path, plugin: Path) -> None:
    # Its dependency is of another version: the symbol that it wants is not there.
    blas = wheels / "nvidia/cu13/lib/libcublas.so.13"
    build(blas, "extern int nowhere; int *blas(void) { return &nowhere; }")
    with pytest.raises(MachineError) as caught:
        nvidia_libraries.preload(plugin, nvidia_libraries.folders(wheels, wheels))
    assert str(blas) in caught.value.message
    assert "nowhere" in caught.value.message


def test_maps_of_a_process_without_a_gpu_tell_of_none(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(f"7f00-7f01 r-xp 00000000 00:00 1   {ctypes.__file__}\n")
    assert nvidia_libraries.mapped(maps) == {}
    facts = nvidia_libraries.readings(maps)
    assert {fact.value for fact in facts} == {None}
    assert all(fact.reason for fact in facts)
    with pytest.raises(MachineError, match="no CUDA runtime is loaded"):
        nvidia_libraries.synchronise_address(maps)
