"""A stand-in for AWS, for demo, tests and benchmarks: AWS's operations over one state, served as AWS serves them.

``python -m agent.demo.stand_in`` runs it as its own process: it reads one line from standard input, a JSON object of
secrets and their values, prints its URL, and serves until the input ends. GET /counts says how often each operation was
asked for.

One more operation, of this service or another, is one function and its line in `OPERATIONS`. Tests hold them
against moto (tests/sources/test_secrets_manager.py).
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import ssl
import sys
import threading
import time
import uuid
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from agent.core.record import Record
from agent.demo.server import JSON, Exchange, Server

REGION = "eu-west-1"
ACCOUNT = "111122223333"


class Refused(Exception):
    """What AWS answers instead: a code, as its documentation lists them, and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


# -- the state, and AWS's operations over it: (state, region, fields of the request) → fields of the answer


class Version(Record):
    """`content` is SecretString or SecretBinary, as AWS has it in JSON."""

    content: Mapping[str, str]
    created: float


class Secret:
    """A version that no stage is on is forgotten at once; AWS does that at some time."""

    def __init__(self, region: str, name: str) -> None:
        self.identity = {"ARN": f"arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{name}-AbCdEf", "Name": name}
        self.stages: dict[str, str] = {}  # each on one version
        self.versions: dict[str, Version] = {}
        self.tags: dict[str, str] = {}
        self.deleted: float | None = None  # since when it is scheduled for deletion

    def stages_of(self, version_id: str) -> list[str]:
        return [stage for stage, on in self.stages.items() if on == version_id]


class State:
    """What all services know."""

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, str], Secret] = {}  # by region and name

    def secret(self, region: str, secret_id: str) -> Secret:
        """By its name, or its ARN with or without the suffix. Raises Refused."""
        arn = re.fullmatch(f"arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:(.+?)(-AbCdEf)?", secret_id)
        found = self.secrets.get((region, arn[1] if arn else secret_id))
        if found is None:
            raise Refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        return found


