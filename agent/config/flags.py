"""A config without a file: the text that `--secret NAME=ARN` and its like stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from agent.core.errors import ConfigError, Problem
from agent.core.flags import Flags

_PARAMETER = re.compile(r"arn:[a-z-]+:ssm:.*")


def config(
    name: str,
    secrets: Iterable[str],
    *,
    volume: str | None = None,
    period: str | None = None,
    signals: Iterable[str] = (),
    touches: Iterable[str] = (),
    urls: Iterable[str] = (),
) -> Flags:
    """The config of these secrets, `NAME=ARN` each. `signals` are `SIGNAL:PROCESS`; `name` is how errors call it.

    Raises ConfigError for what has another form. What the values mean is checked with the text.
    """
    problems: list[str] = []
    entries: list[dict[str, str]] = []
    targets: list[dict[str, object]] = []
    for given in secrets:
        secret, sign, of = given.partition("=")
        if not (secret and sign and of):
            problems.append(f"{given!r} is not NAME=ARN, such as db=arn:aws:secretsmanager:…")
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
