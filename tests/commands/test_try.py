"""`freshmount try`: the real process, a config and a sample; what it prints, writes, and does not write."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agent.config import sample
from agent.core.errors import ConfigError
from tests.support.running import freshmount

CONFIG = """\
apiVersion: freshmount.dev/v1
kind: Config
region: eu-west-1
secrets:
  - name: db
    secretId: prod/db
    files: [{directory: db}, {path: pgpass, template: "{{ .user }}:{{ .password }}", fileMode: "0400"}]
  - {name: spare, secretId: prod/spare, optional: true, files: [{path: spare}]}
  - {name: flags, parameter: /prod/flags, parameterLabel: live}
  - {name: app, parameters: /prod/app/}
  - {name: team, find: {path: team/, name: "[ab]$"}, roleArn: arn:aws:iam::111122223333:role/reader}
files:
  - path: app.conf
    template: |
      {{ .db.user }} {{ .flags }}
"""
SAMPLE = """\
secretsmanager:
  prod/db: {string: '{"user": "u", "password": "c4n4ry"}'}
  team/a: {string: t, tags: {team: x}}
  team/c: {string: no}
ssm:
  /prod/flags:
    versions: [{version: 1, string: "off"}, {version: 2, string: "on", labels: [live]}, {version: 3, string: "no"}]
  /prod/app/a/b: {string: x, type: SecureString}
  /prod/app/c: {string: y}
  /prod/other: {string: z}
"""


def tried(
    home: Path, *argv: str, config: str | None = CONFIG, held: str = SAMPLE, **environ: str
) -> subprocess.CompletedProcess[str]:
    (home / "sample.yaml").write_text(held)
    named = []
    if config is not None:
        (home / "config.yaml").write_text(config)
        named = [str(home / "config.yaml")]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FRESHMOUNT_"))}
    return freshmount("try", *named, "--sample", str(home / "sample.yaml"), *argv, env={**clean, **environ})


def files(home: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(home)): (path.read_text(), path.stat().st_mode & 0o777)
        for path in home.rglob("*")
        if path.is_file()
    }


def test_the_files_are_those_that_the_agent_would_publish(tmp_path: Path) -> None:
    """Of every kind of secret, with their modes; a listing says the same, and no value."""
    done = tried(tmp_path, "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(tmp_path / "out") == {
        "db/user": ("u", 0o440),
        "db/password": ("c4n4ry", 0o440),
        "pgpass": ("u:c4n4ry", 0o400),
        "app/a/b": ("x", 0o440),
        "app/c": ("y", 0o440),
        "team/team/a": ("t", 0o440),
        "app.conf": ("u on\n", 0o440),
    }
    listed = tried(tmp_path).stdout
    assert [line.split()[0] for line in listed.splitlines()] == sorted(files(tmp_path / "out"))
    assert "app.conf  0440  5  db, flags" in listed and "c4n4ry" not in listed


def test_what_is_the_same_is_not_written_again(tmp_path: Path) -> None:
    """The others are replaced, and a directory with anything else is refused."""
    out = tmp_path / "out"
    tried(tmp_path, "--out", str(out))
    before = {path: (out / path).stat().st_ino for path in files(out)}
    assert tried(tmp_path, "--out", str(out), held=SAMPLE.replace('"u"', '"v"')).returncode == 0
    after = {path: (out / path).stat().st_ino for path in files(out)}
    assert {path for path in before if before[path] != after[path]} == {"db/user", "pgpass", "app.conf"}
    (out / "precious").write_text("x")
    refused = tried(tmp_path, "--out", str(out))
    assert refused.returncode == 1 and "precious" in refused.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("user", "name"), ("db", "user")),
        (('{string: \'{"user"', '{error: AccessDeniedException, string: \'{"user"'), ("db", "access_denied")),
        (("labels: [live]", "labels: [other]"), ("flags", "not_found")),
        (("ssm:", "deny: ['ssm:GetParametersByPath']\nssm:"), ("app", "access_denied")),
        (("ssm:", "errors: {prod/db: {GetSecretValue: InternalServiceError}}\nssm:"), ("db", "other")),
        (('prod/db: {string: \'{"user": "u", "password": "c4n4ry"}\'}', "prod/db: {deleted: true}"), ("db",)),
    ],
)
def test_on_any_problem_nothing_is_written(tmp_path: Path, change: tuple[str, str], words: tuple[str, ...]) -> None:
    """Each is named, with AWS's reason, and no value."""
    changed = SAMPLE.replace(*change)
    assert changed != SAMPLE
    done = tried(tmp_path, "--out", str(tmp_path / "out"), held=changed)
    assert done.returncode == 1 and all(word in done.stderr for word in words)
    assert not (tmp_path / "out").exists() and "c4n4ry" not in done.stdout + done.stderr


def test_regions_are_the_environments_or_the_configs(tmp_path: Path) -> None:
    """A sample may hold other things in each."""
    held = (
        "regions:\n  eu-west-1: {secretsmanager: {a: {string: here}}}\n"
        "  us-east-1: {secretsmanager: {a: {string: there}}}\n"
    )
    for region, value in (("eu-west-1", "here"), ("us-east-1", "there")):
        out = tmp_path / region
        done = tried(tmp_path, "--secret", "a=a", "--out", str(out), config=None, held=held, AWS_REGION=region)
        assert (done.returncode, files(out)) == (0, {"a": (value, 0o440)})
    for environ in ({}, {"AWS_DEFAULT_REGION": "eu-north-1"}):
        done = tried(tmp_path, "--secret", "a=a", config=None, held=held, **environ)
        assert done.returncode == 1 and ("region" in done.stderr or "not_found" in done.stderr)


