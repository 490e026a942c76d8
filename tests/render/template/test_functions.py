"""Functions that Go has no part in: External Secrets' own, on certificates and keys, against `cryptography`; and YAML,
against a reader that is none of ours.
"""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
import trustme
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from agent.render.template import TemplateError, parse
from tests.render.template.generated import data
from tests.support.length import often


def rendered(text: str, **value: Any) -> str:
    return parse(text).render(value)


# -- certificates and keys ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain() -> dict[str, str]:
    """A root, an intermediate, a leaf and its key, each as PEM."""
    root = trustme.CA()
    middle = root.create_child_ca()
    leaf = middle.issue_cert("web.internal", "10.0.0.1", "web@example.com")
    certificates = [pem.bytes().decode() for pem in leaf.cert_chain_pems]
    return {
        "root": root.cert_pem.bytes().decode(),
        "intermediate": certificates[1],
        "leaf": certificates[0],
        "key": leaf.private_key_pem.bytes().decode(),
    }


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("kind", ["leaf", "intermediate", "root"])
def test_a_chain_is_put_in_order_whatever_order_it_comes_in(chain: dict[str, str], kind: str) -> None:
    parts = [chain[name] for name in ("leaf", "intermediate", "root")]
    random.Random(3).shuffle(parts)
    made = rendered(f"{{{{ filterCertChain `{kind}` .pem }}}}", pem="\n".join(parts))
    assert der(made) == der(chain[kind])


def test_two_chains_are_no_chain(chain: dict[str, str]) -> None:
    other = trustme.CA().cert_pem.bytes().decode()
    with pytest.raises(TemplateError, match="not one chain"):
        rendered("{{ filterCertChain `leaf` .pem }}", pem=chain["leaf"] + chain["intermediate"] + other)


def test_the_names_of_a_certificate(chain: dict[str, str]) -> None:
    assert rendered("{{ certSANs .pem | join `,` }}", pem=chain["leaf"]) == "web.internal,10.0.0.1,web@example.com"


@pytest.mark.parametrize(
    ("call", "certificates", "password"),
    [
        ("pemToPkcs12 .crt .key", 1, ""),
        ("pemToPkcs12Pass .crt .key .password", 1, "pa55"),
        ("fullPemToPkcs12 .crt .key", 3, ""),
        ("fullPemToPkcs12Pass .crt .key .password", 3, "pa55"),
    ],
)
def test_pem_becomes_pkcs12(chain: dict[str, str], call: str, certificates: int, password: str) -> None:
    crt = chain["leaf"] + chain["intermediate"] + chain["root"]
    made = base64.b64decode(rendered(f"{{{{ {call} }}}}", crt=crt, key=chain["key"], password=password))
    key, first, others = pkcs12.load_key_and_certificates(made, password.encode() or None)
    assert key is not None and first is not None
    assert first.public_bytes(serialization.Encoding.DER) == der(chain["leaf"])
    assert 1 + len(others) == certificates
    if password:
        with pytest.raises(ValueError):
            pkcs12.load_key_and_certificates(made, b"other")


@pytest.mark.parametrize(
    ("call", "password"), [("pemTruststoreToPKCS12 .crt", None), ("pemTruststoreToPKCS12Pass .crt `pa55`", b"pa55")]
)
def test_a_truststore_holds_certificates_alone(chain: dict[str, str], call: str, password: bytes | None) -> None:
    made = base64.b64decode(rendered(f"{{{{ {call} }}}}", crt=chain["root"]))
    key, _, others = pkcs12.load_key_and_certificates(made, password)
    assert key is None
    assert [each.public_bytes(serialization.Encoding.DER) for each in others] == [der(chain["root"])]


def test_a_key_of_another_certificate_makes_no_keystore(chain: dict[str, str]) -> None:
    with pytest.raises(TemplateError, match="private key"):
        rendered("{{ pemToPkcs12 .crt .key }}", crt=chain["root"], key=chain["key"])
    with pytest.raises(TemplateError, match="PEM"):
        rendered("{{ pemToPkcs12 .crt .key }}", crt="c4n4ry", key=chain["key"])


