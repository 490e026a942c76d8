"""`freshmount doctor`: is everything as the agent needs it? In the pod, as an init container, or on a laptop.

It makes real calls, as far as that is possible without notifying a target or publishing a file, and discards values.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Literal, NamedTuple

from agent.commands import preflight, terminal
from agent.commands.attach import Attached, ask, attach
from agent.core.errors import Failure, SecretError
from agent.core.model import OK, Config, Place, Ref, Request, Secret, Target, Wanted, counted
from agent.core.record import replace
from agent.engine.pool import Pool, Raised, Unanswered
from agent.observe import layout, report
from agent.observe.layout import Mood, Screen
from agent.observe.report import Report
from agent.render.files import render
from agent.sources.aws.clients import Service
from agent.sources.aws.source import Aws, service
from agent.targets import notify

LIMIT = 3.0  # seconds for each network check

_SKEW_WARNS, _SKEW_FAILS = 60.0, 240.0  # seconds; AWS refuses signatures whose time is 5 minutes off

Outcome = Literal["ok", "warning", "bad"]

_MARKS = {"ok": "✓", "warning": "!", "bad": "✗"}

_MOODS: dict[Outcome, Mood] = {"ok": "good", "warning": "mind", "bad": "bad"}

_CHECK = 24  # columns of a check's name


class Finding(NamedTuple):
    """One check: its name, its outcome, and a sentence about what was found and what to do."""

    check: str
    outcome: Outcome
    message: str


def examine(path: str, *, as_json: bool, before_app: bool) -> int:
    """Check everything for the config at `path`, and print each finding. Returns 0 if nothing is bad, else 1.

    With `before_app`, as in an init container, a target that could not be notified now is only a warning.
    """
    findings = []
    screen = terminal.screen(sys.stdout, os.environ)
    for finding in _findings(path):
        if before_app and finding.outcome == "bad" and finding.check.startswith("target "):
            finding = finding._replace(outcome="warning")  # noqa: PLW2901
        findings.append(finding)
        if not as_json:
            print("\n".join(_lines(finding, screen)), flush=True)
    bad = sum(finding.outcome == "bad" for finding in findings)
    if as_json:
        json.dump([finding._asdict() for finding in findings], sys.stdout, indent=2)
        print()
    else:
        warnings = sum(finding.outcome == "warning" for finding in findings)
        print(f"\n{counted(len(findings), 'check')}: {bad} failed, {warnings} to look at")
    return 1 if bad else 0


def _lines(finding: Finding, screen: Screen) -> list[str]:
    """A mark, the check's name, and the sentence: beside the name, or below it on a terminal that is too narrow."""
    mark = layout.painted(_MARKS[finding.outcome], _MOODS[finding.outcome], screen)
    message = report.printable(finding.message)
    left = screen.width - _CHECK - 3
    beneath = screen.terminal and (len(finding.check) > _CHECK or max(map(len, message.split()), default=0) > left)
    column = " " * (4 if beneath else _CHECK + 3)
    lines = layout.wrapped(message, replace(screen, width=screen.width - len(column)), 0)
    if beneath:
        return [f"{mark} {finding.check}", *(column + line for line in lines)]
    return [f"{mark} {finding.check:<{_CHECK}} {lines[0]}", *(column + line for line in lines[1:])]


def _findings(path: str) -> Iterator[Finding]:
    found = attach(path)
    if found.refused:
        yield from (
            Finding("config", "bad", f"{path}:{problem.line}:{problem.column}: {problem.message}")
            for problem in found.refused.problems
        )
        yield from _in_force(found.report)
        source = Aws(connect_timeout=1.0, read_timeout=1.8, attempts=1)
        yield from _bounded({"credentials": partial(_credentials, source)})
    if found.config:
        yield _config(path, found.config)
        yield from _aws(found.config)
    yield from _volume(found.site.volume_path)
    if found.config:
        yield from _bounded(
            {f"target {target.name}": partial(_target, target) for target in found.config.bundle.targets}
        )
    yield _port(found)


def _in_force(made: Report | None) -> Iterator[Finding]:
    """What the agent reports about the config that it has in force. The file itself cannot be checked further."""
    if made is None:
        yield Finding(
            "agent", "warning", "no agent answers; correct the config to have secrets and targets checked as well"
        )
        return
    agent = made["agent"]
    since = report.ago(agent["config"]["inForceSince"], made["at"])
    yield Finding("agent", "ok", f"has the config of {since} in force, and reports:")
    for secret in made["secrets"]:
        state, error = report.secret_state(secret), secret["error"]
        said = f"{state}, version {report.short(secret['versionId'])}" if secret["versionId"] else state
        said += f": {error['message']}" if error else ""
        good = state in ("fresh", "absent")
        outcome: Outcome = "ok" if good else "warning" if state == "pinned" else "bad"
        yield Finding(f"secret {secret['name']}", outcome, said)
    for target in made["targets"]:
        pending = target["pendingGeneration"]
        said = f"pending: generation {pending}: {target['message']}" if pending else "has nothing pending"
        yield Finding(f"target {target['name']}", "bad" if pending else "ok", said)


