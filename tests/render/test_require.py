"""What a version must hold before it is published."""

from __future__ import annotations

import datetime
import errno
import functools
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from agent.core.errors import ProjectionError, SecretError
from agent.core.model import Require
from agent.core.value import SecretValue
from agent.render import require
from agent.render.checks import meets
from tests.support import length

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
        (["user", "password"], "an array"),
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


@functools.cache
def rsa(bits: int) -> str:
    """A key of OpenSSL's. To find one takes longer than all that is done with it."""
    return subprocess.run(["openssl", "genrsa", str(bits)], check=True, capture_output=True, text=True).stdout


def issued(usage: str | None, bits: int = 2048) -> dict[str, str]:
    """A certificate that OpenSSL itself issued, for that extended key usage, and its key."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "key").write_text(rsa(bits))
        extension = ["-addext", f"extendedKeyUsage={usage}"] if usage else []
        command = f"openssl req -x509 -key {home}/key -days 2 -subj /CN=x -out {home}/crt"
        subprocess.run([*command.split(), *extension], check=True, capture_output=True)
        return {"crt": Path(f"{home}/crt").read_text(), "key": rsa(bits)}


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize("usage", ["clientAuth", "serverAuth", "emailProtection", "codeSigning", None])
def test_a_certificate_may_be_for_anybody(usage: str | None) -> None:
    """Pair and dates are what is required: whom it is shown to is not known here."""
    assert problem(issued(usage), certificate=("crt", "key")) is None


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_how_strong_a_key_is_is_not_asked() -> None:
    """What an old device still needs is not held back either."""
    assert problem(issued(None, bits=1024), certificate=("crt", "key")) is None


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_around_the_blocks_is_left_out(newline: str) -> None:
    """As `openssl pkcs12` and people write it; of several certificates the first is the one."""
    good, late = pem(GOOD), pem(valid(2019, 2020))
    around = "Bag Attributes\n    friendlyName: Müller\n# comment -----\n"
    noisy = {"crt": around + good["crt"] + "ende\n" + late["crt"], "key": f"{around}\n{good['key']}\nend"}
    noisy = {name: text.replace("\n", newline) for name, text in noisy.items()}
    assert problem(noisy, certificate=("crt", "key")) is None
    both = {"all": noisy["key"] + noisy["crt"]}
    assert problem(both, certificate=("all", "all")) is None
    late["crt"] = around + late["crt"] + good["crt"]
    assert "expired" in str(problem(late, certificate=("crt", "key")))


@pytest.mark.parametrize("years", [(1950, 1960), (1950, 2049), (2000, 2050), (1990, 9999)])
def test_dates_of_either_form(years: tuple[int, int]) -> None:
    """Before 2050 they have two digits for the year, later four."""
    found = problem(pem(valid(*years)), certificate=("crt", "key"))
    assert (found is None) == (years[1] > 2030)


def test_a_private_key_does_not_print_on_its_way() -> None:
    """From the value to OpenSSL it is a secret's value."""
    tree = pem(GOOD)
    problems, pair = meets(SecretValue(json.dumps(tree).encode(), text=True), Require(certificate=("crt", "key")))
    assert problems == () and pair is not None
    assert [part.reveal().decode() for part in pair] == [tree["crt"], tree["key"]]
    assert "BEGIN" not in f"{pair}"


def test_every_requirement_that_fails_is_told() -> None:
    """Not the first alone, and nothing of what holds."""
    tree = {**pem(GOOD, OTHER), "user": "", "host": "x", "port": 1}
    found = problem(
        tree, keys=("user", "name", "port"), matches=(("host", "^y"), ("port", "1")), certificate=("crt", "key")
    )
    for words in ("'user'", "'name' is missing", "'host' does not match", "is not the certificate's"):
        assert words in str(found)
    assert "'port' does not match" not in str(found)


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|a)*$", r"(.*)*=", r".*.*=.*", r"^(\w+\s?)*$", r"(?=(a*)*b)"])
def test_a_pattern_that_would_take_for_ever_is_given_up(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is refused, with the key; the others are still looked at, and a good one passes afterwards."""
    if not length.full:
        monkeypatch.setattr(require, "PATTERN_LIMIT", 0.05)
    tree = {"evil": "a" * 30_000 + "!", "host": "db", "port": "x"}
    found = problem(tree, matches=(("evil", pattern), ("port", "^[0-9]+$")), keys=("nosuch",))
    assert "'evil' takes too long" in str(found) and "'nosuch'" in str(found) and "'port'" in str(found)
    assert "aaa" not in str(found)
    assert problem(tree, matches=(("host", "^db"), ("evil", "!$"))) is None


def test_time_that_is_spent_elsewhere_is_not_the_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process is not running for, or between two checks, refuses no good version."""
    if not length.full:
        monkeypatch.setattr(require, "PATTERN_LIMIT", 0.05)
    matches = (("host", "^db"),)
    for _ in range(3):
        ends = time.process_time() + require.PATTERN_LIMIT
        while time.process_time() < ends:
            pass
        assert problem({"host": "db"}, matches=matches) is None


def test_a_machine_that_cannot_check_is_no_fault_of_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no ProjectionError, after which the version would never be fetched again."""

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "memfd_create", none_left)
    value = SecretValue(json.dumps(pem(GOOD)).encode(), text=True)
    with pytest.raises(SecretError, match="Too many open files") as caught:
        require.check(value, Require(certificate=("crt", "key")))
    assert not isinstance(caught.value, ProjectionError) and caught.value.failure.reason == "other"
    assert caught.value.__context__ is None
