"""A config without a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.commands import pushed
from agent.config import flags
from agent.config.native import parse
from agent.core import crossing
from agent.core.errors import ConfigError
from agent.core.flags import Flags
from agent.core.model import ByContent, ProcessName, Signal, Touch, Url
from agent.core.rest import Common
from agent.triggers import config_file

ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf"
OTHER = ARN.replace("prod/db", "prod/api")
PARAMETER = "arn:aws:ssm:eu-west-1:111122223333:parameter/prod/flags"


def nothing(name: str) -> list[str]:
    """No Kubernetes Secret is mounted."""
    raise FileNotFoundError(2, "No such file or directory")


def test_the_flags_are_the_config_that_they_stand_for() -> None:
    """Secrets by what they hold, each kind of target, volume and period."""
    made = flags.config(
        "--secret",
        [f"db={ARN}", f"flags={PARAMETER}"],
        pushed=nothing,
        volume="/run/s",
        period="30s",
        signals=["SIGHUP:nginx"],
        touches=["/tmp/marker"],
        urls=["http://127.0.0.1:8080/reload"],
    )
    config = parse(config_file.read(made), made)
    bundle = config.bundle
    assert [(s.name, s.ref.kind, s.ref.id) for s in bundle.secrets] == [
        ("db", "secretsmanager", ARN),
        ("flags", "parameter", PARAMETER),
    ]
    assert all(output.renderer == ByContent() for output in bundle.outputs)
    assert (config.settings.volume_path, bundle.timing.period) == ("/run/s", 30.0)
    assert [type(target.action) for target in bundle.targets] == [Signal, Touch, Url]


@pytest.mark.parametrize(
    ("secrets", "signals", "word"),
    [(["db"], [], "db"), (["=x"], [], "=x"), (["db="], [], "db="), (["db=x"], ["SIGHUP"], "SIGHUP")],
)
def test_another_form_is_refused_by_what_was_given(secrets: list[str], signals: list[str], word: str) -> None:
    """With the form that it must have."""
    with pytest.raises(ConfigError) as refused:
        flags.config("--secret", secrets, pushed=nothing, signals=signals)
    assert repr(word) in str(refused.value) and "NAME" in str(refused.value)


def test_a_pushed_secret_stands_for_the_arn_that_it_holds(tmp_path: Path) -> None:
    """Whatever its keys are called, as kubelet mounts them."""
    inner = tmp_path / "db" / "..2026"
    inner.mkdir(parents=True)
    (inner / "password").write_text(ARN)
    (inner / "user").write_text(f"{ARN}\n")
    (tmp_path / "db" / "..data").symlink_to("..2026")
    for key in ("password", "user"):
        (tmp_path / "db" / key).symlink_to(f"..data/{key}")
    made = flags.config(
        "--secret", ["a=secret:db", f"b={OTHER}"], pushed=lambda name: pushed.texts(name, str(tmp_path))
    )
    assert [secret.ref.id for secret in parse(made.text, made).bundle.secrets] == [ARN, OTHER]


@pytest.mark.parametrize(
    ("name", "texts", "word"),
    [
        ("db", None, "mount"),
        ("db", [], "pushed"),
        ("db", ["c4n4ry"], "pushed"),
        ("db", [ARN, "c4n4ry"], "pushed"),
        ("db", [ARN, OTHER], "different"),
        ("../db", [ARN], "name"),
        ("", [ARN], "name"),
    ],
)
def test_a_kubernetes_secret_without_one_arn_is_refused(name: str, texts: list[str] | None, word: str) -> None:
    """With what to do, and without what it holds."""
    with pytest.raises(ConfigError) as refused:
        flags.config("--secret", [f"a=secret:{name}"], pushed=nothing if texts is None else lambda _: texts)
    said = str(refused.value)
    assert repr(f"a=secret:{name}") in said and word in said
    assert "c4n4ry" not in said and "arn:" not in said


def test_a_signal_of_the_environment_is_one_more_target() -> None:
    """Beside those of the config, under a name that is free; what is there is not signalled twice."""
    notify = 'notify: [{name: signal-1, url: "http://127.0.0.1/"}]'
    text = f"apiVersion: freshmount.dev/v1\nkind: Config\nsecrets: [{{name: a, secretId: a}}]\n{notify}\n"
    config = flags.with_signal(parse(text, "c"), "SIGHUP:nginx")
    names = [target.name for target in config.bundle.targets]
    assert names == ["signal-1", "signal-2"]
    assert config.bundle.targets[1].action == Signal("SIGHUP", ProcessName("nginx"))
    assert flags.with_signal(config, "SIGHUP:nginx") == config
    with pytest.raises(ConfigError) as refused:
        flags.with_signal(config, "SIGKILL:nginx")
    assert "FRESHMOUNT_SIGNAL" in str(refused.value) and "SIGKILL" in str(refused.value)


def test_they_cross_to_another_process_of_the_agent() -> None:
    """With what they hold; a path stays the path of a file."""
    made = flags.config("--secret", ["db=x"], pushed=nothing)
    for text in (made.text, None):
        common = Common(str(made), text, "json", "info", "/volume", 0)
        again = crossing.load(crossing.dump(common, [Common], "1"), [Common], "1").config
        assert again == "--secret" and isinstance(again, Flags) is (text is not None)
        assert text is None or again.text == text
