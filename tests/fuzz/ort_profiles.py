"""Profiles of ORT's own profiler: an event changed, lines and bytes damaged."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import hostile
from tests.fuzz.engine import Case

NAME = "ort-json"
BASES = ("pool", "plain")
#: Not one event was understood.
REFUSALS = ("no event",)
LIMIT_S = 10.0
OUTPUTS_BY_NAME = True

_NODES = (("a", "Abs", -1), ("loop", "Loop", -1), ("b", "Mul", 1), ("c", "Sigmoid", -1))


def load(folder: Path) -> None:
    """What an attempt needs."""
    import harness.tracing.ort_profiler.reader  # noqa: F401
    import tests.builders.node_tables  # noqa: F401


def _event(name: str, ts: int, dur: int, **args: Any) -> dict[str, Any]:
    cat = "Node" if "kernel_time" in name else "Session"
    return {
        "cat": cat,
        "pid": 7,
        "tid": 7,
        "dur": dur,
        "ts": ts,
        "ph": "X",
        "name": name,
        "args": args,
    }


def _stats(ts: int) -> dict[str, Any]:
    times = {"Distribution": 1, "DistributionEnqueue": 2, "Run": 30, "Wait": 4, "WaitRevoke": 0}
    main = {"thread_pool_name": "intra", "thread_id": "1", "block_size": [8, 8], "core": 1, **times}
    return {"main_thread": main, "sub_threads": {"140": {"num_run": ts, "core": 0}}}


def _events(pool: bool) -> list[dict[str, Any]]:
    events = [_event("model_loading_array", 1, 5), _event("session_initialization", 7, 90)]
    ts = 100
    for _ in range(3):
        begin = ts
        for row, (_, op_type, _) in enumerate(_NODES):
            args = {
                "op_name": op_type,
                "node_index": str(row),
                "provider": "CPUExecutionProvider",
                "input_type_shape": [{"float": [2, 64]}],
                "output_type_shape": [{"float": [2, 64]}],
                "activation_size": "512",
                "parameter_size": "0",
                "output_size": "512",
                "mem_bytes_in_use": "1024",
                "thread_scheduling_stats": _stats(ts) if pool else "",
            }
            events.append(_event(f"harness_node_{row}_kernel_time", ts, 10, **args))
            ts += 12
        events.append(_event("SequentialExecutor::Execute", begin, ts - begin))
        events.append(_event("model_run", begin, ts - begin + 2))
        ts += 10
    return events


def _change(rng: random.Random, events: list[Any]) -> None:
    for _ in range(rng.choice((1, 1, 4))):
        changed = hostile.mutate_json(rng, events)
        if isinstance(changed, list):
            events[:] = changed


def _number(rng: random.Random, events: list[Any]) -> None:
    """A number of an event, as ORT writes it or as text."""
    event = rng.choice([each for each in events if isinstance(each, dict)] or [{}])
    value: Any = rng.choice((*hostile.INTEGERS_ANY, *hostile.FLOATS))
    if rng.random() < 0.4:
        value = str(value)
    if rng.random() < 0.5:
        event[rng.choice(("ts", "dur"))] = value
    elif isinstance(event.get("args"), dict):
        names = [*event["args"], "node_index", "mem_in_use_peak", "dropped_event_count"]
        event["args"][rng.choice(names)] = value


def _threads(rng: random.Random, events: list[Any]) -> None:
    event = rng.choice([each for each in events if isinstance(each, dict)] or [{}])
    if isinstance(event.get("args"), dict):
        event["args"]["thread_scheduling_stats"] = hostile.mutate_json(rng, _stats(5))


def _name(rng: random.Random, events: list[Any]) -> None:
    event = rng.choice([each for each in events if isinstance(each, dict)] or [{}])
    odd = ("_kernel_time", "harness_node_99_kernel_time", "harness_node_-1_kernel_time")
    huge = f"harness_node_{'9' * 5000}_kernel_time"
    event["name"] = rng.choice((*odd, huge, "model_run", "x_kernel_time", *hostile.TEXTS))


def _order(rng: random.Random, events: list[Any]) -> None:
    if rng.random() < 0.5:
        rng.shuffle(events)
    elif events:
        del events[rng.randrange(len(events))]


#: Several mutations that multiply must not make a file of gigabytes.
_MOST_EVENTS = 20_000
_MOST_CHARACTERS = 50_000_000


def _many(rng: random.Random, events: list[Any]) -> None:
    events *= rng.choice((2, 40, 200))
    del events[_MOST_EVENTS:]


_STRUCTURE: dict[str, Callable[[random.Random, list[Any]], None]] = {
    "change": _change,
    "number": _number,
    "another number": _number,
    "threads": _threads,
    "name": _name,
    "order": _order,
    "many": _many,
}
MUTATIONS: dict[str, Any] = {**_STRUCTURE, **dict.fromkeys(hostile.BYTE_MUTATIONS)}


def make(case: Case, folder: Path) -> None:
    """input.json."""
    events: list[Any] = _events(case.base == "pool")
    for name, seed in case.mutations:
        if name in _STRUCTURE:
            _STRUCTURE[name](random.Random(seed), events)
    lines: list[str] = []
    room = _MOST_CHARACTERS
    for each in events:
        lines.append(json.dumps(each, ensure_ascii=False))
        room -= len(lines[-1])
        if room < 0:
            break
    content = bytearray("[\n{}\n]\n".format(",\n".join(lines)).encode("utf-8", "surrogatepass"))
    for name, seed in case.mutations:
        if name not in _STRUCTURE:
            hostile.mutate_bytes(random.Random(seed), name, content)
    (folder / "input.json").write_bytes(content)


def command(rng: random.Random, case: Case) -> list[str]:
    """With the executed graph, or without; at a time of the clock."""
    return ["ort-json", "input.json", rng.choice(("graph", "alone")), rng.choice(("0", "10" * 9))]


def attempt(words: list[str]) -> int:
    """Reads it as a worker does, which counts these errors as an absent trace."""
    from harness.errors import HarnessError
    from harness.tracing.ort_profiler.reader import TraceFile, read
    from tests.builders.node_tables import table

    nodes = None
    if words[2] == "graph":
        nodes = table(
            [parent for *_, parent in _NODES],
            name=tuple(name for name, *_ in _NODES),
            op_type=tuple(op_type for _, op_type, _ in _NODES),
        )
    try:
        trace = read([TraceFile(Path(words[1]), int(words[3]))], nodes, process=0)
    except (HarnessError, OSError, ValueError) as error:
        print(f"harness: {error}"[:200], file=sys.stderr)
        return 2
    events = trace.events
    lengths = {
        len(value)
        for field in dataclasses.fields(events)
        if isinstance(value := getattr(events, field.name), np.ndarray)
        and not field.name.startswith("inference_")
    }
    if len(lengths) != 1 or (len(events) and int(events.node.max()) >= len(trace.nodes)):
        raise AssertionError(f"columns of lengths {sorted(lengths)}")
    if not len(events):
        print("no event", file=sys.stderr)
    return 0
