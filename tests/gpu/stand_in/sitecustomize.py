"""For a rehearsal: with this folder on the path, CUDA's provider is the CPU's in our processes.

Waiting for the device has a double of CUPTI work instead (tests/doubles/cupti.c), which replays
what it does as a graph where a captured one is asked for. Doubles of NVML and of the driver are
loaded, too, so that they are found by their names. The environment says where they are.
"""

import os
import sys

if any(one.split(".")[0] == "harness" or one.endswith("/interleaved.py") for one in sys.orig_argv):
    import ctypes
    import dataclasses

    for library in ("NVML", "CUDA"):
        ctypes.CDLL(os.environ[f"REHEARSAL_{library}"])
    path = os.environ["REHEARSAL_CUPTI"]
    double = ctypes.CDLL(path)
    ctypes.c_int.in_dll(double, "launches").value = 3
    graph = ctypes.c_int.in_dll(double, "graph")
    LAUNCHES, REPLAYS_NODES = 0, 1

    from harness.ort.providers import cpu, cuda

    cuda.PROVIDER = dataclasses.replace(
        cpu.PROVIDER,
        name="cuda",
        title="stand-in",
        memory="device",
        takes_options=True,
        takes_probes=True,
        capture_option=cuda.PROVIDER.capture_option,
        tf32_option=cuda.PROVIDER.tf32_option,
        precision_options=cuda.PROVIDER.precision_options,
        synchronise=lambda: ctypes.cast(double.device_wait, ctypes.c_void_p).value or 0,
    )

    from harness.tracing.kernels import join, replay
    from harness.tracing.probes import recorder

    # Probes are those of a device: they end with the call, and are held against enqueue times.
    recorder._device = lambda config: cuda.PROVIDER

    join.cupti_candidates = lambda: (path,)
    timeline = replay.ReplayPass.timeline

    def replayed(*arguments):  # type: ignore[no-untyped-def]
        graph.value = REPLAYS_NODES
        try:
            return timeline(*arguments)
        finally:
            graph.value = LAUNCHES

    replay.ReplayPass.timeline = replayed  # type: ignore[method-assign]
    if "harness.measuring.worker" in sys.orig_argv:
        from harness.measuring import device_ceilings

        device_ceilings.measure.__defaults__ = (64,), (2**14,)
