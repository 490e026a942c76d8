"""Fixtures of the tests on a real cluster. Without one nothing here is collected: `make cluster-test` brings it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.aws import Proxy, QuickStandIn

# Without what they run on none is collected, nor those whose images are not made.
collect_ignore_glob = ["test_*.py"] if not os.environ.get("CLUSTER_KUBECTL") else []
if not os.environ.get("CLUSTER_EXAMPLES"):
    collect_ignore_glob.append("test_examples.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure prints what a person would look at first: descriptions, events and logs."""
    report = yield
    if report.failed:
        from tests.cluster.kube import Namespace

        report.sections += [(f"namespace {each.name}", each.describe()) for each in Namespace.standing]
    return report


@pytest.fixture(scope="session", autouse=True)
def _started() -> None:
    """Each process that a test runs beside the pods is started as theirs are."""
    warm.enabled = False


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    from tests.cluster.kube import Cluster
    from tests.support import chart_tools

    helms = chart_tools.helms()
    assert helms, "helm is not installed: make tools"
    with Cluster.here(helms[max(helms)]) as here:
        yield here


@pytest.fixture(scope="session")
def demo(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo chart with the library inside, and the further kinds of workload."""
    from tests.support import chart

    built = chart.built(cluster.helm, tmp_path_factory.mktemp("charts") / "charts").path  # type: ignore[attr-defined]
    shutil.copyfile(Path(__file__).parent / "kinds.yaml", built / "templates" / "kinds.yaml")
    return built


@pytest.fixture(scope="session")
def aws(cluster: object) -> Iterator[QuickStandIn]:
    with QuickStandIn(cluster.aws_host) as aws:  # type: ignore[attr-defined]
        yield aws


@pytest.fixture
def world(cluster: object, aws: QuickStandIn, demo: Path, tmp_path: Path) -> Iterator[object]:
    from tests.cluster.kube import Cluster, Namespace
    from tests.cluster.world import World

    assert isinstance(cluster, Cluster)
    with Proxy(aws.url, cluster.aws_host) as proxy:
        namespace = Namespace(cluster)
        try:
            yield World(namespace, aws, proxy, demo, tmp_path)
        finally:
            namespace.delete()


@pytest.fixture(scope="module")
def injected(cluster: object, aws: QuickStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A release of the injector, with namespaces that it chooses."""
    from tests.cluster.injected import Injected
    from tests.cluster.kube import Cluster
    from tests.support import chart

    assert isinstance(cluster, Cluster)
    built = chart.built(cluster.helm, tmp_path_factory.mktemp("injector") / "charts", "injector")
    it = Injected(cluster, built.path, aws)
    try:
        yield it
    finally:
        it.delete()
