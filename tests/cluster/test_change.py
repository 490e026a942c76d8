"""What a change does in a pod that runs: of a secret, of the config, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.kube import Object, container, is_ready, name_of
from tests.cluster.world import AGENT, APP, World
from tests.support.running import until

BEFORE = Path(__file__).parent / "before"


def untouched(world: World, pod: str) -> bool:
    """The same pod, ready, with no container restarted."""
    status = world.k.get("pod", pod)
    return is_ready(status) and not any(container(status, name)["restartCount"] for name in (AGENT, APP))


def ended(pod: Object, name: str) -> bool:
    """Whether a debugging container has."""
    found = pod["status"].get("ephemeralContainerStatuses", ())
    return any(c["name"] == name and "terminated" in c["state"] for c in found)


def looked_at(world: World, name: str, times: int) -> None:
    """Until the agent has described a secret so many times more."""
    describe = ("DescribeSecret", world.id(name))
    wanted = world.proxy.calls.count(describe) + times
    until(lambda: world.proxy.calls.count(describe) >= wanted)


def test_a_touch_is_an_event_of_inotify_in_the_apps_container(world: World) -> None:
    """The app watches a file through its own, read-only mount of the volume."""
    world.put("db", "one")
    target = {"name": "web", "touch": "/freshmount/changed"}
    pod = world.start(world.config([world.secret("db")], [target]), app={"TOUCHED": "/freshmount/changed"})
    with world.k.log(pod, APP) as app:
        app.event("watching")
        world.rotate("db", "two")
        assert app.event("touched")["files"] == {"db": "two"}
    assert untouched(world, pod)


def test_a_url_of_the_app_is_called(world: World) -> None:
    world.put("db", "one")
    target = {"name": "web", "url": "http://localhost:8080/reload"}
    pod = world.start(world.config([world.secret("db")], [target]))
    with world.k.log(pod, APP) as app:
        world.rotate("db", "two")
        told = app.event("post")
    assert (told["path"], told["files"]) == ("/reload", {"db": "two"})
    assert untouched(world, pod)


@pytest.mark.long
def test_two_secrets_rotated_together_never_mix_for_a_pinned_reader(world: World) -> None:
    """`settle` brings both into one generation; the reader holds on to one generation while it reads."""
    rotations = 5
    for name in ("user", "password"):
        world.put(name, "0")
    poll = {"period": "1s", "settle": "6s"}
    config = world.config([world.secret("user"), world.secret("password")], [world.hup()], poll=poll)
    pod = world.start(config, app={"PAIR": "user password"})

    with world.k.log(pod, APP) as app:
        app.event("start")
        for turn in range(1, rotations + 1):
            world.rotate("user", str(turn))
            # The agent has seen one of the two move before the other one does.
            looked_at(world, "user", 2)
            world.rotate("password", str(turn))
            assert app.event("signal")["files"] == {"user": str(turn), "password": str(turn)}
        counted = json.loads(world.k.page(pod, 8080, "/pair"))
    assert counted["mixed"] == counted["missing"] == 0
    assert counted["values"] == rotations + 1 and counted["reads"] > rotations


def test_an_edit_of_the_config_is_in_force_without_a_restart(world: World) -> None:
    """By `helm upgrade`, as its user would; kubelet brings the ConfigMap into the pod."""
    world.put("db", json.dumps({"user": "u-1", "password": "pw-1"}))
    files = [{"path": "user", "jmesPath": "user"}, {"path": "password", "jmesPath": "password"}]
    pod = world.start(world.config([world.secret("db", files[0])], [world.hup()]))
    with world.k.log(pod, AGENT) as agent, world.k.log(pod, APP) as app:
        assert app.event("start")["files"] == {"user": "u-1"}
        world.install(world.values(world.config([world.secret("db", *files)], [world.hup()])))
        agent.until(lambda line: line.get("event") == "config reloaded", "config reloaded")
        assert app.event("signal")["files"] == {"user": "u-1", "password": "pw-1"}
    assert untouched(world, pod)


def test_a_bad_edit_changes_nothing_and_the_pod_stays_ready(world: World) -> None:
    """The config before it stays in force, and goes on being kept fresh."""
    world.put("db", "one")
    pod = world.start(world.config([world.secret("db")], [world.hup()]))
    good = world.config_text()
    with world.k.log(pod, AGENT) as agent, world.k.log(pod, APP) as app:
        world.edit_config(good.replace("secretId:", "secretID:"))
        agent.until(lambda line: str(line.get("event")).startswith("config rejected"), "config rejected")
        # Over HTTP: `freshmount status` reads the config file first, to know whom to ask.
        # The line is of a worker, and its answer comes after it.
        until(lambda: json.loads(world.k.page(pod, 9105, "/status"))["agent"]["config"]["isTheFile"] is False)
        world.rotate("db", "two")
        assert app.event("signal")["files"] == {"db": "two"}
        assert untouched(world, pod)
        world.edit_config(good + "\nstaleAfter: 1h\n")
        agent.until(lambda line: line.get("event") == "config reloaded", "config reloaded")
    assert world.k.status(pod)["agent"]["config"]["isTheFile"] is True
    assert untouched(world, pod)


def test_pin_status_and_doctor_by_exec(world: World) -> None:
    """A version is held, told, and let go; status and doctor agree."""
    world.put("db", "one")
    described = world.aws.ask("secretsmanager.DescribeSecret", SecretId=world.id("db"))
    (old,) = described["VersionIdsToStages"]
    pod = world.start(world.config([world.secret("db")], [world.hup()]))
    with world.k.log(pod, APP) as app:
        world.rotate("db", "two")
        assert app.event("signal")["files"] == {"db": "two"}
        world.k.exec(pod, AGENT, "freshmount", "pin", "db", "--version-id", old, "--for", "30m")
        assert app.event("signal")["files"] == {"db": "one"}
        (secret,) = world.k.status(pod)["secrets"]
        assert secret["versionId"] == old and secret["pinnedUntil"]
        assert "pinned" in world.k.exec(pod, AGENT, "freshmount", "status").stdout
        world.k.exec(pod, AGENT, "freshmount", "unpin", "db")
        assert app.event("signal")["files"] == {"db": "two"}
    findings = json.loads(world.k.exec(pod, AGENT, "freshmount", "doctor", "--json").stdout)
    assert findings and not [found for found in findings if found["outcome"] == "bad"]
    assert untouched(world, pod)


def test_doctor_by_debug(world: World, tmp_path: Path) -> None:
    """In a container of its own beside the others, with the agent's mounts and environment."""
    world.put("db", "one")
    pod = world.start(world.config([world.secret("db")]))
    spec = next(c for c in world.k.get("pod", pod)["spec"]["initContainers"] if c["name"] == AGENT)
    custom = tmp_path / "custom.json"
    custom.write_text(json.dumps({key: spec[key] for key in ("env", "volumeMounts", "securityContext")}))
    world.k.kubectl(
        *(
            "debug",
            pod,
            "--image",
            world.cluster.image,
            "--container=doctor",
            "--profile=restricted",
            f"--custom={custom}",
        ),
        *("--", "freshmount", "doctor", "--json"),
    )
    seen = world.k.pod(lambda it: ended(it, "doctor"), "doctor has ended", pod)
    findings = json.loads(world.k.kubectl("logs", pod, "--container=doctor").stdout)
    (state,) = [c["state"]["terminated"] for c in seen["status"]["ephemeralContainerStatuses"]]
    assert findings and not [found for found in findings if found["outcome"] == "bad"], findings
    assert state["exitCode"] == 0
    assert untouched(world, pod)


