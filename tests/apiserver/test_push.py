"""Pushed Secrets on a real API server: what people and tools send, what etcd, the audit log and a person then have."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.demo.stand_in import Refused
from tests.apiserver.server import ApiServer, api_server, programs
from tests.controller.push.cluster import Controller
from tests.controller.push.reviews import b64
from tests.support import chart_tools
from tests.support.aws import Fault, Proxy, QuickStandIn
from tests.support.paths import ROOT
from tests.support.running import until

CANARY = "canary-5fK2x9"  # begins each value
PUSH = {"freshmount.dev/push": "true"}
HOST = "127.0.0.1"
PATIENCE = 90.0


class East:
    """An API server whose pushed Secrets go to a stand-in for AWS, by two replicas of the webhook."""

    def __init__(self, server: ApiServer, aws: QuickStandIn, proxy: Proxy, replicas: list[Controller]) -> None:
        self.server, self.aws, self.proxy, self.replicas = server, aws, proxy, replicas
        self.said: list[str] = []
        self.namespace = ""

    def kubectl(self, *arguments: str, stdin: Any = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        kubernetes = programs()
        assert kubernetes
        command = [str(kubernetes["kubernetes"] / "kubectl"), f"--kubeconfig={self.server.kubeconfig}", *arguments]
        if self.namespace:
            command.append(f"--namespace={self.namespace}")
        given = stdin if isinstance(stdin, str | None) else json.dumps(stdin)
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def refused(self, *arguments: str, stdin: Any = None) -> str:
        """Why the webhook refused it. kubectl itself may print what it sent before; the sentence is ours."""
        done = self.kubectl(*arguments, stdin=stdin, check=False)
        assert done.returncode, done.stdout
        said = done.stderr.partition('webhook "push.freshmount.dev" denied the request: ')[2]
        assert said, done.stderr
        assert CANARY not in said
        return said

    def get(self, name: str = "db") -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", "secret", name, "--output=json", "--show-managed-fields").stdout))

    def holds_arn(self, *keys: str, name: str = "db") -> dict[str, Any]:
        """The Secret in the cluster, of which each key is the ARN."""
        found, arn = self.get(name), self.arn(name)
        assert found["data"] == {key: b64(arn) for key in keys}
        annotations = found["metadata"]["annotations"]
        assert annotations["freshmount.dev/arn"] == arn
        assert annotations["freshmount.dev/version"] == self.current(name)
        return found

    def arn(self, name: str = "db") -> str:
        return f"arn:aws:secretsmanager:eu-west-1:111122223333:secret:{self.namespace}/{name}-AbCdEf"

    def value(self, name: str = "db") -> Any:
        answer = self.aws.ask("secretsmanager.GetSecretValue", SecretId=f"{self.namespace}/{name}")
        return json.loads(answer["SecretString"])

    def current(self, name: str = "db") -> str:
        answer = self.aws.ask("secretsmanager.GetSecretValue", SecretId=f"{self.namespace}/{name}")
        return str(answer["VersionId"])

    def calls(self) -> int:
        return sum(count for name, count in self.aws._counts.items() if name != "connections")


def documented() -> list[dict[str, Any]]:
    """What docs/push.md installs by hand: configuration, policy and binding. The values of a chart have no kind."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "push.md").read_text(), re.MULTILINE | re.DOTALL)
    found = [each for block in blocks for each in yaml.safe_load_all(block) if each.get("kind") not in (None, "Secret")]
    assert [each["kind"] for each in found] == [
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ]
    return found


