"""The memory that a file from an untrusted source may take: no more than its size justifies."""

from __future__ import annotations

#: Largest ratio of the values' size in memory to the size of the file; and the memory that any
#: file may use.
MOST_EXPANSION = 100
LEAST_BUDGET_BYTES = 64 << 20


class Budget:
    """The memory that the values of one file together may take."""

    def __init__(self, file_bytes: int) -> None:
        self.file_bytes = file_bytes
        self._left = max(MOST_EXPANSION * file_bytes, LEAST_BUDGET_BYTES)

    def take(self, size_bytes: int, name: str) -> None:
        """Takes the memory of some values from the budget.

        Args:
            size_bytes: that they take.
            name: of them, for the error.

        Raises:
            ValueError: not enough is left.
        """
        self._left -= size_bytes
        if self._left < 0:
            raise ValueError(f"{name}: more data than a file of {self.file_bytes} bytes can hold")
