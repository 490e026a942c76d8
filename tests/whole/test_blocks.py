"""No block of code in a page stands without a test: each is of a kind that is run, parsed or validated, or fails here.

What test_docs.py does not look into, this does: parts of a config, values of a chart, parts of a pod, policies,
samples, Python, and every line for a shell, whatever program it calls.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import dropwhile
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import jsonschema
import kubernetes_validate
import pytest
import yaml

from agent.config import native, sample
from agent.core.model import Place
from agent.sources.aws.clients import Clients
from tests.cluster import __main__ as cluster
from tests.support import chart_tools
from tests.support.chart import CHARTS, KUBERNETES, need
from tests.support.running import freshmount
from tests.whole.test_docs import BLOCKS, HOME, MANIFESTS, PAGES, kubectl_refuses, others

LANGUAGES = {"sh", "yaml", "json", "python", "diff", "text", ""}
CONFIG_KEYS = set(json.loads((HOME / "config" / "schema.json").read_text())["properties"])
SAMPLE_KEYS = {"secretsmanager", "ssm", "errors", "deny", "regions", "now"}
HELM_README = (CHARTS / "freshmount" / "README.md").read_text()
TEMPLATES = HELM_README + "".join(path.read_text() for path in (CHARTS / "demo" / "templates").glob("*.yaml"))

# Lines for a shell that no parser of the program is here for, each with what it is right by. X.Y.Z: a version.
BY_HAND = {
    "kind create cluster": "kind's own quick start",
    "kind load docker-image freshmount:X.Y.Z": "kind's own quick start",
    "kustomize build deploy/": "a reader's own directory",
    "podman save --output freshmount.tar freshmount:X.Y.Z": "podman's own manual",
    "podman load --input freshmount.tar": "podman's own manual",
    "podman tag freshmount:X.Y.Z registry.example/freshmount:X.Y.Z": "podman's own manual",
    "podman push registry.example/freshmount:X.Y.Z": "a reader's own registry",
    "podman pull python:3.13-slim": "podman's own manual",
    "python -m pip wheel --wheel-dir wheels .": "pip's own manual",
    "python -m pip install --no-index --find-links wheels freshmount": "pip's own manual",
    "python -m pip wheel --no-deps --wheel-dir dist .": "pip's own manual",
    "python -m pip install dist/freshmount-*.whl": "pip's own manual",
    """yq -r 'select(.data["config.yaml"]).data["config.yaml"]'""": "test_chart.py, the config's check",
    'jq \'{apiVersion: "v1", kind: "Pod", metadata: (.spec.template.metadata + {name: "try"}), '
    "spec: .spec.template.spec}'": "tests/cluster/test_inject.py does the same",
    ".venv/bin/python -m pytest tests/apiserver/test_external_secrets.py": "a file of tests, by its name",
    # docs/release.md says which of these were run. The files are those that tests/release makes.
    "python3 -m venv venv": "python's own manual",
    "venv/bin/pip install ./freshmount-X.Y.Z-py3-none-any.whl": "pip's own manual",
    "podman load --input freshmount-X.Y.Z-linux-amd64.oci.tar": "podman's own manual",
    "sha256sum --check --ignore-missing SHA256SUMS": "coreutils' own manual",
}
# Programs of which the same holds: a release that was published is what they are for.
OF_RELEASES = {"skopeo", "cosign", "gh"}


def label(block: tuple[Path, str, str]) -> str:
    path, kind, text = block
    return f"{path.name}:{kind}:{text.strip()[:40]}"


def of(kind: str) -> list[tuple[Path, str]]:
    return [(path, text) for path, found, text in BLOCKS if found == kind]


def each(kind: str) -> Any:
    return pytest.mark.parametrize(("path", "text"), of(kind), ids=[label((p, kind, t)) for p, t in of(kind)])


def fits_a_config(found: Any) -> bool:
    return isinstance(found, dict) and bool(found) and {*found} <= CONFIG_KEYS


def as_a_config(text: str) -> str:
    """A part of a config with what it lacks: its head, a region, and the secrets that it names."""
    keys = yaml.safe_load(text)
    named = {"db", "flags", "tls"} - {each["name"] for each in keys.get("secrets", ())}
    lines = ["apiVersion: freshmount.dev/v1", "kind: Config", text.rstrip("\n")]
    if "region" not in keys:
        lines.append("region: eu-west-1")
    if "secrets" not in keys:
        lines += ["secrets:", *(f"  - {{name: {name}, secretId: prod/{name}}}" for name in sorted(named))]
    return "\n".join(lines) + "\n"


def test_every_block_has_a_known_language_and_an_end() -> None:
    """A fence that is not understood here would hide what is in it."""
    for path in PAGES:
        text = path.read_text()
        fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
        found = [kind for where, kind, _ in BLOCKS if where == path]
        assert len(fences) == 2 * len(found), f"{path}: a block does not end, or has a name in front of it"
        assert {*found} <= LANGUAGES, f"{path}: {({*found}) - LANGUAGES}: no test knows blocks of that language"
        assert not re.search(r"^(~~~|    {4,}(freshmount|kubectl|aws) )", text, re.MULTILINE), path


def of_yaml(path: Path, text: str) -> str:
    """What a block of YAML is."""
    if "{{ include" in text or "{{- with include" in text:
        return "template"
    if (path, text) in MANIFESTS:
        return "manifest"
    found = yaml.safe_load(text)
    if text.startswith("# values.yaml") or {*found} & {"freshmount", "certs"}:
        return "values"
    if fits_a_config(found):
        return "config"
    if {*found} <= SAMPLE_KEYS:
        return "sample"
    if {*found} & {"initContainers", "containers", "startupProbe", "lifecycle"}:
        return "pod"
    if {*found} <= {"labels", "annotations"}:
        return "metadata"
    if {*found} == {"dependencies"}:
        return "dependencies"
    if {*found} == {"spec"} and path.name == "external-secrets.md":
        return "ExternalSecret"
    return "workflow" if "jobs" in found else ""


@each("yaml")
def test_yaml_is_what_it_says(path: Path, text: str) -> None:
    """Manifests: test_docs.py. Parts of pods: on a real API server, too, by tests/cluster/test_documents.py."""
    kind = of_yaml(path, text)
    if kind == "template":
        # test_chart.py does what the chart's README says; other pages may repeat lines of it alone.
        wanting = [line for line in text.splitlines() if line.strip() and line.strip() not in TEMPLATES]
        assert [line for line in wanting if not line.startswith("#")] == [], path
    elif kind == "values":
        values(path, yaml.safe_load(text))
    elif kind == "config":
        assert native.parse(as_a_config(text), str(path)).bundle.secrets
    elif kind == "sample":
        sample.parse(text, str(path))
    elif kind in ("pod", "metadata"):
        part = yaml.safe_load(text)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"name": "x"}]}}
        if kind == "metadata":
            pod["metadata"] |= part  # type: ignore[operator]
        elif {*part} & {"initContainers", "containers"}:
            pod["spec"] |= part  # type: ignore[operator]
        else:
            pod["spec"] = {"containers": [{"name": "x", **part}]}
        kubernetes_validate.validate(pod, KUBERNETES[-1], strict=True)
    elif kind == "dependencies":
        for dependency in yaml.safe_load(text)["dependencies"]:
            library = yaml.safe_load((CHARTS / "freshmount" / "Chart.yaml").read_text())
            assert (dependency["name"], dependency["version"]) == (library["name"], library["version"])
    elif kind == "ExternalSecret":
        provider = {"aws": {"service": "SecretsManager", "region": "eu-west-1"}}
        store = {"kind": "SecretStore", "metadata": {"name": "aws"}, "spec": {"provider": provider}}
        spec = {
            "secretStoreRef": {"name": "aws"},
            "dataFrom": [{"extract": {"key": "db"}}],
            **yaml.safe_load(text)["spec"],
        }
        asked = {"kind": "ExternalSecret", "metadata": {"name": "db"}, "spec": spec}
        both = [{"apiVersion": "external-secrets.io/v1", **each} for each in (store, asked)]
        assert native.parse(yaml.safe_dump_all(both), str(path)).bundle.secrets
    elif kind == "workflow":
        for job in yaml.safe_load(text)["jobs"].values():
            for step in job["steps"]:
                assert "uses" in step or step["run"].split()[0] in ("pip", "freshmount", "diff"), step
    else:
        assert kind == "manifest", f"{path}: no test knows what this is:\n{text}"


def values(path: Path, given: dict[str, Any]) -> None:
    """Against the schema of the chart that they are of."""
    library = json.loads((CHARTS / "freshmount" / "values.schema.json").read_text())
    if {*given} <= {"freshmount", "certs"}:
        for part in given.values():
            jsonschema.validate({"enabled": True, **part}, library)
        return
    fits = []
    for name in ("controller", "injector"):
        schema = json.loads((CHARTS / name / "values.schema.json").read_text())
        fits.append(jsonschema.Draft7Validator(schema).is_valid(given))
    assert any(fits), f"{path}: {given} are values of no chart"


@each("json")
def test_a_policy_allows_what_aws_has(path: Path, text: str) -> None:
    """And has the form of one. What hub and agents say to each other is the other JSON there is."""
    found = json.loads(text)
    if path.name == "hub.md":
        assert "secrets" in found
        return
    session = botocore.session.Session()
    statements = found.get("Statement", [found])
    assert found.get("Version", "2012-10-17") == "2012-10-17"
    for statement in statements:
        assert statement["Effect"] == "Allow" and "Action" in statement
        assert {*statement} <= {"Sid", "Effect", "Action", "Resource", "Principal", "Condition"}
        assert "Resource" in statement or "Principal" in statement
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        for action in actions:
            service, _, operation = action.partition(":")
            # No call, but a permission that calls of the service need.
            if action not in ("sts:TagSession",):
                assert operation in session.get_service_model(service).operation_names, (path, action)


@each("python")
def test_python_runs(path: Path, text: str, tmp_path: Path) -> None:
    """The reader's contract, on a volume."""
    (tmp_path / "..1" / "db").mkdir(parents=True)
    (tmp_path / "..data").symlink_to("..1")
    for name in ("user", "password"):
        (tmp_path / "..1" / "db" / name).write_text(f"a {name}")
    found: dict[str, Any] = {}
    exec("import os\n" + text.replace("/freshmount/secrets", str(tmp_path)), found)
    os.close(found["data"])
    assert (found["user"], found["password"]) == ("a user", "a password")


