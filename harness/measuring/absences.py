"""What could not be had, noted by the way while everything else goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.errors import HarnessError, one_line
from harness.native import ort
from harness.records import Absent


class Absences(list[Absent]):
    """(what, reason) of all that could not be had, in the order in which it was missed."""

    @contextlib.contextmanager
    def noting(self, what: str, because: str = "") -> Iterator[None]:
        """Goes on behind the block where it fails with what a part of a profile may fail with.

        ValueError is among it: those who record say with it why they cannot. Anything else is
        a fault of this program and is raised.

        Args:
            what: what is absent then.
            because: put before the reason that the error gives.
        """
        try:
            yield
        except (HarnessError, ort.OrtError, OSError, ValueError) as error:
            self.append((what, because + one_line(str(error))))
