"""How keys are written in JMESPath, and that in YAML."""

from __future__ import annotations

import json
import re

QUOTED_KEYS = "JMESPath reads a key with a dot, a dash or a digit in front only in double quotes"
_JMESPATH_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_KEY = re.compile(r"[\w/+:$-](?:[\w/+:$ -]*[\w/+:$-])?")


def in_jmespath(key: str) -> str:
    """How a key of a JSON object is written as `jmesPath` in YAML: as it is, or in JMESPath's own quotes if it has
    other characters than letters, digits and underscores, or starts with a digit."""
    return key if _JMESPATH_WORD.fullmatch(key) else _single_quoted(json.dumps(key))


def mended_path(expression: str) -> str | None:
    """What a path of keys that JMESPath cannot read was probably meant to be, as YAML writes it; None if it is no such
    path. Each part that needs quotes gets them: `prod.db-user` becomes `'prod."db-user"'`."""
    parts = expression.split(".")
    if not all(_PLAIN_KEY.fullmatch(part) for part in parts):
        return None
    return _single_quoted(".".join(part if _JMESPATH_WORD.fullmatch(part) else json.dumps(part) for part in parts))


def _single_quoted(text: str) -> str:
    """The text as a scalar in YAML's single quotes, in which nothing is special but the quote."""
    return "'" + text.replace("'", "''") + "'"
