"""From YAML text to nodes with line and column. Knows nothing of the config.

YAML 1.1 reads `0400` as 256, `NO` as false and `1:30` as 90, and silently takes the last of two equal keys. So nothing
is resolved here: a plain scalar stays as it is written, and a caller that needs a type checks the form itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

import yaml

from agent.core.errors import Problem
from agent.core.record import Record

LIMIT = 1 << 20  # characters of a document

_NODES = 100_000  # in a document, after aliases are expanded

_DEPTH = 50

_IMPLICIT = frozenset(
    {"str", "int", "float", "bool", "null", "timestamp", "merge", "value"}
)  # tags that YAML adds itself


class Scalar(Record):
    """One value as it is written. `plain` means without quotes: YAML might take it for a number or a boolean.
    `indent`: the columns before each line of a block (`|`), which begins on the line below."""

    line: int
    column: int
    text: str
    plain: bool
    indent: int | None = None

    @property
    def empty(self) -> bool:
        """Whether it is YAML's null."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


class Sequence(Record):
    """A list of nodes."""

    line: int
    column: int
    items: tuple[Node, ...]


class Mapping(Record):
    """Keys, each with its position, and their nodes, in the order of the text."""

    line: int
    column: int
    entries: tuple[tuple[Scalar, Node], ...]


Node = Scalar | Sequence | Mapping


