"""The tree of a template. `at` is where in its text a node begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Dot(NamedTuple):
    at: int


class Nil(NamedTuple):
    at: int


class Literal(NamedTuple):
    """A string or a boolean."""

    at: int
    value: str | bool


class Number(NamedTuple):
    """An untyped constant of Go, as a whole number (None where it is none) and as a float. `fraction`: it is written
    as a float.
    """

    at: int
    whole: int | None
    real: float
    fraction: bool


class Identifier(NamedTuple):
    """The name of a function."""

    at: int
    name: str


class Field(NamedTuple):
    """`.a.b` of the dot."""

    at: int
    names: tuple[str, ...]


class Variable(NamedTuple):
    """`$x.a.b`; the name has its dollar sign."""

    at: int
    name: str
    names: tuple[str, ...]


class Chain(NamedTuple):
    """`(…).a.b`"""

    at: int
    of: Operand
    names: tuple[str, ...]


class Command(NamedTuple):
    at: int
    operands: tuple[Operand, ...]


class Pipe(NamedTuple):
    """Commands, each of which gets the result of the one before as its last argument. The result may be given names."""

    at: int
    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    assigns: bool = False  # by `=`, to names that exist; otherwise by `:=`


Operand = Dot | Nil | Literal | Number | Identifier | Field | Variable | Chain | Pipe


class Text(NamedTuple):
    at: int
    text: str


class Action(NamedTuple):
    at: int
    pipe: Pipe


class Branch(NamedTuple):
    """if, with or range, and what is done otherwise."""

    at: int
    kind: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


class Jump(NamedTuple):
    """break or continue."""

    at: int
    kind: str


class Call(NamedTuple):
    """`{{template "name" pipe}}`"""

    at: int
    name: str
    pipe: Pipe | None


Node = Text | Action | Branch | Jump | Call


class Tree(NamedTuple):
    """A parsed template: its text, for places, its nodes, the templates that it defines, and the names of the functions
    that it may call.
    """

    text: str
    nodes: tuple[Node, ...]
    defined: Mapping[str, tuple[Node, ...]]
    functions: frozenset[str]
