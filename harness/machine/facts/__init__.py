"""Facts of the machine, the driver and the installed software, each with its source.

Nothing here loads ONNX Runtime or an NVIDIA library into a process that measures; facts that
need one are read in a separate process.
"""

from __future__ import annotations

from pathlib import Path

from harness.machine.facts import cpu, gpus, host, software
from harness.records import Reading


def collect(root: Path = Path("/")) -> tuple[Reading, ...]:
    """Reads everything that a profile records about where it was measured.

    Takes some tens of milliseconds, more if a GPU driver has to start.

    Args:
        root: where /proc, /sys, /etc and /dev are looked for. Facts that do not come from files
            (affinity, the cycles counter, NVML, Python packages) are always those of this
            process.
    """
    return (
        *host.system(root),
        *cpu.processor(root),
        *cpu.frequency(root),
        *host.memory(root),
        *host.load(root),
        *host.counters(root),
        *gpus.gpus(),
        *software.versions(),
    )
