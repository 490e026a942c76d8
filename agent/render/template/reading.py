"""Which keys of the value a template reads, found without rendering it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agent.render.template.errors import place
from agent.render.template.nodes import (
    Action,
    Branch,
    Call,
    Chain,
    Command,
    Dot,
    Field,
    Identifier,
    Jump,
    Literal,
    Node,
    Operand,
    Pipe,
    Text,
    Tree,
    Variable,
)

_BY_KEY = ("index", "get")  # `index . "tls.crt"` reads one key


class Read(NamedTuple):
    """A key of the value, and where in the template it is first read."""

    key: str
    line: int
    column: int


class Reads(NamedTuple):
    """`keys` in the order in which the template has them. `whole`: it may read others, too, since it takes the value as
    a whole somewhere, as in `range $key, $text := .`.
    """

    keys: tuple[Read, ...]
    whole: bool


def reads(tree: Tree) -> Reads:
    """Parts count that a condition may leave out, and templates that are called with the value."""
    found: dict[str, int] = {}
    whole = False
    for key, at in _Walk(tree).nodes(tree.nodes, dot=True, dollar=True):
        if key is None:
            whole = True
        else:
            found[key] = min(at, found.get(key, at))
    keys = sorted(found.items(), key=lambda pair: pair[1])
    return Reads(tuple(Read(key, *place(tree.text, at)) for key, at in keys), whole)


_Found = Iterator[tuple[str | None, int]]  # keys; None for the value as a whole


class _Walk:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._seen: set[str] = set()

    def nodes(self, nodes: tuple[Node, ...], *, dot: bool, dollar: bool) -> _Found:
        """`dot` and `dollar`: whether the dot and `$` are the value here."""
        for node in nodes:
            match node:
                case Action(_, pipe):
                    yield from self._pipe(pipe, dot, dollar)
                case Branch(_, kind, pipe, body, otherwise):
                    same = kind == "with" and _is_value(pipe, dot, dollar)
                    if not same:
                        yield from self._pipe(pipe, dot, dollar)
                    yield from self.nodes(body, dot=same or (dot and kind == "if"), dollar=dollar)
                    yield from self.nodes(otherwise, dot=dot, dollar=dollar)
                case Call(_, name, pipe):
                    if pipe is None:
                        continue
                    if not _is_value(pipe, dot, dollar):
                        yield from self._pipe(pipe, dot, dollar)
                    elif name not in self._seen:
                        self._seen.add(name)
                        yield from self.nodes(self._tree.defined.get(name, ()), dot=True, dollar=True)
                case Text() | Jump():
                    pass

    def _pipe(self, pipe: Pipe, dot: bool, dollar: bool) -> _Found:
        for command in pipe.commands:
            yield from self._command(command, dot, dollar)

    def _command(self, command: Command, dot: bool, dollar: bool) -> _Found:
        operands = command.operands
        match operands:
            case (Identifier(_, name), of, Literal(at, str(key)), *rest) if name in _BY_KEY and _is_it(of, dot, dollar):
                yield key, at
                operands = tuple(rest)
            case (Identifier(_, "hasKey"), of, Literal(), *rest) if _is_it(of, dot, dollar):
                operands = tuple(rest)
        for operand in operands:
            yield from self._operand(operand, dot, dollar)

    def _operand(self, operand: Operand, dot: bool, dollar: bool) -> _Found:
        match operand:
            case Field(at, names):
                if dot:
                    yield names[0], at
            case Variable(at, "$", names):
                if dollar:
                    yield (names[0] if names else None), at
            case Dot(at):
                if dot:
                    yield None, at
            case Chain(at, of, names):
                if isinstance(of, Pipe) and _is_value(of, dot, dollar):
                    yield names[0], at
                else:
                    yield from self._operand(of, dot, dollar)
            case Pipe():
                yield from self._pipe(operand, dot, dollar)


def _is_it(operand: Operand, dot: bool, dollar: bool) -> bool:
    """Whether the operand is the value as a whole."""
    return (dot and isinstance(operand, Dot)) or (dollar and isinstance(operand, Variable) and operand[1:] == ("$", ()))


def _is_value(pipe: Pipe, dot: bool, dollar: bool) -> bool:
    """Whether the pipeline is the value as a whole, and gives it no name."""
    first = pipe.commands[0]
    return len(pipe.commands) == len(first.operands) == 1 and not pipe.names and _is_it(first.operands[0], dot, dollar)
