"""Secrets Manager, Parameter Store and STS in many regions, with what no mock has: regions that are away, throttling,
a refusal for one of many, and who asked.

`Services` is what `Answers` answers with.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from tests.support.answers import Answer, Answers, Asked, refused

ACCOUNT = "111122223333"
REGION = "eu-west-1"


class Made(NamedTuple):
    """One version of a secret or a parameter."""

    version: str
    content: str | bytes
    at: float


class Call(NamedTuple):
    """One request: where, what, about which names, and by whom (an access key; that of a role is its name)."""

    region: str
    operation: str
    names: tuple[str, ...]
    by: str
    sent: dict[str, Any]


class Services:
    """The state, by region; what was asked; and what goes wrong, asked anew for each request."""

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, str], list[Made]] = {}
        self.tags: dict[tuple[str, str], dict[str, str]] = {}
        self.parameters: dict[tuple[str, str], list[Made]] = {}
        self.labels: dict[tuple[str, str, str], str] = {}  # to a version
        self.calls: list[Call] = []
        self.away: set[str] = set()  # regions that close the connection
        self.faults: dict[tuple[str | None, str | None], Answer] = {}  # by region or None, and operation or a name
        self.lifetime = 3600.0  # seconds of a role's credentials
        self._clock = itertools.count(1_700_000_000)
        self._ids = itertools.count(1)

    # -- what a person does

    def put(
        self, name: str, content: str | bytes, region: str = REGION, version: str | None = None, **tags: str
    ) -> str:
        """A new current version of a secret; its id."""
        made = Made(version or f"{next(self._ids):032x}", content, float(next(self._clock)))
        self.secrets[region, name] = [*self.secrets.get((region, name), []), made][-2:]
        self.tags.setdefault((region, name), {}).update(tags)
        return made.version

    def replicate(self, name: str, region: str, of: str = REGION) -> None:
        """A secret of one region as it is now, in another."""
        self.secrets[region, name] = list(self.secrets[of, name])

    def put_parameter(self, name: str, content: str, region: str = REGION, label: str | None = None) -> str:
        """A new version of a parameter; its number."""
        versions = self.parameters.setdefault((region, name), [])
        versions.append(Made(str(len(versions) + 1), content, float(next(self._clock))))
        if label:
            self.labels[region, name, label] = versions[-1].version
        return versions[-1].version

    def count(self, operation: str, region: str | None = None) -> int:
        """How often it was asked for."""
        return sum(call.operation == operation and region in (None, call.region) for call in self.calls)

    # -- what AWS answers

    def __call__(self, asked: Asked) -> Answer | None:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        credential = re.search(r"Credential=([^/]+)/\d+/([a-z0-9-]+)/([a-z]+)/", headers.get("authorization", ""))
        by, region, service = credential.groups() if credential else ("", REGION, "")
        if service == "sts" or asked.body.startswith(b"Action="):  # a web identity signs nothing
            form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
            operation, sent, names = form["Action"], dict(form), (form.get("RoleArn", ""),)
        else:
            operation = headers["x-amz-target"].rpartition(".")[2]
            sent = json.loads(asked.body)
            given = sent.get("Names") or sent.get("SecretIdList") or [sent.get("SecretId") or sent.get("Path") or ""]
            names = tuple(given)
        places = itertools.product((region, None), (operation, *names, None))
        fault = next((self.faults[place] for place in places if place in self.faults), None)
        self.calls.append(Call(region, operation, names, by, sent))  # once it is settled what it comes to
        if region in self.away:
            return None
        if fault is not None:
            return fault
        if operation == "GetCallerIdentity":
            return _identity(by)
        if "Action" in sent:
            return _assumed(form, self.lifetime)
        answer = _OPERATIONS[operation](self, region, sent)
        return answer if isinstance(answer, Answer) else Answer(json.dumps(answer).encode())


def error(code: str, message: str = "injected", status: int = 400) -> Answer:
    """An error as AWS's services in JSON have it."""
    return Answer(json.dumps({"__type": code, "message": message}).encode(), status)


def denied(operation: str, resource: str = "it") -> Answer:
    user = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/web/pod"
    why = "because no identity-based policy allows the action"
    return error(
        "AccessDeniedException", f"{user} is not authorized to perform: {operation} on resource: {resource} {why}"
    )


def sts_denied(role: str) -> Answer:
    user = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/web/pod"
    return refused("AccessDenied", f"{user} is not authorized to perform: sts:AssumeRole on resource: {role}")


def _assumed(form: dict[str, str], seconds: float) -> Answer:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    name, operation = form["RoleArn"].rpartition("/")[2], form["Action"]
    return Answer(
        f'<{operation}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{operation}Result><Credentials>'
        f"<AccessKeyId>{name}</AccessKeyId><SecretAccessKey>key</SecretAccessKey><SessionToken>s</SessionToken>"
        f"<Expiration>{until}</Expiration></Credentials><AssumedRoleUser><Arn>{form['RoleArn']}/pod</Arn>"
        f"<AssumedRoleId>x:pod</AssumedRoleId></AssumedRoleUser></{operation}Result></{operation}Response>".encode(),
        content_type="text/xml",
    )


def _identity(by: str) -> Answer:
    return Answer(
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{by}/pod</Arn><UserId>x</UserId><Account>{ACCOUNT}</Account>"
        "</GetCallerIdentityResult></GetCallerIdentityResponse>".encode(),
        content_type="text/xml",
    )


