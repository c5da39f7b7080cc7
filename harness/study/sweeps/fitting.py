"""A cell on this machine: relative values resolved, or why it does not fit.

Of threads, ``all`` is one for each core that an instance has, ``half`` is half as many, and
``per-l3`` as many as the smallest L3 domain has cores. Of a placement, ``per-l3`` is an instance on
each L3 domain, and ``2-l3`` one instance on the first two.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path

from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import HarnessError
from harness.machine.cpu_lists import cpu_ranges
from harness.machine.placement import PER, place
from harness.machine.topology import Domain, Topology, topology
from harness.measuring import foreign, possible
from harness.measuring import request as checks
from harness.ort import providers
from harness.ort.library import ort_library
from harness.study.sweeps.cells import Cell
from harness.study.sweeps.plan import request
from harness.study.sweeps.settings import DEFAULT, PLACEMENT, Setting, Value

_INSTANCES = Setting("instances", "", "instances")
_AFFINITY = Setting("affinity", "", "affinity")
_THREADS = Setting("threads", "session", "intra_threads")

_CALLED = {"socket": "socket", "numa": "NUMA node", "l3": "L3 domain", "core": "core"}


class DoesNotFitError(Exception):
    """A cell cannot be measured on this machine; the message says why."""


class Machine:
    """This machine, as far as cells must fit it.

    Args:
        root: where /proc and /sys are found (tests).
        allowed: CPUs that may be used; None for those of this process (tests).
    """

    def __init__(self, root: Path = Path("/"), allowed: frozenset[int] | None = None) -> None:
        self._root = root
        self.topology = topology(root, allowed)
        self._usable: dict[tuple[str, Path], str] = {}

    def fit(self, cell: Cell) -> ProfileConfig:
        """The request for a cell on this machine, without its output.

        Raises:
            DoesNotFitError: it has no such CPUs, memory, provider, library or runtime.
        """
        try:
            config = request(self._resolved(cell))
            foreign.settled(config)
            if not foreign.is_foreign(config):
                possible.require_provider_options(config)
                self._require_usable(config.session)
        except HarnessError as error:
            raise DoesNotFitError(error.message) from None
        return config

    def _resolved(self, cell: Cell) -> dict[Setting, Value]:
        """The settings without relative values.

        Raises:
            DoesNotFitError: there is no such part of this machine.
            RequestError: likewise.
        """
        settings = {one: value for one, value in cell.all.items() if value != DEFAULT}
        self._require_l3(settings)
        placed = next((one for one in settings if one.field == PLACEMENT), None)
        if placed is not None:
            settings |= self._placement(str(settings.pop(placed)))
        values = {one.field: value for one, value in settings.items()}
        cpus = self._within(values.get("affinity"))
        shares = 1
        cores = _allowed_cores(cpus)
        instances = values.get("instances")
        if instances is not None:
            placement = place(cpus, instances)
            shares = len(placement.places)
            if shares > len(cpus.usable):
                raise DoesNotFitError(f"{shares} instances on {_counted(len(cpus.usable), 'CPU')}")
            cores = min(placement.threads, max(1, cores // shares))
        threads = next((one for one in settings if one.field == _THREADS.field), None)
        if threads is not None:
            number = self._threads(settings[threads], cores, cpus)
            settings[threads] = number
            if number * shares > len(cpus.usable):
                each = f"{shares} instances of " if shares > 1 else ""
                raise DoesNotFitError(
                    f"{each}{_counted(number, 'thread')} on {_counted(len(cpus.usable), 'CPU')}"
                )
        if values.get("memory") == "interleave" and len(self._nodes()) < 2:
            raise DoesNotFitError("1 NUMA node: there is nothing to interleave over")
        settings[Setting("processes", "", "processes")] = request(settings).process_count
        return settings

    def _require_l3(self, settings: Mapping[Setting, Value]) -> None:
        """Refuses what asks for L3 domains where the machine does not tell of them.

        `instances` alone would then take NUMA nodes, and threads all cores: other cells than the
        plan has.
        """
        reason = dict(self.topology.absent).get("L3 domains")
        relative = (PLACEMENT, _INSTANCES.field, _THREADS.field)
        for one, value in settings.items():
            if reason and one.field in relative and str(value).endswith("-l3"):
                raise DoesNotFitError(f"{one.name} {value}: {reason}")

    def _within(self, affinity: str | None) -> Topology:
        """The machine as those CPUs see it."""
        if affinity is None:
            return self.topology
        wanted: set[int] = set()
        for part in possible.cpus_named(affinity):
            missing = next((cpu for cpu in part if cpu not in self.topology.allowed), None)
            if missing is not None:
                raise DoesNotFitError(f"affinity {affinity}: no CPU {missing} to be used")
            wanted.update(part)
        return topology(self._root, wanted)

    def _placement(self, text: str) -> dict[Setting, Value]:
        count, _, name = text.partition("-")
        domain: Domain = PER[f"per-{name}"]
        if count == "per":
            return {_INSTANCES: text}
        domains = self.topology.domains(domain)
        if int(count) > len(domains):
            raise DoesNotFitError(
                f"placement {text}: this machine has {_counted(len(domains), _CALLED[domain])}"
            )
        chosen = [cpu.number for part in domains[: int(count)] for cpu in part]
        return {_AFFINITY: cpu_ranges(chosen)}

    def _threads(self, value: Value, cores: int, cpus: Topology) -> int:
        if value == "all":
            return cores
        if value == "half":
            return max(1, cores // 2)
        if isinstance(value, str):
            return min(len({cpu.core for cpu in part}) for part in cpus.domains(PER[value]))
        return int(value)

    def _nodes(self) -> list[int]:
        """NUMA nodes with memory that may be taken."""
        return [
            node.number for node in self.topology.nodes if node.allowed and node.memory_bytes != 0
        ]

    def _require_usable(self, session: SessionConfig) -> None:
        """Refuses a provider or a library that this machine does not have.

        What is remembered is judged by these two alone: other cells have other options.
        """
        library = session.library or _installed()
        key = (session.provider, library.absolute())
        if key not in self._usable:
            self._usable[key] = _why_not(*key)
        if self._usable[key]:
            raise DoesNotFitError(self._usable[key])


def _why_not(provider: str, library: Path) -> str:
    """Why a provider cannot be used with a library here; empty if it can."""
    try:
        if not library.is_file():
            return f"{library}: no such file"
        checks.require_usable(provider, library)
    except HarnessError as error:
        return error.message
    except OSError as error:
        return f"{library}: {error.strerror}"
    return ""


@functools.cache
def _installed() -> Path:
    return ort_library()


def on_device(cell: Cell) -> bool:
    """Whether a cell needs a GPU."""
    named = next((value for one, value in cell.all.items() if one.field == "provider"), None)
    return named not in (None, DEFAULT) and providers.by_name(str(named)).on_device


def _allowed_cores(cpus: Topology) -> int:
    """Cores that threads may keep busy: what control groups allow counts, too."""
    cores = len(cpus.domains("core"))
    if cpus.quota_cpus is not None:
        cores = min(cores, max(1, math.floor(cpus.quota_cpus)))
    return cores


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
