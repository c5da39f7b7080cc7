"""Which execution provider runs which node: the gate against silent fallback.

If the requested provider cannot take a node, ONNX Runtime passes it to the next provider, in the
end to the CPU, and adds copies between them, with no more than a line in its log. This module
counts and names those nodes and copies.

A session made with ``RECORD`` reports the placement before any inference. It does not include the
copies: they are counted in the table of the executed graph if there is one, else in ORT's log.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from harness.errors import MachineError
from harness.ort import providers
from harness.records import NodeTable, Reading

#: Config entries that a session needs for its ``assignments()`` to be read.
RECORD = {"session.record_ep_graph_assignment_info": "1"}

#: Operators that ORT adds to copy a tensor from one provider's memory to another's.
COPIES = ("MemcpyToHost", "MemcpyFromHost")

_COPIES_LOGGED = re.compile(r"(\d+) Memcpy nodes are added to the graph")
_NAMED = 5

Assignments = Iterable[tuple[str, Iterable[tuple[str, str, str]]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """Where the nodes of a graph run.

    Attributes:
        asked: the requested provider, by harness' name.
        source: where the placement is from: ``assignments`` or ``trace``.
        counts: nodes by provider without copies, most first.
        elsewhere: (provider, name, op type) of each node that is not on the requested
            provider; the name may be empty.
        unseen: nodes whose provider is unknown because the trace did not see them run.
        copies: copies between host and device that ORT added; None if unknown.
        copy_names: their names; empty if only their number is known.
        copies_source: where the copies are from: ``executed graph``, ``ORT's log`` or ``no node
            is on a device``; empty if unknown.
    """

    asked: str
    source: str
    counts: Mapping[str, int]
    elsewhere: tuple[tuple[str, str, str], ...]
    unseen: int
    copies: int | None
    copy_names: tuple[str, ...]
    copies_source: str

    @property
    def whole(self) -> bool:
        """Whether all of the graph is known to be on the requested provider."""
        return not (self.elsewhere or self.unseen)

    @property
    def text(self) -> str:
        """What a user should know, in one sentence."""
        total = sum(self.counts.values()) + self.unseen
        parts = []
        if self.elsewhere:
            by_provider = Counter(provider for provider, _, _ in self.elsewhere)
            places = ", ".join(f"{count} on {name}" for name, count in by_provider.most_common())
            named = _names(f"{op_type} {name}".strip() for _, name, op_type in self.elsewhere)
            parts.append(
                f"{len(self.elsewhere)} of {_count(total, 'node')} not on {self.asked}: "
                f"{places} ({named})"
            )
        else:
            parts.append(f"{total - self.unseen} of {_count(total, 'node')} on {self.asked}")
        if self.unseen:
            parts.append(f"{_count(self.unseen, 'node')} never seen running")
        if self.copies is None:
            parts.append("added copies not known")
        elif self.copies:
            names = f" ({_names(self.copy_names)})" if self.copy_names else ""
            copied = f"{self.copies} {'copy' if self.copies == 1 else 'copies'} added{names}"
            parts.append(f"{copied} between host and device")
        return "; ".join(parts)


def from_assignments(
    asked: str,
    assignments: Assignments,
    nodes: NodeTable | None = None,
    log: Iterable[str] | None = None,
) -> Placement:
    """Placement as the session recorded it.

    Args:
        asked: the requested provider, by harness' name.
        assignments: result of ``Session.assignments()``.
        nodes: table of the executed graph, which shows the copies; None if there is none.
        log: lines that ORT logged while creating the session; with some providers they count
            the copies. None if they were not kept.
    """
    placed = [
        (provider, name, op_type)
        for provider, part in assignments
        for name, op_type, _ in part
        if op_type not in COPIES
    ]
    found = _placement(asked, "assignments", placed, 0)
    if nodes is not None:
        return _with_copies(found, nodes)
    if set(found.counts) <= {providers.by_name(providers.HOST).ort_name}:
        return dataclasses.replace(found, copies=0, copies_source="no node is on a device")
    if log is not None and providers.by_name(asked).logs_copies:
        return dataclasses.replace(found, copies=_logged_copies(log), copies_source="ORT's log")
    return found


def from_nodes(asked: str, nodes: NodeTable) -> Placement:
    """Placement as a trace saw it, for an ORT that does not record it (before 1.24)."""
    rows = [row for row, op_type in enumerate(nodes.op_type) if op_type not in COPIES]
    placed = [
        (nodes.provider[row], nodes.name[row], nodes.op_type[row])
        for row in rows
        if nodes.provider[row]
    ]
    return _with_copies(_placement(asked, "trace", placed, len(rows) - len(placed)), nodes)


def _placement(
    asked: str, source: str, placed: list[tuple[str, str, str]], unseen: int
) -> Placement:
    counts = Counter(provider for provider, _, _ in placed)
    # Of a provider that only a later harness knows, the name is all there is.
    known = providers.known(asked)
    wanted = f"{asked}ExecutionProvider" if known is None else known.ort_name
    elsewhere = tuple(node for node in placed if node[0].lower() != wanted.lower())
    return Placement(
        asked,
        source,
        dict(counts.most_common()),
        elsewhere,
        unseen,
        copies=None,
        copy_names=(),
        copies_source="",
    )


def _with_copies(placement: Placement, nodes: NodeTable) -> Placement:
    names = tuple(
        name or op_type
        for name, op_type in zip(nodes.name, nodes.op_type, strict=True)
        if op_type in COPIES
    )
    return dataclasses.replace(
        placement, copies=len(names), copy_names=names, copies_source="executed graph"
    )


def _logged_copies(log: Iterable[str]) -> int:
    """Copies that ORT's log counts; ORT logs nothing if it added none."""
    return sum(int(match[1]) for line in log if (match := _COPIES_LOGGED.search(line)))


def require_whole(placement: Placement) -> None:
    """The gate of ``strict``.

    Raises:
        MachineError: a node is not, or not known to be, on the requested provider.
    """
    if not placement.whole:
        raise MachineError(
            f"`strict`: {placement.text}",
            "drop `strict` to measure the graph as ONNX Runtime splits it, or change the model",
        )


def readings(
    placement: Placement, options: Mapping[str, str | None], asked_options: Mapping[str, str]
) -> tuple[Reading, ...]:
    """What a profile records about its providers.

    Args:
        placement: where the nodes run.
        options: ``Session.provider_options``. ORT 1.31 leaves some out, enable_cuda_graph
            among them.
        asked_options: the options in the configuration.
    """
    source = {
        "assignments": "OrtApi::Session_GetEpGraphAssignmentInfo",
        "trace": "provider of ORT's profiler events",
    }[placement.source]
    facts = [Reading("placement", placement.text, source=source)]
    facts += [
        Reading(f"nodes_on_{name}", count, "1", source) for name, count in placement.counts.items()
    ]
    facts.append(
        Reading(
            "added_copies",
            placement.copies,
            "1",
            placement.copies_source,
            "" if placement.copies is not None else "no executed graph or log shows them",
        )
    )
    facts += [
        Reading(
            f"provider_options_{name}",
            text,
            source=f"OrtApi::Get{name}ProviderOptionsAsString",
            reason="" if text is not None else "this provider does not report its options",
        )
        for name, text in options.items()
    ]
    if asked_options:
        text = ";".join(f"{key}={value}" for key, value in asked_options.items())
        facts.append(Reading("provider_options_asked", text, source="`provider_options`"))
    return tuple(facts)


def _names(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    rest = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
