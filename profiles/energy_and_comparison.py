"""Energy, and whether two profiles differ, with xarray.

python energy_and_comparison.py [BASE.h5 [CANDIDATE.h5]]; with one profile only, its even processes
are compared with the odd ones: any difference is chance.
"""

import sys
from pathlib import Path

import numpy as np
import xarray
from scipy.special import stdtrit

import harness

JOULES = {"mJ": 1e-3, "uJ": 1e-6}


def energy_lines(profile: xarray.DataTree) -> list[str]:
    """Joules per inference by each energy counter, or why there is none."""
    lines = []
    counters = [
        node
        for node in profile.subtree
        if node.path.startswith("/devices/") and node.name and node.name.startswith("energy_")
    ]
    for counter in counters:
        device = counter.parent.name
        if counter.attrs["double"]:
            lines.append(f"{device}: a test double gave the readings: not a measurement")
            continue
        scale = JOULES[counter.value.attrs["units"]]
        joules = []
        for process in profile["processes"].children.values():
            steady = process["latency"]
            begin = steady.start_ns[0]
            end = steady.start_ns[-1] + steady.duration_ns[-1]
            # From update to update of the counter: in between, it carries no information.
            inside = (counter.process == process["index"]) & (counter.changed == 1)
            inside &= (counter.time_ns >= begin) & (counter.time_ns <= end)
            updates = counter.to_dataset().isel(reading=np.flatnonzero(inside))
            if updates.sizes["reading"] < 2:
                continue
            watts = scale * (updates.value[-1] - updates.value[0]) / 1e-9
            watts = watts / (updates.time_ns[-1] - updates.time_ns[0])
            joules.append(float(watts * (end - begin) * 1e-9 / steady.sizes["sample"]))
        if joules:
            mean = np.exp(np.mean(np.log(joules)))
            lines.append(
                f"{device}: {mean:.4g} J per inference, geometric mean of {len(joules)} processes"
            )
        else:
            lines.append(f"{device}: its counter was not updated twice in a pass: give --energy")
    if not counters:
        absent = profile["absent"]
        reasons = zip(absent["what"].values, absent["reason"].values, strict=True)
        lines = [f"{what}: {reason}" for what, reason in reasons if "energy" in what]
    return lines or ["no energy counter was read, and the file does not say why"]


def medians_ns(profile: xarray.DataTree) -> xarray.DataArray:
    """float64[process], median latency of each: the process is the unit, not the sample."""
    processes = profile["processes"].children
    medians = [float(one["latency"].duration_ns.median()) for one in processes.values()]
    index = [int(one["index"]) for one in processes.values()]
    return xarray.DataArray(medians, {"process": index}, attrs={"units": "ns"})


def comparison(base: xarray.DataArray, candidate: xarray.DataArray) -> str:
    """Welch's t on logarithms: the ratio of the two with a 95 % interval."""
    if min(base.size, candidate.size) < 2:
        return "not comparable: two processes on each side are needed"
    logs = [np.log(side) for side in (base, candidate)]
    variances = [float(side.var(ddof=1)) / side.size for side in logs]
    freedom = sum(variances) ** 2 / sum(
        variance**2 / (side.size - 1) for variance, side in zip(variances, logs, strict=True)
    )
    centre = float(logs[1].mean() - logs[0].mean())
    half = stdtrit(freedom, 0.975) * np.sqrt(sum(variances))
    low, high = np.exp([centre - half, centre + half])
    said = "slower" if low > 1 else "faster" if high < 1 else "not told apart"
    return f"ratio {np.exp(centre):.4f}, 95 % interval {low:.4f} to {high:.4f}: {said}"


def main() -> None:
    """Prints energy of each profile, then the comparison."""
    paths = [Path(one) for one in sys.argv[1:3]] or [Path(__file__).with_name("sample.h5")]
    try:
        trees = [harness.read_profile(path).to_xarray() for path in paths]
    except harness.HarnessError as error:
        sys.exit(f"{error} ({error.remedy})" if error.remedy else str(error))
    for path, tree in zip(paths, trees, strict=True):
        print(f"energy, {path.name}")
        for line in energy_lines(tree):
            print(f"  {line}")
    medians = [medians_ns(tree) for tree in trees]
    if len(trees) == 1:
        print(f"comparison, even and odd processes of {paths[0].name}")
        (both,) = medians
        even = both.process % 2 == 0
        print("  " + comparison(both[even], both[~even]))
    else:
        print(f"comparison, {paths[1].name} against {paths[0].name}")
        print("  " + comparison(*medians))
        # Between two occasions the machine itself changes, and the ratio includes that.
        print("  harness compare allows for the machine, harness ab interleaves the two")


if __name__ == "__main__":
    main()
