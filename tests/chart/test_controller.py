"""The controller's chart, with helm itself: what each part brings, the rights that it asks for, alerts and dashboard.

Each set of values is rendered once, and every test looks at the same rendering.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent import __version__, cli
from tests.support.chart import (
    BOTH_HELMS,
    CHARTS,
    KUBERNETES,
    Chart,
    Rendered,
    assert_restricted,
    need,
    need_helm,
    validate,
)
from tests.support.tables import table

HERE = CHARTS / "controller"
DEFAULTS = table(HERE / "values.yaml")
ON = {"enabled": True}
IMAGE = {"image": {"repository": "r"}}
QUEUE = "https://sqs.eu-west-1.amazonaws.com/111122223333/freshmount"
PARTS: dict[str, dict[str, Any]] = {
    "externalSecrets": {"externalSecrets": ON},
    "hub": {"hub": {**ON, "eventsQueue": QUEUE, "period": "5s", "floor": "30m"}},
    "push": {"push": {**ON, "cluster": "prod", "prefix": "team/", "deletionWindow": 7}},
}
MORE = dict.fromkeys(("podMonitor", "alerts", "dashboard", "networkPolicy", "crds"), ON)
# Helm's own release and namespace, as the README installs it.
NAMESPACE = ("--namespace", "freshmount")
SETS: dict[str, dict[str, Any]] = {
    **PARTS,
    "everything": {**PARTS["externalSecrets"], **PARTS["hub"], **PARTS["push"], **MORE},
    "tokens": {"externalSecrets": {**ON, "auth": {"jwt": True}}},
    "namespaces": {"externalSecrets": {**ON, "namespaces": ["a", "b"], "controllerClass": ""}},
    "push to namespaces": {"push": {**ON, "cluster": "prod", "namespaces": ["a"]}},
    "cert-manager": {"push": {**ON, "cluster": "prod", "certManager": ON}},
    "an issuer": {
        "push": {
            **ON,
            "cluster": "prod",
            "certManager": {**ON, "issuerRef": {"name": "ours", "kind": "ClusterIssuer"}},
            "namespaceSelector": {"matchLabels": {"team": "a"}},
        },
        "replicas": 1,
        "image": {"repository": "r", "digest": f"sha256:{'0' * 64}"},
    },
}
OTHERS = {"cert-manager.io/v1", "monitoring.coreos.com/v1"}  # not Kubernetes' own, so not in its schemas


@functools.cache
def rendered(name: str, kube: str = KUBERNETES[-1], helm: str | None = None) -> Rendered:
    return Chart(need_helm(helm), HERE).template({**IMAGE, **SETS[name]}, kube, *NAMESPACE)


def kubernetes_own(of: Rendered) -> Rendered:
    return Rendered(of.text, tuple(document for document in of.documents if document["apiVersion"] not in OTHERS))


def args(name: str) -> list[str]:
    (container,) = rendered(name).pod()["containers"]
    return list(container["args"])


# What is rendered


@pytest.mark.parametrize("version", BOTH_HELMS)
def test_helm_lint_finds_nothing(tmp_path: Path, version: str) -> None:
    """Strictly, with both."""
    values = tmp_path / "values.json"
    values.write_text(json.dumps({**IMAGE, **SETS["everything"]}))
    argv = [need_helm(version), "lint", "--strict", str(HERE), "--values", str(values)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "0 chart(s) failed" in done.stdout, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout and "[ERROR]" not in done.stdout


def test_both_helms_render_the_same() -> None:
    """Of everything."""
    (three, four) = (rendered("everything", helm=version).documents for version in ("v3", "v4"))
    assert sorted(map(json.dumps, three)) == sorted(map(json.dumps, four))


@pytest.mark.parametrize(
    ("name", "kube"), [*(("everything", kube) for kube in KUBERNETES), *((name, KUBERNETES[-1]) for name in SETS)]
)
def test_it_is_valid_and_restricted(name: str, kube: str) -> None:
    """For that Kubernetes, and by the Pod Security Standard *restricted*."""
    validate(kubernetes_own(rendered(name, kube)), kube)
    pod = rendered(name, kube).pod()
    assert_restricted({"volumes": [], **pod})
    (container,) = pod["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["resources"]["requests"] and "cpu" not in container["resources"]["limits"]
    # Kubernetes before 1.30 has no `sleep`, and the image no program to sleep with.
    serves = {"--hub", "--push"} & set(container["args"])
    assert ("lifecycle" in container) is bool(serves and kube == KUBERNETES[-1])


RBAC = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"]
BASE = ["Deployment", "PodDisruptionBudget"]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("externalSecrets", [*BASE, *RBAC]),
        ("namespaces", [*BASE, *["Role", "RoleBinding"] * 3, "ServiceAccount"]),
        ("hub", [*BASE, "ClusterRole", "ClusterRoleBinding", "Service", "ServiceAccount"]),
        ("push", [*BASE, *RBAC, "MutatingWebhookConfiguration", "Service"]),
        ("push to namespaces", [*BASE, *RBAC, "MutatingWebhookConfiguration", "Role", "RoleBinding", "Service"]),
        (
            "cert-manager",
            [
                *(*BASE, "Certificate", "ClusterRole", "ClusterRoleBinding", "Issuer"),
                *("MutatingWebhookConfiguration", "Service", "ServiceAccount"),
            ],
        ),
        (
            "an issuer",
            [
                *("Certificate", "ClusterRole", "ClusterRoleBinding", "Deployment"),
                *("MutatingWebhookConfiguration", "Service", "ServiceAccount"),
            ],
        ),
        (
            "everything",
            [
                *(*BASE, *RBAC, "ConfigMap", "MutatingWebhookConfiguration", "NetworkPolicy"),
                *("PodMonitor", "PrometheusRule", "Service"),
            ],
        ),
    ],
)
def test_a_part_brings_what_it_needs(name: str, kinds: list[str]) -> None:
    """And nothing of another."""
    found = Counter(rendered(name).kinds()) - Counter(CustomResourceDefinition=99)
    assert found == Counter(kinds)


def test_its_pods_keep_apart() -> None:
    """By node and by zone where they can; a drained node takes one of them, and a single one may always be drained."""
    it = rendered("everything")
    spread = it.pod()["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    labels = it.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert it.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    for selector in (
        *(each["labelSelector"] for each in spread),
        it.one("PodDisruptionBudget")["spec"]["selector"],
        it.one("Deployment")["spec"]["selector"],
        it.one("PodMonitor")["spec"]["selector"],
        it.one("NetworkPolicy")["spec"]["podSelector"],
        {"matchLabels": it.one("Service")["spec"]["selector"]},
    ):
        assert selector["matchLabels"] and selector["matchLabels"].items() <= labels.items()
    assert "PodDisruptionBudget" not in rendered("an issuer").kinds()


def test_the_image() -> None:
    """Of the chart's version, or by digest."""
    images = [rendered(name).pod()["containers"][0]["image"] for name in ("everything", "an issuer")]
    assert images == [f"r:{__version__}", f"r@sha256:{'0' * 64}"]


