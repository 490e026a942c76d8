"""AWS as a sample says: the clients of botocore are replaced, and all that reads their answers is the agent's own.

For `freshmount try`. Nothing is asked over a network, and no credentials are looked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import botocore.exceptions as aws

from agent.core.model import Place
from agent.core.sample import Sample, SampleParameter, SampleSecret, SampleVersion
from agent.sources.aws.clients import Service
from agent.sources.aws.source import Aws

_SERVER_SIDE = {"InternalServiceError": 500, "InternalServerError": 500, "ServiceUnavailable": 503}

_ACCOUNT, _SUFFIX = "111122223333", "-AbCdEf"

_CREATED = datetime(2026, 1, 1, tzinfo=UTC)

_PAGE = 10  # entries of a list, few enough that a longer list needs its further pages


class SampledAws(Aws):
    """Every kind of secret, as the sample says."""

    def __init__(self, sample: Sample) -> None:
        super().__init__()
        self._sample = sample

    def _client(self, place: Place, service: Service = "secretsmanager") -> Any:
        region = place.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region:
            raise aws.NoRegionError
        made = _SecretsManager if service == "secretsmanager" else _Parameters
        return made(self._sample, region, service)


class _Client:
    """What both services have in common: errors, and where they are."""

    def __init__(self, sample: Sample, region: str, service: str) -> None:
        self._denied = sample.deny
        self._held = sample.region(region)
        self._service, self._region = service, region
        self._now = datetime.fromtimestamp(sample.now, UTC) if sample.now is not None else _CREATED
        self.meta = SimpleNamespace(region_name=region, endpoint_url=f"https://{service}.{region}.amazonaws.com")

    def _check(self, operation: str, names: Iterable[str] = (), errors: Iterable[str | None] = ()) -> None:
        """Raise what the sample says of the operation as a whole, or for one of the names."""
        if f"{self._service}:{operation}" in self._denied:
            raise self._error(operation, "AccessDeniedException", f"not authorized to perform {operation}")
        for code in [*(self._code(operation, name) for name in ("*", *names)), *errors]:
            if code == "ConnectionReset":
                raise aws.ConnectionClosedError(endpoint_url=self.meta.endpoint_url)
            if code:
                raise self._error(operation, code, f"{code}, as the sample says")

    def _code(self, operation: str, name: str) -> str | None:
        found = self._held.errors.get(name)
        return found if isinstance(found, str) or found is None else found.get(operation)

    def _error(self, operation: str, code: str, message: str) -> aws.ClientError:
        answer: Any = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": _SERVER_SIDE.get(code, 400)},
        }
        return aws.ClientError(answer, operation)


class _SecretsManager(_Client):
    """Secrets Manager's calls, under the names that botocore gives them."""

    def describe_secret(self, *, SecretId: str) -> dict[str, Any]:
        secret = self._secret("DescribeSecret", SecretId)
        described = {
            **self._named(SecretId),
            "VersionIdsToStages": {v.id: list(v.stages) for v in secret.versions if v.stages},
            "Tags": [{"Key": key, "Value": value} for key, value in secret.tags.items()],
        }
        return {**described, "DeletedDate": self._now} if secret.deleted else described

    def get_secret_value(
        self, *, SecretId: str, VersionId: str | None = None, VersionStage: str | None = None
    ) -> dict[str, Any]:
        operation = "GetSecretValue"
        secret = self._secret(operation, SecretId)
        if secret.deleted:
            message = "You can't perform this operation on the secret because it was marked for deletion."
            raise self._error(operation, "InvalidRequestException", message)
        stage = VersionStage or (None if VersionId else "AWSCURRENT")
        fits = [v for v in secret.versions if VersionId in (None, v.id) and (stage is None or stage in v.stages)]
        if not fits:
            what = f"staging label: {stage}" if stage else f"VersionId: {VersionId}"
            message = f"Secrets Manager can't find the specified secret value for {what}"
            raise self._error(operation, "ResourceNotFoundException", message)
        return self._value(SecretId, fits[0])

    def list_secrets(self, *, Filters: Iterable[Any] = (), NextToken: str = "0", **_: object) -> dict[str, Any]:
        self._check("ListSecrets")
        found = [name for name, secret in sorted(self._held.secrets.items()) if self._fits(name, secret, Filters)]
        begins = int(NextToken)
        page = [
            {
                **self._named(name),
                "SecretVersionsToStages": {v.id: list(v.stages) for v in self._held.secrets[name].versions if v.stages},
                "Tags": [{"Key": key, "Value": value} for key, value in self._held.secrets[name].tags.items()],
            }
            for name in found[begins : begins + _PAGE]
        ]
        more = begins + _PAGE < len(found)
        return {"SecretList": page, **({"NextToken": str(begins + _PAGE)} if more else {})}

    def batch_get_secret_value(
        self, *, SecretIdList: Iterable[str] = (), Filters: Iterable[Any] = (), NextToken: str = "0", **_: object
    ) -> dict[str, Any]:
        operation = "BatchGetSecretValue"
        self._check(operation)
        found = list(SecretIdList) or [
            name for name, secret in sorted(self._held.secrets.items()) if self._fits(name, secret, Filters)
        ]
        values, errors = [], []
        begins = int(NextToken)
        for name in found[begins : begins + 2 * _PAGE]:
            try:
                values.append(self.get_secret_value(SecretId=name))
            except aws.ClientError as error:
                code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
                errors.append({"SecretId": name, "ErrorCode": code, "Message": message})
        more = begins + 2 * _PAGE < len(found)
        return {
            "SecretValues": values,
            "Errors": errors,
            **({"NextToken": str(begins + 2 * _PAGE)} if more else {}),
        }

    def _fits(self, name: str, secret: SampleSecret, filters: Iterable[Any]) -> bool:
        """By ListSecrets' filters, each of which must hold; a value matches what begins with it."""
        if secret.deleted:
            return False
        fields = {"name": [name], "tag-key": list(secret.tags), "tag-value": list(secret.tags.values())}
        return all(
            any(text.startswith(value) for text in fields.get(each["Key"], ()) for value in each["Values"])
            for each in filters
        )

    def _secret(self, operation: str, name: str) -> SampleSecret:
        secret = self._held.secrets.get(name) or self._held.secrets.get(_bare(name))
        self._check(operation, (name, _bare(name)), (secret.error if secret else None,))
        if secret is None:
            message = "Secrets Manager can't find the specified secret."
            raise self._error(operation, "ResourceNotFoundException", message)
        return secret

    def _named(self, name: str) -> dict[str, str]:
        if name.startswith("arn:"):
            return {"ARN": name, "Name": name.rpartition(":secret:")[2].rpartition("-")[0] or name}
        return {"ARN": f"arn:aws:secretsmanager:{self._region}:{_ACCOUNT}:secret:{name}{_SUFFIX}", "Name": name}

    def _value(self, name: str, version: SampleVersion) -> dict[str, Any]:
        held: dict[str, Any] = {}
        if version.value is not None and version.value.text:
            held = {"SecretString": version.value.reveal().decode("utf-8", "surrogatepass")}
        elif version.value is not None:
            held = {"SecretBinary": version.value.reveal()}
        return {
            **self._named(name),
            **held,
            "VersionId": version.id,
            "VersionStages": list(version.stages),
            "CreatedDate": _CREATED,
        }


