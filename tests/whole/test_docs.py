"""What the documents say is true: commands parse, manifests are valid, configs are accepted, links lead somewhere."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import botocore
import botocore.session
import kubernetes_validate
import pytest
import yaml

from agent import cli
from agent.config import native
from agent.core.errors import REASONS
from tests.support import chart_tools
from tests.support.chart import KUBERNETES, need
from tests.support.paths import ROOT

HOME = ROOT
PAGES = sorted(
    path
    for path in [*HOME.glob("*.md"), *HOME.glob("docs/**/*.md"), *HOME.glob("charts/*/README.md")]
    if path.name != "CHANGELOG.md"
)
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (path, found[2], re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE))
    for path in PAGES
    for found in _FENCE.finditer(path.read_text())
]
SHELL = [(path, line) for path, kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line.strip()]
MANIFESTS = [(path, text) for path, kind, text in BLOCKS if kind == "yaml" and "\nkind: " in f"\n{text}"]
NOT_KUBERNETES = {"freshmount.dev/v1", "secrets-store.csi.x-k8s.io/v1"}


def commands() -> list[tuple[Path, str]]:
    """Every command line of ours, in a block or between backticks, also behind `kubectl exec … --`."""
    found = [(path, line) for path, line in SHELL if re.search(r"\bfreshmount ", line)]
    for path in PAGES:
        found += [(path, text) for text in re.findall(r"`(freshmount [^`\n]*)`", path.read_text())]
    return found


def ids(found: list[tuple[Path, str]]) -> list[str]:
    return [f"{path.name}:{text.strip()[:50]}" for path, text in found]


def test_command_lines_are_understood() -> None:
    """Names stand for themselves; `[…]`, `…` and FILE are a reader's to fill in."""
    assert len(commands()) > 100
    assert {(path.name, line): said for path, line in commands() if (said := refused(line))} == {}


def refused(line: str) -> str:
    """Why our parser of arguments refuses such a line; nothing if it does not."""
    line = re.sub(r"\S*venv/bin/freshmount", "freshmount", line)
    words = shlex.split(re.sub(r"(^|[\s'\"])freshmount\[\w+\]", r"\1", line), comments=True)
    starts = [
        at
        for at, word in enumerate(words)
        if word == "freshmount"
        and words[at - 1] not in ("-c", "install", "--install", "template", "--namespace", "wheels")
    ]
    if not starts:
        return ""  # the name of a container, of an image or of a package
    argv = [word for word in words[starts[-1] + 1 :] if word not in ("…", "&")]
    argv = ["10" if word == "N" else word for word in argv]
    argv = ["1a2b3c4d-0000-4000-8000-000000000000" if word.startswith("1a2b3c4d-") else word for word in argv]
    wanting = {"pin": ["db", "--version-id", "0" * 32, "--for", "30m"], "unpin": ["db"], "try": ["--sample", "s"]}
    if argv and len(argv) == 1 and argv[0] in wanting:
        argv += wanting[argv[0]]
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        try:
            cli._parser({}).parse_args(argv)
        except SystemExit as leaving:
            return said.getvalue() or "no word" if leaving.code else ""
    return ""


def others(program: str) -> list[tuple[Path, str]]:
    """Every command line of another program, in a block or whole between backticks."""
    found = [(path, line) for path, line in SHELL if line.startswith(f"{program} ")]
    for path in PAGES:
        # A span may go over the end of a line.
        spans = re.findall(rf"`({program}[ \n][^`]*)`", _FENCE.sub("", path.read_text()))
        found += [(path, " ".join(span.split())) for span in spans]
    return found


def test_kubectl_understands_its_lines() -> None:
    """It gets as far as asking for a cluster, of which there is none."""
    assert len(others("kubectl")) > 50
    assert {(path.name, line): said for path, line in others("kubectl") if (said := kubectl_refuses(line))} == {}


def kubectl_refuses(line: str) -> str:
    """What it says against such a line; nothing if it understands it. A file that a reader has is a ConfigMap here."""
    program = chart_tools.kubectl()
    need(bool(program), "kubectl is not installed: make tools")
    line = re.sub(r"(-f |--filename=)\S+", r"\1-", line.replace("…", "x"))
    argv = shlex.split(line, comments=True)[1:]
    if argv in (["exec", "POD"], ["debug"], ["exec"], ["describe"], ["logs"]):
        return ""  # the name of a command, with no arguments to go wrong
    argv = [argv[0], "--server=http://127.0.0.1:9", "--request-timeout=2s", *argv[1:]]
    said = kubectl_says(str(program), *argv)
    return "" if "refused" in said and "unknown" not in said and "Usage" not in said else said or "no word"