@pytest.mark.parametrize("name", SETS)
def test_the_command_line_is_understood(name: str) -> None:
    """By the controller's own parser."""
    given = args(name)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            _, unknown = cli._parser({}).parse_known_args(given)
        except SystemExit:
            pytest.fail(f"{given}: {said.getvalue()}")
    assert unknown == []


def test_a_value_becomes_its_flag() -> None:
    """Those that are empty are left to the controller."""
    assert args("externalSecrets") == ["controller", "--external-secrets", "--controller-class=freshmount"]
    assert args("namespaces")[2:] == ["--controller-class=", "--namespace=a", "--namespace=b"]
    assert args("tokens")[-1] == "--service-account-tokens"
    assert args("hub")[1:3] == ["--hub", "--hub-replicas=2"]
    assert args("hub")[3:] == [f"--events-queue={QUEUE}", "--hub-period=5s", "--floor=30m"]
    assert args("push")[1:] == ["--push", "--push-cluster=prod", "--push-prefix=team/", "--push-deletion-window=7"]
    assert args("cert-manager")[-1] == "--push-cert-dir=/etc/freshmount/push"


def test_every_problem_is_said_at_once() -> None:
    """By the value to set."""
    chart = Chart(need_helm(), HERE)
    said = chart.refusal({})
    assert "no part is on" in said and "image.repository is missing" in said
    push = {**ON, "namespaces": ["kube-system"], "namespaceSelector": {"matchLabels": {"a": "b"}}}
    said = chart.refusal({**IMAGE, "push": push}, KUBERNETES[-1], *NAMESPACE)
    for problem in (
        "push.namespaces and push.namespaceSelector",
        "push.namespaces has kube-",
    ):
        assert problem in said


