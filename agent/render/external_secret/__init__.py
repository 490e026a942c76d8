"""From the values of AWS to the target of an ExternalSecret, as the External Secrets Operator makes it.

Imported only when a config has an ExternalSecret. docs/migrate.md lists where it differs from ESO on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from agent.core.errors import ProjectionError, shown
from agent.core.external_secret import DataEntry, Remote, Source
from agent.core.model import ExternalSecretData
from agent.core.record import Record
from agent.render import lookup
from agent.render.attempts import every
from agent.render.external_secret import keys, rules, target
from agent.render.external_secret.decoding import decoded
from agent.render.external_secret.keys import Values
from agent.render.external_secret.members import members
from agent.render.input import Input


class Made(Record):
    """A target: its type, and its data, labels and annotations by their names."""

    type: str
    data: Mapping[str, bytes]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def contents(path: str, how: ExternalSecretData, inputs: Mapping[str, Input]) -> list[tuple[str, bytes]]:
    """Path and content of each file, one for a key. Raises ProjectionError."""
    found = made(how, inputs, f"directory {path}")
    return [(f"{path}/{key}", content) for key, content in sorted(found.data.items())] if found else []


def made(how: ExternalSecretData, inputs: Mapping[str, Input], where: str) -> Made | None:
    """The target; None if AWS holds nothing for it, so that there is none. Raises ProjectionError with every problem;
    its sentences begin with `where`.

    1. Each item of `dataFrom`, then each of `data`; a later one replaces the keys of an earlier one.
    2. The templates.
    3. What Kubernetes asks of a Secret.
    """
    # 1.
    found: Values = {}
    sources = [source for source in how.sources if source.remote.secret in inputs]
    entries = [entry for entry in how.entries if entry.remote.secret in inputs]
    for some in every(lambda source: _of_source(source, inputs, where), sources):
        found |= some
    found |= dict(every(lambda entry: _of_entry(entry, inputs, where), entries))
    if not found and not how.empty_too:
        return None
    # 2.
    if how.template is None:
        result = Made(how.type, found, dict(how.labels), dict(how.annotations))
    else:
        parts = target.rendered(how.template, found, where)
        labels, annotations = (
            {name: _printable(value, f"{where}: {name}") for name, value in parts[part].items()}
            for part in ("Labels", "Annotations")
        )
        result = Made(how.type, parts["Data"], labels, annotations)
    # 3.
    wrong = list(rules.problems(result.type, result.data, result.labels, result.annotations))
    if wrong:
        raise ProjectionError(*(f"{where}: {problem}" for problem in wrong))
    return result


def _printable(content: bytes, where: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass
    raise ProjectionError(f"{where}: is not UTF-8 text, so it can be no label or annotation")


# -- data --------------------------------------------------------------------------------------------------------------


def _of_entry(entry: DataEntry, inputs: Mapping[str, Input], where: str) -> tuple[str, bytes]:
    at = f"{where}: key {shown(entry.key)}"
    return entry.key, _final(_value(entry.remote, inputs, at), entry.remote, at)


def _value(remote: Remote, inputs: Mapping[str, Input], where: str) -> bytes:
    """The whole value, or what `property` finds in it."""
    content = inputs[remote.secret].value.reveal()
    if not remote.property:
        return content
    return lookup.found(content, remote.property, where, remote.key)


def _final(content: bytes, remote: Remote, where: str) -> bytes:
    """The value after decodingStrategy and nullBytePolicy."""
    found = decoded(content, remote.decoding)
    if found is None:
        raise ProjectionError(
            f"{where}: {remote.key} is not {remote.decoding.lower()}, with its padding; correct decodingStrategy"
        )
    if remote.no_null_bytes and b"\0" in found:
        raise ProjectionError(f"{where}: {remote.key} has a null byte, and nullBytePolicy is Fail")
    return found


# -- dataFrom ----------------------------------------------------------------------------------------------------------


def _of_source(source: Source, inputs: Mapping[str, Input], where: str) -> Values:
    """1. Fetch. 2. Rewrite the keys, or convert them. 3. Check them. 4. Decode the values."""
    at = f"{where}: {source.remote.key}"
    # 1.
    found = _found(inputs[source.remote.secret]) if source.found else _extracted(source.remote, inputs, where)
    # 2.
    if source.rewrites:
        found = keys.rewritten(found, source.rewrites, at)
    else:
        found = keys.converted(found, source.conversion, at)
    # 3.
    found = keys.checked(found, at)
    # 4.
    return dict(
        every(lambda pair: (pair[0], _final(pair[1], source.remote, f"{where}: key {shown(pair[0])}")), found.items())
    )


def _extracted(remote: Remote, inputs: Mapping[str, Input], where: str) -> Values:
    content = _value(remote, inputs, where)
    found = members(content)
    if found is None:
        what = f"property {remote.property!r} of {remote.key}" if remote.property else remote.key
        raise ProjectionError(f"{where}: {what} is not a JSON object, which extract needs; use data with secretKey")
    return found


def _found(input_: Input) -> Values:
    """The members of a set. One that is an object holds bytes in base64."""
    return {name: _bytes(value) for name, value in json.loads(input_.value.reveal()).items()}


def _bytes(value: object) -> bytes:
    if isinstance(value, dict):
        return decoded(str(value["base64"]).encode(), "Base64") or b""
    return str(value).encode("utf-8", "surrogatepass")
