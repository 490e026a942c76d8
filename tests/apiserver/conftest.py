"""Fixtures of the tests on an API server. They are collected with CLUSTER_APISERVER, as by `make apiserver-test`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.apiserver.controlled import install
from tests.apiserver.server import ApiServer, api_server
from tests.support import warm
from tests.support.services import Services, serving

collect_ignore_glob = [] if os.environ.get("CLUSTER_APISERVER") else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def _started() -> None:
    """Each process that a test runs is started as those of a cluster are."""
    warm.enabled = False


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def installed(api: ApiServer) -> ApiServer:
    """The API server with the definitions of ExternalSecrets and stores."""
    install(api)
    return api


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[Services, str]]:
    """What AWS holds, and its URL."""
    with serving() as found:
        yield found