def compose(text: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """The one document of a text, with the problems of its form. Without a node the text could not be understood at
    all."""
    nodes, problems = compose_all(text)
    if len(nodes) > 1:
        return None, (Problem(nodes[1].line, nodes[1].column, "is a second document; only one is read"),)
    return nodes[0] if nodes else None, problems


def compose_all(
    text: str, *, merges: Callable[[str], bool] = lambda _version: False
) -> tuple[tuple[Node, ...], tuple[Problem, ...]]:
    """The documents of a text, empty ones aside, with the problems of their form. Without a node the text could not be
    understood at all.

    `merges` says by a document's apiVersion whether the key `<<` brings in the keys of other mappings there, as it does
    in Kubernetes. A key that stands below it in the text replaces such a one, and one above it is replaced.
    """
    if len(text) > LIMIT:
        return (), (Problem(1, 1, f"has more than {LIMIT} characters; nothing that large is read"),)
    try:
        documents = [document for document in yaml.compose_all(text, Loader=yaml.SafeLoader) if not _empty(document)]
    except yaml.MarkedYAMLError as error:
        return (), (_explained(text, error),)
    except (yaml.YAMLError, ValueError) as error:
        # A character that YAML does not allow; its error has no line.
        place = getattr(error, "position", 0) or 0
        line = text.count("\n", 0, place) + 1
        return (), (Problem(line, place - text.rfind("\n", 0, place), _not_allowed(text[place : place + 1])),)
    except RecursionError:
        return (), (Problem(1, 1, "is nested too deeply"),)
    if not documents:
        return (), (Problem(1, 1, "is empty; start from an example such as config/minimal.yaml"),)
    reader = _Reader()
    try:
        nodes = tuple(reader.document(each, merges=merges(_version(each))) for each in documents)
    except _Unreadable as unreadable:
        return (), (unreadable.problem,)
    return nodes, tuple(reader.problems)


def _version(document: yaml.Node) -> str:
    """The apiVersion of a document, or nothing."""
    pairs = document.value if isinstance(document, yaml.MappingNode) else ()
    values = [value for key, value in pairs if getattr(key, "value", None) == "apiVersion"]
    return str(values[0].value) if values and isinstance(values[0], yaml.ScalarNode) else ""


def _empty(document: yaml.Node | None) -> bool:
    """Whether nothing stands between two marks of documents."""
    return document is None or (isinstance(document, yaml.ScalarNode) and not document.value and not document.style)


def _explained(text: str, error: yaml.MarkedYAMLError) -> Problem:
    from agent.config import slips  # not needed for good configs

    at = error.problem_mark or error.context_mark
    began = error.context_mark
    return slips.explain(
        text,
        error.problem or error.context or "",
        slips.Place(at.line, at.column) if at else slips.Place(0, 0),
        slips.Place(began.line, began.column) if began else None,
    )


def _not_allowed(char: str) -> str:
    if char == "\0":
        return "contains U+0000, so it is probably UTF-16 text or a binary file; save it as UTF-8 text"
    return f"contains a character that YAML does not allow{f', U+{ord(char):04X}' if char else ''}; remove it"


class _Unreadable(Exception):
    """The document cannot be read at all, for this one reason."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _Reader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._left = _NODES
        self._merges = False

    def document(self, node: yaml.Node, *, merges: bool) -> Node:
        self._merges = merges
        return self.read(node, 0)

    def read(self, node: yaml.Node, depth: int) -> Node:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self._left -= 1
        if self._left < 0 or depth > _DEPTH:  # an alias to itself ends here, too
            raise _Unreadable(Problem(line, column, "is nested too deeply, or its aliases never stop expanding"))
        if isinstance(node, yaml.MappingNode):
            return Mapping(line, column, tuple(self._entries(node, depth)))
        if isinstance(node, yaml.SequenceNode):
            return Sequence(line, column, tuple(self.read(item, depth + 1) for item in node.value))
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _IMPLICIT:
            self.problems.append(Problem(line, column, f"tag {node.tag} is not supported; remove it"))
        style = getattr(node, "style", None)
        return Scalar(line, column, node.value, style is None, _indent(node) if style == "|" else None)

    def _entries(self, node: yaml.MappingNode, depth: int) -> Iterable[tuple[Scalar, Node]]:
        seen: dict[str, Scalar] = {}
        entries: dict[str, tuple[Scalar, Node]] = {}
        for key_node, value_node in node.value:
            key, value = self.read(key_node, depth + 1), self.read(value_node, depth + 1)
            if isinstance(key, Mapping) and (key.line, key.column) == (
                node.start_mark.line + 1,
                node.start_mark.column + 2,
            ):
                from agent.config import slips

                raise _Unreadable(Problem(node.start_mark.line + 1, node.start_mark.column + 1, slips.TEMPLATE))
            if not isinstance(key, Scalar):
                self.problems.append(Problem(key.line, key.column, "a key must be a word"))
            elif key.plain and key.text == "<<" and self._merges:
                entries |= self._merged(value)
            elif key.plain and key.text == "<<":
                self.problems.append(
                    Problem(key.line, key.column, "merge keys (<<) are not supported; write the keys out")
                )
            elif key.text in seen:
                first = seen[key.text].line
                self.problems.append(
                    Problem(key.line, key.column, f"key {key.text!r} is already on line {first}; remove one of them")
                )
            else:
                seen[key.text] = key
                entries[key.text] = key, value
        return entries.values()

    def _merged(self, value: Node) -> dict[str, tuple[Scalar, Node]]:
        """The entries that `<<` brings in: of a list, those of an earlier mapping win."""
        entries: dict[str, tuple[Scalar, Node]] = {}
        for each in reversed(value.items) if isinstance(value, Sequence) else (value,):
            if isinstance(each, Mapping):
                entries |= {key.text: (key, item) for key, item in each.entries}
            else:
                self.problems.append(Problem(each.line, each.column, "<< takes a mapping, or a list of mappings"))
        return entries


def _indent(node: yaml.Node) -> int:
    """The columns before each line of a block: as many as before its first line that is not empty."""
    text: str = node.start_mark.buffer or ""
    begins = text.find("\n", node.start_mark.pointer) + 1
    lines = text[begins : text.find("\0", begins)].split("\n")
    first = next((line for line in lines if line.strip()), "")
    return len(first) - len(first.lstrip(" "))


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'X'?` with the closest known word, or an empty string."""
    known = list(known)
    folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(word.lower(), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""
