"""What a version must hold before it is published."""

from __future__ import annotations

import datetime
import errno
import json
import os
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from agent import require
from agent.config import Require
from agent.errors import ProjectionError, SecretError
from agent.secret import SecretValue

CA = trustme.CA()
GOOD, OTHER = CA.issue_cert("a.example"), CA.issue_cert("a.example")


def problem(content: Any, *, raw: str | None = None, **fields: Any) -> str | None:
    value = SecretValue((raw if raw is not None else json.dumps(content)).encode(), text=True)
    try:
        require.check(value, Require(**fields))
    except ProjectionError as error:
        assert error.__context__ is None
        return str(error)
    return None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"user": "a", "password": "b"}, None),
        ({"user": "a", "password": 0}, None),
        ({"user": "a"}, "require: key 'password' is missing; its keys are 'user'"),
        ({"user": "a", "password": ""}, "require: key 'password' is empty; give it a value"),
        ({"user": "a", "password": None}, "require: key 'password' is empty"),
        ({"user": [], "password": "b"}, "require: key 'user' is empty"),
        (["user", "password"], "needs a JSON object, but there is an array"),
    ],
)
def test_keys(content: Any, words: str | None) -> None:
    """There, and not empty."""
    found = problem(content, keys=("user", "password"))
    assert found is None if words is None else words in str(found)


def test_neither_pattern_nor_text_is_printed() -> None:
    """A pattern may tell of the value, too. It is enough that it is found somewhere; a person anchors it."""
    assert problem({"url": "postgres://db"}, matches=(("url", "^postgres://"),)) is None
    assert problem({"port": 5432}, matches=(("port", r"^\d+$"),)) is None
    found = problem({"url": "hunter2"}, matches=(("url", "^postgres://"),))
    assert found == "require: key 'url' does not match its pattern"


def test_no_json() -> None:
    """And nothing of it in the error."""
    assert problem(None, raw="hunter2", keys=("a",)) == (
        "the secret is not JSON; store it as a JSON object, or use `format: raw` without jmesPath"
    )


def pem(of: trustme.LeafCert, key: trustme.LeafCert | None = None, password: bytes | None = None) -> dict[str, str]:
    private = (key or of).private_key_pem.bytes()
    if password:
        loaded = serialization.load_pem_private_key(private, None)
        encryption = serialization.BestAvailableEncryption(password)
        private = loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return {"crt": "".join(part.bytes().decode() for part in of.cert_chain_pems), "key": private.decode()}


def valid(begins: int, ends: int) -> trustme.LeafCert:
    """A certificate of some years."""
    return CA.issue_cert(
        "a.example", not_before=datetime.datetime(begins, 1, 1), not_after=datetime.datetime(ends, 1, 1)
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pem(GOOD), None),
        (pem(GOOD, OTHER), "the private key is not the certificate's"),
        (pem(valid(2019, 2020)), "the certificate has expired"),
        (pem(valid(2100, 2101)), "the certificate is not valid yet"),
        (pem(GOOD, password=b"secret"), "the key has a password"),
        ({**pem(GOOD), "crt": "hunter2"}, "not PEM that TLS can use"),
        ({**pem(GOOD), "key": "hunter2"}, "not PEM that TLS can use"),
        ({**pem(GOOD), "key": ""}, "key 'key' is empty"),
    ],
)
def test_certificates(content: Any, words: str | None) -> None:
    """The pair must fit and be valid now; nothing of either is told, and nothing reaches a disk."""
    found = problem(content, certificate=("crt", "key"))
    assert found is None if words is None else words in str(found)
    assert "hunter2" not in str(found) and "BEGIN" not in str(found)


def test_a_machine_that_cannot_check_is_no_fault_of_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no ProjectionError, after which the version would never be fetched again."""

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "memfd_create", none_left)
    value = SecretValue(json.dumps(pem(GOOD)).encode(), text=True)
    with pytest.raises(SecretError, match="cannot be checked: Too many open files; tried again") as caught:
        require.check(value, Require(certificate=("crt", "key")))
    assert not isinstance(caught.value, ProjectionError) and caught.value.failure.reason == "other"
    assert caught.value.__context__ is None