# Rights: the least that works, counted

Rights = dict[str, str]  # where, group/resource and names → verbs
EXTERNAL = {
    "external-secrets.io/externalsecrets": "list watch",
    "external-secrets.io/secretstores": "list watch",
    "external-secrets.io/externalsecrets/status": "patch",
    "external-secrets.io/secretstores/status": "patch",
    "external-secrets.io/externalsecrets/finalizers": "update",
    "/secrets": "create delete get list patch watch",
    "/configmaps": "get",
    "/events": "create",
}
OF_CLUSTER = {
    "external-secrets.io/clustersecretstores": "list watch",
    "external-secrets.io/clustersecretstores/status": "patch",
    "/namespaces": "list watch",
}
LEASE = {
    "freshmount coordination.k8s.io/leases": "create",
    "freshmount coordination.k8s.io/leases freshmount-external-secrets": "get update",
}
HUB = {"* authentication.k8s.io/tokenreviews": "create"}
WEBHOOK = {"* admissionregistration.k8s.io/mutatingwebhookconfigurations freshmount-push": "get patch"}
CERTIFICATE = {"freshmount /secrets": "create", "freshmount /secrets freshmount-push-tls": "get update"}


def at(where: str, what: Rights) -> Rights:
    return {f"{where} {key}": verbs for key, verbs in what.items()}


LEAST: dict[str, Rights] = {
    "externalSecrets": {**at("*", {**EXTERNAL, **OF_CLUSTER}), **LEASE},
    "tokens": {
        **at("*", {**EXTERNAL, **OF_CLUSTER, "/serviceaccounts": "get", "/serviceaccounts/token": "create"}),
        **LEASE,
    },
    "namespaces": {**at("a", EXTERNAL), **at("b", EXTERNAL), **LEASE},
    "hub": HUB,
    "push": {"* /secrets": "get", **WEBHOOK, **CERTIFICATE},
    "push to namespaces": {"a /secrets": "get", **WEBHOOK, **CERTIFICATE},
    "cert-manager": {"* /secrets": "get"},
    "everything": {**at("*", {**EXTERNAL, **OF_CLUSTER}), **LEASE, **HUB, **WEBHOOK, **CERTIFICATE},
}