def test_an_upgrade_from_the_chart_before(world: World) -> None:
    """The old pod serves until the new one is ready, and leaves; Helm renames, doubles and forgets nothing."""
    world.put("db", "one")
    values = {"aws": world.proxy.url, "image": world.cluster.image, "appImage": world.cluster.app_image}
    world.k.helm(BEFORE, values)
    old = name_of(world.k.ready())
    world.rotate("db", "two")
    until(lambda: world.k.page(old, 8080, "/") == "reads 2\ndb\n")

    world.install(world.values(world.config([world.secret("db")], [world.hup()])))
    replaced = world.k.until(
        "pods", lambda pod: pod["metadata"]["name"] != old and is_ready(pod), "another pod that is ready"
    )
    new = name_of(replaced)
    with world.k.log(new, APP) as app:
        assert app.event("start")["files"] == {"db": "two"}
        world.rotate("db", "three")
        assert app.event("signal")["files"] == {"db": "three"}
    world.k.kubectl("wait", "--for=delete", f"pod/{old}", "--timeout=60s")
    assert untouched(world, new)
    made = json.loads(world.k.kubectl("get", "configmaps,serviceaccounts,deployments", "--output=json").stdout)["items"]
    assert sorted((it["kind"], name_of(it)) for it in made if name_of(it) not in ("default", "kube-root-ca.crt")) == [
        ("ConfigMap", "web-demo-app"),
        ("ConfigMap", "web-demo-freshmount"),
        ("Deployment", "web-demo"),
        ("ServiceAccount", "web-demo"),
    ]
