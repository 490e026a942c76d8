"""AdmissionReviews as the API server sends them, and what their answers say."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any

CANARY = "canary-Zq7/é-value"

OURS = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:shop/db-AbCdEf"
OTHER = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:else/where-XyZ123"

HELD = "61d71a4f-06f3-46a8-b7da-a8bfb74a302e"  # uid of the Secret that exists


def secret(values: Mapping[str, str | bytes] | None = None, **changes: Any) -> dict[str, Any]:
    """A Secret with our label. `annotations`, `labels` and `metadata` are for its metadata."""
    metadata = {
        "name": "db",
        "namespace": "shop",
        "labels": {"freshmount.dev/push": "true"} | changes.pop("labels", {}),
        **changes.pop("metadata", {}),
    }
    if annotations := changes.pop("annotations", None):
        metadata["annotations"] = annotations
    data = {key: b64(value) for key, value in (values if values is not None else {"password": CANARY}).items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data, "type": "Opaque", **changes}


def held(values: Mapping[str, str | bytes] | None = None, **changes: Any) -> dict[str, Any]:
    """The Secret as etcd has it after it was pushed."""
    annotations = {"freshmount.dev/arn": OURS, "freshmount.dev/version": "v1"} | changes.pop("annotations", {})
    metadata = {"uid": HELD, "resourceVersion": "7"} | changes.pop("metadata", {})
    found = values if values is not None else {"password": OURS}
    return secret(found, annotations=annotations, metadata=metadata, **changes)


def review(
    new: Mapping[str, Any] | None, old: Mapping[str, Any] | None = None, *, uid: str = "", **changes: Any
) -> dict[str, Any]:
    """The review of a creation, a change, or with `old` alone a deletion."""
    operation = "CREATE" if old is None else "UPDATE" if new is not None else "DELETE"
    request = {
        "uid": uid or str(uuid.uuid4()),
        "kind": {"group": "", "version": "v1", "kind": "Secret"},
        "resource": {"group": "", "version": "v1", "resource": "secrets"},
        "namespace": "shop",
        "name": "db",
        "operation": operation,
        "userInfo": {"username": "a-person"},
        "object": new,
        "oldObject": old,
        "dryRun": False,
        **changes,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def body(given: Any) -> bytes:
    return json.dumps(given).encode()


def b64(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def patched(given: Mapping[str, Any], operations: Any) -> dict[str, Any]:
    """The object with the patch applied, by a library that is not ours."""
    import jsonpatch

    return dict(jsonpatch.apply_patch(given, list(operations)))


def operations_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The patch in an answer."""
    patch = answer["response"].get("patch")
    return list(json.loads(base64.b64decode(patch))) if patch else []


def forms(value: str) -> tuple[bytes, ...]:
    """A value as it may stand in a text: as it is, escaped, encoded at any of the three offsets."""
    raw = value.encode()
    padded = [base64.b64encode(b"x" * pad + raw)[4 if pad else 0 :][:16] for pad in range(3)]
    return (raw, json.dumps(value)[1:-1].encode(), *padded)
