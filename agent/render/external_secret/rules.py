"""What Kubernetes asks of a Secret, before it takes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping

from agent.core.errors import shown

_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

LARGEST = 1 << 20  # bytes of all values

_ANNOTATIONS = 256 << 10  # bytes of all annotations with their names

Data = Mapping[str, bytes]


def problems(kind: str, data: Data, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Iterator[str]:
    """Why Kubernetes would refuse the Secret, a sentence each. None holds a value."""
    for key in data:
        if not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
            yield f"key {shown(key)} cannot be a key of a Secret; rename it by rewrite, or leave it out"
    if (size := sum(map(len, data.values()))) > LARGEST:
        yield f"the values have {size} bytes in all, more than the {LARGEST} of a Secret; divide it"
    for name, value in labels.items():
        yield from _named("label", name)
        if value and not _NAME.fullmatch(value):
            yield f"label {shown(name)} has a value that no label may have: at most 63 letters, digits, '-', '_', '.'"
    for name in annotations:
        yield from _named("annotation", name.lower())
    if sum(len(n.encode()) + len(v.encode("utf-8", "surrogatepass")) for n, v in annotations.items()) > _ANNOTATIONS:
        yield f"the annotations have more than {_ANNOTATIONS} bytes in all"
    if kind == "kubernetes.io/service-account-token" and not annotations.get("kubernetes.io/service-account.name"):
        yield f"type {kind} needs the annotation kubernetes.io/service-account.name"
    if kind in _TYPES:
        yield from (f"type {kind} {what}" for what in _TYPES[kind](data))


def _named(what: str, name: str) -> Iterator[str]:
    prefix, slash, rest = name.rpartition("/")
    if not _NAME.fullmatch(rest) or (slash and (not _PREFIX.fullmatch(prefix) or len(prefix) > 253)):
        yield f"{what} {shown(name)} is not a valid name"


def _json(key: str) -> Callable[[Data], Iterator[str]]:
    def check(data: Data) -> Iterator[str]:
        if key not in data:
            yield f"needs the key {key}"
        elif not _is_object(data[key]):
            yield f"needs a JSON object as its key {key}"

    return check


def _is_object(content: bytes) -> bool:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return found is None or isinstance(found, dict)


def _tls(data: Data) -> Iterator[str]:
    for key in ("tls.crt", "tls.key"):
        if key not in data:
            yield f"needs the key {key}"


def _basic(data: Data) -> Iterator[str]:
    if not data.keys() & {"username", "password"}:
        yield "needs the key username or password"


def _ssh(data: Data) -> Iterator[str]:
    if not data.get("ssh-privatekey"):
        yield "needs the key ssh-privatekey, which must not be empty"


_TYPES: Mapping[str, Callable[[Data], Iterator[str]]] = {
    "kubernetes.io/dockerconfigjson": _json(".dockerconfigjson"),
    "kubernetes.io/dockercfg": _json(".dockercfg"),
    "kubernetes.io/tls": _tls,
    "kubernetes.io/basic-auth": _basic,
    "kubernetes.io/ssh-auth": _ssh,
}
