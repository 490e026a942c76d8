"""Encodings, what is missing, files without `files`, templates and certificates: from a config and values to files."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from agent.config.native import parse
from agent.core.errors import ConfigError, ProjectionError
from agent.core.model import Secret
from agent.core.value import Fetched, SecretValue
from agent.render.files import render

CANARY = "c4n4ry-of-the-value"


def config(files: str = "", *, secret: str = "", shared: str = "") -> str:
    own = f"\n    files: [{files}]" if files else ""
    return (
        "apiVersion: freshmount.dev/v1\nkind: Config\nsecrets:\n"
        f"  - name: db\n    secretId: prod/db{secret}{own}\n  - name: tls\n    secretId: prod/tls\n"
        f"    files: [{{path: tls}}]\n{shared}"
    )


def made(text: str, **values: str | bytes) -> dict[str, bytes]:
    """The files of a config, by path, for these values of its secrets; those of `tls` itself aside."""
    bundle = parse(text, "c.yaml").bundle
    given = {"db": "{}", "tls": "x", **values}

    def version(secret: Secret) -> Fetched:
        value = given[secret.name]
        content = value.encode() if isinstance(value, str) else value
        return Fetched("v1", (), None, SecretValue(content, text=isinstance(value, str)))

    files = render([(secret, version(secret)) for secret in bundle.secrets], bundle.outputs)
    paths = {path: file for of in files.values() for path, file in of.items()}
    return {path: file.content.reveal() for path, file in paths.items() if path != "tls"}


def refused(text: str, **values: str | bytes) -> str:
    """Why there are no files; nothing of a value is in it."""
    with pytest.raises(ProjectionError) as error:
        made(text, **values)
    assert CANARY not in str(error.value) and error.value.failure.reason == "projection"
    return str(error.value)


# -- encodings and what is missing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("base64", "AP/+\n+w=="),
        ("base64url", "AP_--w=="),
        ("base64url", "AP_--w"),
        ("hex", "00fffefb"),
        ("hex", " 00FF FEFB\n"),
    ],
)
def test_bytes_are_decoded(encoding: str, written: str) -> None:
    """From one key, from each key of a directory, and from the whole value."""
    content, tree = b"\x00\xff\xfe\xfb", {"k": written}
    text = str(tree).replace("'", '"').replace("\\n", "\\n")
    assert made(config(f"{{path: a, jmesPath: k, encoding: {encoding}}}"), db=text) == {"a": content}
    assert made(config(f"{{directory: d, encoding: {encoding}}}"), db=text) == {"d/k": content}
    assert made(config(f"{{path: a, encoding: {encoding}}}"), db=written) == {"a": content}


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("base64", "AP_--w=="),
        ("base64", "AAA"),
        ("base64", "AAAA===="),
        ("base64", "AAAA="),
        ("base64url", "AAAA="),
        ("base64url", "AP/++w=="),
        ("hex", "0"),
        ("hex", "zz"),
        ("hex", CANARY),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_its_place(encoding: str, written: str) -> None:
    """Never cut short; the key is named and the text is not."""
    said = refused(config(f"{{directory: d, encoding: {encoding}}}"), db=f'{{"k": "{written}"}}')
    assert "directory d" in said and "'k'" in said and encoding in said
    assert encoding in refused(config(f"{{path: a, jmesPath: k, encoding: {encoding}}}"), db='{"k": 7}')


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("skip", {"d/there": b"1", "env": b"there='1'\n"}),
        ("empty", {"one": b"", "d/there": b"1", "d/gone": b"", "env": b"there='1'\ngone=''\n"}),
    ],
)
def test_what_is_missing_is_left_out_or_empty(missing: str, expected: Mapping[str, bytes]) -> None:
    """A key that is null or not there, in each kind of file; an error is the default, and a file may say otherwise."""
    files = "{path: one, jmesPath: nosuch}, {directory: d}, {path: env, format: dotenv}"
    value = '{"there": "1", "gone": null}'
    assert made(config(files, secret=f"\n    missing: {missing}"), db=value) == expected
    assert all(word in refused(config(files), db=value) for word in ("nosuch", "gone", "env"))
    mixed = config("{path: one, jmesPath: nosuch, missing: error}, {directory: d}", secret="\n    missing: skip")
    assert "nosuch" in refused(mixed, db=value)


def test_a_secret_without_files_becomes_what_it_holds() -> None:
    """An object a directory, anything else a file, byte for byte."""
    assert made(config(), db='{"user": "u", "port": 5432}') == {"db/user": b"u", "db/port": b"5432"}
    for whole in (b"text", b"[1]", b'"x"', b"\x00\xff", b"{broken"):
        assert made(config(), db=whole) == {"db": whole}
    assert "twice" in refused(config(), db='{"a": 1, "a": 2}')
    assert made(config(secret="\n    missing: skip"), db='{"a": null, "b": "1"}') == {"db/b": b"1"}


def test_a_secret_that_only_others_use_makes_no_file() -> None:
    """Its value is in the file that uses it."""
    shared = "files:\n  - {path: both, template: '{{ .db.user }} {{ .tls }}'}\n"
    assert made(config(shared=shared), db='{"user": "u"}', tls="t") == {"both": b"u t"}


# -- templates ---------------------------------------------------------------------------------------------------------

_BLOCK = """files:
  - path: app.yaml
    template: |
      url: postgres://{{ .db.user }}:{{ .db.password | urlquery }}@h/app
      tls: {{ .tls | quote }}