def rights(of: Rendered) -> Rights:
    """What the ServiceAccount may do, by the bindings that name it."""
    found: dict[str, set[str]] = {}
    for document in of.documents:
        if not document["kind"].endswith("RoleBinding") and document["kind"] not in ("ClusterRole", "Role"):
            continue
        where = document["metadata"].get("namespace", "*")
        if document["kind"].endswith("Binding"):
            name = "freshmount-controller"
            assert document["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": "freshmount"}]
            assert document["roleRef"]["kind"] == document["kind"].removesuffix("Binding")
            roles = [d for d in of.documents if d["kind"] == document["roleRef"]["kind"]]
            names = {(d["metadata"]["name"], d["metadata"].get("namespace", "*")) for d in roles}
            assert (document["roleRef"]["name"], where) in names
            continue
        for rule in document["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    key = " ".join([where, f"{group}/{resource}", *rule.get("resourceNames", [])])
                    found.setdefault(key, set()).update(rule["verbs"])
    assert Counter(of.kinds())["Role"] == Counter(of.kinds())["RoleBinding"]
    assert Counter(of.kinds())["ClusterRole"] == Counter(of.kinds())["ClusterRoleBinding"] <= 1
    return {key: " ".join(sorted(verbs)) for key, verbs in found.items()}


@pytest.mark.parametrize("name", LEAST)
def test_it_asks_for_the_least_rights(name: str) -> None:
    """Every verb is one that the controller uses, and there is no other."""
    assert rights(rendered(name)) == LEAST[name]


def test_no_rule_has_a_wildcard() -> None:
    """Nor escalates."""
    for name in SETS:
        for key, verbs in rights(rendered(name)).items():
            assert "*" not in key.partition(" ")[2] + verbs
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(verbs.split())


def test_with_namespaces_nothing_is_of_the_cluster() -> None:
    """No object outside of a namespace at all."""
    assert [d["kind"] for d in rendered("namespaces").documents if "namespace" not in d["metadata"]] == []


def test_the_role_of_aws_is_an_annotation() -> None:
    """IRSA's."""
    arn = "arn:aws:iam::111122223333:role/controller"
    values = {**IMAGE, **PARTS["hub"], "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": arn}}}
    it = Chart(need_helm(), HERE).template(values)
    assert it.one("ServiceAccount")["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": arn}
    assert it.pod()["serviceAccountName"] == it.one("ServiceAccount")["metadata"]["name"]


# The webhook


def webhook(name: str, kube: str = KUBERNETES[-1]) -> dict[str, Any]:
    (found,) = rendered(name, kube).one("MutatingWebhookConfiguration")["webhooks"]
    return dict(found)


def test_the_webhook_fails_closed_for_labelled_secrets_alone() -> None:
    """And never in the way of the cluster or of itself."""
    it = webhook("push")
    assert (it["failurePolicy"], it["sideEffects"], it["timeoutSeconds"]) == ("Fail", "NoneOnDryRun", 10)
    assert it["objectSelector"] == {"matchLabels": {"freshmount.dev/push": "true"}}
    never = {
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": ["kube-system", "kube-public", "kube-node-lease", "freshmount"],
    }
    assert it["namespaceSelector"] == {"matchExpressions": [never]}
    assert it["rules"] == [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["secrets"],
            "scope": "Namespaced",
            "operations": ["CREATE", "UPDATE", "DELETE"],
        }
    ]
    assert "caBundle" not in it["clientConfig"], "or an upgrade would take away what the controller wrote"
    chosen = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a"]}
    assert webhook("push to namespaces")["namespaceSelector"] == {"matchExpressions": [never, chosen]}
    selected = {"matchLabels": {"team": "a"}, "matchExpressions": [never]}
    assert webhook("an issuer")["namespaceSelector"] == selected


@pytest.mark.parametrize(("kube", "there"), [("1.25", False), ("1.28", True)])
def test_a_deletion_does_not_wait_for_the_webhook(kube: str, there: bool) -> None:
    """Where Kubernetes has conditions: only one that deletes in AWS, too, is asked about."""
    conditions = webhook("everything", kube).get("matchConditions", [])
    assert [each["name"] for each in conditions] == (["deletion"] if there else [])


def test_the_service_leads_to_the_ports() -> None:
    """The one of the webhook, and the one that agents are given."""
    it = rendered("everything")
    service = it.one("Service")
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == ("freshmount", "freshmount")
    (container,) = it.pod()["containers"]
    behind = {port["name"]: port["containerPort"] for port in container["ports"]}
    leads = {port["port"]: behind[port["targetPort"]] for port in service["spec"]["ports"]}
    assert leads == {9106: 9106, 443: 9443}
    reached = webhook("everything")["clientConfig"]["service"]
    assert (reached["name"], reached["namespace"]) == ("freshmount", "freshmount") and leads[reached["port"]] == 9443
    assert [port["port"] for port in rendered("hub").one("Service")["spec"]["ports"]] == [9106]
    assert [port["port"] for port in rendered("push").one("Service")["spec"]["ports"]] == [443]


