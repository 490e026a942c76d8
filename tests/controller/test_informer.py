"""A copy of what the API server holds: listed, watched, taken up again, and listed anew where the past is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from lightkube import ApiError
from lightkube.models.meta_v1 import Status

from agent.controller.external_secrets.informer import Informer


class Log:
    def info(self, *_: Any, **__: Any) -> None: ...

    warning = error = info


def thing(name: str, version: int, text: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version)}, "text": text}


class Listing:
    def __init__(self, items: list[dict[str, Any]], version: str) -> None:
        self.items, self.resourceVersion = items, version

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        for each in self.items:
            yield each


class Api:
    """Answers to lists and watches, in their order. A watch's last entry may be an error, or "stay"."""

    def __init__(self, lists: list[Listing], watches: list[list[Any]]) -> None:
        self.lists, self.watches = lists, watches
        self.watched_from: list[str] = []

    def list(self, _kind: Any, **_: Any) -> Listing:
        return self.lists.pop(0)

    async def watch(self, _kind: Any, *, resource_version: str, **_: Any) -> AsyncIterator[Any]:
        self.watched_from.append(resource_version)
        for each in self.watches.pop(0):
            if isinstance(each, Exception):
                raise each
            if each == "stay":
                await asyncio.Event().wait()
            yield each


def informed(api: Api, then: Callable[[Informer[str], list[Any]], None]) -> None:
    """Let an informer run until it stays in a watch."""

    async def test() -> None:
        changes: list[Any] = []
        informer: Informer[str] = Informer(
            "thing",
            api,  # type: ignore[arg-type]
            None,
            keep=lambda found: str(found["text"]),
            changed=lambda at, before, now: changes.append((at[1], before, now)),
            log=Log(),
        )
        task = asyncio.create_task(informer.run())
        while api.watches:
            await asyncio.sleep(0.01)
        for _ in range(10):
            await asyncio.sleep(0)
        then(informer, changes)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(test())


GONE = ApiError(status=Status(code=410, reason="Expired"))


def test_it_lists_and_follows() -> None:
    api = Api(
        [Listing([thing("a", 1, "one"), thing("b", 2, "two")], "5")],
        [[("MODIFIED", thing("a", 6, "new")), ("DELETED", thing("b", 7)), ("ADDED", thing("c", 8, "three")), "stay"]],
    )

    def then(informer: Informer[str], changes: list[Any]) -> None:
        assert informer.synced
        assert {at[1]: informer.get(at) for at in informer} == {"a": "new", "c": "three"}
        assert changes[2:] == [("a", "one", "new"), ("b", "two", None), ("c", None, "three")]

    informed(api, then)


def test_a_watch_that_breaks_is_taken_up_where_it_ended() -> None:
    api = Api(
        [Listing([thing("a", 1, "one")], "5")],
        [[("MODIFIED", thing("a", 6, "new")), httpx2.ReadError("gone")], ["stay"]],
    )

    def then(informer: Informer[str], changes: list[Any]) -> None:
        assert api.watched_from == ["5", "6"]
        assert changes == [("a", None, "one"), ("a", "one", "new")]

    informed(api, then)


def test_where_the_past_is_forgotten_all_is_listed_and_what_is_gone_is_reported() -> None:
    api = Api(
        [Listing([thing("a", 1, "one"), thing("b", 2, "two")], "5"), Listing([thing("a", 9, "new")], "20")],
        [[GONE], ["stay"]],
    )

    def then(informer: Informer[str], changes: list[Any]) -> None:
        assert api.watched_from == ["5", "20"]
        assert changes[2:] == [("a", "one", "new"), ("b", "two", None)]
        assert list(informer) == [("n", "a")]

    informed(api, then)


def test_what_a_write_has_answered_is_not_taken_back_by_an_older_event() -> None:
    api = Api([Listing([thing("a", 1, "one")], "5")], [["stay"]])

    def then(informer: Informer[str], changes: list[Any]) -> None:
        informer.put(thing("a", 9, "written"))
        informer._take(thing("a", 7, "older"), gone=False)
        assert informer.get(("n", "a")) == "written"
        assert changes[-1] == ("a", "one", "written")

    informed(api, then)


def test_what_a_write_has_answered_brings_nothing_back_that_is_gone_since() -> None:
    """The answer may be read after the watch has told that somebody deleted what was written."""
    api = Api([Listing([thing("a", 1, "one")], "5")], [[("DELETED", thing("a", 10)), "stay"]])

    def then(informer: Informer[str], changes: list[Any]) -> None:
        informer.put(thing("a", 9, "written"))
        assert list(informer) == [] and changes[-1] == ("a", "one", None)
        informer.put(thing("a", 11, "written again"))
        assert informer.get(("n", "a")) == "written again"

    informed(api, then)


def answered(code: int, **headers: str) -> httpx2.HTTPStatusError:
    """What lightkube raises where the answer to a watch is no watch."""
    request = httpx2.Request("GET", "http://127.0.0.1/")
    return httpx2.HTTPStatusError("x", request=request, response=httpx2.Response(code, headers=headers))


def test_a_watch_that_is_answered_with_410_is_expired_too() -> None:
    api = Api(
        [Listing([thing("a", 1, "one")], "5"), Listing([thing("a", 9, "new")], "20")], [[answered(410)], ["stay"]]
    )

    def then(informer: Informer[str], changes: list[Any]) -> None:
        assert api.watched_from == ["5", "20"]
        assert informer.get(("n", "a")) == "new"

    informed(api, then)


def test_what_expires_again_and_again_is_not_listed_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[str] = []

    async def pause(self: Informer[str], why: str, least: float | None = None) -> None:
        pauses.append(why)

    monkeypatch.setattr(Informer, "_pause", pause)
    api = Api([Listing([], str(number)) for number in range(4)], [[GONE], [answered(410)], [GONE], ["stay"]])

    def then(informer: Informer[str], changes: list[Any]) -> None:
        assert api.watched_from == ["0", "1", "2", "3"]
        assert len(pauses) == 2, "the first time it is listed at once"

    informed(api, then)


@pytest.mark.parametrize("error", [ValueError("no JSON"), KeyError("Content-Type"), answered(500), AttributeError("x")])
def test_whatever_is_answered_it_watches_on(error: Exception) -> None:
    api = Api([Listing([thing("a", 1, "one")], "5")], [[error], [("MODIFIED", thing("a", 6, "new")), "stay"]])

    def then(informer: Informer[str], changes: list[Any]) -> None:
        assert api.watched_from == ["5", "5"]
        assert informer.get(("n", "a")) == "new"

    informed(api, then)
