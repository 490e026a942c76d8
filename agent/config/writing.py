"""Write a config as text: the native form of what was read from other people's manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import yaml

from agent.config import native
from agent.config.reading import written
from agent.core import arn
from agent.core.model import (
    Bundle,
    ByContent,
    KeyOf,
    Output,
    Pem,
    Pkcs12,
    Place,
    Projection,
    Property,
    Ref,
    Require,
    Secret,
    Template,
)
from agent.core.record import replace

_MODE = 0o440  # of a config that sets none

_PERIOD = 60.0  # seconds, of a config that sets none

Tree = dict[str, Any]


def write(bundle: Bundle) -> tuple[str, list[str]]:
    """The bundle as the text of a config, and a sentence for each part of it that a config cannot say."""
    problems: list[str] = []
    region = _most(secret.ref.place.region for secret in bundle.secrets if not secret.ref.id.startswith("arn:"))
    mode = _most(output.mode for output in bundle.outputs) or _MODE
    period = _most(secret.period for secret in bundle.secrets) or _PERIOD
    tree: Tree = {"apiVersion": native.API_VERSION, "kind": native.KIND}
    if region:
        tree["region"] = region
    if mode != _MODE:
        tree["volume"] = {"fileMode": _octal(mode)}
    if period != _PERIOD:
        tree["poll"] = {"period": written(period)}
    tree["secrets"] = []
    for wanted in bundle.wanted:
        secret = wanted.secret
        entry = {"name": secret.name, **_source(secret, region, problems)}
        if secret.period != period:
            entry["period"] = written(secret.period)
        if secret.optional:
            entry["optional"] = True
        if secret.require:
            entry["require"] = _require(secret.require)
        files = [_file(output, mode, problems) for output in wanted.outputs if _is_of_one(output)]
        if files != [{"path": secret.name, "by content": "error"}]:
            files = [_without_by_content(each, problems) for each in files]
            if any(files):
                entry["files"] = [each for each in files if each]
        tree["secrets"].append(entry)
    if shared := [
        made for output in bundle.outputs if not _is_of_one(output) and (made := _shared(output, mode, problems))
    ]:
        tree["files"] = shared
    problems += [f"target {target.name}: copy it from the config that notifies it" for target in bundle.targets]
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20), problems


class _Dumper(yaml.SafeDumper):
    """As people write YAML: lists are indented, and texts of several lines are blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _most(values: Iterable[Any]) -> Any:
    """The value that is there most often, and the first of those; None if there is none."""
    counted = Counter(values)
    return max(counted, key=lambda value: counted[value]) if counted else None


def _octal(mode: int) -> str:
    return f"{mode:04o}"


# -- a secret ----------------------------------------------------------------------------------------------------------


def _source(secret: Secret, region: str | None, problems: list[str]) -> Tree:
    """What it is asked for."""
    ref = secret.ref
    if not ref.id.startswith("arn:") and ref.place.region != region:
        asked = f"in {ref.place.region}" if ref.place.region else "in the environment's region"
        problems.append(
            f"{secret.name}: {ref.id} is asked for {asked}, and a config names one region; give the secret's ARN"
        )
    if any(each.place.endpoint_url for each in ref.places):
        problems.append(f"{secret.name}: add its endpointUrl, which only you know for which services it is")
    if ref.version_id and ref.version_stage:
        problems.append(f"{secret.name}: it is given by version and by stage; a config names one of the two")
    key = next(key for key, kind in native.SOURCES.items() if kind == ref.kind)
    tree: Tree = {key: _query(ref) if ref.kind == "find" else ref.id, **_version(ref), **_roles(ref.place)}
    if ref.replicas:
        replicas = [_replica(secret, each, key, problems) for each in ref.replicas]
        tree["failover"] = replicas[0] if len(replicas) == 1 else replicas
    return tree


def _version(ref: Ref) -> Tree:
    by_id, by_stage = (
        ("parameterVersion", "parameterLabel") if ref.kind == "parameter" else ("versionId", "versionStage")
    )
    if ref.version_id:
        return {by_id: ref.version_id}
    return {} if ref.version_stage in (None, "AWSCURRENT") else {by_stage: ref.version_stage}


