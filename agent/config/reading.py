"""From the nodes of a document to values. Collects every problem with its position; no problem stops the reading.

Knows durations, paths, URLs and sections, but not what the config uses them for.
"""

from __future__ import annotations

import math
import re
from urllib.parse import urlsplit

from agent.config.document import Mapping, Node, Scalar, Sequence, suggestion
from agent.core.errors import Problem
from agent.core.record import Record

_NUMBER = r"(\d{1,9}(?:\.\d{1,3})?)"

_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?")

_PATH_LIMIT, _NAME_BYTES = 4096, 255

_LONGEST = 30 * 86400  # seconds

SHORTEST = 0.1  # seconds of a period; a mistyped unit must not become a busy loop


class Section(Record):
    """A mapping with only known keys; empty where the document has none."""

    node: Mapping | None
    entries: dict[str, Node]

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def key(self, name: str) -> Scalar:
        """The key itself, with its position. It must exist."""
        entries = self.node.entries if self.node else ()
        return next(key for key, _ in entries if key.text == name)


class Reader:
    """Reads nodes into values, and collects what is wrong in `problems`. A harmless value replaces a wrong one, so that
    the rest is still checked; if there are problems, the caller must discard the result.

    `known` names the keys of each kind of section.
    """

    def __init__(self, problems: list[Problem], known: dict[str, tuple[str, ...]]) -> None:
        self.problems = problems
        self._known = known

    def wrong(self, node: Node, message: str) -> None:
        """Record a problem at the node."""
        self.problems.append(Problem(node.line, node.column, message))

    def section(self, node: Node | None, kind: str, required: tuple[str, ...] = ()) -> Section:
        """The keys and values of a mapping. Unknown keys and missing required ones are problems."""
        if node is None:
            return Section(None, {})
        if not isinstance(node, Mapping):
            self.wrong(node, f"must be a mapping with {', '.join(self._known[kind])}, not {_found(node)}")
            return Section(None, {})
        entries = {}
        for key, value in node.entries:
            if key.text in self._known[kind]:
                entries[key.text] = value
            else:
                known = self._known[kind]
                hint = suggestion(key.text, known) or f"; the known keys here are {', '.join(known)}"
                self.wrong(key, f"key {key.text!r} is not known{hint}")
        for name in required:
            if name not in entries:
                self.wrong(node, f"key {name!r} is missing")
        return Section(node, entries)

    def items(self, section: Section, key: str, what: str) -> tuple[Node, ...]:
        """The items of a list that is not empty."""
        node = section.entries.get(key)
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            self.wrong(node, f"{key} must be a list of {what}, not {_found(node)}")
            return ()
        if not node.items:
            self.wrong(node, f"{key} is empty; it needs at least one entry")
        return node.items

    def scalar(self, node: Node, what: str) -> str | None:
        """The text of a scalar; `what` says what it must be."""
        if not isinstance(node, Scalar) or node.empty or not node.text:
            self.wrong(node, f"must be {what}, not {_found(node)}")
            return None
        return node.text

    def text(self, section: Section, key: str, what: str = "text") -> str | None:
        """The text of a key, or None if it is not there."""
        node = section.entries.get(key)
        return None if node is None else self.scalar(node, what)

    def pattern(self, section: Section, key: str, pattern: re.Pattern[str], what: str) -> str | None:
        """The text of a key, which must match."""
        text = self.text(section, key, what)
        if text is not None and not pattern.fullmatch(text):
            self.wrong(section.entries[key], f"{text!r} is not {what}")
        return text

    def constant(self, section: Section, key: str, value: str) -> None:
        """Check a key that has only one valid value."""
        text = self.text(section, key, repr(value))
        if text is not None and text != value:
            self.wrong(section.entries[key], f"{key} is {text!r}; this agent reads only {value!r}")

    def choice(self, section: Section, key: str, known: tuple[str, ...]) -> str:
        """One of the known words; the first if the key is missing."""
        text = self.text(section, key, f"one of {', '.join(known)}")
        if text is not None and text not in known:
            close = f"; did you mean {'SIG' + text!r}?" if "SIG" + text in known else suggestion(text, known)
            self.wrong(section.entries[key], f"{text!r} is not one of {', '.join(known)}{close}")
        return text or known[0]

    def boolean(self, section: Section, key: str) -> bool:
        """`true` or `false`, which is the default."""
        node = section.entries.get(key)
        if node is None:
            return False
        if not isinstance(node, Scalar) or not node.plain or node.text not in ("true", "false"):
            self.wrong(node, f"{key} must be true or false, not {_found(node)}")
            return False
        return node.text == "true"

    def duration(self, section: Section, key: str, default: float, least: float = 0.0) -> float:
        """Seconds, from a duration such as 500ms, 30s, 2m or 1h30m."""
        text = self.text(section, key, "a duration such as 30s")
        if text is None:
            return default
        node = section.entries[key]
        found = _DURATION.fullmatch(text)
        if not found or not text:
            hint = f'; write "{text}s" for seconds' if text.isdigit() else ""
            self.wrong(node, f"{text!r} is not a duration such as 500ms, 30s, 2m or 1h30m{hint}")
            return default
        length = _length(found)
        if not least <= length <= _LONGEST:
            self.wrong(node, f"{key} must be between {least:g}s and {_LONGEST // 86400} days")
            return default
        return length

    def url(self, section: Section, key: str, example: str) -> str | None:
        """An http or https URL without credentials, or None."""
        text = self.text(section, key, f"a URL such as {example}")
        if text is None:
            return None
        shown = shown_url(text)
        if "@" in re.split("[/?#]", text.partition("://")[2] or text)[0]:
            self.wrong(
                section.entries[key], f"{key} contains credentials, which do not belong in a config; remove them"
            )
        elif problem := _no_url(text):
            said = key if "@" in shown else repr(shown)
            self.wrong(section.entries[key], f"{said} is not a URL such as {example}: {problem}")
        return text

    def absolute(self, section: Section, key: str) -> str | None:
        """An absolute path, normalised, or None."""
        text = self.text(section, key, "an absolute path")
        if text is None:
            return None
        parts = text.split("/")
        if not text.startswith("/") or ".." in parts or "." in parts or _unprintable(text) or len(text) > _PATH_LIMIT:
            self.wrong(section.entries[key], f"{text!r} must be an absolute path without '.' and '..'")
        return "/" + "/".join(part for part in parts if part)

    def relative(self, section: Section, key: str) -> str | None:
        """A path below the volume, or None if it is not valid."""
        text = self.text(section, key, "a path below the volume")
        if text is None:
            return None
        parts = text.split("/")
        if text.startswith("/"):
            problem = "must be relative to volume.path"
        elif any(part.startswith("..") for part in parts):
            problem = "leaves the volume, or has a name that starts with '..', which only the agent may use"
        elif any(part in ("", ".") for part in parts):
            problem = "has an empty or '.' part; remove it"
        elif _unprintable(text):
            problem = "contains a control character"
        elif len(text.encode()) > _PATH_LIMIT or any(len(part.encode()) > _NAME_BYTES for part in parts):
            problem = f"is too long: at most {_NAME_BYTES} bytes for each name and {_PATH_LIMIT} in all"
        else:
            return text
        self.wrong(section.entries[key], f"{text!r} {problem}")
        return None

    def regular_expression(self, section: Section) -> str:
        """The key `pattern`, as Python's `re` reads it."""
        text = self.text(section, "pattern", "a regular expression")
        try:
            re.compile(text or "")
        except (re.error, RecursionError, OverflowError) as error:
            self.wrong(section.entries["pattern"], f"is not a regular expression: {error}")
        return text or ""


