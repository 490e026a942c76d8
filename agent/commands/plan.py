"""What a config means before anything runs: files, targets, the IAM policy, calls and their price.

Offline: it reads the config and calls nothing. Prices and quotas are AWS's, for each account and region:
https://aws.amazon.com/secrets-manager/pricing/ and
https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
"""

from __future__ import annotations

import json
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from agent.config.native import doubts
from agent.config.reading import shown_url
from agent.core import arn
from agent.core.model import (
    CALLS,
    ByContent,
    Config,
    ExternalSecretData,
    Kind,
    Output,
    Pem,
    PidFile,
    Pkcs12,
    Place,
    ProcessName,
    Projection,
    Property,
    Ref,
    Require,
    Secret,
    Signal,
    Target,
    Template,
    Touch,
    Url,
)

PRICE = 0.05 / 10_000  # dollars per call

QUOTAS = {"DescribeSecret": 40_000, "GetSecretValue": 10_000, "ListSecrets": 100}  # calls per second

PARAMETER_STORE = 40  # calls a second to Parameter Store, of all kinds; more is a setting that costs

PER_CALL = 10  # parameters

PER_LIST = 10  # secrets at which one list looks

HOURS = 730  # in a month

HUB_PERIOD, HUB_FLOOR = 10.0, 3600.0  # seconds between two looks of a hub at a secret, without events and with them

_PATIENCE = 10  # seconds over which a rollout is spread anyway

_SHARE = 0.1  # of a quota; using more may affect the account's other users


def plan(config: Config, replicas: int) -> dict[str, Any]:
    """The plan for that many pods, in the form that `--json` prints."""
    return {
        "secrets": [_secret(secret, config) for secret in config.bundle.secrets],
        "targets": [
            {"name": t.name, "how": _how(t), "secrets": None if t.secrets is None else sorted(t.secrets)}
            for t in config.bundle.targets
        ],
        "policy": policy(config),
        **({"rolePolicies": {role: policy(config, role) for role in roles}} if (roles := _roles(config)) else {}),
        "keyPolicyStatement": _decrypt(config, "secretsmanager"),
        **({"parameterKeyPolicyStatement": _decrypt(config, "ssm")} if _refs(config, *_OF_SSM) else {}),
        "calls": _calls(config, replicas),
        "warnings": [
            *doubts(config),
            *_regions(config),
            *_wide(config),
            *_modes(config),
            *_spread(config),
            *_unhandled(config),
            *_plain_http(config),
            *_quotas(config, replicas),
        ],
    }


_OF_SSM: tuple[Kind, ...] = ("parameter", "parameters", "matching", "parameterTags")


def policy(config: Config, role: str | None = None) -> dict[str, Any]:
    """The least IAM policy of a role that is assumed, or of the pod's own identity: read each secret that is asked for
    with it, describe those that are polled (one with a `versionId` is not), and assume the roles that come next.
    """

    def asked(*kinds: Kind) -> list[Ref]:
        return [ref for ref in _refs(config, *kinds) if (ref.place.roles or (None,))[-1] == role]

    secrets = asked("secretsmanager")
    read, described = _resources(secrets), _resources(ref for ref in secrets if ref.version_id is None)
    actions: list[tuple[Any, list[str]]]
    if read == described:
        actions = [(["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"], read)]
    else:
        actions = [("secretsmanager:GetSecretValue", read), ("secretsmanager:DescribeSecret", described)]
    sets, matching = asked("find"), asked("matching")
    tagged = [ref for ref in matching if ref.query and ref.query.tags]
    actions += [
        ("secretsmanager:ListSecrets", ["*"] if _lists(config) and described and not sets else []),
        (["secretsmanager:ListSecrets", "secretsmanager:BatchGetSecretValue"], ["*"] if sets else []),
        ("secretsmanager:GetSecretValue", _resources(sets)),
        ("ssm:GetParameters", _resources([*asked("parameter"), *tagged])),
        ("ssm:GetParametersByPath", _resources([*asked("parameters"), *(r for r in matching if r not in tagged)])),
        ("ssm:DescribeParameters", ["*"] if tagged else []),
        ("secretsmanager:DescribeSecret", _resources(asked("tags"))),
        ("ssm:ListTagsForResource", _resources(asked("parameterTags"))),
    ]
    chains = list(dict.fromkeys(ref.place for ref in _refs(config, *CALLS)))
    steps = [(each, tags) for place in chains for before, each, tags in _steps(place) if before == role]
    actions += [
        ("sts:AssumeRole", list(dict.fromkeys(each for each, tags in steps if not tags))),
        (["sts:AssumeRole", "sts:TagSession"], list(dict.fromkeys(each for each, tags in steps if tags))),
    ]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": action, "Resource": resources} for action, resources in actions if resources
        ],
    }


def _lists(config: Config) -> bool:
    """Whether own looks are made by lists."""
    hub = config.settings.hub
    return hub is not None and hub.lists


