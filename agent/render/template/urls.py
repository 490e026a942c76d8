"""sprig's urlParse and urlJoin, as Go's net/url reads and writes URLs."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from agent.render.template import values
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions
from agent.render.template.quoted import decoded, encoded

_PARTS = ("scheme", "host", "path", "query", "opaque", "fragment", "userinfo")
# What stays as it is in a part of a URL, besides letters, digits and -_.~
_PATH, _FRAGMENT, _USER = "$&+,/:;=@", "$&+,/:;=?@!()*", "$&+,;="
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(.*)", re.DOTALL)
_PORT = re.compile(r"(?::[0-9]*)?")
_HOST = re.compile(r"[^\x00-\x20\\^`{|}%/?#@\x7f]*")
_USERINFO = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _unescaped(text: str) -> str:
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise Unfit("the URL has a % that no two hexadecimal digits follow")
    return decoded(unquote_to_bytes(encoded(text)))


def _escaped(text: str, safe: str) -> str:
    return quote_from_bytes(encoded(text), safe=safe)


def _parse(text: str) -> dict[str, Any]:
    if any(char < " " or char == "\x7f" for char in text):
        raise Unfit("the URL has a control character in it")
    found = dict.fromkeys((*_PARTS, "hostname"), "")
    rest, _, fragment = text.partition("#")
    found["fragment"] = _unescaped(fragment)
    scheme = _SCHEME.fullmatch(rest)
    if scheme:
        found["scheme"], rest = scheme[1].lower(), scheme[2]
    elif rest.startswith(":"):
        raise Unfit("the URL has no scheme before its colon")
    rest, _, found["query"] = rest.partition("?")
    if not rest.startswith("/"):
        if found["scheme"]:
            found["opaque"] = rest
            return dict(found)
        if ":" in rest.partition("/")[0]:
            raise Unfit("the first part of the path has a colon in it")
    if rest.startswith("//") and (found["scheme"] or not rest.startswith("///")):
        authority, slash, rest = rest[2:].partition("/")
        rest = slash + rest
        user, at, host = authority.rpartition("@")
        found["host"], found["hostname"] = _host(host, found["scheme"])
        found["userinfo"] = _userinfo(user) if at else ""
    found["path"] = _unescaped(rest)
    return dict(found)


def _host(host: str, scheme: str) -> tuple[str, str]:
    """The host with and without its port. Databases write many of them, with commas between."""
    if host.startswith("["):
        inner, closed, port = host[1:].rpartition("]")
        if not closed or not re.fullmatch(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", inner) or not _PORT.fullmatch(port):
            raise Unfit("the URL's host is not an address in brackets")
        return host, inner
    name, colon, port = host.rpartition(":")
    if not colon:
        name, port = host, ""
    if not _HOST.fullmatch(host) or not re.fullmatch("[0-9]*", port) or (scheme in ("http", "https") and ":" in name):
        raise Unfit("the URL's host or port is not one")
    return host, name


def _userinfo(user: str) -> str:
    """Go takes it apart and puts it together again."""
    if not _USERINFO.fullmatch(user):
        raise Unfit("the URL's user or password needs urlquery")
    name, colon, password = user.partition(":")
    return _escaped(_unescaped(name), _USER) + (":" + _escaped(_unescaped(password), _USER) if colon else "")


def _part(found: dict[str, Any], name: str) -> str:
    value = found.get(name, "")
    if not isinstance(value, str):
        raise Unfit(f"{name} must be a text, not {values.article(value)}")
    return value


def _join(found: dict[str, Any]) -> str:
    scheme, host, path, query, opaque, fragment, userinfo = (_part(found, name) for name in _PARTS)
    out = [f"{scheme}:"] if scheme else []
    if opaque:
        out.append(opaque)
    else:
        authority = scheme or host or userinfo
        if authority and (host or path or userinfo):
            out.append("//")
            if userinfo:
                out.append(_userinfo(userinfo) + "@")
            out.append(_host(host, scheme)[0])
        written = "*" if path == "*" else _escaped(path, _PATH)
        if written and not written.startswith("/") and host:
            out.append("/")
        if not out and ":" in written.partition("/")[0]:
            out.append("./")
        out.append(written)
    if query:
        out.append("?" + query)
    if fragment:
        out.append("#" + _escaped(fragment, _FRAGMENT))
    return "".join(out)


_add("urlParse", _parse, "string")
_add("urlJoin", _join, "map")
