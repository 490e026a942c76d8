"""Lays out the files of an image: ``assemble.py [--controller] SITE AGENT OUT``, run by the interpreter that is to be
in it.

SITE is where pip put the packages, AGENT the agent's source; what starts the image lies beside this file. OUT gets
three trees, one a layer each: `python`, `packages` and `agent`. With --controller it has `python` already, the
sidecar's, and what the controller's packages need besides goes to `packages`.
"""

from __future__ import annotations

import compileall
import gzip
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HOME = Path(sysconfig.get_path("purelib"))  # where packages are looked for
# Of the standard library: development, other user interfaces, and databases; 30 MB that nothing here imports.
NOT_IN_STDLIB = (
    *("__pycache__", "site-packages", "dist-packages", "config-*", "sitecustomize.py"),
    *("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tests", "tkinter", "turtle*", "venv"),
    *(
        "curses",
        "dbm",
        "sqlite3",
        "readline*",
        "_curses*",
        "_dbm*",
        "_gdbm*",
        "_sqlite3*",
        "_test*",
        "_tkinter*",
        "xx*",
    ),
)
# Of botocore's 440 services: those that are asked, and those of which the credential chain may need a client.
SERVICES = {"secretsmanager", "ssm", "sts", "sso", "sso-oidc", "signin"}
ENDPOINTS = {"secretsmanager", "ssm", "sts", "portal.sso", "oidc", "signin"}  # their names in endpoints.json
# libyaml's parser, 2 MB, is another than the one that tells where in a config a problem is.
NOT_IN_PACKAGES = ("bin", "__pycache__", "tests", "testing", "_yaml*")
# Of the agent: what no image has, and what only the controller's has.
NOT_IN_AGENT = ("demo", "__pycache__")
OF_CONTROLLER = ("controller", "controller.py")
OF_CONTROLLER_SERVICES = {"sqs"}
USERS = "root:x:0:0:root:/:/nonexistent\nfreshmount:x:65532:65532:freshmount:/:/nonexistent\n"


def main(site: Path, agent: Path, out: Path) -> None:
    """The sidecar's image."""
    _packages(site, out, set())
    ours = copy_agent(agent, out, NOT_IN_AGENT + OF_CONTROLLER)
    _start(ours)
    _command(out / "agent", "image.start.launcher")
    python = out / "python"
    _interpreter(python)
    _system(python)
    for library in sorted(_libraries([python, out / "packages"])):
        _copy(library, python)
    _origins(python)
    _compile(out.iterdir())


def controller(site: Path, agent: Path, out: Path) -> None:
    """The controller's image, on the sidecar's `python`. It starts plainly: nothing waits for its start."""
    _packages(site, out, OF_CONTROLLER_SERVICES)
    copy_agent(agent, out, NOT_IN_AGENT)
    _command(out / "agent", "agent.launch")
    for library in sorted(_libraries([out / "packages"])):
        if not (_place(library.parent, out / "python") / library.name).exists():
            _copy(library, out / "packages")
    _origins(out / "packages")
    _compile([out / "packages", out / "agent"])


def _packages(site: Path, out: Path, more: set[str]) -> None:
    """SITE without what nothing imports, and of botocore's services only ours and `more`."""
    packages = out / "packages" / HOME.relative_to("/")
    shutil.copytree(site, packages, ignore=shutil.ignore_patterns(*NOT_IN_PACKAGES))
    before = _endpoints(packages, more)
    _prune_botocore(packages, more)
    if _endpoints(packages, more) != before:
        raise SystemExit("the pruning moved an endpoint of AWS; look at SERVICES and ENDPOINTS")


def copy_agent(agent: Path, out: Path, without: tuple[str, ...]) -> Path:
    """AGENT without these names. Returns where packages of ours lie in OUT."""
    ours = out / "agent" / HOME.relative_to("/")
    shutil.copytree(agent, ours / "agent", ignore=shutil.ignore_patterns(*without))
    return ours


def _compile(trees: Iterable[Path]) -> None:
    for tree in trees:
        compileall.compile_dir(
            tree,
            quiet=1,
            legacy=True,  # beside the source, where it is imported without one
            stripdir=str(tree),
            prependdir="/",  # tracebacks name the source as the image would have it
            optimize=2,  # without docstrings: 1.9 MiB less in every pod
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,  # no time in it: each build is equal
        )
        for source in tree.rglob("*.py"):  # bytecode alone: 3 ms less a start, which would look for each source
            if source.with_suffix(".pyc").exists():
                source.unlink()


