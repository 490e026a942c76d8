"""What the agent reports about itself: a `Status` as JSON, and the JSON as text for people.

`GET /status` serves the JSON and `freshmount status --json` prints it; the text and the page are views of it. It
contains names, versions, times and reasons, never a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from agent.core.errors import Failure
from agent.core.model import Published
from agent.core.status import HubStatus, SecretStatus, Status, TargetStatus
from agent.observe import layout
from agent.observe.layout import PLAIN, Mood, Screen

_NEVER = 1e11  # epoch seconds that no clock reaches

_SHORT = 8  # characters of a version id, enough to distinguish it from others

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
            "volume": status.volume_path,
            "config": {
                "path": status.config_path,
                "inForceSince": time_of(status.config_last_reload),
                "isTheFile": status.config_reload_success,
                "problems": list(status.config_problems),
            },
            "errors": _errors(status.secrets.values()),
            "hub": _hub(status.hub),
        },
        "secrets": [_secret(secret) for secret in status.secrets.values()],
        "targets": [_target(target) for target in status.targets.values()],
    }


def of_volume(published: Published, now: float, path: str) -> Report:
    """The report of the volume at `path` when its agent does not answer; `now` is epoch seconds."""
    return {
        "from": "volume",
        "at": time_of(now),
        "agent": {
            "generation": published.generation,
            "generationAt": time_of(published.published_at or None),
            "volume": path,
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


def with_problems(report: Report, problems: Iterable[str]) -> Report:
    """The report with the current problems of the config file, whether or not the agent has read them."""
    agent = report["agent"]
    return {**report, "agent": {**agent, "config": {**agent.get("config", {}), "problems": list(problems)}}}


def _errors(secrets: Iterable[SecretStatus]) -> dict[str, int]:
    """How often each reason occurred, over all secrets. Omits reasons that did not occur."""
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
        "nextPoll": time_of(_next_poll(secret)),
        "nextRotation": time_of(secret.next_rotation),
        "pinnedVersionId": secret.pinned_version,
        "pinnedUntil": time_of(secret.pinned_until),
        "upToDate": secret.up_to_date,
        "optional": secret.optional,
        "region": secret.region,
        "servedInstead": error_of(secret.instead),
        "error": error_of(secret.failure),
    }


def error_of(failure: Failure | None) -> Report | None:
    """A failure as JSON."""
    return {"reason": failure.reason, "message": failure.message} if failure else None


def _hub(hub: HubStatus | None) -> Report | None:
    if hub is None:
        return None
    return {
        "url": hub.url,
        "connected": hub.connected,
        "lastAnswer": time_of(hub.answered_at),
        "answersFor": sorted(hub.looks),
        "nextOwnLook": time_of(min(hub.looks.values(), default=None)),
        "trouble": hub.trouble,
    }


def _next_poll(secret: SecretStatus) -> float | None:
    """When the secret is polled next. Once published, a version that the config fixes is never polled, and a pinned one
    is polled when its pin ends."""
    fixed = secret.version_stage is None and secret.up_to_date
    return secret.pinned_until if fixed else secret.next_poll


def _target(target: TargetStatus) -> Report:
    return {
        "name": target.name,
        "acceptedGeneration": target.generation,
        "acceptedAt": time_of(target.accepted_at),
        "pendingGeneration": target.pending,
        "nextTry": time_of(target.next_try),
        "message": target.message,
    }


def time_of(epoch: float | None) -> str | None:
    """Epoch seconds as text: UTC, to the millisecond."""
    if not epoch or not 0 < epoch < _NEVER:  # a damaged record may say anything
        return None
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- for people -------------------------------------------------------------------------------------------------------
def ago(moment: str | None, at: str) -> str:
    """The distance from the report's time to the moment: `3m ago`, `in 42s`, or a dash if there is none."""
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
    """Sentences about the agent as a whole. The problems of its config file come first."""
    agent, at = report["agent"], report["at"]
    config = agent.get("config", {})
    lines = ["The config file is REFUSED:", *config["problems"]] if config.get("problems") else []
    generation = (
        f"generation {agent['generation']}, {ago(agent['generationAt'], at)}" if agent["generation"] else "nothing"
    )
    if report["from"] == "volume":
        lines += [
            "The agent does not answer; this is what its volume holds.",
            f"Published: {generation}, on {agent['volume']}.",
        ]
        return [*lines, *(f"Damaged: {path}: {finding}." for path, finding in agent["damage"].items())]
    passed = f"last pass {ago(agent['lastPass'], at)}" if agent["lastPass"] else "no pass yet"
    lines += [
        f"freshmount {agent['version']}, started {ago(agent['upSince'], at)}, {passed}.",
        f"Published: {generation}." + ("" if agent["started"] else " No complete one yet: the app waits."),
        f"Config: {config['path']}, read {ago(config['inForceSince'], at)}"
        + ("." if config["isTheFile"] and not config["problems"] else "; it stays in force."),
        f"Identity: {agent['identity'] or 'not known yet'}.",
    ]
    if hub := agent.get("hub"):
        lines.append(_of_hub(hub, at))
    if agent["errors"]:
        counts = ", ".join(f"{reason} {count}" for reason, count in agent["errors"].items())
        lines.append(f"Failed attempts since the start: {counts}.")
    return lines


def _of_hub(hub: Report, at: str) -> str:
    last = f"last answer {ago(hub['lastAnswer'], at)}" if hub["lastAnswer"] else "no answer yet"
    if not hub["connected"]:
        why = f": {hub['trouble']}" if hub["trouble"] else ""
        return f"Hub: {hub['url']} does not answer, {last}; AWS is polled instead{why}."
    if not hub["answersFor"]:
        return f"Hub: {hub['url']}, {last}; it answers for no secret, so AWS is polled."
    count = len(hub["answersFor"])
    what = f"{count} secret{'s' if count > 1 else ''}"
    return f"Hub: {what} asked through the hub, {last}, own look {ago(hub['nextOwnLook'], at)}."