def shown_url(text: str) -> str:
    """A URL that is safe to show: without query and fragment, which may contain a token."""
    return re.split("[?#]", text)[0]


def _no_url(text: str) -> str | None:
    """Why the text is not a URL that can be called; None if it is one."""
    if any(char.isspace() or ord(char) < 0x20 for char in text):
        return "it contains a space"
    scheme, found, _ = text.partition("://")
    if not found:
        return "it does not begin with http:// or https://"
    if scheme not in ("http", "https"):
        return f"{scheme!r} is neither http nor https"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "its host or its port is wrong"
    if not host:
        return "its host is missing"
    return "its port is 0" if port == 0 else None


def written(length: float) -> str:
    """Seconds written as a duration such as 1h30m, rounded up to the millisecond."""
    millis = math.ceil(round(length * 1000, 3))
    parts = []
    for size, unit in ((3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")):
        count, millis = divmod(millis, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def seconds(text: str) -> float | None:
    """The length of a duration such as 1h30m in seconds, or None if the text is not one."""
    found = _DURATION.fullmatch(text)
    return _length(found) if found and text else None


def _length(found: re.Match[str]) -> float:
    hours, minutes, whole, millis = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + whole + millis / 1000


def _unprintable(text: str) -> bool:
    return any(ord(char) < 0x20 or ord(char) == 0x7F or 0xD800 <= ord(char) <= 0xDFFF for char in text)


def _found(node: Node) -> str:
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.empty or not node.text:
        return "empty"
    return repr(node.text if len(node.text) <= 60 else node.text[:57] + "...")
