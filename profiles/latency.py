"""Latency of a profile with plain h5py, without harness: python latency.py [FILE.h5]."""

import math
import sys
from pathlib import Path

import h5py
import numpy as np
from scipy.special import stdtrit

path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("sample.h5")

if not h5py.is_hdf5(path):
    sys.exit(f"{path}: not an HDF5 file")

with h5py.File(path) as file:
    print(f"{file['model'].attrs['name']} on {file.attrs['provider']}, {file.attrs['created']}")
    if not file.attrs["complete"]:
        print("interrupted: only the processes that had finished are here")
    print("\nprocess  samples  min µs  median µs  p90 µs  first inference µs")
    medians = []
    for name, process in file["processes"].items():
        duration_us = process["latency/duration_ns"][...] / 1000
        medians.append(np.median(duration_us))
        print(
            f"{name:>7}  {len(duration_us):7}  {duration_us.min():6.2f}  {medians[-1]:9.2f}"
            f"  {np.percentile(duration_us, 90):6.2f}"
            f"  {process['first_inference_ns'][()] / 1000:18.1f}"
        )

# The process is the unit: samples of one process share its memory layout and its moment, so
# an interval over all samples together would be far too narrow.
count = len(medians)
logs = np.log(medians)
print(f"\nmedian of {count} processes (their geometric mean): {np.exp(logs.mean()):.3f} µs")
if count > 1:
    half = stdtrit(count - 1, 0.975) * logs.std(ddof=1) / math.sqrt(count)
    low, high = np.exp(logs.mean() - half), np.exp(logs.mean() + half)
    print(f"95 % confidence interval: {low:.3f} to {high:.3f} µs")
else:
    print("no interval: one process cannot show how much processes differ")
