"""The interface that reports the progress of a profile."""

from __future__ import annotations

from harness.measuring.plan import Plan
from harness.measuring.prepared import Preparation


class Observer:
    """Receives the progress of a profile and ignores it; subclass to show it."""

    def warning(self, text: str) -> None:
        """Something the user should know; the profile continues."""

    def preparing(self, model: str) -> None:
        """The model is being read and tried."""

    def prepared(self, preparation: Preparation, plan: Plan) -> None:
        """Inputs are chosen; measuring begins and will take about plan.expected_s."""

    def pairs_planned(self, pairs: int, least_s: float) -> None:
        """Measuring in pairs begins: a decision takes at least this many pairs and seconds."""

    def measured(self, finished: int, plan: Plan) -> None:
        """This many processes have finished."""
