"""Who is told how a profile proceeds."""

from __future__ import annotations

from harness.measuring.handover import Preparation
from harness.measuring.plan import Plan


class Observer:
    """Told how a profile proceeds; this one keeps silent. Subclass to show it."""

    def warning(self, text: str) -> None:
        """Something the user should know; the profile goes on."""

    def preparing(self, model: str) -> None:
        """The model is being read and tried."""

    def prepared(self, preparation: Preparation, plan: Plan) -> None:
        """Inputs are chosen; measuring begins and takes about plan.expected_s."""

    def pairs_planned(self, pairs: int, least_s: float) -> None:
        """Pairs of processes are measured: no decision takes fewer, nor less than that."""

    def measured(self, finished: int, plan: Plan) -> None:
        """So many processes have finished."""
