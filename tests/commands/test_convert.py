"""`freshmount convert`: the config that it prints makes the same files as the manifests."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.config import writing
from agent.config.native import parse
from agent.core.errors import ConfigError
from agent.core.model import Ref
from tests.support.configs import VALID
from tests.support.paths import ROOT
from tests.support.running import freshmount
from tests.support.tables import table

CLASS = """\
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: orchard}
spec:
  provider: aws
  secretObjects: [{secretName: press, type: Opaque, data: [{objectName: press-user, key: user}]}]
  parameters:
    region: eu-west-1
    failoverRegion: us-east-1
    objects: |
      - objectName: orchard/press
        objectType: secretsmanager
        objectAlias: press.json
        failoverObject: {objectName: orchard/press-copy}
        jmesPath:
          - {path: user, objectAlias: press-user, filePermission: "0400"}
          - {path: to_string(ports), objectAlias: ports}
      - {objectName: /orchard/rain, objectType: ssmparameter, objectVersionLabel: live}
      - {objectName: /orchard/rain, objectType: ssmparameter, objectVersion: "1", objectAlias: "yes"}
"""
SAMPLE = """\
secretsmanager:
  orchard/press: {string: '{"user": "", "ports": {"b": 2, "a": 1}}'}
ssm:
  /orchard/rain: {versions: [{version: 1, string: a}, {version: 2, string: b, labels: [live]}]}
"""


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FRESHMOUNT_"))}
    return freshmount(*argv, env=clean, cwd=ROOT)


def files(home: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(home)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in home.rglob("*")
        if path.is_file()
    }


def test_the_config_makes_the_same_files(tmp_path: Path) -> None:
    """What a config does not do is said on standard error, and the class itself stays as it is."""
    (tmp_path / "class.yaml").write_text(CLASS)
    (tmp_path / "sample.yaml").write_text(SAMPLE)
    done = run("convert", str(tmp_path / "class.yaml"))
    assert done.returncode == 0 and "secretObjects" in done.stderr
    (tmp_path / "config.yaml").write_text(done.stdout)
    made = []
    for name in ("class", "config"):
        out = tmp_path / name
        sample = str(tmp_path / "sample.yaml")
        tried = run("try", str(tmp_path / f"{name}.yaml"), "--sample", sample, "--out", str(out))
        assert tried.returncode == 0, tried.stderr
        made.append(files(out))
    assert (
        made[0]
        == made[1]
        == {
            "press.json": (b'{"user": "", "ports": {"b": 2, "a": 1}}', 0o644),
            "press-user": (b"", 0o400),
            "ports": (b'{"a":1,"b":2}', 0o644),
            "_orchard_rain": (b"b", 0o644),
            "yes": (b"a", 0o644),
        }
    )


def test_what_cannot_be_converted_is_named_by_file_and_line(tmp_path: Path) -> None:
    """Of the file that it is in, and nothing is printed as a config."""
    (tmp_path / "good.yaml").write_text(CLASS)
    (tmp_path / "bad.yaml").write_text(CLASS.replace("ssmparameter", "ssm", 1))
    done = run("convert", str(tmp_path / "good.yaml"), str(tmp_path / "bad.yaml"))
    line = next(n for n, text in enumerate(CLASS.splitlines(), 1) if "ssmparameter" in text)
    assert (done.returncode, done.stdout) == (1, "")
    assert any(said.startswith(f"{tmp_path}/bad.yaml:{line}:") and "ssm" in said for said in done.stderr.splitlines())
    assert run("convert", str(tmp_path / "none.yaml")).returncode == 2


def test_two_regions_are_not_one_config(tmp_path: Path) -> None:
    """Names are asked for in the one region of a config: the second class is named, and the status is 1."""
    other = CLASS.replace("region: eu-west-1", "region: eu-north-1")
    for word in ("press", "rain", "objectAlias: ports", "yes"):
        other = other.replace(
            word, word.replace("objectAlias: ", "objectAlias: other-") if " " in word else f"other-{word}"
        )
    (tmp_path / "both.yaml").write_text(f"{CLASS}---\n{other}")
    done = run("convert", str(tmp_path / "both.yaml"))
    assert done.returncode == 1 and "orchard/other-press" in done.stderr and "eu-north-1" in done.stderr


@pytest.mark.parametrize("name", VALID)
def test_a_config_that_is_written_is_read_as_the_same(name: str) -> None:
    """Every secret and file of the corpus; what has no form is said, and a config is never written silently wrong."""
    bundle = parse(VALID[name], "c.yaml").bundle
    text, problems = writing.write(bundle)
    try:
        again = parse(text, "c.yaml").bundle
    except ConfigError:
        assert problems
        return
    if not problems:
        assert (again.secrets, set(again.outputs)) == (bundle.secrets, set(bundle.outputs))


WILD = [case for case in table(ROOT / "tests/config/provider_classes.yaml") if "files" in case]


@pytest.mark.parametrize("case", WILD, ids=[case["name"] for case in WILD])
def test_a_class_that_is_converted_is_the_same_bundle(case: dict[str, Any]) -> None:
    """So a reload from one form to the other publishes nothing, and notifies nobody."""
    bundle = parse(case["manifest"], "m.yaml", case.get("region", "eu-west-1")).bundle
    text, problems = writing.write(bundle)
    assert not problems
    again = parse(text, "c.yaml").bundle
    assert (again.secrets, set(again.outputs)) == (bundle.secrets, set(bundle.outputs))


# -- ExternalSecrets ---------------------------------------------------------------------------------------------------

STORES = """\
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: orchard}
spec:
  provider:
    aws:
      {service: SecretsManager, region: eu-west-1, prefix: orchard/, role: "arn:aws:iam::111122223333:role/reader"}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: weather}
