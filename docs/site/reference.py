"""Writes the pages of docs/reference from what they describe: `make reference`. Tests hold the pages against it.

python docs/site/reference.py DIRECTORY
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from agent import cli
from agent.config import native
from agent.controller.external_secrets.metrics import Metrics
from agent.controller.hub.measures import Measures
from agent.controller.push import push
from agent.core import status
from agent.core.errors import Failure
from agent.core.model import Call
from agent.core.record import replace
from agent.core.status import HubStatus, TargetStatus
from agent.observe import metrics

ROOT = Path(__file__).parents[2]
MADE = "<!-- Made by `make reference`. Do not edit. -->\n\n"

# -- the config, from its schema

DURATION = r"^([0-9]{1,9}(\.[0-9]{1,3})?h)?"
INTRO = """# Config: every key

`freshmount schema` prints this as a JSON Schema; [config/schema.json](../../config/schema.json) is the same file.
An editor completes keys with it. Point it there with a first line `# yaml-language-server: $schema=schema.json`.

Unknown and duplicate keys, colliding paths and contradictions are errors, and `freshmount check` reports all of them
with line and column. Durations are written `500ms`, `1.5s`, `30s`, `2m`, `1h30m`; modes are quoted octal strings.
[Files](../files.md), [notifications](../notify.md) and [sources](../sources.md) have examples;
[config](../config.md) tells how a config is read.

