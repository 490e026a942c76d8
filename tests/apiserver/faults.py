"""The controller's ExternalSecrets under fire: what is done to it, and what must hold meanwhile and afterwards.

    python -m tests.apiserver.faults [--only NAME …]   # a table of docs/reliability.md

The real process on a real API server, with a proxy between both and a stand-in for AWS. Each try returns a row. What is
half is looked for while it goes wrong, and what is not right again afterwards does not return.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import json
import os
import platform
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from lightkube import ApiError
from lightkube.resources.core_v1 import Secret
from lightkube.types import PatchType

from tests.apiserver.between import Between, Changed, Followed, Held, Refused, Request, Verdict, status
from tests.apiserver.controlled import (
    LEASES,
    RULES,
    Controller,
    ExternalSecret,
    Space,
    controlling,
    install,
    least,
    store,
    until,
    wanting,
)
from tests.apiserver.server import ApiServer, api_server
from tests.support.answers import Answer, Answers, Asked
from tests.support.services import REGION, Services

_QUIET = 0.5  # seconds without a step, after which the last one is taken to have been made

AWAY = (ApiError, httpx2.HTTPError, OSError)  # what a person gets while the API server is away

_classes = itertools.count(1)


class Row(NamedTuple):
    """A promise, what was tried, what broke it, and the longest recovery in seconds."""

    promise: str
    tried: str
    violations: list[str]
    longest: float | None = None

    def __str__(self) -> str:
        longest = "–" if self.longest is None else f"{self.longest:.1f} s"
        return f"| {self.promise} | {self.tried} | {len(self.violations)} | {longest} |"


class Steps:
    """Counts what a controller asks, of AWS and of the API server, and says at which of it something happens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = 0
        self.number, self.fired = 0, ""

    def arm(self, at: int) -> None:
        with self._lock:
            self._at, self.number, self.fired = at, 0, ""

    def made(self, what: str) -> bool:
        """Count one; whether it is the one."""
        with self._lock:
            if not self._at or self.fired:
                return False
            self.number += 1
            if self.number == self._at:
                self.fired = what
            return bool(self.fired)

    def quiet(self) -> None:
        """Until nothing has been asked for a moment."""
        before = -1
        while before != self.number and not self.fired:
            before = self.number
            time.sleep(_QUIET)


class World:
    """A namespace with its controllers: what AWS holds, who stands between, and what each version was made of."""

    def __init__(self, server: ApiServer) -> None:
        self.server, self.services, self.steps = server, Services(), Steps()
        self.space = Space(server, self.services)
        self.own = f"fault-{next(_classes)}-{os.getpid()}"
        self.made: dict[str, str] = {}
        self.asks_aws: Callable[[str], bool] = lambda operation: True  # whether it is answered
        self._answers = Answers(self._aws)
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self._answers)
        self.between = self._stack.enter_context(Between(server))
        self.space.apply(store(controller=self.own))

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _aws(self, asked: Asked) -> Answer | None:
        target = {name.lower(): text for name, text in asked.headers.items()}.get("x-amz-target", "")
        return self.services(asked) if self.asks_aws(target.rpartition(".")[2]) else None

    @contextlib.contextmanager
    def controller(
        self, *arguments: str, between: Between | None = None, of: Path | None = None
    ) -> Iterator[Controller]:
        kubeconfig = (between or self.between).kubeconfig(of)
        given = ("--controller-class", self.own, *arguments)
        with controlling(self.server, self._answers.url, *given, kubeconfig=kubeconfig) as running:
            yield running

    # -- what is asked for, and what is there

    def put(self, value: object) -> None:
        """A new version of both secrets."""
        for key in ("a", "b"):
            self.made[self.services.put(key, f"{value}")] = f"{value}"

    def want(self, name: str = "web", more: str = "", interval: str = "1h") -> None:
        data = "data: [{secretKey: a, remoteRef: {key: a}}, {secretKey: b, remoteRef: {key: b}}]"
        self.space.apply(wanting(name, spec=f"{more}\n{data}" if more else data, interval=interval))

    def poke(self, name: str = "web") -> None:
        """Ask for a look now."""
        self.space.patch(ExternalSecret, name, {"metadata": {"annotations": {"force-sync": f"{random.random()}"}}})

    def holds(self, value: object, name: str = "web", **more: str) -> bool:
        """Whether the Secret holds that value, whole, and the status says so."""
        ready = self.space.condition(name)[:2] == ("True", "SecretSynced")
        return ready and self.space.data(name) == {"a": f"{value}", "b": f"{value}", **more}

    def half(self, name: str = "web") -> list[str]:
        """What is half in a Secret, or does not say truly of what it was made."""
        found = self.space.secret(name)
        noted = ((found and found.metadata.annotations) or {}).items()
        versions = next((json.loads(text) for key, text in noted if key.startswith("freshmount.dev/versions")), None)
        if versions is None:
            return []
        data = {key: base64.b64decode(text).decode() for key, text in (found.data or {}).items()}
        values, said = {data.get("a"), data.get("b")}, {self.made.get(version) for version in versions.values()}
        if len(values) == 1 and said == values:
            return []
        return [f"Secret {name} holds {data}, and says that it holds {said}"]


