"""What a failed connection means, in words."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from agent.core import network
from agent.core.errors import Failure
from agent.core.model import Place
from agent.sources.aws.secrets_manager import SecretsManager
from tests.support.answers import Answer, Answers
from tests.support.words import secret

CA, STRANGER = trustme.CA(), trustme.CA()


def failure(url: str) -> Failure:
    """What a call to that URL comes to."""
    found = SecretsManager(connect_timeout=2.0, read_timeout=2.0, attempts=1).value(
        secret(place=Place("eu-west-1", url)), None
    )
    assert isinstance(found.result, Failure)
    return found.result


def served(authority: trustme.CA, name: str, **fields: object) -> Answers:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **fields).configure_cert(context)  # type: ignore[arg-type]
    return Answers(lambda _: Answer(b"{}"), context=context)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    return path


def test_a_good_certificate_is_no_trouble(bundle: Path) -> None:
    """So that what follows fails for the reason that it names."""
    with served(CA, "127.0.0.1") as server:
        assert failure(server.url).reason == "invalid"


def test_tls_says_which_of_its_ways_to_fail_it_was(bundle: Path) -> None:
    """Only an unknown issuer is mended by another bundle."""
    with served(CA, "other.example") as server:
        wrong_name, by_name = failure(server.url), failure(server.url.replace("127.0.0.1", "localhost"))
    with served(STRANGER, "127.0.0.1") as server:
        unknown = failure(server.url)
    with served(CA, "127.0.0.1", not_after=trustme_date(2001)) as server:
        expired = failure(server.url)
    with Answers(lambda _: Answer(b"{}")) as server:
        plain = failure(server.url.replace("http:", "https:"))
    with served(CA, "127.0.0.1") as server:
        bundle.write_text("no certificates")
        no_bundle = failure(server.url)
        bundle.unlink()
        missing = failure(server.url)
    found = {
        "another name": wrong_name,
        "issuer": unknown,
        "has expired": expired,
        "plain HTTP": plain,
        "PEM": no_bundle,
        "does not exist": missing,
    }
    for noun, said in found.items():
        assert said.reason == "other"
        assert [each for each in found if each in said.message] == [noun], said.message
    assert "another name" in by_name.message and by_name.reason == "other"
    assert all(str(bundle) in said.message for said in (unknown, no_bundle, missing))


def trustme_date(year: int) -> object:
    import datetime

    return datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def closed() -> Iterator[int]:
    """A port where nobody listens, and nobody will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_named_as_such(scheme: str, closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable, host and port, without its credentials: the endpoint was not even asked."""
    url, variable = f"{scheme}://aws.example.invalid", f"{scheme.upper()}_PROXY"
    monkeypatch.setenv(variable, f"http://user:hunter2@127.0.0.1:{closed}")
    refuses = failure(url)
    monkeypatch.setenv(variable, "http://no-such-proxy.invalid:3128")
    no_name = failure(url)
    with Answers(lambda _: Answer(b"who are you?", 407, "text/html")) as server:
        monkeypatch.setenv(variable, f"http://user:hunter2@127.0.0.1:{server.port}")
        asks = failure(url)
        assert f"127.0.0.1:{server.port}" in asks.message
    for said, noun in ((refuses, "refused"), (no_name, "no-such-proxy.invalid:3128"), (asks, "407")):
        assert variable in said.message and noun in said.message
        assert "hunter2" not in said.message and "who are you" not in said.message
    monkeypatch.setenv("no_proxy", "aws.example.invalid")
    assert variable not in failure(url).message


def test_a_proxy_that_is_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is what to look at."""
    monkeypatch.setenv("HTTP_PROXY", "http://[")
    assert "HTTP_PROXY" in failure("http://aws.example.invalid").message


def test_a_refused_connection_is_a_timeout_and_says_refused(closed: int) -> None:
    """The reason is of the closed set, which says whom to look for; the sentence says what happened."""
    said = failure(f"http://127.0.0.1:{closed}")
    assert said.reason == "timeout" and "connection refused" in said.message


def test_what_is_no_http(closed: int) -> None:
    """Another service, or one that closes at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with suppress(OSError):  # nobody asks a second time, or nobody listens to the answer
                for _ in range(2):
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"220 mail.example ESMTP\r\n")
                        connection.recv(1 << 16)

        threading.Thread(target=greet, daemon=True).start()
        said = failure(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert said.reason == "timeout" and "HTTP" in said.message and "mail.example" not in said.message


@pytest.mark.parametrize(
    ("error", "noun"),
    [
        (FileNotFoundError(errno.ENOENT, "x", "/a"), "does not exist"),
        (PermissionError(errno.EACCES, "x", "/a"), "uid 65532"),
        (OSError(errno.EIO, "Input/output error", "/a"), "input/output error"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "refused"),
    ],
)
def test_files_and_networks_are_told_apart(error: OSError, noun: str) -> None:
    """Both are errors of the operating system; only one has a path."""
    assert noun in network.network_or_file(error, "the file /a", 65532)


def test_causes_that_are_each_others_end() -> None:
    """A chain may be a circle."""
    first, second = ValueError("a"), OSError(errno.ENETUNREACH, "Network is unreachable")
    first.__cause__, second.__context__ = second, first
    assert network.causes(first) == [first, second]
    assert network.unreachable(first) == "network is unreachable"