def _config(path: str, config: Config) -> Finding:
    mount = preflight.mount_of(path)
    if mount and mount.is_sub_path:
        return Finding(
            "config", "warning", f"{path} is mounted with subPath, so edits never arrive; mount the whole ConfigMap"
        )
    return Finding("config", "ok", f"{path}: {config.bundle.contents}")


def _bounded(asks: dict[str, Callable[[], Finding]]) -> Iterator[Finding]:
    """Run the checks in parallel, and yield each finding as it comes. A check that takes longer than LIMIT fails."""
    pool = Pool("doctor")
    for check, answer in pool.ask(asks, each=LIMIT, total=LIMIT * (1 + len(asks)), stopped=lambda: False):
        if isinstance(answer, Unanswered):
            yield Finding(
                check, "bad", f"no answer within {LIMIT:g} s; check routes, security groups and NetworkPolicies"
            )
        elif isinstance(answer, Raised):
            logging.getLogger(__name__).debug("a check failed", exc_info=answer.error)
            yield Finding(check, "bad", "the answer could not be read; --log-level debug shows where")
        else:
            yield answer


# -- AWS --------------------------------------------------------------------------------------------------------------
def _aws(config: Config) -> Iterator[Finding]:
    source = Aws(connect_timeout=1.0, read_timeout=1.8, attempts=1, credentials_limit=LIMIT - 0.2)
    source.prepare(config.bundle.secrets)
    yield from _bounded({"credentials": partial(_credentials, source)})
    refs = [ref for secret in config.bundle.secrets for ref in secret.ref.places]
    endpoints = {_endpoint_name(ref): (ref.place, service(ref.kind)) for ref in refs}
    yield from _bounded({name: partial(_endpoint, source, name, *which) for name, which in endpoints.items()})
    callers = {_caller_name(ref.place): ref.place for ref in reversed(refs)}
    yield from _bounded({name: partial(_caller, source, name, callers[name]) for name in sorted(callers)})
    yield from _bounded(
        {
            _secret_name(wanted.name, turn, ref): partial(
                _secret, source, _secret_name(wanted.name, turn, ref), wanted, ref
            )
            for wanted in config.bundle.wanted
            for turn, ref in enumerate(wanted.secret.ref.places)
        }
    )
    lists = config.settings.hub is not None and config.settings.hub.lists
    requests = [Request(s, known="any") for s in config.bundle.secrets if lists and s.ref.version_id is None]
    batches = source.batches([request for request in requests if request.secret.ref.kind == "secretsmanager"])
    yield from _bounded({name: partial(_list, source, name, batch) for name, batch in _named(batches).items()})


def _named(batches: list[tuple[Request, ...]]) -> dict[str, tuple[Request, ...]]:
    """One batch of each place, by the name of its check."""
    places = {batch[0].secret.ref.place: batch for batch in reversed(batches)}
    where = {place: place.region or "the environment's region" for place in places}
    return {f"own looks, {where[place]}, {_caller_name(place)}": batch for place, batch in places.items()}


def _list(source: Aws, check: str, batch: tuple[Request, ...]) -> Finding:
    """Make the call by which the agent looks itself at several secrets. Without it, it describes each of them."""
    answers = source.observe(batch)
    failures = [each for each in answers.results.values() if isinstance(each, Failure)]
    if answers.calls[0].code != OK and failures:
        return Finding(check, "warning", f"each secret is described instead: {failures[0].message}")
    return Finding(check, "ok", "ListSecrets is allowed")


def _endpoint_name(ref: Ref) -> str:
    of_service = "ssm " if service(ref.kind) == "ssm" else ""
    return f"endpoint {of_service}{ref.place.region or 'of the environment'}"


def _credentials(source: Aws) -> Finding:
    identity = source.identity(whole=True)
    if identity.source == "none":
        return Finding("credentials", "bad", identity.warning or "none")
    left = f", until {datetime.fromtimestamp(identity.expires, UTC):%Y-%m-%d %H:%M} UTC" if identity.expires else ""
    if identity.warning:
        return Finding("credentials", "warning", f"{identity.source}{left}: {identity.warning}")
    return Finding("credentials", "ok", f"{identity.source}{left}")


