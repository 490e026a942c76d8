"""A config without a file: the text that `--secret NAME=ARN` and its like stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from agent.core.errors import ConfigError, Problem, cause
from agent.core.flags import Flags
from agent.core.record import replace

if TYPE_CHECKING:
    from agent.core.model import Config

_PARAMETER = re.compile(r"arn:[a-z-]+:ssm:.*")
_ARN = re.compile(r"arn:[a-z-]+:secretsmanager:\S+")
_PUSHED = "secret:"
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

Pushed = Callable[[str], Sequence[str]]


def config(
    name: str,
    secrets: Iterable[str],
    *,
    pushed: Pushed,
    volume: str | None = None,
    period: str | None = None,
    signals: Iterable[str] = (),
    touches: Iterable[str] = (),
    urls: Iterable[str] = (),
) -> Flags:
    """The config of these secrets, `NAME=ARN` or `NAME=secret:KUBERNETES-NAME` each. `signals` are `SIGNAL:PROCESS`;
    `name` is how errors call it. `pushed` has the text of each key of the Kubernetes Secret of that name, or raises
    OSError.

    Raises ConfigError for what has another form. What the values mean is checked with the text.
    """
    problems: list[str] = []
    entries: list[dict[str, str]] = []
    targets: list[dict[str, object]] = []
    for given in secrets:
        secret, sign, of = given.partition("=")
        if not (secret and sign and of):
            problems.append(f"{given!r} is not NAME=ARN, such as db=arn:aws:secretsmanager:…")
        elif of.startswith(_PUSHED):
            try:
                of = _arn(of.removeprefix(_PUSHED), pushed)
            except ValueError as wrong:
                problems.append(f"{given!r}: {wrong}")
        entries.append({"name": secret, "parameter" if _PARAMETER.fullmatch(of) else "secretId": of})
    for given in signals:
        signal, sign, process = given.partition(":")
        if not (signal and sign and process):
            problems.append(f"{given!r} is not NAME:PROCESS, such as SIGHUP:nginx")
        targets.append({"name": f"signal-{len(targets) + 1}", "signal": signal, "process": {"name": process}})
    targets += [{"name": f"touch-{number}", "touch": path} for number, path in enumerate(touches, 1)]
    targets += [{"name": f"url-{number}", "url": url} for number, url in enumerate(urls, 1)]
    if problems:
        raise ConfigError(name, tuple(Problem(1, 1, problem) for problem in problems))
    lines: list[object] = ["apiVersion: freshmount.dev/v1", "kind: Config"]
    lines += [f"volume: {json.dumps({'path': volume})}"] if volume else []
    lines += [f"poll: {json.dumps({'period': period})}"] if period else []
    lines += ["secrets:", *(f"  - {json.dumps(entry)}" for entry in entries)]
    lines += ["notify:", *(f"  - {json.dumps(target)}" for target in targets)] if targets else []
    made = Flags(name)
    made.text = "\n".join(map(str, lines)) + "\n"
    return made


def _arn(secret: str, pushed: Pushed) -> str:
    """The ARN that a Kubernetes Secret holds; a ValueError says why there is none, and no value."""
    if not _KUBERNETES_NAME.fullmatch(secret):
        raise ValueError("this is not the name of a Kubernetes Secret, as in db=secret:db")
    try:
        texts = {text.strip() for text in pushed(secret)}
    except OSError as error:
        raise ValueError(
            f"the Kubernetes Secret {secret!r} cannot be read: {cause(error)}; "
            "let the injector mount it, or write its ARN"
        ) from None
    if not texts or not all(map(_ARN.fullmatch, texts)):
        raise ValueError(
            f"the Kubernetes Secret {secret!r} does not hold an ARN of Secrets Manager in each of its keys: it was not "
            'pushed; give it the label freshmount.dev/push: "true" and apply it again'
        )
    if len(texts) > 1:
        raise ValueError(f"the keys of the Kubernetes Secret {secret!r} hold different ARNs; push it again")
    return texts.pop()


def with_signal(given: Config, named: str) -> Config:
    """The config with one more target, `SIGNAL:PROCESS`, unless it has that target already.

    Raises ConfigError for what has another form.
    """
    from agent.config import native

    alone = config("FRESHMOUNT_SIGNAL", ["any=any"], pushed=lambda _: (), signals=[named])
    (target,) = native.parse(alone.text, alone).bundle.targets
    bundle = given.bundle
    if any(each.action == target.action for each in bundle.targets):
        return given
    taken = {each.name for each in bundle.targets}
    free = next(name for name in (f"signal-{number}" for number in range(1, len(taken) + 2)) if name not in taken)
    return replace(given, bundle=replace(bundle, targets=(*bundle.targets, replace(target, name=free))))
