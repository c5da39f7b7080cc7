"""One profile reduced to what a study needs of it: what was measured, and its figures.

Of each process a few numbers are kept and no samples: thousands of profiles fit into memory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis import noise
from harness.analysis.comparing.figures import figures
from harness.analysis.configuration import configuration, created, facts_of, on_device
from harness.analysis.device_time import device_time
from harness.analysis.energy import Energy
from harness.analysis.instances import together
from harness.analysis.noise import NoiseVerdict
from harness.analysis.operators.table import operator_table
from harness.analysis.run_energy import run_energy
from harness.analysis.throughput import throughput
from harness.analysis.used_gpu import used_gpu
from harness.records import ProcessRecord, Profile
from harness.statistics.figures import Figure, Float64Array
from harness.statistics.verdicts import Side

#: The two kinds of device that a study tells apart.
CPU, GPU = "cpu", "gpu"

#: The runtime where the file does not name one.
RUNTIME = "ort"

#: Name of the fact that says how a variant was made and of what, and the beginning of the names of
#: those that tell its error.
VARIANT = "variant"

#: Most threads and items: what a file may say beyond that is none.
_MOST = 2**31

#: Behind the kind of a variant whose outputs are too far from the model's.
BROKEN = " (broken)"

#: ``int8-dynamic of resnet50 3292a8e4…``: what `variant` writes.
_MADE = re.compile(
    r"(?P<kind>\S+) of (?P<of>.*?) ?(?P<sha256>[0-9a-f]{12})?(?P<broken> \(broken\))?"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What was asked for and fed: profiles of one machine with equal settings are occasions of one.

    Attributes:
        model: name of the model; of a variant, that of the model that it was made from.
        sha256: digest of the model's file.
        parameters: elements of its initializers; -1 where not known.
        shapes: of the inputs, ``1x3x224x224`` each.
        batch: items of an inference; None where the file does not say.
        variant: how the model was changed, such as ``fp16``, with ``(broken)`` where its outputs
            are too far from the model's; empty for the model as it was made.
        provider: execution provider.
        kind: CPU or GPU, whichever it uses.
        device: product name of that.
        runtime: what ran the model, with its version.
        threads: as asked for, 0 for the runtime's choice; None where the file does not say.
        instances: sessions side by side.
        concurrency: inferences under way in one session; 1 where one follows the other.
        options: further options that are not at their defaults, as ``name=value``.
        configuration: digest of all that must agree for profiles to be occasions of one setting
            (``analysis.configuration``) but for the threads: also what is not told here, such as
            the inputs' values.
        original: the first 12 digits of the digest of the model as it was made; empty where a
            variant does not say.
    """

    model: str
    sha256: str
    parameters: int
    shapes: tuple[str, ...]
    batch: int | None
    variant: str
    provider: str
    kind: str
    device: str
    runtime: str
    threads: int | None
    instances: int
    concurrency: int
    options: tuple[str, ...]
    original: str = ""
    configuration: str = ""

    @property
    def told(self) -> str:
        """How it was run, without model and device: ``8 threads, 4 instances``."""
        threads = "" if not self.threads else f"{self.threads} threads"
        if self.threads == 1:
            threads = "1 thread"
        # The usual runtime goes without saying; another one may be why a setting is the best.
        usual = self.runtime.split(" ")[0] == RUNTIME
        parts = ["" if usual else self.runtime, threads]
        if self.instances > 1:
            parts.append(f"{self.instances} instances")
        if self.concurrency > 1:
            parts.append(f"{self.concurrency} at a time")
        parts += self.options
        return ", ".join(filter(None, parts)) or "default threads"


@dataclasses.dataclass(frozen=True, slots=True)
class OperatorTypes:
    """Time of an inference by operator type, and what of it they do not account for.

    Attributes:
        times_ns: own time of each type, by its name.
        framework_ns: time that belongs to no node.
        clean_ns: the same processes' timed pass; None if there is none.
        residual: nodes and framework over the timed pass, less 1; None likewise.
        doubt: why these should not be trusted; empty if there is no reason.
    """

    times_ns: Mapping[str, float]
    framework_ns: float
    clean_ns: float | None
    residual: float | None
    doubt: str


