"""The order of the loop's steps, with a keeper and signals that only note what is asked of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.core.ports import Log
from agent.engine.loop import LINGER, PASS, Keeps, Loop, Signals

HOUR = 3600.0


class Kept:
    """Stands in for keeper and signals. `heard`: what each wait brings, None for nothing; a stop after that."""

    path, deadline = "config.yaml", float("inf")

    def __init__(self, heard: Iterable[int | None], due: float = HOUR) -> None:
        self.steps: list[Any] = []
        self._heard, self._due = [*heard], due

    def one_pass(self) -> None:
        self.steps.append("pass")

    def until_next(self) -> float:
        return self._due

    def wait(self, seconds: float) -> SimpleNamespace | None:
        self.steps.append(seconds)
        got = self._heard.pop(0) if self._heard else signal.SIGTERM
        return None if got is None else SimpleNamespace(si_signo=got, si_pid=os.getppid())

    def again(self, number: int) -> None:
        self._heard.insert(0, number)

    def rest(self) -> None:
        self.steps.append("rest")

    def watch(self, _changed: object) -> SimpleNamespace:
        self.steps.append("watch")
        return SimpleNamespace(reason=None, close=lambda: None)

    def stop_pending(self) -> bool:
        return False

    def look_at_config(self) -> bool:
        return False

    def turn(self, _seconds: float) -> None: ...

    def reload(self) -> None: ...

    def expedite(self) -> None:
        self.steps.append("expedite")

    def run(self, *, may_rest: bool = True) -> list[Any]:
        log = SimpleNamespace(info=lambda *_, **__: None)
        loop = Loop(cast(Signals, self), cast(Keeps, self), cast(Log, log), lambda: None)
        assert loop.keep_fresh(lambda: None, cast(Any, self.watch), self.rest if may_rest else None) == 0
        return self.steps


def test_an_app_that_waited_starts_before_the_process_rests() -> None:
    """When that is not possible (it returns), the config is watched here, and the loop goes on."""
    assert Kept([None]).run() == ["pass", LINGER, "rest", "watch", HOUR]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_comes_first(stop: int) -> None:
    assert Kept([stop]).run() == ["pass", LINGER]


def test_what_is_asked_meanwhile_is_done_by_the_process_that_goes_on() -> None:
    """At once. Here that is the same, because `rest` returns."""
    assert Kept([PASS]).run() == ["pass", LINGER, "rest", "watch", HOUR, "expedite", "pass", LINGER]


def test_what_is_due_earlier_is_not_late() -> None:
    assert Kept([None, None, None], due=0.25).run() == ["pass", 0.25, "rest", "watch", 0.25, "pass", 0.25, "rest", 0.25]


def test_a_process_that_cannot_rest_does_not_linger() -> None:
    """The resting one itself."""
    assert Kept([None]).run(may_rest=False) == ["pass", "watch", HOUR, "pass", HOUR]
