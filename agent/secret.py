"""A secret's value, which does not print, and its projection into files."""

from __future__ import annotations

import difflib
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from agent import reading
from agent.config import FileSpec, Format, Quoting, Require
from agent.errors import ProjectionError
from agent.record import Record

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult

LIMIT = 65_536  # bytes of a secret; https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
# What may come out for one file: an expression can double what it picks over and over.
_FILE_LIMIT = 4 << 20  # characters
_PIECES_LIMIT = 1 << 17  # pieces of JSON, twice as many as a whole secret of 64 KiB can have; bounds the time
_NAME_LIMIT = 255  # bytes of a file's name
_DOTENV_LINE = (64 << 10) - 1  # bytes; docker reads no longer line
_SHOWN = 20  # keys that an error lists
_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


_T = TypeVar("_T")
_Made = TypeVar("_Made")


class SecretValue:
    """The bytes of a secret. Neither str, repr, format nor pickle shows them; `reveal()` is the one way out."""

    __slots__ = ("_value", "text")

    def __init__(self, value: bytes, *, text: bool) -> None:
        self._value = value
        self.text = text  # True: a SecretString (UTF-8); False: a SecretBinary

    def reveal(self) -> bytes:
        """The bytes themselves, for the one who writes them to the volume."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret's value is not pickled")


class Fetched(Record):
    """One version of a secret as AWS returned it. `created_at` is epoch seconds."""

    version_id: str
    stages: tuple[str, ...]
    created_at: float | None
    value: SecretValue


class ProjectedFile(Record):
    """What one file in the volume shall hold, and its mode."""

    content: SecretValue
    mode: int


def project(value: SecretValue, files: Iterable[FileSpec]) -> dict[str, ProjectedFile]:
    """The files that one version of a secret becomes: path, relative to the volume, to content and mode.

    All of them or none. Raises ProjectionError, which names path, key and what to do, never a value; the version is
    then of no use until it or the spec moves.
    """
    if not len(value):
        raise ProjectionError("the secret is empty; put a value into it")
    if len(value) > LIMIT:
        raise ProjectionError(f"the secret has {len(value)} bytes, more than the {LIMIT} that AWS allows")
    read = functools.cache(lambda: _parse(value))

    def made(spec: FileSpec) -> list[tuple[str, ProjectedFile]]:
        return [(p, ProjectedFile(SecretValue(c, text=True), spec.mode)) for p, c in _contents(spec, value, read)]

    return dict(itertools.chain.from_iterable(_every(made, files)))


Search = Callable[[str, str], bool | None]


def searched(pattern: str, text: str) -> bool | None:
    """Whether the pattern is found in the text."""
    return re.search(pattern, text) is not None


def meets(
    value: SecretValue, require: Require, search: Search = searched
) -> tuple[tuple[str, ...], tuple[SecretValue, SecretValue] | None]:
    """Hold a value against what is required of it, but for the certificate, which is returned with its key, both PEM.

    The result is every problem found, and the pair: None if none is required, or one of the two is not there. `search`
    tells whether a pattern is found in a text, or None if that takes too long. Problems name the key and the check,
    never a value. Raises ProjectionError for a value that has no keys at all.
    """
    tree = _object(_parse(value), "require")

    def text_of(key: str) -> str:
        return _plain(_required(tree, key), "require", key)

    def match(check: tuple[str, str]) -> None:
        key, pattern = check
        found = search(pattern, text_of(key))
        if found is None:
            raise ProjectionError(f"require: the pattern of key {_shown(key)} takes too long; make it simpler")
        if not found:
            raise ProjectionError(f"require: key {_shown(key)} does not match its pattern")

    def pem(key: str) -> SecretValue:
        return SecretValue(_encode(text_of(key), "require"), text=True)

    problems: list[str] = []
    _attempts(partial(_required, tree), require.keys, problems)
    _attempts(match, require.matches, problems)
    pair = _attempts(pem, require.certificate or (), problems)
    return tuple(problems), (pair[0], pair[1]) if len(pair) == 2 else None


def _every(make: Callable[[_T], _Made], things: Iterable[_T]) -> list[_Made]:
    """What is made of each thing. Raises ProjectionError with the problems of all of them, not of the first alone."""
    problems: list[str] = []
    made = _attempts(make, things, problems)
    if problems:
        raise ProjectionError(*problems)
    return made


def _attempts(make: Callable[[_T], _Made], things: Iterable[_T], problems: list[str]) -> list[_Made]:
    """What can be made of the things; why the others cannot is added to the problems."""
    made = []
    for thing in things:
        try:
            made.append(make(thing))
        except ProjectionError as error:
            problems += error.problems
    return made


def _required(tree: dict[str, Any], key: str) -> Any:
    if key not in tree:
        raise ProjectionError(f"require: key {_shown(key)} is missing; {_keys(tree, key)}")
    if tree[key] is None or tree[key] in ("", [], {}):
        raise ProjectionError(f"require: key {_shown(key)} is empty; give it a value")
    return tree[key]


def _contents(spec: FileSpec, value: SecretValue, read: Callable[[], Any]) -> list[tuple[str, bytes]]:
    """Path and content of each file that one entry of `files` asks for."""
    if not spec.directory and spec.format == "raw" and spec.jmes_path is None:
        return [(spec.path, value.reveal())]
    where = f"directory {spec.path}" if spec.directory else f"file {spec.path}"
    tree = _pick(read(), spec.jmes_path, where)
    if spec.directory:
        return _every(partial(_file_of, spec.path, where), _object(tree, where).items())
    if spec.format == "json":
        return [(spec.path, _encode(_compact(tree), where))]
    if line := _LINES.get((spec.format, spec.quoting)):
        lines = _every(partial(line, where), _object(tree, where).items())
        return [(spec.path, _encode("".join(lines), where))]
    return [(spec.path, _filled(_encode(_plain(tree, where, None), where), where, None))]


def _file_of(directory: str, where: str, entry: tuple[str, Any]) -> tuple[str, bytes]:
    """The file that one key of the object becomes."""
    key, item = entry
    return f"{directory}/{_file_name(key, where)}", _filled(_encode(_plain(item, where, key), where), where, key)


# -- reading -------------------------------------------------------------------------------------------------------
# Errors are raised after leaving the `except` that found them: JSONDecodeError.doc and UnicodeError.object *are* the
# secret, and an exception raised inside would carry them in its __context__.


_NESTED = "the secret's JSON is nested too deeply; store less in one value, or use `format: raw` without jmesPath"


class _Unusable(Exception):
    """What a hook of the parser found; its text names keys only."""


class _Float(float):
    literal: str


class _Integer(int):
    literal: str


_Float.__name__, _Integer.__name__ = "float", "int"  # jmespath's functions know types by their name


def _number(kind: type[_Float] | type[_Integer]) -> Callable[[str], Any]:
    def keep(literal: str) -> Any:
        try:
            number: Any = kind(literal)
        except ValueError:
            number = _Float(literal)  # more digits than Python turns into an int
        number.literal = literal
        return number

    return keep


def _no_constant(_name: str) -> Any:
    raise _Unusable("the secret's JSON has NaN or Infinity in it, which JSON does not know")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in pairs:
        if key in found:
            raise _Unusable(f"the secret's JSON has the key {_shown(key)} twice; remove one")
        found[key] = item
    return found


def _parse(value: SecretValue) -> Any:
    """The value as JSON, its numbers as they are written."""
    try:
        text = value.reveal().decode()
        return json.loads(
            text,
            parse_float=_number(_Float),
            parse_int=_number(_Integer),
            parse_constant=_no_constant,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        problem = _marked(value) or "the secret is binary and not JSON; use `format: raw` without jmesPath"
    except json.JSONDecodeError:
        problem = _marked(value) or (
            "the secret is not JSON; store it as a JSON object, or use `format: raw` without jmesPath"
        )
    except RecursionError:
        problem = _NESTED
    except _Unusable as found:
        problem = str(found)
    raise ProjectionError(problem)


def _marked(value: SecretValue) -> str | None:
    """What to do about a byte order mark in front of the value, which no editor shows; None if there is none."""
    mark = next((name for mark, name in _MARKS.items() if value.reveal().startswith(mark)), None)
    return mark and (
        f"the secret begins with a byte order mark (BOM) of {mark}, as PowerShell writes it, which JSON may not; store "
        "it as UTF-8 without one, or use `format: raw` without jmesPath"
    )


@functools.cache
def _compiled(expression: str) -> ParsedResult:
    import jmespath  # which, with the `inspect` that it brings, would cost every pod 1.4 MiB

    return jmespath.compile(expression)


def _pick(tree: Any, expression: str | None, where: str) -> Any:
    """What the expression picks from the tree; the whole tree without one."""
    if expression is None:
        return tree
    try:
        picked = _compiled(expression).search(tree)
    except Exception:  # a function of jmespath may raise anything, and its message may quote the value
        failed = True
    else:
        failed = False
    if failed:
        raise ProjectionError(f"{where}: jmesPath {expression!r} does not fit the secret's JSON; try it on a sample")
    if picked is None:
        found = _keys(tree, expression, in_jmespath=True)
        raise ProjectionError(f"{where}: jmesPath {expression!r} finds nothing or null; {found}")
    return picked


def _keys(tree: Any, expression: str, *, in_jmespath: bool = False) -> str:
    """What a person needs to mend an expression, or the name of a key: the keys that exist."""
    if not isinstance(tree, dict):
        return f"the secret's JSON is {_kind(tree)}, not an object"
    if not tree:
        return "the secret's JSON object is empty"
    shown = ", ".join(_shown(key) for key in sorted(tree)[:_SHOWN])
    more = f" and {len(tree) - _SHOWN} more" if len(tree) > _SHOWN else ""
    close = difflib.get_close_matches(expression, tree, n=1)
    said = f"its keys are {shown}{more}"
    if close and in_jmespath and (written := reading.in_jmespath(close[0])) != close[0]:
        return f"{said}; {reading.QUOTED_KEYS}: write jmesPath: {written}"
    return f"{said}; did you mean {_shown(close[0])}?" if close else said


# -- writing -------------------------------------------------------------------------------------------------------


def _plain(value: Any, where: str, key: str | None) -> str:
    """A value as the content of a file: strings as they are, everything else as its JSON."""
    if value is None:
        at = f" key {_shown(key)}" if key is not None else ""
        raise ProjectionError(f"{where}:{at} is null; give it a value, or take it out")
    return value if isinstance(value, str) else _compact(value)


def _compact(value: Any) -> str:
    """Compact JSON with the numbers as they were written, which json.dumps would read as floats and round."""
    pieces: list[str] = []
    length = 0
    try:
        for piece in _pieces(value):
            pieces.append(piece)
            length += len(piece)
            if length > _FILE_LIMIT or len(pieces) > _PIECES_LIMIT:
                raise ProjectionError("far more comes out for one file than a secret can hold; pick less by jmesPath")
    except RecursionError:  # some versions of the parser read deeper than this writes
        pieces = []
    if not pieces:
        raise ProjectionError(_NESTED)
    return "".join(pieces)


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, (_Float, _Integer)):
        yield value.literal
    elif isinstance(value, dict):
        for mark, (key, item) in zip(itertools.chain("{", itertools.repeat(",")), value.items(), strict=False):
            yield f"{mark}{_quoted(key)}:"
            yield from _pieces(item)
        yield "}" if value else "{}"
    elif isinstance(value, list):
        for mark, item in zip(itertools.chain("[", itertools.repeat(",")), value, strict=False):
            yield mark
            yield from _pieces(item)
        yield "]" if value else "[]"
    else:
        yield _quoted(value)


def _quoted(value: Any) -> str:
    """A string, a boolean or null, or a number that a function of jmespath came to, as JSON."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        pass
    raise ProjectionError("jmesPath comes to an expression, or to a number without end, which JSON cannot hold")