def configuration(given: dict[str, Any], ports: list[int]) -> dict[str, Any]:
    """It by URL, with a webhook for each replica, of which the second sees what the first answered; and with as much
    time as a busy machine may take."""

    def webhook(number: int, port: int) -> dict[str, Any]:
        name = f"push{number or ''}.freshmount.dev"
        reached = {"url": f"https://{HOST}:{port}/v1/push"}
        return {**given["webhooks"][0], "name": name, "clientConfig": reached, "timeoutSeconds": 30}

    return {**given, "webhooks": [webhook(number, port) for number, port in enumerate(ports)]}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[East]:
    """One API server for the module. At its end nothing of it may hold a value."""
    directory = tmp_path_factory.mktemp("push")
    with ExitStack() as stack:
        server = stack.enter_context(api_server(directory / "server"))
        aws = stack.enter_context(QuickStandIn())
        proxy = stack.enter_context(Proxy(aws.url))
        east = East(server, aws, proxy, [])
        webhooks, *net = documented()
        east.kubectl("create", "--filename=-", stdin=configuration(webhooks, [1, 2]))
        for _ in range(2):
            replica = Controller(server.kubeconfig, proxy.url)
            stack.callback(_end, replica)
            east.replicas.append(replica)
        for replica in east.replicas:
            replica.serving()
        changes = [
            {
                "op": "replace",
                "path": f"/webhooks/{number}/clientConfig/url",
                "value": f"https://{HOST}:{replica.webhook}/v1/push",
            }
            for number, replica in enumerate(east.replicas)
        ]
        east.kubectl(
            "patch",
            "mutatingwebhookconfiguration",
            "freshmount-push",
            "--type=json",
            f"--patch={json.dumps(changes)}",
        )
        # The API server reads its configuration a moment later; until then nothing is pushed.
        probe = secret({"probe": "no value"}, "probe")
        until(lambda: "annotations" in _dry(east, probe)["metadata"], every=0.1)
        east.kubectl("create", "--filename=-", stdin={"apiVersion": "v1", "kind": "List", "items": net})
        yield east
        said = ["".join(replica.lines) + replica.page("/metrics")[1] for replica in east.replicas]
        server.stop()
        found = [path for path in directory.rglob("*") if path.is_file() and _holds(path.read_bytes())]
        assert found == [], "a value is in etcd's files, the audit log, or another of the API server's"
        assert not any(_holds(text.encode()) for text in said), "a value is in our log or metrics"
        audited = server.audit_log.read_text()
        assert '"secrets"' in audited and "mutation.webhook.admission.k8s.io" in audited


def _dry(east: East, given: dict[str, Any]) -> dict[str, Any]:
    done = east.kubectl("create", "--dry-run=server", "--output=json", "--filename=-", stdin=given)
    return dict(json.loads(done.stdout))


def _end(replica: Controller) -> None:
    replica.process.kill()
    replica.wait()
    assert replica.process.stdout
    replica.process.stdout.close()


def _holds(content: bytes) -> bool:
    """Whether the canary is in it, in clear or as base64 at any offset."""
    encoded = (base64.b64encode(b"x" * pad + CANARY.encode())[4 if pad else 0 :][:12] for pad in range(3))
    return any(form in content for form in (CANARY.encode(), *encoded))


@pytest.fixture
def east(running: East) -> Iterator[East]:
    """It with a namespace of the test's own."""
    running.namespace = ""
    running.namespace, name = "", f"n-{uuid.uuid4().hex[:8]}"
    running.kubectl("create", "namespace", name)
    running.namespace = name
    yield running
    running.proxy.heal()