@functools.cache  # a command stands on several pages, and in blocks as well as between words
def kubectl_says(*argv: str) -> str:
    given = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}'
    return subprocess.run(argv, input=given, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize(("path", "line"), others("aws"), ids=ids(others("aws")))
def test_aws_has_such_a_command(path: Path, line: str) -> None:
    """Operation and options, by the service's own model."""
    service, operation, *options = shlex.split(line.replace("…", "x"))[1:]
    model = botocore.session.Session().get_service_model(service)
    names = {botocore.xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(names[operation]).input_shape
    known = {f"--{botocore.xform_name(name, '-')}" for name in (shape.members if shape else {})}
    known |= {"--query", "--output", "--region"}  # of the program itself
    assert {option for option in options if option.startswith("--")} <= known


@pytest.mark.parametrize(("path", "text"), MANIFESTS, ids=ids(MANIFESTS))
def test_a_manifest_is_valid(path: Path, text: str) -> None:
    """Against Kubernetes' own schemas, unknown fields refused; configs against our parser."""
    if "{{" in text:
        return  # a template of Helm, which the chart's tests render
    documents = list(yaml.safe_load_all(text))
    if any(document["apiVersion"].startswith("external-secrets.io/") for document in documents):
        native.parse(text, str(path))
    for document in documents:
        if document["apiVersion"] in NOT_KUBERNETES:
            native.parse(text, str(path))
        elif "." not in document["apiVersion"].partition("/")[0]:
            kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)
        inner = document.get("data", {}).get("config.yaml")
        if inner:
            native.parse(inner, str(path))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Those within the repository."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path}: {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_json_is_json(path: Path) -> None:
    """A policy is pasted."""
    for where, kind, text in BLOCKS:
        if where == path and kind == "json":
            json.loads(text)


def test_every_reason_has_its_section() -> None:
    """And no other has one."""
    sections = re.findall(r"^## (\w+)$", (HOME / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(REASONS)


def test_make_targets_exist() -> None:
    """Those that the documents name."""
    targets = set(re.findall(r"^([a-z-]+):", (HOME / "Makefile").read_text(), re.MULTILINE))
    for path, line in SHELL:
        if line.startswith("make "):
            named = {word for word in shlex.split(line, comments=True)[1:] if "=" not in word}
            assert named <= targets, (path, named - targets)
    for path in PAGES:
        named = set(
            re.findall(r"\bmake ([a-z][a-z-]+)\b(?=[`\s]*)", " ".join(re.findall(r"`[^`\n]+`", path.read_text())))
        )
        assert named <= targets, (path, named - targets)


def test_make_help_names_every_target() -> None:
    """In lines that fit a terminal."""
    # Not as a part of `make test`, in which make says more.
    env = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    told = subprocess.run(["make", "help"], cwd=HOME, env=env, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):", (HOME / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in told.splitlines()] == targets
    assert [line for line in told.splitlines() if len(line) > 80 or len(line.split()) < 3] == []


def test_the_table_of_reliability_is_summed_up() -> None:
    """Each run makes other figures; who publishes a new table cannot forget its summaries."""
    agents, _, _ = (HOME / "docs" / "reliability.md").read_text().partition("\n## On a real node")
    table = agents.replace(",", "")
    readme, summary = ((HOME / name).read_text().replace(",", "") for name in ("README.md", "docs/concepts.md"))

    def sum_of(pattern: str) -> int:
        found = re.findall(pattern, table)
        assert found
        return sum(map(int, found))

    kills = sum_of(r"\| (\d+) kills")
    kept = sum_of(r"meanwhile: nothing torn empty missing mixed \| (\d+) reads")
    in_place = sum_of(r"truncate in place reader [^|]*\| (\d+) reads")
    bad = sum_of(r"truncate in place reader [^|]*\|[^|]*\| (\d+) \|")
    strikes = sum_of(r"(\d+) strikes")
    assert f"- {kills} times kill -9" in summary
    assert f"- {kept} reads over" in summary
    assert f"{bad} bad reads of {in_place}." in summary
    assert f"- {strikes} strikes" in summary
    assert f"After {kills} times kill -9" in readme and f"in {kept} reads" in readme