SECRET_COLUMNS = ("SECRET", "STATE", "VERSION", "STAGE", "CREATED", "SEEN", "PUBLISHED", "POLL", "ROTATION")

TARGET_COLUMNS = ("TARGET", "STATE", "GENERATION", "ACCEPTED", "NEXT TRY")

_FUTURE = ("POLL", "ROTATION", "NEXT TRY")

_SPARE = ("CREATED", "SEEN", "STAGE", "ROTATION")  # omitted on a narrow terminal, in this order

_MOODS: dict[str, Mood] = {
    "fresh": "good",
    "accepted": "good",
    "stale": "bad",
    "missing": "bad",
    "pending": "bad",
    "pin": "bad",
    "pinned": "mind",
}


def mood(state: str) -> Mood:
    """The mood, and so the colour, of a state."""
    return _MOODS.get(state.partition(" ")[0], "")


def secret_row(secret: Mapping[str, Any], at: str) -> tuple[str, ...]:
    """The cells of one secret, in the order of `SECRET_COLUMNS`."""
    stage = secret["versionStage"]
    fixed = stage is None and not secret.get("pinnedVersionId")
    return (
        secret["name"],
        secret_state(secret),
        short(secret["versionId"]),
        layout.cut((stage or ("fixed" if fixed else "pinned")).removeprefix("AWS"), 10),
        *(ago(secret.get(name), at) for name in ("createdAt", "seenAt", "publishedAt")),
        "never" if fixed and secret.get("upToDate") else ago(secret.get("nextPoll"), at),
        ago(secret.get("nextRotation"), at),
    )


def secret_state(secret: Mapping[str, Any]) -> str:
    """`fresh`, `stale`, `missing`, or `absent`, which is allowed for an optional secret; `pinned`, or `pin pending`
    while another version is published; or `-` if unknown."""
    if "upToDate" not in secret:
        return "-"
    if pinned := secret.get("pinnedVersionId"):
        return "pinned" if pinned == secret["versionId"] else "pin pending"
    if secret["upToDate"]:
        return "fresh" if secret["versionId"] else "absent"
    return "stale" if secret["versionId"] else "missing"


def target_state(target: Mapping[str, Any]) -> str:
    """`accepted`, `pending N` (the generation), or `-` if unknown or nothing was delivered since the agent's start. The
    first files notify no target."""
    if pending := target.get("pendingGeneration"):
        return f"pending {pending}"
    return "accepted" if target.get("acceptedAt") else "-"


def target_row(target: Mapping[str, Any], at: str) -> tuple[str, ...]:
    """The cells of one target, in the order of `TARGET_COLUMNS`."""
    return (
        target["name"],
        target_state(target),
        str(target["acceptedGeneration"] or "-"),
        ago(target.get("acceptedAt"), at),
        ago(target.get("nextTry"), at),
    )


def notes(report: Report) -> list[tuple[str, str]]:
    """A name and a sentence for each secret and target that needs one."""
    found = [(s["name"], _of_pin(s, report["at"])) for s in report["secrets"] if s.get("pinnedVersionId")]
    found += [(s["name"], _of_replica(s)) for s in report["secrets"] if s.get("servedInstead")]
    found += [(s["name"], _of_error(s)) for s in report["secrets"] if s.get("error")]
    return found + [(t["name"], t["message"] or "") for t in report["targets"] if t.get("pendingGeneration")]


def _of_pin(secret: Mapping[str, Any], at: str) -> str:
    ends = f"`freshmount pin`, which ends {ago(secret['pinnedUntil'], at)}"
    if secret["pinnedVersionId"] == secret["versionId"]:
        return f"held at this version by {ends}"
    return f"waits for version {secret['pinnedVersionId']} of {ends}; it is not published yet"


def _of_replica(secret: Mapping[str, Any]) -> str:
    instead = secret["servedInstead"]
    return f"served by {secret['region']}, since its first region is away: {instead['reason']}: {instead['message']}"


def _of_error(secret: Mapping[str, Any]) -> str:
    sentence = f"{secret['error']['reason']}: {secret['error']['message']}"
    return f"optional, and absent: {sentence}" if secret_state(secret) == "absent" else sentence


def text(report: Report, screen: Screen = PLAIN) -> str:
    """The report for people, in lines that fit the screen, except for words that are never broken."""
    at = report["at"]
    lines = [line for sentence in headline(report) for line in layout.wrapped(printable(sentence), screen)]
    lines += ["", *_table(SECRET_COLUMNS, [secret_row(s, at) for s in report["secrets"]], screen)]
    if report["targets"]:
        lines += ["", *_table(TARGET_COLUMNS, [target_row(t, at) for t in report["targets"]], screen)]
    for name, sentence in notes(report):
        lines += ["", *layout.wrapped(printable(f"{name}: {sentence}"), screen)]
    return "\n".join(lines) + "\n"


def printable(text: str) -> str:
    """The text without control characters: it may come from any program that listens on the agent's port."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]], screen: Screen) -> list[str]:
    return layout.table(
        columns,
        [[printable(cell) for cell in row] for row in rows],
        screen,
        shorter=_shorter,
        spare=[column for column in _SPARE if column in columns],
        mood=lambda column, cell: mood(cell) if column == "STATE" else "",
    )


def _shorter(column: str, cell: str) -> str:
    """A time without the word that its column implies: `ago` in a column of past times, `in` in one of future ones."""
    return cell.removeprefix("in ") if column in _FUTURE else cell.removesuffix(" ago")