def _prune_botocore(packages: Path, more: set[str]) -> None:
    """In place: another data directory, by AWS_DATA_PATH, would switch botocore to its legacy endpoint resolver."""
    for service in (packages / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in SERVICES | more:
            shutil.rmtree(service)
    for resource in (packages / "boto3" / "data").iterdir():
        shutil.rmtree(resource) if resource.is_dir() else resource.unlink()
    path = packages / "botocore" / "data" / "endpoints.json"
    endpoints = json.loads(path.read_text())
    for partition in endpoints["partitions"]:
        kept = ENDPOINTS | more
        partition["services"] = {name: s for name, s in partition["services"].items() if name in kept}
    path.write_text(json.dumps(endpoints, separators=(",", ":")))
    for path in (packages / "botocore" / "data").rglob("*.json.gz"):
        model = _undocumented(json.loads(gzip.decompress(path.read_bytes())))
        path.with_suffix("").write_text(json.dumps(model, separators=(",", ":")))
        path.unlink()


def _undocumented(model: Any) -> Any:
    """A service's model without its prose, which the agent would parse and hold: 0.4 MiB in every pod."""
    if isinstance(model, dict):
        return {
            key: _undocumented(value)
            for key, value in model.items()
            if not (key == "documentation" and isinstance(value, str))
        }
    return [_undocumented(item) for item in model] if isinstance(model, list) else model


def _endpoints(packages: Path, more: set[str]) -> str:
    """Where the services are asked, in every region of every partition, as botocore says."""
    script = f"""
import botocore.session
session = botocore.session.Session()
for partition in session.get_available_partitions():
    for region in session.get_available_regions("sts", partition):
        for service in {sorted({"secretsmanager", "ssm", "sts"} | more)}:
            keys = {{"aws_access_key_id": "x", "aws_secret_access_key": "x"}}
            print(session.create_client(service, region, **keys).meta.endpoint_url)
"""
    found = subprocess.run(
        [sys.executable, "-IB", "-c", f"import sys; sys.path.insert(0, {str(packages)!r})\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if found.count("\n") < 60:
        raise SystemExit("botocore names fewer endpoints than there are regions")
    return found


def _start(packages: Path) -> None:
    """`image.start`, by the name that it has in the repository; and nothing of what builds and tests the image."""
    image = Path(__file__).parent
    (packages / "image").mkdir()
    shutil.copy2(image / "__init__.py", packages / "image")
    shutil.copytree(image / "start", packages / "image" / "start", ignore=shutil.ignore_patterns("__pycache__"))


def _command(root: Path, launcher: str) -> None:
    """`freshmount`, without `site` (-S), which takes 1.7 ms to find the one directory that is named here."""
    command = root / "usr/local/bin/freshmount"
    command.parent.mkdir(parents=True)
    command.write_text(
        f"""#!{os.path.realpath(sys.executable)} -ISOO
import sys

sys.path.append({str(HOME)!r})
from {launcher} import entry
entry()
"""
    )
    command.chmod(0o755)


def _interpreter(root: Path) -> None:
    executable = Path(os.path.realpath(sys.executable))
    _copy(executable, root)
    short = root / "usr/local/bin" / f"python3.{sys.version_info.minor}"
    if not short.exists():
        short.parent.mkdir(parents=True, exist_ok=True)
        short.symlink_to(executable)
    for name in ("stdlib", "platstdlib"):
        library = Path(sysconfig.get_path(name))
        shutil.copytree(
            library,
            root / library.relative_to("/"),
            ignore=shutil.ignore_patterns(*NOT_IN_STDLIB),
            dirs_exist_ok=True,
            ignore_dangling_symlinks=True,
        )


def _system(root: Path) -> None:
    """What a process expects to find besides itself."""
    for name in ("lib", "lib64"):  # links into /usr, where the loader is looked for
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
    for name in ("/etc/ssl/certs/ca-certificates.crt", "/etc/ld.so.cache"):  # the cache knows libraries in /usr/local
        _copy(Path(name), root)
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text("root:x:0:\nfreshmount:x:65532:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    (root / "tmp").mkdir(mode=0o1777)
    (root / "tmp").chmod(0o1777)


def _origins(tree: Path) -> None:
    """What dpkg knows of the Debian packages that the files of a tree are from, where scanners look for it in images
    that have no dpkg: without it they do not see OpenSSL or glibc."""
    files = [f"/{path.relative_to(tree)}" for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    # dpkg knows some under / that are under /usr now.
    names = [name for file in files for name in {file, file.removeprefix("/usr")}]
    said = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True, check=False).stdout
    owners = {owner for line in said.splitlines() for owner in line.rpartition(": ")[0].split(", ")}
    status = tree / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    for owner in sorted(owner for owner in owners if "diversion by" not in owner):
        known = subprocess.run(["dpkg-query", "--status", owner], capture_output=True, text=True, check=True).stdout
        # Not its configuration files, which are not here.
        (status / owner.partition(":")[0]).write_text(re.sub(r"^Conffiles:\n(?: .*\n)+", "", known, flags=re.MULTILINE))
    if not (tree / "etc").exists():
        return
    _copy(Path("/usr/lib/os-release"), tree)
    (tree / "etc/os-release").symlink_to("../usr/lib/os-release")


def _libraries(trees: list[Path]) -> set[Path]:
    """The shared libraries, and the loader, that the programs and modules in these trees need."""
    found: set[Path] = set()
    programs = [p for tree in trees for p in tree.rglob("*") if p.is_file() and (".so" in p.name or "bin" in p.parts)]
    for program in programs:
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        found |= {Path(path) for path in re.findall(r"(?:=> |^\t)(/\S+) \(0x", said, re.MULTILINE)}
    # glibc loads this one by name when a thread is ended, and aborts the process without it.
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    return found | {Path(re.findall(r"libgcc_s\.so\.1 .*=> (\S+)", known)[0])}


def _copy(path: Path, root: Path) -> None:
    """The file under its own path; `lib` and `lib64` are links into `usr`, as they are here."""
    where = _place(path.parent, root)
    where.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, where / path.name)


def _place(directory: Path, root: Path) -> Path:
    return root / os.path.realpath(directory).lstrip("/")


if __name__ == "__main__":
    wanted = sys.argv[1:]
    if wanted[0] == "--controller":
        controller(*map(Path, wanted[1:]))
    else:
        main(*map(Path, wanted))
