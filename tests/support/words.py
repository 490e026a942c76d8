"""Short ways to make the words that tests hand to the rooms."""

from __future__ import annotations

from typing import Any

from agent.core.model import Bundle, Output, Place, Projection, Ref, Secret, Target, Timing, Touch, Wanted
from agent.core.record import replace
from agent.core.value import Fetched, ProjectedFile, SecretValue
from agent.render.files import project


def output(path: str = "db", *inputs: str, mode: int = 0o440, **how: Any) -> Output:
    """A file of a secret of the same name, unless others are given."""
    return Output(path, inputs or (path,), Projection(**how), mode)


def secret(name: str = "db", **fields: Any) -> Secret:
    ref = {key: fields.pop(key) for key in ("version_stage", "version_id") if key in fields}
    place = fields.pop("place", Place("eu-west-1", None))
    given: dict[str, Any] = {"ref": Ref(fields.pop("secret_id", name), place, **ref), "period": 60.0, "optional": False}
    return Secret(name, **{**given, **fields})


def wanted(name: str = "db", *, outputs: tuple[Output, ...] | None = None, **fields: Any) -> Wanted:
    """A secret and its one file of the same name, unless others are given; those become its own."""
    mine = (output(name),) if outputs is None else outputs
    return Wanted(secret(name, **fields), tuple(o if name in o.inputs else replace(o, inputs=(name,)) for o in mine))


def target(name: str = "app", *secrets: str, splay: float = 0.0) -> Target:
    return Target(name, Touch(f"/nowhere/{name}"), frozenset(secrets) or None, splay)


def bundle(*secrets: Wanted, targets: tuple[Target, ...] = (), **timing: float) -> Bundle:
    given = {
        "period": 60.0,
        "rotation_period": 10.0,
        "settle": 0.0,
        "startup_timeout": 120.0,
        "stale_after": 0.0,
    }
    outputs = tuple(dict.fromkeys(made for wanted in secrets for made in wanted.outputs))
    return Bundle(tuple(wanted.secret for wanted in secrets), outputs, targets, Timing(**{**given, **timing}))


def value(content: str | bytes) -> SecretValue:
    text = isinstance(content, str)
    return SecretValue(content.encode() if isinstance(content, str) else content, text=text)


def fetched(version: str = "v1", content: str | bytes = "x") -> Fetched:
    return Fetched(version, ("AWSCURRENT",), None, value(content))


def projected(content: str | bytes, mode: int = 0o440) -> ProjectedFile:
    return ProjectedFile(value(content), mode)


def files_of(content: SecretValue, *outputs: Output) -> dict[str, ProjectedFile]:
    """The files that the outputs make of one value, by path."""
    mine = [replace(each, inputs=("x",)) for each in outputs]
    return {path: file for made in project({"x": content}, mine).values() for path, file in made.items()}
