"""What an ExternalSecret of a cluster asks for, read by the same code as its manifest. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agent.config import external_secret
from agent.config.document import Mapping as MappingNode
from agent.config.foreign import Given
from agent.controller.external_secrets.objects import Places
from agent.controller.external_secrets.stores import without_auth
from agent.core.errors import FreshmountError, Problem
from agent.core.model import ExternalSecretData, Place, Secret
from agent.core.record import Record, field, replace
from agent.core.windows import LONGEST, MOST, Window, Windows, schedule

FORMAT = 1  # of what is written; another one writes every Secret anew

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

SHORTEST = 1.0  # seconds between two looks at AWS

_MOST = 500  # secrets of one ExternalSecret

StoreRef = tuple[str, str]  # kind and name

_PERIOD = 3600.0  # seconds, where the CRD sets none


class Wrong(FreshmountError):
    """An ExternalSecret, its store or its templates are written wrong; nothing changes until one of them does."""


class Policy(Record):
    """How its Secret comes, goes and is kept. `interval` is seconds; None: it is asked for once. `windows` say when it
    follows AWS by that interval; None: always."""

    creation: str = "Owner"
    deletion: str = "Retain"
    refresh: str = "Periodic"
    interval: float | None = _PERIOD
    immutable: bool = False
    windows: Windows | None = None


class Asked(Record):
    """The target and the secrets that it is made of; `asked` tells it from another, `places` names fields in errors."""

    how: ExternalSecretData
    secrets: tuple[Secret, ...]
    asked: str
    places: Places


class Beside(Record):
    """What else is read for it: its stores, and what its templates are in, by kind and name; and its namespace's
    labels. `identities` name the credentials of stores."""

    stores: Mapping[StoreRef, Mapping[str, Any]]
    templates: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    identities: Mapping[StoreRef, str] = field(default_factory=dict)


def policy(found: Mapping[str, Any]) -> Policy:
    """The policies of an ExternalSecret. What is written wrong is found by `read`."""
    spec = found.get("spec") or {}
    target = spec.get("target") or {}
    refresh = str(spec.get("refreshPolicy") or "Periodic")
    interval: float | None = external_secret.seconds(str(spec.get("refreshInterval") or "1h"))
    interval = _PERIOD if interval is None else interval
    return Policy(
        creation=str(target.get("creationPolicy") or "Owner"),
        deletion=str(target.get("deletionPolicy") or "Retain"),
        refresh=refresh,
        interval=max(SHORTEST, interval) if interval > 0 and refresh == "Periodic" else None,
        immutable=target.get("immutable") is True,
        windows=_windows(spec.get("syncWindows")),
    )


def _windows(given: Any) -> Windows | None:
    if not isinstance(given, Mapping) or given.get("kind") not in ("allow", "deny"):
        return None
    try:
        found = [
            Window(schedule(str(each["schedule"])), min(LONGEST, external_secret.seconds(str(each["duration"])) or 0.0))
            for each in _items(given, "windows")
        ]
    except (KeyError, ValueError):
        return None
    if len(found) > MOST:
        return None
    return Windows("allow" if given["kind"] == "allow" else "deny", tuple(found))


def target(found: Mapping[str, Any]) -> str:
    """The name of its Secret."""
    return str(((found.get("spec") or {}).get("target") or {}).get("name") or found["metadata"]["name"])


def stores(found: Mapping[str, Any]) -> tuple[StoreRef, ...]:
    """The stores that it names, each once."""
    spec = found.get("spec") or {}
    given: list[Any] = [spec.get("secretStoreRef")]
    given += [(item.get("sourceRef") or {}).get("storeRef") for item in _items(spec, "data", "dataFrom")]
    return tuple(
        dict.fromkeys((str(each.get("kind") or "SecretStore"), str(each["name"])) for each in given if _names(each))
    )


def templates(found: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The ConfigMaps and Secrets that its templates are in, by kind and name, each once."""
    template = ((found.get("spec") or {}).get("target") or {}).get("template") or {}
    named = []
    for item in _items(template, "templateFrom"):
        for key, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
            entry: Any = item.get(key)
            if _names(entry):
                named.append((kind, str(entry["name"])))
    return tuple(dict.fromkeys(named))


def _names(entry: Any) -> bool:
    return isinstance(entry, Mapping) and bool(entry.get("name"))


def _items(section: Mapping[str, Any], *keys: str) -> Iterator[Mapping[str, Any]]:
    for key in keys:
        yield from (item for item in section.get(key) or () if isinstance(item, Mapping))