spec: {provider: {aws: {service: ParameterStore, region: eu-west-1}}}
"""
EXTERNAL = """\
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: press, labels: {app: press}}
spec:
  refreshInterval: 15m
  secretStoreRef: {name: orchard}
  target: {name: press-files, template: {type: kubernetes.io/basic-auth, metadata: {labels: {app: press}}}}
  data:
    - {secretKey: username, remoteRef: {key: press, property: user}}
    - {secretKey: port, remoteRef: {key: press, property: port}}
    - {secretKey: ratio, remoteRef: {key: press, property: ratio}}
    - {secretKey: nothing, remoteRef: {key: press, property: none}}
    - {secretKey: deep.json, remoteRef: {key: press, property: deep}}
    - {secretKey: host, remoteRef: {key: press, property: deep.hosts.0}}
    - {secretKey: whole.json, remoteRef: {key: press}}
    - {secretKey: before, remoteRef: {key: press, version: AWSPREVIOUS}}
    - {secretKey: pinned, remoteRef: {key: press, version: uuid/00000000-0000-0000-0000-000000000001}}
    - {secretKey: blank, remoteRef: {key: blank}}
    - {secretKey: bytes, remoteRef: {key: bytes}}
---
apiVersion: external-secrets.io/v1beta1
kind: ExternalSecret
metadata: {name: weather}
spec:
  secretStoreRef: {kind: ClusterSecretStore, name: weather}
  target: {deletionPolicy: Delete}
  data:
    - {secretKey: rain, remoteRef: {key: /weather/rain, version: live}}
    - {secretKey: sun, remoteRef: {key: /weather/sun}}
    - {secretKey: first, remoteRef: {key: /weather/rain, version: "1"}}
    - {secretKey: snow, remoteRef: {key: /weather/snow}}
"""
HELD = """\
secretsmanager:
  orchard/press:
    versions:
      - id: 00000000-0000-0000-0000-000000000001
        stages: [AWSPREVIOUS]
        string: old
      - id: 00000000-0000-0000-0000-000000000002
        stages: [AWSCURRENT]
        string: '{"user": "ann", "user": "b", "port": 5432, "ratio": 1.50, "none": null, "deep": {"hosts": ["h",  2]}}'
  orchard/blank: {string: ""}
  orchard/bytes: {binary: AAEC}
ssm:
  /weather/rain: {versions: [{version: 1, string: a}, {version: 2, string: b, labels: [live]}, {version: 3, string: c}]}
  /weather/sun: {string: shines}