class _Parameters(_Client):
    """Parameter Store's calls, under the names that botocore gives them."""

    def get_parameters(self, *, Names: list[str], WithDecryption: bool = False) -> dict[str, Any]:
        plain = [_split(name)[0] for name in Names]
        held = [self._held.parameters.get(name) for name in plain]
        self._check("GetParameters", plain, (each.error if each else None for each in held))
        found = {name: self._found(name, decrypt=WithDecryption) for name in Names}
        return {
            "Parameters": [parameter for parameter in found.values() if parameter],
            "InvalidParameters": [name for name, parameter in found.items() if not parameter],
        }

    def get_parameter(self, *, Name: str, WithDecryption: bool = False) -> dict[str, Any]:
        plain, selector = _split(Name)
        held = self._held.parameters.get(plain)
        self._check("GetParameter", (plain,), (held.error if held else None,))
        found = self._found(Name, decrypt=WithDecryption)
        if not found:
            code = "ParameterVersionNotFound" if held and selector else "ParameterNotFound"
            raise self._error("GetParameter", code, f"Parameter {plain} not found.")
        return {"Parameter": found}

    def get_parameters_by_path(
        self,
        *,
        Path: str,
        Recursive: bool = False,
        WithDecryption: bool = False,
        NextToken: str = "0",
        **_: object,
    ) -> dict[str, Any]:
        prefix = Path.rstrip("/") + "/"
        names = [
            name
            for name in sorted(self._held.parameters)
            if name.startswith(prefix) and (Recursive or "/" not in name[len(prefix) :])
        ]
        errors = (self._held.parameters[name].error for name in names)
        self._check("GetParametersByPath", (Path, *names), errors)
        begins = int(NextToken)
        page = [self._found(name, decrypt=WithDecryption) for name in names[begins : begins + _PAGE]]
        more = begins + _PAGE < len(names)
        return {"Parameters": page, **({"NextToken": str(begins + _PAGE)} if more else {})}

    def describe_parameters(
        self, *, ParameterFilters: Iterable[Any] = (), NextToken: str = "0", **_: object
    ) -> dict[str, Any]:
        self._check("DescribeParameters")
        filters = list(ParameterFilters)
        found = [
            name
            for name, held in sorted(self._held.parameters.items())
            if all(_matches(name, held, each) for each in filters)
        ]
        begins = int(NextToken)
        page = [
            {"Name": name, "Type": held.type, "Version": int(_latest(held).id)}
            for name in found[begins : begins + _PAGE]
            if (held := self._held.parameters[name]).versions
        ]
        more = begins + _PAGE < len(found)
        return {"Parameters": page, **({"NextToken": str(begins + _PAGE)} if more else {})}

    def _found(self, name: str, *, decrypt: bool) -> dict[str, Any] | None:
        plain, selector = _split(name)
        held = self._held.parameters.get(plain)
        if held is None or not held.versions:
            return None
        fits = [v for v in held.versions if selector is None or selector == v.id or selector in v.stages]
        if not fits:
            return None
        version = fits[0] if selector else _latest(held)
        text = version.value.reveal().decode() if version.value else ""
        sealed = held.type == "SecureString" and not decrypt
        bare = plain.removeprefix("/")
        arn = f"arn:aws:ssm:{self._region}:{_ACCOUNT}:parameter/{bare}"
        return {
            "Name": plain,
            "Type": held.type,
            "Value": "AQICAHsealed" if sealed else text,
            "Version": int(version.id),
            "ARN": plain if plain.startswith("arn:") else arn,
            "LastModifiedDate": _CREATED,
            "DataType": "text",
            **({"Selector": f":{selector}"} if selector else {}),
        }


