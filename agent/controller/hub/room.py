"""How much of the hub one caller may take: requests that wait, and requests a second."""

from __future__ import annotations

from agent.controller.hub.callers import Caller

WAITING, WAITING_OF_POD, WAITING_OF_ACCOUNT = 25_000, 8, 20_000  # requests at once

_BURST, _RATE = 20.0, 2.0  # requests of one pod at once, and a second after that


class _Taken:
    __slots__ = ("at", "left", "waiting")

    def __init__(self, now: float) -> None:
        self.waiting, self.left, self.at = 0, _BURST, now


class Room:
    """Who has how many requests under way."""

    def __init__(self) -> None:
        self._pods: dict[str, _Taken] = {}
        self._accounts: dict[str, int] = {}
        self._waiting = 0

    def enter(self, caller: Caller, now: float) -> str | None:
        """Let one more request in; why not, or None. `now` is monotonic."""
        name = caller.pod or caller.account
        taken = self._pods.get(name)
        if taken is None:
            taken = self._pods[name] = _Taken(now)
        taken.left = min(_BURST, taken.left + (now - taken.at) * _RATE)
        taken.at = now
        if taken.left < 1:
            return f"more than {_RATE:g} requests a second"
        of_account = self._accounts.get(caller.account, 0)
        if taken.waiting >= (WAITING_OF_POD if caller.pod else WAITING_OF_ACCOUNT):
            return f"more than {WAITING_OF_POD} requests of one pod at once"
        if of_account >= WAITING_OF_ACCOUNT or self._waiting >= WAITING:
            return "too many requests wait already"
        taken.left -= 1
        taken.waiting += 1
        self._accounts[caller.account] = of_account + 1
        self._waiting += 1
        return None

    def leave(self, caller: Caller) -> None:
        """A request that was let in has ended."""
        self._pods[caller.pod or caller.account].waiting -= 1
        self._accounts[caller.account] -= 1
        self._waiting -= 1

    def sweep(self, now: float) -> None:
        """Forget callers who may do again all that a new one may."""
        for name in [n for n, t in self._pods.items() if not t.waiting and t.left + (now - t.at) * _RATE >= _BURST]:
            del self._pods[name]
        for account in [account for account, count in self._accounts.items() if not count]:
            del self._accounts[account]