BEGINS_WITH_KUBECTL = {line for _, line in others("kubectl")}


def commands() -> list[tuple[Path, str]]:
    """Each command of each line for a shell: pipes taken apart, redirections and variables in front left out."""
    found = []
    for path, kind, text in BLOCKS:
        if kind != "sh":
            continue
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=False, punctuation_chars="|&;>")
            words.whitespace_split = True
            part: list[str] = []
            parts = [part]
            for word in words:
                if {*word} <= {*"|&;"}:
                    parts.append(part := [])
                else:
                    part.append(word)
            for given in parts:
                into = given.index(">") if ">" in given else len(given)
                called = [*dropwhile(lambda word: re.match(r"^[A-Z_]+=", word), given[:into])]
                if called and called[0] != "export":
                    found.append((path, " ".join(called)))
    return found


def test_every_command_has_a_test() -> None:
    """Ours, kubectl, aws and make have theirs in test_docs.py; helm has it here; what is left is known by its words."""
    assert len(commands()) > 100
    assert {(path.name, line): said for path, line in commands() if (said := untested(path, line))} == {}


def test_helm_understands_its_lines_and_kubectl_those_of_blocks() -> None:
    refuses = {"helm": helm_refuses, "$HELM": helm_refuses, "kubectl": kubectl_refuses, "$KUBECTL": kubectl_refuses}
    lines = [
        (path, line) for path, line in commands() if line.split()[0] in refuses and line not in BEGINS_WITH_KUBECTL
    ]
    assert len(lines) > 20
    assert {(path.name, line): said for path, line in lines if (said := refuses[line.split()[0]](line))} == {}


