"""The programs of a Kubernetes node, built from the Go module proxy into a cache outside the checkout.

    python -m tests.cluster.build       builds what is missing, prints the directory of each component

A component's directory is named by its version and by a hash of how it is built, and is put there by one rename: what
is there is whole, whatever was interrupted. Without the cache everything is built anew, with the same result.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent

# What the node runs, and a kubectl of its version.
KUBERNETES = ("kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl")
CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")

# The compiler inlines no function, but those of Go's own packages, and writes nothing for a debugger: that takes a
# quarter less, and the tests needed as much CPU time with what comes out of it.
COMPILED = ("-trimpath", "-gcflags=all=-l -dwarf=false", "-gcflags=std=-dwarf=false")

# CoreDNS with the plugins of our Corefile and none of the cloud providers' SDKs.
COREDNS = """package main

import (
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"

	"github.com/coredns/coredns/coremain"
)

func main() { coremain.Run() }
"""

# The process that holds a pod's namespaces: it waits, and reaps what the pod's containers leave behind.
PAUSE = r"""#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int number) { (void)number; _exit(0); }
static void reap(int number) { (void)number; while (waitpid(-1, NULL, WNOHANG) > 0) {} }

int main(void) {
    struct sigaction on_child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
    signal(SIGINT, leave);
    signal(SIGTERM, leave);
    sigaction(SIGCHLD, &on_child, NULL);
    for (;;) pause();
}
"""


class Unbuildable(Exception):
    """A component cannot be built here; says which, and what to do."""


@dataclass(frozen=True)
class Component:
    """One directory of the cache: `files` are written, `modules` are required, `packages` become the programs."""

    name: str
    version: str
    modules: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)  # program → package
    tags: str = ""
    ldflags: str = "-s -w"
    files: Mapping[str, str] = field(default_factory=dict)
    staging: str = ""  # the module whose replaced neighbours are taken in their published version

    @property
    def directory(self) -> str:
        recipe = repr((self, COMPILED)) + platform.machine()
        return f"{self.name}-{self.version}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def versions(chosen: str = "") -> dict[str, str]:
    """The pinned versions by component. `chosen`: newest, older or a version of Kubernetes."""
    pinned = {}
    for line in (HERE / "versions.env").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("=")
            pinned[name] = version
    chosen = chosen or os.environ.get("CLUSTER_KUBERNETES", "") or "newest"
    pinned["KUBERNETES"] = pinned.get(f"KUBERNETES_{chosen.upper()}", chosen.removeprefix("v"))
    return pinned


def components(pinned: Mapping[str, str]) -> tuple[Component, ...]:
    """What a node of these versions needs, the slowest first."""
    kubernetes = pinned["KUBERNETES"]
    if kubernetes.count(".") != 2 or not kubernetes.replace(".", "").isdigit():
        raise Unbuildable(f"CLUSTER_KUBERNETES={kubernetes}: give newest, older or a version such as 1.36.3")
    major, minor, _ = kubernetes.split(".")
    stamp = {
        "gitVersion": f"v{kubernetes}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "0" * 40,
        "buildDate": "1970-01-01T00:00:00Z",
    }
    stamps = [
        f"-X {package}.{name}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in stamp.items()
    ]
    return (
        Component(
            "kubernetes",
            kubernetes,
            modules=(f"k8s.io/kubernetes@v{kubernetes}",),
            packages={program: f"k8s.io/kubernetes/cmd/{program}" for program in KUBERNETES},
            ldflags=" ".join(["-s -w", *stamps]),
            staging=f"k8s.io/kubernetes@v{kubernetes}",
        ),
        Component(
            "containerd",
            pinned["CONTAINERD"],
            modules=(f"github.com/containerd/containerd/v2@v{pinned['CONTAINERD']}",),
            packages={program: f"github.com/containerd/containerd/v2/cmd/{program}" for program in CONTAINERD},
            tags="no_btrfs no_devmapper no_zfs",
            ldflags=f"-s -w -X github.com/containerd/containerd/v2/version.Version={pinned['CONTAINERD']}",
        ),
        Component(
            "etcd",
            pinned["ETCD"],
            modules=(f"go.etcd.io/etcd/server/v3@v{pinned['ETCD']}",),
            packages={"etcd": "go.etcd.io/etcd/server/v3"},
        ),
        Component(
            "coredns",
            pinned["COREDNS"],
            modules=(f"github.com/coredns/coredns@v{pinned['COREDNS']}",),
            packages={"coredns": "."},
            files={"main.go": COREDNS},
        ),
        Component("pause", "1", files={"pause.c": PAUSE}),
    )


def cache() -> Path:
    """Where built components are kept: CLUSTER_CACHE, or below the user's cache directory."""
    given = os.environ.get("CLUSTER_CACHE")
    if given:
        return Path(given).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "freshmount-cluster"


