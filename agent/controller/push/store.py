"""Pushed Secrets in Secrets Manager: whose a secret is, and the one call that writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from agent.controller.push.review import Asked, Delete, Refusal, Rules, Write, repeats
from agent.core import arn
from agent.core.errors import Failure
from agent.core.model import Operation, Place, Ref, Secret
from agent.core.record import Record
from agent.sources.aws import errors
from agent.sources.aws.clients import Clients, word
from agent.sources.aws.sets import named

# Whose a secret is: `<cluster>/<namespace>`, and the name of the Secret there.
OWNER_TAG, SECRET_TAG = "freshmount.dev/pushed-by", "freshmount.dev/secret"

R = TypeVar("R")


class Held(Record):
    """What AWS has under a name. `deleted`: since when it has been scheduled for deletion."""

    arn: str
    tags: tuple[tuple[str, str], ...]
    deleted: str | None


class Written(Record):
    """Where a value is. Without `version` nothing was written yet: it was a dry run."""

    arn: str
    version: str | None


class Failed(Refusal):
    """AWS, or the API server, did not do its part. Nothing is known to be wrong with the request."""


class Store:
    """Secrets Manager, in the region of the environment. Its methods block, each for a few calls at most."""

    def __init__(self, clients: Clients, rules: Rules, *, window: int, region: str | None) -> None:
        """`window`: days during which a deleted secret can be restored."""
        self._clients, self._rules, self._window, self._region = clients, rules, window, region

    def write(self, write: Write) -> Written:
        """Give the secret its value, once for each uid of a review. Raises Refusal, and Failed.

        1. Whose is it? It takes no value of ours to find out.
        2. A dry run ends here.
        3. Give it a version, or create it. Where another was quicker with the creation, begin anew.
        """
        token, value = write.asked.uid, write.value.reveal().decode()
        for _ in range(2):
            # 1.
            held = self._held(write.asked, write.secret)
            # 2.
            if write.asked.dry_run:
                return Written(held.arn if held else self._imagined(write.secret), None)
            # 3.
            if held is not None:
                asked = {"SecretId": held.arn, "ClientRequestToken": token, "SecretString": value}
                if written := self._ask("PutSecretValue", write.secret, _putting(asked), write):
                    return written
                raise Refusal(409, f"AWS has a version {token} of {write.secret} with another value; try again")
            asked = {"Name": write.secret, "ClientRequestToken": token, "SecretString": value}
            if written := self._ask("CreateSecret", write.secret, _creating(asked, self._tags(write.asked)), write):
                return written
        raise Failed(503, f"the secret {write.secret} appears in AWS and vanishes again; try again")

    def _imagined(self, secret: str) -> str:
        """The ARN of a dry run, which a second look at the object takes for one, and a person for none."""
        region = self._region or "no-region-0"
        return f"arn:{arn.partition(region)}:secretsmanager:{region}:000000000000:secret:{secret}-DryRun"

    def delete(self, delete: Delete) -> bool:
        """Schedule the secret for deletion. False if there was nothing to do. Raises Refusal, and Failed."""
        held = self._held(delete.asked, delete.secret, deleted_too=True)
        if held is None or held.deleted or delete.asked.dry_run:
            return False
        asked = {"SecretId": held.arn, "RecoveryWindowInDays": self._window}
        self._ask("DeleteSecret", delete.secret, lambda client: client.delete_secret(**asked))
        return True

    def _held(self, asked: Asked, secret: str, *, deleted_too: bool = False) -> Held | None:
        """What AWS has under the name, if it is that Secret's. Raises Refusal, and Failed."""
        held = self._ask("DescribeSecret", secret, lambda client: _read(client.describe_secret(SecretId=secret)))
        if held is None:
            return None
        wanted, tags = self._tags(asked), dict(held.tags)
        if not wanted.items() <= tags.items():
            if OWNER_TAG not in tags:
                whose = f"it was not pushed by Freshmount: it lacks the tag {OWNER_TAG}"
            else:
                whose = f"it belongs to the Secret {tags.get(SECRET_TAG)} of {errors.line(tags[OWNER_TAG])}"
            means = " ".join(f"Key={key},Value={text}" for key, text in wanted.items())
            raise Refusal(
                403,
                f"AWS has a secret {secret}, and {whose}. To let this Secret have it: aws secretsmanager tag-resource "
                f"--secret-id {secret} --tags {means}",
            )
        if held.deleted and not deleted_too:
            raise Refusal(
                409,
                f"{secret} has been scheduled for deletion in AWS since {held.deleted}. To have it back: aws "
                f"secretsmanager restore-secret --secret-id {secret}",
            )
        return held

    def _tags(self, asked: Asked) -> dict[str, str]:
        return {OWNER_TAG: f"{self._rules.cluster}/{asked.namespace}", SECRET_TAG: asked.name}

    def _ask(self, operation: Operation, secret: str, ask: Callable[[Any], R], write: Write | None = None) -> R | None:
        """What AWS answers; None where it says that the secret is not there, or that it, or the version, already is.
        Raises Failed."""
        answer = self._clients.ask(operation, Secret(secret, Ref(secret, Place(None, None)), 0.0, False), ask)
        if not isinstance(answer.result, Failure):
            return answer.result
        if answer.call.code == _EXPECTED.get(operation):
            return None
        message = answer.result.message.replace(errors.AGAIN, "try again")
        if write is not None and repeats(message, write.value):
            message = f"{operation} of {secret}: {answer.call.code}; AWS's message repeats a value, so it is not shown"
        raise Failed(403 if answer.result.reason == "access_denied" else 503, message)


_EXPECTED: Mapping[str, str] = {
    "DescribeSecret": "ResourceNotFoundException",
    "CreateSecret": "ResourceExistsException",
    "PutSecretValue": "ResourceExistsException",
}


def _putting(asked: Mapping[str, Any]) -> Callable[[Any], Written]:
    return lambda client: _written(client.put_secret_value(**asked))


def _creating(asked: Mapping[str, Any], tags: Mapping[str, str]) -> Callable[[Any], Written]:
    listed = [{"Key": key, "Value": text} for key, text in tags.items()]
    return lambda client: _written(client.create_secret(Tags=listed, **asked))


def _read(answer: Any) -> Held:
    """Raises ValueError, or another exception, if Secrets Manager did not send it."""
    tags = tuple((str(each["Key"]), str(each["Value"])) for each in answer.get("Tags") or ())
    deleted = answer.get("DeletedDate")
    return Held(named(answer["ARN"]), tags, f"{deleted:%Y-%m-%d %H:%M %Z}" if deleted else None)


def _written(answer: Any) -> Written:
    return Written(named(answer["ARN"]), word(answer["VersionId"]))
