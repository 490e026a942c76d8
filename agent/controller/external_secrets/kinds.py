"""The kinds of Kubernetes that are read and written, as lightkube has them; and what their names are in a cache."""

from __future__ import annotations

from typing import Any

from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import (
    GenericGlobalResource,
    GenericNamespacedResource,
    create_api_info,
    create_global_resource,
    create_namespaced_resource,
)

GROUP = "external-secrets.io"

VERSIONS = ("v1", "v1beta1")

Key = tuple[str, str]  # namespace, which is "" for what has none, and name


def external_secret(version: str) -> Any:
    """ExternalSecrets in that version of the API."""
    return create_namespaced_resource(GROUP, version, "ExternalSecret", "externalsecrets")


def secret_store(version: str) -> Any:
    """SecretStores in that version of the API."""
    return create_namespaced_resource(GROUP, version, "SecretStore", "secretstores")


def cluster_secret_store(version: str) -> Any:
    """ClusterSecretStores in that version of the API."""
    return create_global_resource(GROUP, version, "ClusterSecretStore", "clustersecretstores")


class Secret(GenericNamespacedResource):
    """A Secret as a plain object: what is sent is not looked into."""

    _api_info: ApiInfo = create_api_info("", "v1", "Secret", "secrets")


class ConfigMap(GenericNamespacedResource):
    """A ConfigMap as a plain object."""

    _api_info: ApiInfo = create_api_info("", "v1", "ConfigMap", "configmaps")


class Namespace(GenericGlobalResource):
    """A Namespace as a plain object."""

    _api_info: ApiInfo = create_api_info("", "v1", "Namespace", "namespaces")


class Event(GenericNamespacedResource):
    """An Event as a plain object."""

    _api_info: ApiInfo = create_api_info("", "v1", "Event", "events")


class ServiceAccount(GenericNamespacedResource):
    """A ServiceAccount as a plain object."""

    _api_info: ApiInfo = create_api_info("", "v1", "ServiceAccount", "serviceaccounts")


class Token(GenericNamespacedResource):
    """A request for a token of a ServiceAccount."""

    _api_info: ApiInfo = ApiInfo(
        resource=ResourceDef("authentication.k8s.io", "v1", "TokenRequest"),
        parent=ResourceDef("", "v1", "ServiceAccount"),
        plural="serviceaccounts",
        verbs=["post"],
        action="token",
    )


def key(found: Any) -> Key:
    """The namespace and the name of an object."""
    metadata = found["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])
