"""AWS Secrets Manager over HTTP: what it says, and what its errors mean."""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.httpsession
import pytest

from agent.core.errors import Failure
from agent.core.model import OK, Observation, Place, Secret
from agent.core.value import Fetched
from agent.sources.aws.secrets_manager import CALL_LIMIT, SecretsManager
from tests.support.answers import Answers, metadata
from tests.support.aws import Fault, MotoStandIn, Proxy, QuickStandIn, StandIn
from tests.support.words import secret


@pytest.fixture(scope="module")
def aws(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    with getattr(request, "param", MotoStandIn)() as stand_in:
        yield stand_in


# Our own stand-in answers what moto does: demo and torture show what a real API would.
BOTH = pytest.mark.parametrize("aws", [MotoStandIn, QuickStandIn], indirect=True)


@pytest.fixture
def proxy(aws: StandIn) -> Iterator[Proxy]:
    with Proxy(aws.url) as proxy:
        yield proxy


@pytest.fixture
def name() -> str:
    return f"prod/db-{uuid.uuid4().hex[:8]}x"


def asking(proxy: Proxy, secret_id: str, seconds: float = 3.0, **fields: Any) -> tuple[SecretsManager, Secret]:
    """A source that waits so long for an answer, and what it is to ask for."""
    wanted = secret(secret_id=secret_id, place=Place(fields.pop("region", "eu-west-1"), proxy.url), **fields)
    source = SecretsManager(connect_timeout=seconds, read_timeout=seconds)
    source.prepare([wanted])
    return source, wanted


def observed(proxy: Proxy, secret_id: str, **fields: Any) -> Observation | Failure:
    source, wanted = asking(proxy, secret_id, **fields)
    return source.describe(wanted).result


def got(proxy: Proxy, secret_id: str, version: str | None = None, **fields: Any) -> Fetched | Failure:
    source, wanted = asking(proxy, secret_id, **fields)
    return source.value(wanted, version).result


def test_certificates_are_read_once_and_again_when_the_bundle_changes(tmp_path: Path) -> None:
    """Not for every connection, as urllib3 would; but a CA that was exchanged is trusted without a restart."""
    shipped = (Path(botocore.httpsession.__file__).parent / "cacert.pem").read_text()
    first, second = re.findall(r"-----BEGIN CERT.*?-----END CERTIFICATE-----\n", shipped, re.DOTALL)[:2]
    context, bundle = botocore.httpsession.create_urllib3_context(), tmp_path / "ca.pem"
    bundle.write_text(first)
    context.load_verify_locations(str(bundle))
    was = bundle.stat()
    bundle.write_text("x" * was.st_size)
    os.utime(bundle, ns=(was.st_atime_ns, was.st_mtime_ns))
    context.load_verify_locations(str(bundle))  # reading it would fail
    bundle.write_text(first + second)
    context.load_verify_locations(str(bundle))
    assert context.cert_store_stats()["x509"] == 2


def test_connections_that_begin_at_once_read_the_certificates_once(tmp_path: Path) -> None:
    """The second waits for the first. A pipe gives what is in it once: who read it again would wait for ever."""
    shipped = Path(botocore.httpsession.__file__).parent / "cacert.pem"
    context, bundle = botocore.httpsession.create_urllib3_context(), tmp_path / "ca.pem"
    os.mkfifo(bundle)
    readers = [threading.Thread(target=context.load_verify_locations, args=(str(bundle),)) for _ in range(4)]
    for reader in readers:
        reader.start()
    bundle.write_bytes(shipped.read_bytes())
    for reader in readers:
        reader.join(60)
    assert [reader.is_alive() for reader in readers] == [False] * 4
    assert context.cert_store_stats()["x509"] > 50


def test_a_configuration_that_is_wrong_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the calls, with the reason; making the source itself does not raise."""
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    source = SecretsManager()
    wanted = secret("db")
    source.prepare([wanted])
    found = source.describe(wanted).result
    assert isinstance(found, Failure) and found.reason == "invalid" and "nowhere" in found.message


@BOTH
@pytest.mark.parametrize("content", ["text é", b"\x00\xff binary"])
def test_strings_and_binaries_by_arn_partial_arn_and_name(aws: StandIn, proxy: Proxy, name: str, content: Any) -> None:
    """However a secret is named, value and version come in one call."""
    arn = aws.put(name, content)
    for secret_id in (arn, arn[:-7], name):
        fetched = got(proxy, secret_id)
        assert isinstance(fetched, Fetched)
        assert fetched.value.reveal() == (content.encode() if isinstance(content, str) else content)
        assert fetched.value.text is isinstance(content, str)
        assert fetched.stages == ("AWSCURRENT",) and fetched.created_at
        assert observed(proxy, secret_id).version_id == fetched.version_id  # type: ignore[union-attr]


@BOTH
def test_versions_and_stages(aws: StandIn, proxy: Proxy, name: str) -> None:
    """The wanted stage, its move, and a version by its id."""
    aws.put(name, "1")
    first = observed(proxy, name)
    assert isinstance(first, Observation)
    second = aws.rotate(name, "2")
    assert observed(proxy, name).version_id == second  # type: ignore[union-attr]
    assert observed(proxy, name, version_stage="AWSPREVIOUS").version_id == first.version_id  # type: ignore[union-attr]
    pinned = got(proxy, name, first.version_id, version_id=first.version_id, version_stage=None)
    assert pinned.value.reveal() == b"1"  # type: ignore[union-attr]
    assert got(proxy, name, version_stage="AWSPREVIOUS").value.reveal() == b"1"  # type: ignore[union-attr]
    missing = observed(proxy, name, version_stage="NONE")
    assert missing.reason == "not_found" and "AWSCURRENT, AWSPREVIOUS" in missing.message  # type: ignore[union-attr]


@BOTH
def test_a_pending_version_is_seen(aws: StandIn, proxy: Proxy, name: str) -> None:
    """AWSPENDING on another version than AWSCURRENT: a rotation is under way."""
    aws.put(name, "1")
    assert observed(proxy, name).rotation.pending is None  # type: ignore[union-attr]
    pending = {"ClientRequestToken": "p" * 32, "VersionStages": ["AWSPENDING"]}
    aws.ask("secretsmanager.PutSecretValue", SecretId=name, SecretString="2", **pending)
    seen = observed(proxy, name)
    assert seen.rotation.pending == "p" * 32 and seen.version_id != "p" * 32  # type: ignore[union-attr]


def test_a_scheduled_deletion_is_told_with_its_date(aws: MotoStandIn, proxy: Proxy, name: str) -> None:
    """And that it can be undone."""
    aws.put(name, "1")
    aws.client.delete_secret(SecretId=name, RecoveryWindowInDays=7)
    date = aws.client.describe_secret(SecretId=name)["DeletedDate"]
    failure = observed(proxy, name)
    assert isinstance(failure, Failure)
    assert failure.reason == "deleted" and f"{date:%Y-%m-%d %H:%M %Z}" in failure.message
    assert "restore-secret" in failure.message
    fetch = got(proxy, name)
    assert isinstance(fetch, Failure) and fetch.reason in ("deleted", "not_found")


@BOTH
def test_each_region_has_a_client_of_one_session(aws: StandIn, proxy: Proxy, name: str) -> None:
    """A secret is asked for where it is."""
    aws.ask("secretsmanager.CreateSecret", "us-east-1", Name=name, SecretString="there")
    here = secret("here", secret_id=name, place=Place("eu-west-1", aws.url))
    there = secret("there", secret_id=name, place=Place("us-east-1", aws.url))
    source = SecretsManager()
    source.prepare([here, there])
    missing = source.value(here, None).result
    assert isinstance(missing, Failure) and missing.reason == "not_found" and "eu-west-1" in missing.message
    assert source.value(there, None).result.value.reveal() == b"there"  # type: ignore[union-attr]


def test_no_region_is_a_failure_of_that_secret() -> None:
    """The sentence says what to set."""
    wanted = secret(place=Place(None, None))
    source = SecretsManager()
    source.prepare([wanted])
    failure = source.describe(wanted).result
    assert isinstance(failure, Failure) and failure.reason == "invalid" and "region" in failure.message


_EXPLICIT = (
    "User: arn:aws:sts::111122223333:assumed-role/web/pod is not authorized to perform: secretsmanager:GetSecretValue "
    "on resource: x with an explicit deny in a resource-based policy"
)
_KMS = (
    "User: arn:aws:sts::111122223333:assumed-role/web/pod is not authorized to perform: kms:Decrypt on the resource "
    "arn:aws:kms:eu-west-1:111122223333:key/k-1 because no policy allows it. Access to KMS is not allowed"
)


@pytest.mark.parametrize(
    ("fault", "reason", "parts"),
    [
        (
            Fault.access_denied("secretsmanager:GetSecretValue"),
            "access_denied",
            ["assumed-role/web/pod", '"Action": "secretsmanager:GetSecretValue"', "secret:prod/db-??????"],
        ),
        (Fault.error(400, "AccessDeniedException", _EXPLICIT), "access_denied", ["explicit deny"]),
        (
            Fault.error(400, "AccessDeniedException", _KMS),
            "access_denied",
            ['"kms:Decrypt"', '"arn:aws:kms:eu-west-1:111122223333:key/k-1"'],
        ),
        (Fault.error(403, "403", "denied"), "access_denied", ["this agent's role"]),
        (Fault.error(400, "ResourceNotFoundException", "can't find it"), "not_found", ["eu-west-1"]),
        (Fault.error(400, "InvalidRequestException", "marked for deletion"), "deleted", ["restore-secret"]),
        (Fault.throttle(), "throttled", ["ThrottlingException"]),
        (Fault.expired_token(), "credentials", ["ExpiredTokenException"]),
        (
            Fault.error(400, "InvalidSignatureException", "Signature expired: 1 is now earlier"),
            "credentials",
            ["clock"],
        ),
        (Fault.error(400, "UnrecognizedClientException"), "credentials", ["not accepted"]),
        (Fault.error(400, "DecryptionFailure"), "invalid", ["DecryptionFailure", "key"]),
        (Fault.error(400, "InvalidParameterException"), "invalid", []),
        (Fault.internal_error(), "other", ["500"]),
        (Fault.error(400, "BrandNewException"), "other", ["BrandNewException"]),
        (Fault.malformed(), "invalid", ["no value"]),
        (Fault.hang(), "timeout", ["did not answer"]),
        (Fault.hang_in_body(), "timeout", []),
        (Fault.reset(), "timeout", []),
    ],
)
def test_errors_are_values_with_a_sentence(
    aws: StandIn, proxy: Proxy, name: str, fault: Fault, reason: str, parts: list[str]
) -> None:
    """Reason, what to do, no value; and never more than two attempts."""
    canary = f"canary-{uuid.uuid4().hex}"
    aws.put(name, canary)
    arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db"
    proxy.fail(fault)
    source, wanted = asking(proxy, arn if "??????" in str(parts) else name, 0.5 if reason == "timeout" else 3.0)
    answer = source.value(wanted, None)
    assert isinstance(answer.result, Failure)
    assert answer.result.reason == reason
    assert [part for part in parts if part not in answer.result.message] == []
    assert canary not in answer.result.message and canary[:20] not in answer.result.message
    assert "\n" not in answer.result.message
    assert answer.call.operation == "GetSecretValue"
    assert (answer.call.code == OK) is ("no value" in parts), "what AWS answered well was no failed call"
    assert len(proxy.calls) <= 2


_LONG = f"arn:aws:sts::111122223333:assumed-role/{'r' * 64}/{'s' * 64}"
_ARN = f"arn:aws:secretsmanager:eu-west-1:111122223333:secret:{'team/' * 20}kms-key-AbCdEf"
_MAY_NOT = f"User: {_LONG} is not authorized to perform: {{action}} on resource: {_ARN} "
_KMS_ALONE = (
    "Access to KMS is not allowed",
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not "
    "allowed to access.",
    _MAY_NOT.format(action="kms:Decrypt") + "because no identity-based policy allows the kms:Decrypt action",
)


def refusal(proxy: Proxy, words: str, secret_id: str = _ARN) -> str:
    proxy.heal()
    proxy.fail(Fault.error(400, "AccessDeniedException", words))
    failure = observed(proxy, secret_id)
    assert isinstance(failure, Failure) and failure.reason == "access_denied"
    return failure.message


@pytest.mark.parametrize(
    "policy",
    [
        "identity-based policy",
        "resource-based policy",
        "permissions boundary",
        "session policy",
        "service control policy",
        "resource control policy",
        "VPC endpoint policy",
    ],
)
def test_a_denial_names_the_policy_however_long_the_names_are(proxy: Proxy, policy: str) -> None:
    """AWS's reason stands at the end of its words, behind names of 64 characters and more. Against a deny no allow is
    advised; against a policy that does not allow, one in that policy."""
    words = _MAY_NOT.format(action="secretsmanager:DescribeSecret")
    denies = refusal(proxy, f"{words}with an explicit deny in a {policy}: arn:aws:organizations::1:policy/p-1")
    assert "explicit deny" in denies and policy.lower() in denies and '"Allow"' not in denies and _LONG in denies
    lacks = refusal(proxy, f"{words}because no {policy} allows the secretsmanager:DescribeSecret action")
    assert f"no {policy} allows" in lacks and '"Allow"' in lacks and "explicit" not in lacks
    assert "kms:Decrypt" not in denies + lacks, "a name with kms in it is none of KMS"


@pytest.mark.parametrize("words", _KMS_ALONE)
def test_a_denial_of_kms_is_told_by_what_aws_says_of_it(proxy: Proxy, words: str) -> None:
    """The action that is denied, and not any letters in a name."""
    message = refusal(proxy, words)
    assert '"Action": "kms:Decrypt"' in message and '"secretsmanager:' not in message


@pytest.mark.parametrize("status", [302, 403, 407, 418, 502])
def test_an_answer_that_is_not_of_aws_is_told_as_such(proxy: Proxy, name: str, status: int) -> None:
    """With its status and the endpoint, and without a word of what it says: it may hold what was asked for."""
    page = b"<html>the canary</html>"
    proxy.fail(Fault(lambda handler, _status, _body: handler.answer(status, page, "text/html")))
    failure = observed(proxy, name)
    assert isinstance(failure, Failure) and failure.reason == ("access_denied" if status == 403 else "other")
    assert str(status) in failure.message and proxy.url in failure.message and "canary" not in failure.message
    assert '"Allow"' not in failure.message


def test_a_code_that_is_no_word_becomes_no_label(proxy: Proxy, name: str) -> None:
    """The number of time series is bounded, whatever a foreign endpoint calls its errors."""
    for code in ("x" * 1000, "a b", "<html>", "é", ""):
        proxy.heal()
        proxy.fail(Fault.error(400, code))
        source, wanted = asking(proxy, name)
        answer = source.describe(wanted)
        assert isinstance(answer.result, Failure) and answer.result.reason == "other"
        assert answer.call.code == "unknown"


@BOTH
def test_the_stage_is_sent_with_the_version(aws: StandIn, proxy: Proxy, name: str) -> None:
    """A policy may allow access by its stage alone. A version that no longer holds it is not found, and looked for
    again by who asked; one that a person chose by its id is asked for by that alone."""
    aws.put(name, "1")
    first = observed(proxy, name).version_id  # type: ignore[union-attr]
    asked: list[dict[str, str]] = []
    answer = json.dumps({"VersionId": first, "SecretString": "1"}).encode()

    def listen(handler: Any, _status: int, _body: bytes) -> None:
        asked.append(json.loads(handler.body))
        handler.answer(200, answer)

    proxy.fail(Fault(listen), operation="GetSecretValue")
    got(proxy, name)
    got(proxy, name, first)
    got(proxy, name, first, version_id=first, version_stage=None)
    for each in asked:
        each.pop("SecretId")
    assert asked == [
        {"VersionStage": "AWSCURRENT"},
        {"VersionId": first, "VersionStage": "AWSCURRENT"},
        {"VersionId": first},
    ]
    proxy.heal()
    aws.rotate(name, "2")
    moved = got(proxy, name, first)
    assert isinstance(moved, Failure) and moved.reason == "not_found" and "AWSCURRENT" in moved.message


def test_a_wrong_stage_is_named(aws: StandIn, proxy: Proxy, name: str) -> None:
    """By a first fetch as well, where AWS does not say whether the secret or its version is missing."""
    aws.put(name, "1")
    failure = got(proxy, name, version_stage="AWSPREV")
    assert isinstance(failure, Failure) and failure.reason == "not_found" and "AWSPREV" in failure.message


ODD: dict[str, dict[str, Any]] = {
    "DescribeSecret": {
        "no description": {"message": "hello"},
        "stages are a list": {"ARN": "a", "VersionIdsToStages": ["v1"]},
        "a stage is a number": {"ARN": "a", "VersionIdsToStages": {"v1": [5]}},
        "a stage is null": {"ARN": "a", "VersionIdsToStages": {"v1": [None]}},
        "a version is a book": {"ARN": "a", "VersionIdsToStages": {"v" * 100_000: ["AWSCURRENT"]}},
        "a date is none": {"ARN": "a", "VersionIdsToStages": {"v": ["AWSCURRENT"]}, "DeletedDate": "soon"},
    },
    "GetSecretValue": {
        "the value is an object": {"VersionId": "v", "SecretString": {"a": "canary"}},
        "the value is a number": {"VersionId": "v", "SecretString": 5},
        "the value is no base64": {"VersionId": "v", "SecretBinary": "canary!"},
        "the version is a list": {"VersionId": ["v"], "SecretString": "canary"},
        "the version has two lines": {"VersionId": "v\n", "SecretString": "canary"},
        "a date is none": {"VersionId": "v", "SecretString": "canary", "CreatedDate": "yesterday"},
        "a date is far": {"VersionId": "v", "SecretString": "canary", "CreatedDate": 1e14},
        "the stages are a number": {"VersionId": "v", "SecretString": "canary", "VersionStages": 5},
    },
}


@pytest.mark.parametrize(("operation", "what"), [(op, what) for op, bodies in ODD.items() for what in bodies])
def test_fields_of_another_form_are_one_secrets_failure(proxy: Proxy, name: str, operation: str, what: str) -> None:
    """Nothing of it is printed or taken over."""
    body = json.dumps(ODD[operation][what]).encode()
    proxy.fail(Fault(lambda handler, _status, _body: handler.answer(200, body)))
    failure = observed(proxy, name) if operation == "DescribeSecret" else got(proxy, name)
    assert isinstance(failure, Failure) and failure.reason == "other"
    assert proxy.url in failure.message and "canary" not in failure.message
    assert "Error" not in failure.message, "no class of Python's"


def test_nobody_listening_and_no_such_name_are_timeouts() -> None:
    """With what to look at."""
    for url, part in (("http://127.0.0.1:9", "refused"), ("http://no-such-host.invalid", "DNS")):
        wanted = secret(place=Place("eu-west-1", url))
        source = SecretsManager(connect_timeout=0.5, read_timeout=0.5)
        source.prepare([wanted])
        failure = source.describe(wanted).result
        assert isinstance(failure, Failure) and failure.reason == "timeout" and part in failure.message


def test_an_answer_without_a_value_is_invalid(aws: StandIn, proxy: Proxy, name: str) -> None:
    """Something answers, but not AWS Secrets Manager."""
    proxy.fail(Fault.error(200, "none"))
    failure = got(proxy, name)
    assert isinstance(failure, Failure) and failure.reason == "invalid"


def describe(rules: dict[str, Any] | None, **fields: Any) -> Fault:
    body = {
        "ARN": "a", "Name": "n", "VersionIdsToStages": {"v1": ["AWSCURRENT", "AWSPENDING"]}, "RotationEnabled": True,
        "NextRotationDate": 1_800_000_000.0, "RotationRules": rules, **fields,
    }  # fmt: skip
    return Fault(lambda handler, _status, _body: handler.answer(200, json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("rules", "window"),
    [
        ({"ScheduleExpression": "rate(4 hours)"}, 3600.0),
        ({"ScheduleExpression": "cron(0 */6 * * ? *)"}, 3600.0),
        ({"ScheduleExpression": "cron(0 16 1 * ? *)"}, 86_400.0),
        ({"ScheduleExpression": "cron(0 16 1 * ? *)", "Duration": "3h"}, 10_800.0),
        ({"AutomaticallyAfterDays": 30}, 86_400.0),
        ({}, 86_400.0),
    ],
)
def test_the_rotation_window_follows_the_rules(proxy: Proxy, rules: dict[str, Any], window: float) -> None:
    """Its end is the date "on or before", its length what the rules say."""
    proxy.fail(describe(rules))
    seen = observed(proxy, "n")
    assert isinstance(seen, Observation)
    assert (seen.rotation.next_at, seen.rotation.window, seen.rotation.pending) == (1_800_000_000.0, window, None)


def test_a_switched_off_rotation_has_no_date(proxy: Proxy) -> None:
    """Whatever rules are left."""
    proxy.fail(describe({"AutomaticallyAfterDays": 30}, RotationEnabled=False))
    seen = observed(proxy, "n")
    assert isinstance(seen, Observation) and (seen.rotation.next_at, seen.rotation.window) == (None, None)


def test_the_call_limit_covers_both_attempts() -> None:
    """As the client makes them: two that connect and wait in vain, and botocore's pause of up to a second between."""
    client: Any = SecretsManager()._client(Place("eu-west-1", None))
    made = client.meta.config
    assert made.retries == {"mode": "standard", "total_max_attempts": 2}
    assert 2 * (made.connect_timeout + made.read_timeout) + 1.0 <= CALL_LIMIT


def _without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def test_the_identity_source_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By boto3's own chain, without a call."""
    assert (SecretsManager().identity().source, SecretsManager().identity().warning) == ("environment", None)
    _without_keys(monkeypatch)
    none = SecretsManager().identity()
    assert none.source == "none" and none.warning
    (tmp_path / "token").write_text("token")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/web")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    assert SecretsManager().identity().source == "web identity (IRSA)"


@pytest.fixture
def issuer() -> Iterator[str]:
    with Answers(metadata) as issuer:
        yield issuer.url


def test_pod_identity_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, issuer: str) -> None:
    """Told from ECS by its token file."""
    _without_keys(monkeypatch)
    (tmp_path / "token").write_text("token")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{issuer}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert (SecretsManager().identity().source, SecretsManager().identity().warning) == ("EKS Pod Identity", None)


def test_the_nodes_role_in_kubernetes_is_a_warning(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    """boto3 falls back to it without a word."""
    _without_keys(monkeypatch)
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", issuer)
    assert (SecretsManager().identity().source, SecretsManager().identity().warning) == ("instance role", None)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    warning = SecretsManager().identity().warning
    assert warning is not None and "node's role" in warning and "IRSA" in warning
