"""What `freshmount controller` is asked for: its flags, read by argparse. Imports nothing of the parts."""

from __future__ import annotations

import argparse
import os
import re
import socket
from argparse import ArgumentParser, Namespace

from agent.core.record import Record

EXTERNAL_SECRETS, HUB, PUSH = PARTS = ("external-secrets", "hub", "push")

_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


class Listen(Record):
    """Where a server listens."""

    host: str
    port: int


class ExternalSecretsOptions(Record):
    """What holds for `--external-secrets`. Without `namespaces` it works in all; `identity` names this replica."""

    controller_class: str
    namespaces: tuple[str, ...]
    concurrency: int
    leader_election: bool
    lease_namespace: str
    lease_name: str
    identity: str
    service_account_tokens: bool


class Push(Record):
    """What holds for `--push`."""

    listen: Listen
    cluster: str
    prefix: str = ""  # empty, or with a slash at its end
    certificates: str | None = None  # a directory
    window: int = 30  # days in which a deleted secret can be restored
    list_orphans: bool = False  # a command: list them and end


class Hub(Record):
    """What `--hub` is asked for. `period` and `floor` are the seconds between two looks at a secret, without events and
    with them; `audience` is that of the tokens that it accepts; so many `replicas` share the agents."""

    period: float
    floor: float
    audience: str
    events_queue: str | None
    replicas: int


class Options(Record):
    """What holds for all parts, and what each part is asked for."""

    parts: tuple[str, ...]  # of PARTS, in that order
    listen: Listen  # metrics, probes and the hub
    external_secrets: ExternalSecretsOptions
    hub: Hub
    push: Push | None = None


def add(parser: ArgumentParser) -> None:
    """Add the flags."""
    parts = parser.add_argument_group("parts", "at least one")
    parts.add_argument(
        "--external-secrets", action="store_true", help="keep a Kubernetes Secret for each ExternalSecret"
    )
    parts.add_argument("--hub", action="store_true", help="look at AWS once for all agents of the cluster")
    parts.add_argument("--push", action="store_true", help="write labelled Secrets to AWS before etcd sees them")
    parser.add_argument(
        "--listen",
        metavar="[HOST]:PORT",
        type=_listen,
        default=Listen("", 9106),
        help="metrics, probes and the hub (default: :9106)",
    )
    _add_external_secrets(parser)
    _add_hub(parser)
    _add_push(parser)


def read(parser: ArgumentParser, args: Namespace) -> Options:
    """The options. Ends the process with a usage error where they do not go together."""
    parts = tuple(part for part in PARTS if getattr(args, part.replace("-", "_")))
    if not parts:
        parser.error(f"choose at least one of {', '.join(f'--{part}' for part in PARTS)}")
    return Options(parts, args.listen, _external_secrets(args), _hub(args), _push(args) if PUSH in parts else None)


# -- --external-secrets