def unknown(module: Path, arguments: list[str]) -> str:
    """Those options that a program has not."""
    return " ".join(each for each in arguments if each.startswith("--") and f'"{each}"' not in module.read_text())


def untested(path: Path, line: str) -> str:
    """What is wrong with such a line, or that no test knows it; nothing if all is well."""
    program = line.split(maxsplit=1)[0].removeprefix(".venv/bin/").removeprefix("venv/bin/")
    if versionless(line) in BY_HAND or (program in OF_RELEASES and path.name == "release.md"):
        return ""
    if program in ("helm", "$HELM", "kubectl", "$KUBECTL"):
        return ""  # the next test, or test_kubectl_understands_its_lines
    if program in ("make", "freshmount"):
        return ""  # test_make_targets_exist; test_command_lines_are_understood, wherever it stands in a line
    if program == "aws":
        known = any(line.split()[:3] == other.split()[:3] for _, other in others("aws"))
        return "" if known else "begin a line with it"
    if line.startswith(".venv/bin/python -m tests.cluster "):
        _, _, _, word, *rest = shlex.split(line)
        if word not in cluster.USAGE.replace("|", " ").split():
            return "there is no such word"
        return unknown(HOME / "tests" / "cluster" / f"{word}.py", rest)  # to ask for its help would start a node
    if line.startswith(".venv/bin/python -m tests.apiserver."):
        _, _, module, *rest = shlex.split(line, comments=True)
        path = HOME.joinpath(*module.split(".")).with_suffix(".py")
        return unknown(path, rest) if path.exists() else f"there is no {module}"
    return "no test knows it: give it one, or a line in BY_HAND with what holds it"


