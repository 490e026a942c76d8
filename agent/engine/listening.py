"""The hub as the resting process sees it: what it said, what that makes due, and what of it is shown."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from agent.core import hub
from agent.core.hub import Answered, Hearing, Look
from agent.core.rest import Asking
from agent.core.status import HubStatus

if TYPE_CHECKING:
    from agent.core.ports import Hub, Log

NOTHING = Asking("", "", 0.0, float("inf"), ())


class Listening:
    """Asks the hub through `client` and remembers what it said."""

    def __init__(self, client: Hub, log: Log) -> None:
        self._client, self._log = client, log
        self._hearing = Hearing()
        self._asking = NOTHING
        self._rng = random.Random()  # noqa: S311

    def take(self, asking: Asking) -> HubStatus:
        """Take what the hub has said, ask it this from now on, and return what is known of it."""
        reports = self._client.reports()
        if self._asking.url not in ("", asking.url):  # another hub: nothing that the first one said counts
            reports, self._hearing = (
                (),
                hub.silent(self._hearing, self._asking, "not asked yet", now=time.monotonic(), rng=self._rng),
            )
        before = self._hearing
        for report in reports:
            now = time.monotonic()
            if isinstance(report, Answered):
                self._hearing = hub.heard(self._hearing, asking, report, now=now, wall=time.time(), rng=self._rng)
            else:
                self._hearing = hub.silent(self._hearing, asking, report.reason, now=now, rng=self._rng)
        if self._hearing.connected and time.monotonic() >= self._hearing.until:
            why = "it has not answered for too long"
            self._hearing = hub.silent(self._hearing, asking, why, now=time.monotonic(), rng=self._rng)
        self._say(before, asking)
        if asking is not self._asking:
            self._asking = asking
            self._client.ask(asking)
        return self._shown(asking)

    def _say(self, before: Hearing, asking: Asking) -> None:
        after = self._hearing
        if after.connected and not before.connected:
            self._log.info("the hub answers", url=asking.url)
        elif after.trouble and (before.connected or before.trouble is None) and not after.connected:
            self._log.warning(
                "the hub does not answer; the agent polls by itself", url=asking.url, reason=after.trouble
            )

    def _shown(self, asking: Asking) -> HubStatus:
        ahead = time.time() - time.monotonic()
        hearing = self._hearing
        looks = {each.name: ahead + hub.own_look(hearing, each) for each in asking.watched if hearing.answers_for(each)}
        return HubStatus(asking.url, hearing.connected, hearing.answered_at, hearing.trouble, looks)

    def due(self) -> float:
        """When (monotonic) the next pass is due, or something else becomes so."""
        return self.look().due

    def look(self) -> Look:
        """What a pass need not ask about now, what it must because of the hub, and what the hub confirms."""
        return hub.look(self._hearing, self._asking, time.monotonic())

    def looked(self, asking: Asking | None) -> None:
        """A pass was made; `asking` is what is known since then."""
        if asking:
            self._hearing = hub.looked(self._hearing, self._asking, asking, time.monotonic())

    def close(self) -> None:
        """Ask the hub nothing any more."""
        self._client.close()
