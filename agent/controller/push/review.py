"""What an AdmissionReview of a Secret asks for, and the answers to it. Pure.

No message here carries a value: the API server shows messages to people and writes them to its audit log.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from agent.core import arn
from agent.core.errors import FreshmountError, shown
from agent.core.record import Record
from agent.core.value import SecretValue

LABEL = "freshmount.dev/push"
NAME = "freshmount.dev/push-name"
BASE64 = "freshmount.dev/push-base64"
DELETION = "freshmount.dev/deletion"
ARN = "freshmount.dev/arn"
VERSION = "freshmount.dev/version"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

LIMIT = 65_536  # bytes of a secret, according to Secrets Manager's quotas

Operation = Literal["create", "update", "delete"]

# What reads these is not an app that could read files instead; or the API server looks into the value, after us.
_TYPES = {
    "kubernetes.io/service-account-token": "Kubernetes itself writes and reads its token",
    "kubernetes.io/dockerconfigjson": "kubelet reads it to pull images, and cannot read AWS",
    "kubernetes.io/dockercfg": "kubelet reads it to pull images, and cannot read AWS",
    "bootstrap.kubernetes.io/token": "Kubernetes itself reads it",
    "helm.sh/release.v1": "Helm reads it back",
}

_UID = re.compile(r"[A-Za-z0-9-]{32,64}")  # what AWS takes as a client request token
_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")

# From how many bytes on a value that stands in an annotation is taken for a copy, and not for a common word.
_COPY, _COPY_AS_BASE64 = 12, 4


class Refusal(FreshmountError):
    """The request is refused. `code` is the HTTP status that the API server answers with."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class Rules(Record):
    """What the process was started with. `prefix` is empty or ends with a slash."""

    cluster: str
    prefix: str = ""


class Asked(Record):
    """Which object a review is about. `uid` is the review's, `held` the uid of the object that the API server holds."""

    uid: str
    operation: Operation
    namespace: str
    name: str
    dry_run: bool
    held: str | None


class Pass(Record):
    """There is nothing to write. `patch` cleans what may still hold a value."""

    patch: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


class Write(Record):
    """The secret of AWS of that name gets this value. `version`: which one the Secret held so far."""

    asked: Asked
    secret: str
    value: SecretValue
    keys: tuple[str, ...]
    version: str | None = None
    warnings: tuple[str, ...] = ()


class Delete(Record):
    """The secret of AWS of that name is deleted."""

    asked: Asked
    secret: str


