from __future__ import annotations

import pytest

from harness.analysis.comparing.report import Compared, Quantity
from harness.commands.compare import TRIPPED, UNDECIDED, Limit, tripped
from harness.statistics.figures import Figure
from harness.statistics.verdicts import Comparison, Verdict
from tests.builders.process_records import profile

LIMIT = Limit(1.05)


def figure(
    name: str, verdict: str, interval: tuple[float, float] | None, doubt: str = ""
) -> Quantity:
    found = Comparison(Verdict(verdict), 1.0, interval, f"of {name}", doubt=doubt)
    return Quantity(name, 1.0, 1.0, found)


SAME = figure("undisturbed_latency_ns", "SAME", (0.99, 1.01))
FAR = (1.5, 1.7)
ACROSS = (1.02, 1.9)


def compared(latency: Quantity, *quantities: Quantity) -> Compared:
    return Compared(
        candidate=profile(),
        differences=(),
        caveats=(),
        paired=False,
        latency=latency,
        quantities=quantities,
        operators=Figure(None, "none"),
        machine={},
    )


@pytest.mark.parametrize(
    ("latency", "beside", "code"),
    [
        (SAME, [], 0),
        (SAME, [figure("latency_p99_ns", "SLOWER", FAR)], TRIPPED),
        (SAME, [figure("latency_p99_ns", "SLOWER", ACROSS)], UNDECIDED),
        (SAME, [figure("latency_p99_ns", "SLOWER", (1.01, 1.04))], 0),
        (SAME, [figure("latency_p90_ns", "UNDECIDED", ACROSS)], 0),
        (SAME, [figure("slow_processes", "SLOWER", None)], UNDECIDED),
        (
            SAME,
            [figure("slow_processes", "SLOWER", None), figure("latency_p99_ns", "SLOWER", FAR)],
            TRIPPED,
        ),
        (SAME, [figure("session_ns", "SLOWER", FAR)], 0),
        (figure("latency_ns", "SLOWER", (1.01, 1.03)), [], 0),
        (
            figure("latency_ns", "SLOWER", (1.01, 1.03)),
            [figure("latency_p99_ns", "SLOWER", FAR)],
            TRIPPED,
        ),
        (figure("latency_ns", "SLOWER", ACROSS), [], UNDECIDED),
        (figure("latency_ns", "UNDECIDED", (0.7, 0.9), "the machine was too busy"), [], UNDECIDED),
        (figure("latency_ns", "FASTER", (0.7, 0.9)), [], 0),
    ],
)
def test_the_worst_figure_decides_and_what_cannot_be_seen_lets_nothing_through(
    latency: Quantity, beside: list[Quantity], code: int
) -> None:
    found, reason = tripped(compared(latency, *beside), LIMIT)

    assert found == code
    assert bool(reason) == (code == UNDECIDED)
