"""A Kubernetes Secret as a sink: what is written in one server-side apply, and what its metadata tell of it.

Nothing here speaks to Kubernetes. A Secret is read back from its metadata alone, without a value: which versions it
holds, how it was asked for, and, by the fields that the API server says are ours, whether somebody has changed it. All
of that moves with the values, in the same write. No hash of a value is kept anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from agent.core.record import Record, field

MANAGER = "freshmount"

MANAGED = "freshmount.dev/managed"  # a label, by which ours are listed

VERSIONS, ASKED, FIELDS = "freshmount.dev/versions", "freshmount.dev/asked", "freshmount.dev/fields"

_OURS = (MANAGED, VERSIONS, ASKED, FIELDS)

_LONGEST = 128  # characters of a field manager


class Owner(Record):
    """The ExternalSecret that a Secret is made for."""

    api_version: str
    name: str
    uid: str


class Held(Record):
    """A Secret as its metadata tell of it.

    `versions` is by input; "": AWS had none. `asked` is the fingerprint of what was asked for. `whole`: nobody else has
    changed what we wrote. `others` are the keys of its data that somebody else wrote. `owner` is the uid of who owns
    it, `marked` whether it carries our label, `typed` whether its type is ours.
    """

    name: str
    uid: str
    resource_version: str
    versions: Mapping[str, str] = field(default_factory=dict)
    asked: str | None = None
    whole: bool = False
    others: frozenset[str] = frozenset()
    ours: frozenset[str] = frozenset()
    owner: str | None = None
    marked: bool = False
    typed: bool = False
    deleted: bool = False


class Writing(Record):
    """What a Secret must hold: its values, labels and annotations, and what they were made of. It does not print.

    `owner` None: it belongs to nobody, and stays when the ExternalSecret is deleted. With `shared` it has others'
    values beside ours, and `by` names whose part this is.
    """

    namespace: str
    name: str
    type: str | None
    values: Values
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    versions: Mapping[str, str]
    asked: str
    owner: Owner | None
    immutable: bool = False
    by: str | None = None


class Values:
    """The data of a Secret, which do not print."""

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[str, bytes]) -> None:
        self._data = dict(data)

    def __repr__(self) -> str:
        return "<values>"

    def reveal(self) -> dict[str, bytes]:
        """The bytes, for the code that writes them."""
        return self._data


def manager(by: str | None) -> str:
    """Who the fields of a Secret belong to. Those who share one have a name each: what a manager applies replaces what
    it applied before."""
    return MANAGER if by is None else f"{MANAGER}/{by}"[:_LONGEST]


def _annotation(name: str, by: str | None) -> str:
    return name if by is None else f"{name}.{by}"[:317]


def applied(writing: Writing, held: Held | None) -> dict[str, Any]:
    """The body of the server-side apply that makes the Secret so. Where one is held, it must still be that very one."""
    labels = {**writing.labels, MANAGED: "true"}
    annotations = {
        **writing.annotations,
        _annotation(VERSIONS, writing.by): json.dumps(dict(sorted(writing.versions.items())), ensure_ascii=False),
        _annotation(ASKED, writing.by): writing.asked,
    }
    data = writing.values.reveal()
    fields = _Fields(frozenset(data), frozenset(labels), frozenset({*annotations, _annotation(FIELDS, writing.by)}))
    annotations[_annotation(FIELDS, writing.by)] = fields.text
    metadata: dict[str, Any] = {
        "name": writing.name,
        "namespace": writing.namespace,
        "labels": labels,
        "annotations": annotations,
    }
    if held is not None:
        metadata |= {"uid": held.uid, "resourceVersion": held.resource_version}
    if writing.owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": writing.owner.api_version,
                "kind": "ExternalSecret",
                "name": writing.owner.name,
                "uid": writing.owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
    if writing.type is not None:
        secret["type"] = writing.type
    if writing.immutable:
        secret["immutable"] = True
    return secret


def without(held: Held, keys: Iterable[str]) -> dict[str, Any]:
    """The body of a merge patch that removes keys which somebody else added."""
    metadata = {"uid": held.uid, "resourceVersion": held.resource_version}
    return {"metadata": metadata, "data": dict.fromkeys(sorted(keys))}


class _Fields(Record):
    """The names of what we wrote into a Secret: keys, labels, annotations."""

    keys: frozenset[str]
    labels: frozenset[str]
    annotations: frozenset[str]

    @property
    def text(self) -> str:
        """What distinguishes it from others. It is made of names alone."""
        names = [sorted(self.keys), sorted(self.labels), sorted(self.annotations)]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def read_back(metadata: Mapping[str, Any], by: str | None) -> Held:
    """What the metadata of a Secret tell, for the manager of that name."""
    annotations = metadata.get("annotations") or {}
    ours = _Fields(frozenset(), frozenset(), frozenset())
    others: set[str] = set()
    typed = False
    for entry in metadata.get("managedFields") or ():
        found = _fields(entry.get("fieldsV1") or {})
        if entry.get("manager") == manager(by) and entry.get("operation") == "Apply":
            ours, typed = found, "f:type" in (entry.get("fieldsV1") or {})
        else:
            others |= found.keys
    written = annotations.get(_annotation(FIELDS, by))
    return Held(
        name=str(metadata.get("name")),
        uid=str(metadata.get("uid")),
        resource_version=str(metadata.get("resourceVersion")),
        versions=_versions(annotations.get(_annotation(VERSIONS, by))),
        asked=annotations.get(_annotation(ASKED, by)),
        whole=written is not None and written == ours.text,
        others=frozenset(others - ours.keys),
        ours=ours.keys,
        owner=_owner(metadata),
        marked=MANAGED in (metadata.get("labels") or {}),
        typed=typed,
        deleted=bool(metadata.get("deletionTimestamp")),
    )


def _owner(metadata: Mapping[str, Any]) -> str | None:
    references = metadata.get("ownerReferences") or ()
    return next((str(each.get("uid")) for each in references if each.get("controller")), None)


def _fields(of_manager: Mapping[str, Any]) -> _Fields:
    metadata = of_manager.get("f:metadata") or {}
    return _Fields(
        _names(of_manager.get("f:data")), _names(metadata.get("f:labels")), _names(metadata.get("f:annotations"))
    )


def _names(fields: Mapping[str, Any] | None) -> frozenset[str]:
    return frozenset(name[2:] for name in fields or () if name.startswith("f:"))


def _versions(text: str | None) -> dict[str, str]:
    """What is not ours to read is as if it were not there: then all is fetched."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not all(isinstance(version, str) for version in found.values()):
        return {}
    return found