def _steps(place: Place) -> list[tuple[str | None, str, bool]]:
    """Each role of a place's chain: which one assumes it (None: the pod's own identity), and whether with tags."""
    chain = place.roles
    return [
        (before, each, bool(place.tags) and number == len(chain))
        for number, (before, each) in enumerate(zip((None, *chain), chain, strict=False), 1)
    ]


def _roles(config: Config) -> list[str]:
    """The roles that are assumed, in the order of the config."""
    return list(dict.fromkeys(role for ref in _refs(config, *CALLS) for role in ref.place.roles))


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


def _refs(config: Config, *kinds: Kind) -> list[Ref]:
    """What is asked for, of these kinds, replicas included."""
    return [ref for secret in config.bundle.secrets for ref in secret.ref.places if ref.kind in kinds]


def _resources(refs: Iterable[Ref]) -> list[str]:
    return list(dict.fromkeys(resource for ref in refs for resource in ref.resources))


def _polled(config: Config, *kinds: Kind) -> list[Secret]:
    return [s for s in config.bundle.secrets if s.ref.version_id is None and s.ref.kind in kinds]


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


def _decrypt(config: Config, service: str) -> dict[str, Any] | None:
    """Permission to decrypt through that service only, and only these secrets: AWS passes their ARN as encryption
    context. None if nothing is asked of it.
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html
    """
    refs = _refs(config, *(kind for kind, (source, *_) in CALLS.items() if source == service))
    if not refs:
        return None
    services = sorted(
        {
            f"{service}.{region}.{suffix}"
            for region in {ref.place.region or "*" for ref in refs}
            for suffix in ("amazonaws.com", arn.domain(region))  # KMS's documents name the first one for all regions
        }
    )
    context = "SecretARN" if service == "secretsmanager" else "PARAMETER_ARN"
    return {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": "ARN-OF-THE-KEY",
        "Condition": {
            "StringLike": {"kms:ViaService": services, f"kms:EncryptionContext:{context}": _resources(refs)},
        },
    }


def _describes_a_second(config: Config, replicas: int) -> float:
    """Calls per second in the region with the most. Jitter does not change the average."""
    rates: dict[str | None, float] = defaultdict(float)
    for secret in _polled(config, "secretsmanager"):
        rates[secret.ref.place.region] += replicas / secret.period
    return max(rates.values(), default=0.0)


def _lists_a_second(config: Config, replicas: int) -> float:
    """ListSecrets in the region with the most, with one page each."""
    rates: dict[str | None, float] = defaultdict(float)
    for secret in _polled(config, "find"):
        rates[secret.ref.place.region] += replicas / secret.period
    return max(rates.values(), default=0.0)


