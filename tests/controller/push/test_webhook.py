"""The webhook's real process, over TLS, between stand-ins for the API server and for AWS."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.controller.push import certificate
from tests.controller.push.cluster import CONFIGURATION, HOST, TLS, Api, Controller, controller, kubeconfig
from tests.controller.push.reviews import (
    CANARY,
    HELD,
    b64,
    forms,
    held,
    operations_of,
    patched,
    review,
    secret,
)
from tests.support.aws import Fault, Proxy, QuickStandIn
from tests.support.running import until

ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:shop/db-AbCdEf"


class World:
    """One webhook with what is around it."""

    def __init__(self, webhook: Controller, api: Api, aws: QuickStandIn, proxy: Proxy) -> None:
        self.webhook, self.api, self.aws, self.proxy = webhook, api, aws, proxy

    def asked(self, given: dict[str, Any]) -> dict[str, Any]:
        return self.webhook.asked(given, self.api.authorities)

    def value(self, name: str = "shop/db") -> Any:
        return json.loads(self.aws.ask("secretsmanager.GetSecretValue", SecretId=name)["SecretString"])

    def versions(self, name: str = "shop/db") -> set[str]:
        return set(self.aws.ask("secretsmanager.DescribeSecret", SecretId=name)["VersionIdsToStages"])

    def count(self, operation: str) -> int:
        return self.aws._counts[operation]

    def broken(self, fault: Fault, operation: str) -> dict[str, Any]:
        """The answer to a creation while AWS answers so. The proxy asks AWS all the same."""
        self.proxy.fail(fault, operation=operation)
        try:
            return self.asked(review(secret()))
        finally:
            self.proxy.heal()

    def written(self) -> int:
        return sum(self.count(each) for each in ("CreateSecret", "PutSecretValue", "DeleteSecret"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One process for all tests of this module that do not end it."""
    directory = tmp_path_factory.mktemp("push")
    with (
        QuickStandIn() as aws,
        Proxy(aws.url) as proxy,
        Api(0) as api,
        controller(kubeconfig(directory, api.url), proxy.url) as webhook,
    ):
        yield World(webhook.serving(), api, aws, proxy)
        said = "".join(webhook.lines) + webhook.page("/metrics")[1]
        assert [form for form in forms(CANARY) if form in said.encode()] == [], "a value in log or metrics"


@pytest.fixture
def world(running: World) -> World:
    """It, with nothing in AWS and the cluster."""
    running.aws._state.secrets.clear()
    running.aws._counts.clear()
    for path in [path for path in running.api.objects if "/namespaces/shop/" in path]:
        del running.api.objects[path]
    return running


def test_a_new_secret_is_in_aws_before_the_answer_and_the_answer_holds_its_arn(world: World) -> None:
    new, before = secret({"password": CANARY, "user": "app"}), world.webhook.counted("create", "pushed")
    given = review(new)
    answer = world.asked(given)
    assert answer["allowed"] and "warnings" not in answer
    assert world.value() == {"password": CANARY, "user": "app"}
    stored = patched(new, operations_of({"response": answer}))
    assert stored["data"] == {"password": b64(ARN), "user": b64(ARN)}
    assert stored["metadata"]["annotations"] == {
        "freshmount.dev/arn": ARN,
        "freshmount.dev/version": given["request"]["uid"],
    }
    assert world.versions() == {given["request"]["uid"]}
    tags = world.aws.ask("secretsmanager.DescribeSecret", SecretId="shop/db")["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "freshmount.dev/pushed-by": "east/shop",
        "freshmount.dev/secret": "db",
    }
    assert world.webhook.counted("create", "pushed") == before + 1
    assert world.count("GetSecretValue") == 0, "its role may not read"


def test_a_repeated_request_writes_one_version(world: World) -> None:
    given = review(secret())
    answers = [world.asked(given) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2] and answers[0]["allowed"]
    assert world.versions() == {given["request"]["uid"]}
    world.api.secret("db", held())
    change = review(secret({"password": "new"}, metadata={"uid": HELD}), held())
    assert world.asked(change) == world.asked(change)
    assert world.versions() == {given["request"]["uid"], change["request"]["uid"]}
    assert world.value() == {"password": "new"}


def test_an_unchanged_secret_costs_no_call(world: World) -> None:
    assert world.asked(review(held(annotations={"a": "b"}), held()))["allowed"]
    assert world.aws._counts.total() == 0


def test_a_secret_of_others_is_not_touched(world: World) -> None:
    world.aws.put("shop/db", "theirs")
    answer = world.asked(review(secret()))
    assert not answer["allowed"] and answer["status"]["code"] == 403
    assert "lacks the tag freshmount.dev/pushed-by" in answer["status"]["message"]
    assert world.written() == 0
    # What the sentence says helps.
    tags = [
        {"Key": "freshmount.dev/pushed-by", "Value": "east/shop"},
        {"Key": "freshmount.dev/secret", "Value": "db"},
    ]
    world.aws.ask("secretsmanager.TagResource", SecretId="shop/db", Tags=tags)
    assert world.asked(review(secret()))["allowed"]


