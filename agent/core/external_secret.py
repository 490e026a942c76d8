"""What an ExternalSecret of the External Secrets Operator (ESO) asks for, once its manifest is read.

The words are ESO's: docs/migrate.md says what each of them means here.
"""

from __future__ import annotations

from typing import Literal

from agent.core.record import Record
from agent.core.written import Written

Decoding = Literal["None", "Base64", "Base64URL", "Auto"]

Conversion = Literal["Default", "Unicode"]

Part = Literal["Data", "Labels", "Annotations"]


class Remote(Record):
    """What is read of one secret.

    `secret` is the name of the input, `key` what AWS calls it, `property` a path of gjson ("": the whole value). With
    `no_null_bytes` a value that has a byte 0 is refused.
    """

    secret: str
    key: str
    property: str = ""
    decoding: Decoding = "None"
    no_null_bytes: bool = False


class DataEntry(Record):
    """One key of the result, made of one value: an item of `data`."""

    key: str
    remote: Remote


class Text(Record):
    """A template in Go's language. `private`: it is a Secret's, and no error repeats what it says."""

    text: str
    written: Written
    private: bool = False


class Regexp(Record):
    """Replace each match (RE2) in every key by `target`, in which `$1` is a group."""

    source: str
    target: str


class Transform(Record):
    """Make each key what the template comes to; `.value` is the key."""

    template: Text


class Merge(Record):
    """Take each value for a JSON object, and put all of them into one: their keys, or, with `into`, one key.

    `priority` names keys whose values come last and win, `strict`: each of them must be there. With `exclusive` no key
    may be in two objects.
    """

    into: str | None = None
    priority: tuple[str, ...] = ()
    strict: bool = True
    exclusive: bool = True


Rewrite = Regexp | Transform | Merge


class Source(Record):
    """Several keys at once: an item of `dataFrom`. They are those of a JSON object, or, with `found`, the names of a
    set."""

    remote: Remote
    found: bool = False
    conversion: Conversion = "Default"
    rewrites: tuple[Rewrite, ...] = ()


class Item(Record):
    """A template of `templateFrom`, which makes the value of `key`, or, with `pairs`, YAML of keys and values."""

    key: str
    text: Text
    pairs: bool


class TemplateFrom(Record):
    """Templates of a ConfigMap, a Secret or a literal, and to which part of the target they go."""

    items: tuple[Item, ...]
    part: Part = "Data"
    decoding: Decoding = "None"


class TargetTemplate(Record):
    """`target.template`. With `merges` the values of AWS stay beside what the templates make."""

    merges: bool = False
    sources: tuple[TemplateFrom, ...] = ()
    data: tuple[tuple[str, Text], ...] = ()
    labels: tuple[tuple[str, Text], ...] = ()
    annotations: tuple[tuple[str, Text], ...] = ()


def spec(value: object) -> object:
    """What distinguishes a record of these from another, as lists and texts."""
    if isinstance(value, Written):
        return None
    if isinstance(value, Record):
        return [type(value).__name__, *(spec(getattr(value, name)) for name in type(value).__match_args__)]
    return [spec(item) for item in value] if isinstance(value, tuple) else value
