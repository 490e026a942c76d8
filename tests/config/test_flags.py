"""A config without a file."""

from __future__ import annotations

import pytest

from agent.config import flags
from agent.config.native import parse
from agent.core import crossing
from agent.core.errors import ConfigError
from agent.core.flags import Flags
from agent.core.model import ByContent, Signal, Touch, Url
from agent.core.rest import Common
from agent.triggers import config_file

ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf"
PARAMETER = "arn:aws:ssm:eu-west-1:111122223333:parameter/prod/flags"


def test_the_flags_are_the_config_that_they_stand_for() -> None:
    """Secrets by what they hold, each kind of target, volume and period."""
    made = flags.config(
        "--secret",
        [f"db={ARN}", f"flags={PARAMETER}"],
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
        flags.config("--secret", secrets, signals=signals)
    assert repr(word) in str(refused.value) and "NAME" in str(refused.value)


def test_they_cross_to_another_process_of_the_agent() -> None:
    """With what they hold; a path stays the path of a file."""
    made = flags.config("--secret", ["db=x"])
    for text in (made.text, None):
        common = Common(str(made), text, "json", "info", "/volume", 0)
        again = crossing.load(crossing.dump(common, [Common], "1"), [Common], "1").config
        assert again == "--secret" and isinstance(again, Flags) is (text is not None)
        assert text is None or again.text == text