@pytest.mark.parametrize("owner", [("west/shop", "db"), ("east/shop", "other")])
def test_a_secret_of_another_cluster_or_secret_is_not_touched(world: World, owner: tuple[str, str]) -> None:
    tags = [
        {"Key": "freshmount.dev/pushed-by", "Value": owner[0]},
        {"Key": "freshmount.dev/secret", "Value": owner[1]},
    ]
    world.aws.ask("secretsmanager.CreateSecret", Name="shop/db", SecretString="theirs", Tags=tags)
    answer = world.asked(review(secret()))
    assert not answer["allowed"] and f"{owner[1]} of {owner[0]}" in answer["status"]["message"]
    assert world.written() == 0


def test_a_creation_of_what_exists_moves_nothing(world: World) -> None:
    """Or a person who may create Secrets, but not change them, would change the value of one."""
    world.asked(review(secret()))
    world.api.secret("db", held())
    answer = world.asked(review(secret({"password": "other"})))
    assert not answer["allowed"] and "already exists" in answer["status"]["message"]
    assert world.value() == {"password": CANARY}


@pytest.mark.parametrize("uid", [HELD[::-1], None])
def test_a_change_of_what_the_api_server_does_not_hold_moves_nothing(world: World, uid: str | None) -> None:
    """A review that another client made up does not know the object's uid."""
    world.asked(review(secret()))
    world.api.secret("db", held())
    forged = held(metadata={"uid": uid}) if uid else held()
    if uid is None:
        del forged["metadata"]["uid"]
    for given in (
        review(secret({"password": "other"}), forged),
        review(
            None, {**forged, "metadata": {**forged["metadata"], "annotations": {"freshmount.dev/deletion": "delete"}}}
        ),
    ):
        answer = world.asked(given)
        assert not answer["allowed"] and "is not the one of this review" in answer["status"]["message"]
    assert world.value() == {"password": CANARY}


def test_a_dry_run_writes_nothing_and_says_what_would_be(world: World) -> None:
    new = secret()
    answer = world.asked(review(new, dryRun=True))
    assert answer["allowed"] and "1 key would be written to shop/db" in answer["warnings"][0]
    stored = patched(new, operations_of({"response": answer}))
    imagined = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:shop/db-DryRun"
    assert stored["data"] == {"password": b64(imagined)}
    again = world.asked(review(stored, dryRun=True))
    assert again["allowed"] and "patch" not in again, "the API server may ask twice"
    assert world.aws._state.secrets == {} and world.written() == 0
    world.aws.put("shop/db", "theirs")
    assert not world.asked(review(new, dryRun=True))["allowed"], "it says no where the real one would"


def test_a_deletion(world: World) -> None:
    world.asked(review(secret()))
    kept = held(annotations={"freshmount.dev/deletion": "delete"})
    world.api.secret("db", kept)
    assert world.asked(review(None, held()))["allowed"] and world.value()
    assert world.asked(review(None, kept, dryRun=True))["allowed"] and world.value()
    assert world.asked(review(None, kept))["allowed"]
    assert world.aws.ask("secretsmanager.DescribeSecret", SecretId="shop/db")["DeletedDate"]
    assert world.asked(review(None, kept))["allowed"], "it is on its way already"
    del world.api.objects["/api/v1/namespaces/shop/secrets/db"]
    answer = world.asked(review(secret()))
    assert not answer["allowed"] and "restore-secret --secret-id shop/db" in answer["status"]["message"]
    world.aws.ask("secretsmanager.RestoreSecret", SecretId="shop/db")
    assert world.asked(review(secret({"password": "again"})))["allowed"] and world.value() == {"password": "again"}


def test_a_deletion_of_what_is_not_in_aws_passes(world: World) -> None:
    kept = held(annotations={"freshmount.dev/deletion": "delete"})
    world.api.secret("db", kept)
    assert world.asked(review(None, kept))["allowed"]


