"""What a config means before anything runs: files, targets, the IAM policy, calls and their price, and what may need a
second thought. Offline: it reads the config and calls nothing.
"""

from __future__ import annotations

import json
import textwrap
from typing import Any
from urllib.parse import urlsplit

from agent.commands.calls import PARAMETER_STORE, above_quotas, calls_of
from agent.commands.policy import OF_SSM, asked_for, assumed_roles, key_statement, policy
from agent.config.native import doubts
from agent.config.reading import shown_url
from agent.core.model import (
    ByContent,
    Config,
    ExternalSecretData,
    Output,
    Pem,
    PidFile,
    Pkcs12,
    ProcessName,
    Projection,
    Property,
    Require,
    Secret,
    Signal,
    Target,
    Template,
    Touch,
    Url,
)


def plan(config: Config, replicas: int) -> dict[str, Any]:
    """The plan for that many pods, in the form that `--json` prints."""
    roles = assumed_roles(config)
    return {
        "secrets": [_secret(secret, config) for secret in config.bundle.secrets],
        "targets": [
            {"name": t.name, "how": _how(t), "secrets": None if t.secrets is None else sorted(t.secrets)}
            for t in config.bundle.targets
        ],
        "policy": policy(config),
        **({"rolePolicies": {role: policy(config, role) for role in roles}} if roles else {}),
        "keyPolicyStatement": key_statement(config, "secretsmanager"),
        **({"parameterKeyPolicyStatement": key_statement(config, "ssm")} if asked_for(config, *OF_SSM) else {}),
        "calls": calls_of(config, replicas),
        "warnings": [
            *doubts(config),
            *_regions(config),
            *_wide(config),
            *_modes(config),
            *_spread(config),
            *_unhandled(config),
            *_plain_http(config),
            *above_quotas(config, replicas),
        ],
    }


def render(made: dict[str, Any], width: int | None = None) -> str:
    """The plan as text. Wraps sentences at `width` columns, if given, but never names or JSON."""
    lines = ["SECRETS"]
    for secret in made["secrets"]:
        version = f"version {secret['versionId']}" if secret["versionId"] else _stage(secret)
        polled = f"polled every {secret['period']:g} s" if secret["period"] else "fetched once"
        needed = ", optional" if secret["optional"] else ""
        lines += [
            f"  {secret['name']}  {secret['secretId']}",
            f"    in {secret['region'] or 'the region of the environment'}, {version}, {polled}{needed}",
            *(f"    as {role}" for role in secret.get("roleArn", [])),
            *(f"    in {region} while the first region is away" for region in secret.get("failover", [])),
            *(f"    requires {requirement}" for requirement in secret["require"]),
            *(f"    {file['mode']}  {file['path']}  {file['content']}" for file in secret["files"]),
        ]
    lines += ["", "NOTIFIED AFTER EACH CHANGE"]
    for target in made["targets"]:
        of = "any secret" if target["secrets"] is None else ", ".join(target["secrets"])
        lines.append(f"  {target['name']}  {target['how']}, for {of}")
    if not made["targets"]:
        lines.append("  no target: the app itself must notice that its files changed")
    calls = made["calls"]
    lines += [
        "",
        f"CALLS, {calls['replicas']} pods",
        f"  {calls['describePerHour']:,.0f} DescribeSecret an hour: ${calls['dollarsPerMonth']:,.2f} a month",
        f"  {calls['getAtStart']:,} GetSecretValue when all pods start, then one for each pod and rotation",
        f"  {calls['describeQuotaShare']:.2%} of the quota of DescribeSecret, in the region with the most",
        "  Polling at poll.rotationPeriod, during a known rotation window, adds to this.",
        *_of_sets(calls),
        *_of_lists(calls),
        *_of_parameters(calls),
        f"  With a hub in the cluster: ${calls['hubDollarsPerMonth']:,.2f} a month, its own calls included",
        f"  With a hub that gets events: ${calls['eventsDollarsPerMonth']:,.2f} a month",
        "",
        "IAM POLICY",
        textwrap.indent(json.dumps(made["policy"], indent=2), "  "),
        "",
        *(
            line
            for role, of_role in made.get("rolePolicies", {}).items()
            for line in (f"IAM POLICY OF {role}", textwrap.indent(json.dumps(of_role, indent=2), "  "), "")
        ),
        "ONLY IF YOUR OWN KMS KEY ENCRYPTS A SECRET, with that key's ARN as Resource",
        *(
            textwrap.indent(json.dumps(made[statement], indent=2), "  ")
            for statement in ("keyPolicyStatement", "parameterKeyPolicyStatement")
            if made.get(statement)
        ),
    ]
    if made["warnings"]:
        lines += ["", "WARNINGS"]
        for warning in made["warnings"]:
            lines += _wrapped(warning, width)
    return "\n".join(lines) + "\n"


