"""The Secret of Kubernetes that an ExternalSecret makes, as YAML."""

from __future__ import annotations

import base64
from typing import Any

from agent.core.model import ExternalSecretData
from agent.render.external_secret import Made
from agent.render.template import goyaml


def yaml(how: ExternalSecretData, made: Made) -> str:
    """The manifest, with values in base64."""
    metadata: dict[str, Any] = {"name": how.name, "namespace": how.namespace}
    if made.labels:
        metadata["labels"] = dict(made.labels)
    if made.annotations:
        metadata["annotations"] = dict(made.annotations)
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": made.type,
        "data": {key: base64.b64encode(value).decode() for key, value in made.data.items()},
    }
    if how.immutable:
        secret["immutable"] = True
    return goyaml.dumps(_free, secret) + "\n"


def _free(_units: int) -> None:
    """Its length is bounded by Kubernetes' rules."""
