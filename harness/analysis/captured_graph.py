"""What a captured CUDA graph gains, measured in a session of its own beside the timed pass."""

from __future__ import annotations

import dataclasses

import numpy as np

from harness.ort import providers
from harness.records import Profile
from harness.statistics.figures import Figure
from harness.statistics.intervals import typical


@dataclasses.dataclass(frozen=True, slots=True)
class Gain:
    """Latency without a captured graph and with it, resident on the device, by process.

    Attributes:
        option: what asks for the graph, as a provider's option and value: ``NAME=1``.
        plain_ns: medians of the timed passes, which launch each kernel.
        captured_ns: medians of the replays while CUPTI was off, in the same processes.
    """

    option: str
    plain_ns: tuple[float, ...]
    captured_ns: tuple[float, ...]

    @property
    def typical_plain_ns(self) -> float:
        """Geometric mean over the processes."""
        return typical(np.array(self.plain_ns))

    @property
    def typical_captured_ns(self) -> float:
        """Geometric mean over the processes."""
        return typical(np.array(self.captured_ns))

    @property
    def shares(self) -> list[float]:
        """Part of an inference that each process gained; negative where it lost."""
        pairs = zip(self.captured_ns, self.plain_ns, strict=True)
        return [1 - captured / plain for captured, plain in pairs]


def gain(profile: Profile) -> Gain | Figure:
    """What a captured graph gains, or why that is not known."""
    provider = providers.known(profile.provider)
    if provider is None or not provider.capture_option:
        return Figure(None, f"the provider is {profile.provider}, which captures no graph")
    if provider.captures(profile.asked.provider_options):
        return Figure(None, "the timed pass replays a captured graph itself")
    replay = profile.replay
    if replay is None:
        reasons = [why for what, why in profile.absent if what == "trace/replay"]
        return Figure(None, "; ".join(reasons) or "no captured graph was tried beside it")
    inferences = replay.inferences
    plain_ns, captured_ns = [], []
    for process in profile.processes:
        mine = (inferences.process == process.index) & (inferences.recorded == 0)
        if len(process.steady) and mine.any():
            plain_ns.append(float(np.median(process.steady.duration_ns)))
            captured_ns.append(float(np.median(inferences.duration_ns[mine])))
    if not plain_ns or min(plain_ns) <= 0 or min(captured_ns) <= 0:
        return Figure(None, "no process has a timed pass and replays")
    option = f"{provider.capture_option}={provider.capture_values[0]}"
    return Gain(option, tuple(plain_ns), tuple(captured_ns))
