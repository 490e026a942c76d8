"""How often a config lets its pods call AWS, what that costs, and what it takes of AWS's quotas.

Prices and quotas are AWS's, for each account and region:
https://aws.amazon.com/secrets-manager/pricing/ and
https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from agent.commands.policy import OF_SSM, asked_for, by_lists
from agent.core.model import Config, Kind, Place, Secret

PRICE = 0.05 / 10_000  # dollars per call

QUOTAS = {"DescribeSecret": 40_000, "GetSecretValue": 10_000, "ListSecrets": 100}  # calls per second

PARAMETER_STORE = 40  # calls a second to Parameter Store, of all kinds; more is a setting that costs

PER_CALL = 10  # parameters

PER_LIST = 10  # secrets at which one list looks

HOURS = 730  # in a month

HUB_PERIOD, HUB_FLOOR = 10.0, 3600.0  # seconds between two looks of a hub at a secret, without events and with them

_PATIENCE = 10  # seconds over which a rollout is spread anyway

_SHARE = 0.1  # of a quota; using more may affect the account's other users


def calls_of(config: Config, replicas: int) -> dict[str, Any]:
    """The `calls` of a plan: how many of which kind, dollars a month, and shares of quotas, for so many pods."""
    describe = sum(3600 / secret.period for secret in _polled(config, "secretsmanager")) * replicas
    calls = {
        "replicas": replicas,
        "describePerHour": round(describe, 1),
        "getAtStart": sum(secret.ref.kind == "secretsmanager" for secret in config.bundle.secrets) * replicas,
        "dollarsPerMonth": round(describe * HOURS * PRICE, 2),
        "describeQuotaShare": round(_describes_a_second(config, replicas) / QUOTAS["DescribeSecret"], 6),
    }
    if asked_for(config, "find"):
        lists = sum(3600 / secret.period for secret in _polled(config, "find")) * replicas
        calls["listPerHour"] = round(lists, 1)
        calls["listQuotaShare"] = round(_lists_a_second(config, replicas) / QUOTAS["ListSecrets"], 6)
        calls["dollarsPerMonth"] = round((describe + lists) * HOURS * PRICE, 2)
    looked, distinct, alone = _by_hub(config)
    others = alone * replicas * 3600 + calls.get("listPerHour", 0.0)
    for name, period in (("hubDollarsPerMonth", HUB_PERIOD), ("eventsDollarsPerMonth", HUB_FLOOR)):
        calls[name] = round((looked * replicas * 3600 + distinct / period * 3600 + others) * HOURS * PRICE, 2)
    if by_lists(config):
        calls["ownListsPerHour"] = round(looked * replicas * 3600, 1)
        calls["ownListsQuotaShare"] = round(_own_lists_a_second(config, replicas) / QUOTAS["ListSecrets"], 6)
    if asked_for(config, *OF_SSM):
        rates = _parameters_a_second(config)
        calls["parametersPerHour"] = round(3600 * replicas * sum(rates.values()), 1)
        calls["parametersAtStart"] = round(replicas * sum(_parameter_calls(config.bundle.secrets).values()))
        calls["parametersQuotaShare"] = round(replicas * max(rates.values(), default=0.0) / PARAMETER_STORE, 6)
    return calls


def above_quotas(config: Config, replicas: int) -> list[str]:
    """What takes more of a quota than other users of the account may be able to spare, and what to do."""
    lists = f"of the {QUOTAS['ListSecrets']} ListSecrets a second that the whole account shares in a region"
    polled = (
        (
            _describes_a_second(config, replicas) / QUOTAS["DescribeSecret"],
            "polling takes {} of the quota of DescribeSecret, which the whole account shares in a region: raise "
            "poll.period",
        ),
        (
            _lists_a_second(config, replicas) / QUOTAS["ListSecrets"],
            f"find takes {{}} {lists}: raise the period of these secrets",
        ),
        (
            _own_lists_a_second(config, replicas) / QUOTAS["ListSecrets"],
            f"own looks by lists take {{}} {lists}: raise poll.floor, or remove hub.ownLooks",
        ),
        (
            replicas * max(_parameters_a_second(config).values(), default=0.0) / PARAMETER_STORE,
            f"polling takes {{}} of the {PARAMETER_STORE} calls a second to Parameter Store that an account has in a "
            "region for all its clients: raise poll.period, put parameters that belong together into one, or turn on "
            "its higher throughput",
        ),
    )
    return [sentence.format(f"{share:.0%}") for share, sentence in polled if share > _SHARE] + _rollouts(
        config, replicas
    )


def _rollouts(config: Config, replicas: int) -> list[str]:
    """Over how many seconds the start of all pods is best spread, where their first calls are many."""
    warnings = []
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
        rates[place] += (-(-secrets // PER_LIST) if by_lists(config) else secrets) / period
    return rates


def _own_lists_a_second(config: Config, replicas: int) -> float:
    """ListSecrets for own looks, in the region with the most."""
    rates: dict[str | None, float] = defaultdict(float)
    for place, rate in _own_looks(config).items() if by_lists(config) else ():
        rates[place.region] += rate * replicas
    return max(rates.values(), default=0.0)


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
        elif secret.ref.kind in OF_SSM:
            alone[secret.ref.place] += 1
    return {place: alone[place] + -(-shared[place] // PER_CALL) for place in dict.fromkeys([*alone, *shared])}


def _parameters_a_second(config: Config) -> dict[Place, float]:
    """How often one pod asks Parameter Store, by place."""
    rates: dict[Place, float] = defaultdict(float)
    polled = _polled(config, *OF_SSM)
    for period in {secret.period for secret in polled}:
        for place, calls in _parameter_calls(s for s in polled if s.period == period).items():
            rates[place] += calls / period
    return rates


def _polled(config: Config, *kinds: Kind) -> list[Secret]:
    return [s for s in config.bundle.secrets if s.ref.version_id is None and s.ref.kind in kinds]
