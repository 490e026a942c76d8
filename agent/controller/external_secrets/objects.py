"""Objects of Kubernetes as the nodes that the readers of manifests read, so that both read alike.

A manifest's problem is at a line; an object has none. Here a node's line says which field it is, and `Places` turns
problems back into the paths of fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from agent.config.document import Mapping as MappingNode
from agent.config.document import Node, Scalar, Sequence
from agent.core.errors import Problem

_STEP = 1_000_000  # lines between two fields, more than a text may have

_DEEPEST = 40

_PLACE = re.compile(r"line (\d{7,})(?:, column (\d+) of the config)?")


class Places:
    """Makes nodes, and remembers of which field each is."""

    def __init__(self) -> None:
        self._paths: list[str] = []

    def node(self, value: Any, path: str = "", depth: int = 0) -> Node:
        """The node of a value. What is deeper than any field that is read is left out."""
        self._paths.append(path)
        line = len(self._paths) * _STEP
        if depth > _DEEPEST:
            return Scalar(line, 1, "", plain=True)
        if isinstance(value, Mapping):
            entries = []
            for key, item in value.items():
                at = f"{path}.{key}" if path and not path.endswith(" ") else f"{path}{key}"
                node = self.node(item, at, depth + 1)
                entries.append((Scalar(node.line, 1, str(key), plain=False), node))
            return MappingNode(line, 1, tuple(entries))
        if isinstance(value, (list, tuple)):
            items = tuple(self.node(item, f"{path}[{number}]", depth + 1) for number, item in enumerate(value))
            return Sequence(line, 1, items)
        if isinstance(value, str):
            # As a block, of which each line's place is known.
            return Scalar(line, 1, value, plain=False, indent=0)
        return Scalar(line, 1, "" if value is None else json.dumps(value), plain=True)

    def problems(self, problems: Iterable[Problem]) -> tuple[str, ...]:
        """A sentence for each problem, which begins with the field that it is of."""
        said = []
        for problem in problems:
            at = self._at(problem.line, problem.column)
            said.append(f"{at}: {self.placed(problem.message)}" if at else self.placed(problem.message))
        return tuple(dict.fromkeys(said))

    def placed(self, text: str) -> str:
        """A sentence in which lines of nodes are the fields that they mean."""
        return _PLACE.sub(lambda found: self._at(int(found[1]), int(found[2] or 0)) or "another place", text)

    def _at(self, line: int, column: int) -> str:
        number, inner = divmod(line, _STEP)
        path = self._paths[number - 1] if 0 < number <= len(self._paths) else ""
        return f"{path}, line {inner}, column {column}" if inner and path else path
