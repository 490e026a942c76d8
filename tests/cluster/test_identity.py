"""Who the agent is to AWS and to the kernel: projected tokens, uids, groups and modes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest

from agent.demo.server import Exchange, Server
from tests.cluster import inside
from tests.cluster.kube import Object, container, name_of
from tests.cluster.world import AGENT, APP, Edit, World, app_security, with_volume
from tests.support.running import until

ROLE = "arn:aws:iam::111122223333:role/web"
FROM_TOKEN, RENEWED = "FROMTOKEN", "RENEWED"  # access keys, for the first token and for any other
RENEWAL = 660.0  # seconds; kubelet renews a token after 80 % of its life, which is ten minutes at least
TOKEN_AT = "/var/run/secrets/aws"
AGENT_UID = 65532
GROUP = 2000  # of a volume, where it is not the agent's
OF_GROUP: Edit = ("values.yaml", f"fsGroup: {AGENT_UID}", f"fsGroup: {GROUP}")


class Issuer(Server):
    """What gives credentials for a token: STS, or the agent of EKS Pod Identity. It keeps the tokens that it got.

    Its credentials expire after `lifetime` seconds. For less than 10 minutes botocore asks for new ones at each call.
    """

    def __init__(self, address: str, port: int = 0, lifetime: float = 86400) -> None:
        self._got = threading.Condition()
        self._lifetime = lifetime
        self.tokens: list[str] = []
        super().__init__(address, port)

    def respond(self, exchange: Exchange) -> None:
        expires = datetime.fromtimestamp(time.time() + self._lifetime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if exchange.command == "POST":
            key = self.note(parse_qs(exchange.body.decode())["WebIdentityToken"][0])
            text = (
                '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                f"<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>"
                "<SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>"
                f"<Expiration>{expires}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
                "</AssumeRoleWithWebIdentityResponse>"
            )
            exchange.answer(200, text.encode(), "text/xml")
        else:
            key = self.note(exchange.headers["Authorization"])
            known = {"AccessKeyId": key, "SecretAccessKey": "secret", "Token": "session", "Expiration": expires}
            exchange.answer(200, json.dumps(known).encode(), "application/json")

    def note(self, token: str) -> str:
        """Keep it; the access key that is given for it."""
        with self._got:
            self.tokens.append(token)
            self._got.notify_all()
            return FROM_TOKEN if token == self.tokens[0] else RENEWED

    def another(self, patience: float) -> str:
        """The first token that is not the first one."""
        with self._got:
            assert self._got.wait_for(lambda: self.tokens[-1:] != self.tokens[:1], patience), "the same token for ever"
            return self.tokens[-1]


@pytest.fixture
def signed_by(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The access keys that requests to Secrets Manager were signed with."""
    keys: set[str] = set()
    forward = world.proxy.forward

    def noting(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        signature = next(value for name, value in headers.items() if name.lower() == "authorization")
        keys.add(signature.partition("Credential=")[2].partition("/")[0])
        return forward(headers, body)

    monkeypatch.setattr(world.proxy, "forward", noting)
    yield keys


def token_volume(audience: str) -> Object:
    """As EKS' webhook adds it to a pod."""
    projected = {"serviceAccountToken": {"audience": audience, "expirationSeconds": 600, "path": "token"}}
    return {"name": "aws", "projected": {"sources": [projected]}}


def reviewed(world: World, token: str, audience: str) -> Object:
    """What the API server says of a token."""
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    done = world.cluster.run("create", "--filename=-", "--output=json", stdin=json.dumps(review))
    return dict(json.loads(done.stdout)["status"])


def install_with_irsa(world: World, sts: Issuer) -> str:
    """The pod's name, once it is ready."""
    env = [
        {"name": "AWS_ROLE_ARN", "value": ROLE},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": f"{TOKEN_AT}/token"},
        {"name": "AWS_ENDPOINT_URL_STS", "value": sts.url},
    ]
    values = world.values(
        world.config([world.secret("db")], [world.hup()]),
        env,
        aws={"identity": "irsa", "roleArn": ROLE},
        extraVolumeMounts=[{"name": "aws", "mountPath": TOKEN_AT, "readOnly": True}],
    )
    world.install(values, [with_volume(token_volume("sts.amazonaws.com"))])
    return name_of(world.k.ready())


def test_irsa_by_a_projected_token(world: World, signed_by: set[str]) -> None:
    """The token is this service account's, for STS alone; what STS gives for it signs the calls."""
    world.put("db", "one")
    sts = Issuer(world.cluster.aws_host)
    try:
        pod = install_with_irsa(world, sts)
    finally:
        sts.close()
    assert signed_by == {FROM_TOKEN}
    status = reviewed(world, sts.tokens[0], "sts.amazonaws.com")
    assert status["authenticated"] and status["user"]["username"] == f"system:serviceaccount:{world.k.name}:web-demo"
    assert not reviewed(world, sts.tokens[0], "https://kubernetes.default.svc").get("authenticated")
    annotations = world.k.get("serviceaccount", "web-demo")["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/role-arn"] == ROLE
    assert "IRSA" in world.k.exec(pod, AGENT, "freshmount", "status").stdout
    # The app has neither the token nor a mount that leads to it.
    assert world.in_app(pod, f"import os; print(os.path.exists({TOKEN_AT!r}))") == "False\n"


@pytest.mark.long
def test_a_token_that_kubelet_renews_is_read_anew(
    world: World, signed_by: set[str], request: pytest.FixtureRequest
) -> None:
    """Only with --full: it takes eight minutes, the least that the API server lets a token live."""
    if not request.config.getoption("--full"):
        pytest.skip("eight minutes; give --full")
    world.put("db", "one")
    sts = Issuer(world.cluster.aws_host, lifetime=60)
    try:
        pod = install_with_irsa(world, sts)
        renewed = sts.another(RENEWAL)
        until(lambda: RENEWED in signed_by)
        world.rotate("db", "two")
        with world.k.log(pod, APP) as app:
            assert app.event("signal")["files"] == {"db": "two"}
    finally:
        sts.close()
    assert reviewed(world, renewed, "sts.amazonaws.com")["authenticated"]
    assert container(world.k.ready(pod), AGENT)["restartCount"] == 0


def test_pod_identity_by_the_agent_of_the_node(world: World, signed_by: set[str]) -> None:
    """Its address is one of the node's loopback, as on EKS."""
    if not world.cluster.own_node:
        pytest.skip(f"{inside.POD_IDENTITY} is not ours to serve on somebody else's cluster")
    world.put("db", "one")
    issuer = Issuer(inside.POD_IDENTITY, 80)
    try:
        env = [
            {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": f"http://{inside.POD_IDENTITY}/v1/credentials"},
            {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": f"{TOKEN_AT}/token"},
        ]
        values = world.values(
            world.config([world.secret("db")], [world.hup()]),
            env,
            aws={"identity": "podIdentity"},
            extraVolumeMounts=[{"name": "aws", "mountPath": TOKEN_AT, "readOnly": True}],
        )
        world.install(values, [with_volume(token_volume("pods.eks.amazonaws.com"))])
        pod = name_of(world.k.ready())
    finally:
        issuer.close()
    assert signed_by == {FROM_TOKEN}
    status = reviewed(world, issuer.tokens[0], "pods.eks.amazonaws.com")
    assert status["user"]["username"] == f"system:serviceaccount:{world.k.name}:web-demo"
    assert "Pod Identity" in world.k.exec(pod, AGENT, "freshmount", "status").stdout


def test_modes_and_owners_on_a_volume_with_fsgroup(world: World) -> None:
    """kubelet's mount is sticky and the group's, our directory hands the group down, files are as configured.

    The group is no process's own, so what has it has it from the volume.
    """
    for name in ("shared", "private"):
        world.put(name, name)
    files = {"path": "private", "fileMode": "0400"}
    pod = world.start(world.config([world.secret("shared"), world.secret("private", files)]), [OF_GROUP])
    with world.k.log(pod, APP) as app:
        started = app.event("start")
    assert (started["uid"], started["gid"]) == (AGENT_UID, AGENT_UID)
    mount, directory, generation, private, shared = (modes for _, modes in sorted(started["modes"].items()))
    assert mount == ["0o3777", 0, GROUP]
    assert directory == generation == ["0o2755", AGENT_UID, GROUP]
    assert private == ["0o400", AGENT_UID, GROUP]
    assert shared == ["0o440", AGENT_UID, GROUP]


def test_an_app_of_another_uid_reads_by_group_what_the_group_may(world: World) -> None:
    """fsGroup is a group of every container of the pod; the app writes nothing and is not signalled."""
    for name in ("shared", "private"):
        world.put(name, name)
    files = {"path": "private", "fileMode": "0400"}
    config = world.config([world.secret("shared"), world.secret("private", files)], [world.hup()])
    pod = world.start(config, [OF_GROUP, app_security(runAsUser=1001, runAsGroup=1001)], runAsUser=AGENT_UID)
    with world.k.log(pod, APP) as app:
        started = app.event("start")
    assert started["uid"] == 1001 and GROUP in started["groups"] and AGENT_UID not in started["groups"]
    assert started["files"] == {"shared": "shared", "private": None}
    world.rotate("shared", "shared-2")
    with world.k.log(pod, AGENT) as agent:
        agent.until(lambda line: line.get("event") == "notification refused", "a refusal")
    (target,) = world.k.status(pod)["targets"]
    assert target["pendingGeneration"] and "1001" in target["message"]
    assert json.loads(world.k.page(pod, 8080, "/")) == {"shared": "shared-2", "private": None}
    assert {line["event"] for line in world.k.said(pod, APP)} == {"start"}
    write = "import os\ntry: open('/freshmount/x', 'w')\nexcept OSError as error: print(os.strerror(error.errno))"
    assert world.in_app(pod, write) == "Read-only file system\n"
