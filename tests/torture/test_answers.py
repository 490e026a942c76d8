"""Whatever Secrets Manager, STS, a metadata service or a program answers, or what stands in its place."""

from __future__ import annotations

import gc
import gzip
import io
import json
import logging
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import strategies as st

from agent.core.errors import REASONS, Failure
from agent.core.model import Identity, Place
from agent.core.value import Fetched
from agent.engine.pool import Pool, Raised, Unanswered
from agent.observe import log
from agent.sources.aws.secrets_manager import CALL_LIMIT, SecretsManager
from tests.support.answers import KEYS, ROLE, Answer, Answers, Asked, assumed, temporary
from tests.support.pod import Pod
from tests.support.running import running, until
from tests.support.words import secret
from tests.torture.canary import CANARY, leaks
from tests.torture.conftest import Length, Report
from tests.torture.fuzzing import fuzz

VERSION = "0b7a0fd0-6e1b-4c6e-8f8e-2f2f0f2f0f2f"
DESCRIBED = {
    "ARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf",
    "Name": "db",
    "RotationEnabled": True,
    "RotationRules": {"ScheduleExpression": "rate(4 hours)", "Duration": "3h"},
    "NextRotationDate": 1_800_000_000.0,
    "VersionIdsToStages": {VERSION: ["AWSCURRENT"]},
}
GOT = {
    "Name": "db",
    "VersionId": VERSION,
    "VersionStages": ["AWSCURRENT"],
    "SecretString": CANARY,
    "CreatedDate": 1_700_000_000.0,
}
PROCESS = {
    "Version": 1,
    "AccessKeyId": "id",
    "SecretAccessKey": CANARY,
    "SessionToken": CANARY,
    "Expiration": "2099-01-01T00:00:00Z",
}

_ODD = (
    st.sampled_from([None, True, -1, 1e400, 10**400, 1e14, "", "\0", "\ud800", "x" * 300_000, [], {}, [[]], {"a": {}}])
    | st.just(CANARY)
    | st.just([CANARY])
    | st.just({"message": "x", "Value": CANARY})
    | st.integers()
    | st.text(max_size=8)
)
_WHOLE = st.sampled_from(
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"NaN",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"<html><body>Log in</body></html>",
        b"<!DOCTYPE html><html><br></html>",
        b'<?xml version="1.0" encoding="utf-16"?><a/>',
        b"<a>" * 100_000,
        b"\xff\xfe\x00\xd8",
        b"\x00" * 1000,
        "möchten".encode("latin-1"),
        b"x" * 5_000_000,
    ]
)
_STATUS = st.sampled_from([200] * 6 + [201, 204, 301, 302, 307, 400, 401, 403, 404, 407, 418, 429, 500, 502, 503, 599])
_TYPES = st.sampled_from(["application/x-amz-json-1.1", "text/xml", "text/html", "application/octet-stream", "", "ä"])
_HEADERS = st.sampled_from(
    [
        (),
        (("Location", "http://127.0.0.1:9/"),),
        (("Content-Length", "7"),),
        (("Content-Length", "-1"),),
        (("Content-Length", "many"),),
        (("Transfer-Encoding", "chunked"),),
        (("Content-Encoding", "gzip"),),
        (("x-amzn-errortype", "Ä:" * 50),),
        (("Date", "yesterday"),),
        (("X-Odd", "x" * 200_000),),
    ]
)


@st.composite
def _changed(draw: Any, tree: Any) -> bytes:
    """The answer as it should be, with a field removed, renamed, or of another type, anywhere in it."""
    tree = json.loads(json.dumps(tree))
    node = tree
    while True:
        key = draw(st.sampled_from(list(node) if isinstance(node, dict) else list(range(len(node)))))
        if isinstance(node[key], (dict, list)) and node[key] and draw(st.booleans()):
            node = node[key]
            continue
        change = draw(st.sampled_from(["remove", "replace", "replace", "rename"]))
        if change == "remove":
            del node[key]
        elif change == "rename" and isinstance(node, dict):
            node[draw(st.text(max_size=8))] = node.pop(key)
        else:
            node[key] = draw(_ODD)
        return json.dumps(tree).encode()


@st.composite
def _mangled(draw: Any, bodies: Any) -> bytes:
    """Written another way, cut short, or with something around it."""
    body: bytes = draw(bodies)
    match draw(st.sampled_from(["as it is"] * 4 + ["cut", "bom", "utf-16", "latin-1", "gzip", "around", "twice"])):
        case "cut":
            return body[: draw(st.integers(0, len(body)))]
        case "bom":
            return b"\xef\xbb\xbf" + body
        case "utf-16":
            return body.decode("utf-8", "replace").encode("utf-16", "replace")
        case "latin-1":
            return body.decode("utf-8", "replace").encode("latin-1", "replace") + b"\xe4"
        case "gzip":
            return gzip.compress(body)
        case "around":
            return b"<pre>" + body + b"</pre>"
        case "twice":
            return body + body
        case _:
            return body