"""


def converted(tmp_path: Path, text: str) -> tuple[int, str, str]:
    (tmp_path / "manifests.yaml").write_text(text)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as said:
        code = cli.main(["convert", str(tmp_path / "manifests.yaml")], {})
    return code, out.getvalue(), said.getvalue()


def refs(text: str) -> list[Ref]:
    return [secret.ref for secret in parse(text, "c.yaml").bundle.secrets]


def test_external_secrets_whose_data_names_its_keys_are_files(tmp_path: Path) -> None:
    """In whatever form AWS holds a value: empty, bytes, null, fractions, objects, a key twice."""
    code, text, said = converted(tmp_path, EXTERNAL + STORES)
    assert code == 0, said
    assert refs(text) == refs(EXTERNAL + STORES)
    assert "period: 15m" in text
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "sample.yaml").write_text(HELD)
    made = []
    for name in ("manifests", "config"):
        out = tmp_path / f"of-{name}"
        config, sample = str(tmp_path / f"{name}.yaml"), str(tmp_path / "sample.yaml")
        tried = run("try", config, "--sample", sample, "--out", str(out))
        assert tried.returncode == 0, tried.stderr
        made.append(files(out))
    assert made[0] == made[1]
    content = {path: held for path, (held, _) in made[1].items()}
    assert content["press-files/username"] == b"ann" and content["press-files/blank"] == b""
    assert content["weather/first"] == b"a" and "weather/snow" not in content


KEPT = """\
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: kept}}
spec:
  secretStoreRef: {{name: orchard}}
  {}
"""
DATA = "data: [{{secretKey: k, remoteRef: {{key: press{}}}}}]"


@pytest.mark.parametrize(
    ("spec", "column", "noun"),
    [
        ("dataFrom: [{extract: {key: press}}]", 15, "extract"),
        ("dataFrom: [{find: {name: {regexp: x}}, rewrite: [{merge: {}}]}]", 15, "find"),
        (DATA.format(", decodingStrategy: Base64"), 49, "decodingStrategy Base64"),
        (DATA.format(", decodingStrategy: Auto"), 49, "decodingStrategy Auto"),
        (DATA.format(", metadataPolicy: Fetch"), 49, "metadataPolicy Fetch"),
        (DATA.format(", nullBytePolicy: Fail"), 49, "nullBytePolicy Fail"),
        (
            f"{DATA.format('')[:-1]}, {{secretKey: k, remoteRef: {{key: x}}}}]\n  target: {{deletionPolicy: Delete}}",
            51,
            "twice",
        ),
        ("target: {template: {data: {a: '{{ .k }}'}}}\n  " + DATA.format(""), 23, "template.data"),
        ("target: {template: {templateFrom: [{literal: 'a: b'}]}}\n  " + DATA.format(""), 23, "template.templateFrom"),
        ("target: {template: {metadata: {labels: {a: '{{ .k }}'}}}}\n  " + DATA.format(""), 33, "label"),
        ("target: {template: {metadata: {labels: {a: 'b c'}}}}\n  " + DATA.format(""), 33, "label"),
        ("target: {template: {type: kubernetes.io/tls}}\n  " + DATA.format(""), 29, "tls.crt"),
        ("target: {template: {type: kubernetes.io/dockerconfigjson}}\n  " + DATA.format(""), 29, "dockerconfigjson"),
    ],
)
def test_what_has_no_form_in_a_config_is_said_with_its_place(tmp_path: Path, spec: str, column: int, noun: str) -> None:
    """The others are printed all the same, and nothing of what was refused."""
    code, text, said = converted(tmp_path, KEPT.format(spec) + "---\n" + EXTERNAL + STORES)
    assert code == 1
    at = f"{tmp_path}/manifests.yaml:6:{column}: "
    assert any(line.startswith(at) and noun in line for line in said.splitlines()), said
    assert refs(text) == refs(EXTERNAL + STORES)
    assert "kept" not in text


def test_without_anything_to_convert_nothing_is_printed(tmp_path: Path) -> None:
    code, text, said = converted(tmp_path, KEPT.format("dataFrom: [{extract: {key: press}}]") + STORES)
    assert (code, text) == (1, "") and "manifests.yaml:6:15: extract" in said
