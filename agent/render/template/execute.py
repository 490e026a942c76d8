"""Rendering a tree over values, as Go's text/template/exec.go does with `missingkey=error`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.render.template import functions, values
from agent.render.template.budget import LONGEST, NODE, Budget, Exhausted, fits
from agent.render.template.errors import TemplateError, Unfit, place
from agent.render.template.function import Function
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
    Nil,
    Node,
    Number,
    Operand,
    Pipe,
    Text,
    Tree,
    Variable,
)

DEEPEST = 100  # blocks and templates within each other, while it runs; Go allows 100,000

_NOTHING: Any = object()  # no value at all, which null is not


def render(tree: Tree, value: Any) -> str:
    """What the template comes to over the value, which stays as it is. Raises TemplateError."""
    try:
        return _Run(tree, value).whole()
    except RecursionError:
        pass
    raise TemplateError("the template is nested too deeply", 1, 1)


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _Run:
    def __init__(self, tree: Tree, value: Any) -> None:
        self._tree = tree
        self._budget = Budget()
        self._out: list[str] = []
        self._length = self._depth = 0
        self._variables: list[tuple[str, Any]] = []
        # Each object of the value, and the keys that it came with. Others may have values of the secret as keys.
        self._keys: dict[int, tuple[dict[str, Any], tuple[str, ...]]] = {}
        self._value = value

    def whole(self) -> str:
        self._called(self._tree.nodes, self._copied(self._value, 0), 0)
        return "".join(self._out)

    def _copied(self, value: Any, depth: int) -> Any:
        """The value, of which a function may change the copy."""
        if depth > DEEPEST:
            raise self._error(0, f"the value has more than {DEEPEST} lists and objects within each other")
        if isinstance(value, dict):
            of = values.Texts if isinstance(value, values.Texts) else dict
            copy = of({key: self._copied(item, depth + 1) for key, item in value.items()})
            self._keys[id(copy)] = copy, tuple(copy)
            return copy
        return [self._copied(item, depth + 1) for item in value] if isinstance(value, list) else value

    def _error(self, at: int, message: str) -> TemplateError:
        return TemplateError(message, *place(self._tree.text, at))

    def _spend(self, at: int, units: int) -> None:
        try:
            self._budget.spend(units)
        except Exhausted as exhausted:
            wrong = exhausted.message
        else:
            return
        raise self._error(at, wrong)

    def _write(self, at: int, text: str) -> None:
        self._length += len(text)
        if self._length > LONGEST:
            raise self._error(at, f"more than {LONGEST} characters come out")
        self._out.append(text)

    # -- nodes

    def _called(self, nodes: tuple[Node, ...], dot: Any, at: int) -> None:
        """A template's body, with variables of its own."""
        variables, self._variables = self._variables, [("$", dot)]
        self._body(nodes, dot, at)
        self._variables = variables

    def _body(self, nodes: tuple[Node, ...], dot: Any, at: int) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(at, f"more than {DEEPEST} blocks and templates run within each other")
        known = len(self._variables)
        try:
            for node in nodes:
                self._spend(node.at, NODE)
                self._node(node, dot)
        finally:
            del self._variables[known:]
            self._depth -= 1

    def _node(self, node: Node, dot: Any) -> None:
        match node:
            case Text():
                self._write(node.at, node.text)
            case Action():
                value = self._pipe(node.pipe, dot)
                if not node.pipe.names:
                    self._print(node.at, value)
            case Branch(kind="range"):
                self._range(node, dot)
            case Branch():
                known = len(self._variables)
                value = self._pipe(node.pipe, dot)
                if values.truth(value):
                    self._body(node.body, value if node.kind == "with" else dot, node.at)
                else:
                    self._body(node.otherwise, dot, node.at)
                del self._variables[known:]
            case Call():
                body = self._tree.defined.get(node.name)
                if body is None:
                    known_names = ", ".join(map(repr, sorted(self._tree.defined))) or "none"
                    raise self._error(node.at, f"the template {node.name!r} is not defined; defined are {known_names}")
                value = None if node.pipe is None else self._pipe(node.pipe, dot)
                self._called(body, value, node.at)
            case Jump():
                raise _Break if node.kind == "break" else _Continue

    def _print(self, at: int, value: Any) -> None:
        try:
            self._budget.spend_within(value)
            text = values.printed(value)
        except Unfit as unfit:
            wrong = unfit.message
        else:
            self._write(at, text)
            return
        raise self._error(at, wrong)

    def _range(self, node: Branch, dot: Any) -> None:
        known = len(self._variables)
        value = self._pipe(node.pipe, dot)  # which gives it to the variables, too; `else` finds it there
        declared = len(self._variables)
        turns = 0
        try:
            for key, item in self._items(node, value):
                turns += 1
                self._spend(node.at, NODE)
                self._give(node.pipe, (key, item) if len(node.pipe.names) == 2 else (item,), known)
                with contextlib.suppress(_Continue):
                    self._body(node.body, item, node.at)
                del self._variables[declared:]
        except _Break:
            pass
        if not turns:
            self._body(node.otherwise, dot, node.at)
        del self._variables[known:]

    def _give(self, pipe: Pipe, given: Sequence[Any], declared: int) -> None:
        """The variables of a range get the values of one turn."""
        for index, name in enumerate(pipe.names):
            if pipe.assigns:
                self._assign(name, given[index])
            else:
                self._variables[declared + index] = name, given[index]

    def _items(self, node: Branch, value: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, dict):
            yield from values.ordered(value)
        elif isinstance(value, list):
            yield from enumerate(value)
        elif values.is_whole(value):
            if len(node.pipe.names) > 1:
                raise self._error(node.at, "range over a number has one variable")
            of = type(value) if type(value) in (values.Int64, values.Byte) else int
            yield from ((number, of(number)) for number in range(value))
        elif value is not None:
            raise self._error(
                node.at, f"range is for lists, objects and whole numbers, not for {values.article(value)}"
            )

    def _assign(self, name: str, value: Any) -> None:
        for index in range(len(self._variables) - 1, -1, -1):
            if self._variables[index][0] == name:
                self._variables[index] = name, value
                return

    # -- values

    def _pipe(self, pipe: Pipe, dot: Any) -> Any:
        value: Any = _NOTHING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        for name in pipe.names:
            if pipe.assigns:
                self._assign(name, value)
            else:
                self._variables.append((name, value))
        return value

    def _command(self, command: Command, dot: Any, final: Any) -> Any:
        first, *rest = command.operands
        if isinstance(first, Identifier):
            return self._function(first, rest, dot, final)
        if rest or final is not _NOTHING:
            if isinstance(first, Field | Variable | Chain):
                self._operand(first, dot)
            raise self._error(first.at, f"{_shown(first)} is not a function, so it takes no argument")
        if isinstance(first, Nil):
            raise self._error(first.at, "nil is not a command")
        return self._operand(first, dot)

    def _operand(self, operand: Operand, dot: Any) -> Any:
        match operand:
            case Dot():
                return dot
            case Nil():
                return None
            case Literal():
                return operand.value
            case Number():
                return self._constant(operand)
            case Field():
                return self._fields(operand.at, dot, operand.names)
            case Variable():
                found = next(value for name, value in reversed(self._variables) if name == operand.name)
                return self._fields(operand.at, found, operand.names)
            case Chain():
                if isinstance(operand.of, Nil):
                    raise self._error(operand.at, "nil has no fields")
                return self._fields(operand.at, self._operand(operand.of, dot), operand.names)
            case Pipe():
                return self._pipe(operand, dot)
            case Identifier():
                return self._function(operand, [], dot, _NOTHING)

    def _constant(self, number: Number) -> int | float:
        """A constant where any type will do."""
        if number.fraction:
            return number.real
        if number.whole is None or not -(2**63) <= number.whole < 2**63:
            raise self._error(number.at, "the number is too large for an int")
        return number.whole

    def _fields(self, at: int, value: Any, names: tuple[str, ...]) -> Any:
        for name in names:
            if value is None:
                raise self._error(at, f"null has no key {name!r}")
            if not isinstance(value, dict):
                raise self._error(at, f"there is no key {name!r} in {values.article(value)}")
            if name not in value:
                raise self._error(at, f"there is no key {name!r}; {self._shown_keys(value)}")
            value = value[name]
        return value

    def _shown_keys(self, value: dict[str, Any]) -> str:
        own, keys = self._keys.get(id(value), (None, ()))
        if own is value:
            return values.shown_keys(keys)
        return f"the object was made by the template, with {len(value)} {'key' if len(value) == 1 else 'keys'}"

    # -- functions

    def _function(self, name: Identifier, rest: list[Operand], dot: Any, final: Any) -> Any:
        if name.name in ("and", "or"):
            return self._shortcut(name, rest, dot, final)
        function = functions.find(name.name)
        count, fixed = len(rest) + (final is not _NOTHING), len(function.takes)
        if count < fixed or (count > fixed and function.more is None):
            least = f"at least {fixed}" if function.more else str(fixed)
            raise self._error(
                name.at, f"{name.name} takes {least} {'argument' if fixed == 1 else 'arguments'}, got {count}"
            )
        given = []
        for index, operand in enumerate(rest):
            given.append(self._argument(name.name, operand, dot, _wanted(function, index)))
        if final is not _NOTHING:
            given.append(self._fit(name.name, name.at, final, _wanted(function, count - 1)))
        return self._apply(name, function, given, written=bool(rest) and isinstance(rest[0], Literal))

    def _apply(self, name: Identifier, function: Function, given: list[Any], *, written: bool) -> Any:
        """The result of a call. `written`: its first argument stands in the template."""
        try:
            self._budget.spend(NODE)
            self._budget.spend_on(function.cost, given)
            found = function.does(self._budget.spend, *given) if function.metered else function.does(*given)
            self._budget.spend_on("items", [found])
            return fits(found) if isinstance(found, str) else found
        except Unfit as unfit:
            wrong = f"{unfit.message}: {unfit.detail}" if unfit.detail and written else unfit.message
        except (ValueError, TypeError, ArithmeticError, LookupError):
            # Python's own words may quote a value.
            wrong = "its arguments do not fit"
        raise self._error(name.at, f"{name.name}: {wrong}")

    def _shortcut(self, name: Identifier, rest: list[Operand], dot: Any, final: Any) -> Any:
        """`and` and `or` evaluate no further than they must."""
        if not rest and final is _NOTHING:
            raise self._error(name.at, f"{name.name} takes at least 1 argument, got 0")
        value = None
        for operand in rest:
            value = self._argument(name.name, operand, dot, "any")
            if values.truth(value) == (name.name == "or"):
                return value
        return value if final is _NOTHING else final

    def _argument(self, function: str, operand: Operand, dot: Any, wants: str) -> Any:
        if isinstance(operand, Number):
            return self._number(function, operand, wants)
        return self._fit(function, operand.at, self._operand(operand, dot), wants)

    def _number(self, function: str, number: Number, wants: str) -> Any:
        """A constant takes the type that is wanted, if it can."""
        if wants == "any":
            return self._constant(number)
        if wants == "float64":
            return number.real
        if wants == "int" and number.whole is not None and -(2**63) <= number.whole < 2**63:
            return number.whole
        raise self._error(number.at, f"{function} needs {_TYPES[wants]} here, not this number")

    def _fit(self, function: str, at: int, value: Any, wants: str) -> Any:
        if wants == "any":
            return value
        kind = values.kind(value)
        if kind == wants and not isinstance(value, values.Texts):
            return value
        if wants == "float64" and values.is_written(value):
            return float(value)
        if wants == "int" and kind in ("int64", "uint8"):
            raise self._error(at, f"{function} needs an int here, not an {kind}; write (int …)")
        raise self._error(at, f"{function} needs {_TYPES[wants]} here, not {values.article(value)}")


_TYPES: Mapping[str, str] = {
    "string": "a text",
    "int": "a whole number",
    "float64": "a number with a fraction",
    "bool": "a boolean",
    "map": "an object",
}


def _wanted(function: Function, index: int) -> str:
    return function.takes[index] if index < len(function.takes) else str(function.more)


def _shown(operand: Operand) -> str:
    match operand:
        case Field():
            return "." + ".".join(operand.names)
        case Variable():
            return ".".join((operand.name, *operand.names))
        case Chain():
            return "(…)." + ".".join(operand.names)
        case Pipe():
            return "(…)"
        case Dot():
            return "."
        case Nil():
            return "nil"
    return "a constant"