"""


def test_a_template_has_one_secret_or_several() -> None:
    """The dot is the secret's object, or its text; in a file of several each by its name."""
    assert made(config("{path: a, template: '{{ .user }}/{{ .port }}'}"), db='{"user": "u", "port": 1e2}') == {
        "a": b"u/1e2"
    }
    assert made(config("{path: a, template: '<{{ . }}>'}"), db="text") == {"a": b"<text>"}
    values = {"db": '{"user": "u", "password": "p/ w"}', "tls": 't"'}
    assert made(config(shared=_BLOCK), **values) == {
        "app.yaml": b'url: postgres://u:p%2F+w@h/app\ntls: "t\\""\n',
    }


def test_an_absent_key_is_refused_with_its_place_in_the_config() -> None:
    """The key, those that exist, and line and column of the config's file."""
    lines = config(shared=_BLOCK).split("\n")
    line = next(number for number, text in enumerate(lines, 1) if "password" in text)
    said = refused(config(shared=_BLOCK), db=f'{{"user": "{CANARY}", "passwd": "{CANARY}"}}')
    assert f"line {line}, column {lines[line - 1].index('.db.password') + 1}" in said
    assert "file app.yaml" in said and "passwd" in said


@pytest.mark.parametrize(
    ("template", "at", "word"),
    [("{{ .db.user }", "}", "action"), ("{{ nosuch .db }}", "nosuch", "nosuch"), ("{{ .nope }}", ".nope", "nope")],
)
def test_a_template_that_cannot_work_is_refused_before(template: str, at: str, word: str) -> None:
    """By `check`, with the place in the file, quoted or in a block."""
    for shared in (
        f"files:\n  - path: a\n    template: |\n      first\n            {template}\n",
        f"files:\n  - {{path: a, template: '{template}'}}\n",
    ):
        text = config(shared=shared)
        with pytest.raises(ConfigError) as error:
            parse(text, "c.yaml")
        problem = error.value.problems[0]
        line = text.split("\n")[problem.line - 1]
        assert template in line and word in problem.message
        assert line[problem.column - 1 :].startswith(at) or line[: problem.column].endswith(at)


# -- certificates ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> dict[str, str]:
    """A certificate behind an intermediate one, its key, and the certificates in the wrong order."""
    root = trustme.CA()
    issued = root.create_child_ca().issue_cert("app.example")
    blobs = [blob.bytes().decode() for blob in issued.cert_chain_pems]
    return {
        "crt": "".join(blobs),
        "wrong": "Bag Attributes: 1\n" + "".join([root.cert_pem.bytes().decode(), *reversed(blobs)]),
        "key": issued.private_key_pem.bytes().decode(),
        "root": root.cert_pem.bytes().decode(),
        "leaf": blobs[0],
    }


def as_json(**values: str) -> str:
    return json.dumps(values)


def test_a_bundle_has_the_order_that_tls_wants(pair: dict[str, str], tmp_path: Path) -> None:
    """Leaf, intermediate, root, and the key last, whatever the secret's order; TLS takes it."""
    shared = "files: [{path: b, pem: {certificate: {secret: db, key: crt}, privateKey: {secret: db, key: key}}}]\n"
    found = made(config(shared=shared), db=as_json(crt=pair["wrong"], key=pair["key"]))["b"].decode()
    order = [found.index(pair[name].splitlines()[1]) for name in ("leaf", "root", "key")]
    assert order == sorted(order) and "Bag Attributes" not in found and found.count("BEGIN CERTIFICATE") == 3
    (tmp_path / "b").write_text(found)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "b")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_keystore_opens_with_its_password(pair: dict[str, str], legacy: bool) -> None:
    """And holds the certificate, the rest of its chain, and the key."""
    pkcs12 = pytest.importorskip("cryptography.hazmat.primitives.serialization.pkcs12")
    shared = (
        "files: [{path: b, pkcs12: {certificate: {secret: db, key: crt}, privateKey: {secret: db, key: key}, "
        f"password: {{secret: tls}}, legacy: {str(legacy).lower()}}}}}]\n"
    )
    text = config(shared=shared)
    found = made(text, db=as_json(crt=pair["wrong"], key=pair["key"]), tls=CANARY)["b"]
    opened = pkcs12.load_pkcs12(found, CANARY.encode())
    assert opened.key is not None and opened.cert is not None and len(opened.additional_certs) == 2
    with pytest.raises(ValueError):
        pkcs12.load_pkcs12(found, b"other")
    assert "private key" in refused(text, db=as_json(crt=pair["root"], key=pair["key"]), tls=CANARY)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"crt": CANARY, "key": CANARY}, "crt"),
        ({"key": CANARY}, "crt"),
        ({"crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "key": "x"}, "crt"),
    ],
)
def test_what_is_no_certificate_is_refused_by_its_key(value: dict[str, str], word: str) -> None:
    """Without a word of it."""
    shared = "files: [{path: b, pem: {certificate: {secret: db, key: crt}, privateKey: {secret: db, key: key}}}]\n"
    assert f"'{word}'" in (said := refused(config(shared=shared), db=as_json(**value))) and "file b" in said
