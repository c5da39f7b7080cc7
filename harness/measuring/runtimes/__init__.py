"""The runtimes besides ONNX Runtime: one module each, discovered in this package.

To add one, add a module with a ``RUNTIME`` (``harness.measuring.runtime``), named as users ask for
it. Only that module may import the runtime, and only when a model is opened.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from typing import TYPE_CHECKING

from harness.config.session import ORT
from harness.errors import MachineError, RequestError

if TYPE_CHECKING:
    from harness.measuring.runtime import Runtime


def names() -> tuple[str, ...]:
    """Names that users can ask for, ONNX Runtime first. Does not import the modules."""
    return (ORT, *sorted(module.name for module in pkgutil.iter_modules(__path__)))


def require_known(name: str) -> None:
    """Refuses a runtime that there is not. Imports no module.

    Raises:
        RequestError: there is none of this name.
    """
    if name not in names():
        raise RequestError(f"`runtime` {name}: not known", f"choose one of {', '.join(names())}")


def by_name(name: str) -> Runtime:
    """The runtime with this name; not ONNX Runtime, which no module here stands for.

    Raises:
        RequestError: there is none.
    """
    require_known(name)
    found: Runtime = importlib.import_module(f"{__name__}.{name}").RUNTIME
    return found


def require_installed(runtime: Runtime) -> None:
    """Refuses a runtime whose packages are not there. Imports none of them.

    Raises:
        MachineError: one is missing.
    """
    for package in runtime.packages:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:  # None: a folder of that name, no package
            raise not_installed(runtime.name, package)


def not_installed(runtime: str, package: str) -> MachineError:
    """The error for a package that a runtime needs."""
    return MachineError(
        f"`runtime` {runtime}: {package} is not installed",
        f"python -m pip install 'onnx-harness[{runtime}]'",
    )
