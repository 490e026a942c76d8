"""What the agent tells a person about itself: a `Status` as JSON, and that as text.

The JSON is what `GET /status` serves and `freshmount status --json` prints; the text and the page are views of it. It
holds names, versions, times and reasons, never a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from agent.decide import Published
from agent.status import SecretStatus, Status, TargetStatus

WIDTH = 100
_NEVER = 1e11  # epoch seconds that no clock reaches
_SHORT = 8  # characters of a version id that tell it from its neighbours

Report = dict[str, Any]


def of_agent(status: Status, now: float) -> Report:
    """The report of a running agent; `now` is epoch seconds."""
    return {
        "from": "agent",
        "at": time_of(now),
        "agent": {
            "version": status.version,
            "upSince": time_of(status.up_since),
            "started": status.started,
            "lastPass": time_of(status.last_pass),
            "generation": status.generation,
            "generationAt": time_of(status.generation_at),
            "identity": status.identity,
            "config": {
                "path": status.config_path,
                "inForceSince": time_of(status.config_last_reload),
                "isTheFile": status.config_reload_success,
            },
            "errors": _errors(status.secrets.values()),
        },
        "secrets": [_secret(secret) for secret in status.secrets.values()],
        "targets": [_target(target) for target in status.targets.values()],
    }


def of_volume(published: Published, now: float) -> Report:
    """The report of a volume whose agent does not answer; `now` is epoch seconds."""
    return {
        "from": "volume",
        "at": time_of(now),
        "agent": {
            "generation": published.generation,
            "generationAt": time_of(published.published_at or None),
            "damage": dict(published.damage),
        },
        "secrets": [
            {
                "name": name,
                "versionId": secret.version_id,
                "versionStage": ", ".join(secret.stages),
                "createdAt": time_of(secret.created_at),
                "publishedAt": time_of(secret.changed_at),
            }
            for name, secret in published.secrets.items()
        ],
        "targets": [
            {"name": name, "acceptedGeneration": generation} for name, generation in sorted(published.accepted.items())
        ],
    }


def _errors(secrets: Iterable[SecretStatus]) -> dict[str, int]:
    """How often each reason occurred, over all secrets; those that did not occur are left out."""
    counts: dict[str, int] = {}
    for secret in secrets:
        for reason, count in secret.errors.items():
            if count:
                counts[reason] = counts.get(reason, 0) + count
    return counts


def _secret(secret: SecretStatus) -> Report:
    return {
        "name": secret.name,
        "versionId": secret.version_id,
        "versionStage": secret.version_stage,
        "createdAt": time_of(secret.created_at),
        "seenVersionId": secret.seen_version,
        "seenAt": time_of(secret.seen_at),
        "publishedAt": time_of(secret.published_at),
        "lastSuccess": time_of(secret.last_success),
        "nextPoll": time_of(secret.next_poll),
        "nextRotation": time_of(secret.next_rotation),
        "pinnedUntil": time_of(secret.pinned_until),
        "upToDate": secret.up_to_date,
        "optional": secret.optional,
        "error": {"reason": secret.failure.reason, "message": secret.failure.message} if secret.failure else None,
    }


def _target(target: TargetStatus) -> Report:
    return {
        "name": target.name,
        "acceptedGeneration": target.generation,
        "acceptedAt": time_of(target.accepted_at),
        "owedGeneration": target.owed,
        "nextTry": time_of(target.next_try),
        "message": target.message,
    }


def time_of(epoch: float | None) -> str | None:
    """Epoch seconds as people and programs read them: UTC, to the millisecond."""
    if not epoch or not 0 < epoch < _NEVER:  # a damaged record may say anything
        return None
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- for people -------------------------------------------------------------------------------------------------------


def ago(moment: str | None, at: str) -> str:
    """How far the moment is from the report's own: `3m ago`, `in 42s`; a dash if there was none."""
    if moment is None:
        return "-"
    seconds = (datetime.fromisoformat(at) - datetime.fromisoformat(moment)).total_seconds()
    size = abs(seconds)
    unit, name = next((u for u in ((86400, "d"), (3600, "h"), (60, "m")) if size >= 2 * u[0]), (1, "s"))
    shown = f"{size / unit:.0f}{name}"
    return f"in {shown}" if seconds < 0 else f"{shown} ago"


def short(version: str | None) -> str:
    """The beginning of a version id."""
    return version[:_SHORT] if version else "-"


