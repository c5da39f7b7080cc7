"""Profiles of a chain whose true times are known, with the noise that probes have."""

from __future__ import annotations

import dataclasses

import numpy as np

from harness.records import NodeEvents, Profile
from harness.storage.assembly import merge_events
from tests.builders.node_tables import table
from tests.builders.process_records import profile

COST_NS = 60


def divided(
    random: np.random.Generator,
    nodes: int = 40,
    processes: int = 4,
    inferences: int = 100,
    moved: float = 0.0,
    at: int = 20,
) -> Profile:
    """A chain of nodes of 0.2 µs to 20 µs, traced with every probe and with every second one.

    A session lays out its memory anew, which makes a node faster or slower by 1 %; an inference
    differs by 2 % from node to node with a heavy tail, and waits for a CPU at one of a hundred
    nodes; stamps have steps of 10 ns; a probe costs a fifth less where every second one is left
    out, as was measured.

    Args:
        random: where noise comes from.
        nodes: how many.
        processes: half of them have every even probe, half every odd one.
        inferences: traced of each process; of the halves there are half as many.
        moved: planted: time of one node is told of the next, so much of the shorter of the two
            stretches that this changes.
        at: that node.
    """
    true_ns = np.exp(random.uniform(np.log(200), np.log(20_000), nodes))
    shorter_ns = min(true_ns[at - 1 : at + 1].sum(), true_ns[at + 1 : at + 3].sum())
    each, halves = [], []
    for process in range(processes):
        begins = [row for row in range(nodes) if row == 0 or row % 2 == process % 2]
        told = np.rint(_stamped(random, true_ns, inferences, COST_NS, nodes) - COST_NS)
        told[:, at] -= moved * shorter_ns
        told[:, at + 1] += moved * shorter_ns
        each.append(_events(told, np.arange(nodes), process))
        stretches = _stamped(random, true_ns, inferences // 2, 0.8 * COST_NS, nodes)
        sums = np.add.reduceat(stretches, begins, axis=1)
        # Of each stretch all but the probe that ends it is left out.
        sums -= 0.8 * COST_NS * (np.diff([*begins, nodes]) - 1)
        halves.append(_events(sums - COST_NS, np.array(begins), process))
    chain = table([-1] * nodes, carrier=np.arange(nodes), name=tuple(map(str, range(nodes))))
    return dataclasses.replace(
        profile(),
        nodes=chain,
        traces={"probe": merge_events(each), "probe_split": merge_events(halves)},
    )


def _stamped(
    random: np.random.Generator, true_ns: np.ndarray, inferences: int, cost_ns: float, nodes: int
) -> np.ndarray:
    """float64[inferences, nodes], gaps of one session."""
    layout = np.exp(0.01 * random.normal(size=nodes))
    noise = np.exp(0.02 * random.standard_t(3, (inferences, nodes)))
    waits = (random.random((inferences, nodes)) < 0.01) * random.exponential(3e6, nodes)
    return np.round(true_ns * layout * noise + waits + cost_ns, -1)


def _events(own_ns: np.ndarray, places: np.ndarray, process: int) -> NodeEvents:
    """One process, from own times by inference and place."""
    inferences, count = own_ns.shape
    self_ns = np.maximum(own_ns, 0).astype(np.int64).ravel()
    number = np.arange(inferences, dtype=np.int32)
    whole_ns = own_ns.sum(axis=1).astype(np.int64)
    return NodeEvents(
        source="probe",
        node=np.tile(places, inferences).astype(np.int32),
        process=np.full(self_ns.size, process, np.int32),
        inference=np.repeat(number, count),
        start_ns=np.arange(self_ns.size) + process * 10**9,
        duration_ns=self_ns,
        self_ns=self_ns,
        details={},
        inference_process=np.full(inferences, process, np.int32),
        inference_number=number,
        inference_start_ns=number.astype(np.int64) + process * 10**9,
        inference_duration_ns=whole_ns,
        inference_framework_ns=np.zeros(inferences, np.int64),
        dropped=0,
        resolution_ns=1,
    )