@contextlib.contextmanager
def reading(world: World) -> Iterator[list[str]]:
    """Somebody who reads the Secret all the time; what was half."""
    bad: list[str] = []
    end = threading.Event()

    def read() -> None:
        while not end.wait(0.01):
            with contextlib.suppress(*AWAY):
                bad.extend(world.half())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield bad
    finally:
        end.set()
        reader.join(30)


def lasting(found: Callable[[], object], patience: float = 90.0) -> float:
    """Seconds until it is true."""
    began = time.monotonic()
    until(found, patience)
    return time.monotonic() - began


# -- kill -9


class Change(NamedTuple):
    """Something that makes the controller work: what is there before, what happens, what is half, and what is right."""

    name: str
    begin: Callable[[World], object]
    before: Callable[[World, int], object]
    happens: Callable[[World, int], object]
    half: Callable[[World, int], list[str]]
    right: Callable[[World, int], bool]


def _nothing(*_: object) -> None:
    """Nothing has to be done."""


def _begin(more: str = "") -> Callable[[World], None]:
    def begin(world: World) -> None:
        world.put(0)
        world.want(more=more)

    return begin


def _rotate(world: World, turn: int) -> None:
    world.put(turn)
    world.poke()


def _create(world: World, turn: int) -> None:
    world.want(f"new-{turn}")


def _tamper(world: World, turn: int) -> None:
    other = base64.b64encode(b"other").decode()
    world.space.patch(Secret, "web", {"data": {"a": None, "more": other}})


def _tampered(world: World, turn: int) -> list[str]:
    data = world.space.data("web") or {}
    wrong = {key: text for key, text in data.items() if text != {"a": "0", "b": "0", "more": "other"}.get(key)}
    return [f"Secret web holds {data}"] if wrong else []


def _rename(world: World, turn: int) -> None:
    world.space.patch(ExternalSecret, "web", {"spec": {"target": {"name": f"web-{turn}"}}})


def _renamed(world: World, turn: int) -> bool:
    there, ready = world.space.data(f"web-{turn}"), world.space.condition("web")[0] == "True"
    bound = (world.space.external_secret("web").get("status") or {}).get("binding") == {"name": f"web-{turn}"}
    gone = all(world.space.secret(f"web-{each}") is None for each in range(turn - 2, turn))
    return there == {"a": "0", "b": "0"} and ready and bound and gone


def _back(world: World, turn: int) -> None:
    world.put(turn)
    world.poke()
    until(lambda: world.holds(turn))


