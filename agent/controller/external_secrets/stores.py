"""Who a store lets ask: the controller itself, an access key in a Secret, or a service account; and what its status
says of that. Pure.

A SecretStore gives only what its own namespace has. A ClusterSecretStore names namespaces, or means that of each
ExternalSecret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.config.external_secret import seconds
from agent.core.errors import FreshmountError
from agent.core.record import Record

_PARTS = ("accessKeyIDSecretRef", "secretAccessKeySecretRef", "sessionTokenSecretRef")

_AUDIENCE = "sts.amazonaws.com"

CAPABILITIES = "ReadOnly"  # nothing is written through a store

_AGAIN, _SOONEST = 300.0, 10.0  # seconds between two checks of a store, and the least that it may ask for


class Unfit(FreshmountError):
    """A store cannot be used as it is written; the message says why, and what to do."""


class KeyRef(Record):
    """A key of a Secret."""

    namespace: str
    name: str
    key: str


class AccessKey(Record):
    """An access key: its id, its secret and perhaps a session token."""

    id: KeyRef
    secret: KeyRef
    token: KeyRef | None

    @property
    def parts(self) -> tuple[KeyRef, ...]:
        """All of them."""
        return (self.id, self.secret) if self.token is None else (self.id, self.secret, self.token)


class Account(Record):
    """A service account, whose token is for these audiences."""

    namespace: str
    name: str
    audiences: tuple[str, ...]


Auth = AccessKey | Account | None


class Verdict(Record):
    """Whether a store can be used, as the condition Ready says it."""

    ready: bool
    reason: str
    message: str


VALID = Verdict(ready=True, reason="Valid", message="store validated")

VALID_IN_PART = Verdict(
    ready=True,
    reason="Valid",
    message="store validated, but for its credentials: each namespace gives its own, which its ExternalSecrets try",
)


def invalid(message: str) -> Verdict:
    """It cannot be used, for that reason."""
    return Verdict(ready=False, reason="InvalidProviderConfig", message=message)


def verdict(store: Mapping[str, Any]) -> Verdict | None:
    """What its status says; None: nothing yet."""
    for each in (store.get("status") or {}).get("conditions") or ():
        if each.get("type") == "Ready":
            return Verdict(each.get("status") == "True", str(each.get("reason")), str(each.get("message")))
    return None


def status(found: Verdict, store: Mapping[str, Any], now: str) -> dict[str, Any] | None:
    """The status to write; None: it says so already. `now` is the time as Kubernetes writes it."""
    before = verdict(store)
    if before == found and (store.get("status") or {}).get("capabilities") == CAPABILITIES:
        return None
    conditions = (store.get("status") or {}).get("conditions") or ()
    since = next((each.get("lastTransitionTime") for each in conditions if each.get("type") == "Ready"), None)
    condition = {
        "type": "Ready",
        "status": "True" if found.ready else "False",
        "reason": found.reason,
        "message": found.message,
        "lastTransitionTime": since if since and before and before.ready is found.ready else now,
    }
    return {"capabilities": CAPABILITIES, "conditions": [condition]}


def interval(store: Mapping[str, Any]) -> float:
    """Seconds between two checks of it."""
    given = str((store.get("spec") or {}).get("refreshInterval") or "")
    found = float(given) if given.isdecimal() else seconds(given) or 0.0
    return max(_SOONEST, found) if found > 0.0 else _AGAIN


def of_each_namespace(store: Mapping[str, Any]) -> bool:
    """Whether a ClusterSecretStore leaves its credentials to the namespace of each ExternalSecret. Raises Unfit."""
    if str(store.get("kind")) == "SecretStore":
        return False
    match auth(store, ""):
        case AccessKey() as key:
            return any(not part.namespace for part in key.parts)
        case Account(namespace=namespace):
            return not namespace
    return False


def ours(store: Mapping[str, Any], controller_class: str) -> bool:
    """Whether a store is this controller's."""
    return not controller_class or (store.get("spec") or {}).get("controller") == controller_class


def region(store: Mapping[str, Any]) -> str:
    """The region that it asks."""
    return str(_aws(store).get("region") or "")


def auth(store: Mapping[str, Any], namespace: str) -> Auth:
    """Who asks for an ExternalSecret of that namespace. None: the controller itself. Raises Unfit."""
    given = _aws(store).get("auth") or {}
    kind, own = str(store.get("kind")), str((store.get("metadata") or {}).get("namespace") or "")
    shown = f"{kind} {(store.get('metadata') or {}).get('name')}"
    of_key, of_account = given.get("secretRef"), (given.get("jwt") or {}).get("serviceAccountRef")
    if of_key and of_account:
        raise Unfit(f"{shown}: auth has both secretRef and jwt; remove one")

    def where(entry: Mapping[str, Any]) -> str:
        wanted = str(entry.get("namespace") or "")
        if kind == "SecretStore" and wanted not in ("", own):
            raise Unfit(f"{shown}: auth names namespace {wanted}; a SecretStore may only use its own, {own}")
        return (own if kind == "SecretStore" else wanted) or namespace

    if of_key is not None:
        parts: list[KeyRef | None] = []
        for name in _PARTS:
            entry = of_key.get(name)
            if not entry:
                parts.append(None)
                continue
            if not entry.get("name") or not entry.get("key"):
                raise Unfit(f"{shown}: auth.secretRef.{name} needs name and key")
            parts.append(KeyRef(where(entry), str(entry["name"]), str(entry["key"])))
        key_id, secret, token = parts
        if key_id is None or secret is None:
            raise Unfit(f"{shown}: auth.secretRef needs accessKeyIDSecretRef and secretAccessKeySecretRef")
        return AccessKey(key_id, secret, token)
    if given.get("jwt") is not None:
        if not of_account or not of_account.get("name"):
            raise Unfit(f"{shown}: auth.jwt needs serviceAccountRef with a name")
        audiences = tuple(map(str, of_account.get("audiences") or ()))
        return Account(where(of_account), str(of_account["name"]), audiences)
    return None


def audiences(account: Account, annotations: Mapping[str, str]) -> tuple[str, ...]:
    """For whom a token of the service account is made."""
    return (annotations.get("eks.amazonaws.com/audience") or _AUDIENCE, *account.audiences)


def without_auth(store: Mapping[str, Any]) -> dict[str, Any]:
    """The store as the reader of manifests takes it, which reads no Secret of the cluster."""
    spec = dict(store.get("spec") or {})
    provider = dict(spec.get("provider") or {})
    if isinstance(provider.get("aws"), Mapping):
        provider["aws"] = {key: value for key, value in provider["aws"].items() if key != "auth"}
    spec["provider"] = provider
    metadata = store.get("metadata") or {}
    return {
        "apiVersion": store.get("apiVersion"),
        "kind": store.get("kind"),
        "metadata": {key: metadata[key] for key in ("name", "namespace") if metadata.get(key)},
        "spec": spec,
    }


def _aws(store: Mapping[str, Any]) -> Mapping[str, Any]:
    return ((store.get("spec") or {}).get("provider") or {}).get("aws") or {}