def _roles(place: Place) -> Tree:
    tree: Tree = {}
    if place.roles:
        tree["roleArn"] = place.roles[0] if len(place.roles) == 1 else list(place.roles)
    if place.external_id:
        tree["externalId"] = place.external_id
    if place.tags:
        tree["sessionTags"] = dict(place.tags)
    return tree


def _query(ref: Ref) -> Tree:
    query = ref.query
    if query is None:
        return {}
    tree: Tree = {key: value for key, value in (("name", query.name), ("path", query.path)) if value is not None}
    return {**tree, "tags": dict(query.tags)} if query.tags else tree


def _replica(secret: Secret, replica: Ref, key: str, problems: list[str]) -> Tree:
    ref, region = secret.ref, replica.place.region or ""
    if replica.version_id != ref.version_id:
        problems.append(f"{secret.name}: another version is given for {region}; a config takes the same there")
    tree: Tree = {"region": region}
    if replica.id != arn.in_region(ref.id, region):
        tree[key] = replica.id
    if replica.version_stage != ref.version_stage:
        tree["parameterLabel" if ref.kind == "parameter" else "versionStage"] = replica.version_stage
    if replica.if_denied:
        tree["ifDenied"] = True
    if (roles := _roles(replica.place)) != _roles(ref.place):
        tree |= roles
    return tree


def _require(require: Require) -> Tree:
    tree: Tree = {}
    if require.keys:
        tree["keys"] = list(require.keys)
    if require.matches:
        tree["match"] = [{"key": key, "pattern": pattern} for key, pattern in require.matches]
    if require.certificate:
        tree["certificate"] = {"certificate": require.certificate[0], "privateKey": require.certificate[1]}
    return tree


# -- files -------------------------------------------------------------------------------------------------------------


def _is_of_one(output: Output) -> bool:
    """Whether it stands with its secret, and not among the files of several."""
    return isinstance(output.renderer, (Projection, Property, ByContent)) or (
        isinstance(output.renderer, Template) and not output.renderer.by_name
    )


def _file(output: Output, mode: int, problems: list[str]) -> Tree:
    tree: Tree = {"path": output.path}
    match output.renderer:
        case Projection() as how:
            tree = {("directory" if how.directory else "path"): output.path}
            usual = Projection()
            names = ("jmesPath", "jmes_path"), ("format", "format"), ("quoting", "quoting"), ("encoding", "encoding")
            for key, name in (*names, ("missing", "missing")):
                if getattr(how, name) != getattr(usual, name):
                    tree[key] = getattr(how, name)
        case Property(path):
            tree["property"] = path
        case ByContent(missing):
            tree["by content"] = missing
        case Template(text):
            tree["template"] = text
        case _:
            problems.append(f"file {output.path}: how it is made has no form in a config")
            return {}
    return tree if output.mode == mode else {**tree, "fileMode": _octal(output.mode)}


def _without_by_content(file: Tree, problems: list[str]) -> Tree:
    if "by content" in file:
        problems.append(f"file {file['path']}: only a secret without other files is divided by its content")
        return {}
    return file


def _shared(output: Output, mode: int, problems: list[str]) -> Tree:
    tree: Tree = {"path": output.path}
    match output.renderer:
        case Template(text, by_name=True):
            tree |= {"template": text, "secrets": list(output.inputs)}
        case Pem(certificate, key):
            tree["pem"] = _keys(certificate=certificate, privateKey=key)
        case Pkcs12(certificate, key, password, legacy):
            tree["pkcs12"] = _keys(certificate=certificate, privateKey=key, password=password)
            if legacy:
                tree["pkcs12"]["legacy"] = True
        case _:
            return _file(replace(output, mode=mode), mode, problems)
    return tree if output.mode == mode else {**tree, "fileMode": _octal(output.mode)}


def _keys(**keys: KeyOf | None) -> Tree:
    return {
        name: {"secret": key.secret, **({"key": key.key} if key.key is not None else {})}
        for name, key in keys.items()
        if key
    }