@pytest.mark.parametrize(
    ("operation", "fault", "words"),
    [
        ("DescribeSecret", Fault.access_denied(), "secretsmanager:DescribeSecret"),
        ("CreateSecret", Fault.access_denied("secretsmanager:CreateSecret"), "may not secretsmanager:CreateSecret"),
        ("CreateSecret", Fault.access_denied("secretsmanager:TagResource"), "may not secretsmanager:TagResource"),
        ("CreateSecret", Fault.throttle(), "ThrottlingException"),
        ("CreateSecret", Fault.internal_error(), "InternalServiceError"),
        ("CreateSecret", Fault.error(400, "InvalidParameterException", f"no: '{CANARY}'"), "is not shown"),
        ("CreateSecret", Fault.error(400, "LimitExceededException", "too many secrets"), "too many secrets"),
    ],
)
def test_what_aws_refuses_is_refused_with_its_reason(world: World, operation: str, fault: Fault, words: str) -> None:
    before = world.webhook.counted("create", "failed")
    answer = world.broken(fault, operation)
    assert not answer["allowed"] and words in answer["status"]["message"]
    assert "the agent tries again" not in answer["status"]["message"]
    assert [form for form in forms(CANARY) if form in json.dumps(answer, ensure_ascii=False).encode()] == []
    assert world.webhook.counted("create", "failed") == before + 1
    assert world.asked(review(secret()))["allowed"], "the next attempt"


@pytest.mark.parametrize("operation", ["DescribeSecret", "CreateSecret"])
def test_aws_that_does_not_answer_is_refused_within_the_time_of_the_api_server(world: World, operation: str) -> None:
    """Byte by byte no read of an answer ends by itself."""
    answer = world.broken(Fault.drip(), operation)
    assert not answer["allowed"] and "within 8 s" in answer["status"]["message"]
    assert world.asked(review(secret()))["allowed"], "the next attempt, whatever AWS did meanwhile"


def test_aws_is_away(world: World) -> None:
    world.aws.away = True
    try:
        answer = world.asked(review(secret()))
    finally:
        world.aws.away = False
    assert not answer["allowed"] and answer["status"]["code"] == 503
    assert world.asked(review(secret()))["allowed"]


def test_what_the_api_server_cannot_confirm_is_not_written(world: World) -> None:
    world.api.away = True
    try:
        answer = world.asked(review(secret()))
    finally:
        world.api.away = False
    assert not answer["allowed"] and "the API server cannot be asked" in answer["status"]["message"]
    assert world.written() == 0


def test_a_write_that_was_answered_too_late_is_used_by_the_next_attempt(world: World) -> None:
    """AWS has the value, and the API server has not: a creation that was rolled back."""
    first, second = review(secret()), review(secret({"password": "second"}))
    world.asked(first)
    assert world.asked(second)["allowed"]
    assert world.versions() == {first["request"]["uid"], second["request"]["uid"]}
    assert world.value() == {"password": "second"}


@pytest.mark.parametrize("body", [b"", CANARY.encode(), b"{}", b'{"request": {}}'])
def test_what_is_not_a_review_is_refused(world: World, body: bytes) -> None:
    status, answer = world.webhook.posted(body, world.api.authorities)
    assert status == 200 and json.loads(answer)["response"]["allowed"] is False
    assert CANARY.encode() not in answer


def test_a_body_without_end_is_not_read(world: World) -> None:
    connection = world.webhook.connection(world.api.authorities)
    connection.putrequest("POST", "/v1/push")
    connection.putheader("Content-Length", str(1 << 32))
    connection.endheaders()
    sent = 0
    try:
        while sent < 64 << 20:
            connection.send(b" " * (1 << 16))
            sent += 1 << 16
    except OSError:
        pass  # it has hung up
    else:
        assert connection.getresponse().status == 413
    connection.close()
    assert world.asked(review(secret()))["allowed"]


def test_a_body_that_does_not_come_is_not_waited_for(world: World) -> None:
    connection = world.webhook.connection(world.api.authorities)
    connection.putrequest("POST", "/v1/push")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 408
    connection.close()


def test_a_large_secret_with_its_old_value_is_read(world: World) -> None:
    """1 MiB, as large as a Secret can be, labelled when it was there: refused with a sentence, not with a status."""
    large = secret({"a": "x" * (1 << 20)}, metadata={"uid": HELD})
    answer = world.asked(review(large, {**large, "metadata": {**large["metadata"], "labels": {}}}))
    assert not answer["allowed"] and "divide the Secret" in answer["status"]["message"]


def test_other_paths_and_methods_are_not_there(world: World) -> None:
    connection = world.webhook.connection(world.api.authorities)
    for method, path in (("GET", "/v1/push"), ("POST", "/"), ("GET", "/metrics")):
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (404, 405)
    connection.close()


# -- the certificate


def test_the_certificate_is_kept_in_a_secret_and_trusted_by_the_configuration(world: World) -> None:
    kept = world.api.objects[TLS]
    assert kept["type"] == "kubernetes.io/tls" and set(kept["data"]) == {"ca.crt", "tls.crt", "tls.key"}
    assert kept["data"]["ca.crt"] == world.api.objects[CONFIGURATION]["webhooks"][0]["clientConfig"]["caBundle"]
    expires = world.webhook.metrics()["controller_push_certificate_expiry_timestamp_seconds"]
    assert 80 * 86400 < expires - time.time() < 91 * 86400


