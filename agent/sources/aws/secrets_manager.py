"""AWS Secrets Manager: observe a version, fetch a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.core.errors import Failure
from agent.core.model import Answers, Observation, Request, Rotation, Secret
from agent.core.record import replace
from agent.core.value import Fetched, SecretValue
from agent.sources.aws import errors
from agent.sources.aws.clients import CALL_LIMIT, Answer, Clients, word

__all__ = ["CALL_LIMIT", "SecretsManager"]


class SecretsManager(Clients):
    """AWS Secrets Manager as a source."""

    limit = CALL_LIMIT

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """One request for each batch: AWS describes one secret per call, and BatchGetSecretValue knows only
        AWSCURRENT."""
        return [(request,) for request in requests]

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """`describe` for each."""
        found = {request.secret.name: self.describe(request.secret) for request in batch}
        return Answers({name: answer.result for name, answer in found.items()}, tuple(a.call for a in found.values()))

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """`value` for each."""
        found = {request.secret.name: self.value(request.secret, request.version_id) for request in batch}
        return Answers({name: answer.result for name, answer in found.items()}, tuple(a.call for a in found.values()))

    def describe(self, secret: Secret) -> Answer[Observation]:
        """Which version holds the wanted stage now, and when the next rotation is due: an `Observation`.

        DescribeSecret returns no value and needs no KMS permission.
        """
        return self.ask(
            "DescribeSecret",
            secret,
            lambda client: observation(secret, client.describe_secret(SecretId=secret.ref.id)),
        )

    def describe_stages(self, secret: Secret, stages: Sequence[str]) -> Answer[Mapping[str, Observation | Failure]]:
        """The same for several stages of a secret, by one call: which version holds each of them."""
        return self.ask(
            "DescribeSecret",
            secret,
            lambda client: observations(secret, stages, client.describe_secret(SecretId=secret.ref.id)),
        )

    def value(self, secret: Secret, version_id: str | None) -> Answer[Fetched]:
        """The value of that version, or with None, of the version that holds the wanted stage: a `Fetched`.

        The stage is sent along with the version, because a policy may allow access by stage alone. AWS reports a
        version that no longer holds the stage as not found.
        """
        which = {"VersionId": version_id} if version_id is not None else {}
        if secret.ref.version_stage:
            which["VersionStage"] = secret.ref.version_stage
        return self.ask(
            "GetSecretValue",
            secret,
            lambda client: _fetched(secret, client.get_secret_value(SecretId=secret.ref.id, **which)),
        )


def observations(secret: Secret, stages: Sequence[str], answer: Any) -> Mapping[str, Observation | Failure]:
    """Which version holds each of these stages, by an answer to DescribeSecret as botocore reads it. Raises ValueError,
    or another exception, if Secrets Manager did not send it."""
    followed = {stage: replace(secret, ref=replace(secret.ref, version_stage=stage)) for stage in stages}
    return {stage: observation(each, answer) for stage, each in followed.items()}


def observation(secret: Secret, answer: Any) -> Observation | Failure:
    """What an answer to DescribeSecret says of the wanted stage. Raises ValueError, or another exception, if Secrets
    Manager did not send it."""
    if deleted := answer.get("DeletedDate"):
        return Failure(
            "deleted",
            f"{secret.ref.id} has been scheduled for deletion since {deleted:%Y-%m-%d %H:%M %Z}; "
            "restore-secret cancels that",
        )
    if not answer.keys() & {"ARN", "Name", "VersionIdsToStages"}:
        raise ValueError("no description")
    stages: dict[str, list[str]] = answer.get("VersionIdsToStages") or {}
    holder = {word(stage): word(version) for version, labels in stages.items() for stage in labels}
    version = holder.get(secret.ref.version_stage or "")
    if version is None:
        return Failure(
            "not_found",
            f"{secret.ref.id} has no version with stage {secret.ref.version_stage}; "
            f"its stages are {errors.line(', '.join(sorted(holder))) or 'none'}",
        )
    pending = holder.get("AWSPENDING")
    enabled = answer.get("RotationEnabled")
    next_at = answer.get("NextRotationDate") if enabled else None
    return Observation(
        version_id=version,
        stages=tuple(sorted(stages[version])),
        rotation=Rotation(
            next_at=next_at.timestamp() if next_at else None,
            window=_window(answer.get("RotationRules") or {}) if enabled else None,
            pending=pending if pending != holder.get("AWSCURRENT") else None,
        ),
    )


def _window(rules: Any) -> float:
    """The length of the rotation window in seconds. Without a Duration, the window of a schedule in hours closes after
    an hour, and any other at the end of the UTC day.
    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotationRulesType.html
    """
    if found := re.fullmatch(r"(\d{1,3})h", rules.get("Duration") or ""):
        return float(found[1]) * 3600
    schedule = rules.get("ScheduleExpression") or ""
    hourly = "hour" in schedule or re.match(r"cron\(\S+ \S*[*/]", schedule)
    return 3600.0 if hourly else 86400.0


def _fetched(secret: Secret, answer: Any) -> Fetched | Failure:
    text, binary, version = answer.get("SecretString"), answer.get("SecretBinary"), answer.get("VersionId")
    if version is None or (text is None and binary is None):
        return Failure(
            "invalid",
            f"the answer for {secret.ref.id} contains no value; check that the endpoint is AWS Secrets Manager",
        )
    created = answer.get("CreatedDate")
    if isinstance(text, str):
        value = SecretValue(text.encode("utf-8", "surrogatepass"), text=True)
    elif isinstance(binary, bytes):
        value = SecretValue(binary, text=False)
    else:
        raise TypeError("no value")
    stages = tuple(sorted(word(stage) for stage in answer.get("VersionStages") or ()))
    return Fetched(word(version), stages, created.timestamp() if created else None, value)