def _variable(key: str, where: str) -> str:
    if not _IDENTIFIER.fullmatch(key):
        raise ProjectionError(f"{where}: key {_shown(key)} cannot be a shell variable; use [A-Za-z_][A-Za-z0-9_]*")
    return key


def _sh_line(where: str, entry: tuple[str, Any]) -> str:
    """One assignment in POSIX sh quoting: nothing is special between single quotes but the single quote itself."""
    key, text = _variable(entry[0], where), _plain(entry[1], where, entry[0])
    if "\0" in text:
        raise ProjectionError(f"{where}: key {_shown(key)} holds a NUL character, which a shell variable cannot")
    quoted = text.replace("'", "'\\''")
    return f"{key}='{quoted}'\n"


def _dotenv_line(where: str, entry: tuple[str, Any]) -> str:
    """One assignment that python-dotenv, docker, podman, Node's and Go's dotenv read alike.

    Docker takes all behind the `=` as it stands, quotes too, so there is no quoting that all know. What each of them
    takes as it stands is written without any; of the rest each makes something else, so it is refused.
    """
    key, text = _variable(entry[0], where), _plain(entry[1], where, entry[0])
    line = f"{key}={text}\n"
    if text.strip(" ") != text or text.startswith(("'", '"', "`")) or any(map(_read_differently, text)):
        raise ProjectionError(
            f"{where}: key {_shown(key)} cannot be written so that all readers of .env files find the same: that takes "
            "one line without #, $, a quote in front, or space at either end; use `quoting: sh` for a shell, "
            "`format: json`, or a file of its own"
        )
    if len(_encode(line, where)) > _DOTENV_LINE:
        raise ProjectionError(f"{where}: key {_shown(key)} makes a longer line than docker reads; use `format: json`")
    return line