def test_two_replicas_agree_and_the_same_request_is_one_version(tmp_path: Path) -> None:
    with QuickStandIn() as aws, Api(0) as api:
        where = kubeconfig(tmp_path, api.url)
        with controller(where, aws.url) as one, controller(where, aws.url) as two:
            for each in (one, two):
                each.serving()
            until(lambda: one.connection(api.authorities).connect() is None)
            assert [write for write in api.writes if write == ("POST", TLS.rpartition("/")[0] + "/freshmount-push-tls")]
            assert sum(path == TLS for _, path in api.writes) == 1
            given = review(secret())
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda each: each.asked(given, api.authorities), [one, two] * 4))
            assert all(answer["allowed"] and answer == answers[0] for answer in answers)
            described = aws.ask("secretsmanager.DescribeSecret", SecretId="shop/db")
            assert list(described["VersionIdsToStages"]) == [given["request"]["uid"]]


def test_a_certificate_that_ends_soon_is_replaced_and_its_authority_is_trusted_for_longer(tmp_path: Path) -> None:
    before, pair = certificate.made([HOST], time.time() - certificate.LIFETIME + certificate.RENEWED - 60)
    contents = {"ca.crt": before, "tls.crt": pair.certificate, "tls.key": pair.key.reveal()}
    with QuickStandIn() as aws, Api(0) as api:
        data = {name: b64(content) for name, content in contents.items()}
        api.keep(TLS, {"metadata": {"name": "freshmount-push-tls"}, "data": data})
        with controller(kubeconfig(tmp_path, api.url), aws.url) as webhook:
            webhook.serving()
            assert api.objects[TLS]["data"]["tls.crt"] != data["tls.crt"]
            assert api.authorities.endswith(before.decode()) and api.authorities.count("BEGIN CERTIFICATE") == 2
            assert webhook.asked(review(secret()), api.authorities)["allowed"]
            with pytest.raises(ssl.SSLCertVerificationError):
                webhook.connection(before.decode()).connect()


@pytest.mark.parametrize("broken", [{}, {"tls.crt": b64("x"), "tls.key": b64("y")}, {"tls.crt": "%", "ca.crt": "%"}])
def test_a_secret_that_is_no_certificate_is_replaced(tmp_path: Path, broken: dict[str, str]) -> None:
    with QuickStandIn() as aws, Api(0) as api:
        api.keep(TLS, {"metadata": {"name": "freshmount-push-tls"}, "data": broken})
        with controller(kubeconfig(tmp_path, api.url), aws.url) as webhook:
            assert webhook.serving().asked(review(secret()), api.authorities)["allowed"]


def test_without_a_configuration_it_is_not_ready_and_says_so(tmp_path: Path) -> None:
    with QuickStandIn() as aws, Api(0) as api:
        configuration = api.objects.pop(CONFIGURATION)
        with controller(kubeconfig(tmp_path, api.url), aws.url) as webhook:
            webhook.port = webhook.event("listening")["port"]
            webhook.event("no certificate")
            status, said = webhook.page("/readyz")
            assert status == 503 and "no MutatingWebhookConfiguration freshmount-push" in said
            assert webhook.page("/livez")[0] == 200
            api.keep(CONFIGURATION, configuration)
            webhook.webhook = webhook.event("pushing")["port"]
            assert webhook.asked(review(secret()), api.authorities)["allowed"]


def test_a_directory_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """As cert-manager renews it; the process stays."""
    first, second = (certificate.made([HOST], time.time()) for _ in range(2))

    def put(pair: certificate.Pair) -> None:
        for name, content in (("tls.key", pair.key.reveal()), ("tls.crt", pair.certificate)):
            (tmp_path / name).write_bytes(content)

    put(first[1])
    with (
        QuickStandIn() as aws,
        Api(0) as api,
        controller(kubeconfig(tmp_path, api.url), aws.url, "--push-cert-dir", str(tmp_path)) as webhook,
    ):
        assert webhook.serving().asked(review(secret()), first[0].decode())["allowed"]
        (tmp_path / "tls.crt").write_bytes(second[1].certificate)  # whose key is not there yet
        webhook.event("no certificate")
        assert webhook.asked(review(secret()), first[0].decode())["allowed"]
        put(second[1])
        webhook.event("certificate")
        assert webhook.asked(review(secret()), second[0].decode())["allowed"]
        assert api.writes == [], "the configuration is not ours then"


def test_what_is_missing_at_the_start_is_said(tmp_path: Path) -> None:
    with controller(tmp_path / "nowhere", "http://127.0.0.1:1") as webhook:
        assert webhook.wait() == 1
        assert "KUBECONFIG" in webhook.stderr