def _of_sets(calls: dict[str, Any]) -> list[str]:
    """What `find` costs, if a config has any."""
    if "listPerHour" not in calls:
        return []
    return [
        f"  {calls['listPerHour']:,.0f} ListSecrets an hour, in the price; more if over 100 secrets have path and tags",
        f"  {calls['listQuotaShare']:.2%} of the quota of ListSecrets, in the region with the most",
        "  One BatchGetSecretValue for each 20 secrets of a set when one of them moves, and for each pod that starts",
    ]


def _of_lists(calls: dict[str, Any]) -> list[str]:
    """What own looks by lists take, if a config has them."""
    if "ownListsPerHour" not in calls:
        return []
    return [
        f"  {calls['ownListsPerHour']:,.0f} ListSecrets an hour while the hub answers: up to ten secrets a call",
        f"  {calls['ownListsQuotaShare']:.2%} of the quota of ListSecrets, in the region with the most",
    ]


def _of_parameters(calls: dict[str, Any]) -> list[str]:
    """What Parameter Store is asked, if it is."""
    if "parametersPerHour" not in calls:
        return []
    return [
        f"  {calls['parametersPerHour']:,.0f} calls to Parameter Store an hour: ten parameters a call, and one for "
        "each page of a path",
        f"  {calls['parametersAtStart']:,} of them with decryption when all start; free for standard parameters",
        f"  {calls['parametersQuotaShare']:.2%} of the {PARAMETER_STORE} a second that an account has in a region",
    ]


