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


class Hub(Record):
    """What `--hub` is asked for. `period` and `floor` are the seconds between two looks at a secret, without events and
    with them; `audience` is that of the tokens that it accepts."""

    period: float
    floor: float
    audience: str
    events_queue: str | None


class Options(Record):
    """What holds for all parts, and what each part is asked for."""

    parts: tuple[str, ...]  # of PARTS, in that order
    listen: Listen  # metrics, probes and the hub
    hub: Hub


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
    _add_hub(parser)


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


def read(parser: ArgumentParser, args: Namespace) -> Options:
    """The options. Ends the process with a usage error where they do not go together."""
    parts = tuple(part for part in PARTS if getattr(args, part.replace("-", "_")))
    if not parts:
        parser.error(f"choose at least one of {', '.join(f'--{part}' for part in PARTS)}")
    hub = Hub(args.hub_period, args.floor, args.hub_audience, args.events_queue)
    return Options(parts, args.listen, hub)


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})(s|m|h)", text)
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration of at least 1s, such as 10s, 5m or 1h")
    return seconds


def _listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not [HOST]:PORT, such as :9106 or 127.0.0.1:9106")
    return Listen(host.strip("[]"), int(port))