def test_cert_manager_makes_the_certificate() -> None:
    """For the Service's name; its CA gets in the configuration; the pod reads it as files, and may write no Secret."""
    for name, issuer in (
        ("cert-manager", {"name": "freshmount-push"}),
        ("an issuer", {"name": "ours", "kind": "ClusterIssuer"}),
    ):
        it = rendered(name)
        certificate = it.one("Certificate")
        assert certificate["spec"]["dnsNames"] == ["freshmount.freshmount.svc"]
        assert certificate["spec"]["issuerRef"] == issuer
        injected = it.one("MutatingWebhookConfiguration")["metadata"]["annotations"]
        assert injected == {"cert-manager.io/inject-ca-from": f"freshmount/{certificate['metadata']['name']}"}
        (volume,), (container,) = it.pod()["volumes"], it.pod()["containers"]
        assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
        (mount,) = container["volumeMounts"]
        assert (mount["name"], mount["readOnly"]) == (volume["name"], True)
        assert f"--push-cert-dir={mount['mountPath']}" in container["args"]


# The network


def test_the_network_policy_lets_each_part_through() -> None:
    """Peers where they are given; the port of the webhook only with it."""
    peers = [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]
    names = ("metricsFrom", "hubFrom", "webhookFrom", "awsTo", "apiServerTo")
    policy = {**ON, **dict.fromkeys(names, peers), "apiServerPorts": [6443], "awsPorts": [443, 3128]}
    values = {**IMAGE, **SETS["everything"], "networkPolicy": policy}
    it = Chart(need_helm(), HERE).template(values, KUBERNETES[-1], *NAMESPACE)
    validate(kubernetes_own(it), KUBERNETES[-1])
    spec = it.one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [(r["ports"][0]["port"], r["from"]) for r in spec["ingress"]] == [
        (9106, peers),
        (9106, peers),
        (9443, peers),
    ]
    bounded = [([port["port"] for port in rule["ports"]], rule["to"]) for rule in spec["egress"] if "to" in rule]
    assert bounded[:2] == [([6443], peers), ([443, 3128], peers)]
    open_to_all = [rule for rule in spec["egress"] if "to" not in rule]
    assert [{port["port"] for port in rule["ports"]} for rule in open_to_all] == [{53, 5353}]
    assert "from" not in rendered("everything").one("NetworkPolicy")["spec"]["ingress"][0]


# Definitions of resources


def test_definitions_come_only_when_asked_for_and_stay(tmp_path: Path) -> None:
    """Those of files/crds: a removed definition would take every ExternalSecret with it."""
    shutil.copytree(HERE, tmp_path / "controller")
    for path in (tmp_path / "controller" / "files" / "crds").glob("*.yaml"):
        path.unlink()
    chart = Chart(need_helm(), tmp_path / "controller")
    values = {**IMAGE, **PARTS["externalSecrets"]}
    assert "CustomResourceDefinition" not in chart.template({**values, "crds": ON}).kinds()
    (tmp_path / "controller" / "files" / "crds").mkdir(parents=True, exist_ok=True)
    for name in ("ones", "twos"):
        (tmp_path / "controller" / "files" / "crds" / f"{name}.yaml").write_text(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
            f"metadata: {{name: {name}.example.org, annotations: {{own: '1'}}}}\nspec: {{group: example.org}}\n"
        )
    assert "CustomResourceDefinition" not in chart.template(values).kinds()
    found = [d for d in chart.template({**values, "crds": ON}).documents if d["kind"] == "CustomResourceDefinition"]
    assert [d["metadata"]["name"] for d in found] == ["ones.example.org", "twos.example.org"]
    for definition in found:
        assert definition["metadata"]["annotations"] == {"own": "1", "helm.sh/resource-policy": "keep"}
        assert definition["spec"] == {"group": "example.org"}


