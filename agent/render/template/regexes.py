"""sprig's functions with regular expressions, which are RE2."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.render.template import values
from agent.render.template.budget import Exhausted
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions

if TYPE_CHECKING:
    from agent.core import re2

Spend = Callable[[int], None]

_COMPILING = 16  # units for a character of a pattern

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _compiled(spend: Spend, pattern: str) -> re2.Pattern:
    from agent.core import re2

    spend(_COMPILING * len(pattern))
    try:
        return re2.compile(pattern)
    except re2.BadPattern as bad:
        wrong = bad.message
    raise Unfit("the regular expression is not RE2", wrong)


def _matches(spend: Spend, pattern: str, text: str) -> bool:
    """sprig's regexMatch, which takes a pattern that is none for one that does not match."""
    try:
        return _must_match(spend, pattern, text)
    except Exhausted:
        raise
    except Unfit:
        if not values.are_as_go():
            raise
        return False


def _must_match(spend: Spend, pattern: str, text: str) -> bool:
    return _compiled(spend, pattern).matches(text, spend)


def _find(spend: Spend, pattern: str, text: str) -> str:
    spans = _compiled(spend, pattern).search(text, spend)
    return text[spans[0] : spans[1]] if spans else ""


def _find_all(spend: Spend, pattern: str, text: str, most: int) -> values.Strings:
    found = _compiled(spend, pattern).find_all(text, most, spend)
    return values.Strings(text[start:end] for start, end, *_ in found)


def _replace(spend: Spend, pattern: str, text: str, template: str) -> str:
    return _compiled(spend, pattern).replace(text, template, spend)


def _replace_literal(spend: Spend, pattern: str, text: str, by: str) -> str:
    return _compiled(spend, pattern).replace(text, by, spend, literal=True)


def _split(spend: Spend, pattern: str, text: str, most: int) -> values.Strings:
    return values.Strings(_compiled(spend, pattern).split(text, most, spend))


def _quoted(text: str) -> str:
    from agent.core import re2

    return re2.quote_meta(text)


_add("mustRegexMatch", _must_match, "string string", metered=True)
_add("regexMatch", _matches, "string string", metered=True)
_add("regexFind mustRegexFind", _find, "string string", metered=True)
_add("regexFindAll mustRegexFindAll", _find_all, "string string int", metered=True)
_add("regexReplaceAll mustRegexReplaceAll", _replace, "string string string", metered=True)
_add("regexReplaceAllLiteral mustRegexReplaceAllLiteral", _replace_literal, "string string string", metered=True)
_add("regexSplit mustRegexSplit", _split, "string string int", metered=True)
_add("regexQuoteMeta", _quoted, "string")