def _wrapped(sentence: str, width: int | None) -> list[str]:
    """One item of a list, with a hanging indent."""
    if width is None:
        return [f"  - {sentence}"]
    return textwrap.wrap(
        sentence, max(width, 20), initial_indent="  - ", subsequent_indent="    ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _content(output: Output) -> str:
    match output.renderer:
        case Projection(directory, form, jmes_path):
            what = "one file per key" if directory else form
            made = f"{what} of {jmes_path}" if jmes_path else what
        case Property(path):
            made = f"property {path}"
        case ByContent():
            made = "one file per key of a JSON object, otherwise one file"
        case Template():
            made = "template"
        case Pem():
            made = "pem"
        case Pkcs12():
            made = "pkcs12"
        case ExternalSecretData():
            made = "one file per key of the ExternalSecret's target"
    return f"{made} of {', '.join(output.inputs)}" if len(output.inputs) > 1 else made


def _file(output: Output, root: str) -> dict[str, Any]:
    how = output.renderer
    selected = how if isinstance(how, Projection) else Projection(directory=isinstance(how, ExternalSecretData))
    return {
        "path": f"{root}/{output.path}{'/' if selected.directory else ''}",
        "mode": f"{output.mode:04o}",
        "format": selected.format if how is selected and not selected.directory else None,
        "jmesPath": selected.jmes_path,
        "property": how.path if isinstance(how, Property) else None,
        "content": _content(output),
        "secrets": list(output.inputs),
    }


def _secret(secret: Secret, config: Config) -> dict[str, Any]:
    root = config.settings.volume_path.rstrip("/")
    return {
        "name": secret.name,
        "kind": secret.ref.kind,
        "secretId": secret.ref.id,
        "region": secret.ref.place.region,
        **({"roleArn": list(secret.ref.place.roles)} if secret.ref.place.roles else {}),
        **({"failover": [r.place.region for r in secret.ref.replicas]} if secret.ref.replicas else {}),
        "versionStage": secret.ref.version_stage,
        "versionId": secret.ref.version_id,
        "period": None if secret.ref.version_id else secret.period,
        "optional": secret.optional,
        "files": [_file(output, root) for output in config.bundle.outputs if secret.name in output.inputs],
        "require": _required(secret.require) if secret.require else [],
    }


def _required(require: Require) -> list[str]:
    keys = [f"key {key}, not empty" for key in require.keys]
    matches = [f"key {key} to match its pattern" for key, _ in require.matches]
    pair = require.certificate
    return [*keys, *matches, *([f"{pair[0]} and {pair[1]} to be a valid certificate and its key"] if pair else [])]


def _stage(secret: dict[str, Any]) -> str:
    """Which version is followed, as the config words it."""
    if secret["kind"] == "secretsmanager":
        return f"stage {secret['versionStage']}"
    if secret["kind"] in ("tags", "parameterTags"):
        return "its tags"
    if secret["kind"] != "parameter":
        return "all that belong to it"
    return "latest version" if secret["versionStage"] == "AWSCURRENT" else f"label {secret['versionStage']}"


_ASKED = {True: ", which the config says handles it", False: ", if the program itself handles it"}

# Signals that a runtime catches on its own account, by the name of its process. Go programs have names of their own.
_CAUGHT = {
    "java": ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR2"),
    "ruby": ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"),
    "beam.smp": ("SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1"),
    "node": ("SIGINT", "SIGTERM", "SIGUSR1"),
}


def _how(target: Target) -> str:
    match target.action:
        case Touch(path):
            how = f"touch {path}"
        case Signal(signal, PidFile(path), handled):
            how = f"{signal} to the process of {path}{_ASKED[handled]}"
        case Signal(signal, ProcessName(name), handled):
            how = f"{signal} to the process {name}{_ASKED[handled]}"
        case Url(url):
            how = f"POST {shown_url(url)}"
    return how + (f" within {target.splay:g} s" if target.splay else "")


# -- what may need a second thought --------------------------------------------------------------------------------
def _regions(config: Config) -> list[str]:
    names = [secret.name for secret in config.bundle.secrets if secret.ref.place.region is None]
    if not names:
        return []
    return [
        f"{', '.join(names)}: the config names no region, so the policy allows every region of partition aws, but none "
        "of other partitions; set region, or use the ARN"
    ]


def _wide(config: Config) -> list[str]:
    return [
        f"{secret.name}: find without a path lists every secret of the account in that region, and may read every one; "
        "give the path that the names begin with as well"
        for secret in config.bundle.secrets
        if secret.ref.kind == "find" and secret.ref.query and secret.ref.query.path is None
    ]


def _modes(config: Config) -> list[str]:
    return [
        f"{wanted.name}: {output.path} has mode {output.mode:04o}: every user in every container that mounts the "
        'volume can read it; use fileMode "0440" and one group for app and agent'
        for wanted in config.bundle.wanted
        for output in wanted.outputs
        if output.mode & 0o004 and not _is_public(output, wanted.secret.require)
    ]


def _is_public(output: Output, require: Require | None) -> bool:
    """Whether the file is a certificate, which every client that connects can see anyway."""
    pair, how = require.certificate if require else None, output.renderer
    return pair is not None and isinstance(how, Projection) and how.jmes_path == pair[0]


def _spread(config: Config) -> list[str]:
    # An app that is notified reads again after each change, and then gets files that belong together.
    return [
        f"{wanted.name}: an app that opens its files by path can read one from before a rotation and one from after "
        "it; use one file with format: json or dotenv, let the app open ..data once and read beneath that handle, or "
        "notify the app so that it reads again"
        for wanted in config.bundle.wanted
        if (len(wanted.outputs) > 1 or any(output.may_be_several for output in wanted.outputs))
        and not any(target.watches(wanted.name) for target in config.bundle.targets)
    ]


def _unhandled(config: Config) -> list[str]:
    return [
        f"{target.name}: {action.signal} is not sent to {action.process.name}, because it may end it: this runtime "
        "catches the signal in every program; set handled: true if this one handles it, otherwise use touch or url"
        for target in config.bundle.targets
        if isinstance(action := target.action, Signal)
        if isinstance(action.process, ProcessName) and not action.handled
        if action.signal in _CAUGHT.get(action.process.name, ())
    ]


def _plain_http(config: Config) -> list[str]:
    refs = [ref for secret in config.bundle.secrets for ref in secret.ref.places]
    urls = sorted({ref.place.endpoint_url for ref in refs if ref.place.endpoint_url})
    return [
        f"endpointUrl {url} does not use TLS, so values cross the network unencrypted; use https"
        for url in urls
        if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")
    ]