def test_the_definitions_are_those_of_the_files() -> None:
    """Each file has one."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((HERE / "files" / "crds").glob("*.yaml"))]
    found = [d for d in rendered("everything").documents if d["kind"] == "CustomResourceDefinition"]
    assert [d["spec"] for d in found] == [d["spec"] for d in files]


# Alerts and dashboard

JOB = "freshmount/freshmount-controller"  # as the Prometheus Operator names it: namespace and PodMonitor
METRICS = {  # what the parts export, of the controller and of agents with a hub
    *(
        "freshmount_controller_external_secret_ready",
        "freshmount_controller_external_secret_last_success_timestamp_seconds",
    ),
    *("freshmount_controller_external_secret_errors_total", "freshmount_controller_leader"),
    *(
        "freshmount_controller_hub_agents",
        "freshmount_controller_hub_versions",
        "freshmount_controller_hub_moves_total",
    ),
    *("freshmount_controller_hub_move_to_answer_seconds_bucket", "freshmount_controller_events_total"),
    *("freshmount_controller_push_requests_total", "freshmount_controller_push_certificate_expiry_timestamp_seconds"),
    *("freshmount_controller_events_connected", "freshmount_hub_connected"),
}


def rules(of: Rendered) -> list[dict[str, Any]]:
    (group,) = of.one("PrometheusRule")["spec"]["groups"]
    return list(group["rules"])


def panels(of: Rendered) -> list[dict[str, Any]]:
    (content,) = of.one("ConfigMap", "-dashboard")["data"].values()
    return list(json.loads(content)["panels"])


def queries(of: Rendered) -> list[str]:
    found = [target["expr"] for panel in panels(of) for target in panel["targets"]]
    return [expression.replace("$__rate_interval", "2m").replace("$__range", "6h") for expression in found]


@pytest.fixture
def promtool() -> str:
    need(bool(shutil.which("promtool")), "promtool is not installed (Debian: prometheus)")
    return "promtool"


def test_alerts_and_panels_use_every_metric() -> None:
    """And none that no part exports."""
    it = rendered("everything")
    expressions = [rule["expr"] for rule in rules(it)] + queries(it)
    assert {name for each in expressions for name in re.findall(r"freshmount_\w+", each)} == METRICS
    monitor = it.one("PodMonitor")
    assert f"{monitor['metadata']['namespace']}/{monitor['metadata']['name']}" == JOB
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "http" and endpoint["honorLabels"] is True


def test_promtool_reads_the_rules_and_the_panels(promtool: str, tmp_path: Path) -> None:
    """Alerts as they are, panels as rules of their own."""
    it = rendered("everything")
    shown = [{"record": f"panel:{i}", "expr": expression} for i, expression in enumerate(queries(it))]
    groups = [*it.one("PrometheusRule")["spec"]["groups"], {"name": "panels", "rules": shown}]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    argv = [promtool, "check", "rules", str(tmp_path / "rules.yaml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"{len(rules(it)) + len(shown)} rules found" in done.stdout, (
        done.stdout + done.stderr
    )


WELL = {
    'external_secret_ready{namespace="a",name="db",pod="p"}': "1x48",
    'external_secret_last_success_timestamp_seconds{namespace="a",name="db",pod="p"}': "0+300x48",
    'leader{pod="p"}': "1x48",
    'leader{pod="q"}': "0x48",
    'events_connected{pod="p"}': "1x48",
    'events_connected{pod="q"}': "1x48",
    'push_requests_total{operation="CREATE",result="written",pod="p"}': "0+1x48",
    'push_requests_total{operation="CREATE",result="refused",pod="p"}': "0+1x48",
    'push_requests_total{operation="CREATE",result="failed",pod="p"}': "0x48",
    'push_certificate_expiry_timestamp_seconds{pod="p"}': "7776000x48",
    'push_certificate_expiry_timestamp_seconds{pod="q"}': "7776000x48",
}
AGENTS = {f'freshmount_hub_connected{{job="web",pod="{n}"}}': "1x48" for n in range(5)}
UP = {f'up{{job="{JOB}",pod="{pod}"}}': "1x48" for pod in "pq"}
FAULTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "healthy": ({}, set()),
    "not ready": (
        {"ready": "1x30 0x18", "last_success": "0+300x30 9000x18"},
        {"FreshmountExternalSecretNotReady"},
    ),
    "not ready for a moment": ({"ready": "1x34 0x14"}, set()),
    "not ready for hours": (
        {"ready": "0x48", "last_success": "-21600x48"},
        {"FreshmountExternalSecretNotReady", "FreshmountExternalSecretStale"},
    ),
    "old, and as it was asked for": ({"last_success": "-21600x48"}, set()),
    "no leader": ({'leader{pod="p"': "0x48"}, {"FreshmountControllerNoLeader"}),
    "two leaders": ({'leader{pod="q"': "1x48"}, {"FreshmountControllerNoLeader"}),
    "hub away": ({"hub_connected": "0x48"}, {"FreshmountHubDown"}),
    "one agent falls back": ({'hub_connected{job="web",pod="1"': "0x48"}, {"FreshmountHubAgentsFallBack"}),
    "queue away": ({'events_connected{pod="q"': "0x48"}, {"FreshmountEventsAway"}),
    "AWS takes nothing": ({'result="failed"': "0+1x48"}, {"FreshmountPushFailing"}),
    "AWS took nothing long ago": ({'result="failed"': "0+1x12 12x36"}, set()),
    "certificate": ({'expiry_timestamp_seconds{pod="q"': "1200000x48"}, {"FreshmountPushCertificateExpiring"}),
    "one is not scraped": ({f'up{{job="{JOB}",pod="q"': "0x48"}, {"FreshmountControllerAbsent"}),
}


def series(faults: dict[str, str]) -> list[dict[str, str]]:
    """What a Prometheus holds for four hours, every five minutes; `faults` replaces series that have these parts."""
    made = {f'freshmount_controller_{name[:-1]},job="{JOB}"}}': values for name, values in WELL.items()} | AGENTS | UP
    for fault, instead in faults.items():
        hit = [name for name in made if fault in name]
        assert hit, f"the fault {fault} names no series"
        made |= dict.fromkeys(hit, instead)
    return [{"series": name, "values": values} for name, values in made.items()]


def test_one_fault_is_one_alert(promtool: str, tmp_path: Path) -> None:
    """With the chart's own thresholds, after three hours, in Prometheus' own simulation; without any series, too."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rendered("everything").one("PrometheusRule")["spec"]))
    given = [(name, series(faults), expected) for name, (faults, expected) in FAULTS.items()]
    tests = [
        {
            "name": name,
            "interval": "5m",
            "input_series": held,
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "180m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(expected)],
                }
            ],
        }
        for name, held, expected in [*given, ("nothing", [], {"FreshmountControllerAbsent"})]
    ]
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "5m", "tests": tests})
    )
    argv = [promtool, "test", "rules", str(tmp_path / "test.yaml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    fired = {alert for _, expected in FAULTS.values() for alert in expected}
    assert fired == {rule["alert"] for rule in rules(rendered("everything"))}, "an alert has no fault here"


def test_an_alert_is_of_a_part_that_is_on() -> None:
    """And can be turned off and set by its name in values."""
    names = list(DEFAULTS["alerts"]["rules"])
    of = {"hub": ["hubDown", "hubAgentsFallBack"], "push": ["pushFailing", "pushCertificateExpiring"]}
    chart = Chart(need_helm(), HERE)

    def there(**values: Any) -> dict[str, dict[str, Any]]:
        found = rules(chart.template({**IMAGE, **values}, KUBERNETES[-1], *NAMESPACE))
        return {name: rule for name in names for rule in found if rule["alert"].lower().endswith(name.lower())}

    everything = rules(rendered("everything"))
    assert len(everything) == len(names)
    for part, alerts in of.items():
        values = {part: {**PARTS[part][part], "eventsQueue": ""} if part == "hub" else PARTS[part][part]}
        assert [*there(**values, alerts=ON)] == [*alerts, "controllerAbsent"]
    set_here = {
        "noLeader": {"enabled": False},
        "externalSecretStale": None,
        "controllerAbsent": {"for": "1h", "severity": "page"},
    }
    alerts = {**ON, "runbookUrl": "https://x/r#", "selector": 'job="own"', "rules": set_here}
    found = there(**PARTS["externalSecrets"], alerts=alerts)
    assert [*found] == ["externalSecretNotReady", "controllerAbsent"]
    assert (found["controllerAbsent"]["for"], found["controllerAbsent"]["labels"]["severity"]) == ("1h", "page")
    assert found["controllerAbsent"]["annotations"]["runbook_url"] == "https://x/r#freshmountcontrollerabsent"
    assert all('{job="own"}' in rule["expr"] for rule in found.values())


def test_each_alert_has_its_section_in_the_runbook() -> None:
    """What it means, how to see it, what to do."""
    parts = re.split(r"^## ", (CHARTS.parent / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)[1:]
    sections = {title: text for title, _, text in (part.partition("\n") for part in parts)}
    for rule in rules(rendered("everything")):
        for part in ("**What it means.**", "**See.**", "**Do.**"):
            assert part in sections[rule["alert"]], (rule["alert"], part)
        assert f"section {rule['alert']} of docs/runbook.md" in rule["annotations"]["description"]


@pytest.mark.parametrize("name", ["everything", *PARTS])
def test_panels_do_not_overlap(name: str) -> None:
    """A part brings its own."""
    it = rendered(name) if name == "everything" else Chart(need_helm(), HERE).template(
        {**IMAGE, **PARTS[name], "dashboard": ON}
    )  # fmt: skip
    cells = [
        (x, y)
        for panel in panels(it)
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    prefix = {"externalSecrets": "external_secret", "hub": "(hub|events)", "push": "push"}.get(name, r"\w")
    assert all(re.search(rf"freshmount_(controller_)?{prefix}", query) for query in queries(it))


# What is written down


def test_the_schema_has_every_value() -> None:
    """And no other: a value that is misspelt, or of another kind, is refused."""
    schema = json.loads((HERE / "values.schema.json").read_text())

    def compare(values: dict[str, Any], of: dict[str, Any], path: str) -> None:
        assert of["additionalProperties"] is False, path
        assert set(values) == set(of["properties"]) - {"global"}, path
        for name, inner in values.items():
            if isinstance(inner, dict) and "properties" in of["properties"][name] and inner:
                compare(inner, of["properties"][name], f"{path}.{name}")

    compare(DEFAULTS, schema, "")
    jsonschema.validate(DEFAULTS, schema)
    for values in SETS.values():
        jsonschema.validate(values, schema)
    for wrong in (
        {"replica": 2},
        {"externalSecrets": {"namespaces": "a"}},
        {"externalSecrets": {"namespaces": ["A"]}},
        {"hub": {"period": "often"}},
        {"push": {"cluster": "a/b"}},
        {"push": {"prefix": "no-slash"}},
        {"push": {"timeoutSeconds": 31}},
        {"image": {"digest": "latest"}},
        {"alerts": {"rules": {"noLeader": {"enabled": True, "severity": "", "for": "5m"}}}},
        {"alerts": {"rules": {"pushFailing": {"enabled": True, "severity": "page", "for": "5m"}}}},
        {"networkPolicy": {"awsPorts": []}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_notes_are_shown_at_install() -> None:
    """Of the parts that are on."""
    argv = [need_helm("v4"), "install", "web", str(HERE), "--dry-run=client", "--values", "-", *NAMESPACE]
    shown = {}
    for name in ("everything", "hub"):
        done = subprocess.run(
            argv, input=json.dumps({**IMAGE, **SETS[name]}), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        shown[name] = done.stdout.partition("NOTES:")[2]
    assert "http://freshmount.freshmount:9106" in shown["hub"] and "push" not in shown["hub"]
    assert "team/<namespace>/<name>" in shown["everything"] and "spec.controller: freshmount" in shown["everything"]
