"""What the installed ONNX Runtime can do, and how to fix what it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.errors import HarnessError, MachineError
from harness.machine.diagnosis import Capability
from harness.ort import providers
from harness.ort.library import ort_library

if TYPE_CHECKING:
    from harness.native import ort
    from harness.ort.execution_provider import ExecutionProvider
    from harness.ort.nvidia_libraries import Needs
    from harness.records import Reading


def open_library(path: Path | None) -> ort.Library:
    """Opens the libonnxruntime asked for, or else the installed one.

    Raises:
        MachineError: there is none, or it or harness' own native module does not load.
    """
    try:
        from harness.native import ort
    except ImportError as error:
        raise MachineError(
            f"harness' own native module does not load: {error}", "pip install -e ."
        ) from error
    path = path or ort_library()
    try:
        return ort.Library(str(path))
    except OSError as error:
        raise MachineError(
            f"does not open: {error}",
            "pip install onnxruntime-gpu, or name another with `library`",
        ) from error


def of_library(library: ort.Library | HarnessError) -> Iterator[Capability]:
    """What a libonnxruntime can do, or why it can do nothing.

    Args:
        library: the opened one, or what ``open_library`` raised.
    """
    yield _onnxruntime(library)
    plugins = [one for one in providers.every() if one.plugin]
    for provider in plugins:
        if provider.state is not None:
            yield _usable(library, provider, provider.state)
    for provider in plugins:
        if provider.needs is not None:
            yield _provider_libraries(library, provider, provider.needs)


def _onnxruntime(library: ort.Library | HarnessError) -> Capability:
    if isinstance(library, Exception):
        return Capability("ONNX Runtime", "absent", library.message, library.remedy)
    providers = [name.removesuffix("ExecutionProvider") for name in library.available_providers()]
    return Capability(
        "ONNX Runtime",
        "ok",
        f"{library.version}, built with {', '.join(providers)}; {library.path}",
    )


def _usable(
    library: ort.Library | HarnessError,
    provider: ExecutionProvider,
    state: Callable[[Path], tuple[Reading, str]],
) -> Capability:
    name = provider.title
    if isinstance(library, Exception):
        return Capability(name, "absent", "no ONNX Runtime to use it", library.remedy)
    reading, remedy = state(Path(library.path))
    if reading.value is None:
        return Capability(name, "absent", reading.reason, remedy)
    return Capability(name, "limited" if remedy else "ok", "usable", remedy)


def _provider_libraries(
    library: ort.Library | HarnessError,
    provider: ExecutionProvider,
    needs_of: Callable[[Path], Needs],
) -> Capability:
    """Each file that a provider needs, found or missing."""
    name = f"{provider.title} libraries"
    if isinstance(library, Exception):
        return Capability(name, "absent", "no ONNX Runtime to use them", library.remedy)
    plugin = Path(library.path).parent / provider.plugin
    if not plugin.exists():
        return Capability(
            name,
            "absent",
            f"this ONNX Runtime is built without {provider.name}: no {plugin.name}",
            "pip install onnxruntime-gpu, or name a GPU build with `library`",
        )
    try:
        needs = needs_of(plugin)
    except MachineError as error:
        return Capability(name, "absent", error.message, error.remedy)
    parts = [str(one.path) for one in needs.libraries if one.path is not None]
    if needs.missing:
        parts = [f"found: {', '.join(parts)}"] if parts else []
        parts.append(f"missing: {', '.join(needs.missing)}")
    if needs.missing_lazy:
        parts.append(f"missing for operators that need it: {', '.join(needs.missing_lazy)}")
    state: Literal["ok", "limited", "absent"] = "limited" if needs.missing_lazy else "ok"
    return Capability(name, "absent" if needs.missing else state, "; ".join(parts), needs.remedy)