def version(found: Mapping[str, Any]) -> str:
    """What `status.syncedResourceVersion` is for an ExternalSecret as it is: its generation, labels and
    annotations."""
    metadata = found["metadata"]
    named = [sorted((metadata.get("labels") or {}).items()), sorted(_annotations(metadata).items())]
    return f"{metadata.get('generation', 0)}-{_hash(named)}"


def read(found: Mapping[str, Any], beside: Beside) -> Asked:
    """What it asks for. Raises Wrong with every problem."""
    places, problems = Places(), list[Problem]()
    metadata = found["metadata"]
    namespace = str(metadata["namespace"])
    own = {
        "apiVersion": found.get("apiVersion"),
        "kind": "ExternalSecret",
        "metadata": {
            "name": metadata["name"],
            "namespace": namespace,
            "labels": metadata.get("labels") or {},
            "annotations": _annotations(metadata),
        },
        "spec": found.get("spec") or {},
    }
    documents: list[Mapping[str, Any]] = [own]
    documents += [without_auth(store) for store in beside.stores.values()]
    documents += [_template(kind, namespace, each) for (kind, _), each in beside.templates.items()]
    space = {"name": namespace, "labels": dict(beside.labels)}
    documents.append({"apiVersion": "v1", "kind": "Namespace", "metadata": space})
    nodes = [places.node(document, _shown(document)) for document in documents]
    given = Given(
        place=Place(None, None),
        period=_PERIOD,
        mode=0o400,
        names=frozenset(),
        identities={
            (kind, namespace if kind == "SecretStore" else "", name): identity
            for (kind, name), identity in beside.identities.items()
        },
    )
    made = external_secret.read([node for node in nodes if isinstance(node, MappingNode)], problems, given)
    if problems:
        raise Wrong("; ".join(places.problems(problems)))
    if len(made.secrets) > _MOST:
        raise Wrong(f"it reads {len(made.secrets)} secrets, more than {_MOST}; divide it")
    renderers = [output.renderer for output in made.outputs]
    if len(renderers) != 1 or not isinstance(renderers[0], ExternalSecretData):
        raise Wrong("it asks for no secret; add data or dataFrom")
    fingerprint = [FORMAT, own["metadata"], own["spec"]]
    fingerprint += [_plain(store) for store in beside.stores.values()]
    fingerprint += [_held(each) for each in beside.templates.values()]
    return Asked(renderers[0], made.secrets, _hash(fingerprint), places)


def place(store: Mapping[str, Any], identity: str | None) -> Place:
    """Where a store asks, with those credentials. Raises Wrong with every problem of it."""
    places, problems = Places(), list[Problem]()
    node = places.node(without_auth(store))
    given = Given(place=Place(None, None), period=_PERIOD, mode=0o400, names=frozenset())
    made = external_secret.read_store(node, problems, given) if isinstance(node, MappingNode) else None
    if problems or made is None:
        raise Wrong("; ".join(places.problems(problems)) or "it is no store")
    return replace(made.place, identity=identity)


def _shown(document: Mapping[str, Any]) -> str:
    """How errors name a field of it: those of the ExternalSecret itself by their path alone."""
    kind = document["kind"]
    return "" if kind == "ExternalSecret" else f"{kind} {document['metadata']['name']}: "


def _template(kind: str, namespace: str, found: Mapping[str, Any]) -> dict[str, Any]:
    named = {"name": found["metadata"]["name"], "namespace": namespace}
    return {"apiVersion": "v1", "kind": kind, "metadata": named, "data": found.get("data") or {}}


def _annotations(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {name: text for name, text in (metadata.get("annotations") or {}).items() if name != LAST_APPLIED}


def _plain(store: Mapping[str, Any]) -> list[Any]:
    """What of a store decides what is read."""
    spec = without_auth(store)["spec"]
    return [store.get("kind"), store["metadata"]["name"], spec.get("provider")]


def _held(found: Mapping[str, Any]) -> list[Any]:
    """What tells a ConfigMap or a Secret from another, without what it holds."""
    metadata = found["metadata"]
    return [metadata["name"], metadata.get("uid"), metadata.get("resourceVersion")]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def shown(problems: Iterable[str], longest: int = 1000) -> str:
    """Sentences as a condition or an event has them."""
    text = "; ".join(problems)
    return text if len(text) <= longest else text[: longest - 1] + "…"
