"""What `freshmount controller` is asked for: its flags, read by argparse. Imports nothing of the parts."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace

from agent.core.record import Record

EXTERNAL_SECRETS, HUB, PUSH = PARTS = ("external-secrets", "hub", "push")


class Listen(Record):
    """Where a server listens."""

    host: str
    port: int


class Options(Record):
    """What holds for all parts."""

    parts: tuple[str, ...]  # of PARTS, in that order
    listen: Listen  # metrics, probes and the hub


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


def read(parser: ArgumentParser, args: Namespace) -> Options:
    """The options. Ends the process with a usage error where they do not go together."""
    parts = tuple(part for part in PARTS if getattr(args, part.replace("-", "_")))
    if not parts:
        parser.error(f"choose at least one of {', '.join(f'--{part}' for part in PARTS)}")
    return Options(parts, args.listen)


def _listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not [HOST]:PORT, such as :9106 or 127.0.0.1:9106")
    return Listen(host.strip("[]"), int(port))
