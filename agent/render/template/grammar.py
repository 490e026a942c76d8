"""From the tokens of a template to its tree, by the grammar of Go's text/template/parse."""

from __future__ import annotations

from agent.render.template import functions, quoted
from agent.render.template.errors import TemplateError
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
from agent.render.template.tokens import Token, tokens, wrong

LONGEST = 1 << 18  # characters of a template
DEEPEST = 50  # parentheses and blocks within each other

_KEYWORDS = frozenset({"break", "continue", "block", "define", "else", "end", "if", "range", "template", "with"})


def parse(text: str, known: frozenset[str]) -> Tree:
    """The tree of a template, which may call the functions that are known. Raises TemplateError with the place of the
    first thing that is wrong."""
    if len(text) > LONGEST:
        raise wrong(text, f"the template is longer than {LONGEST} characters", 0)
    return _Parser(text, known).tree()


class _Parser:
    def __init__(self, text: str, known: frozenset[str]) -> None:
        self._text = text
        self._callable = known
        self._tokens = list(tokens(text))
        self._next = 0
        self._names: list[str] = ["$"]  # variables that are known here
        self._loops = 0
        self._depth = 0
        self._defined: dict[str, tuple[Node, ...]] = {}
        self._functions: set[str] = set()

    # -- tokens

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _spaces(self) -> None:
        while self._peek().kind == "space":
            self._next += 1

    def _is_mark(self, text: str) -> bool:
        token = self._peek()
        return token.kind == "mark" and token.text == text

    def _error(self, message: str, at: int | None = None) -> TemplateError:
        return wrong(self._text, message, self._peek().at if at is None else at)

    def _unexpected(self, where: str) -> TemplateError:
        token = self._peek()
        return self._error(
            f"unexpected {'end of the template' if token.kind == 'end' else repr(token.text)} in {where}"
        )

    def _close(self, of: str) -> None:
        self._spaces()
        if self._peek().kind != "close":
            raise self._unexpected(of)
        self._next += 1

    def _deeper(self, at: int) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(f"there are more than {DEEPEST} blocks and parentheses within each other", at)

    # -- lists of nodes

    def tree(self) -> Tree:
        nodes: list[Node] = []
        while self._peek().kind != "end":
            at = self._peek().at
            node, ended = self._node(top=True)
            if ended:
                raise self._error(f"unexpected {{{{{ended}}}}}", at)
            if node is not None:
                nodes.append(node)
        return Tree(self._text, tuple(nodes), self._defined, frozenset(self._functions))

    def _list(self, of: str, at: int) -> tuple[tuple[Node, ...], str]:
        """The nodes up to `end` or `else`, and which of the two it was."""
        self._deeper(at)
        nodes: list[Node] = []
        while self._peek().kind != "end":
            node, ended = self._node()
            if ended:
                self._depth -= 1
                return tuple(nodes), ended
            if node is not None:
                nodes.append(node)
        raise self._error(f"{of} has no {{{{end}}}}", at)

    def _node(self, *, top: bool = False) -> tuple[Node | None, str]:
        """The next node, if it is one that stays, or the `end` or `else` that was found instead."""
        token = self._take()
        if token.kind == "text":
            return Text(token.at, token.text), ""
        self._spaces()
        word = self._peek()
        if word.kind == "word" and word.text in _KEYWORDS:
            self._next += 1
            return self._keyword(word, token.at, top=top)
        pipe = self._pipe("an action", "close", names=1)
        return Action(token.at, pipe), ""

    def _keyword(self, word: Token, at: int, *, top: bool) -> tuple[Node | None, str]:
        match word.text:
            case "if" | "with" | "range":
                return self._branch(word.text, at), ""
            case "end":
                self._close("{{end}}")
                return None, "end"
            case "else":
                return None, "else"
            case "template":
                return self._call(at), ""
            case "block":
                return self._block(at), ""
            case "define":
                if not top:
                    raise self._error("define may stand at the top of a template only", word.at)
                self._define()
                return None, ""
        if not self._loops:
            raise self._error(f"{word.text} outside of range", word.at)
        self._close(word.text)
        return Jump(at, word.text), ""

    def _branch(self, kind: str, at: int) -> Branch:
        known = len(self._names)
        pipe = self._pipe(kind, "close", names=2 if kind == "range" else 1)
        self._loops += kind == "range"
        body, ended = self._list(kind, at)
        self._loops -= kind == "range"
        otherwise: tuple[Node, ...] = ()
        if ended == "else":
            self._spaces()
            again = self._peek()
            if kind != "range" and again.kind == "word" and again.text == kind:
                # {{else if}} is an if within the else, with one end for both.
                self._next += 1
                self._deeper(at)
                otherwise = (self._branch(kind, again.at),)
                self._depth -= 1
            else:
                self._close("{{else}}")
                otherwise, ended = self._list(kind, at)
                if ended != "end":
                    raise self._error(f"{kind} has a second {{{{else}}}}", at)
        del self._names[known:]
        return Branch(at, kind, pipe, body, otherwise)

    def _name(self, of: str) -> str:
        self._spaces()
        if self._peek().kind not in ("string", "raw"):
            raise self._unexpected(f"{of}, which needs a name in quotes")
        return self._unquoted(self._take())

    def _call(self, at: int) -> Call:
        name = self._name("template")
        self._spaces()
        if self._peek().kind == "close":
            self._next += 1
            return Call(at, name, None)
        return Call(at, name, self._pipe("template", "close", names=1))

    def _define(self) -> None:
        at = self._peek().at
        name = self._name("define")
        self._close("define")
        self._body(name, at)

    def _block(self, at: int) -> Call:
        name = self._name("block")
        pipe = self._pipe("block", "close", names=1)
        self._body(name, at)
        return Call(at, name, pipe)

    def _body(self, name: str, at: int) -> None:
        """What a template of that name consists of; it cannot see the variables of the text around it."""
        names, self._names, loops, self._loops = self._names, ["$"], self._loops, 0
        body, ended = self._list("define", at)
        self._names, self._loops = names, loops
        if ended != "end":
            raise self._error("unexpected {{else}} in define", at)
        if _is_empty(self._defined.get(name, ())):
            self._defined[name] = body
        elif not _is_empty(body):
            raise self._error(f"the template {name!r} is defined twice", at)

    # -- pipelines

    def _pipe(self, of: str, end: str, *, names: int) -> Pipe:
        """Commands up to the end, which is taken, too: `close` or `)`. `names`: how many variables it may declare."""
        self._spaces()
        at = self._peek().at
        declared, assigns = self._declaration(of, names)
        commands: list[Command] = []
        while True:
            self._spaces()
            token = self._peek()
            if token.kind == end or (token.kind == "mark" and token.text == end):
                self._next += 1
                break
            if token.kind in ("close", "end", "open") or (token.kind == "mark" and token.text not in "(."):
                raise self._unexpected(of)
            commands.append(self._command())
        if not commands:
            raise self._error(f"missing value for {of}", at)
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.operands[0], Literal | Dot | Nil | Number):
                raise self._error(f"stage {stage} of the pipeline is not a function", command.at)
        if not assigns:
            self._names += declared
        return Pipe(at, tuple(commands), declared, assigns)

    def _declaration(self, of: str, most: int) -> tuple[tuple[str, ...], bool]:
        """The variables in front of := or =, and whether it was the second; nothing is taken if there are none."""
        begin = self._next
        names: list[str] = []
        while self._peek().kind == "variable":
            names.append(self._take().text)
            self._spaces()
            if self._is_mark(":=") or self._is_mark("="):
                token = self._take()
                if len(names) > most:
                    raise self._error(f"too many declarations in {of}", token.at)
                if token.text == "=":
                    for name in names:
                        self._known(name, token.at)
                return tuple(names), token.text == "="
            if not self._is_mark(","):
                break
            self._next += 1
            self._spaces()
        self._next = begin
        return (), False

    def _known(self, name: str, at: int) -> None:
        if name not in self._names:
            raise self._error(f"undefined variable {name!r}", at)

    def _command(self) -> Command:
        at = self._peek().at
        operands: list[Operand] = []
        while True:
            self._spaces()
            operand = self._operand()
            if operand is not None:
                operands.append(operand)
            if self._peek().kind == "space":
                continue
            if self._is_mark("|"):
                self._next += 1
                break
            if self._peek().kind == "close" or self._is_mark(")"):
                break
            raise self._unexpected("a command")
        if not operands:
            raise self._error("empty command", at)
        return Command(at, tuple(operands))

    def _operand(self) -> Operand | None:
        operand = self._term()
        if operand is None or self._peek().kind != "field":
            return operand
        at, names = self._peek().at, self._fields()
        match operand:
            case Field():
                return Field(operand.at, operand.names + names)
            case Variable():
                return Variable(operand.at, operand.name, operand.names + names)
            case Literal() | Number() | Nil() | Dot():
                raise self._error("unexpected field of a constant", at)
        return Chain(at, operand, names)

    def _fields(self) -> tuple[str, ...]:
        names: list[str] = []
        while self._peek().kind == "field":
            names.append(self._take().text[1:])
        return tuple(names)

    def _term(self) -> Operand | None:
        token = self._peek()
        match token.kind:
            case "word":
                self._next += 1
                return self._word(token)
            case "field":
                return Field(token.at, self._fields())
            case "variable":
                self._next += 1
                self._known(token.text, token.at)
                return Variable(token.at, token.text, self._fields())
            case "number" | "character":
                self._next += 1
                return self._number(token)
            case "string" | "raw":
                self._next += 1
                return Literal(token.at, self._unquoted(token))
            case "mark" if token.text == ".":
                self._next += 1
                return Dot(token.at)
            case "mark" if token.text == "(":
                self._next += 1
                self._deeper(token.at)
                pipe = self._pipe("parentheses", ")", names=1)
                self._depth -= 1
                return pipe
        return None

    def _word(self, token: Token) -> Operand:
        if token.text in ("true", "false"):
            return Literal(token.at, token.text == "true")
        if token.text == "nil":
            return Nil(token.at)
        if token.text in _KEYWORDS:
            raise self._error(f"unexpected {token.text!r} in a command", token.at)
        if token.text not in self._callable:
            raise self._error(functions.unknown(token.text), token.at)
        self._functions.add(token.text)
        return Identifier(token.at, token.text)

    def _unquoted(self, token: Token) -> str:
        found = quoted.unquoted(token.text)
        if found is None:
            raise self._error("a text in quotes has an escape that Go does not know", token.at)
        return found

    def _number(self, token: Token) -> Number:
        if token.kind == "character":
            rune = quoted.character(token.text)
            if rune is None:
                raise self._error("a constant in single quotes must be one character", token.at)
            return Number(token.at, rune, float(rune), fraction=False)
        made = quoted.number(token.text)
        if made is None:
            raise self._error(f"bad number {token.text!r}", token.at)
        return Number(token.at, *made)


def _is_empty(nodes: tuple[Node, ...]) -> bool:
    """Whether there is nothing but space in it, so that another definition may replace it."""
    return all(isinstance(node, Text) and not node.text.strip() for node in nodes)