def headline(report: Report) -> list[str]:
    """What is to be known about the agent as a whole, in sentences."""
    agent, at = report["agent"], report["at"]
    generation = (
        f"generation {agent['generation']}, {ago(agent['generationAt'], at)}" if agent["generation"] else "nothing"
    )
    if report["from"] == "volume":
        lines = ["The agent does not answer; this is what its volume holds.", f"Published: {generation}."]
        return [*lines, *(f"Damaged: {path}: {finding}." for path, finding in agent["damage"].items())]
    config = agent["config"]
    passed = f"last pass {ago(agent['lastPass'], at)}" if agent["lastPass"] else "no pass yet"
    lines = [
        f"freshmount {agent['version']}, started {ago(agent['upSince'], at)}, {passed}.",
        f"Published: {generation}." + ("" if agent["started"] else " No complete one yet: the app waits."),
        f"Config: {config['path']}, read {ago(config['inForceSince'], at)}."
        + ("" if config["isTheFile"] else " The file was changed and is REFUSED; the log has its problems."),
        f"Identity: {agent['identity'] or 'not looked for yet'}.",
    ]
    if agent["errors"]:
        counts = ", ".join(f"{reason} {count}" for reason, count in agent["errors"].items())
        lines.append(f"Failed attempts since then: {counts}.")
    return lines


SECRET_COLUMNS = ("SECRET", "STATE", "VERSION", "STAGE", "CREATED", "SEEN", "PUBLISHED", "NEXT POLL", "ROTATION")
TARGET_COLUMNS = ("TARGET", "STATE", "GENERATION", "ACCEPTED", "NEXT TRY")


def secret_row(secret: Mapping[str, Any], at: str) -> tuple[str, ...]:
    """The cells of one secret, as `SECRET_COLUMNS` names them."""
    times = ("createdAt", "seenAt", "publishedAt", "nextPoll", "nextRotation")
    return (
        secret["name"],
        secret_state(secret),
        short(secret["versionId"]),
        _fitted((secret["versionStage"] or "pinned").removeprefix("AWS"), 10).rstrip(),
        *(ago(secret.get(name), at) for name in times),
    )


def secret_state(secret: Mapping[str, Any]) -> str:
    """One word: `pinned`, `fresh`, `stale`, `missing`, `absent` (optional, and rightly so), or `-`: nobody knows."""
    if "upToDate" not in secret:
        return "-"
    if secret.get("pinnedUntil"):
        return "pinned"
    if secret["upToDate"]:
        return "fresh" if secret["versionId"] else "absent"
    return "stale" if secret["versionId"] else "missing"


def target_row(target: Mapping[str, Any], at: str) -> tuple[str, ...]:
    """The cells of one target, as `TARGET_COLUMNS` names them."""
    if "owedGeneration" not in target:
        state = "-"
    else:
        state = f"owed {target['owedGeneration']}" if target["owedGeneration"] else "told"
    return (
        target["name"],
        state,
        str(target["acceptedGeneration"] or "-"),
        ago(target.get("acceptedAt"), at),
        ago(target.get("nextTry"), at),
    )


def troubles(report: Report) -> list[tuple[str, str]]:
    """Each secret and target that is not well, with the sentence that says why."""
    found = [
        (s["name"], f"held at this version by `freshmount pin`, which ends {ago(s['pinnedUntil'], report['at'])}")
        for s in report["secrets"]
        if s.get("pinnedUntil")
    ]
    found += [
        (s["name"], f"{s['error']['reason']}: {s['error']['message']}") for s in report["secrets"] if s.get("error")
    ]
    return found + [(t["name"], t["message"] or "") for t in report["targets"] if t.get("owedGeneration")]


def text(report: Report) -> str:
    """The report for a terminal, in at most 100 columns but for the sentences of AWS, which are not cut."""
    at = report["at"]
    lines = [*headline(report), "", *_table(SECRET_COLUMNS, [secret_row(s, at) for s in report["secrets"]])]
    if report["targets"]:
        lines += ["", *_table(TARGET_COLUMNS, [target_row(t, at) for t in report["targets"]])]
    for name, sentence in troubles(report):
        lines += ["", f"{name}: {sentence}"]
    return "\n".join(map(printable, lines)) + "\n"


def printable(text: str) -> str:
    """The text without what a terminal takes for a command: it may come from whoever listens on the agent's port."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Aligned columns; the first gives way when all together are too wide."""
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    widths[0] -= max(0, sum(widths) + 2 * (len(widths) - 1) - WIDTH)
    return [
        "  ".join(_fitted(cell, width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in (columns, *rows)
    ]


def _fitted(cell: str, width: int) -> str:
    return (cell if len(cell) <= width else cell[: max(0, width - 1)] + "…").ljust(width)
