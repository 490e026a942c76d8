"""What a config asks AWS for, and the least IAM policy for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.core import arn
from agent.core.model import CALLS, Config, Kind, Place, Ref

OF_SSM: tuple[Kind, ...] = ("parameter", "parameters", "matching", "parameterTags")


def asked_for(config: Config, *kinds: Kind) -> list[Ref]:
    """What is asked for, of these kinds, replicas included."""
    return [ref for secret in config.bundle.secrets for ref in secret.ref.places if ref.kind in kinds]


def by_lists(config: Config) -> bool:
    """Whether own looks are made by lists."""
    hub = config.settings.hub
    return hub is not None and hub.lists


def assumed_roles(config: Config) -> list[str]:
    """The roles that are assumed, in the order of the config."""
    return list(dict.fromkeys(role for ref in asked_for(config, *CALLS) for role in ref.place.roles))


def policy(config: Config, role: str | None = None) -> dict[str, Any]:
    """The least IAM policy of a role that is assumed, or of the pod's own identity: read each secret that is asked for
    with it, describe those that are polled (one with a `versionId` is not), and assume the roles that come next.
    """

    def asked(*kinds: Kind) -> list[Ref]:
        return [ref for ref in asked_for(config, *kinds) if (ref.place.roles or (None,))[-1] == role]

    secrets = asked("secretsmanager")
    read, described = _resources(secrets), _resources(ref for ref in secrets if ref.version_id is None)
    actions: list[tuple[Any, list[str]]]
    if read == described:
        actions = [(["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"], read)]
    else:
        actions = [("secretsmanager:GetSecretValue", read), ("secretsmanager:DescribeSecret", described)]
    sets, matching = asked("find"), asked("matching")
    tagged = [ref for ref in matching if ref.query and ref.query.tags]
    actions += [
        ("secretsmanager:ListSecrets", ["*"] if by_lists(config) and described and not sets else []),
        (["secretsmanager:ListSecrets", "secretsmanager:BatchGetSecretValue"], ["*"] if sets else []),
        ("secretsmanager:GetSecretValue", _resources(sets)),
        ("ssm:GetParameters", _resources([*asked("parameter"), *tagged])),
        ("ssm:GetParametersByPath", _resources([*asked("parameters"), *(r for r in matching if r not in tagged)])),
        ("ssm:DescribeParameters", ["*"] if tagged else []),
        ("secretsmanager:DescribeSecret", _resources(asked("tags"))),
        ("ssm:ListTagsForResource", _resources(asked("parameterTags"))),
    ]
    chains = list(dict.fromkeys(ref.place for ref in asked_for(config, *CALLS)))
    steps = [(each, tags) for place in chains for before, each, tags in _steps(place) if before == role]
    actions += [
        ("sts:AssumeRole", list(dict.fromkeys(each for each, tags in steps if not tags))),
        (["sts:AssumeRole", "sts:TagSession"], list(dict.fromkeys(each for each, tags in steps if tags))),
    ]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": action, "Resource": resources} for action, resources in actions if resources
        ],
    }


def key_statement(config: Config, service: str) -> dict[str, Any] | None:
    """Permission to decrypt through that service only, and only these secrets: AWS passes their ARN as encryption
    context. None if nothing is asked of it.
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html
    """
    refs = asked_for(config, *(kind for kind, (source, *_) in CALLS.items() if source == service))
    if not refs:
        return None
    services = sorted(
        {
            f"{service}.{region}.{suffix}"
            for region in {ref.place.region or "*" for ref in refs}
            for suffix in ("amazonaws.com", arn.domain(region))  # KMS's documents name the first one for all regions
        }
    )
    context = "SecretARN" if service == "secretsmanager" else "PARAMETER_ARN"
    return {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": "ARN-OF-THE-KEY",
        "Condition": {
            "StringLike": {"kms:ViaService": services, f"kms:EncryptionContext:{context}": _resources(refs)},
        },
    }


def _steps(place: Place) -> list[tuple[str | None, str, bool]]:
    """Each role of a place's chain: which one assumes it (None: the pod's own identity), and whether with tags."""
    chain = place.roles
    return [
        (before, each, bool(place.tags) and number == len(chain))
        for number, (before, each) in enumerate(zip((None, *chain), chain, strict=False), 1)
    ]


def _resources(refs: Iterable[Ref]) -> list[str]:
    return list(dict.fromkeys(resource for ref in refs for resource in ref.resources))
