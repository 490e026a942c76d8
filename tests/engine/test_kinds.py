"""The real pass over secrets of every kind, at a real API over HTTP, in simulated time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.core.model import Bundle, Output, Place, Projection, Query, Ref, Target, Timing, Touch
from agent.sources.aws.source import Aws
from tests.support.adapters import Clock, MemorySink, Simulated
from tests.support.services import Services, error, serving
from tests.support.words import secret


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pod")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def aws() -> Iterator[tuple[Services, str]]:
    with serving() as served:
        yield served


class Kept:
    """One agent with one secret, its file `app`, and a target that is told."""

    def __init__(self, ref: Any, *, directory: bool = False) -> None:
        self.clock = Clock()
        self.sink = MemorySink(self.clock.now)
        wanted = secret("app", ref=ref)
        outputs = (Output("app", ("app",), Projection(directory=directory), 0o440),)
        timing = Timing(60.0, 10.0, 0.0, startup_timeout=120.0, stale_after=0.0)
        target = Target("web", Touch("/nowhere"), None, 0.0)
        source = Aws(connect_timeout=1.0, read_timeout=1.0, attempts=1)
        self.agent = Simulated(Bundle((wanted,), outputs, (target,), timing), source, self.sink, self.clock)

    def one_pass(self) -> Any:
        """A pass a quarter of an hour later: everything is due."""
        self.clock.seconds += 900
        return self.agent.do()

    @property
    def files(self) -> dict[str, str]:
        return {path: file.content.reveal().decode() for path, file in self.sink.files.items()}

    @property
    def told(self) -> int:
        return len(self.agent.deliveries)


def ref(url: str, given: str, **fields: Any) -> Any:

    return Ref(given, Place("eu-west-1", url), **fields)


def test_a_parameter_is_fetched_only_when_its_version_moved(aws: tuple[Services, str]) -> None:
    """With decryption each time it is published, and never else."""
    services, url = aws
    services.put_parameter("/flags", "on")
    kept = Kept(ref(url, "/flags", kind="parameter"))
    for _ in range(4):
        kept.one_pass()
    services.put_parameter("/flags", "off")
    for _ in range(3):
        kept.one_pass()
    assert kept.files == {"app": "off"} and kept.told == 1
    assert sum(call.sent["WithDecryption"] for call in services.calls) == 2


def test_a_parameter_that_was_made_again_is_another_with_the_same_number(aws: tuple[Services, str]) -> None:
    """Terraform deletes and creates it when its type changes; its versions begin at 1 again."""
    services, url = aws
    services.put_parameter("/flags", "on")
    kept = Kept(ref(url, "/flags", kind="parameter"))
    kept.one_pass()
    del services.parameters["eu-west-1", "/flags"]
    assert services.put_parameter("/flags", "made again") == "1"
    kept.one_pass()
    assert kept.files == {"app": "made again"} and kept.told == 1
    assert kept.one_pass().outcome == "noop"


def test_members_of_a_path_come_and_go_with_a_generation(aws: tuple[Services, str]) -> None:
    """All at once, and a failure takes none of them away."""
    services, url = aws
    for name in ("a", "b", "deep/c"):
        services.put_parameter(f"/app/{name}", name)
    kept = Kept(ref(url, "/app", kind="parameters"), directory=True)
    kept.one_pass()
    assert kept.files == {"app/a": "a", "app/b": "b", "app/deep/c": "deep/c"}
    services.put_parameter("/app/d", "d")
    del services.parameters["eu-west-1", "/app/a"]
    generation = kept.sink.published.generation
    kept.one_pass()
    assert set(kept.files) == {"app/b", "app/deep/c", "app/d"}
    assert kept.sink.published.generation == generation + 1 and kept.told == 1
    services.faults[None, "GetParametersByPath"] = error("InternalServerError", status=500)
    result = kept.one_pass()
    assert set(kept.files) == {"app/b", "app/deep/c", "app/d"} and result.failures["app"].reason == "other"
    services.faults.clear()
    services.parameters.clear()
    assert kept.one_pass().failures["app"].reason == "not_found" and len(kept.files) == 3


def test_a_name_that_lies_beneath_another_is_refused(aws: tuple[Services, str]) -> None:
    """No path is a file and a directory. As one file of JSON they are fine."""
    services, url = aws
    services.put_parameter("/app/a", "1")
    services.put_parameter("/app/a/b", "2")
    kept = Kept(ref(url, "/app", kind="parameters"), directory=True)
    assert kept.one_pass().failures["app"].reason == "projection" and kept.files == {}
    whole = Kept(ref(url, "/app", kind="parameters"))
    whole.one_pass()
    assert json.loads(whole.files["app"]) == {"a": "1", "a/b": "2"}


def test_secrets_that_match_come_and_go_with_a_generation(aws: tuple[Services, str]) -> None:
    """All at once; one that cannot be read takes none away, and is not left out in silence."""
    services, url = aws
    for name in ("prod/a", "prod/b"):
        services.put(name, name)
    query = Query(path="prod/")
    kept = Kept(ref(url, query.shown, kind="find", query=query), directory=True)
    kept.one_pass()
    assert kept.files == {"app/prod/a": "prod/a", "app/prod/b": "prod/b"}
    assert kept.one_pass().outcome == "noop" and services.count("BatchGetSecretValue") == 1
    services.put("prod/c", "new")
    services.secrets.pop(("eu-west-1", "prod/a"))
    generation = kept.sink.published.generation
    kept.one_pass()
    assert set(kept.files) == {"app/prod/b", "app/prod/c"}
    assert kept.sink.published.generation == generation + 1 and kept.told == 1
    services.put("prod/d", "another")
    services.faults["eu-west-1", "batch:prod/b"] = error("AccessDeniedException")
    result = kept.one_pass()
    assert result.failures["app"].reason == "access_denied" and "prod/b" in result.failures["app"].message
    assert set(kept.files) == {"app/prod/b", "app/prod/c"} and kept.told == 1