def secret(values: dict[str, str], name: str = "db", **changes: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": PUSH, **changes.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values, **changes}


def test_apply_and_apply_again(east: East) -> None:
    east.kubectl("apply", "--filename=-", stdin=secret({"password": f"{CANARY}-1", "user": "app"}))
    first = east.holds_arn("password", "user")
    assert east.value() == {"password": f"{CANARY}-1", "user": "app"}
    applied = json.loads(first["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert applied["stringData"] == {"password": east.arn(), "user": east.arn()}
    east.kubectl("apply", "--filename=-", stdin=secret({"password": f"{CANARY}-2", "user": "app"}))
    assert east.value() == {"password": f"{CANARY}-2", "user": "app"}
    east.holds_arn("password", "user")
    # kubectl never removes a key that was in `stringData`, so this is a change of some keys.
    assert "'password' would change" in east.refused("apply", "--filename=-", stdin=secret({"password": f"{CANARY}-3"}))
    assert east.value() == {"password": f"{CANARY}-2", "user": "app"}


def test_apply_of_data_removes_a_key(east: East) -> None:
    def manifest(**values: str) -> dict[str, Any]:
        given = secret({})
        del given["stringData"]
        return given | {"data": {key: b64(value) for key, value in values.items()}}

    east.kubectl("apply", "--filename=-", stdin=manifest(password=f"{CANARY}-1", user="app"))
    east.kubectl("apply", "--filename=-", stdin=manifest(password=f"{CANARY}-2"))
    east.holds_arn("password")
    assert east.value() == {"password": f"{CANARY}-2"}


def test_server_side_apply(east: East) -> None:
    for number in (1, 2):
        given = secret({"password": f"{CANARY}-{number}"})
        east.kubectl("apply", "--server-side", "--filename=-", stdin=given)
        east.holds_arn("password")
        assert east.value() == {"password": f"{CANARY}-{number}"}


def test_create_secret_as_people_do(east: East) -> None:
    made = east.kubectl(
        "create", "secret", "generic", "db", f"--from-literal=password={CANARY}", "--dry-run=client", "--output=json"
    )
    labelled = json.loads(made.stdout)
    labelled["metadata"]["labels"] = PUSH
    east.kubectl("create", "--filename=-", stdin=labelled)
    east.holds_arn("password")
    before = east.current()
    assert "already exists" in east.refused("create", "--filename=-", stdin=labelled)
    assert east.current() == before, "a creation that fails moves nothing"


def test_replace_and_patch(east: East) -> None:
    east.kubectl("create", "--filename=-", stdin=secret({"password": f"{CANARY}-1", "user": "app"}))
    patch = json.dumps({"stringData": {"password": f"{CANARY}-2"}})
    assert "'password' would change" in east.refused("patch", "secret", "db", f"--patch={patch}")
    assert east.value()["password"] == f"{CANARY}-1"
    both = json.dumps({"stringData": {"password": f"{CANARY}-2", "user": "app"}})
    east.kubectl("patch", "secret", "db", f"--patch={both}")
    assert east.value()["password"] == f"{CANARY}-2"
    east.kubectl("replace", "--filename=-", stdin=secret({"password": f"{CANARY}-3"}))
    east.holds_arn("password")
    assert east.value() == {"password": f"{CANARY}-3"}
    removal = json.dumps([{"op": "remove", "path": "/data/password"}])
    assert "would be removed" in east.refused("patch", "secret", "db", "--type=json", f"--patch={removal}")


def test_an_old_resource_version_moves_nothing(east: East) -> None:
    east.kubectl("create", "--filename=-", stdin=secret({"password": f"{CANARY}-1"}))
    old = {"resourceVersion": east.get()["metadata"]["resourceVersion"]}
    east.kubectl("annotate", "secret", "db", "note=new")
    stale = secret({"password": f"{CANARY}-2"}, metadata=old)
    assert "resourceVersion" in east.refused("replace", "--filename=-", stdin=stale)
    assert east.value() == {"password": f"{CANARY}-1"}


def test_an_unchanged_update_makes_no_call(east: East) -> None:
    east.kubectl("create", "--filename=-", stdin=secret({"password": CANARY}))
    before = east.calls()
    east.kubectl("annotate", "secret", "db", "note=new")
    east.kubectl("label", "secret", "db", "team=shop")
    east.holds_arn("password")
    copy = east.get()
    for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        del copy["metadata"][field]
    east.kubectl("delete", "secret", "db")
    east.kubectl("create", "--filename=-", stdin=copy)  # as a backup brings it back
    assert east.calls() == before
    east.holds_arn("password")


def test_a_dry_run_writes_nothing(east: East) -> None:
    given = secret({"password": CANARY})
    done = east.kubectl("apply", "--dry-run=server", "--output=json", "--filename=-", stdin=given)
    assert "would be written" in done.stderr and CANARY not in done.stdout + done.stderr
    with pytest.raises(Refused):
        east.value()
    east.kubectl("apply", "--filename=-", stdin=given)
    before = east.current()
    east.kubectl("diff", "--filename=-", stdin=secret({"password": f"{CANARY}-2"}), check=False)
    assert east.current() == before


def test_a_generated_name_is_refused(east: East) -> None:
    """The API server makes the name after its webhooks have answered."""
    given = secret({"password": CANARY})
    given["metadata"]["generateName"] = f"{given['metadata'].pop('name')}-"
    assert "generateName" in east.refused("create", "--filename=-", stdin=given)


def test_binary_values_and_large_ones(east: East) -> None:
    given = secret({})
    given["data"] = {"keystore": base64.b64encode(b"\xff\x00" + CANARY.encode()).decode()}
    assert "not text in UTF-8" in east.refused("create", "--filename=-", stdin=given)
    given["metadata"]["annotations"] = {"freshmount.dev/push-base64": "keystore"}
    east.kubectl("create", "--filename=-", stdin=given)
    assert east.value() == given["data"]
    east.holds_arn("keystore")
    large = secret({"a": CANARY + "x" * ((1 << 20) - len(CANARY))}, "large")
    assert "divide the Secret" in east.refused("create", "--filename=-", stdin=large)
    larger = secret({"a": CANARY * 1000, "b": "é" * 20_000}, "larger")
    east.kubectl("create", "--filename=-", stdin=larger)
    assert east.value("larger") == larger["stringData"]


def test_an_immutable_secret(east: East) -> None:
    east.kubectl("create", "--filename=-", stdin=secret({"password": CANARY}, immutable=True))
    east.holds_arn("password")
    given = secret({"password": f"{CANARY}-2"}, immutable=True)
    assert "immutable" in east.refused("replace", "--filename=-", stdin=given)
    assert east.value() == {"password": CANARY}


def test_a_secret_of_tls(east: East) -> None:
    """The API server looks for its keys alone; who reads it through the API finds an ARN."""
    east.kubectl(
        "create", "--filename=-", stdin=secret({"tls.crt": CANARY, "tls.key": CANARY}, type="kubernetes.io/tls")
    )
    east.holds_arn("tls.crt", "tls.key")
    assert "type kubernetes.io/dockerconfigjson" in east.refused(
        "create",
        "--filename=-",
        stdin=secret({".dockerconfigjson": "{}"}, "pull", type="kubernetes.io/dockerconfigjson"),
    )


def test_a_secret_is_labelled_later(east: East) -> None:
    """What was in etcd before is not ours to remove, and that is said."""
    value = "was-in-etcd-all-the-time"
    given = secret({"password": value})
    del given["metadata"]["labels"]
    east.kubectl("create", "--filename=-", stdin=given)
    done = east.kubectl("label", "secret", "db", "freshmount.dev/push=true")
    assert "rotate them" in done.stderr
    east.holds_arn("password")
    assert east.value() == {"password": value}


def test_a_copy_in_an_annotation_is_refused(east: East) -> None:
    given = secret(
        {"password": f"{CANARY}-long"}, metadata={"annotations": {"kapp.k14s.io/original": f"{CANARY}-long"}}
    )
    assert "kapp.k14s.io/original" in east.refused("create", "--filename=-", stdin=given)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.access_denied("secretsmanager:DescribeSecret"), "may not secretsmanager:DescribeSecret"),
        (Fault.throttle(), "ThrottlingException"),
        (Fault.reset(), "no answer from"),
        (Fault.drip(), "within 8 s"),
    ],
)
def test_what_aws_says_is_what_a_person_reads(east: East, fault: Fault, words: str) -> None:
    given = secret({"password": CANARY})
    east.proxy.fail(fault)
    assert words in east.refused("create", "--filename=-", stdin=given)
    east.proxy.heal()
    east.kubectl("create", "--filename=-", stdin=given)
    east.holds_arn("password")


