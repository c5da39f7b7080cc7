"""What no machine can measure: told from a request alone, before machine and model are seen."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config.profile import ProfileConfig
from harness.config.session import ORT
from harness.errors import RequestError
from harness.machine.cpu_lists import cpu_parts
from harness.measuring import foreign, runtimes
from harness.ort import providers


def require_known(config: ProfileConfig) -> None:
    """Refuses a provider, a runtime or a list of CPUs that is none, each by itself.

    Raises:
        RequestError: one is.
    """
    providers.by_name(config.session.provider)
    if config.runtime != ORT:
        runtimes.require_known(config.runtime)
    if config.affinity is not None:
        cpus_named(config.affinity)


def require_possible(config: ProfileConfig) -> None:
    """Refuses what ``require_known`` does, and what does not go together.

    Raises:
        RequestError: no machine can measure it.
    """
    require_known(config)
    foreign.require_sense(config)
    if not foreign.is_foreign(config):
        require_provider_options(config)


def require_provider_options(config: ProfileConfig) -> None:
    """Refuses options of a provider that has none, or that exclude something else.

    Raises:
        RequestError: there are such, or there is no such provider.
    """
    provider = providers.by_name(config.session.provider)
    if config.session.provider_options and not provider.takes_options:
        raise RequestError(
            f"`provider_options`: the {provider.name} provider has no options",
            "drop it, or choose another `provider`",
        )
    if config.callers > 1 and providers.captures_graph(config.session):
        raise RequestError(
            f"`concurrency` {config.callers}: a session that captured a CUDA graph works with one "
            "caller",
            "use `instances`, or drop the provider option that captures it",
        )


def cpus_named(text: str) -> Sequence[range]:
    """The CPUs in a list in Linux notation, such as ``0-3,8``, whether there are such or not.

    Raises:
        RequestError: it is not such a list, or names none.
    """
    remedy = "give `affinity` LIST, such as 0-3,8"
    try:
        named = tuple(cpu_parts(text))
    except ValueError as error:
        raise RequestError(f"`affinity` {text}: {error}", remedy) from error
    if not named:
        raise RequestError("`affinity`: names no CPU", remedy)
    return named
