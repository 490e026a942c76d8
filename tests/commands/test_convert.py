"""`freshmount convert`: the config that it prints makes the same files as the manifests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.config import writing
from agent.config.native import parse
from agent.core.errors import ConfigError
from tests.support.configs import VALID
from tests.support.paths import ROOT

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
    return subprocess.run(
        [sys.executable, "-m", "agent", *argv], capture_output=True, text=True, check=False, env=clean, cwd=ROOT
    )


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


WILD = [case for case in yaml.safe_load((ROOT / "tests/config/provider_classes.yaml").read_text()) if "files" in case]


@pytest.mark.parametrize("case", WILD, ids=[case["name"] for case in WILD])
def test_a_class_that_is_converted_is_the_same_bundle(case: dict[str, Any]) -> None:
    """So a reload from one form to the other publishes nothing, and notifies nobody."""
    bundle = parse(case["manifest"], "m.yaml", case.get("region", "eu-west-1")).bundle
    text, problems = writing.write(bundle)
    assert not problems
    again = parse(text, "c.yaml").bundle
    assert (again.secrets, set(again.outputs)) == (bundle.secrets, set(bundle.outputs))
