"""Pick from a secret's JSON by JMESPath."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, Any

from agent.core.errors import ProjectionError, shown
from agent.render.json import compact
from agent.render.raw import kind

if TYPE_CHECKING:
    from jmespath import Options
    from jmespath.parser import ParsedResult

_SHOWN = 20  # keys that an error lists


@functools.cache
def _compiled(expression: str) -> ParsedResult:
    import jmespath  # with `inspect`, which it imports, it would cost every pod 1.4 MiB

    return jmespath.compile(expression)


@functools.cache
def _options() -> Options:
    import jmespath
    from jmespath.functions import Functions, signature

    class Own(Functions):
        """JMESPath's functions."""

        @signature({"types": []})
        def _func_to_string(self, item: Any) -> str:
            """JSON that is the same for equal values, with numbers and letters as they are written."""
            return item if isinstance(item, str) else compact(_sorted(item))

    return jmespath.Options(custom_functions=Own())


def _sorted(item: Any) -> Any:
    """The same with the keys of all objects in order."""
    if isinstance(item, dict):
        return {key: _sorted(item[key]) for key in sorted(item)}
    return [_sorted(each) for each in item] if isinstance(item, list) else item


def pick(tree: Any, expression: str | None, where: str, *, missing: bool = False) -> Any:
    """What the expression picks from the tree, or the whole tree without an expression. Raises ProjectionError, also
    for nothing and null, unless these may be `missing`."""
    if expression is None:
        return tree
    try:
        picked = _compiled(expression).search(tree, _options())
    except Exception:  # a jmespath function may raise anything, and its message may quote the value
        failed = True
    else:
        failed = False
    if failed:
        raise ProjectionError(f"{where}: jmesPath {expression!r} fails for the secret's JSON; try it on a sample")
    if picked is None and not missing:
        found = keys_of(tree, expression, in_jmespath=True)
        raise ProjectionError(f"{where}: jmesPath {expression!r} finds nothing or null; {found}")
    return picked


def keys_of(tree: Any, expression: str, *, in_jmespath: bool = False) -> str:
    """The keys that exist, as a hint for correcting an expression or a key's name."""
    if not isinstance(tree, dict):
        return f"the secret's JSON is {kind(tree)}, not an object"
    if not tree:
        return "the secret's JSON object is empty"
    listed = ", ".join(shown(key) for key in sorted(tree)[:_SHOWN])
    more = f" and {len(tree) - _SHOWN} more" if len(tree) > _SHOWN else ""
    from agent.core import jmespath_keys  # for a hint

    close = difflib.get_close_matches(expression, tree, n=1)
    said = f"its keys are {listed}{more}"
    if close and in_jmespath and (written := jmespath_keys.in_jmespath(close[0])) != close[0]:
        return f"{said}; {jmespath_keys.QUOTED_KEYS}: write jmesPath: {written}"
    return f"{said}; did you mean {shown(close[0])}?" if close else said