@dataclasses.dataclass(frozen=True, slots=True)
class Turns:
    """When the processes of a profile were measured, to find those measured by turns with it.

    Attributes:
        pairs: random string that both sides of an ``ab`` share; empty otherwise.
        clock: boot of the machine, after which the clock began, of a cell of a sweep; empty
            otherwise, or where it is not known.
        start_ns: when each process began its timed pass, by the index of the process, in their
            order, on that clock.
    """

    pairs: str = ""
    clock: str = ""
    start_ns: Mapping[int, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth
class Row:
    """A profile.

    Attributes:
        file: where it was read from.
        created: UTC time, ISO 8601.
        complete: False if it was interrupted.
        machine: name of its machine; empty until profiles are joined.
        make: the same without what tells it from others of its make: several may have it.
        host: what its machine is recognised by.
        setting: what was measured.
        processes: with a timed pass.
        sides: per-process figures by name, as ``compare`` takes them.
        log_rate: float64[processes], logarithm of items (inferences, where the batch is not known)
            a second; of instances, all of a group together.
        rate_reason: why that is empty; empty otherwise.
        efficiency: of sessions side by side, their rate over that of as many which do not disturb
            each other; without a value where there is one, or with the reason.
        efficiency_interval: its interval; None where there is none.
        noise: whether the machine was disturbed.
        joules: of an inference on the device that ran it, or why that is not known.
        joules_interval: its interval; None where there is none.
        joules_doubt: why it is not trusted; empty if it is.
        idle_share: share of an inference in which the GPU did nothing, or why it is not known.
        idle_doubt: why that is not trusted; empty if it is.
        operators: by type, or a Figure with the reason.
        flops: of an inference, as far as the formulas know; None where the graph is not known.
        arithmetic: element type of most of them.
        facts: of the environment, by name.
        copy_of: what copies of one measurement share.
        turns: when its processes were measured.
    """

    file: Path
    created: str
    complete: bool
    machine: str
    host: Host
    setting: Setting
    processes: int
    sides: Mapping[str, Side]
    log_rate: Float64Array
    rate_reason: str
    efficiency: Figure
    efficiency_interval: tuple[float, float] | None
    noise: NoiseVerdict
    joules: Figure
    joules_interval: tuple[float, float] | None
    joules_doubt: str
    idle_share: Figure
    idle_doubt: str
    operators: OperatorTypes | Figure
    flops: float | None
    arithmetic: str
    facts: Mapping[str, int | float | str]
    copy_of: tuple[object, ...]
    turns: Turns = Turns()
    make: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """What a machine is recognised by.

    Attributes:
        facts: name of the host, its CPU and how many of these.
        gpus: UUIDs of its GPUs; empty where the file names none.
        cpu: model of the CPU, for its name.
        threads: logical CPUs; 0 where not known.
        gpu_names: product names of its GPUs.
        boot: random string of its kernel since it was booted; empty where the file has none.
        up_s: when it was booted and when it was measured, in seconds of Unix time; None where
            not known.
    """

    facts: tuple[str, ...]
    gpus: frozenset[str]
    cpu: str
    threads: int
    gpu_names: tuple[str, ...]
    boot: str = ""
    up_s: tuple[float, float] | None = None


_HOST = ("host_name", "cpu_model", "cpu_sockets", "cpu_cores", "cpu_threads")


def row_of(profile: Profile) -> Row | Figure:
    """Reduces a profile, or says why it has nothing to tell.

    Args:
        profile: as read from a file.
    """
    timed = [process for process in profile.processes if len(process.steady)]
    if not timed or profile.path is None:
        return Figure(None, "no process has finished a timed pass")
    facts = facts_of(profile)
    setting = _setting(profile, facts)
    joules = run_energy(profile)
    idle, idle_doubt = _idle(profile, setting.kind)
    beside = together(profile)
    flops, arithmetic = _work(profile)
    first = timed[0]
    rate = throughput(profile)
    reason = rate.reason if isinstance(rate, Figure) else ""
    return Row(
        file=profile.path,
        created=profile.created,
        complete=profile.complete,
        machine="",
        host=_host(profile, facts),
        setting=setting,
        processes=len(timed),
        sides=figures(timed),
        log_rate=np.empty(0) if reason else _log_rates(timed, setting),
        rate_reason=reason,
        efficiency=Figure(None) if beside is None else beside.efficiency,
        efficiency_interval=None if beside is None else beside.efficiency_interval,
        noise=noise.judge(profile),
        joules=joules.joules if isinstance(joules, Energy) else joules,
        joules_interval=joules.interval_j if isinstance(joules, Energy) else None,
        joules_doubt="; ".join(joules.causes) if isinstance(joules, Energy) else "",
        idle_share=idle,
        idle_doubt=idle_doubt,
        operators=_operators(profile),
        flops=flops,
        arithmetic=arithmetic,
        facts=facts,
        copy_of=(profile.created, first.pid, int(first.steady.start_ns[0]), len(timed)),
        turns=Turns(
            pairs=profile.asked.interleaved_with,
            # The order of cells is random in each round of a sweep, and of nothing else.
            clock=str(facts.get("boot_id", "")) if "sweep_cell" in facts else "",
            start_ns={process.index: int(process.steady.start_ns[0]) for process in timed},
        ),
    )


def _setting(profile: Profile, facts: Mapping[str, Any]) -> Setting:
    asked = profile.asked
    options = asked.options
    gpu = used_gpu(profile)
    beside = together(profile)
    kind = GPU if on_device(profile.provider) else CPU
    made = _MADE.fullmatch(str(facts.get(VARIANT, "")))
    runtime = str(options.get("runtime") or RUNTIME)
    version = facts.get("ort_version" if runtime == RUNTIME else "runtime_version", "")
    further = [f"affinity={asked.affinity}"] if asked.affinity else []
    for name, default in (("execution_mode", "sequential"), ("optimization", "all")):
        value = asked.session.get(name, default)
        further += [f"{name}={value}"] if value != default else []
    for name in ("inter_threads", "no_arena", "no_mem_pattern"):
        further += [f"{name}={value}"] if (value := asked.session.get(name)) else []
    # These change precision and algorithms: with others it is not the same setting.
    for given in (asked.provider_options, asked.session.get("entries"),
                  options.get("runtime_options")):  # fmt: skip
        further += (
            [f"{k}={v}" for k, v in sorted(given.items())] if isinstance(given, Mapping) else []
        )
    if beside is not None and beside.instances == 1:
        further.append(f"instances={options.get('instances')}")  # pinned, as no plain session is
    if memory := options.get("memory"):
        further.append(f"memory={memory}")
    return Setting(
        model=(made["of"] if made else "") or profile.model.name,
        sha256=profile.model.sha256,
        parameters=profile.model.parameter_count,
        shapes=tuple("x".join(map(str, one.shape)) for one in profile.inputs),
        batch=_batch(profile),
        variant=made["kind"] + (made["broken"] or "") if made else "",
        provider=profile.provider,
        kind=kind,
        device=(gpu.name if gpu else "") or str(facts.get("cpu_model", "")) or kind,
        runtime=f"{runtime} {version}".strip(),
        threads=_bounded(asked.intra_threads, least=0),
        instances=1 if beside is None else beside.instances,
        concurrency=_count(options.get("concurrency")),
        options=tuple(further),
        original=(made["sha256"] or "") if made else profile.model.sha256[:12],
        configuration=sha256(
            "\n".join(configuration(profile, without=("intra_threads",))).encode()
        ).hexdigest()[:12],
    )


def _bounded(told: object, *, least: int) -> int | None:
    """A number that a machine could have been asked for; None for any other."""
    if not isinstance(told, int) or isinstance(told, bool):
        return None
    return told if least <= told <= _MOST else None


def _count(told: object) -> int:
    return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else 1


def _batch(profile: Profile) -> int | None:
    """Items of an inference; of an older file, the batch that was asked for and fed.

    A file that does not record its items still has the request. It counts if the first axis of
    every input has this size.
    """
    if isinstance(profile.items.value, int):
        return _bounded(profile.items.value, least=1)
    inputs = profile.asked.options.get("inputs")
    asked = inputs.get("batch") if isinstance(inputs, dict) else None
    if _bounded(asked, least=1) is None or not profile.inputs:
        return None
    return asked if all(one.shape[:1] == (asked,) for one in profile.inputs) else None


def _log_rates(timed: Sequence[ProcessRecord], setting: Setting) -> Float64Array:
    logs: Float64Array = figures(timed)["time_per_inference_ns"].log_figure
    rates: Float64Array = np.log((setting.batch or 1) * 1e9) - logs
    return rates


def _idle(profile: Profile, kind: str) -> tuple[Figure, str]:
    if kind != GPU:
        return Figure(None, "it ran on the CPU"), ""
    told = device_time(profile)
    if isinstance(told, Figure):
        return told, ""
    accounts = told.accounts
    parts = accounts.before_ns + accounts.busy_ns + accounts.idle_ns + accounts.after_ns
    if parts <= 0:
        return Figure(None, "the device's account is empty"), ""
    return Figure(1 - accounts.busy_ns / parts), accounts.doubt


def _operators(profile: Profile) -> OperatorTypes | Figure:
    told = operator_table(profile, by="op")
    if isinstance(told, Figure):
        return told
    accounts = told.accounts
    return OperatorTypes(
        times_ns={one.op_type: one.median_ns for one in told.operators},
        framework_ns=accounts.framework_ns,
        clean_ns=accounts.clean_ns,
        residual=accounts.residual,
        doubt=accounts.doubt,
    )


def _work(profile: Profile) -> tuple[float | None, str]:
    """Operations of an inference in the main graph, and the element type of most of them."""
    nodes = profile.nodes
    if nodes is None:
        return None, ""
    known = (nodes.flops > 0) & (nodes.depth == 0)
    if not known.any():
        return None, ""
    by_type: dict[str, float] = {}
    for row in np.flatnonzero(known).tolist():
        kind = nodes.arithmetic[row]
        by_type[kind] = by_type.get(kind, 0.0) + float(nodes.flops[row])
    return sum(by_type.values()), max(by_type, key=by_type.__getitem__)


def _host(profile: Profile, facts: Mapping[str, Any]) -> Host:
    gpus = {name: str(value) for name, value in facts.items() if name.startswith("gpu")}
    numbers = sorted({name[3:-5] for name in gpus if name.endswith("_uuid")})
    indices = [number for number in numbers if number.isdecimal()]
    threads, uptime_s = facts.get("cpu_threads"), facts.get("uptime_s")
    at = created(profile)
    until_s = 0.0 if at is None else at.timestamp()
    known = at is not None and isinstance(uptime_s, (int, float)) and 0 <= uptime_s < until_s
    return Host(
        facts=tuple(str(facts.get(name, "")) for name in _HOST),
        gpus=frozenset(gpus[f"gpu{index}_uuid"] for index in indices),
        cpu=str(facts.get("cpu_model", "")),
        threads=threads if isinstance(threads, int) else 0,
        gpu_names=tuple(gpus.get(f"gpu{index}_name", "GPU") for index in indices),
        boot=str(facts.get("boot_id", "")),
        up_s=(until_s - float(uptime_s or 0), until_s) if known else None,
    )
