"""What AWS has of pushed Secrets and the cluster does not refer to: for a person, with that person's permissions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lightkube import ApiError, Client
from lightkube.core.exceptions import ConfigError
from lightkube.resources.core_v1 import Secret

from agent.controller.push import review
from agent.controller.push.store import OWNER_TAG, SECRET_TAG
from agent.core.errors import Failure, StartError
from agent.core.model import Place, Ref
from agent.core.model import Secret as Asked
from agent.core.record import Record
from agent.sources.aws import sets
from agent.sources.aws.clients import Answer, Clients


class Pushed(Record):
    """One secret of AWS that was pushed from this cluster. `current` is its version."""

    name: str
    arn: str
    namespace: str
    of: str
    current: str | None


def show(clients: Clients, cluster: str) -> int:
    """Print each orphan and why it is one. Returns 0. Raises StartError where it cannot be known."""
    try:
        client = Client()
    except ConfigError as error:
        raise StartError(f"no API server is known: {error}; set KUBECONFIG") from None
    number = 0
    for each in _pushed(clients, cluster):
        if why := _why(client, each):
            number += 1
            print(f"{each.name}: {why}")
    if not number:
        print(f"no orphan of cluster {cluster}")
    return 0


def _why(client: Client, pushed: Pushed) -> str | None:
    """Why the cluster does not refer to it, or not to its version; None if it does. Raises StartError."""
    where = f"the Secret {pushed.namespace}/{pushed.of}"
    try:
        found = client.get(Secret, pushed.of, namespace=pushed.namespace)
    except ApiError as error:
        if error.status.code == 404:
            return f"{where} does not exist: it was deleted, or never stored"
        raise StartError(f"{where} cannot be read: {error.status.message}") from None
    except Exception as error:
        raise StartError(f"{where} cannot be read: {type(error).__name__}") from None
    annotations = (found.metadata.annotations if found.metadata else None) or {}
    if annotations.get(review.ARN) != pushed.arn:
        return f"{where} is at {annotations.get(review.ARN) or 'no ARN'}"
    if annotations.get(review.VERSION) != pushed.current:
        return (
            f"{where} is at version {annotations.get(review.VERSION)}, AWS at {pushed.current}: a change was not "
            "stored, or was made in AWS"
        )
    return None


def _pushed(clients: Clients, cluster: str) -> Iterator[Pushed]:
    """All that were pushed from the cluster. Raises StartError."""
    filters = [{"Key": "tag-key", "Values": [OWNER_TAG]}, {"Key": "tag-value", "Values": [f"{cluster}/"]}]
    about = Asked("orphans", Ref("pushed secrets", Place(None, None)), 0.0, False)

    def ask(page: Mapping[str, Any]) -> Answer[tuple[list[Pushed], str | None]]:
        return clients.ask("ListSecrets", about, lambda client: _page(client.list_secrets(**page), cluster))

    found, _ = sets.pages(about, "ListSecrets", {"Filters": filters, "MaxResults": 100}, ask, most=math.inf)
    if isinstance(found, Failure):
        raise StartError(found.message)
    yield from sorted(found, key=lambda each: each.name)


def _page(answer: Any, cluster: str) -> tuple[list[Pushed], str | None]:
    found = []
    for each in answer["SecretList"]:
        tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags") or ()}
        owner, _, namespace = tags.get(OWNER_TAG, "").partition("/")
        if owner == cluster and SECRET_TAG in tags:
            stages = each.get("SecretVersionsToStages") or {}
            current = next((version for version, on in stages.items() if "AWSCURRENT" in on), None)
            found.append(
                Pushed(sets.named(each["Name"]), sets.named(each["ARN"]), namespace, tags[SECRET_TAG], current)
            )
    return found, answer.get("NextToken")