class Review:
    """An AdmissionReview of form. It holds values, so it does not print."""

    __slots__ = ("asked", "new", "old")

    def __init__(self, asked: Asked, new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
        self.asked, self.new, self.old = asked, new, old


# -- reading


def read(body: bytes) -> Review:
    """The review. Raises Refusal where it is none of a Secret."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None  # the error itself holds the text
    request = given.get("request") if isinstance(given, dict) else None
    if not isinstance(request, dict) or given.get("apiVersion") != "admission.k8s.io/v1":
        raise Refusal(400, "this is not an AdmissionReview of admission.k8s.io/v1")
    kind, uid = request.get("kind"), request.get("uid")
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise Refusal(
            400, "the review has no uid that AWS takes as a client request token: 32 to 64 letters and digits"
        )
    if kind != {"group": "", "version": "v1", "kind": "Secret"} or request.get("subResource"):
        raise Refusal(400, "only Secrets of v1 are pushed: check `rules` of the webhook's configuration")
    operations: dict[object, Operation] = {"CREATE": "create", "UPDATE": "update", "DELETE": "delete"}
    operation, namespace = request.get("operation"), request.get("namespace")
    if not isinstance(operation, str) or operation not in operations:
        raise Refusal(400, "only creation, update and deletion of a Secret are known")
    if not isinstance(namespace, str) or not namespace:
        raise Refusal(400, "the review names no namespace")
    new, old = _object(request.get("object")), _object(request.get("oldObject"))
    if (not new and operation != "DELETE") or (not old and operation != "CREATE"):
        raise Refusal(400, "the review lacks the object that it is about")
    name = request.get("name") or new.get("metadata", {}).get("name") or ""
    held = old.get("metadata", {}).get("uid")
    asked = Asked(
        uid=uid,
        operation=operations[operation],
        namespace=namespace,
        name=name if isinstance(name, str) else "",
        dry_run=bool(request.get("dryRun")),
        held=held if isinstance(held, str) else None,
    )
    return Review(asked, new, old)


def _object(given: Any) -> Mapping[str, Any]:
    """An object of which all that is read here has its form. Raises Refusal."""
    if given is None:
        return {}
    if isinstance(given, dict) and isinstance(given.get("metadata"), dict):
        maps = (given.get("data"), given.get("stringData"), *(given["metadata"].get(of) for of in _METADATA))
        if all(_is_texts(each) for each in maps):
            return given
    raise Refusal(400, "the object in the review does not have the form of a Secret")


_METADATA = ("labels", "annotations")


def _is_texts(given: Any) -> bool:
    return given is None or (isinstance(given, dict) and all(isinstance(each, str) for each in given.values()))


def _texts(of: Mapping[str, Any], what: str) -> dict[str, str]:
    return dict(of.get("metadata", {}).get(what) or {})


# -- deciding


def decide(review: Review, rules: Rules) -> Pass | Write | Delete:
    """What must be done. Raises Refusal.

    1. Is it asked for?
    2. Can this Secret be pushed, and will the API server take the change?
    3. Is there a value in it, and the whole of it?
    4. Where does it go in AWS, and does it fit there?
    5. Does a copy of the value stand beside it?
    """
    asked, new, old = review.asked, review.new, review.old
    if asked.operation == "delete":
        return _deletion(asked, old, rules)
    # 1.
    if _texts(new, "labels").get(LABEL) != "true":
        gone = _texts(old, "labels").get(LABEL) == "true"
        words = f"without the label {LABEL} values of this Secret stay in the cluster; what AWS holds remains there"
        return Pass(warnings=(words,) if gone else ())
    # 2.
    _check(asked, new, old)
    # 3.
    values, before = _values(new), _values(old)
    arns = {key: value.decode() for key, value in values.items() if arn.SECRET_ARN.fullmatch(_text(value) or "")}
    secret = _name(asked, _texts(new, "annotations"), rules)
    removed = sorted(before.keys() - values.keys())
    if len(arns) == len(values):
        _check_unchanged(new, old, removed, before)
        return Pass(patch=_clean(new, arns))
    if old.get("immutable"):
        raise Refusal(422, "the Secret is immutable; its values cannot change")
    ours = {_texts(old, "annotations").get(ARN)}
    kept = sorted(key for key, each in arns.items() if each in ours or _named(each) == secret)
    if kept:
        fresh = sorted(values.keys() - arns.keys())
        raise Refusal(
            422,
            f"{_listed(fresh)} would change, while {_listed(kept)} is only an ARN here: AWS holds one value of all "
            "keys, and Freshmount cannot read it. Apply the Secret with the values of all its keys",
        )
    # 4.
    value = _composed(values, _texts(new, "annotations"))
    # 5.
    _check_copies(new, values)
    clear = any(not arn.SECRET_ARN.fullmatch(_text(each) or "") for each in before.values())
    words = "the values that this Secret had so far were in the cluster, and may be in backups of etcd: rotate them"
    version = _texts(old, "annotations").get(VERSION)
    return Write(asked, secret, value, tuple(sorted(values)), version, (words,) if clear else ())


def _deletion(asked: Asked, old: Mapping[str, Any], rules: Rules) -> Pass | Delete:
    annotations = _texts(old, "annotations")
    if _texts(old, "labels").get(LABEL) != "true" or _deletes(annotations) == "retain":
        return Pass()
    return Delete(asked, _name(asked, annotations, rules))


def _deletes(annotations: Mapping[str, str]) -> str:
    """Raises Refusal."""
    found = annotations.get(DELETION, "retain")
    if found not in ("retain", "delete"):
        raise Refusal(422, f"the annotation {DELETION} is {shown(found)}; it is `retain` or `delete`")
    return found


def _check(asked: Asked, new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    """Refuse what cannot be pushed, and what the API server would refuse after AWS was written. Raises Refusal."""
    kind = new.get("type") or "Opaque"
    if kind in _TYPES:
        raise Refusal(422, f"a Secret of type {kind} cannot be pushed: {_TYPES[kind]}; remove the label {LABEL}")
    if not asked.name:
        raise Refusal(
            422,
            "a Secret with `generateName` cannot be pushed: it has no name yet when it would be written to AWS; "
            "give it a `metadata.name`",
        )
    _deletes(_texts(new, "annotations"))
    if not old:
        return
    if (old.get("type") or "Opaque") != kind:
        raise Refusal(422, "the type of a Secret cannot change; delete the Secret first")
    for field, what in (("resourceVersion", "it has changed in the meantime"), ("uid", "it is another Secret")):
        mine, theirs = new["metadata"].get(field), old["metadata"].get(field)
        if mine and theirs and mine != theirs:
            raise Refusal(409, f"{what}: `{field}` is {theirs}, not {mine}; read the Secret again and apply the change")


def _check_unchanged(
    new: Mapping[str, Any], old: Mapping[str, Any], removed: list[str], before: Mapping[str, bytes]
) -> None:
    """Refuse what needs the value that is in AWS, though nothing but ARNs is here. Raises Refusal.

    A version that the Secret did not have before: this is the second look at a change that was pushed at the first.
    """
    versions = [_texts(each, "annotations").get(VERSION) for each in (old, new)]
    if not any(arn.SECRET_ARN.fullmatch(_text(each) or "") for each in before.values()) or versions[0] != versions[1]:
        return
    if removed:
        raise Refusal(
            422,
            f"{_listed(removed)} would be removed here, but not in AWS, which holds one value of all keys. Apply the "
            "Secret with the values of all keys that remain",
        )
    names = [_texts(each, "annotations").get(NAME) for each in (old, new)]
    if names[0] != names[1]:
        raise Refusal(
            422,
            f"the annotation {NAME} changes, and only ARNs are here: apply the Secret with the values of all its keys",
        )


def _values(of: Mapping[str, Any]) -> dict[str, bytes]:
    """Each key's value; `stringData` replaces `data`, as the API server has it. Raises Refusal."""
    found = {key: _decoded(text) for key, text in (of.get("data") or {}).items()}
    found |= {key: text.encode("utf-8", "surrogatepass") for key, text in (of.get("stringData") or {}).items()}
    values = {key: value for key, value in found.items() if value is not None}
    if wrong := sorted(found.keys() - values.keys()):
        raise Refusal(400, f"what `data` has for {_listed(wrong)} is not base64")
    return values


def _decoded(text: str) -> bytes | None:
    """None for what is not base64: an error would hold the text."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _name(asked: Asked, annotations: Mapping[str, str], rules: Rules) -> str:
    """How the secret is called in AWS. Raises Refusal."""
    below = f"{rules.prefix}{asked.namespace}/"
    given = annotations.get(NAME)
    name = f"{below}{asked.name}" if given is None else given
    if not name.startswith(below) or len(name) == len(below):
        raise Refusal(
            403,
            f"the annotation {NAME} is {shown(name)}; Secrets of this namespace are pushed only to names below {below}",
        )
    if not _NAME.fullmatch(name):
        raise Refusal(
            422, f"{shown(name)} is not a name for AWS: up to 512 letters, digits and characters of /_+=.@- are allowed"
        )
    return name


def _named(secret_arn: str) -> str:
    """The name in a complete ARN."""
    return secret_arn.partition(":secret:")[2][:-7]


def _composed(values: Mapping[str, bytes], annotations: Mapping[str, str]) -> SecretValue:
    """The JSON object of all keys, the same bytes for the same values. Raises Refusal."""
    encoded = {key.strip() for key in annotations.get(BASE64, "").split(",")} - {""}
    if unknown := sorted(encoded - values.keys()):
        raise Refusal(422, f"the annotation {BASE64} names {_listed(unknown)}, and the Secret has no such key")
    texts = {}
    for key, value in values.items():
        text = base64.b64encode(value).decode() if key in encoded else _text(value)
        if text is None:
            raise Refusal(
                422,
                f"the value of {shown(key)} is not text in UTF-8, and AWS holds it in a JSON object. Name the key in "
                f'the annotation {BASE64} to push it as base64; a config reads it with "encoding: base64"',
            )
        texts[key] = text
    whole = json.dumps(texts, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    if len(whole) > LIMIT:
        raise Refusal(
            422, f"the value has {len(whole):,} bytes as a JSON object, and AWS takes {LIMIT:,}: divide the Secret"
        )
    return SecretValue(whole, text=True)


def _check_copies(new: Mapping[str, Any], values: Mapping[str, bytes]) -> None:
    """Refuse a Secret with a value in a label or annotation, which reach etcd as they are. Raises Refusal."""
    copies = {what: text for of in _METADATA for what, text in _texts(new, of).items()}
    if LAST_APPLIED in copies:
        copies[LAST_APPLIED] = _applied(copies[LAST_APPLIED], lambda _key, _value: "") or ""
    for key, value in values.items():
        for what, text in copies.items():
            if any(form in text for form in _forms(value)):
                raise Refusal(
                    422,
                    f"the annotation or label {shown(what)} holds a copy of the value of {shown(key)}: remove it there",
                )


def _forms(value: bytes) -> Iterable[str]:
    """How a value that is long enough may stand in a text."""
    if len(value) >= _COPY_AS_BASE64:
        yield base64.b64encode(value).decode()
    text = _text(value)
    if text is not None and len(value) >= _COPY:
        yield text
        yield json.dumps(text)[1:-1]
        yield (escaped := json.dumps(text, ensure_ascii=False)[1:-1])
        yield escaped.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")  # as Go writes it


def repeats(message: str, value: SecretValue) -> bool:
    """Whether a message of others repeats a value, or a part of the object that holds them."""
    texts: dict[str, str] = json.loads(value.reveal())
    return any(form in message for text in texts.values() for form in (text, *_forms(text.encode())) if len(text) > 3)


def _listed(keys: Iterable[str]) -> str:
    names = [shown(key) for key in keys]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# -- patching


def patch(new: Mapping[str, Any], secret_arn: str, version: str | None) -> tuple[Mapping[str, Any], ...]:
    """What turns the object into one without a value: each key's is the ARN."""
    keys = sorted({*(new.get("data") or {}), *(new.get("stringData") or {})})
    annotations = _texts(new, "annotations") | {ARN: secret_arn}
    if version is not None:
        annotations[VERSION] = version
    if (text := annotations.pop(LAST_APPLIED, None)) is not None:
        applied = _applied(text, lambda _key, _value: secret_arn)
        annotations |= {LAST_APPLIED: applied} if applied is not None else {}
    operations: list[Mapping[str, Any]] = [
        {"op": "add", "path": "/data", "value": {key: base64.b64encode(secret_arn.encode()).decode() for key in keys}},
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
    ]
    if new.get("stringData"):
        operations.append({"op": "remove", "path": "/stringData"})
    return tuple(operations)


def _clean(new: Mapping[str, Any], arns: Mapping[str, str]) -> tuple[Mapping[str, Any], ...]:
    """What removes values from kubectl's copy of an object that itself holds ARNs only."""
    text = _texts(new, "annotations").get(LAST_APPLIED)
    if text is None or not arns:
        return ()
    otherwise = next(iter(arns.values()))
    applied = _applied(text, lambda key, value: value if arn.SECRET_ARN.fullmatch(value) else arns.get(key, otherwise))
    if applied == text:
        return ()
    where = "/metadata/annotations/" + LAST_APPLIED.replace("/", "~1")
    return ({"op": "remove", "path": where} if applied is None else {"op": "add", "path": where, "value": applied},)


def _applied(text: str, instead: Callable[[str, str], str]) -> str | None:
    """kubectl's copy of what was applied last, with what comes instead of each key's value; the very text where nothing
    changes; None where it cannot be read, and must go."""
    changed = False
    try:
        given = json.loads(text)
        for part in ("data", "stringData"):
            for key, found in (given.get(part) or {}).items():
                old = base64.b64decode(found).decode("utf-8", "replace") if part == "data" else found
                if (new := instead(key, old)) != old:
                    given[part][key] = base64.b64encode(new.encode()).decode() if part == "data" else new
                    changed = True
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
    return json.dumps(given, ensure_ascii=False, separators=(",", ":")) + "\n" if changed else text


# -- answering


def allowed(uid: str, operations: Iterable[Mapping[str, Any]] = (), warnings: Iterable[str] = ()) -> dict[str, Any]:
    """The review that lets the request pass, changed so."""
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if changes := list(operations):
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(changes).encode()).decode()}
    if words := list(warnings):
        response["warnings"] = words
    return _answer(response)


def refused(uid: str, refusal: Refusal) -> dict[str, Any]:
    """The review that refuses the request."""
    reasons = {400: "BadRequest", 403: "Forbidden", 409: "Conflict", 422: "Invalid", 503: "ServiceUnavailable"}
    status = {"code": refusal.code, "message": str(refusal), "reason": reasons.get(refusal.code, "InternalError")}
    return _answer({"uid": uid, "allowed": False, "status": status})


def _answer(response: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
