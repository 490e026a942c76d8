"""Alerts and dashboard of the chart: read by promtool, held against the agent's own exposition, and under fire."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.core import status
from agent.core.errors import Failure
from agent.core.model import Delivery, Observation, Rotation
from agent.core.status import HubStatus
from tests.core.test_status import BEGIN, published, result
from tests.observe.test_metrics import exposition
from tests.support.answers import Answer, Answers
from tests.support.aws import Fault, Proxy, QuickStandIn, environment
from tests.support.chart import CHARTS, Chart, Rendered, built, need, need_helm, ours
from tests.support.monitored import JOB, SHORT, free_port, scraping
from tests.support.pod import Pod
from tests.support.running import Agent, until

ON = {"enabled": True}
ALL = {"podMonitor": ON, "prometheusRule": ON, "dashboard": ON}
# One of everything that an agent can export.
EXPORTED = exposition(
    status.after(
        status.asked_through(BEGIN, HubStatus("http://hub", connected=True, answered_at=1.0)),
        result(
            published("db"),
            generation_made=True,
            succeeded=frozenset({"db"}),
            failures={"api": Failure("not_found", "optional, and not there by right")},
            observations={"db": Observation("v1", ("AWSCURRENT",), Rotation(5000.0, 3600.0, None))},
            deliveries=(Delivery("app", 1, True, "told", 0.1),),
        ),
    )
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return built(need_helm(), tmp_path_factory.mktemp("chart") / "charts")


@pytest.fixture(scope="module")
def monitoring(demo: Chart) -> Rendered:
    return demo.template(ours(**ALL))


@pytest.fixture
def promtool() -> str:
    need(bool(shutil.which("promtool")), "promtool is not installed (Debian: prometheus)")
    return "promtool"


def rules(rendered: Rendered) -> list[dict[str, Any]]:
    return list(rendered.one("PrometheusRule")["spec"]["groups"][0]["rules"])


def panels(rendered: Rendered) -> list[dict[str, Any]]:
    (content,) = rendered.one("ConfigMap", "-dashboard")["data"].values()
    return list(json.loads(content)["panels"])


def queries(rendered: Rendered) -> list[str]:
    """What the panels ask Prometheus for, with Grafana's variables filled in."""
    variables = {"$__rate_interval": "2m", "$__range": "6h", "$namespace": "default", "$pod": ".*"}
    found = [target["expr"] for panel in panels(rendered) for target in panel["targets"]]
    for name, value in variables.items():
        found = [expression.replace(name, value) for expression in found]
    return found


def test_metrics_of_alerts_and_dashboard_exist(monitoring: Rendered) -> None:
    """In the agent's own exposition; a renamed one breaks the build."""
    kinds = dict(re.findall(r"^# TYPE (freshmount_\w+) (\w+)$", EXPORTED, re.MULTILINE))
    assert kinds["freshmount_secret_errors_total"] == "counter"
    there = {n for n, kind in kinds.items() if kind != "histogram"}
    there |= {f"{n}_{part}" for n, kind in kinds.items() if kind == "histogram" for part in ("bucket", "count", "sum")}
    expressions = [rule["expr"] for rule in rules(monitoring)] + queries(monitoring)
    used = {name for expression in expressions for name in re.findall(r"freshmount_\w+", expression)}
    assert len(used) > 5 and used - there == set()