def _read_differently(char: str) -> bool:
    """Whether a character means something to one reader of .env files and nothing to another. What is space to one of
    them is cut off at the ends; the byte order mark is space to JavaScript."""
    return char in "#$\ufeff" or ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F or (char.isspace() and char != " ")


_PROPERTY_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}


def _property(text: str, *, key: bool = False) -> str:
    """A key or value as java.util.Properties reads it; all but printable ASCII as UTF-16 escapes."""
    special = " =:#!" if key else ""
    out = []
    for place, char in enumerate(text):
        if char in _PROPERTY_ESCAPES:
            out.append(_PROPERTY_ESCAPES[char])
        elif char in special or (char == " " and place == 0):
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            units = char.encode("utf-16-be", "surrogatepass")
            out.extend(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
    return "".join(out)


def _property_line(where: str, entry: tuple[str, Any]) -> str:
    key, item = entry
    return f"{_property(key, key=True)}={_property(_plain(item, where, key))}\n"


_LINES: dict[tuple[Format, Quoting], Callable[[str, tuple[str, Any]], str]] = {
    ("dotenv", "sh"): _sh_line,
    ("dotenv", "dotenv"): _dotenv_line,
    ("properties", "sh"): _property_line,
}


def _object(tree: Any, where: str) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise ProjectionError(f"{where}: needs a JSON object, but there is {_kind(tree)}")
    if not tree:
        raise ProjectionError(f"{where}: the JSON object is empty")
    return tree


def _file_name(key: str, where: str) -> str:
    """The key, if it can be a file's name."""
    encoded = key.encode("utf-8", "surrogatepass")
    control = any(ord(char) < 0x20 or ord(char) == 0x7F for char in key)
    if not key or key == "." or key.startswith("..") or "/" in key or control or len(encoded) > _NAME_LIMIT:
        raise ProjectionError(
            f"{where}: key {_shown(key)} cannot be a file's name; rename it, or pick keys by jmesPath"
        )
    return key


def _filled(content: bytes, where: str, key: str | None) -> bytes:
    if not content:
        at = f" key {_shown(key)}" if key is not None else ""
        raise ProjectionError(f"{where}:{at} would be an empty file; give it a value")
    return content


def _encode(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    raise ProjectionError(f"{where}: half of a surrogate pair stands alone in it, which UTF-8 cannot hold")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    kinds: dict[type, str] = {str: "a string", list: "an array", dict: "an object", type(None): "null"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "a number")


def _shown(key: str) -> str:
    """A key as an error shows it: on one line and not too long."""
    return ascii(key if len(key) <= 60 else key[:57] + "...")