@st.composite
def _xml(draw: Any, text: bytes) -> bytes:
    """XML with a tag or a text replaced."""
    word = draw(
        st.sampled_from([b"Credentials", b"AccessKeyId", b">id<", b">key<", b">session<", b"Result", b"xmlns="])
    )
    return text.replace(
        word, draw(st.sampled_from([b"", b"x", b">" + b"y" * 100_000 + b"<", b"&x;", b"<a/>", b"\xe4"]))
    )


def answers(bodies: Any) -> Any:
    """Every way to send one of these, or something else."""
    mangled = _mangled(bodies | _WHOLE)
    whole = st.builds(Answer, mangled, _STATUS, _TYPES, _HEADERS, st.just(False))
    return st.none() | whole | whole | whole


class Heard(io.StringIO):
    """Looks for the canary in each line that is written, and keeps nothing else: the lines of a run are gigabytes."""

    def __init__(self) -> None:
        super().__init__()
        self.leaks: list[str] = []

    def write(self, text: str) -> int:
        self.leaks += leaks(text)
        return len(text)


@contextmanager
def hearing() -> Iterator[Heard]:
    """All that the libraries and we log, at DEBUG, as `freshmount` does; nobody else gets it meanwhile."""
    root = logging.getLogger()
    handlers, level, heard = root.handlers[:], root.level, Heard()
    log.configure("json", "debug", heard)
    yield heard
    root.handlers[:] = handlers
    root.setLevel(level)


class Trial:
    """One pool for all asks; an outcome is good if it is in time, a value, and tells nothing of what was asked for."""

    def __init__(self) -> None:
        self.pool = Pool("trial")
        self.refused = 0

    def outcome(self, ask: Callable[[], Any]) -> Any:
        ((_, found),) = self.pool.ask({"": ask}, each=CALL_LIMIT, total=CALL_LIMIT, stopped=lambda: False)
        assert not isinstance(found, (Unanswered, Raised)), found
        return found

    def failure(self, found: Any) -> bool:
        """Whether it is a good failure; None of its words may hold the canary, nor a name of Python's."""
        if isinstance(found, Failure):
            self.refused += 1
            assert found.reason in REASONS and found.message and len(found.message) < 4000
            assert leaks(found.message) == [] and "\n" not in found.message
            assert "Error:" not in found.message and "Exception:" not in found.message.replace("Exception: ", "")
            return True
        return False


def test_secrets_manager(length: Length, report: Report) -> None:
    """Each operation: an observation, a value, or one secret's failure."""
    trial, tried = Trial(), 0
    with hearing() as heard, Answers(lambda _: None) as server:
        manager = SecretsManager(connect_timeout=2.0, read_timeout=2.0, attempts=1)
        wanted = secret(place=Place("eu-west-1", server.url))

        def describe(answer: Answer | None) -> None:
            server.answer = lambda _: answer
            found = trial.outcome(lambda: manager.describe(wanted).result)
            if not trial.failure(found):
                assert 0 < len(found.version_id) <= 256 and all(isinstance(stage, str) for stage in found.stages)

        def fetch(answer: Answer | None) -> None:
            server.answer = lambda _: answer
            found = trial.outcome(lambda: manager.value(wanted, VERSION).result)
            if not trial.failure(found):
                assert isinstance(found, Fetched) and 0 < len(found.version_id) <= 256

        for ask, tree in ((describe, DESCRIBED), (fetch, GOT)):
            tried += fuzz(length, 6_000, 60, ask, answers(_changed(tree) | st.just(json.dumps(tree).encode())))
    assert 0 < trial.refused < tried, "neither all nor nothing is refused"
    report.row(
        "whatever answers for Secrets Manager: one secret's failure, in time, without the value",
        f"{tried:,} answers, {trial.refused:,} refused",
        heard.leaks,
    )


