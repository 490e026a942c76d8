"""ExternalSecrets through `freshmount try`: what files and Secrets they become, and what is refused."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import cli

STORE = """\
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: main}
spec: {provider: {aws: {service: SecretsManager, region: eu-west-1}}}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: parameters}
spec: {provider: {aws: {service: ParameterStore, region: eu-west-1}}}
"""
JSON = (
    '{"user": "ann", "pass": "c4n4ry", "n": 1.50, "deep": {"b": [1, 2]}, "none": null, "db.host": "h", "b64": "aGk="}'
)
HELD: dict[str, Any] = {
    "secretsmanager": {
        "prod/db": {"string": JSON, "tags": {"team": "x", "note": "a<b"}},
        "prod/raw": {"binary": "AAEC"},
        "prod/empty": {"string": ""},
        "prod/list": {"string": "[1]"},
        "app/one": {"string": '{"k": "1", "x": 12345678901234567890}', "tags": {"app": "web"}},
        "app/two": {"string": '{"k": "2"}', "tags": {"app": "website"}},
        "closed": {"error": "AccessDeniedException"},
        "stages": {
            "versions": [
                {"id": "0" * 32, "stages": ["AWSPREVIOUS"], "string": "old"},
                {"id": "1" * 32, "stages": ["AWSCURRENT"], "string": "new"},
            ]
        },
    },
    "ssm": {
        "/app/a": {"string": "pa", "tags": {"t": "1"}},
        "/app/b": {"versions": [{"version": 1, "string": "b1", "labels": ["live"]}, {"version": 2, "string": "b2"}]},
    },
}


def manifest(spec: dict[str, Any], **metadata: Any) -> str:
    whole = {"secretStoreRef": {"name": "main"}, **spec}
    document = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": "web", **metadata},
        "spec": whole,
    }
    return json.dumps(document) + "\n" + STORE


class Tried:
    """One run: its exit code, what it printed, and the files that it wrote below the directory."""

    def __init__(self, home: Path, text: str, capsys: pytest.CaptureFixture[str], *more: str, held: Any = HELD) -> None:
        (home / "c.yaml").write_text(text)
        (home / "s.yaml").write_text(json.dumps(held))
        out = home / "out"
        argv = ["try", "--config", str(home / "c.yaml"), "--sample", str(home / "s.yaml"), "--out", str(out), *more]
        self.code = cli.main(argv, {})
        printed = capsys.readouterr()
        self.said = printed.out + printed.err
        self.files = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


def one(key: str, **remote: Any) -> dict[str, Any]:
    return {"data": [{"secretKey": "v", "remoteRef": {"key": key, **remote}}]}


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (one("prod/db"), JSON.encode()),
        (one("prod/db", property="user"), b"ann"),
        (one("prod/db", property="n"), b"1.5"),
        (one("prod/db", property="db.host"), b"h"),
        (one("prod/db", property="deep.b.#"), b"2"),
        (one("prod/db", property="none"), b""),
        (one("prod/db", property="b64", decodingStrategy="Base64"), b"hi"),
        (one("prod/db", property="user", decodingStrategy="Auto"), b"ann"),
        (one("prod/db", metadataPolicy="Fetch"), b'{"note":"a\\u003cb","team":"x"}'),
        (one("prod/db", metadataPolicy="Fetch", property="team"), b"x"),
        (one("prod/raw"), b"\0\1\2"),
        (one("prod/empty"), b""),
        (one("stages", version="AWSPREVIOUS"), b"old"),
        (one("stages", version="uuid/" + "0" * 32), b"old"),
        (one("/app/b") | {"secretStoreRef": {"name": "parameters", "kind": "ClusterSecretStore"}}, b"b2"),
        (
            one("/app/b", version="live") | {"secretStoreRef": {"name": "parameters", "kind": "ClusterSecretStore"}},
            b"b1",
        ),
        (
            one("/app/a", metadataPolicy="Fetch", property="t")
            | {"secretStoreRef": {"name": "parameters", "kind": "ClusterSecretStore"}},
            b"1",
        ),
    ],
)
def test_data_is_one_file_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: dict[str, Any], found: bytes
) -> None:
    tried = Tried(tmp_path, manifest(spec), capsys)
    assert tried.code == 0, tried.said
    assert tried.files == {"web/v": found}


FIND = {"find": {"name": {"regexp": "^app/"}}}
PARAMETERS = {"sourceRef": {"storeRef": {"name": "parameters", "kind": "ClusterSecretStore"}}}


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (
            {"extract": {"key": "prod/db"}},
            {
                "user": b"ann", "pass": b"c4n4ry", "n": b"1.50", "deep": b'{"b": [1, 2]}', "none": b"", "db.host": b"h",
                "b64": b"aGk=",
            },
        ),
        ({"extract": {"key": "prod/db", "property": "deep"}}, {"b": b"[1, 2]"}),
        ({"extract": {"key": "prod/db", "metadataPolicy": "Fetch"}}, {"team": b"x", "note": b"a<b"}),
        (FIND, {"app_one": b'{"k": "1", "x": 12345678901234567890}', "app_two": b'{"k": "2"}'}),
        (
            {"find": {"name": {"regexp": "one"}, "conversionStrategy": "Unicode"}},
            {"app_U002f_one": b'{"k": "1", "x": 12345678901234567890}'},
        ),
        ({"find": {"tags": {"app": "web"}}}, {"app_one": b'{"k": "1", "x": 12345678901234567890}'}),
        ({"find": {"path": "prod/r", "name": {"regexp": "."}}}, {"prod_raw": b"\0\1\2"}),
        ({"find": {"name": {"regexp": "zzz"}}}, {}),
        (
            {**FIND, "rewrite": [{"merge": {"conflictPolicy": "Ignore", "priority": ["app/one"]}}]},
            {"k": b"1", "x": b"12345678901234567890"},
        ),
        (
            {**FIND, "rewrite": [{"merge": {"strategy": "JSON", "into": "all", "conflictPolicy": "Ignore"}},
                                 {"regexp": {"source": "^app/.*", "target": ""}}]},
            {"all": b'{"k":"2","x":12345678901234567890}'},
        ),
        (
            {**FIND, "rewrite": [{"regexp": {"source": "app/(.*)", "target": "my_$1"}},
                                 {"transform": {"template": "{{ .value | upper }}"}}]},
            {"MY_ONE": b'{"k": "1", "x": 12345678901234567890}', "MY_TWO": b'{"k": "2"}'},
        ),
        ({"find": {"path": "/app", "name": {"regexp": "[ab]$"}}, **PARAMETERS}, {"_app_a": b"pa", "_app_b": b"b2"}),
        ({"find": {"tags": {"t": "1"}}, **PARAMETERS}, {"_app_a": b"pa"}),
    ],
)  # fmt: skip
def test_data_from_is_several_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], item: dict[str, Any], found: dict[str, bytes]
) -> None:
    tried = Tried(tmp_path, manifest({"dataFrom": [item]}), capsys)
    assert tried.code == 0, tried.said
    assert tried.files == {f"web/{key}": content for key, content in found.items()}


def test_parameters_are_listed_where_reading_a_path_is_denied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {"dataFrom": [{"find": {"path": "/app", "name": {"regexp": "a$"}}, **PARAMETERS}]}
    held = {**HELD, "deny": ["ssm:GetParametersByPath"]}
    assert Tried(tmp_path, manifest(spec), capsys, held=held).files == {"web/_app_a": b"pa"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (one("closed"), ["closed", "AccessDenied"]),
        (one("gone"), ["gone", "not_found"]),
        (one("prod/db", property="nobody"), ["'nobody'", "prod/db", "'user'"]),
        (one("prod/raw", nullBytePolicy="Fail"), ["'v'", "null byte"]),
        (one("prod/db", property="pass", decodingStrategy="Base64"), ["'v'", "prod/db", "base64"]),
        ({"dataFrom": [{"extract": {"key": "prod/list"}}]}, ["prod/list", "JSON object"]),
        ({"dataFrom": [{**FIND, "rewrite": [{"merge": {}}]}]}, ["merge", "'k'"]),
        ({"dataFrom": [{**FIND, "rewrite": [{"merge": {"priority": ["x"]}}]}]}, ["merge", "'x'"]),
        ({"dataFrom": [{**FIND, "rewrite": [{"regexp": {"source": ".*", "target": "one"}}]}]}, ["rewrite", "'one'"]),
        ({"dataFrom": [{**FIND, "rewrite": [{"regexp": {"source": "^a", "target": "%"}}]}]}, ["%"]),
        (one("prod/db") | {"target": {"template": {"data": {"out": "{{ .w }}"}}}}, ["'out'", "w"]),
        (one("prod/db") | {"target": {"template": {"type": "kubernetes.io/tls"}}}, ["tls.crt"]),
        (one("prod/db") | {"target": {"template": {"metadata": {"labels": {"l": "{{ .v }}"}}}}}, ["label", "'l'"]),
    ],
)
def test_what_cannot_be_made_is_refused_by_its_name_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: dict[str, Any], words: list[str]
) -> None:
    tried = Tried(tmp_path, manifest(spec), capsys)
    assert (tried.code, tried.files) == (1, {})
    assert [word for word in words if word not in tried.said] == []
    assert "c4n4ry" not in tried.said


TEMPLATE = {
    "type": "example.test/kind",
    "metadata": {"labels": {"app": "{{ .user }}"}, "annotations": {"note": "fixed"}},
    "templateFrom": [
        {
            "configMap": {
                "name": "files",
                "items": [{"key": "app.conf"}, {"key": "more", "templateAs": "KeysAndValues"}],
            }
        },
        {"target": "labels", "literal": "tier: back"},
    ],
    "data": {"dsn": "{{ .user }}:{{ .pass }}"},
}
CONFIG_MAP = """\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: files}
data: {app.conf: "user={{ .user }}", more: "port: 5432\\ntls: yes\\n", unused: "{{ broken"}
"""


def test_templates_make_the_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {"dataFrom": [{"extract": {"key": "prod/db"}}], "target": {"name": "out", "template": TEMPLATE}}
    tried = Tried(tmp_path, manifest(spec) + CONFIG_MAP, capsys)
    assert tried.code == 0, tried.said
    assert tried.files == {
        "out/dsn": b"ann:c4n4ry", "out/app.conf": b"user=ann", "out/port": b"5432", "out/tls": b"true",
    }  # fmt: skip


def test_the_secret_of_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {"dataFrom": [{"extract": {"key": "prod/db"}}], "target": {"name": "out", "template": TEMPLATE}}
    tried = Tried(tmp_path, manifest(spec) + CONFIG_MAP, capsys, "--as", "kubernetes")
    assert tried.files.keys() == {"default/out.yaml"}
    secret = yaml.safe_load(tried.files["default/out.yaml"])
    assert (secret["kind"], secret["type"], secret["metadata"]["name"]) == ("Secret", "example.test/kind", "out")
    assert secret["metadata"]["labels"] == {"app": "ann", "tier": "back"}
    assert secret["metadata"]["annotations"] == {"note": "fixed"}
    assert base64.b64decode(secret["data"]["dsn"]) == b"ann:c4n4ry"


def test_without_a_template_labels_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = manifest(one("prod/db"), labels={"a": "b"}).replace('"web"', '"web", "namespace": "default"')
    tried = Tried(tmp_path, text, capsys, "--as", "kubernetes")
    secret = yaml.safe_load(tried.files["default/web.yaml"])
    assert (secret["metadata"]["labels"], secret["type"]) == ({"a": "b"}, "Opaque")


def test_a_secret_that_is_not_there_is_left_out_only_where_the_manifest_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [{"secretKey": key, "remoteRef": {"key": key}} for key in ("prod/raw", "gone")]
    for each in data:
        each["secretKey"] = str(each["secretKey"]).replace("/", "-")
    assert Tried(tmp_path, manifest({"data": data}), capsys).files == {}
    lenient = {"data": data, "target": {"deletionPolicy": "Delete"}}
    assert Tried(tmp_path, manifest(lenient), capsys).files == {"web/prod-raw": b"\0\1\2"}


def of_template(text: str) -> dict[str, Any]:
    spec = {"dataFrom": [{"extract": {"key": "prod/db"}}]}
    return {**spec, "target": {"template": {"data": {"out": text}}}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{{ (fromJson .deep).b }} {{ (fromJson `{"a": 12345678}`).a }}', b"[1 2] 1.2345678e+07"),
        ("{{ fromJson .deep | toJson }} {{ fromJson `1.50` }}", b'{"b":[1,2]} 1.5'),
        ("{{ list nil 1 }} {{ .user | fromJson }}", b"[<nil> 1] <no value>"),
        ("{{ hasKey (fromYaml `a: [`) `Error` }}", b"true"),
        ("{{ randAlphaNum 7 | len }}", b"7"),
    ],
)
def test_a_template_comes_to_what_it_comes_to_in_eso(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, found: bytes
) -> None:
    tried = Tried(tmp_path, manifest(of_template(text)), capsys)
    assert (tried.code, tried.files) == (0, {"web/out": found}), tried.said
    assert ("randAlphaNum makes something else in each pod" in tried.said) == ("rand" in text)


def test_a_number_that_merge_cannot_hold_is_refused_by_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {"dataFrom": [{"find": {"name": {"regexp": "^n/"}}, "rewrite": [{"merge": {}}]}]}
    held = {"secretsmanager": {"n/one": {"string": '{"a": 1, "much": {"in": [-7e4321]}}'}}}
    tried = Tried(tmp_path, manifest(spec), capsys, held=held)
    assert (tried.code, tried.files) == (1, {})
    assert [word for word in ("'n/one'", "'much'", "too large", "as a text") if word not in tried.said] == []
    assert "4321" not in tried.said
