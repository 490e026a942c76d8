"""A stand-in for AWS in a node's network, until it is interrupted: ``python -m tests.cluster aws NAME=VALUE …``.

tests/cluster/controller.yaml says how pods reach it.
"""

from __future__ import annotations

import os
import signal
import sys

from moto.server import ThreadedMotoServer

from tests.cluster.inside import ADDRESS
from tests.support.aws import REGION

PORT = 4566


def main(secrets: list[str]) -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing")
    import boto3

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = ThreadedMotoServer(ip_address=ADDRESS, port=PORT, verbose=False)
    server.start()
    url = f"http://{ADDRESS}:{PORT}"
    client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=url)
    for each in secrets:
        name, _, value = each.partition("=")
        client.create_secret(Name=name, SecretString=value)
    print(f"AWS is played at {url}, with {len(secrets)} secrets, until Ctrl-C", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
