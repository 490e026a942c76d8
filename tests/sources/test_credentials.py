"""Where credentials come from: late, no more, or never. Every source is on loopback, and asked for by a real call."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.core.errors import Failure
from agent.core.model import Place, Secret
from agent.core.value import Fetched
from agent.sources.aws.secrets_manager import SecretsManager
from tests.support.answers import KEYS, ROLE, Answer, Answers, Asked, assumed, metadata, refused, temporary
from tests.support.clock import Clock
from tests.support.running import until
from tests.support.words import secret


def value(_: Asked) -> Answer:
    return Answer(json.dumps({"VersionId": "v1", "VersionStages": ["AWSCURRENT"], "SecretString": "x"}).encode())


@pytest.fixture
def aws() -> Iterator[Answers]:
    with Answers(value) as aws:
        yield aws


@pytest.fixture
def source() -> Iterator[Answers]:
    """STS, the instance's metadata, or Pod Identity's agent; nothing by itself."""
    with Answers(lambda _: None) as source:
        yield source


class Asking:
    """One source of secrets, asked again and again."""

    def __init__(self, aws: Answers, limit: float = 30.0) -> None:
        self.aws = aws
        self.manager = SecretsManager(connect_timeout=2.0, read_timeout=2.0, attempts=1, credentials_limit=limit)
        self.secret: Secret = secret(place=Place("eu-west-1", aws.url))

    def failure(self) -> Failure:
        found = self.manager.value(self.secret, None).result
        assert isinstance(found, Failure)
        return found

    def succeeds(self) -> bool:
        return isinstance(self.manager.value(self.secret, None).result, Fetched)


def environment(monkeypatch: pytest.MonkeyPatch, **given: str) -> None:
    for name, text in (KEYS | given).items():
        monkeypatch.setenv(name, text)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """As kubelet projects it; of its claims only whom it speaks of is looked at."""
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "system:serviceaccount:shop:web"}).encode()).decode()
    path = tmp_path / "token"
    path.write_text(f"header.{claims.rstrip('=')}.signature")
    return path


@pytest.fixture
def irsa(monkeypatch: pytest.MonkeyPatch, source: Answers, token: Path) -> Path:
    environment(monkeypatch, AWS_ROLE_ARN=ROLE, AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ENDPOINT_URL_STS=source.url)
    return token


@pytest.fixture
def pod_identity(monkeypatch: pytest.MonkeyPatch, source: Answers, token: Path) -> Path:
    environment(
        monkeypatch,
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{source.url}/v1/credentials?x=y",
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(token),
    )
    return token


def missing(path: Path) -> None:
    path.unlink()


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("identity", ["irsa", "pod_identity"])
@pytest.mark.parametrize("spoil", [missing, a_directory, no_text])
def test_a_token_file_that_cannot_be_read_is_named(
    aws: Answers, request: pytest.FixtureRequest, identity: str, spoil: Callable[[Path], None]
) -> None:
    """It is a matter of credentials: nobody is asked, and the next attempt reads it again."""
    path: Path = request.getfixturevalue(identity)
    text = path.read_bytes()
    asking = Asking(aws)
    spoil(path)
    failure = asking.failure()
    assert failure.reason == "credentials" and str(path) in failure.message
    assert aws.asked == []
    if path.is_dir():
        path.rmdir()
    path.write_bytes(text)
    source: Answers = request.getfixturevalue("source")
    source.answer = lambda _: assumed() if identity == "irsa" else temporary()
    assert until(asking.succeeds)


REFUSALS = {
    "trust policy": (refused("AccessDenied", "Not authorized to perform it"), "system:serviceaccount:shop:web"),
    "provider": (refused("InvalidIdentityToken", "No OpenIDConnect provider found", 400), "OIDC provider"),
    "expired": (refused("ExpiredTokenException", "Token expired", 400), "expired"),
    "throttled": (refused("Throttling", "Rate exceeded", 400), "throttles"),
    "a block page": (Answer(b"<!DOCTYPE html><html><br>Blocked</html>", 403, "text/html"), "proxy"),
    "a login page": (Answer(b"<!DOCTYPE html><html>Log in</html>", 200, "text/html"), "proxy"),
    "nothing": (Answer(b"", 200, "text/xml"), "STS"),
    "latin-1": (Answer("<html>m\xf6chten</html>".encode("latin-1"), 503, "text/html"), "STS"),
}


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_what_sts_refuses_is_told_as_of_sts(aws: Answers, source: Answers, irsa: Path, name: str) -> None:
    """By the role and the call; nothing is asked of Secrets Manager, and no permission of it is advised."""
    answer, noun = REFUSALS[name]
    source.answer = lambda _: answer
    asking = Asking(aws)
    failure = asking.failure()
    assert failure.reason == "credentials" and noun in failure.message
    if answer.content_type == "text/xml" and answer.body:
        assert ROLE in failure.message and "sts:AssumeRoleWithWebIdentity" in failure.message
    assert "secretsmanager:" not in failure.message and "Blocked" not in failure.message
    assert aws.asked == []
    source.answer = lambda _: assumed()
    assert until(asking.succeeds)


def test_sts_that_is_sent_astray_says_so(
    aws: Answers, source: Answers, irsa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_ENDPOINT_URL is for every service. The SDK's rule stays as it is; who set it for one is told."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS")
    monkeypatch.setenv("AWS_ENDPOINT_URL", source.url)
    source.answer = lambda _: refused("InvalidAction", "Could not find operation", 400)
    assert "AWS_ENDPOINT_URL_SECRETS_MANAGER" in Asking(aws).failure().message
    source.answer = lambda _: assumed()
    warning = SecretsManager().identity(whole=True).warning
    assert warning and "AWS_ENDPOINT_URL_SECRETS_MANAGER" in warning
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", source.url)
    assert SecretsManager().identity(whole=True).warning is None


ODD = {
    "not there": (None, "127.0.0.1"),
    "no association": (Answer(b"[1]: (ResourceNotFoundException): no association", 404), "no association"),
    "a list": (Answer(b"[]"), "EKS Pod Identity"),
    "null": (Answer(b"null"), "EKS Pod Identity"),
    "a page": (Answer(b"<html>hello</html>"), "JSON"),
    "half": (Answer(b'{"AccessKeyId": "id"}'), "SecretAccessKey"),
    "a number": (temporary(AccessKeyId=5), "access key"),
    "a line break": (temporary(Token="a\nb"), "session token"),
    "a date that is none": (temporary(Expiration="tomorrow"), "EKS Pod Identity"),
    "a date without a zone": (temporary(Expiration="2099-01-01"), "EKS Pod Identity"),
    "expired": (temporary(-60), "expired"),
    "latin-1": (Answer(b"\xe4"), "EKS Pod Identity"),
}


@pytest.mark.parametrize("name", sorted(ODD))
def test_what_pod_identity_answers_is_a_failure_and_asked_for_again(
    aws: Answers, source: Answers, pod_identity: Path, name: str
) -> None:
    """Whatever it is, at the start or later. The sentence has the address without its query."""
    answer, noun = ODD[name]
    source.answer = lambda _: answer
    asking = Asking(aws)
    failure = asking.failure()
    assert failure.reason == "credentials" and noun in failure.message and "x=y" not in failure.message
    assert "Error" not in failure.message, "no class of Python's"
    assert aws.asked == []
    source.answer = lambda _: temporary()
    assert until(asking.succeeds)


@pytest.mark.parametrize(
    ("command", "noun"),
    [
        ("/no/such/program", "/no/such/program"),
        ("echo hello", "JSON"),
        ("echo []", "credential_process"),
        ("echo '{\"Version\": 1}'", "AccessKeyId"),
        ('echo \'{"Version": "wrong-place-for-a-key"}\'', "Version"),
        ("sh -c 'echo please log in >&2; exit 1'", "please log in"),
        ("sleep 600", "sleep"),
    ],
)
def test_a_program_for_credentials_may_fail(
    aws: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, noun: str
) -> None:
    """It is not there, prints something else, or never ends; one that does not end is ended."""
    environment(monkeypatch, AWS_CONFIG_FILE=str(tmp_path / "config"))
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {command}\n")
    asking = Asking(aws, limit=1.0 if command.startswith("sleep") else 30.0)
    failure = asking.failure()
    assert failure.reason == "credentials" and noun in until(lambda: noun in asking.failure().message and noun)
    assert "wrong-place" not in failure.message
    keys = json.dumps({"Version": 1, "AccessKeyId": "id", "SecretAccessKey": "key"})
    (tmp_path / "keys").write_text(keys)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = cat {tmp_path}/keys\n")
    assert until(asking.succeeds)


def test_the_instances_metadata_may_come_late(aws: Answers, source: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """That none were found is not kept."""
    environment(monkeypatch, AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=source.url)
    asking = Asking(aws)
    assert asking.failure().reason == "credentials"
    source.answer = metadata
    assert until(asking.succeeds)


def test_a_config_file_may_come_late(aws: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that cannot be made is made by a later call."""
    monkeypatch.setenv("AWS_PROFILE", "web")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    asking = Asking(aws)
    failure = asking.failure()
    assert failure.reason == "invalid" and "web" in failure.message and "Origin" not in failure.message
    (tmp_path / "config").write_text("[profile web]\naws_access_key_id = id\naws_secret_access_key = key\n")
    assert until(asking.succeeds)


