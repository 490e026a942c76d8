"""The apps of examples/ as their manifests stand, on a node: each takes a rotated secret without a restart.

Of a manifest only that is changed which is a reader's own: the names of images and secrets, the address of AWS.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
import yaml

from tests.cluster import apps
from tests.cluster.kube import Object, container, is_ready, name_of
from tests.cluster.test_documents import refusals
from tests.cluster.world import AGENT, APP, CREDENTIALS, World
from tests.support.aws import REGION
from tests.support.chart import need
from tests.support.running import until

STAND_INS = {"nginx": apps.debian, "node": apps.debian}
WAIT = 30.0  # seconds for an answer of an app
PAUSE = 0.02  # seconds between two questions of one who asks again and again


def started(world: World, example: str, env: dict[str, str] | None = None) -> Object:
    """The example's pod once it is ready. `env` replaces variables of its app."""
    drawn = world.cluster.run("kustomize", str(apps.EXAMPLES / example)).stdout
    documents = [adapted(world, document, env or {}) for document in yaml.safe_load_all(drawn)]
    world.k.apply(*documents)
    return world.k.ready()


def adapted(world: World, document: Object, env: dict[str, str]) -> Object:
    if document["kind"] == "ConfigMap" and "config.yaml" in document["data"]:
        config = yaml.safe_load(document["data"]["config.yaml"])
        for secret in config["secrets"]:
            secret["secretId"] = world.id(secret["name"])
        config |= {"region": REGION, "endpointUrl": world.proxy.url, "poll": {"period": "1s"}}
        document["data"]["config.yaml"] = yaml.safe_dump(config)
    if document["kind"] == "Deployment":
        spec = document["spec"]["template"]["spec"]
        (agent,), (app,) = spec["initContainers"], spec["containers"]
        agent["image"] = world.cluster.image
        agent["env"] = CREDENTIALS
        repository = app["image"].partition(":")[0]
        if repository in STAND_INS:
            app["image"] = STAND_INS[repository]()
        elif repository == "python":
            app["image"] = world.cluster.app_image
        assert env.keys() <= {variable["name"] for variable in app.get("env", ())}
        for variable in app.get("env", ()):
            variable["value"] = env.get(variable["name"], variable["value"])
    return document


def answer(pod: Object, key: str = "") -> tuple[int, str]:
    """What the app says at `/`, asked directly."""
    connection = http.client.HTTPConnection(pod["status"]["podIP"], 8080, timeout=WAIT)
    try:
        connection.request("GET", "/", headers={"X-Api-Key": key})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def status(pod: Object, key: str) -> int:
    return answer(pod, key)[0]


def untouched(world: World, pod: Object) -> bool:
    """The same pod, ready, with no container restarted."""
    seen = world.k.get("pod", name_of(pod))
    return is_ready(seen) and not any(container(seen, name)["restartCount"] for name in (AGENT, APP))


def accepted(world: World, pod: Object) -> bool:
    """Whether the app was notified of all that is published."""
    (target,) = world.k.status(name_of(pod))["targets"]
    return not target["pendingGeneration"] and target["acceptedGeneration"] is not None


@contextmanager
def asking(ask: Callable[[], object], at_once: int = 4) -> Iterator[list[object]]:
    """Ask again and again, several at once, while the block runs. What they got, in order; an error is one, too."""
    got: list[object] = []
    stop = threading.Event()

    def again() -> None:
        while not stop.wait(PAUSE):
            try:
                got.append(ask())
            except (OSError, http.client.HTTPException) as error:
                got.append(error)

    threads = [threading.Thread(target=again, daemon=True) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ("example", "key"), [("go", "apiKey"), ("python", "apiKey"), ("node", "apiKey"), ("environment", "API_KEY")]
)
def test_a_new_api_key_is_asked_for_without_a_restart(world: World, example: str, key: str) -> None:
    """Twice: the second is the first after a notification."""
    world.put("web", json.dumps({key: "one"}))
    pod = started(world, example)
    assert (status(pod, "one"), status(pod, "two")) == (200, 401)
    for old, new in (("one", "two"), ("two", "three")):
        world.rotate("web", json.dumps({key: new}))
        until(lambda new=new: served(pod, new), every=0.1)
        assert status(pod, old) == 401
    until(lambda: accepted(world, pod), every=0.5)
    assert untouched(world, pod)


def served(pod: Object, key: str) -> bool:
    """Not while the app is between its old process and its new one, as the example with variables is."""
    try:
        return status(pod, key) == 200
    except OSError:
        return False


