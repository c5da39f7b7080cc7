"""The execution providers that harness knows: a module each, found by being here.

A new one is one more module with a ``PROVIDER``, named as users ask for it.
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

#: The one that takes what no other does, always there.
HOST = "cpu"


def names() -> tuple[str, ...]:
    """What users can ask for, the host first. Imports none of them."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return (HOST, *sorted(found - {HOST}))


def by_name(name: str) -> ExecutionProvider:
    """The provider that is asked for.

    Raises:
        RequestError: there is none of this name.
    """
    found = known(name)
    if found is None:
        raise RequestError(f"`provider` {name}: not known", f"choose one of {', '.join(names())}")
    return found


def known(name: str) -> ExecutionProvider | None:
    """The provider of a profile's file; None where it is of another version's knowledge."""
    if name not in names():
        return None
    provider: ExecutionProvider = importlib.import_module(f"{__name__}.{name}").PROVIDER
    return provider


def every() -> tuple[ExecutionProvider, ...]:
    """All of them, the host first."""
    return tuple(map(by_name, names()))


def chain(config: SessionConfig) -> tuple[tuple[ExecutionProvider, dict[str, str]], ...]:
    """Providers to append to a session with their options, in order; the host is none of them.

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
    """The same without captured graphs: for all sessions but the one that is timed.

    Raises:
        RequestError: there is no such provider.
    """
    options = by_name(config.provider).without_capture(config.provider_options)
    return dataclasses.replace(config, provider_options=options)