def _endpoint(source: Aws, check: str, place: Place, of: Service) -> Finding:
    url = source.endpoint(place, of)
    if isinstance(url, Failure):
        return Finding(check, "bad", url.message)
    between = source.proxy(url)
    try:
        address = preflight.reach(between.url if between else url, source.bundle, LIMIT / 2)
    except preflight.CheckFailed as unfit:
        return Finding(check, "bad", f"{between.shown}: {unfit}" if between else str(unfit))
    if between:
        return Finding(check, "ok", f"{url} through {between.shown}, which answers at {address}")
    return Finding(check, "ok", f"{url} answers at {address}{', TLS verified' if url.startswith('https') else ''}")


def _caller_name(place: Place) -> str:
    return f"role {place.roles[-1].split(':')[4]}/{place.roles[-1].rpartition('/')[2]}" if place.roles else "caller"


def _caller(source: Aws, check: str, place: Place) -> Finding:
    caller = source.caller(place)
    if isinstance(caller, Failure):
        # The agent itself needs STS only to get credentials for a role.
        outcome: Outcome = "bad" if caller.reason == "credentials" else "warning"
        return Finding(check, outcome, f"STS did not identify the caller: {caller.message}")
    if abs(caller.skew) < _SKEW_WARNS:
        return Finding(check, "ok", f"{caller.arn}; the clock agrees with AWS's")
    outcome = "bad" if abs(caller.skew) >= _SKEW_FAILS else "warning"
    return Finding(
        check,
        outcome,
        f"{caller.arn}; this node's clock differs from AWS's by {caller.skew:+.0f} s; check its time service",
    )


def _secret_name(name: str, turn: int, ref: Ref) -> str:
    return f"secret {name} in {ref.place.region}" if turn else f"secret {name}"


def _secret(source: Aws, check: str, wanted: Wanted, ref: Ref) -> Finding:
    """Make both calls that the agent makes, and render the value like the agent."""
    secret = replace(wanted.secret, ref=ref)
    version = ref.version_id
    if version is None:
        observed = source.observe((Request(secret),)).results[secret.name]
        if isinstance(observed, Failure):
            return _refused(check, secret, observed)
        version = observed.version_id
    fetched = source.fetch((Request(secret, version),)).results[secret.name]
    if isinstance(fetched, Failure):
        return _refused(check, secret, fetched)
    try:
        made = render([(secret, fetched)], [output for output in wanted.outputs if len(output.inputs) == 1])
    except SecretError as error:
        return Finding(check, "bad", error.failure.message)
    files = sum(map(len, made.values()))
    return Finding(check, "ok", f"version {fetched.version_id[:8]} can be read and makes {counted(files, 'file')}")


def _refused(check: str, secret: Secret, failure: Failure) -> Finding:
    absent = secret.optional and failure.reason == "not_found"
    return Finding(check, "warning" if absent else "bad", failure.message)


# -- the pod ----------------------------------------------------------------------------------------------------------
def _volume(path: str) -> Iterator[Finding]:
    there = os.path.isdir(path)
    mount = preflight.mount_of(path)
    if mount and mount.is_sub_path:
        yield Finding(
            "volume mount",
            "warning",
            f"{mount.point} is only a part of a volume ({mount.root}), as with subPath; mount the whole volume, here "
            "and in the app",
        )
    elif mount and not mount.in_memory:
        yield Finding(
            "volume mount", "warning", f"{mount.point} is {mount.kind}, so values reach a disk; use medium: Memory"
        )
    elif mount:
        yield Finding("volume mount", "ok", f"{mount.point} is in memory")
    if there and (parts := preflight.frozen_parts(path)):
        yield Finding(
            "mounts of others", "bad", f"mounted with subPath, so they never see an update: {', '.join(parts[:3])}"
        )
    if not there:
        path = os.path.dirname(path.rstrip("/"))
    try:
        space = preflight.try_out(path)
        strangers = preflight.foreign(path) if there else []
    except preflight.CheckFailed as unfit:
        yield Finding("volume", "bad", str(unfit))
        return
    except OSError as error:
        yield Finding("volume", "bad", f"{path} cannot be listed: {os.strerror(error.errno or 0)}")
        return
    if strangers:
        yield Finding(
            "volume",
            "bad",
            f"{path} is sticky and contains files of another uid ({', '.join(strangers[:3])}), which this uid cannot "
            "replace; run init and sidecar as one uid",
        )
    else:
        yield Finding(
            "volume",
            "ok",
            f"{path} can be written: {space}" + ("" if there else "; the agent creates the volume when it starts"),
        )


def _target(target: Target) -> Finding:
    reachable, message = notify.Notified(target).examine()
    return Finding(f"target {target.name}", "ok" if reachable else "bad", message)


def _port(found: Attached) -> Finding:
    listen = found.site.listen
    shown = listen.shown
    if listen.port == 0 or preflight.free(listen.host, listen.port):
        return Finding("listen", "ok", f"{shown} is free")
    if ask(listen):
        return Finding("listen", "ok", f"{shown} is in use by the running agent")
    return Finding("listen", "bad", f"{shown} is in use by another program; set `listen` to a free address")