def test_a_creation_that_the_api_server_refuses_afterwards_is_used_by_the_next(east: East) -> None:
    quota = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": east.namespace},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["secrets"]}
                ]
            },
            "validations": [{"expression": "object.metadata.name != 'refused'", "message": "not this one"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": east.namespace},
        "spec": {
            "policyName": east.namespace,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": east.namespace}}},
        },
    }
    east.kubectl("create", "--filename=-", stdin=quota)
    east.kubectl("create", "--filename=-", stdin=binding)
    given = secret({"password": CANARY}, "refused")
    plain = {**secret({"password": "none"}, "refused"), "metadata": {"name": "refused"}}

    def denied() -> bool:
        done = east.kubectl("create", "--dry-run=server", "--filename=-", stdin=plain, check=False)
        return "not this one" in done.stderr

    until(denied, every=0.2)  # the policy is in force a moment later
    done = east.kubectl("create", "--filename=-", stdin=given, check=False)
    assert "not this one" in done.stderr
    orphan = east.current("refused")
    assert east.value("refused") == {"password": CANARY}
    east.kubectl("delete", "validatingadmissionpolicybinding", east.namespace)
    until(lambda: east.kubectl("create", "--filename=-", stdin=given, check=False).returncode == 0, every=0.2)
    east.holds_arn("password", name="refused")
    assert east.current("refused") != orphan


def test_many_at_once_leave_the_cluster_with_the_version_that_aws_has(east: East) -> None:
    """Each of two replicas has a webhook here; the one that comes second finds the ARN."""
    east.kubectl("create", "--filename=-", stdin=secret({"password": f"{CANARY}-0"}))
    done: list[int] = []

    def apply(number: int) -> None:
        given = secret({"password": f"{CANARY}-{number}"})
        done.append(east.kubectl("replace", "--filename=-", stdin=given, check=False).returncode)

    threads = [threading.Thread(target=apply, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert 0 in done
    east.kubectl("replace", "--filename=-", stdin=secret({"password": f"{CANARY}-last"}))
    east.holds_arn("password")
    assert east.value() == {"password": f"{CANARY}-last"}


def test_a_deletion(east: East) -> None:
    kept = secret({"password": CANARY}, "kept")
    gone = secret({"password": CANARY}, "gone", metadata={"annotations": {"freshmount.dev/deletion": "delete"}})
    east.kubectl("create", "--filename=-", stdin={"apiVersion": "v1", "kind": "List", "items": [kept, gone]})
    east.kubectl("delete", "secrets", "--all")
    assert east.value("kept") == {"password": CANARY}
    deleted = east.aws.ask("secretsmanager.DescribeSecret", SecretId=f"{east.namespace}/gone")
    assert deleted["DeletedDate"]
    assert "restore-secret" in east.refused("create", "--filename=-", stdin=gone)


def test_helm_installs_and_upgrades(east: East, tmp_path: Path) -> None:
    """The Secret holds the ARN. Helm's own record of the release holds what it rendered: docs/push.md says so."""
    helms = chart_tools.helms()
    assert helms, "helm is not installed: make tools"
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: app\nversion: 1.0.0\n")
    template = {**secret({}), "stringData": {"password": "{{ .Values.password }}"}}
    (tmp_path / "templates" / "secret.yaml").write_text(json.dumps(template))
    for number in (1, 2):
        command = [str(helms[max(helms)]), "upgrade", "--install", "app", str(tmp_path), "--namespace", east.namespace]
        # Not the canary: Helm writes it to etcd, compressed.
        command += ["--kubeconfig", str(east.server.kubeconfig), "--set", f"password=by-helm-{number}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        east.holds_arn("password")
        assert east.value() == {"password": f"by-helm-{number}"}


def test_without_the_webhook_the_policy_refuses(east: East) -> None:
    """Last but one: it takes the webhook's configuration away, and brings it back."""
    given = secret({"password": CANARY})
    name = ("mutatingwebhookconfiguration", "freshmount-push")
    kept = json.loads(east.kubectl("get", *name, "--output=json").stdout)
    kept["metadata"] = {"name": kept["metadata"]["name"]}
    east.kubectl("delete", *name)
    said = ""

    def refused() -> bool:
        nonlocal said
        said = east.kubectl("create", "--dry-run=server", "--filename=-", stdin=given, check=False).stderr
        return "did not go to AWS" in said

    until(refused, every=0.2)
    assert CANARY not in said
    done = east.kubectl("create", "--filename=-", stdin=given, check=False)
    assert done.returncode and "did not go to AWS" in done.stderr
    binary = {**secret({}), "data": {"a": base64.b64encode(b"\xff\x00").decode()}}
    assert east.kubectl("create", "--filename=-", stdin=binary, check=False).returncode
    east.kubectl("create", "--filename=-", stdin=secret({"password": east.arn("elsewhere")}, "restored"))
    east.kubectl("create", "--filename=-", stdin=kept)
    until(lambda: east.kubectl("create", "--filename=-", stdin=given, check=False).returncode == 0, every=0.2)
    east.holds_arn("password")


def test_nothing_is_pushed_while_no_replica_answers(east: East) -> None:
    """And nothing is stored either: fails closed, for labelled Secrets only."""
    given = secret({"password": CANARY})
    for replica in east.replicas:
        replica.process.send_signal(19)  # SIGSTOP
    try:
        done = east.kubectl("create", "--filename=-", stdin=given, check=False)
        assert done.returncode and "failed calling webhook" in done.stderr and CANARY not in done.stderr
        unlabelled = {**given, "metadata": {"name": "plain"}, "stringData": {"a": "b"}}
        east.kubectl("create", "--filename=-", stdin=unlabelled)
        assert east.kubectl("get", "secret", "db", check=False).returncode
    finally:
        for replica in east.replicas:
            replica.process.send_signal(18)  # SIGCONT
    until(lambda: east.kubectl("create", "--filename=-", stdin=given, check=False).returncode == 0, every=0.2)
    east.holds_arn("password")