def _vanish(world: World, turn: int) -> None:
    for key in ("a", "b"):
        world.services.secrets.pop((REGION, key), None)
    world.poke()


def _gone(world: World, turn: int) -> bool:
    return world.space.secret("web") is None and world.space.condition("web")[1] == "SecretDeleted"


def _share(world: World) -> None:
    world.space.apply("{apiVersion: v1, kind: Secret, metadata: {name: web}, stringData: {theirs: keep}}")
    _begin("target: {creationPolicy: Merge}")(world)


def _shared(world: World, turn: int) -> list[str]:
    theirs = (world.space.data("web") or {}).get("theirs")
    return world.half() + ([f"theirs is {theirs}"] if theirs != "keep" else [])


CHANGES = (
    Change("a rotation", _begin(), _nothing, _rotate, lambda w, _: w.half(), lambda w, t: w.holds(t)),
    Change(
        "a new ExternalSecret",
        _begin(),
        _nothing,
        _create,
        lambda w, t: w.half(f"new-{t}"),
        lambda w, t: w.holds(0, f"new-{t}"),
    ),
    Change("a repair", _begin(), _nothing, _tamper, _tampered, lambda w, _: w.holds(0)),
    Change("a rotation of a shared Secret", _share, _nothing, _rotate, _shared, lambda w, t: w.holds(t, theirs="keep")),
    Change("a new name of the Secret", _begin(), _nothing, _rename, lambda w, t: w.half(f"web-{t}"), _renamed),
    Change(
        "a deletion by deletionPolicy",
        _begin("target: {deletionPolicy: Delete}"),
        _back,
        _vanish,
        lambda w, _: w.half(),
        _gone,
    ),
)


def _killing(world: World, running: Controller, after: bool) -> None:
    """Let it be killed at the step that is armed: before it, or after a write and before its answer."""

    def asks(operation: str) -> bool:
        if after or not world.steps.made(operation):
            return True
        running.process.kill()
        return False

    def rule(request: Request) -> Verdict:
        if request.watches or (after and not request.writes) or not world.steps.made(request.what):
            return None
        if after:
            return Followed(running.process.kill)
        running.process.kill()
        return Refused()

    world.asks_aws, world.between.rule = asks, rule


def kills(server: ApiServer, change: Change, *, most: int = 50) -> Row:
    """1. Count the steps of a change. 2. Kill before each of them. 3. Kill after each write, before its answer."""
    bad: list[str] = []
    longest, killed, where = 0.0, 0, Counter[str]()
    with World(server) as world:
        change.begin(world)
        turn, fired = 0, ""
        for after in (False, True):
            at = 1
            while at <= most:
                # One process is there from the recovery after one kill to the next.
                with world.controller() as running:
                    began = time.monotonic()
                    if turn:
                        until(lambda turn=turn: change.right(world, turn))  # type: ignore[misc]
                        if fired:
                            longest = max(longest, time.monotonic() - began)
                    running.ready()
                    if not turn:
                        until(lambda: world.holds(0) or world.holds(0, theirs="keep"))
                    turn += 1
                    change.before(world, turn)
                    time.sleep(_QUIET)

                    _killing(world, running, after)
                    world.steps.arm(at)
                    change.happens(world, turn)
                    until(lambda turn=turn: world.steps.fired or change.right(world, turn))  # type: ignore[misc]
                    world.steps.quiet()
                    fired = world.steps.fired
                    if fired:
                        running.process.wait(30)
                        killed += 1
                        where[fired] += 1
                        bad += [f"{fired} of {change.name}: {each}" for each in change.half(world, turn)]
                    world.steps.arm(0)
                    running.kill()
                if not fired:
                    break
                at += 1
    return Row(
        f"kill -9 at each step of {change.name}: the old Secret or the new one, whole; right after the next start",
        f"{killed} kills, {len(where)} kinds of step",
        bad,
        longest,
    )


# -- the API server