def _arn(region: str, name: str) -> str:
    return f"arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{name}-AbCdEf"


def _named(given: str) -> str:
    return given.removesuffix("-AbCdEf").partition(":secret:")[2] if given.startswith("arn:") else given


def _stages(versions: list[Made]) -> dict[str, list[str]]:
    return {made.version: [stage] for made, stage in zip(versions[::-1], ("AWSCURRENT", "AWSPREVIOUS"), strict=False)}


_ABSENT = error("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


def _content(made: Made) -> dict[str, str]:
    if isinstance(made.content, bytes):
        return {"SecretBinary": base64.b64encode(made.content).decode()}
    return {"SecretString": made.content}


def _describe(state: Services, region: str, sent: dict[str, Any]) -> Any:
    name = _named(sent["SecretId"])
    versions = state.secrets.get((region, name))
    return {"Name": name, "VersionIdsToStages": _stages(versions)} if versions else _ABSENT


def _get(state: Services, region: str, sent: dict[str, Any]) -> Any:
    name = _named(sent["SecretId"])
    for made in state.secrets.get((region, name), [])[::-1]:
        if sent.get("VersionId", made.version) == made.version:
            stages = _stages(state.secrets[region, name])[made.version]
            about = {"Name": name, "VersionId": made.version, "VersionStages": stages, "CreatedDate": made.at}
            return {**about, **_content(made)}
    return _ABSENT


def _list(state: Services, region: str, sent: dict[str, Any]) -> Any:
    """By prefix, as AWS matches names, tags' names and tags' values, each by itself."""
    filters = {each["Key"]: each["Values"] for each in sent.get("Filters", [])}

    def fits(name: str) -> bool:
        tags = state.tags[region, name]
        texts = {"name": [name], "tag-key": list(tags), "tag-value": list(tags.values())}
        return all(any(t.startswith(v) for t in texts[key] for v in values) for key, values in filters.items())

    names = sorted(name for where, name in state.secrets if where == region and fits(name))
    start, size = int(sent.get("NextToken", 0)), sent.get("MaxResults", 100)
    page = {
        "SecretList": [
            {
                "ARN": _arn(region, name),
                "Name": name,
                "Tags": [{"Key": k, "Value": v} for k, v in state.tags[region, name].items()],
                "SecretVersionsToStages": _stages(state.secrets[region, name]),
                "LastChangedDate": state.secrets[region, name][-1].at,
            }
            for name in names[start : start + size]
        ]
    }
    return page | ({"NextToken": str(start + size)} if start + size < len(names) else {})


def _batch(state: Services, region: str, sent: dict[str, Any]) -> Any:
    values, errors = [], []
    for given in sent["SecretIdList"]:
        name = _named(given)
        fault = state.faults.get((region, f"batch:{name}"))
        if fault or (region, name) not in state.secrets:
            why = json.loads(fault.body if fault else _ABSENT.body)
            errors.append({"SecretId": given, "ErrorCode": why["__type"], "Message": why["message"]})
        else:
            values.append({"ARN": _arn(region, name), **_get(state, region, {"SecretId": name})})
    return {"SecretValues": values, "Errors": errors}


def _parameter(region: str, name: str, made: Made, sent: dict[str, Any]) -> dict[str, Any]:
    content = made.content if sent.get("WithDecryption") else "AQICAHi-ciphertext"
    arn = f"arn:aws:ssm:{region}:{ACCOUNT}:parameter/{name.lstrip('/')}"
    about = {"Name": name, "ARN": arn, "Type": "SecureString", "Version": int(made.version)}
    return {**about, "Value": content, "LastModifiedDate": made.at}


def _parameters(state: Services, region: str, sent: dict[str, Any]) -> Any:
    found, missing = [], []
    for given in sent["Names"]:
        base, _, selector = given.rpartition(":parameter")[2].partition(":")
        name = base if base in {n for _, n in state.parameters} else base.lstrip("/")
        versions = state.parameters.get((region, name), [])
        wanted = state.labels.get((region, name, selector), selector) or (versions[-1].version if versions else "")
        made = next((made for made in versions if made.version == wanted), None)
        if made is None:
            missing.append(given)
        else:
            found.append(_parameter(region, name, made, sent))
    return {"Parameters": found[::-1], "InvalidParameters": missing}


def _by_path(state: Services, region: str, sent: dict[str, Any]) -> Any:
    path = sent["Path"].rstrip("/") + "/"
    names = sorted(name for where, name in state.parameters if where == region and name.startswith(path))
    start, size = int(sent.get("NextToken", 0)), sent.get("MaxResults", 10)
    page = {
        "Parameters": [
            _parameter(region, n, state.parameters[region, n][-1], sent) for n in names[start : start + size]
        ]
    }
    return page | ({"NextToken": str(start + size)} if start + size < len(names) else {})


_OPERATIONS: dict[str, Callable[[Services, str, dict[str, Any]], Any]] = {
    "DescribeSecret": _describe,
    "GetSecretValue": _get,
    "ListSecrets": _list,
    "BatchGetSecretValue": _batch,
    "GetParameters": _parameters,
    "GetParametersByPath": _by_path,
}


@contextmanager
def serving() -> Iterator[tuple[Services, str]]:
    """Services of their own, and the URL at which they answer."""
    services = Services()
    with Answers(services) as server:
        yield services, server.url
