"""Asking many at once, with calls that never end until the test lets them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from agent.engine.pool import IN_FLIGHT, Pool, Raised, Unanswered
from tests.support.running import until


class Hanging:
    """Calls that hang until `release`, and how many of them there are."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.began = threading.Semaphore(0)
        self.made = 0

    def call(self, answer: str) -> Callable[[], str]:
        def hang() -> str:
            self.made += 1
            self.began.release()
            self.release.wait(30)
            return answer

        return hang


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.release.set()


Answered = dict[str, str | Unanswered | Raised]


def ask(pool: Pool, each: float = 0.05, total: float = 30.0, **asks: Callable[[], str]) -> Answered:
    return dict(pool.ask(asks, each=each, total=total, stopped=lambda: False))


def test_every_name_gets_its_answer() -> None:
    """However many there are."""
    asks = {f"n{i}": lambda i=i: f"a{i}" for i in range(5 * IN_FLIGHT)}
    assert ask(Pool("test"), each=30, **asks) == {f"n{i}": f"a{i}" for i in range(5 * IN_FLIGHT)}


def test_a_call_that_hangs_is_given_up_alone_and_not_made_again(hanging: Hanging) -> None:
    """Each pass asks the others; the one that hangs costs no second thread."""
    pool = Pool("test")
    assert ask(pool, 0.5, a=hanging.call("old"), b=lambda: "b") == {"a": Unanswered(asked=True), "b": "b"}
    for _ in range(40):
        assert ask(pool, 30, a=hanging.call("old"), b=lambda: "b") == {"a": Unanswered(asked=False), "b": "b"}
    assert hanging.made == 1


def test_what_came_late_is_thrown_away_or_kept_as_was_asked_for(hanging: Hanging) -> None:
    """Old news of AWS is asked for anew; a target that was told is not told again."""
    forgets, keeps = Pool("test"), Pool("test", keeps_late=True)
    for pool, then in ((forgets, "new"), (keeps, "old")):
        hanging.release.clear()
        assert ask(pool, a=hanging.call("old")) == {"a": Unanswered(asked=True)}
        hanging.release.set()
        assert until(lambda pool=pool: ended(ask(pool, each=30, a=lambda: "new"))) == {"a": then}
        assert ask(pool, each=30, a=lambda: "new") == {"a": "new"}


def ended(answers: Answered) -> Answered | None:
    return None if Unanswered(asked=False) in answers.values() else answers


def test_when_every_thread_hangs_nothing_more_is_asked(hanging: Hanging) -> None:
    """No unbounded threads, no endless wait; and all goes on when they end."""
    pool = Pool("test")
    answers = ask(pool, **{f"n{i}": hanging.call("") for i in range(100)})
    assert len(answers) == 100 and set(answers.values()) == {Unanswered(asked=True), Unanswered(asked=False)}
    begun = list(answers.values()).count(Unanswered(asked=True))
    until(lambda: hanging.made == begun)
    assert begun < 100
    assert ask(pool, b=lambda: "b") == {"b": Unanswered(asked=False)}
    hanging.release.set()
    assert until(lambda: ended(ask(pool, each=30, b=lambda: "b"))) == {"b": "b"}


def test_the_time_of_all_is_bounded_too(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not asked by then is late without a call."""
    monkeypatch.setattr("agent.engine.pool._SLOW", 0.0)  # none waits for the turn of another
    answers = ask(Pool("test"), each=60, total=3.0, **{f"n{i}": hanging.call("") for i in range(IN_FLIGHT + 2)})
    assert list(answers.values()).count(Unanswered(asked=True)) == IN_FLIGHT
    assert list(answers.values()).count(Unanswered(asked=False)) == 2


def test_a_few_quick_calls_take_turns(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of its own for each would cost memory and a handshake."""
    monkeypatch.setattr("agent.engine.pool._SLOW", 60.0)  # none of them is slow yet
    answers = ask(Pool("test"), each=30, total=1.0, **{f"n{i}": hanging.call("") for i in range(7)})
    assert list(answers.values()).count(Unanswered(asked=True)) == 2
    assert list(answers.values()).count(Unanswered(asked=False)) == 5


def test_nobody_waits_for_the_turn_of_a_slow_call(hanging: Hanging) -> None:
    """However few there are: those that hang keep their threads, the others get more."""
    asked = {"a": hanging.call(""), "b": hanging.call(""), "c": lambda: "c"}
    assert next(Pool("test").ask(asked, each=30, total=60, stopped=lambda: False)) == ("c", "c")


def test_a_stop_waits_for_nobody(hanging: Hanging) -> None:
    """The rest is late at once."""
    asked = {"a": hanging.call(""), "b": hanging.call("")}
    stopped = lambda: hanging.made > 0  # noqa: E731
    assert set(dict(Pool("test").ask(asked, each=30, total=30, stopped=stopped)).values()) == {Unanswered(asked=True)}


def failing() -> str:
    raise UnicodeDecodeError("utf-8", b"value", 0, 1, "value")


def test_what_a_call_raises_is_its_own_answer_and_ends_nobody(hanging: Hanging) -> None:
    """The others get theirs; and so it is with what a call raises after it was given up."""
    answers = ask(Pool("test"), each=30, a=failing, b=lambda: "b")
    assert isinstance(answers["a"], Raised) and isinstance(answers["a"].error, UnicodeDecodeError)
    assert answers["b"] == "b"

    def late() -> str:
        hanging.call("")()
        return failing()

    pool = Pool("test", keeps_late=True)
    assert ask(pool, a=late) == {"a": Unanswered(asked=True)}
    hanging.release.set()
    found = until(lambda: ended(ask(pool, each=30, a=lambda: "new")))
    assert isinstance(found["a"], Raised)


def test_an_exit_in_a_call_is_no_answer() -> None:
    """Who asks to end the process is not taken for a server that answers oddly."""

    def leave() -> str:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        ask(Pool("test"), each=30, a=leave)


def test_a_lane_that_hangs_delays_no_other(hanging: Hanging) -> None:
    """An account that does not answer takes neither the threads nor the time of another: its calls begin no later
    than after the limit of one, however many there are."""
    hangs = {f"h{i}": hanging.call("") for i in range(60)}
    asked = {**hangs, "quick": lambda: "answer"}
    lanes = {name: "quick" if name == "quick" else "hanging" for name in asked}
    pool = Pool("test")
    for _ in range(3):
        answers = pool.ask(asked, each=0.8, total=60, stopped=lambda: False, lanes=lanes)
        assert dict(answers)["quick"] == "answer"
    assert 0 < hanging.made <= (IN_FLIGHT + 24) // 2, "half of the threads are the other lane's"


def test_lanes_get_their_share_although_one_of_them_took_all_before(hanging: Hanging) -> None:
    """A config that is edited may bring another account beside one that hangs: it is asked when threads end, and
    what hangs gets no further thread."""
    pool = Pool("test")
    hangs = {f"h{i}": hanging.call("") for i in range(40)}
    begun = list(ask(pool, **hangs).values()).count(Unanswered(asked=True))
    until(lambda: hanging.made == begun)
    asked = {**hangs, "new": lambda: "new"}
    lanes = {name: name[0] for name in asked}
    assert dict(pool.ask(asked, each=0.05, total=5, stopped=lambda: False, lanes=lanes))["new"] == Unanswered(False)
    hanging.release.set()
    assert until(
        lambda: ended({"new": dict(pool.ask({"new": lambda: "new"}, each=30, total=30, stopped=lambda: False))["new"]})
    )
    assert hanging.made == begun
