"""sprig's functions on texts, and on paths."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

from agent.render.template import quoted, values, words
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions
from agent.render.template.quoted import decoded, encoded

Spend = Callable[[int], None]

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _substr(start: int, end: int, text: str) -> str:
    content = encoded(text)
    if start < 0:
        start = 0
    elif end < 0 or end > len(content):
        end = len(content)
    if not 0 <= start <= end <= len(content):
        raise Unfit("the start or the end is out of range")
    return decoded(content[start:end])


def _trunc(length: int, text: str) -> str:
    content = encoded(text)
    if length < 0 and len(content) + length > 0:
        return decoded(content[len(content) + length :])
    return decoded(content[:length]) if 0 <= length < len(content) else text


def _repeat(spend: Spend, count: int, text: str) -> str:
    if count < 0:
        raise Unfit("the count is negative")
    spend(count * len(text))
    return text * count


def _replace(spend: Spend, old: str, new: str, text: str) -> str:
    spend(text.count(old) * len(new))
    return text.replace(old, new)


def _indent(spend: Spend, spaces: int, text: str) -> str:
    if spaces < 0:
        raise Unfit("the number of spaces is negative")
    spend((text.count("\n") + 1) * spaces)
    return " " * spaces + text.replace("\n", "\n" + " " * spaces)


def _wrapped(spend: Spend, width: int, mark: str, text: str) -> str:
    spend(len(text) // max(1, width) * len(mark))
    return words.wrapped(text, width, mark, cut=True)


def _quoted(*given: Any) -> str:
    return " ".join(quoted.quote(values.plain(value)) for value in given if value is not None)


def _squoted(*given: Any) -> str:
    return " ".join(f"'{values.plain(value)}'" for value in given if value is not None)


def _cat(*given: Any) -> str:
    return " ".join(values.plain(value) for value in given if value is not None)


def _trim(cut: str, text: str) -> str:
    return text.strip(cut) if cut else text


_add("trim", lambda text: text.strip(words.SPACE), "string")
_add("trimAll trimall", _trim, "string string")
_add("trimPrefix", lambda cut, text: text.removeprefix(cut), "string string")
_add("trimSuffix", lambda cut, text: text.removesuffix(cut), "string string")
_add("upper", words.upper, "string")
_add("lower", words.lower, "string")
_add("title", words.title, "string")
_add("untitle", words.untitle, "string")
_add("swapcase", words.swapcase, "string")
_add("snakecase", words.snake, "string")
_add("camelcase", words.pascal, "string")
_add("kebabcase", words.kebab, "string")
_add("initials", words.initials, "string")
_add("nospace", words.without_space, "string")
_add("repeat", _repeat, "int string", metered=True)
_add("substr", _substr, "int int string")
_add("trunc", _trunc, "int string")
_add("abbrev", lambda width, text: words.abbreviated(0, width, text), "int string")
_add("abbrevboth", words.abbreviated, "int int string")
_add("wrap", lambda width, text: words.wrapped(text, width, "", cut=False), "int string")
_add("wrapWith", _wrapped, "int string string", metered=True)
_add("contains", lambda part, text: part in text, "string string")
_add("hasPrefix", lambda part, text: text.startswith(part), "string string")
_add("hasSuffix", lambda part, text: text.endswith(part), "string string")
_add("quote", _quoted, "", "any")
_add("squote", _squoted, "", "any")
_add("cat", _cat, "", "any")
_add("indent", _indent, "int string", metered=True)
_add("nindent", lambda spend, spaces, text: "\n" + _indent(spend, spaces, text), "int string", metered=True)
_add("replace", _replace, "string string string", metered=True)
_add("plural", lambda one, many, count: one if count == 1 else many, "string string int")
_add("toString", values.plain, "any")
_add("hello", lambda: "Hello!")


def _fail(message: str) -> str:
    raise Unfit("the template gives up", message)


_add("fail", _fail, "string")

# -- paths -------------------------------------------------------------------------------------------------------------


def _clean(path: str) -> str:
    cleaned = posixpath.normpath(path) if path else "."
    return "/" + cleaned.lstrip("/") if cleaned.startswith("//") else cleaned


def _base(path: str) -> str:
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def _directory(path: str) -> str:
    head, slash, _ = path.rpartition("/")
    return _clean(head + slash)


def _extension(path: str) -> str:
    name = path.rpartition("/")[2]
    return name[name.rfind(".") :] if "." in name else ""


_add("base osBase", _base, "string")
_add("dir osDir", _directory, "string")
_add("clean osClean", _clean, "string")
_add("ext osExt", _extension, "string")
_add("isAbs osIsAbs", lambda path: path.startswith("/"), "string")
