"""Reading the config file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import config_file
from agent.errors import ConfigError
from tests.configs import document


def test_text_and_meaning_come_together(tmp_path: Path) -> None:
    """So a reload compares what it read."""
    (tmp_path / "c").write_text(document())
    text, config = config_file.load(str(tmp_path / "c"))
    assert (text, len(config.secrets)) == (document(), 1)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda path: path.write_text("x" * (1 << 21)), "characters"),
    ],
)
def test_what_cannot_be_read_is_a_problem_like_others(tmp_path: Path, make: object, part: str) -> None:
    """With the path and what to do."""
    make(tmp_path / "c")  # type: ignore[operator]
    with pytest.raises(ConfigError, match=part) as refused:
        config_file.load(str(tmp_path / "c"))
    assert str(refused.value).startswith(f"{tmp_path / 'c'}:1:1: ")