"""


def config() -> str:
    """A table for each object of the schema."""
    schema = json.loads((ROOT / "agent/config/schema.json").read_text())
    return MADE + INTRO + "\n".join(_tables("", schema, "Top level"))


def _tables(at: str, node: Mapping[str, Any], title: str, said: str = "") -> Iterator[str]:
    rows, below = [], []
    required = {*node.get("required", ())}
    for name, key in node["properties"].items():
        path = f"{at}{name}"
        inner, suffix = _inner(key)
        if inner:
            below.append((f"{path}{suffix}.", inner, f"{path}{suffix}", key.get("description", "")))
        default = "required" if name in required else f"`{_plain(key['default'])}`" if "default" in key else "–"
        rows.append(f"| `{path}{suffix}` | {_values(key)} | {default} | {_cell(_meaning(key, path, suffix, inner))} |")
    yield f"## {title}\n"
    if said:
        yield f"{said}\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for path, inner, name, description in below:
        yield from _tables(path, inner, f"`{name}`", description)


def _meaning(key: Mapping[str, Any], path: str, suffix: str, inner: object) -> str:
    if not inner:
        return str(key.get("description", ""))
    return f"[below](#{re.sub(r'[^a-z0-9_-]', '', (path + suffix).lower())})"


_PLURAL = {"number": "numbers", "object": "objects"}


def _inner(key: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """The object that a key holds, if it has named keys, and whether it is one of a list."""
    for each in (key, *key.get("anyOf", ())):
        if "properties" in each:
            return each, ""
        if isinstance(items := each.get("items"), dict) and "properties" in items:
            return items, "[]"
    return None, ""


def _values(key: Mapping[str, Any]) -> str:
    """What may stand there, in a few words."""
    if "const" in key:
        return f"`{key['const']}`"
    if "enum" in key:
        return " ".join(f"`{each}`" for each in key["enum"])
    if "anyOf" in key:
        return ", or ".join(dict.fromkeys(_values(each) for each in key["anyOf"]))
    kind, pattern = key.get("type"), key.get("pattern", "")
    if kind == "string":
        if pattern.startswith(DURATION):
            return "duration"
        if pattern.startswith("^0?["):
            return "octal mode"
        return "absolute path" if pattern == "^/" else "URL" if pattern.startswith("^http") else "text"
    if kind == "array":
        of = _values(key.get("items", {}))
        return "list" if "properties" in key.get("items", {}) else f"list of {_PLURAL.get(of, of)}"
    if kind == "boolean":
        return "`true` `false`"
    return "object" if kind == "object" else "number" if kind in ("integer", "number") else "text"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    """As a cell of a table: what stands between backticks is shown as it is, the bar aside."""
    plain = {"<": "&lt;", "*": r"\*"}
    text = re.sub(r"`[^`]*`|[<*]", lambda found: plain.get(found[0], found[0]), text.replace("\n", " "))
    return text.replace("|", r"\|")


# -- the commands, from their parser


def commands() -> str:
    """A section for each command, with its arguments."""
    parser = cli._parser({})
    (below,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    said = {choice.dest: choice.help or "" for choice in below._choices_actions}
    text = MADE + (
        "# Commands: every option\n\n"
        "[Commands](../commands.md) tells what they are for. `python -m agent` is the same as `freshmount`.\n"
        "Exit codes: 0 done, 1 could not complete, 2 usage or configuration.\n\n## Before or after the command\n\n"
    )
    text += _options(action for action in parser._actions if action is not below)
    for name, command in sorted(below.choices.items()):
        text += f"\n## {name}\n\n{said[name][:1].upper()}{said[name][1:]}.\n\n"
        usage = " ".join(["freshmount", name, *filter(None, map(_usage, command._actions))])
        text += f"```text\n{usage}\n```\n"
        common = {"--config", "--log-format", "--log-level", "-h", "--help"}
        table = _options(action for action in command._actions if not common & {*action.option_strings})
        text += f"\n{table}" if table else ""
    return text


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        name = action.metavar or action.dest
        shown = f"{name}…" if action.nargs == "+" else str(name)
        return f"[{shown}]" if action.nargs == "?" else shown
    return f"{action.option_strings[0]} {_value(action)}" if action.required else ""


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    return str(action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper()))


def _options(actions: Iterable[argparse.Action]) -> str:
    rows = []
    for action in actions:
        if "-h" in action.option_strings or action.help == argparse.SUPPRESS:
            continue
        names = action.option_strings or [action.metavar or action.dest]
        value = _value(action) if action.option_strings else ""
        shown = ", ".join(f"{name} {value}".strip() for name in map(str, names)).replace("|", r"\|")
        help_text = (action.help or "") % {"default": action.default, "prog": "freshmount"}
        rows.append(f"| `{shown}` | {_cell(help_text)} |")
    return "| | |\n|---|---|\n" + "\n".join(rows) + "\n" if rows else ""


# -- the metrics, from the expositions


class _Registry(CollectorRegistry):
    """Remembers what registers, since a family that has labels and no samples does not show them."""

    def __init__(self) -> None:
        super().__init__(auto_describe=True)
        self.labels: dict[str, tuple[str, ...]] = {}

    def register(self, collector: Any) -> None:
        """As the base class."""
        super().register(collector)
        if hasattr(collector, "_labelnames"):
            for family in collector.collect():
                self.labels[family.name] = tuple(collector._labelnames)


def _agent() -> list[tuple[str, str, str, str]]:
    """Name, type, labels and text of each metric of the agent, of a status in which everything has happened."""
    text = (
        "{apiVersion: freshmount.dev/v1, kind: Config, secrets: [{name: s, secretId: s}],"
        " notify: [{name: t, touch: /touched}]}"
    )
    begun = status.begin(native.parse(text, "reference").bundle, "1", 0.0)
    made = replace(
        begun,
        generation_at=1.0,
        last_pass=1.0,
        config_last_reload=1.0,
        hub=HubStatus("http://hub", answered_at=1.0),
        targets={"t": TargetStatus("t")},
        secrets={
            "s": replace(
                begun.secrets["s"],
                version_id="v",
                version_stage="AWSCURRENT",
                region="r",
                published_at=1.0,
                last_success=1.0,
                next_rotation=1.0,
                pinned_until=1.0,
                failure=Failure("other", ""),
            )
        },
    )
    families = text_string_to_metric_families(metrics.exposition(made)[1].decode())
    found = []
    for family in families:
        if family.name == "process_open_fds":  # not for every uid
            continue
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        if not family.samples:
            raise SystemExit(f"{family.name} has no sample here, so its labels are not known: give the status one")
        found.append((_full(family.name, family.type), family.type, ", ".join(labels), family.documentation))
    return found


def _full(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" and not name.endswith("_total") else name


def _controller() -> list[tuple[str, str, str, str]]:
    registry = _Registry()
    Metrics(registry, dict)
    Measures(registry, lambda: 0, lambda: 0, queue=True).called(Call("s", "DescribeSecret", "OK", 0.0))
    part: Any = push.Push  # only what it registers is looked at
    part(None, None, store=None, client=None, keeper=None, registry=registry, log=None)
    own = {
        "freshmount_controller_external_secret_ready": ("namespace", "name"),
        "freshmount_controller_external_secret_last_success_timestamp_seconds": ("namespace", "name"),
    }
    found = []
    for family in sorted(registry.collect(), key=lambda family: family.name):
        labels = registry.labels.get(family.name) or own.get(family.name, ())
        said = family.documentation.rstrip(".") + "."
        found.append((_full(family.name, family.type), family.type, ", ".join(sorted(labels)), said))
    return found


def exposed() -> str:
    """A table for the agent's metrics and one for the controller's."""
    text = MADE + (
        "# Metrics: every name\n\n"
        "Prometheus' text format, at `/metrics` of the agent (port 9105) and of the controller (port 9106). There are\n"
        "timestamps and no ages: subtract one from `time()`. The agent's counters are there at zero from the start.\n"
        "[Operate](../operate.md) tells what to watch.\n"
    )
    for title, rows in (("The agent's", _agent()), ("The controller's", _controller())):
        text += f"\n## {title}\n\n| name | type | labels | |\n|---|---|---|---|\n"
        text += "".join(
            f"| `{name}` | {kind} | {labels or '–'} | {_cell(said)} |\n" for name, kind, labels, said in rows
        )
    return text


# -- the charts' values, from values.yaml and its schema

CHARTS = {  # with a schema; the example has none, and its values are the copy's
    "freshmount": "The library, for your own workloads: [its page](../../charts/freshmount/README.md). "
    "In an app's values all of it is below `freshmount`, or the alias of the dependency.",
    "injector": "[Its page](../../charts/injector/README.md), and [one label](../inject.md).",
    "controller": "[Its page](../../charts/controller/README.md), and [hub](../hub.md), "
    "[ExternalSecrets](../external-secrets.md), [push](../push.md).",
    "demo": "An example to copy: [its page](../../charts/demo/README.md).",
}


def charts() -> str:
    """A table for each chart: of each value that its values.yaml describes, what the schema takes."""
    text = MADE + (
        "# Charts: every value\n\n"
        "A value that the schema does not take is refused by `helm template`, `install` and `upgrade`. Null takes\n"
        "away a default. [Releases](../release.md) tells which names stay.\n"
    )
    for chart, said in CHARTS.items():
        home = ROOT / "charts" / chart
        written = (home / "values.yaml").read_text()
        schema = home / "values.schema.json"
        known = json.loads(schema.read_text()) if schema.exists() else None
        text += f"\n## {chart}\n\n{said}\n\n| value | takes | default | meaning |\n|---|---|---|---|\n"
        for path, meaning, default in _described(yaml.compose(written), written.splitlines(), f"charts/{chart}"):
            taken = _values(_without_null(_taken(known, path), known) if known else {"type": _KINDS[type(default)]})
            shown = _cell(_plain(default) or '""') if isinstance(default, str) else _flow(default)
            text += f"| `{path}` | {_cell(taken)} | `{shown}` | {_cell(meaning)} |\n"
    return text


_KINDS = {str: "string", bool: "boolean", int: "integer", dict: "object", list: "array"}


def _described(node: yaml.Node, lines: list[str], home: str, at: str = "") -> Iterator[tuple[str, str, object]]:
    """Way, description and default of each value under a comment that begins with `# --`, as helm-docs reads it."""
    for key, value in node.value:
        path, said = f"{at}{key.value}", _above(lines, key.start_mark.line)
        if said:
            yield path, said, yaml.SafeLoader("").construct_document(value)
        elif isinstance(value, yaml.MappingNode):
            yield from _described(value, lines, home, f"{path}.")
        else:
            raise SystemExit(f"{home}/values.yaml:{key.start_mark.line + 1}: {path} has no `# -- …` above it")


def _above(lines: list[str], line: int) -> str:
    """The description above a line, without the type that some begin with. Empty: there is none."""
    found: list[str] = []
    for text in reversed([each.strip() for each in lines[:line]]):
        if not text.startswith("#"):
            return ""
        found.insert(0, text.lstrip("# "))
        if text.startswith("# --"):
            return re.sub(r"^-- (\(\w+\) )?", "", " ".join(found))
    return ""


def _taken(schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    node = schema
    for name in path.split("."):
        node = _without_null(node, schema)["properties"][name]
    return node


def _without_null(node: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A part of the schema, with what it refers to and without null, which nearly every value takes."""
    whole = {name: of for name, of in node.items() if name not in ("$ref", "allOf")}
    if "$ref" in node:
        whole |= _without_null(schema["definitions"][node["$ref"].rpartition("/")[2]], schema)
    for part in node.get("allOf", ()):
        whole |= _without_null(part, schema)
    if isinstance(whole.get("type"), list):
        (whole["type"],) = (kind for kind in whole["type"] if kind != "null")
    if "enum" in whole:
        whole["enum"] = [_plain(each) or '""' for each in whole["enum"] if each is not None]
    if "items" in whole:
        whole["items"] = _without_null(whole["items"], schema)
    return whole


def _flow(value: object) -> str:
    """As one would write it in a values.yaml, in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def main(directory: str) -> None:
    """Write the pages."""
    to = Path(directory)
    to.mkdir(parents=True, exist_ok=True)
    pages = {"config.md": config(), "commands.md": commands(), "metrics.md": exposed(), "charts.md": charts()}
    for name, text in pages.items():
        (to / name).write_text(text.rstrip("\n") + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
