"""Run within the files of an image while it is built: everything that the agent can need there is there. With the word
`controller` behind it, of the controller's image."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import importlib.util
import io
import os
import pkgutil
import ssl
import sys
import tempfile

import boto3
import botocore.session
from botocore.credentials import create_credential_resolver
from watchdog.observers import Observer

import agent.cli
from agent.commands import run
from agent.launch import keep_private

REGIONS = {"aws": "eu-west-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
ASSUMED = """
[profile base]
role_arn = arn:aws:iam::111122223333:role/base
web_identity_token_file = /nonexistent
[profile above]
role_arn = arn:aws:iam::111122223333:role/above
source_profile = base
"""


CONTROLLER = sys.argv[1:] == ["controller"]


def main() -> None:
    run.imports()
    services = ("secretsmanager", "ssm", "sts", *(("sqs",) if CONTROLLER else ()))
    for partition, region in REGIONS.items():
        session = boto3.session.Session(region_name=region)
        suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
        for service in services:
            client = session.client(service, aws_access_key_id="x", aws_secret_access_key="x")
            assert client.meta.endpoint_url == f"https://{service}.{region}.{suffix}", client.meta.endpoint_url
            assert client.meta.partition == partition
        for service in ("sso", "sso-oidc"):
            session.client(service, aws_access_key_id="x", aws_secret_access_key="x")
    _credential_providers()
    assert len(ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE", _BUNDLE)).get_ca_certs()) > 50
    _watches()
    _threads()
    keep_private()
    for absent in ("pip", "setuptools", "ensurepip", "moto", "agent.demo", *(() if CONTROLLER else OF_CONTROLLER)):
        assert importlib.util.find_spec(absent) is None, f"{absent} is in the image"
    for shell in ("sh", "bash", "busybox", "apt-get"):
        assert not any(os.path.exists(f"/{place}/{shell}") for place in ("bin", "usr/bin", "sbin", "usr/sbin"))
    with contextlib.redirect_stderr(io.StringIO()):
        assert agent.cli.main(["check", "--config", "/nonexistent"], {}) == 2
        if CONTROLLER:
            _controller()
    print(f"smoke test: Python {sys.version.split()[0]}, botocore {botocore.__version__}, all there")


OF_CONTROLLER = ("agent.controller", "aiohttp", "cryptography", "lightkube", "_cffi_backend")
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def _controller() -> None:
    """Each module of the controller, a client for an API server, a certificate, and the command."""
    import agent.controller

    for module in pkgutil.walk_packages(agent.controller.__path__, "agent.controller."):
        importlib.import_module(module.name)
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
    from lightkube import AsyncClient, KubeConfig
    from lightkube.config.models import Cluster, User
    from lightkube.generic_resource import create_namespaced_resource
    from lightkube.resources import coordination_v1, core_v1

    server = Cluster(server="https://127.0.0.1:1")
    AsyncClient(config=KubeConfig.from_one(cluster=server, user=User(token="x")))
    create_namespaced_resource("external-secrets.io", "v1", "ExternalSecret", "externalsecrets")
    assert core_v1.Secret and core_v1.Event and coordination_v1.Lease
    name, now = x509.Name([]), datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(1))
    assert builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    try:
        agent.cli.main(["controller"], {})
    except SystemExit as leaving:
        assert leaving.code == 2
    else:
        raise AssertionError("it started without a part")


def _credential_providers() -> None:
    """IRSA, Pod Identity, assumed roles and the instance's: each provider can be made, and IRSA and an assumed role get
    as far as the token that is not there."""
    providers = [provider.METHOD for provider in create_credential_resolver(botocore.session.Session()).providers]
    for wanted in ("env", "assume-role", "assume-role-with-web-identity", "container-role", "iam-role"):
        assert wanted in providers, providers
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as config:
        config.write(ASSUMED)
        config.flush()
        for profile in ("base", "above"):
            os.environ.update(AWS_CONFIG_FILE=config.name, AWS_PROFILE=profile, AWS_DEFAULT_REGION="eu-west-1")
            try:
                boto3.session.Session().get_credentials().get_frozen_credentials()
            except FileNotFoundError as error:
                assert error.filename == "/nonexistent"
            else:
                raise AssertionError("a token that is not there was read")


def _threads() -> None:
    """glibc needs a library that nothing links when a thread is ended from within."""
    ctypes.CDLL("libgcc_s.so.1")


def _watches() -> None:
    """inotify by ctypes, for which some systems need a compiler."""
    observer = Observer()
    observer.start()
    observer.stop()


main()
