"""The flags of --push: what is missing or out of form is a usage error, before anything starts."""

from __future__ import annotations

import argparse

import pytest

from agent.controller import options
from agent.controller.options import Listen, Push


def read(*argv: str) -> options.Options:
    parser = argparse.ArgumentParser()
    options.add(parser)
    return options.read(parser, parser.parse_args(argv))


def test_defaults() -> None:
    assert read("--push", "--push-cluster", "east").push == Push(Listen("", 9443), "east")
    assert read("--hub").push is None


def test_all_of_them() -> None:
    given = read(
        *("--push", "--push-cluster=e.1", "--push-listen=127.0.0.1:1", "--push-prefix=a/b/", "--push-cert-dir=/c"),
        *("--push-deletion-window=7", "--push-list-orphans"),
    )
    wanted = Push(Listen("127.0.0.1", 1), "e.1", prefix="a/b/", certificates="/c", window=7, list_orphans=True)
    assert given.push == wanted


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--push-cluster", "a/b"], "not a cluster's name"),
        (["--push-cluster", ""], "not a cluster's name"),
        (["--push-cluster", "a", "--push-prefix", "prod"], "not a prefix"),
        (["--push-cluster", "a", "--push-prefix", "/"], "not a prefix"),
        (["--push-cluster", "a", "--push-deletion-window", "6"], "invalid choice"),
    ],
)
def test_what_is_refused(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        read("--push", *argv)
    assert leaving.value.code == 2 and words in capsys.readouterr().err
