"""From the text of a template to tokens, by the lexer of Go's text/template/parse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from agent.render.template.errors import TemplateError, place

SPACE = " \t\r\n"
_LEXEMES = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<word>[^\W\d]\w*)
    |(?P<field>\.[^\W\d]\w*)
    |(?P<variable>\$\w*)
    |(?P<number>[+-]?(?:0[xX][\w.]*(?:(?<=[pP])[+-]\w+)?|(?:\d|\.\d)[\w.]*(?:(?<=[eE])[+-]\w+)?))
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*")
    |(?P<raw>`[^`]*`)
    |(?P<character>'(?:[^'\\\n]|\\[^\n])*')
    |(?P<mark>:=|[=|(),.])
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_ENDS = frozenset(".,|:)(" + SPACE)  # what may follow a word, a field or a variable


class Token(NamedTuple):
    """`kind` is text, space, word, field, variable, number, string, raw, character, mark, open, close or end."""

    kind: str
    text: str
    at: int


def wrong(text: str, message: str, at: int) -> TemplateError:
    """An error at an offset."""
    return TemplateError(message, *place(text, at))


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a template, the last of kind `end`. Texts are trimmed where a marker asks for it; comments are
    gone. Raises TemplateError.
    """
    at, trimmed = 0, False
    while True:
        begin = text.find("{{", at)
        end = len(text) if begin < 0 else begin
        if trimmed:
            at = _skip(text, at, end)
        inside = begin + 2
        last = end
        if begin >= 0 and _marker(text, inside):
            last = at + len(text[at:end].rstrip(SPACE))
            inside += 2
        if last > at:
            yield Token("text", text[at:last], at)
        if begin < 0:
            yield Token("end", "", len(text))
            return
        if text.startswith("/*", inside):
            token = _after_comment(text, inside)
        else:
            yield Token("open", "{{", begin)
            for token in _action(text, inside):
                yield token
        at, trimmed = token.at + len(token.text), token.text != "}}"


def _marker(text: str, at: int) -> bool:
    """Whether a trim marker stands behind the braces: `- ` with its space."""
    return text.startswith("-", at) and text[at + 1 : at + 2] in tuple(SPACE)


def _closing(text: str, at: int) -> str:
    """The braces that close an action here, with their trim marker; empty if it goes on."""
    if text.startswith("}}", at):
        return "}}"
    return text[at : at + 4] if text[at : at + 1] in tuple(SPACE) and text.startswith("-}}", at + 1) else ""


def _skip(text: str, at: int, end: int) -> int:
    while at < end and text[at] in SPACE:
        at += 1
    return at


def _after_comment(text: str, at: int) -> Token:
    """The braces that close a comment."""
    end = text.find("*/", at + 2)
    if end < 0:
        raise wrong(text, "the comment is not closed", at)
    closing = _closing(text, end + 2)
    if not closing:
        raise wrong(text, "a comment must be closed by */}}, or by */ -}}", at)
    return Token("close", closing, end + 2)


def _action(text: str, at: int) -> Iterator[Token]:
    """What stands behind the braces, and last the braces that close it."""
    begin = at
    while not (closing := _closing(text, at)):
        found = _LEXEMES.match(text, at)
        if found is None:
            raise wrong(text, "the action is not closed by }}", begin)
        kind, lexeme = str(found.lastgroup), found[0]
        if kind == "space" and text.startswith("-}}", found.end()):
            lexeme = lexeme[:-1]  # the last one belongs to the trim marker
        if kind == "other":
            said = "a text in quotes is not closed" if lexeme in "\"'`" else f"unexpected {lexeme!r} in an action"
            raise wrong(text, said, at)
        end = at + len(lexeme)
        if kind in ("word", "field", "variable") and text[end : end + 1] not in _ENDS and not _closing(text, end):
            if end == len(text):
                raise wrong(text, "the action is not closed by }}", begin)
            raise wrong(text, f"unexpected {text[end]!r} after {lexeme}", end)
        yield Token(kind, lexeme, at)
        at = end
    yield Token("close", closing, at)