def test_a_config_without_a_file(tmp_path: Path) -> None:
    """By flags, or by the environment; given twice it is refused."""
    environ = {"AWS_REGION": "eu-west-1", "FRESHMOUNT_SECRETS": "db=prod/db, flags=arn:aws:ssm:eu-west-1:1:parameter/x"}
    refused = tried(tmp_path, config=None, **environ)
    assert refused.returncode == 2 and "FRESHMOUNT_SECRETS" in refused.stderr
    environ["FRESHMOUNT_SECRETS"] = "db=prod/db"
    done = tried(tmp_path, config=None, **environ)
    assert done.returncode == 0 and "db/password" in done.stdout
    assert tried(tmp_path, "--secret", "db=prod/db", **environ).returncode == 2
    slip = tried(tmp_path, "--secret", "db", config=None)
    assert slip.returncode == 2 and "NAME=ARN" in slip.stderr


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("secretsmanager:\n  a: {text: x}", 2, "text"),
        ("secretsmanager:\n  a: {}", 2, "string"),
        ("secretsmanager:\n  a: {string: x, binary: eA==}", 2, "binary"),
        ("secretsmanager:\n  a: {binary: '%'}", 2, "base64"),
        ("secretsmanager:\n  a: {string: {b: c}}", 2, "text"),
        ("secretsmanager: [a]", 1, "mapping"),
        ("ssm:\n  a: {string: x, version: 0}", 2, "0"),
        ("deny: [GetParameters]", 1, "GetParameters"),
        ("errors: {a: 'no code'}", 1, "no code"),
        ("regions: {}\nssm: {}", 2, "ssm"),
        ("now: yesterday", 1, "yesterday"),
        ("other: 1", 1, "other"),
        ("[", 1, ""),
    ],
)
def test_a_sample_is_strict(text: str, line: int, word: str) -> None:
    """What is wrong with it is said with its place."""
    with pytest.raises(ConfigError) as refused:
        sample.parse(text, "sample.yaml")
    assert [problem for problem in refused.value.problems if problem.line == line and word in problem.message]


CLASS = """\
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: orchard}
spec:
  provider: aws
  parameters:
    failoverRegion: us-east-1
    objects: |
      - {objectName: rain, objectType: secretsmanager}
      - {objectName: hail, objectType: secretsmanager, objectAlias: ice}
"""
REGIONS = """\
regions:
  eu-west-1:
    secretsmanager: {rain: {string: r1}, hail: {string: h1}}
    errors: {}
  us-east-1:
    secretsmanager: {rain: {string: r2}}
"""


def test_a_later_run_goes_on_where_an_earlier_one_stopped(tmp_path: Path) -> None:
    """What failed keeps its file while the others are brought up to date; what is not made any more is removed."""
    out, environ = tmp_path / "out", {"AWS_REGION": "eu-west-1"}

    def once(config: str, held: str) -> tuple[int, str, dict[str, str]]:
        done = tried(tmp_path, "--out", str(out), config=config, held=held, **environ)
        return done.returncode, done.stderr, {path: text for path, (text, _) in files(out).items()}

    failing = REGIONS.replace("errors: {}", "errors: {hail: ResourceNotFoundException}")
    code, said, made = once(CLASS, failing)
    assert (code, made) == (1, {}) and "ice (hail)" in said
    assert once(CLASS, REGIONS) == (0, "", {"rain": "r1", "ice": "h1"})
    code, said, made = once(CLASS, failing.replace("r1", "r3"))
    assert (code, made) == (1, {"rain": "r3", "ice": "h1"}) and "ice (hail)" in said and "rain" not in said
    code, said, made = once(CLASS.replace("objectAlias: ice", "objectAlias: cold/ice"), REGIONS)
    assert (code, made) == (0, {"rain": "r1", "cold_ice": "h1"})


def test_another_region_that_stands_in_is_said(tmp_path: Path) -> None:
    """With the first one's reason, and no value."""
    held = REGIONS.replace("errors: {}", "errors: {rain: AccessDeniedException}")
    done = tried(tmp_path, "--out", str(tmp_path / "out"), config=CLASS, held=held, AWS_REGION="eu-west-1")
    assert done.returncode == 0 and files(tmp_path / "out")["rain"][0] == "r2"
    assert all(word in done.stderr for word in ("rain", "us-east-1", "access_denied")) and "r2" not in done.stderr


def test_the_region_of_the_environment_is_a_classs(tmp_path: Path) -> None:
    """An ARN of another one is refused, as AWS's provider does."""
    named = CLASS.replace("rain", "'arn:aws:secretsmanager:eu-west-1:111122223333:secret:rain-AbCdEf'")
    for region, code in (("eu-west-1", 1), ("eu-north-1", 2)):
        assert tried(tmp_path, config=named, AWS_REGION=region).returncode == code
