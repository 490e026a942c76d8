"""What `freshmount controller` is asked for: its flags, read by argparse. Imports nothing of the parts."""

from __future__ import annotations

import argparse
import re
from argparse import ArgumentParser, Namespace

from agent.core.record import Record

EXTERNAL_SECRETS, HUB, PUSH = PARTS = ("external-secrets", "hub", "push")


class Listen(Record):
    """Where a server listens."""

    host: str
    port: int


class Push(Record):
    """What holds for `--push`."""

    listen: Listen
    cluster: str
    prefix: str = ""  # empty, or with a slash at its end
    certificates: str | None = None  # a directory
    window: int = 30  # days in which a deleted secret can be restored
    list_orphans: bool = False  # a command: list them and end


class Options(Record):
    """What holds for all parts."""

    parts: tuple[str, ...]  # of PARTS, in that order
    listen: Listen  # metrics, probes and the hub
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
    _add_push(parser)


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
        "--push-cluster", metavar="NAME", type=_cluster, help="required: this cluster's name in the tags of its secrets"
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


def read(parser: ArgumentParser, args: Namespace) -> Options:
    """The options. Ends the process with a usage error where they do not go together."""
    parts = tuple(part for part in PARTS if getattr(args, part.replace("-", "_")))
    if not parts:
        parser.error(f"choose at least one of {', '.join(f'--{part}' for part in PARTS)}")
    if PUSH in parts and not args.push_cluster:
        parser.error("--push needs --push-cluster: another cluster that writes to this account has another name")
    return Options(parts, args.listen, _push(args) if PUSH in parts else None)


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