def test_sources_of_credentials(
    length: Length, report: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """STS, Pod Identity's agent, the instance's metadata, a program: credentials, or a sentence."""
    trial, got = Trial(), 0
    (tmp_path / "token").write_text("a.b.c")
    (tmp_path / "config").write_text(
        f"[profile program]\ncredential_process = {shlex.quote(str(tmp_path / 'program'))}\n"
    )
    (tmp_path / "program").write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(tmp_path / 'said'))}\n")
    (tmp_path / "program").chmod(stat.S_IRWXU)

    def look() -> None:
        nonlocal got
        gc.collect()  # what the source before read of the SDK's models: megabytes in circles
        manager = SecretsManager(connect_timeout=2.0, read_timeout=2.0, attempts=1, credentials_limit=CALL_LIMIT - 2)
        found = trial.outcome(lambda: manager.identity(whole=True))
        assert isinstance(found, Identity)
        if found.source == "none":
            assert found.warning
            assert trial.failure(Failure("credentials", found.warning))
        else:
            got += 1

    with hearing() as heard, Answers(lambda _: None) as server:

        def of(environ: dict[str, str], answer: Callable[[Answer | None], Callable[[Asked], Answer | None]]) -> Any:
            def ask(made: Answer | None) -> None:
                with monkeypatch.context() as patched:
                    for name, text in (KEYS | environ).items():
                        patched.setenv(name, text)
                    server.answer = answer(made)
                    look()

            return ask

        sts = of(
            {
                "AWS_ROLE_ARN": ROLE,
                "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
                "AWS_ENDPOINT_URL_STS": server.url,
            },
            lambda made: lambda _: made,
        )
        container = of(
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/v1",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
            },
            lambda made: lambda _: made,
        )

        def at(step: int, made: Answer | None) -> Callable[[Asked], Answer | None]:
            """The metadata service, which is asked for a token, a role and its keys, and is odd in one of them."""

            def answer(asked: Asked) -> Answer | None:
                which = 0 if asked.method == "PUT" else 1 if asked.path.endswith("security-credentials/") else 2
                return made if which == step else (Answer(b"token"), Answer(b"role"), temporary())[which]

            return answer

        def metadata(step: int, made: Answer | None) -> None:
            environ = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url}
            of(environ, lambda made: at(step, made))(made)

        def program(said: bytes) -> None:
            (tmp_path / "said").write_bytes(said)
            environ = {"AWS_PROFILE": "program", "AWS_CONFIG_FILE": str(tmp_path / "config")}
            of(environ, lambda made: lambda _: made)(None)

        keys = {**json.loads(temporary().body), "SecretAccessKey": CANARY[:40].replace("\n", ""), "Token": "token"}
        good = st.just(json.dumps(keys | {"SecretAccessKey": "key"}).encode())
        xml = assumed().body
        tried = fuzz(length, 300, 12, sts, answers(_xml(xml) | st.just(xml)))
        tried += fuzz(length, 300, 12, container, answers(_changed(keys) | good))
        tried += fuzz(length, 300, 12, metadata, st.integers(0, 2), answers(_changed(keys) | good))
        tried += fuzz(length, 200, 10, program, _mangled(_changed(PROCESS) | _WHOLE))
    assert got and trial.refused
    report.row(
        "whatever a source of credentials answers: a failure with a sentence, in time, without a key",
        f"{tried:,} answers, {trial.refused:,} refused",
        heard.leaks,
    )


def test_the_agent_outlives_all_of_them(length: Length, report: Report, pod: Pod) -> None:
    """The real process, with each answer in each place while a rotation waits; then it publishes that."""
    made: list[Answer | None] = []
    bodies = answers(_changed(GOT) | _changed(DESCRIBED))
    fuzz(length, 400, 6, made.append, bodies)
    violations: list[str] = []
    (pod.home / "token").write_text("a.b.c")
    version, odd = [VERSION], [False]
    place, number = [""], [0]

    def answer(asked: Asked) -> Answer | None:
        operation = asked.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if not operation:
            operation = parse_qs(asked.body.decode()).get("Action", ["?"])[0]
        if odd[0] and operation == place[0]:
            number[0] += 1
            return made[number[0] % len(made)]
        if operation == "DescribeSecret":
            return Answer(json.dumps(DESCRIBED | {"VersionIdsToStages": {version[0]: ["AWSCURRENT"]}}).encode())
        if operation == "GetSecretValue":
            return Answer(json.dumps(GOT | {"VersionId": version[0], "SecretString": version[0]}).encode())
        return assumed(60.0)  # so short that it is asked for again and again

    turns = length.choose(20, 1)
    with Answers(answer) as server:
        env = {
            **KEYS,
            "AWS_ROLE_ARN": ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(pod.home / "token"),
            "AWS_ENDPOINT_URL_STS": server.url,
        }
        config = pod.write("{name: db, secretId: db, files: [{path: db}]}", period="200ms")
        config.write_text(config.read_text().replace(pod.proxy.url, server.url))
        with running("run", config, env) as agent:
            agent.ready()
            for turn in range(turns):
                for where in ("DescribeSecret", "GetSecretValue"):
                    version[0] = f"{turn:08d}-{where}-{VERSION}"[:64]
                    place[0], odd[0], before = where, True, number[0]
                    agent.pass_now()
                    until(lambda before=before: number[0] >= before + 3 or agent.process.poll() is not None)
                    odd[0] = False
                    if agent.process.poll() is not None:
                        violations.append(f"ended at {where}: {agent.lines[-1]}")
                        break
                    until(lambda: pod.read("db") == version[0])
            if not violations:
                assert agent.page("/livez")[0] == 200 and agent.stop() == 0
    assert "internal error" not in agent.stderr
    report.row(
        "odd answers to a running agent: it lives, and publishes what is current when they end",
        f"{turns} times, {number[0]:,} answers",
        violations,
    )
