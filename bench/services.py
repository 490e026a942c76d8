"""Secrets Manager, Parameter Store and STS over HTTPS, in a process of their own, for the figure `sources`.

As `agent.demo.stand_in`, which has Secrets Manager alone, it prints its URL and serves until its input ends. GET
/counts says how often each operation was asked for.
"""

from __future__ import annotations

import argparse
import json
import ssl
import sys
from collections import Counter

from agent.demo.server import JSON, Exchange
from tests.support.answers import Answers, Asked
from tests.support.services import ACCOUNT, Services

PARAMETERS = tuple(f"/bench/p{number}" for number in range(100))
REGIONS = ("eu-west-1", "eu-central-1", "us-east-1")
SECRETS = tuple((f"bench/r{number}", REGIONS[number % 3]) for number in range(10))
VALUE = json.dumps({"username": "app", "password": "correct horse battery staple"})


def entries() -> str:
    """The secrets of the config: a role of its own for each of Secrets Manager's."""
    lines = [
        f"  - {{name: p{number}, parameter: '{name}', files: [{{path: p{number}}}]}}"
        for number, name in enumerate(PARAMETERS)
    ]
    lines += [
        f"  - {{name: r{number}, secretId: 'arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{name}-AbCdEf', "
        f"roleArn: 'arn:aws:iam::222233334444:role/r{number}', files: [{{path: r{number}}}]}}"
        for number, (name, region) in enumerate(SECRETS)
    ]
    return "\n".join(lines)


class _Serving(Answers):
    """Keeps connections, as AWS does."""

    def respond(self, exchange: Exchange) -> None:
        services = self.answer
        assert isinstance(services, Services)
        if exchange.path == "/counts":
            exchange.answer(200, json.dumps(Counter(call.operation for call in services.calls)).encode(), JSON)
            return
        asked = Asked(exchange.command, exchange.path, dict(exchange.headers.items()), exchange.body)
        answer = services(asked)
        assert answer is not None
        exchange.answer(answer.status, answer.body, answer.content_type)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.services")
    parser.add_argument("--certificate", required=True, help="serve HTTPS with this file, which has the key as well")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(parser.parse_args().certificate)
    services = Services()
    for parameter in PARAMETERS:
        services.put_parameter(parameter, VALUE)
    for name, region in SECRETS:
        services.put(name, VALUE, region)
    with _Serving(services, context=context) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