def _bare(arn: str) -> str:
    """The name in an ARN that a list gave."""
    return arn.rpartition(f":{_ACCOUNT}:secret:")[2].removesuffix(_SUFFIX)


def _split(name: str) -> tuple[str, str | None]:
    """A parameter's name, and the version or label behind it."""
    if name.startswith("arn:"):
        head, _, tail = name.partition(":parameter/")
        bare, _, selector = tail.partition(":")
        return f"{head}:parameter/{bare}", selector or None
    bare, _, selector = name.partition(":")
    return bare, selector or None


def _latest(held: SampleParameter) -> SampleVersion:
    return max(held.versions, key=lambda version: int(version.id))


def _matches(name: str, held: SampleParameter, wanted: Any) -> bool:
    """By one of DescribeParameters' filters."""
    key, option, values = wanted["Key"], wanted.get("Option", "Equals"), wanted.get("Values", ())
    texts = [held.tags[key[4:]]] if key.startswith("tag:") and key[4:] in held.tags else [name] if key == "Name" else []
    if key == "Path":
        below = (name.startswith(value.rstrip("/") + "/") for value in values)
        return any(below)
    return any(
        {"BeginsWith": text.startswith(value), "Contains": value in text}.get(option, text == value)
        for text in texts
        for value in values
    )
