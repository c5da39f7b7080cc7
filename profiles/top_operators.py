"""Where the time goes, with pandas: python top_operators.py [FILE.h5 [ROWS]]."""

import sys
from pathlib import Path

import numpy as np
import pandas

import harness

path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sample.h5")
rows = int(sys.argv[2]) if len(sys.argv) > 2 else 10

try:
    frames = harness.read_profile(path).to_pandas()
    operators = frames["operators"]
except harness.HarnessError as error:
    sys.exit(f"{error} ({error.remedy})" if error.remedy else str(error))
except KeyError as error:  # a frame that this profile has no data for
    sys.exit(f"{path}: {error.args[0]}")

print(
    f"{len(operators)} nodes, {operators.attrs['inferences']} traced inferences, "
    f"times by {operators.attrs['source']}"
)
if operators.attrs["doubt"]:
    print(f"do not trust these times: {operators.attrs['doubt']}")

# Longest first: the sum so far shows how few nodes are worth a look.
top = operators.assign(
    us=operators.median_ns / 1000,
    percent=100 * operators.share,
    so_far=100 * operators.share.cumsum(),
    ort_us=operators.profiled_ns / 1000,  # as ORT's own profiler reports it; NaN: not used
    # A node without its own probe is included in the time of the one before it: named after +.
    node=[
        " + ".join([one, *more]) for one, more in zip(operators.node, operators.spans, strict=True)
    ],
)
columns = ["op_type", "node", "us", "percent", "so_far", "ort_us", "bound"]
print(top[columns].head(rows).to_string(index=False, float_format="{:.3f}".format))

print("\nby op type")
# Summed within each inference: the median of a sum is not the sum of medians.
events = frames["events"]
own = events[events.trace == operators.attrs["source"]]
inferences = frames["inferences"]
inferences = inferences[
    (inferences.trace == operators.attrs["source"]) & inferences.duration_ns.notna()
]
whole = pandas.MultiIndex.from_frame(inferences[["process", "inference"]])
op_type = own.node.map(frames["nodes"].op_type).rename("op_type")
sums = own.groupby(["process", "inference", op_type], observed=True).self_ns.sum()
sums = sums.unstack("op_type", fill_value=0).reindex(whole, fill_value=0)
# The process is the unit: the geometric mean of the processes' medians.
medians = sums.groupby("process").median()
us = np.exp(np.log(medians).mean()).where((medians > 0).all(), medians.mean()) / 1000
by_type = pandas.DataFrame({"us": us, "percent": 100 * us / us.sum()})
by_type = by_type.assign(nodes=top.op_type.value_counts()).sort_values("us", ascending=False)
print(by_type.head(rows).to_string(float_format="{:.3f}".format))

# From raw events: does an operator take equally long in every process?
table = own.pivot_table(index="node", columns="process", values="self_ns", aggfunc="median")
table.index = frames["nodes"].name.reindex(table.index)
print("\nmedian ns of an execution, by process")
print(table.loc[table.max(axis=1).sort_values(ascending=False).index].head(rows).to_string())