def create_secret(state: State, region: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    name = asked["Name"]
    if (region, name) in state.secrets:
        raise Refused("ResourceExistsException", f"The operation failed because the secret {name} already exists.")
    made = state.secrets[region, name] = Secret(region, name)
    made.tags = {tag["Key"]: tag["Value"] for tag in asked.get("Tags", ())}
    return put_secret_value(state, region, {**asked, "SecretId": name})


def put_secret_value(state: State, region: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    secret = _living(state, region, asked)
    version_id = asked.get("ClientRequestToken") or str(uuid.uuid4())
    content = {kind: asked[kind] for kind in ("SecretString", "SecretBinary") if kind in asked}
    if before := secret.versions.get(version_id):
        if before.content != content:
            words = f"The ClientRequestToken {version_id} is already in use for another value."
            raise Refused("ResourceExistsException", words)
        return {**secret.identity, "VersionId": version_id, "VersionStages": secret.stages_of(version_id)}
    secret.versions[version_id] = Version(content, time.time())
    for stage in asked.get("VersionStages", ["AWSCURRENT"]):
        if stage == "AWSCURRENT" and stage in secret.stages:
            secret.stages["AWSPREVIOUS"] = secret.stages[stage]
        secret.stages[stage] = version_id
    secret.versions = {each: secret.versions[each] for each in secret.stages.values()}
    return {**secret.identity, "VersionId": version_id, "VersionStages": secret.stages_of(version_id)}


def describe_secret(state: State, region: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    secret = state.secret(region, asked["SecretId"])
    stages = {each: secret.stages_of(each) for each in secret.versions}
    return {**_about(secret), "VersionIdsToStages": stages}


def _about(secret: Secret) -> dict[str, Any]:
    tags = [{"Key": key, "Value": text} for key, text in secret.tags.items()]
    deleted = {} if secret.deleted is None else {"DeletedDate": secret.deleted}
    return {**secret.identity, **deleted, **({"Tags": tags} if tags else {})}


def _living(state: State, region: str, asked: Mapping[str, Any]) -> Secret:
    """Raises Refused for one that is scheduled for deletion."""
    secret = state.secret(region, asked["SecretId"])
    if secret.deleted is not None:
        words = "You can't perform this operation on the secret because it was marked for deletion."
        raise Refused("InvalidRequestException", words)
    return secret


def list_secrets(state: State, region: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """With filters by name and tags, which match what begins so. All on one page."""
    filters = {each["Key"]: each["Values"] for each in asked.get("Filters", ())}
    listed = []
    for (where, name), secret in sorted(state.secrets.items()):
        texts = {"name": [name], "tag-key": list(secret.tags), "tag-value": list(secret.tags.values())}
        fits = all(any(t.startswith(v) for t in texts[key] for v in values) for key, values in filters.items())
        if where == region and fits and secret.deleted is None:
            stages = {each: secret.stages_of(each) for each in secret.versions}
            listed.append({**_about(secret), "SecretVersionsToStages": stages})
    return {"SecretList": listed}


def delete_secret(state: State, region: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    secret = _living(state, region, asked)
    secret.deleted = time.time()
    return {**secret.identity, "DeletionDate": secret.deleted + asked.get("RecoveryWindowInDays", 30) * 86400}


def restore_secret(state: State, region: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    secret = state.secret(region, asked["SecretId"])
    secret.deleted = None
    return dict(secret.identity)


def tag_resource(state: State, region: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    secret = _living(state, region, asked)
    secret.tags |= {tag["Key"]: tag["Value"] for tag in asked["Tags"]}
    return {}


def get_secret_value(state: State, region: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    secret = _living(state, region, asked)
    version_id, stage = asked.get("VersionId"), asked.get("VersionStage")
    wanted = version_id or secret.stages.get(stage or "AWSCURRENT", "")
    version, stages = secret.versions.get(wanted), secret.stages_of(wanted)
    if version is None:
        which = f"VersionId: {version_id}" if version_id else f"staging label: {stage or 'AWSCURRENT'}"
        words = f"Secrets Manager can't find the specified secret value for {which}"
        raise Refused("ResourceNotFoundException", words)
    if stage and stage not in stages:
        words = "You provided a VersionStage that is not associated to the provided VersionId."
        raise Refused("InvalidRequestException", words)
    about = {"VersionId": wanted, "VersionStages": stages, "CreatedDate": version.created}
    return {**secret.identity, **about, **version.content}


# By the header that names the operation.
OPERATIONS: dict[str, Callable[[State, str, Mapping[str, Any]], dict[str, Any]]] = {
    "secretsmanager.CreateSecret": create_secret,
    "secretsmanager.DeleteSecret": delete_secret,
    "secretsmanager.DescribeSecret": describe_secret,
    "secretsmanager.GetSecretValue": get_secret_value,
    "secretsmanager.ListSecrets": list_secrets,
    "secretsmanager.PutSecretValue": put_secret_value,
    "secretsmanager.RestoreSecret": restore_secret,
    "secretsmanager.TagResource": tag_resource,
}


# -- the stand-in, for those who use it


class StandIn:
    """Whoever plays AWS at a URL of plain HTTP, in this process or another."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, operation: str, region: str = REGION, **fields: Any) -> dict[str, Any]:
        """AWS's answer to an operation, such as `secretsmanager.PutSecretValue`. Raises Refused."""
        credential = f"Credential=testing/20260101/{region}/{operation.partition('.')[0]}/aws4_request"
        headers = {
            "Content-Type": JSON,
            "X-Amz-Target": operation,
            "Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=none",
        }
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request("POST", "/", json.dumps(fields), headers)
            answer = connection.getresponse()
            told: dict[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused(told["__type"], told["message"])
        return told

    def put(self, name: str, value: str | bytes) -> str:
        """Create a secret; its ARN."""
        return str(self.ask("secretsmanager.CreateSecret", Name=name, **_content(value))["ARN"])

    def rotate(self, secret_id: str, value: str | bytes) -> str:
        """Move AWSCURRENT to a new version; its id."""
        return str(self.ask("secretsmanager.PutSecretValue", SecretId=secret_id, **_content(value))["VersionId"])


def _content(value: str | bytes) -> dict[str, str]:
    if isinstance(value, str):
        return {"SecretString": value}
    return {"SecretBinary": b64encode(value).decode()}


class QuickStandIn(Server, StandIn):
    """Our own, in this process: it starts at once, and a thousand rotations later it is as quick as before.

    While it is `away` every connection is dropped; what it knows stays. `latency`: seconds until it answers.
    """

    def __init__(self, address: str = "127.0.0.1", *, latency: float = 0.0, **listening: Any) -> None:
        self.away = False
        self._latency = latency
        self._state, self._lock = State(), threading.Lock()
        self._counts: Counter[str] = Counter()
        super().__init__(address, **listening)

    def ask(self, operation: str, region: str = REGION, **fields: Any) -> dict[str, Any]:
        if operation not in OPERATIONS:
            raise Refused("UnknownOperationException", f"{operation} is none that this stand-in knows")
        with self._lock:
            return OPERATIONS[operation](self._state, region, fields)

    def respond(self, exchange: Exchange) -> None:
        if self.away:
            exchange.drop()
        elif exchange.command == "GET":
            counts = {**self._counts, "connections": self._listener.connections}
            exchange.answer(200, json.dumps(counts).encode())
        else:
            status, answer = self._answer(exchange)
            time.sleep(self._latency)
            exchange.answer(status, json.dumps(answer).encode())

    def _answer(self, exchange: Exchange) -> tuple[int, dict[str, Any]]:
        operation = exchange.headers.get("X-Amz-Target", "")
        signed = re.search(r"Credential=[^/]*/[^/]*/([^/]+)/", exchange.headers.get("Authorization", ""))
        with self._lock:
            self._counts[operation.rpartition(".")[2]] += 1
        try:
            if signed is None:
                raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
            return 200, self.ask(operation, signed[1], **json.loads(exchange.body))
        except Refused as refused:
            return 400, {"__type": refused.code, "message": refused.message}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m agent.demo.stand_in")
    parser.add_argument("--certificate", help="serve HTTPS with this file, which has the key as well")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds until an answer")
    parser.add_argument("--idle", type=float, help="seconds after which an idle connection is closed")
    asked = parser.parse_args()
    context = None
    if asked.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(asked.certificate)
    with QuickStandIn(latency=asked.latency, idle=asked.idle, context=context) as aws:
        for name, value in json.loads(sys.stdin.readline()).items():
            aws.put(name, value)
        print(aws.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
