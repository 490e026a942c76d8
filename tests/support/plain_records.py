"""Records in a module whose annotations are not postponed: from Python 3.14 on they are evaluated when asked for."""

from agent.core.record import Record


class Node(Record):
    """A field of a class that is not there yet, which 3.14 allows and an older Python only as text."""

    name: str
    next: "Node | None" = None


class Plain(Record):
    """No field, but a constant."""

    LIMIT = 3