@pytest.mark.parametrize("password", ["", "pa55"])
def test_pkcs12_becomes_pem(chain: dict[str, str], password: str) -> None:
    key = serialization.load_pem_private_key(chain["key"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    certificates = [x509.load_pem_x509_certificate(chain[name].encode()) for name in ("leaf", "root", "intermediate")]
    how = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    store = base64.b64encode(
        pkcs12.serialize_key_and_certificates(b"x", key, certificates[0], certificates[1:], how)
    ).decode()
    call = "Pass .password" if password else ""
    made_key = rendered(f"{{{{ .p12 | b64dec | pkcs12key{call} }}}}", p12=store, password=password)
    again = serialization.load_pem_private_key(made_key.encode(), None)
    assert again.private_numbers() == key.private_numbers()  # type: ignore[union-attr]
    made = rendered(f"{{{{ .p12 | b64dec | pkcs12cert{call} }}}}", p12=store, password=password)
    expected = [der(chain[name]) for name in ("leaf", "intermediate", "root")]
    assert [
        c.public_bytes(serialization.Encoding.DER) for c in x509.load_pem_x509_certificates(made.encode())
    ] == expected
    if password:
        with pytest.raises(TemplateError, match="password"):
            rendered("{{ .p12 | b64dec | pkcs12keyPass `wrong` }}", p12=store)


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode().rstrip("=")


def test_a_json_web_key_becomes_pem() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.private_numbers()
    public = {"kty": "EC", "crv": "P-256", "x": number(numbers.public_numbers.x), "y": number(numbers.public_numbers.y)}
    whole = json.dumps({**public, "d": number(numbers.private_value)})
    made = serialization.load_pem_private_key(rendered("{{ jwkPrivateKeyPem .k }}", k=whole).encode(), None)
    assert isinstance(made, ec.EllipticCurvePrivateKey)
    assert made.private_numbers() == numbers
    shown = serialization.load_pem_public_key(rendered("{{ jwkPublicKeyPem .k }}", k=json.dumps(public)).encode())
    assert isinstance(shown, ec.EllipticCurvePublicKey)
    assert shown.public_numbers() == numbers.public_numbers
    with pytest.raises(TemplateError, match="public"):
        rendered("{{ jwkPrivateKeyPem .k }}", k=json.dumps(public))


def test_a_json_web_key_of_rsa_and_what_it_decrypts() -> None:
    key = rsa.generate_private_key(65537, 2048)
    n = key.private_numbers()
    parts = {"e": n.public_numbers.e, "n": n.public_numbers.n, "d": n.d, "p": n.p, "q": n.q}
    made = rendered(
        "{{ jwkPrivateKeyPem .k }}", k=json.dumps({"kty": "RSA"} | {k: number(v) for k, v in parts.items()})
    )
    again = serialization.load_pem_private_key(made.encode(), None)
    assert isinstance(again, rsa.RSAPrivateKey)
    assert again.private_numbers() == n
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    sealed = base64.b64encode(key.public_key().encrypt(b"hidden", oaep)).decode()
    assert rendered('{{ rsaDecrypt "RSA-OAEP" "SHA256" (b64dec .t) .k }}', t=sealed, k=made) == "hidden"


@pytest.mark.parametrize("kind", ["OKP", "oct", ""])
def test_a_key_that_is_none_is_refused(kind: str) -> None:
    with pytest.raises(TemplateError, match="key"):
        rendered("{{ jwkPublicKeyPem .k }}", k=json.dumps({"kty": kind}))


# -- YAML --------------------------------------------------------------------------------------------------------------

TRICKY = [
    *(
        "",
        " ",
        "a",
        "no",
        "y",
        "N",
        "on",
        "null",
        "~",
        "true",
        "1",
        "0x1f",
        "0o17",
        "017",
        "1e3",
        ".5",
        "1_000",
        "-",
        "- a",
    ),
    *(
        "a: b",
        "# c",
        "*a",
        "&a",
        "!a",
        "{a}",
        "[a]",
        "'",
        '"',
        "%a",
        "@a",
        "`a",
        "a #b",
        "1:30",
        "2024-01-01",
        "=",
        "<<",
    ),
    *(
        "a\nb",
        "a\n",
        "\na",
        "a\n\n",
        " a\nb",
        "a\tb",
        "é",
        "\u2028",
        "\x07",
        "\x85",
        "a\r\nb",
        "...",
        "---",
        "? a",
        "|",
        ">",
    ),
    *(
        "long " * 40,
        "x" * 300,
        "trailing ",
        "a:",
        ":a",
        ".inf",
        ".nan",
        "+1",
        "-0",
        "1.",
        "0b11",
        "😀",
        "\ufeff",
        "_1",
        "1__0",
    ),
]


@pytest.mark.parametrize("text", TRICKY, ids=ascii)
def test_a_text_in_yaml_reads_back_as_itself(text: str) -> None:
    """By PyYAML (1.1) and by us (as Go): as a value, as a key, in a list, and alone."""
    for value in ({"k": text}, {text: "v"}, [text], {"a": {"b": [text, {"c": text}]}}, text):
        made = parse("{{ toYaml .v }}\n").render({"v": value})
        assert yaml.safe_load(made) == value, made
        if isinstance(value, dict):
            assert json.loads(parse("{{ .y | fromYaml | toJson }}").render({"y": made})) == value


def test_objects_by_chance_read_back_from_yaml_and_json() -> None:
    rng = random.Random(11)
    for _ in range(often(200)):
        value = data(rng)
        made = parse("{{ toYaml . }}").render(value)
        assert json.loads(parse("{{ .y | fromYaml | toJson }}").render({"y": made})) == value
        assert json.loads(parse("{{ toPrettyJson . }}").render(value)) == value


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("a: 1\na: 2", "twice"),
        ("a: !!binary YQ==", "tag"),
        ("a: !x 1", "tag"),
        ("? [a]\n: 1", "key"),
        ("a: 1\n---\nb: 2", "document"),
        ("- 1", "object"),
        ("a: .nan", "end"),
        ("a: *b", "YAML"),
        ("<<: 1", "<<"),
    ],
)
def test_yaml_that_would_be_mangled_is_refused(text: str, noun: str) -> None:
    with pytest.raises(TemplateError, match=noun):
        parse("{{ fromYaml .y }}").render({"y": text})
