"""Templates of an ExternalSecret: they come to what Go and sprig make of them, where others of ours are refused."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent.render.template import TemplateError, chance, functions, parse
from tests.render.template.cases import DATA, Case, read

CASES = read()
AS_EVERYWHERE = ("quoted", "lists", "bytes")  # reasons that do not depend on whose template it is


def made(template: str, **value: str) -> str:
    return parse(template, of_eso=True).render(value)


def rendered(template: str) -> str | None:
    try:
        return parse(template, of_eso=True).render(DATA)
    except TemplateError:
        return None


def test_it_comes_to_what_go_makes_of_it() -> None:
    def right(case: Case, found: str | None) -> bool:
        if re.match(r"\{\{ b(32|64)dec", case.template) and case.why == "swallowed":
            return found is None  # the decoder's complaint is no secret
        if "fromYaml" in case.template and case.go is None and found is not None:
            return "Error" in found  # ESO's own fromYaml has no error
        return found == (case.ours if case.why in AS_EVERYWHERE else case.go)

    assert {case: found for case in CASES if not right(case, found := rendered(case.template))} == {}


def test_others_are_as_strict_as_ever() -> None:
    """Also after one of an ExternalSecret was rendered, and after one that failed."""
    for template in ("{{ list nil }}", '{{ fromJson "{" }}', '{{ int "x" }}', '{{ fromYaml "a: [" }}'):
        assert rendered(template) is not None
        assert rendered("{{ .nobody }}") is None
        with pytest.raises(TemplateError):
            parse(template).render(DATA)
    assert parse('{{ fromJson "12345678" }}').render(DATA) == "12345678"


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ('{{ (fromJson "{\\"a\\": 1e999}") }}', "<no value>"),
        ('{{ fromYaml "a: 1e999" | keys }}', "[Error]"),
        ('{{ fromYaml "null: 1" | keys }}', "[Error]"),
        ('{{ fromYaml "1: a\\n2.5: b\\non: c" | toJson }}', '{"1":"a","2.5":"b","true":"c"}'),
        ('{{ fromYaml "a: 0b11\\nb: -0\\nc: 1_0\\nd: 1e2" | toJson }}', '{"a":3,"b":0,"c":10,"d":100}'),
        ('{{ fromJson "[\\"\\\\ud800\\"]" | first }}', "\ufffd"),
        ('{{ printf "%v %5v|%s %T" nil nil nil nil }}', "<nil> <nil>|%!s(<nil>) <nil>"),
        ('{{ printf "%d %d" 1 }} {{ printf "%s" (list 1 "a") }}', "1 %!d(MISSING) [%!s(int=1) a]"),
        ('{{ printf "%d" (fromJson "1") }} {{ printf "%.0f" (fromJson "1") }}', "%!d(float64=1) 1"),
        ("{{ add 9223372036854775807 1 }}", "-9223372036854775808"),
        ("{{ range fromJson `[1.0, 2e6]` }}{{ . }};{{ end }}", "1;2e+06;"),
    ],
)
def test_what_is_read_is_what_go_reads(template: str, found: str) -> None:
    assert made(template) == found


def test_work_is_bounded_where_errors_are_values() -> None:
    for template in ('{{ fromYaml (repeat 300000 "a") }}', '{{ regexMatch (repeat 300000 "(a)") "a" }}'):
        with pytest.raises(TemplateError):
            made(template)


def test_no_value_is_in_the_error_that_becomes_a_value() -> None:
    assert "c4n4ry" not in made("{{ .s | fromYaml }}", s="a: [c4n4ry")


# -- by chance ---------------------------------------------------------------------------------------------------------


def test_they_are_known_here_alone() -> None:
    assert chance.FUNCTIONS.keys() == functions.OF_ESO
    assert not functions.OF_ESO & functions.KNOWN
    for name in functions.OF_ESO:
        with pytest.raises(TemplateError, match="is not here: it "):
            parse(f"{{{{ {name} }}}}")


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("{{ randAlpha 12 }}", "[A-Za-z]{12}"),
        ("{{ randAlphaNum 32 }}", "[A-Za-z0-9]{32}"),
        ("{{ randNumeric 6 }}", "[0-9]{6}"),
        ("{{ randAscii 40 }}", "[ -~]{40}"),
        ("{{ randBytes 16 | b64dec | b64enc | len }}", "24"),
        ("{{ randInt 3 5 }}", "[34]"),
        ("{{ shuffle `aab` }}", "aab|aba|baa"),
        ("{{ uuidv4 }}", "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ("{{ genPrivateKey `ecdsa` | trunc 30 }}", "-----BEGIN EC PRIVATE KEY-----"),
        ("{{ genPrivateKey `ed25519` | trunc 27 }}", "-----BEGIN PRIVATE KEY-----"),
        ("{{ genPrivateKey `dsa` | trunc 31 }}", "-----BEGIN DSA PRIVATE KEY-----"),
        ("{{ encryptAES `pw` `text é` | decryptAES `pw` }}", "text é"),
    ],
)
def test_what_is_drawn_has_its_form(template: str, pattern: str) -> None:
    assert re.fullmatch(pattern, made(template))


def test_each_call_draws_anew() -> None:
    assert made("{{ eq (randAlphaNum 40) (randAlphaNum 40) }}") == "false"


def test_a_certificate_is_signed_by_its_authority() -> None:
    parts = made(
        "{{ $ca := genCA `root` 10 }}{{ $c := genSignedCert `web` (list `10.0.0.1`) (list `web.test`) 5 $ca }}"
        "{{ $own := genSelfSignedCertWithKey `own` nil nil 1 (genPrivateKey `ecdsa`) }}"
        "{{ $again := buildCustomCert (b64enc $c.Cert) (b64enc $c.Key) }}"
        "{{ $ca.Cert }}|{{ $c.Cert }}|{{ $c.Key }}|{{ $own.Cert }}|{{ $own.Key }}|{{ eq $again.Cert $c.Cert }}"
    ).split("|")
    root, leaf, own = (x509.load_pem_x509_certificate(parts[at].encode()) for at in (0, 1, 3))
    leaf.verify_directly_issued_by(root)
    own.verify_directly_issued_by(own)
    for certificate, key in ((leaf, parts[2]), (own, parts[4])):
        private = serialization.load_pem_private_key(key.encode(), None)
        assert private.public_key() == certificate.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["web.test"]
    assert [root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca, parts[5]] == [True, "true"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ randAlpha -1 }}",
        "{{ randInt 5 5 }}",
        "{{ randAlpha 99999999 }}",
        "{{ genPrivateKey `c4n4ry` }}",
        "{{ genCA `a` -1 }}",
        "{{ genCAWithKey `a` 1 `c4n4ry` }}",
        "{{ genSignedCert `a` nil nil 1 (dict `Cert` `c4n4ry`) }}",
        "{{ genSelfSignedCert `a` (list `c4n4ry`) nil 1 }}",
        "{{ decryptAES `pw` `c4n4ry` }}",
        "{{ buildCustomCert `c4n4ry` `c4n4ry` }}",
    ],
)
def test_what_does_not_fit_is_refused_without_its_value(template: str) -> None:
    with pytest.raises(TemplateError) as caught:
        made(template)
    assert "c4n4ry" not in str(caught.value)
