"""Draw the chart's dashboard with real data: ``python -m bench.dashboard docs/dashboard.png``.

Three real agents on a stand-in for AWS, a real Prometheus, the panels' own queries; only the drawing is not Grafana's.
In two minutes: six rotations, twenty seconds in which AWS denies one pod, twenty in which a target refuses.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib as mpl

from tests.support.answers import Answer, Answers
from tests.support.aws import Fault, Proxy, QuickStandIn, environment
from tests.support.chart import built, need_helm, ours
from tests.support.monitored import Prometheus, free_port, scraping
from tests.support.pod import Pod
from tests.support.running import running

mpl.use("Agg")
from matplotlib import pyplot

SECONDS = 120
ROTATIONS = {10: "db", 30: "api", 45: "db", 70: "db", 85: "api", 100: "db"}
DENIED, REFUSED = range(40, 60), range(65, 85)
PODS = ("web-7d9f-4xk2p", "web-7d9f-9qmzt", "web-7d9f-hb6vw")
UNITS = {"s": "seconds", "reqps": "calls per second", "none": "", "currencyUSD": "$"}


def main(to: str) -> None:
    """Let it happen, then draw."""
    with tempfile.TemporaryDirectory() as made, QuickStandIn() as aws, ExitStack() as ending:
        home = Path(made)
        (home / "prometheus").mkdir()
        rendered = built(need_helm(), home / "charts").template(ours(dashboard={"enabled": True}))
        (content,) = rendered.one("ConfigMap", "-dashboard")["data"].values()
        app = ending.enter_context(Answers(lambda _: Answer(status=204)))
        for name in ("db", "api"):
            aws.put(name, "1")
        ports, proxies = {}, []
        for name in PODS:
            (home / name).mkdir()
            proxies.append(ending.enter_context(Proxy(aws.url)))
            pod, ports[name] = Pod(aws, proxies[-1], home / name), free_port()
            secrets = [f"{{name: {s}, secretId: {s}, files: [{{path: {s}}}]}}" for s in ("db", "api")]
            target = f"{{name: app, url: '{app.url}/'}}"
            path = pod.write(*secrets, notify=(target,), period="3s")
            path.write_text(path.read_text().replace("listen: 127.0.0.1:0", f"listen: 127.0.0.1:{ports[name]}"))
            ending.enter_context(running("run", path, environment())).ready()
        prometheus = ending.enter_context(scraping(home / "prometheus", [], ports))
        began = time.time()
        for second in range(SECONDS):
            time.sleep(max(0.0, began + second - time.time()))
            if second in ROTATIONS:
                aws.rotate(ROTATIONS[second], str(second))
            if second == DENIED.start:
                proxies[0].fail(Fault.access_denied())
            if second == DENIED.stop:
                proxies[0].heal()
            status = 503 if second in REFUSED else 204
            app.answer = lambda _, status=status: Answer(status=status)
        draw(json.loads(content), prometheus, began, time.time(), to)


def draw(dashboard: dict[str, Any], prometheus: Prometheus, began: float, ended: float, to: str) -> None:
    """The panels where the dashboard has them."""
    figure = pyplot.figure(figsize=(14, 13), layout="constrained")
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    grid = figure.add_gridspec(height, 24)
    figure.suptitle(dashboard["title"])
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        ax = figure.add_subplot(grid[at["y"] : at["y"] + at["h"], at["x"] : at["x"] + at["w"]])
        ax.set_title(panel["title"], fontsize=10, loc="left")
        unit = panel["fieldConfig"]["defaults"]["unit"]
        if panel["type"] == "stat":
            (found,) = prometheus.query(_filled(panel["targets"][0]["expr"], ended - began))
            shown = f"${found[1]:,.2f}" if unit == "currencyUSD" else f"{found[1]:g}"
            ax.text(0.5, 0.45, shown, fontsize=26, ha="center", va="center", color="#3b6ea5")
            ax.set_axis_off()
            continue
        for target in panel["targets"]:
            for labels, values in _range(prometheus, target["expr"], began, ended):
                moments, numbers = zip(*((moment - began, float(value)) for moment, value in values), strict=True)
                ax.plot(moments, numbers, linewidth=1.2, label=_legend(target["legendFormat"], labels))
        ax.set(ylabel=UNITS[unit], xlim=(0, ended - began))
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
        if ax.has_data():
            ax.legend(fontsize=7, ncols=2)
    figure.savefig(to, dpi=90)


def _filled(expression: str, seconds: float) -> str:
    variables = {"$__rate_interval": "5s", "$__range": f"{int(seconds)}s", "$namespace": "default", "$pod": ".*"}
    for name, value in variables.items():
        expression = expression.replace(name, value)
    return expression


def _range(
    prometheus: Prometheus, expression: str, began: float, ended: float
) -> list[tuple[dict[str, str], list[tuple[float, str]]]]:
    query = _filled(expression, ended - began)
    found = prometheus.ask("query_range", query=query, start=began, end=ended, step="0.5")["result"]
    return [(one["metric"], [v for v in one["values"] if v[1] != "NaN"] or [(began, "0")]) for one in found]


def _legend(form: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        form = form.replace("{{" + name + "}}", value[:8] if name == "version_id" else value)
    return form


if __name__ == "__main__":
    main(sys.argv[1])