@contextlib.contextmanager
def settled(server: ApiServer, interval: str = "1h") -> Iterator[tuple[World, Controller]]:
    """A world with one ExternalSecret, and a controller that has made its Secret."""
    with World(server) as world:
        world.put(0)
        world.want(interval=interval)
        with world.controller() as running:
            until(lambda: world.holds(0))
            yield world, running


def away(server: ApiServer, *, times: int, seconds: float = 3.0) -> Row:
    """The API server ends, forgets the past, and comes back; a rotation meanwhile."""
    bad: list[str] = []
    longest = 0.0
    with settled(server, "1s") as (world, running):
        for turn in range(1, times + 1):
            server.stop()
            try:
                world.put(turn)
                time.sleep(seconds)
                bad += _not_live(running)
                server.compact()
            finally:
                server.start()
            longest = max(longest, lasting(lambda turn=turn: world.holds(turn)))  # type: ignore[misc]
            world.space.delete(Secret, "web")
            longest = max(longest, lasting(lambda turn=turn: world.holds(turn)))  # type: ignore[misc]
        bad += _ended(running)
    return Row(
        "the API server is away and has forgotten the past (410) when it is back: right again, and it watches",
        f"{times} times {seconds:g} s, a rotation and a deletion each",
        bad,
        longest,
    )


def hangs(server: ApiServer, *, times: int, seconds: float = 8.0) -> Row:
    """The API server answers nothing, with its connections open; a rotation meanwhile."""
    bad: list[str] = []
    longest = 0.0
    with settled(server, "1s") as (world, running):
        for turn in range(1, times + 1):
            server.pause()
            try:
                world.put(turn)
                time.sleep(seconds)
                bad += _not_live(running)
            finally:
                server.resume()
            longest = max(longest, lasting(lambda turn=turn: world.holds(turn)))  # type: ignore[misc]
        bad += _ended(running)
    return Row("the API server hangs: right again", f"{times} times {seconds:g} s, a rotation each", bad, longest)


def _not_live(running: Controller) -> list[str]:
    code, said = running.get("/livez")
    return [] if code == 200 else [f"not live: {said}"]


def _ended(running: Controller) -> list[str]:
    bugs = [line for line in running.lines if "by a bug" in line]
    return ([] if running.process.poll() is None else [f"it has ended: {running.said[-2000:]}"]) + bugs


NONSENSE: dict[str, Verdict] = {
    "throttles (429 with Retry-After: 1)": status(429, "TooManyRequests", **{"Retry-After": "1"}),
    "answers 500": status(500, "InternalError"),
    "answers 503 and a page of HTML": Refused(503, b"<html>away</html>", (("Content-Type", "text/html"),)),
    "answers 200 and a page of HTML": Refused(200, b"<html>hello</html>", (("Content-Type", "text/html"),)),
    "answers 200 and half of a JSON text": Refused(200, b'{"kind": "Li', (("Content-Type", "application/json"),)),
    "resets connections": Refused(),
    "refuses the credentials (401)": status(401, "Unauthorized"),
}


def answers(server: ApiServer, what: str, *, seconds: float = 6.0, every: int = 1) -> Row:
    """The API server answers that to each so many-th request; a rotation and an edit meanwhile."""
    bad: list[str] = []
    verdict = NONSENSE[what]
    with settled(server, "1s") as (world, running):
        numbers = itertools.count(1)
        with reading(world) as half:
            began = len(world.between.seen)
            world.between.rule = lambda request: verdict if next(numbers) % every == 0 else None
            world.put(1)
            world.space.patch(Secret, "web", {"data": {"more": "eA=="}})
            time.sleep(seconds)
            asked = len(world.between.seen) - began
            bad += _not_live(running)
            world.between.rule = lambda request: None
            longest = lasting(lambda: world.holds(1))
            world.space.delete(Secret, "web")
            longest = max(longest, lasting(lambda: world.holds(1)))
        bad += half + _ended(running)
    if asked > 30 * seconds:
        bad.append(f"{asked} requests in {seconds:g} s")
    which = "" if every == 1 else f", each {every}. request"
    return Row(
        f"the API server {what}: the Secret stays whole, bounded requests, live, right afterwards",
        f"{seconds:g} s{which}, {asked / seconds:.1f} requests a second",
        bad,
        longest,
    )


