"""Where a text stands in the config's file."""

from __future__ import annotations

from agent.core.record import Record


class Written(Record):
    """Where a text begins in the config's file. With `block` each of its lines begins at that column.

    All are equal: a text is the same wherever it stands.
    """

    line: int
    column: int
    block: bool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written)

    def __hash__(self) -> int:
        return 0

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Where in the config's file a place of the text is. Of a text that is no block only the beginning is known."""
        if self.block:
            return self.line + line - 1, self.column + column - 1
        return self.line, self.column + column - 1 if line == 1 else self.column