def test_what_runs_on_the_node_reaches_it() -> None:
    """A newcomer's helm and kubectl, if there are any, do not: nothing outside of the node's network does."""
    found = 0
    for path, kind, text in BLOCKS:
        if kind == "sh" and re.search(r"\$KUBECTL|\$HELM|tests\.cluster (load|aws) ", text):
            found += 1
            assert not re.search(r"(^|\| *)(helm|kubectl) ", text, re.MULTILINE), f"{path}: $HELM and $KUBECTL:\n{text}"
    assert found >= 5


@pytest.mark.parametrize("chart", ["controller", "injector"])
def test_the_values_for_the_node_are_the_charts(chart: str) -> None:
    given = yaml.safe_load((HOME / "tests" / "cluster" / f"{chart}.yaml").read_text())
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(given)
    assert given["image"]["pullPolicy"] == "Never", "the node pulls nothing"


def test_a_service_account_that_a_page_names_is_made_there() -> None:
    """Without it no pod comes, and nothing that a newcomer looks at says so."""
    for path in PAGES:
        named = set(re.findall(r"^ *serviceAccountName: (\S+)", path.read_text(), re.MULTILINE))
        made = set(re.findall(r"create serviceaccount ([\w-]+)", path.read_text()))
        made |= {
            each["metadata"]["name"]
            for where, text in MANIFESTS
            if where == path and "{{" not in text
            for each in yaml.safe_load_all(text)
            if each["kind"] == "ServiceAccount"
        }
        assert named <= made, f"{path}: {named - made}"