def expired(server: ApiServer, *, seconds: float) -> Row:
    """Each watch ends with 410, as its answer and within it."""
    bad: list[str] = []
    longest, lists = 0.0, 0
    gone = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": ""}
    within = Changed(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
    with settled(server) as (world, running):
        for turn, verdict in enumerate((status(410, "Expired"), within), 1):
            world.between.rule = lambda request, verdict=verdict: verdict if request.watches else None  # type: ignore[misc]
            began = world.between.count(lambda each: not each.watches)
            server.stop()  # what is watched now ends
            server.start()
            time.sleep(seconds)
            asked = world.between.count(lambda each: not each.watches) - began
            lists += asked
            if asked > 60 + 30 * seconds:
                bad.append(f"{asked} lists in {seconds:g} s")
            world.put(turn)
            world.poke()
            longest = max(longest, lasting(lambda turn=turn: world.holds(turn)))  # type: ignore[misc]
            world.between.rule = lambda request: None
            world.space.delete(Secret, "web")
            longest = max(longest, lasting(lambda turn=turn: world.holds(turn)))  # type: ignore[misc]
        bad += _ended(running)
    return Row(
        "each watch has expired (410, as the answer and within it): nothing is missed, bounded lists",
        f"2 times {seconds:g} s, {lists} lists",
        bad,
        longest,
    )


def conflicts(server: ApiServer, *, rotations: int, pause: float = 0.05) -> Row:
    """Somebody edits the Secret all the time; the Secret is rotated meanwhile."""
    bad: list[str] = []
    longest = 0.0
    with settled(server) as (world, running):
        end, edits = threading.Event(), itertools.count()

        def edit() -> None:
            client = server.client(field_manager="editor")
            while not end.wait(pause):
                client.patch(
                    Secret,
                    "web",
                    {"metadata": {"labels": {"editor": f"{next(edits)}"}}},
                    namespace=world.space.name,
                    patch_type=PatchType.MERGE,
                )

        editor = threading.Thread(target=edit, daemon=True)
        editor.start()
        try:
            with reading(world) as half:
                for turn in range(1, rotations + 1):
                    world.put(turn)
                    world.poke()
                    longest = max(longest, lasting(lambda turn=turn: world.holds(turn)))  # type: ignore[misc]
        finally:
            end.set()
            editor.join(30)
        made = next(edits)
        label = world.space.secret("web").metadata.labels.get("editor")
        bad += half + _ended(running) + ([] if label == f"{made - 1}" else [f"the editor's label is {label}"])
        refused = sum(code == 409 for _, code in world.between.answered)
    return Row(
        "somebody edits the Secret all the time (409): each rotation arrives whole, no edit of theirs is lost",
        f"{rotations} rotations, {made} edits, {refused} conflicts",
        bad,
        longest,
    )


# -- replicas


class Replicas:
    """Two controllers with a Lease, each with an account of its own."""

    def __init__(self, world: World, stack: contextlib.ExitStack) -> None:
        self.world, self.stack = world, stack
        self.accounts: dict[str, Path] = {}
        self.betweens: dict[Controller, Between] = {}
        self.began = time.time()

    def start(self) -> Controller:
        """One more."""
        name = f"{self.world.own}-{len(self.accounts)}"
        self.accounts[name] = least(self.world.server, name, RULES, LEASES)
        between = self.stack.enter_context(Between(self.world.server))
        given = ("--lease-namespace", self.world.space.name, "--lease-name", "turns")
        running = self.stack.enter_context(self.world.controller(*given, between=between, of=self.accounts[name]))
        self.betweens[running] = between
        running.ready()
        return running

    def writers(self) -> tuple[Counter[str], list[str]]:
        """Writes by account, and each that was made while another held the Lease: by the API server's audit log."""
        holder, identities = "", dict[str, str]()
        wrote, bad = Counter[str](), list[str]()
        for event in self._audited():
            account = event["user"]["username"].rpartition(":")[2]
            of = event["objectRef"]
            if of["resource"] == "leases":
                identity = event["requestObject"]["spec"].get("holderIdentity") or ""
                if identity:
                    identities[identity] = account
                holder = identities.get(identity, "")
                continue
            wrote[account] += 1
            if account != holder:
                bad.append(
                    f"{event['verb']} of {of['resource']} by {account} while {holder or 'nobody'} held the Lease"
                )
        return wrote, bad

    def _audited(self) -> list[dict[str, Any]]:
        found = []
        with self.world.server.audit_log.open(encoding="utf-8") as log:
            for line in log:
                if self.world.space.name not in line:
                    continue
                event = json.loads(line)
                of = event.get("objectRef") or {}
                code = (event.get("responseStatus") or {}).get("code", 0)
                account = event["user"]["username"].rpartition(":")[2]
                ours = account in self.accounts and of.get("namespace") == self.world.space.name
                if ours and event["verb"] not in ("get", "list", "watch") and 200 <= code < 300:
                    found.append(event)
        # When a Lease counts, and when a write has been made.
        return sorted(
            found,
            key=lambda each: each[
                "requestReceivedTimestamp" if each["objectRef"]["resource"] == "leases" else "stageTimestamp"
            ],
        )


def leaders(server: ApiServer, how: str, *, rounds: int) -> Row:
    """The leader is killed, or stopped until another leads and then continued, around a rotation."""
    bad: list[str] = []
    longest, turn = 0.0, 0
    with World(server) as world, contextlib.ExitStack() as stack:
        world.put(0)
        world.want()
        replicas = Replicas(world, stack)
        leader = replicas.start()
        until(lambda: world.holds(0))
        other = replicas.start()
        times = Counter({leader: 1})
        with reading(world) as half:
            for _ in range(rounds):
                turn += 1
                world.put(turn)
                world.poke()
                time.sleep(random.uniform(0.0, 0.3))
                leader.signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
                began = time.monotonic()
                times[other] += 1
                other.event("leads", times[other])
                turn += 1
                world.put(turn)
                world.poke()
                until(lambda turn=turn: world.holds(turn))  # type: ignore[misc]
                longest = max(longest, time.monotonic() - began)
                if how == "killed":
                    leader, other = other, replicas.start()
                    continue
                leader.signal(signal.SIGCONT)
                turn += 1
                world.put(turn)
                world.poke()
                leader.event("does not lead", times[leader])
                until(lambda turn=turn: world.holds(turn))  # type: ignore[misc]
                leader, other = other, leader
        wrote, both = replicas.writers()
        bad += half + both + ([] if sum(wrote.values()) > rounds else ["nobody wrote"])
    return Row(
        f"two replicas, and the leader is {how}: one writer at any time, the other goes on",
        f"{rounds} times, {sum(wrote.values())} writes by {len(wrote)} replicas",
        bad,
        longest,
    )


def late(server: ApiServer, *, rounds: int) -> Row:
    """A write of the leader's is on its way for so long that another leads and has written."""
    tried = [_late(server) for _ in range(rounds)]
    return Row(
        "a write of the leader's that arrives after another has written: refused",
        f"{rounds} writes, {sum(code == 409 for code, _ in tried)} × 409",
        [each for _, bad in tried for each in bad],
    )


def _late(server: ApiServer) -> tuple[int, list[str]]:
    """The API server's answer to the late write, and what is wrong."""
    with World(server) as world, contextlib.ExitStack() as stack:
        world.put(0)
        world.want()
        replicas = Replicas(world, stack)
        first = replicas.start()
        until(lambda: world.holds(0))
        second = replicas.start()
        between, goes, caught = replicas.betweens[first], threading.Event(), threading.Event()

        def rule(request: Request) -> Verdict:
            if request.what != "PATCH secrets" or caught.is_set():
                return None
            first.signal(signal.SIGSTOP)
            caught.set()
            return Held(goes)

        def answered() -> list[int]:
            return [code for each, code in between.answered if each.what == "PATCH secrets"]

        before = len(answered())
        between.rule = rule
        world.put(1)
        world.poke()
        assert caught.wait(90)
        second.event("leads")
        world.put(2)
        world.poke()
        until(lambda: world.holds(2))
        with reading(world) as half:
            goes.set()
            code = until(lambda: answered()[before:])[0]
            first.signal(signal.SIGCONT)
            first.event("does not lead")
        bad = half + ([] if code == 409 and world.holds(2) else [f"{code}, {world.space.data('web')}"])
        return code, bad


# -- AWS


def aws_away(server: ApiServer, *, periods: int, period: int = 1) -> Row:
    """AWS closes each connection, for so many periods of so many seconds. The Secrets stay as they are."""
    bad: list[str] = []
    with World(server) as world:
        world.put(0)
        names = [f"web-{number}" for number in range(5)]
        for name in names:
            world.want(name, interval=f"{period}s")
        with world.controller() as running:
            for name in names:
                until(lambda name=name: world.holds(0, name))  # type: ignore[misc]
            before = {name: world.space.secret(name).metadata.resourceVersion for name in names}
            asked = len(world.services.calls)
            world.services.away.add(REGION)
            world.put(1)
            end = time.monotonic() + periods * period
            lived = 0
            while time.monotonic() < end:
                bad += _not_live(running)
                lived += 1
                time.sleep(0.5)
            now = {name: world.space.secret(name).metadata.resourceVersion for name in names}
            bad += [f"Secret {name} was written" for name in names if now[name] != before[name]]
            bad += [f"{name} is ready" for name in names if world.space.condition(name)[0] != "False"]
            asked = len(world.services.calls) - asked
            world.services.away.clear()
            longest = lasting(lambda: all(world.holds(1, name) for name in names))
            bad += _ended(running)
    rate = asked / (periods * len(names) * 2)
    if rate > 1.5:
        bad.append(f"{rate:.1f} calls a period and secret")
    return Row(
        "AWS is away: the Secrets stay, bounded calls, live, right afterwards",
        f"{periods} periods of {period} s, {rate:.2f} calls a period and secret, {lived} × live",
        bad,
        longest,
    )


# -- the table

TRIES: dict[str, Callable[[ApiServer], list[Row]]] = {
    "kills": lambda server: [kills(server, change) for change in CHANGES],
    "away": lambda server: [away(server, times=5), hangs(server, times=5)],
    "answers": lambda server: [answers(server, what, every=every) for every in (1, 2) for what in NONSENSE],
    "expired": lambda server: [expired(server, seconds=20.0)],
    "conflicts": lambda server: [conflicts(server, rotations=100)],
    "leaders": lambda server: [leaders(server, how, rounds=10) for how in ("killed", "paused and continued")],
    "late": lambda server: [late(server, rounds=5)],
    "aws": lambda server: [aws_away(server, periods=300)],
    "hour": lambda server: [aws_away(server, periods=60, period=60)],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.apiserver.faults")
    parser.add_argument("--only", nargs="+", choices=TRIES, default=[name for name in TRIES if name != "hour"])
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as at, api_server(Path(at) / "server") as server:
        install(server)
        for name in given.only:
            for row in TRIES[name](server):
                rows.append(row)
                print("\n".join((str(row), *row.violations[:5])), flush=True)
    print(f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}")
    return int(any(row.violations for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