def test_promtool_reads_the_rules_and_the_panels(monitoring: Rendered, promtool: str, tmp_path: Path) -> None:
    """Alerts as they are, panels as rules of their own."""
    shown = [{"record": f"panel:{i}", "expr": expression} for i, expression in enumerate(queries(monitoring))]
    groups = [*monitoring.one("PrometheusRule")["spec"]["groups"], {"name": "panels", "rules": shown}]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    done = subprocess.run(
        [promtool, "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False
    )
    found = len(rules(monitoring)) + len(shown)
    assert done.returncode == 0 and f"{found} rules found" in done.stdout, done.stdout + done.stderr


def series(**faults: str) -> list[dict[str, str]]:
    """What a Prometheus holds of a healthy agent for four hours: its own exposition, with the clock and counters that
    stand still as they are, timestamps that follow the time; `faults` replaces series by the start of their names."""
    made = []
    following = ("last_pass_timestamp", "secret_last_success_timestamp", "hub_last_answer")
    for line in EXPORTED.splitlines():
        if not line.startswith("freshmount_"):
            continue
        name, value = line.rsplit(" ", 1)
        bare, _, labels = name.partition("{")
        labels = f'job="{JOB}",namespace="default",pod="p"' + (f",{labels}" if labels else "}")
        values = f"{value}x240"
        if bare.removeprefix("freshmount_").startswith(following):
            values = "0+60x240"
        if "next_rotation" in bare:
            values = "1000000x240"
        for fault, instead in faults.items():
            if all(part in name for part in fault.split("__")):
                values = instead
        made.append({"series": f"{bare}{{{labels}" + ("" if labels.endswith("}") else "}"), "values": values})
    return [
        *made,
        {"series": f'up{{job="{JOB}",namespace="default",pod="p"}}', "values": faults.get("scraped", "1x240")},
    ]


FAULTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "healthy": ({}, set()),
    "failing for 40 minutes": (
        {"up_to_date__db": "0x240", "last_success__db": "0+60x140 8400x100", "errors__db__timeout": "0+1x240"},
        {"FreshmountRefreshFailing"},
    ),
    "failing for two hours": (
        {"up_to_date__db": "0x240", "last_success__db": "0+60x60 3600x180", "errors__db__timeout": "0+1x240"},
        {"FreshmountRefreshFailing", "FreshmountSecretStale"},
    ),
    "denied": (
        {"up_to_date__db": "0x240", "last_success__db": "0+60x140 8400x100", "errors__db__access_denied": "0+1x240"},
        {"FreshmountAccessDenied"},
    ),
    "denied once, and well again": ({"errors__db__access_denied": "0x170 1x70"}, set()),
    "overdue": ({"next_rotation": "3600x240"}, {"FreshmountRotationOverdue"}),
    "due a moment ago": ({"next_rotation": "10000x240"}, set()),
    "pending": ({"notification_pending": "1x240"}, {"FreshmountNotificationPending"}),
    "refused config": ({"config_reload_success": "0x240"}, {"FreshmountConfigReloadFailed"}),
    "stuck": (
        {"last_pass": "0+60x160 9600x80", "hub_last_answer": "0+60x160 9600x80"},
        {"FreshmountLoopStuck"},
    ),
    "no pass for long, since the hub answers": ({"last_pass": "0+60x160 9600x80"}, set()),
    "the hub is away": ({"hub_connected": "0x240", "hub_last_answer": "0+60x160 9600x80"}, {"FreshmountHubAway"}),
    "not scraped": ({"scraped": "0x240"}, {"FreshmountAbsent"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_is_one_alert(monitoring: Rendered, promtool: str, tmp_path: Path, fault: str) -> None:
    """With the chart's own thresholds."""
    faults, expected = FAULTS[fault]
    given = series(**faults)
    assert not faults or given != series(), "the fault names no series"
    assert_fire(expected, given, monitoring, promtool, tmp_path)


def test_a_denial_without_its_alert_is_a_failing_refresh(demo: Chart, promtool: str, tmp_path: Path) -> None:
    """Or it would wake nobody."""
    rendered = demo.template(ours(prometheusRule={**ON, "alerts": {"accessDenied": None}}))
    assert_fire({"FreshmountRefreshFailing"}, series(**FAULTS["denied"][0]), rendered, promtool, tmp_path)


def test_replicas_that_disagree(monitoring: Rendered, promtool: str, tmp_path: Path) -> None:
    """Two pods, two versions."""
    two = [{**s, "series": s["series"].replace('pod="p"', 'pod="q"')} for s in series()]
    other = [{**s, "series": s["series"].replace('version_id="v1"', 'version_id="v2"')} for s in two]
    assert_fire(set(), [*series(), *two], monitoring, promtool, tmp_path)
    assert_fire({"FreshmountReplicasDisagree"}, [*series(), *other], monitoring, promtool, tmp_path)


def test_nothing_at_all_is_absent(monitoring: Rendered, promtool: str, tmp_path: Path) -> None:
    """No pod of the release is known to Prometheus."""
    assert_fire({"FreshmountAbsent"}, [], monitoring, promtool, tmp_path)


def assert_fire(expected: set[str], given: list[dict[str, str]], rendered: Rendered, promtool: str, home: Path) -> None:
    """These alerts and no other fire on the series after three hours, in Prometheus' own simulation."""
    (home / "rules.yaml").write_text(yaml.safe_dump(rendered.one("PrometheusRule")["spec"]))
    asked = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": "180m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)],
    }
    test = {"interval": "1m", "input_series": given, "promql_expr_test": [asked]}
    # Each minute would take four times as long, and fires the same.
    simulated = {"rule_files": ["rules.yaml"], "evaluation_interval": "5m", "tests": [test]}
    (home / "test.yaml").write_text(yaml.safe_dump(simulated))
    done = subprocess.run(
        [promtool, "test", "rules", str(home / "test.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_can_be_turned_off_and_set(demo: Chart, monitoring: Rendered) -> None:
    """By its name in values, with severity and patience of its own."""
    names = list(yaml.safe_load((CHARTS / "freshmount" / "values.yaml").read_text())["prometheusRule"]["alerts"])
    assert len(names) == len(rules(monitoring)) == 10
    alerts = {name: f"Freshmount{name[0].upper()}{name[1:]}" for name in names}
    patience = {name: f"{7 + at}m" for at, name in enumerate(names)}
    each = {**ON, "alerts": {name: {"for": long} for name, long in patience.items()}}
    found = rules(demo.template(ours(**{**ALL, "prometheusRule": each})))
    assert {rule["alert"]: rule["for"] for rule in found} == {alerts[name]: patience[name] for name in names}
    for off in (names[::2], names[1::2]):
        rule = {**ON, "alerts": {name: {"enabled": False} for name in off}}
        left = {r["alert"] for r in rules(demo.template(ours(**{**ALL, "prometheusRule": rule})))}
        assert left == {r["alert"] for r in rules(monitoring)} - {alerts[name] for name in off} != set()
    rule = {**ON, "runbookUrl": "https://x/r", "alerts": {"absent": {"for": "1h", "severity": "page"}}}
    (absent,) = (
        r for r in rules(demo.template(ours(**{**ALL, "prometheusRule": rule}))) if r["alert"] == "FreshmountAbsent"
    )
    assert (absent["for"], absent["labels"]["severity"]) == ("1h", "page")
    assert absent["annotations"]["runbook_url"] == "https://x/r#freshmountabsent"


def test_each_alert_has_its_section_in_the_runbook(demo: Chart, monitoring: Rendered) -> None:
    """What it means, how to see it, what to do; and no section is of an alert that is gone."""
    sections = re.split(r"^## ", (CHARTS.parent / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)[1:]
    controller = (CHARTS / "controller" / "templates" / "_monitoring.tpl").read_text()
    others = set(re.findall(r"^  alert: (\w+)$", controller, re.MULTILINE))  # test_controller.py looks at these
    titles = [title for section in sections if (title := section.partition("\n")[0]) not in others]
    assert sorted(titles) == sorted(rule["alert"] for rule in rules(monitoring))
    assert len(titles) + len(others) == len(sections)
    for rule in rules(monitoring):  # no address is published, so the alert names the section
        assert "runbook_url" not in rule["annotations"]
        assert f"section {rule['alert']} of docs/runbook.md" in rule["annotations"]["description"]
    for given in ("https://x/r", "https://x/r#"):
        there = rules(demo.template(ours(**{**ALL, "prometheusRule": {**ON, "runbookUrl": given}})))
        assert {rule["annotations"]["runbook_url"] for rule in there} == {f"https://x/r#{t.lower()}" for t in titles}
        assert not any("docs/runbook.md" in rule["annotations"]["description"] for rule in there)
    for section in sections:
        assert all(part in section for part in ("**What it means.**", "**See.**", "**Do.**"))


def test_a_service_monitor_instead(demo: Chart) -> None:
    """Its Service finds the pods, and the job has the name that the alerts ask for; both together are refused."""
    rendered = demo.template(ours(**{**ALL, "podMonitor": {}, "serviceMonitor": ON}))
    service, monitor = rendered.one("Service", "-freshmount"), rendered.one("ServiceMonitor")
    pod = rendered.one("Deployment")["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": JOB}]
    assert all(JOB in rule["expr"] for rule in rules(rendered))
    assert "freshmount.podMonitor and freshmount.serviceMonitor" in demo.refusal(ours(**ALL, serviceMonitor=ON))


def test_panels_do_not_overlap(monitoring: Rendered) -> None:
    """A dashboard is looked at."""
    cells = [
        (x, y)
        for panel in panels(monitoring)
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24


# Under fire: real agents, a real Prometheus, the chart's rules with seconds for minutes


class Scraped:
    """One pod of the release with a running agent, which reads a secret of its own name."""

    def __init__(self, name: str, aws: QuickStandIn, home: Path, period: str = "20s", of: str = "") -> None:
        (home / name).mkdir()
        self.name, self.port, self.proxy = name, free_port(), Proxy(aws.url)
        self.pod = Pod(aws, self.proxy, home / name)
        self.target, self.secret = free_port(), of or self.pod.put(name, "1")
        entry = f"{{name: {name if not of else 'shared'}, secretId: {self.secret}, files: [{{path: f}}]}}"
        url = f"{{name: app, url: 'http://127.0.0.1:{self.target}/'}}"
        path = self.pod.write(entry, notify=(url,) if name == "refusing" else (), period=period)
        self.good = path.read_text().replace("listen: 127.0.0.1:0", f"listen: 127.0.0.1:{self.port}")
        path.write_text(self.good)
        self.start()

    def start(self) -> None:
        self.agent = Agent("run", self.pod.config, environment())

    def end(self) -> None:
        self.agent.process.kill()
        self.agent.wait()

    def close(self) -> None:
        self.end()
        self.proxy.close()


def rotates(in_seconds: float) -> Fault:
    """AWS tells a date on or before which it rotates the secret."""
    next_at = time.time() + in_seconds

    def act(handler: Any, status: int, body: bytes) -> None:
        told = {"RotationEnabled": True, "NextRotationDate": next_at, "RotationRules": {"Duration": "3h"}}
        handler.answer(status, json.dumps({**json.loads(body), **told}).encode())

    return Fault(act)


@contextmanager
def loop_held(agent: Agent) -> Iterator[None]:
    """The agent's main thread alone stands still: it is traced, and its tracer is stopped."""
    tracer = subprocess.Popen(["strace", "-o", "/dev/null", "-p", str(agent.process.pid)], stderr=subprocess.DEVNULL)
    traced = Path(f"/proc/{agent.process.pid}/status")
    until(lambda: f"TracerPid:\t{tracer.pid}" in traced.read_text(errors="replace"))
    tracer.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        tracer.send_signal(signal.SIGCONT)
        tracer.terminate()
        tracer.wait()


@pytest.mark.full("promtool fires each alert from samples")
def test_under_a_real_prometheus(demo: Chart, tmp_path: Path) -> None:
    """Every fault at a time, each in a pod of its own: its alert fires, it ends when mended, and no other comes."""
    for tool in ("prometheus", "strace"):
        need(bool(shutil.which(tool)), f"{tool} is not installed (Debian)")
    rendered = demo.template(ours(prometheusRule={**ON, "alerts": SHORT}))
    with QuickStandIn() as aws, ExitStack() as ending:
        shared = aws.put("shared", "1")
        pods: dict[str, Scraped] = {}
        for name in ("denied", "failing", "lasting", "overdue", "refusing", "config", "stuck", "absent", "one", "two"):
            period = {"lasting": "1s", "stuck": "3s", "two": "1h"}.get(name, "20s")
            pods[name] = Scraped(name, aws, tmp_path, period, shared if name in ("one", "two") else "")
            ending.callback(pods[name].close)
        pods["overdue"].proxy.fail(rotates(in_seconds=86400), operation="DescribeSecret")
        for pod in pods.values():
            pod.agent.ready()
        groups = rendered.one("PrometheusRule")["spec"]["groups"]
        prometheus = ending.enter_context(scraping(tmp_path, groups, {p.name: p.port for p in pods.values()}))
        pods["overdue"].agent.pass_now()
        assert prometheus.firing() == set()

        # The faults.
        pods["overdue"].proxy.heal()
        for name, fault in (
            ("denied", Fault.access_denied()),
            ("failing", Fault.internal_error()),
            ("lasting", Fault.internal_error()),
            ("overdue", rotates(in_seconds=-7200)),
        ):
            pods[name].proxy.fail(fault, operation="DescribeSecret")
            pods[name].agent.pass_now()
        aws.rotate(pods["refusing"].secret, "2")
        aws.rotate(shared, "2")
        for name in ("refusing", "one"):
            pods[name].agent.pass_now()
        pods["config"].pod.edit("kind: Nonsense")
        pods["absent"].end()
        held = ExitStack()
        ending.enter_context(held)
        held.enter_context(loop_held(pods["stuck"].agent))

        # How each is mended, once all alerts of its pod have been seen.
        def well(name: str) -> Callable[[], None]:
            return lambda: (pods[name].proxy.heal(), pods[name].agent.pass_now())[1]

        def taken() -> None:
            ending.enter_context(Answers(lambda _: Answer(status=204), port=pods["refusing"].target))
            pods["refusing"].agent.pass_now()

        mending = {
            "denied": ({"FreshmountAccessDenied"}, well("denied")),
            "failing": ({"FreshmountRefreshFailing"}, well("failing")),
            "lasting": ({"FreshmountRefreshFailing", "FreshmountSecretStale"}, well("lasting")),
            "overdue": ({"FreshmountRotationOverdue"}, well("overdue")),
            "refusing": ({"FreshmountNotificationPending"}, taken),
            "shared": ({"FreshmountReplicasDisagree"}, pods["two"].agent.pass_now),
            "config": ({"FreshmountConfigReloadFailed"}, lambda: pods["config"].pod.edit(pods["config"].good)),
            "stuck": ({"FreshmountLoopStuck"}, held.close),
            "absent": ({"FreshmountAbsent"}, pods["absent"].start),
        }
        expected = {(alert, of) for of, (alerts, _) in mending.items() for alert in alerts}
        seen: set[tuple[str, str]] = set()

        def next_fires() -> bool:
            seen.update(prometheus.firing())
            for of, (alerts, mend) in list(mending.items()):
                if {(alert, of) for alert in alerts} <= seen:
                    del mending[of]
                    mend()
            return not mending

        until(next_fires, every=0.1)
        until(lambda: not prometheus.firing(), every=0.1)
        assert prometheus.fired() == expected
