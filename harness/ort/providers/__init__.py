"""The execution providers that harness knows: one module each, discovered in this package.

To add one, add a module with a ``PROVIDER``, named as users ask for it.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from typing import TYPE_CHECKING

from harness.errors import RequestError

if TYPE_CHECKING:
    from harness.config.session import SessionConfig
    from harness.ort.execution_provider import ExecutionProvider

#: The provider that takes the nodes no other does; it is always there.
HOST = "cpu"


def names() -> tuple[str, ...]:
    """Names that users can ask for, the host first. Does not import the modules."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return (HOST, *sorted(found - {HOST}))


def by_name(name: str) -> ExecutionProvider:
    """The provider with this name.

    Raises:
        RequestError: there is none.
    """
    found = known(name)
    if found is None:
        raise RequestError(f"`provider` {name}: not known", f"choose one of {', '.join(names())}")
    return found


def known(name: str) -> ExecutionProvider | None:
    """The provider that a profile names; None if this version of harness does not know it."""
    if name not in names():
        return None
    provider: ExecutionProvider = importlib.import_module(f"{__name__}.{name}").PROVIDER
    return provider


def on_device(ort_name: str) -> bool:
    """Whether nodes on the provider of this name in graphs run on a device."""
    if not ort_name or ort_name == by_name(HOST).ort_name:
        return False
    return any(one.on_device for one in every() if one.ort_name == ort_name)


def every() -> tuple[ExecutionProvider, ...]:
    """All providers, the host first."""
    return tuple(map(by_name, names()))


def chain(config: SessionConfig) -> tuple[tuple[ExecutionProvider, dict[str, str]], ...]:
    """Providers to append to a session with their options, in order, without the host.

    Raises:
        RequestError: there is no such provider.
    """
    asked = by_name(config.provider)
    if not asked.api_name:
        return ()
    shared = {
        key: value for key, value in config.provider_options.items() if key in asked.shared_options
    }
    return (
        (asked, config.provider_options),
        *((by_name(name), shared) for name in asked.followers),
    )


def captures_graph(config: SessionConfig) -> bool:
    """Whether a session of this configuration captures its first inference as a graph.

    Raises:
        RequestError: there is no such provider.
    """
    return by_name(config.provider).captures(config.provider_options)


def uncaptured(config: SessionConfig) -> SessionConfig:
    """The same without captured graphs: for every session but the timed one.

    Raises:
        RequestError: there is no such provider.
    """
    options = by_name(config.provider).without_capture(config.provider_options)
    return dataclasses.replace(config, provider_options=options)


def captured(config: SessionConfig) -> SessionConfig:
    """The same with a captured graph, where the provider has one.

    Raises:
        RequestError: there is no such provider.
    """
    options = by_name(config.provider).with_capture(config.provider_options)
    return dataclasses.replace(config, provider_options=options)