def _add_external_secrets(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("--external-secrets")
    group.add_argument(
        "--controller-class",
        metavar="NAME",
        default="freshmount",
        help="the stores with this spec.controller; empty: all stores (default: freshmount)",
    )
    group.add_argument(
        "--namespace",
        metavar="NS",
        dest="namespaces",
        action="append",
        default=[],
        help="work in this namespace alone; may be given again (default: all)",
    )
    group.add_argument(
        "--concurrency",
        metavar="N",
        type=_count,
        default=16,
        help="ExternalSecrets of one store that are worked on at once (default: 16)",
    )
    group.add_argument(
        "--service-account-tokens",
        action="store_true",
        help="let stores use service accounts (auth.jwt), which needs to create tokens for them",
    )
    group.add_argument("--no-leader-election", action="store_true", help="there is one replica: write without a Lease")
    group.add_argument(
        "--lease-namespace", metavar="NS", default="", help="where the Lease is (default: this pod's namespace)"
    )
    group.add_argument(
        "--lease-name",
        metavar="NAME",
        default="freshmount-external-secrets",
        help="what the Lease is called (default: freshmount-external-secrets)",
    )


def _external_secrets(args: Namespace) -> ExternalSecretsOptions:
    return ExternalSecretsOptions(
        controller_class=args.controller_class,
        namespaces=tuple(dict.fromkeys(args.namespaces)),
        concurrency=args.concurrency,
        leader_election=not args.no_leader_election,
        lease_namespace=args.lease_namespace or _own_namespace(),
        lease_name=args.lease_name,
        identity=f"{os.environ.get('POD_NAME') or socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}",
        service_account_tokens=args.service_account_tokens,
    )


def _own_namespace() -> str:
    try:
        with open(_NAMESPACE, encoding="ascii", errors="replace") as handle:
            return handle.read(64).strip() or "default"
    except OSError:
        return "default"


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


# -- --hub


def _add_hub(parser: ArgumentParser) -> None:
    hub = parser.add_argument_group("--hub")
    hub.add_argument(
        "--hub-period",
        metavar="DURATION",
        type=_duration,
        default=10.0,
        help="time between two looks at a secret that somebody asks about (default: 10s)",
    )
    hub.add_argument(
        "--floor",
        metavar="DURATION",
        type=_duration,
        default=3600.0,
        help="the same while the queue of events works (default: 1h)",
    )
    hub.add_argument(
        "--events-queue", metavar="URL", help="an SQS queue that gets EventBridge's events; see docs/hub.md"
    )
    hub.add_argument(
        "--hub-audience",
        metavar="NAME",
        default="freshmount",
        help="audience of the agents' tokens (default: freshmount)",
    )
    hub.add_argument(
        "--hub-replicas",
        metavar="N",
        type=_count,
        default=1,
        help="hubs that share the agents, and the rate at which these fetch what moved (default: 1)",
    )


def _hub(args: Namespace) -> Hub:
    return Hub(args.hub_period, args.floor, args.hub_audience, args.events_queue, args.hub_replicas)


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})(s|m|h)", text)
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration of at least 1s, such as 10s, 5m or 1h")
    return seconds


# -- --push


def _add_push(parser: ArgumentParser) -> None:
    push = parser.add_argument_group("--push")
    push.add_argument(
        "--push-listen",
        metavar="[HOST]:PORT",
        type=_listen,
        default=Listen("", 9443),
        help="where the API server calls (default: :9443)",
    )
    push.add_argument(
        "--push-cluster",
        metavar="NAME",
        type=_cluster,
        default="default",
        help="in the tags of its secrets; another cluster that writes to the account needs another (default: default)",
    )
    push.add_argument(
        "--push-prefix",
        metavar="PREFIX/",
        type=_prefix,
        default="",
        help="how the names of all secrets begin, before the namespace (default: nothing)",
    )
    push.add_argument(
        "--push-cert-dir",
        metavar="DIR",
        help="serve tls.crt and tls.key of this directory (default: make and renew a certificate)",
    )
    push.add_argument(
        "--push-deletion-window",
        metavar="DAYS",
        type=int,
        choices=range(7, 31),
        default=30,
        help="how long a deleted secret can be restored: 7 to 30 (default: 30)",
    )
    push.add_argument(
        "--push-list-orphans",
        action="store_true",
        help="list what AWS has and no Secret refers to, with the permissions of who runs it, and end",
    )


def _push(args: Namespace) -> Push:
    return Push(
        args.push_listen,
        args.push_cluster,
        prefix=args.push_prefix,
        certificates=args.push_cert_dir,
        window=args.push_deletion_window,
        list_orphans=args.push_list_orphans,
    )


def _cluster(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not a cluster's name: up to 100 letters, digits, dots, dashes")


def _prefix(text: str) -> str:
    if re.fullmatch(r"([A-Za-z0-9_+=.@-]+/){0,10}", text) and len(text) <= 100:
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not a prefix of names, such as prod/ or team/prod/")


def _listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not [HOST]:PORT, such as :9106 or 127.0.0.1:9106")
    return Listen(host.strip("[]"), int(port))
