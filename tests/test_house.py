"""The one rule of imports, read from the source.

`core` imports nothing of ours; `config` and `render` import `core`, and the language of templates; an adapter imports
`core` and its own folder, never another adapter; `engine` imports `core`; only `commands` and `controller` name
concrete adapters, and a command is imported when it is asked for.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HOME = Path(__file__).parent.parent / "agent"

ADAPTERS = ("sources/aws", "sinks/volume", "sinks/kubernetes_secret", "targets", "triggers", "observe")
MAY_IMPORT = {
    "core": (),
    "config": ("core", "render/template"),
    "render": ("core", "render/template", "render/external_secret"),
    "render/template": ("core",),
    "render/external_secret": ("core", "render", "render/template"),
    **dict.fromkeys(ADAPTERS, ("core",)),
    "engine": ("core",),
    "commands": (
        *("core", "config", "render", "render/external_secret", "engine", *ADAPTERS),
        *("controller", "controller/external_secrets", "controller/hub", "controller/push"),
    ),
    "demo": ("core", "commands"),
    "controller": ("core", "config", "render", "render/external_secret", "engine", *ADAPTERS),
    "controller/external_secrets": ("core", "config", "render", "render/external_secret", "controller", *ADAPTERS),
    "controller/push": ("core", "controller", *ADAPTERS),
    "controller/hub": ("core", "sources/aws", "controller"),
}
PURE = ("core", "config", "render", "render/template", "render/external_secret")
BUT = {"render/require.py"}  # what it holds a value against takes the machine's TLS and clock
IMPURE = {"boto3", "botocore", "os", "threading", "time", "structlog", "socket", "subprocess", "signal", "urllib3"}
CONTROLLER = ("controller", "controller/external_secrets", "controller/hub", "controller/push")
# Each library has one door.
ONLY_IN = {
    "aiohttp": CONTROLLER,
    "httptools": ("controller/hub",),
    "boto3": (),  # botocore alone is enough
    "botocore": ("sources/aws",),
    "lightkube": CONTROLLER,
    "prometheus_client": (*CONTROLLER, "demo"),  # the demo reads what a scraper reads
    "structlog": ("observe",),
    "urllib3": ("targets",),
    "watchdog": ("triggers",),
    "yaml": ("config", "render/template"),
}
# What `run` with secrets of Secrets Manager alone must not import until it is asked for.
NOT_AT_START = (
    *("argparse", "prometheus_client", "boto3", "moto"),
    *("agent.observe.page", "agent.render.dotenv", "agent.render.properties", "agent.render.require"),
    *("agent.render.certificates", "agent.render.encodings", "agent.render.template", "agent.render.templated"),
    *("agent.render.external_secret", "agent.render.gjson", "agent.config.external_secret", "agent.config.kubernetes"),
    *("agent.core.external_secret", "agent.sources.aws.matching", "agent.sources.aws.tags"),
    *("agent.sources.aws.parameter_store", "agent.sources.aws.sets", "agent.sources.aws.roles"),
    *("agent.sources.aws.find", "agent.core.re2", "agent.triggers.hub", "agent.core.hub", "agent.engine.listening"),
    *("agent.sources.aws.looks", "agent.sources.aws.identities"),
    *("agent.core.ports", "agent.core.crossing", "agent.core.pins", "agent.core.jmespath_keys", "agent.observe.layout"),
    *("agent.targets.process", "agent.targets.signal", "agent.targets.touch", "agent.targets.url"),
    *("agent.commands.again", "agent.commands.doctor", "agent.commands.plan", "agent.commands.pin"),
    *("agent.demo", "agent.controller", "aiohttp", "httptools", "lightkube"),
    *("agent.sinks.kubernetes_secret", "agent.sources.aws.signed"),
)

MODULES = sorted(HOME.rglob("*.py"))


def folder(path: Path) -> str:
    """The folder that the rule speaks of; the package's own top level is the empty one."""
    inside = path.relative_to(HOME).parent.as_posix()
    return "" if inside == "." else inside


PURE_MODULES = [at for at in MODULES if folder(at) in PURE and at.relative_to(HOME).as_posix() not in BUT]


@functools.cache
def imports(path: Path) -> frozenset[tuple[str, bool]]:
    """The dotted names that a module imports, anywhere in it, and whether at its top level."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    found: set[tuple[str, bool]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, id(node) in top) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {(_module(f"{node.module}.{alias.name}"), id(node) in top) for alias in node.names}
    return frozenset(found)


def _module(name: str) -> str:
    """The module that `from a import b` reads: a.b if that is one, else a."""
    inside = HOME.parent / name.replace(".", "/")
    return name if inside.with_suffix(".py").exists() or inside.is_dir() else name.rpartition(".")[0]


def ours(path: Path) -> set[str]:
    """The folders of ours that a module imports from, its own aside."""
    found = {HOME.parent / name.replace(".", "/") for name, _ in imports(path) if name.startswith("agent.")}
    folders = {(at if at.is_dir() else at.parent).relative_to(HOME).as_posix() for at in found}
    return folders - {folder(path), "."}


def libraries(path: Path) -> set[str]:
    """The top-level packages that a module imports, ours among them."""
    return {name.partition(".")[0] for name, _ in imports(path)}


def test_every_folder_has_its_rule() -> None:
    """A new one is given a rule here and a line in docs/architecture.md."""
    guide = (HOME.parent / "docs" / "architecture.md").read_text()
    assert {folder(path) for path in MODULES} - {"", "sources", "sinks"} == set(MAY_IMPORT)
    assert [at for at in MAY_IMPORT if f"{at}/" not in guide] == []


def offenders(found: Callable[[Path], set[str]], paths: list[Path] = MODULES) -> dict[str, set[str]]:
    """What is wrong with each module, by its path; those that are right are left out."""
    return {path.relative_to(HOME).as_posix(): odd for path in paths if (odd := found(path))}


def test_imports_follow_the_rule() -> None:
    """At the top, argv leads to a command, and its errors to a person."""
    top = dict.fromkeys(("", "sources", "sinks"), ("commands", "controller", "core", "config", "observe", "demo"))
    assert offenders(lambda path: ours(path) - set((MAY_IMPORT | top)[folder(path)])) == {}


def test_what_is_pure_has_no_clock_disk_or_network() -> None:
    assert offenders(lambda path: libraries(path) & IMPURE, PURE_MODULES) == {}


def test_a_library_has_one_door() -> None:
    elsewhere = {at: {name for name in ONLY_IN if at not in ONLY_IN[name]} for at in map(folder, MODULES)}
    assert offenders(lambda path: libraries(path) & elsewhere[folder(path)]) == {}


def test_a_command_is_imported_when_it_is_asked_for() -> None:
    """`check` must not start botocore because `doctor` stands in the same folder."""
    top = {name for name, top in imports(HOME / "cli.py") if top and name.startswith("agent.commands")}
    assert top == {"agent.commands.terminal"}, "the streams are needed by every command"


def test_there_is_no_circle() -> None:
    """Imports run one way."""
    names = {".".join(("agent", *path.relative_to(HOME).with_suffix("").parts)): path for path in MODULES}
    left = {name: {other for other, _ in imports(path)} & names.keys() - {name} for name, path in names.items()}
    while leaves := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in leaves:
            del left[name]
    assert left == {}


def test_what_a_small_config_does_not_use_is_not_imported() -> None:
    """As the command line starts `run`: everything that this start imports, before its first pass."""
    script = "import sys; from agent.commands import run; run.imports(); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in NOT_AT_START if name in said] == []
