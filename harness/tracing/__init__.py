"""Recorders of traced passes: ORT's profiler, probes, GPU kernels."""
