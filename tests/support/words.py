"""Short ways to make the words that tests hand to the rooms."""

from __future__ import annotations

from typing import Any

from agent.core.model import Config, FileSpec, Listen, Place, Secret, Target, Touch
from agent.core.value import Fetched, ProjectedFile, SecretValue


def file_spec(path: str = "db", **fields: Any) -> FileSpec:
    return FileSpec(**{"path": path, "directory": False, "format": "raw", "jmes_path": None, "mode": 0o440, **fields})


def secret(name: str = "db", **fields: Any) -> Secret:
    given: dict[str, Any] = {
        "name": name,
        "secret_id": name,
        "place": Place("eu-west-1", None),
        "version_stage": "AWSCURRENT",
        "version_id": None,
        "period": 60.0,
        "optional": False,
        "files": (file_spec(name),),
    }
    return Secret(**{**given, **fields})


def target(name: str = "app", *secrets: str, splay: float = 0.0) -> Target:
    return Target(name, Touch(f"/nowhere/{name}"), frozenset(secrets) or None, splay)


def config(*secrets: Secret, targets: tuple[Target, ...] = (), **fields: Any) -> Config:
    given: dict[str, Any] = {
        "volume_path": "/nowhere",
        "period": 60.0,
        "rotation_period": 10.0,
        "settle": 0.0,
        "startup_timeout": 120.0,
        "stale_after": 0.0,
        "listen": Listen("127.0.0.1", 0),
        "secrets": secrets,
        "targets": targets,
    }
    return Config(**{**given, **fields})


def value(content: str | bytes) -> SecretValue:
    text = isinstance(content, str)
    return SecretValue(content.encode() if isinstance(content, str) else content, text=text)


def fetched(version: str = "v1", content: str | bytes = "x") -> Fetched:
    return Fetched(version, ("AWSCURRENT",), None, value(content))


def projected(content: str | bytes, mode: int = 0o440) -> ProjectedFile:
    return ProjectedFile(value(content), mode)