@pytest.mark.parametrize("identity", ["irsa", "pod_identity"])
def test_a_source_that_hangs_holds_nobody_up_for_ever(
    aws: Answers, source: Answers, request: pytest.FixtureRequest, identity: str
) -> None:
    """An answer that drips outlives every time-out of a read. The next attempt asks anew while it still hangs."""
    request.getfixturevalue(identity)
    good = assumed() if identity == "irsa" else temporary()
    source.answer = lambda _: Answer(drips=True)
    asking = Asking(aws, limit=0.5)
    assert asking.failure().reason == "credentials"
    source.answer = lambda _: good
    assert until(asking.succeeds)
    assert not source.closed.is_set()


def test_look_ups_that_hang_do_not_pile_up(aws: Answers, source: Answers, pod_identity: Path) -> None:
    """A few are waited for, however often is asked; when they end, there are others."""
    source.answer = lambda _: Answer(drips=True)
    asking = Asking(aws, limit=0.05)
    for _ in range(40):
        assert asking.failure().reason == "credentials"
    assert len(source.asked) <= 4


def test_those_who_ask_at_once_share_one_look(aws: Answers, source: Answers, pod_identity: Path) -> None:
    """The secrets of one pass; and of a failure, too."""
    answer: Answer | None = temporary()
    held = threading.Event()

    def wait(_: Asked) -> Answer | None:
        held.wait(30)
        return answer

    source.answer = wait
    asking = Asking(aws)
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(asking.succeeds())) for _ in range(8)]
    for thread in threads:
        thread.start()
    held.set()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 8 and len(source.asked) == 1