def _parameter_calls(secrets: Iterable[Secret]) -> dict[Place, float]:
    """Calls to Parameter Store that ask once for each of these, by place: ten parameters share one, and a path has at
    least its own."""
    alone: dict[Place, float] = defaultdict(float)
    shared: dict[Place, int] = defaultdict(int)
    for secret in secrets:
        if secret.ref.kind == "parameter":
            shared[secret.ref.place] += 1
        elif secret.ref.kind in _OF_SSM:
            alone[secret.ref.place] += 1
    return {place: alone[place] + -(-shared[place] // PER_CALL) for place in dict.fromkeys([*alone, *shared])}


def _parameters_a_second(config: Config) -> dict[Place, float]:
    """How often one pod asks Parameter Store, by place."""
    rates: dict[Place, float] = defaultdict(float)
    polled = _polled(config, *_OF_SSM)
    for period in {secret.period for secret in polled}:
        for place, calls in _parameter_calls(s for s in polled if s.period == period).items():
            rates[place] += calls / period
    return rates


def _calls(config: Config, replicas: int) -> dict[str, Any]:
    describe = sum(3600 / secret.period for secret in _polled(config, "secretsmanager")) * replicas
    calls = {
        "replicas": replicas,
        "describePerHour": round(describe, 1),
        "getAtStart": sum(secret.ref.kind == "secretsmanager" for secret in config.bundle.secrets) * replicas,
        "dollarsPerMonth": round(describe * HOURS * PRICE, 2),
        "describeQuotaShare": round(_describes_a_second(config, replicas) / QUOTAS["DescribeSecret"], 6),
    }
    if _refs(config, "find"):
        lists = sum(3600 / secret.period for secret in _polled(config, "find")) * replicas
        calls["listPerHour"] = round(lists, 1)
        calls["listQuotaShare"] = round(_lists_a_second(config, replicas) / QUOTAS["ListSecrets"], 6)
        calls["dollarsPerMonth"] = round((describe + lists) * HOURS * PRICE, 2)
    looked, distinct, alone = _by_hub(config)
    others = alone * replicas * 3600 + calls.get("listPerHour", 0.0)
    for name, period in (("hubDollarsPerMonth", HUB_PERIOD), ("eventsDollarsPerMonth", HUB_FLOOR)):
        calls[name] = round((looked * replicas * 3600 + distinct / period * 3600 + others) * HOURS * PRICE, 2)
    if _lists(config):
        calls["ownListsPerHour"] = round(looked * replicas * 3600, 1)
        calls["ownListsQuotaShare"] = round(_own_lists_a_second(config, replicas) / QUOTAS["ListSecrets"], 6)
    if _refs(config, *_OF_SSM):
        rates = _parameters_a_second(config)
        calls["parametersPerHour"] = round(3600 * replicas * sum(rates.values()), 1)
        calls["parametersAtStart"] = round(replicas * sum(_parameter_calls(config.bundle.secrets).values()))
        calls["parametersQuotaShare"] = round(replicas * max(rates.values(), default=0.0) / PARAMETER_STORE, 6)
    return calls


def _by_hub(config: Config) -> tuple[float, int, float]:
    """Of secrets of Secrets Manager: calls a second of one pod for what a hub may answer for, how many different ones
    those are, and calls a second of one pod for the others."""
    polled = _polled(config, "secretsmanager")
    known = _known(config)
    distinct = {(secret.ref.id, secret.ref.place.region) for secret in known}
    looked = sum(_own_looks(config).values())
    return looked, len(distinct), sum(1 / secret.period for secret in polled if secret not in known)


def _known(config: Config) -> list[Secret]:
    """The secrets of Secrets Manager that a hub may answer for."""
    return [s for s in _polled(config, "secretsmanager") if s.ref.id.startswith("arn:") or not s.ref.place.roles]


def _own_looks(config: Config) -> dict[Place, float]:
    """How often one pod looks itself at what a hub answers for, by place, in calls a second: at each secret by itself,
    or by a list at up to ten of one place."""
    together: dict[tuple[Place, float], int] = defaultdict(int)
    for secret in _known(config):
        together[secret.ref.place, max(secret.period, config.bundle.timing.floor)] += 1
    rates: dict[Place, float] = defaultdict(float)
    for (place, period), secrets in together.items():
        rates[place] += (-(-secrets // PER_LIST) if _lists(config) else secrets) / period
    return rates


def _own_lists_a_second(config: Config, replicas: int) -> float:
    """ListSecrets for own looks, in the region with the most."""
    rates: dict[str | None, float] = defaultdict(float)
    for place, rate in _own_looks(config).items() if _lists(config) else ():
        rates[place.region] += rate * replicas
    return max(rates.values(), default=0.0)


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


def _quotas(config: Config, replicas: int) -> list[str]:
    warnings = []
    share = _describes_a_second(config, replicas) / QUOTAS["DescribeSecret"]
    if share > _SHARE:
        warnings.append(
            f"polling takes {share:.0%} of the quota of DescribeSecret, which the whole account shares in a region: "
            "raise poll.period"
        )
    share = _lists_a_second(config, replicas) / QUOTAS["ListSecrets"]
    if share > _SHARE:
        warnings.append(
            f"find takes {share:.0%} of the {QUOTAS['ListSecrets']} ListSecrets a second that the whole account shares "
            "in a region: raise the period of these secrets"
        )
    share = _own_lists_a_second(config, replicas) / QUOTAS["ListSecrets"]
    if share > _SHARE:
        warnings.append(
            f"own looks by lists take {share:.0%} of the {QUOTAS['ListSecrets']} ListSecrets a second that the whole "
            "account shares in a region: raise poll.floor, or remove hub.ownLooks"
        )
    share = replicas * max(_parameters_a_second(config).values(), default=0.0) / PARAMETER_STORE
    if share > _SHARE:
        warnings.append(
            f"polling takes {share:.0%} of the {PARAMETER_STORE} calls a second to Parameter Store that an account has "
            "in a region for all its clients: raise poll.period, put parameters that belong together into one, or turn "
            "on its higher throughput"
        )
    seconds = replicas * max(_parameter_calls(config.bundle.secrets).values(), default=0.0) / (_SHARE * PARAMETER_STORE)
    if seconds > _PATIENCE:
        warnings.append(
            f"a rollout of all {replicas} pods is best spread over {seconds:.0f} s or more: their first calls to "
            f"Parameter Store take that long at {_SHARE:.0%} of its {PARAMETER_STORE} a second"
        )
    per_region: dict[str | None, int] = defaultdict(int)
    for secret in config.bundle.secrets:
        if secret.ref.kind == "secretsmanager":
            per_region[secret.ref.place.region] += replicas
    seconds = max(per_region.values(), default=0) / (_SHARE * QUOTAS["GetSecretValue"])
    if seconds > 1:
        warnings.append(
            f"spread a rollout of all {replicas} pods over {seconds:.0f} s or more: their first GetSecretValue calls "
            f"take that long at {_SHARE:.0%} of the quota"
        )
    return warnings