def test_the_sample_of_one_page_fits_the_config_of_another(tmp_path: Path) -> None:
    """Who copies both, in the order of the pages, gets the files and no error that the sample plays."""
    pages = {name: [t for p, t in of("yaml") if p.name == name] for name in ("start.md", "try.md")}
    for name, text in (("config.yaml", pages["start.md"][0]), ("sample.yaml", pages["try.md"][0])):
        (tmp_path / name).write_text(text)
    words = ("try", "config.yaml", "--sample", "sample.yaml", "--out", "files")
    done = freshmount(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = {str(found.relative_to(tmp_path / "files")) for found in (tmp_path / "files").rglob("*") if found.is_file()}
    assert made == {"db/password", "db.env"}


def versionless(line: str) -> str:
    return re.sub(r"\d+\.\d+\.\d+", "X.Y.Z", line.strip())


@functools.cache
def helm_refuses(line: str) -> str:
    """What a helm says against the line's command or a flag; nothing if each understands it. Helm reads flags before it
    helps."""
    found = chart_tools.helms()
    need(bool(found), "helm is not installed: make tools")
    argv = shlex.split(line)[1:]
    for program in found.values():
        done = subprocess.run([program, *argv, "--help"], capture_output=True, text=True, check=False)
        if done.returncode or "unknown" in done.stderr:
            return done.stderr or f"it ended with {done.returncode}"
    return ""


def test_nothing_in_plain_blocks_is_for_a_shell() -> None:
    """Output and drawings have no language. What a reader would paste has `sh`, and so a test."""
    for path, kind, text in BLOCKS:
        if kind in ("", "text") and path.parent.name != "reference":
            for line in text.splitlines():
                assert not re.match(r"^(\$ )?(kubectl|freshmount|aws|helm|make|docker|podman|pip) [a-z-]+ ", line), (
                    path,
                    line,
                )


def test_by_hand_names_only_what_is_there() -> None:
    there = {versionless(line) for _, line in commands()}
    assert {*BY_HAND} <= there, {*BY_HAND} - there


def test_every_page_is_in_the_index() -> None:
    """docs/index.md is the navigation of the site, and a page that it leaves out is found by nobody."""
    listed = re.findall(r"^- \[[^]]*\]\(([^)#\s]+\.md)\)", (HOME / "docs" / "index.md").read_text(), re.MULTILINE)
    found = [(HOME / "docs" / link).resolve() for link in listed]
    assert len(found) == len({*found}), "a page is listed twice"
    missing = {path for path in PAGES if path != HOME / "docs" / "index.md"} | {HOME / "CHANGELOG.md"}
    assert {*found} == missing, f"add a line to docs/index.md, or remove one: {sorted(missing ^ {*found})}"


def test_the_reference_is_what_the_code_says(tmp_path: Path) -> None:
    """docs/reference is made of schema, parser, expositions and the charts' values; `make reference` makes it anew."""
    script = HOME / "docs" / "site" / "reference.py"
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = sorted((HOME / "docs" / "reference").glob("*.md"))
    assert [path.name for path in pages] == sorted(path.name for path in tmp_path.iterdir())
    for page in pages:
        assert page.read_text() == (tmp_path / page.name).read_text(), f"{page} is stale: make reference"


ENDPOINTS = re.findall(
    r"^\| (none|FIPS|dual-stack|both) \| `(.*)` \|$", (HOME / "docs/network.md").read_text(), re.MULTILINE
)


@pytest.mark.parametrize(("which", "host"), ENDPOINTS, ids=[which for which, _ in ENDPOINTS])
def test_the_endpoints_of_the_table_are_asked(which: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variables that the page names, for each service that the agent asks."""
    assert len(ENDPOINTS) == 4
    for name in ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    if which in ("FIPS", "both"):
        monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    if which in ("dual-stack", "both"):
        monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    clients = Clients()
    place = Place("us-east-1", None)
    assert clients.endpoint(place) == f"https://{host}"
    assert clients.endpoint(place, "ssm") == f"https://{host.replace('secretsmanager', 'ssm')}"