def test_nginx_serves_a_new_certificate_and_drops_nobody(world: World) -> None:
    authority = trustme.CA()
    first, second = (authority.issue_cert("web.example") for _ in range(2))

    def content(of: trustme.LeafCert) -> str:
        chain = b"".join(part.bytes() for part in of.cert_chain_pems).decode()
        return json.dumps({"certificate": chain, "key": of.private_key_pem.bytes().decode()})

    context = ssl.create_default_context()
    authority.configure_trust(context)
    before, after = (ssl.PEM_cert_to_DER_cert(of.cert_chain_pems[0].bytes().decode()) for of in (first, second))
    world.put("tls", content(first))
    pod = started(world, "nginx")

    def served() -> object:
        with (
            socket.create_connection((pod["status"]["podIP"], 8443), timeout=WAIT) as plain,
            context.wrap_socket(plain, server_hostname="web.example") as secured,
        ):
            return secured.getpeercert(binary_form=True)

    assert served() == before
    with asking(served, at_once=2) as got:
        world.rotate("tls", content(second))
        until(lambda: after in got, every=0.1)
        so_far = len(got)
        until(lambda: len(got) > so_far + 50, every=0.1)
    assert set(got) == {before, after}
    until(lambda: accepted(world, pod), every=0.5)
    assert served() == after
    assert untouched(world, pod)


@pytest.fixture
def database(world: World) -> Iterator[Callable[[str], list[str]]]:
    """A PostgreSQL that asks for passwords, where pods reach it. Gives what runs a statement as its administrator."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    need(bool(programs), "PostgreSQL is not installed: apt-get install postgresql")
    home = Path(tempfile.mkdtemp(prefix="freshmount-postgres-"))
    shutil.chown(home, "postgres", "postgres")

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [programs[-1] / program, *arguments],
            user="postgres",
            group="postgres",
            extra_groups=(),
            cwd=home,
            env={"LC_ALL": "C.UTF-8", "TZ": "UTC"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(statement: str) -> list[str]:
        return run("psql", f"--host={home}", "--no-psqlrc", "--tuples-only", "--no-align", "-c", statement).splitlines()

    options = f"-c listen_addresses={world.cluster.aws_host} -c unix_socket_directories={home} -c fsync=off"
    try:
        run("initdb", "--pgdata=data", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync")
        with (home / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")
        run("pg_ctl", "start", "--wait", "--pgdata=data", "--log=log", f"--options={options}")
        try:
            yield ask
        finally:
            run("pg_ctl", "stop", "--wait", "--pgdata=data", "--mode=immediate")
    finally:
        shutil.rmtree(home)


def test_a_pool_of_connections_serves_on_over_a_new_password_and_a_new_user(
    world: World, database: Callable[[str], list[str]]
) -> None:
    """No request fails, also none that comes between the change in the database and the new file."""

    def connections(user: str) -> set[str]:
        return set(database(f"select pid from pg_stat_activity where usename = '{user}'"))

    def content(user: str, password: str) -> str:
        return json.dumps({"username": user, "password": password, "engine": "postgres", "port": 5432})

    for user in ("app", "other"):
        database(f"create role {user} login password '{user}-1'")
    world.put("db", content("app", "app-1"))
    pod = started(
        world, "postgres", {"PGHOST": world.cluster.aws_host, "PGDATABASE": "postgres", "PGSSLMODE": "disable"}
    )
    assert answer(pod) == (200, "app\n")
    with asking(lambda: answer(pod)) as got:
        until(lambda: len(connections("app")) >= 2, every=0.1)
        first = connections("app")
        # 1. Another password of the same user. The open connections serve on with the old one.
        database("alter role app password 'app-2'")
        so_far = len(got)
        until(lambda: len(got) > so_far + 20, every=0.1)
        assert connections("app") & first
        world.rotate("db", content("app", "app-2"))
        until(lambda: (now := connections("app")) and not now & first, every=0.1)
        # 2. Another user, as with AWS's strategy of alternating users; both may log in meanwhile.
        world.rotate("db", content("other", "other-1"))
        until(lambda: connections("other") and not connections("app"), every=0.1)
        so_far = len(got)
        until(lambda: len(got) > so_far + 20, every=0.1)
    assert set(got) == {(200, "app\n"), (200, "other\n")}
    until(lambda: accepted(world, pod), every=0.5)
    assert untouched(world, pod)


def test_the_api_server_accepts_the_example_that_cannot_run_here(world: World) -> None:
    """Spring's, under Pod Security *restricted*."""
    drawn = world.cluster.run("kustomize", str(apps.EXAMPLES / "spring")).stdout
    refused = refusals(world, [("spring", document) for document in yaml.safe_load_all(drawn)])
    assert not refused, "\n".join(refused)