def test_credentials_are_renewed_before_their_end_and_used_to_it(
    aws: Answers, source: Answers, pod_identity: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal that fails is told while those in hand still do; when they end, it is a failure."""
    clock = Clock()
    monkeypatch.setattr("agent.sources.aws.credentials.time", clock)
    source.answer = lambda _: temporary(3600.0)
    asking = Asking(aws)
    assert asking.succeeds() and asking.succeeds()
    assert len(source.asked) == 1, "what is good is not asked for again"
    assert asking.manager.present_identity() == asking.manager.identity()
    source.answer = lambda _: Answer(b"away", 500)
    clock.later = 3000.0
    assert asking.succeeds()

    def warning() -> str | None:
        present = asking.manager.present_identity()
        return present and present.warning

    assert "away" in (until(warning) or "")
    assert asking.succeeds()
    clock.later = 3590.0
    assert "away" in until(lambda: not asking.succeeds() and asking.failure().message)
    source.answer = lambda _: temporary(7200.0)
    assert until(asking.succeeds) and warning() is None


def test_what_aws_refuses_is_looked_for_again(aws: Answers, source: Answers, pod_identity: Path) -> None:
    """Keys that were withdrawn, though they claim to be good for an hour. A clock that is off is not their fault."""
    source.answer = lambda _: temporary()
    asking = Asking(aws)
    assert asking.succeeds()
    for code, words, looks in (
        ("ExpiredTokenException", "The security token included in the request is expired", 2),
        ("InvalidSignatureException", "Signature expired: 1 is now earlier than 2", 2),
    ):
        body = json.dumps({"__type": code, "message": words}).encode()
        aws.answer = lambda _, body=body: Answer(body, 400)  # type: ignore[misc]
        assert asking.failure().reason == "credentials"
        aws.answer = value
        assert asking.succeeds() and len(source.asked) == looks


def test_the_region_of_the_environment(aws: Answers, source: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_REGION, as EKS and Lambda set it, before AWS_DEFAULT_REGION."""
    wanted = secret(place=Place(None, aws.url))
    failure = SecretsManager().value(wanted, None).result
    assert isinstance(failure, Failure) and failure.reason == "invalid"
    assert "AWS_REGION" in failure.message and "AWS_DEFAULT_REGION" in failure.message
    for name, region in (("AWS_DEFAULT_REGION", "us-east-2"), ("AWS_REGION", "eu-south-1")):
        monkeypatch.setenv(name, region)
        assert isinstance(SecretsManager().value(wanted, None).result, Fetched)
        assert f"/{region}/secretsmanager/" in aws.asked[-1].headers["Authorization"]


def test_half_of_a_key_is_named(aws: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable; and a key with the line break of a file is not sent."""
    environment(monkeypatch, AWS_ACCESS_KEY_ID="id")
    failure = Asking(aws).failure()
    assert failure.reason == "credentials" and "AWS_SECRET_ACCESS_KEY" in failure.message
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key\n")
    failure = Asking(aws).failure()
    assert failure.reason == "credentials" and "secret key" in failure.message
    assert aws.asked == []