def built(wanted: tuple[Component, ...], say: bool = True) -> dict[str, Path]:
    """The directory with the programs of each component; builds those that are missing, one builder at a time.

    Raises `Unbuildable` with the last lines of the compiler.
    """
    root = cache()
    root.mkdir(parents=True, exist_ok=True)
    missing = [component for component in wanted if not (root / component.directory).is_dir()]
    if missing:
        with _alone(root):
            for leftover in root.glob("building-*"):
                shutil.rmtree(leftover)
            for component in missing:
                if not (root / component.directory).is_dir():
                    _build(component, root, say)
    return {component.name: root / component.directory for component in wanted}


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Held by one builder; the kernel lets go of it when the builder ends, however it ends."""
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"cluster: another build is under way in {root}; waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(component: Component, root: Path, say: bool) -> None:
    started = time.monotonic()
    if say:
        print(f"cluster: building {component.name} {component.version} …", file=sys.stderr, flush=True)
    aside = root / f"building-{component.directory}"
    source = aside / "source"
    source.mkdir(parents=True)
    (aside / "bin").mkdir()
    for name, text in component.files.items():
        (source / name).write_text(text)
    if component.packages:
        _build_go(component, source, aside / "bin")
    else:
        _build_c(source, aside / "bin")
    shutil.rmtree(source)
    (aside / "bin").rename(root / component.directory)
    aside.rmdir()
    if say:
        print(f"cluster: {component.name} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _build_go(component: Component, source: Path, target: Path) -> None:
    if not shutil.which("go"):
        raise Unbuildable(f"{component.name} is built by Go, which is not on PATH; install Go")
    # The environment's proxy and flags stay; ours come last.
    flags = f"{os.environ.get('GOFLAGS', '')} -mod=mod -buildvcs=false".strip()
    environment = {**os.environ, "GOFLAGS": flags, "CGO_ENABLED": "0", "GOWORK": "off"}

    def go(*arguments: str) -> str:
        return _run(["go", *arguments], source, environment, component)

    go("mod", "init", "freshmount.dev/cluster")
    for module in (component.staging,) if component.staging else ():
        _take_published_neighbours(module, go, source)
    for module in component.modules:
        go("mod", "edit", "-require", module)
    # All in one call, so that one is linked while another is still compiled.
    # In a directory each is named as its package's last part is.
    programs = [*component.packages]
    to = str(target / programs[0]) if len(programs) == 1 else f"{target}/"
    tags = ("-tags", component.tags) if component.tags else ()
    go("build", *COMPILED, *tags, "-ldflags", component.ldflags, "-o", to, *component.packages.values())


def _take_published_neighbours(module: str, go: object, source: Path) -> None:
    """Kubernetes replaces the modules beside it by directories; take the release of each that belongs to it instead.

    A replacement in a dependency has no effect, so the module that we build in has to have them.
    """
    assert callable(go)
    found = json.loads(go("mod", "download", "-json", module))
    described = json.loads(go("mod", "edit", "-json", found["GoMod"]))
    neighbour = "v0." + module.partition("@v1.")[2]
    edits = []
    for replaced in described["Replace"]:
        path = replaced["Old"]["Path"]
        edits += ["-require", f"{path}@{neighbour}", "-replace", f"{path}={path}@{neighbour}"]
    # Its own requirements keep their versions; without them the whole graph would have to be loaded to find these.
    for required in described["Require"]:
        if required["Version"] != "v0.0.0":
            edits += ["-require", f"{required['Path']}@{required['Version']}"]
    go("mod", "edit", f"-go={described['Go']}", *edits)
    for setting in described.get("Godebug") or ():
        go("mod", "edit", f"-godebug={setting['Key']}={setting['Value']}")
    shutil.copyfile(Path(found["Dir"]) / "go.sum", source / "go.sum")
    (source / "go.sum").chmod(0o644)


def _build_c(source: Path, target: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Unbuildable("the pause program needs a C compiler; install gcc and libc6-dev")
    for program in source.glob("*.c"):
        command = [compiler, "-Os", "-static", "-s", "-Wall", "-Werror", "-o", str(target / program.stem), str(program)]
        _run(command, source, dict(os.environ), None)


def _run(command: list[str], source: Path, environment: dict[str, str], component: Component | None) -> str:
    """Standard output of a command that succeeds. It runs at the lowest priority: others work here, too."""
    done = subprocess.run(
        command,
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.nice(15) and None,
    )
    if done.returncode:
        what = f"{component.name} {component.version}" if component else "pause"
        last = "\n".join(done.stderr.splitlines()[-15:])
        raise Unbuildable(f"{what} cannot be built: {' '.join(command[:2])} ended with {done.returncode}:\n{last}")
    return done.stdout


if __name__ == "__main__":
    try:
        for name, directory in built(components(versions())).items():
            print(f"{name} {directory}")
    except Unbuildable as problem:
        sys.exit(f"cluster: {problem}")
