"""A stand-in for AWS in a node's network, until it is interrupted: ``python -m tests.cluster aws NAME=VALUE …``.

tests/cluster/controller.yaml says how pods reach it.
"""

from __future__ import annotations

import logging
import signal
import sys

import boto3
from moto.server import ThreadedMotoServer

from tests.cluster.inside import ADDRESS
from tests.support.aws import REGION

PORT = 4566


def main(secrets: list[str]) -> None:
    """Blocks the signals first, so that the server's threads, too, leave them to the wait."""
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=ADDRESS, port=PORT, verbose=False)
    server.start()
    url = f"http://{ADDRESS}:{PORT}"
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=url, **keys)
    for each in secrets:
        name, _, value = each.partition("=")
        client.create_secret(Name=name, SecretString=value)
    print(f"a stand-in for AWS at {url}, with {len(secrets)} secrets, until Ctrl-C", flush=True)
    signal.sigwait(ending)
    server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
