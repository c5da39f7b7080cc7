"""What could not be measured, noted along the way while everything else goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.errors import HarnessError, one_line
from harness.native import ort
from harness.records import Absent


class Absences(list[Absent]):
    """(what, reason) pairs of everything that is absent, in the order it was found missing."""

    @contextlib.contextmanager
    def noting(self, what: str, because: str = "") -> Iterator[None]:
        """Catches the errors a part of a profile may fail with, and notes them as an absence.

        ValueError is one of them: recorders raise it to say why they cannot record. Anything
        else is a bug in this program and propagates.

        Args:
            what: what is absent if the block fails.
            because: prefix to the error's message, which is the reason.
        """
        try:
            yield
        except (HarnessError, ort.OrtError, OSError, ValueError) as error:
            self.append((what, because + one_line(str(error))))
