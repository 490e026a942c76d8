"""A hundred manifests as people write them, through `freshmount check`: each is a config, or refused for its reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import cli
from agent.config import native
from agent.core.errors import ConfigError
from tests.support.length import often
from tests.support.tables import table

HERE = Path(__file__).parent
CLASSES: list[dict[str, Any]] = table(HERE / "provider_classes.yaml")
TABLE: dict[str, Any] = table(HERE / "external_secrets.yaml")
EXTERNAL: list[dict[str, Any]] = TABLE["manifests"]
STORES: dict[str, str] = TABLE["stores"]


def text(case: dict[str, Any]) -> str:
    return "---\n".join([*(STORES[name] for name in case.get("beside", ())), case["manifest"]])


class Checked:
    """What `check` says of a config: its exit code, its lines on both streams."""

    def __init__(self, at: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
        at.write_text(content)
        self.code = cli.main(["check", str(at)], {})
        printed = capsys.readouterr()
        self.lines = [line.removeprefix(f"{at}:") for line in (printed.out + printed.err).splitlines()]

    def says(self, *words: object, at: str = "") -> bool:
        return any(line.startswith(at) and all(str(word) in line for word in words) for line in self.lines)


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


def test_there_are_a_hundred() -> None:
    cases = [*CLASSES, *EXTERNAL]
    assert len(cases) >= 100
    assert len({case["name"] for case in cases}) == len(cases)
    assert len([case for case in cases if "refused" in case]) >= 40


@pytest.mark.parametrize("case", EXTERNAL, ids=[case["name"] for case in EXTERNAL])
def test_an_external_secret_is_a_config_or_refused_for_its_reason(
    case: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = Checked(tmp_path / "m.yaml", text(case), capsys)
    if "refused" in case:
        place, *words = case["refused"]
        assert checked.code == 2
        assert checked.says(*words, at=place), checked.lines
        return
    assert checked.code == 0, checked.lines
    assert [word for word in case.get("warned", ()) if not checked.says("warning", word)] == []
    made = native.parse(text(case), "m.yaml").bundle.outputs
    assert sorted(output.path for output in made) == sorted(case["targets"])


@pytest.mark.parametrize("case", CLASSES, ids=[case["name"] for case in CLASSES])
def test_a_class_is_a_config_or_refused_for_its_reason(
    case: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if region := case.get("region", "eu-west-1"):
        monkeypatch.setenv("AWS_REGION", region)
    checked = Checked(tmp_path / "m.yaml", case["manifest"], capsys)
    assert checked.code == (2 if "refused" in case else 0), checked.lines
    for word in case.get("refused", ()):
        assert checked.says(word), checked.lines
    for word in case.get("warned", ()):
        assert checked.says("warning", word), checked.lines


TYPED = ["", "\n", ":", "- ", "'", '"', "{", "]", "&a ", "*a", "<<: ", "~", "!!str ", "0", "\t", "{{ ", "é"]


@settings(max_examples=often(150), deadline=None)
@given(st.sampled_from(EXTERNAL), st.data())
def test_a_damaged_one_is_a_config_or_refused_with_places(case: dict[str, Any], data: st.DataObject) -> None:
    """Whatever was deleted, repeated or typed into it."""
    written = text(case)
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(written)))
        end = min(len(written), begin + data.draw(st.integers(0, 30)))
        typed = data.draw(st.sampled_from(TYPED)) + data.draw(st.sampled_from(["", written[begin:end]]))
        written = written[:begin] + typed + written[end:]
    try:
        native.parse(written, "m.yaml")
    except ConfigError as refusal:
        assert all(each.line >= 1 and each.column >= 1 and each.message for each in refusal.problems)
