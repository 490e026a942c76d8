"""What `make release` makes, without the images, which `make release-test` builds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from agent import __version__
from release import archives, package, source, sums
from tests.support import chart_tools
from tests.support.chart import need
from tests.support.paths import ROOT

UV = Path(sys.executable).parent / "uv"
WHEEL = f"freshmount-{__version__}-py3-none-any.whl"


def release(*argv: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "release", *argv], cwd=cwd, capture_output=True, text=True, check=False
    )


def of_git() -> None:
    there = shutil.which("git") and (ROOT / ".git").exists()
    need(bool(there), "this is no clone: a release is made of a commit")


def made_in(out: Path) -> Path:
    of_git()
    need(UV.exists() and (UV.parent / "cyclonedx-py").exists(), "uv or cyclonedx-py is not installed: the extra dev")
    need(bool(chart_tools.helms()), "helm is not installed: make tools")
    done = release(__version__, "--only", "package,charts,sums", "--out", str(out))
    if re.search("dns error|Failed to (?:connect|fetch)", done.stderr):
        need(False, "the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return out


# Building takes longer than all other tests of this folder.
BUILT = pytest.mark.full("nothing: .ci/run builds a release in its run of all tests")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_in(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def installed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel with the locked libraries in an environment that had nothing: the path of its `freshmount`."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    into = (UV, "pip", "install", "--quiet", "--python", venv / "bin/python")
    subprocess.run([*into, "--require-hashes", "--requirement", ROOT / "requirements.lock"], check=True)
    subprocess.run([*into, "--offline", "--no-deps", made / WHEEL], check=True)
    return venv / "bin" / "freshmount"


@BUILT
def test_it_has_these_files_and_no_other(made: Path) -> None:
    charts = [f"{path.parent.name}-{__version__}.tgz" for path in ROOT.glob("charts/*/Chart.yaml")]
    boms = [f"freshmount-{__version__}-{what}.cdx.json" for what in ("package", "package-controller")]
    assert sorted(path.name for path in made.iterdir()) == sorted(
        [WHEEL, f"freshmount-{__version__}.tar.gz", *charts, *boms, "RELEASE_NOTES.md", "SHA256SUMS"]
    )


@BUILT
def test_the_wheel_works_where_nothing_else_is(installed: Path, tmp_path: Path) -> None:
    """Away from the clone, whose package would be found first."""

    def said(*argv: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run([installed, *argv], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert said("--version") == f"freshmount {__version__}\n"
    assert json.loads(said("schema")) == json.loads((ROOT / "config" / "schema.json").read_text())
    assert "secretsmanager:DescribeSecret" in said("plan", str(ROOT / "config" / "minimal.yaml"))


@BUILT
def test_the_sdist_builds_the_same_wheel(made: Path, tmp_path: Path) -> None:
    sdist = made / f"freshmount-{__version__}.tar.gz"
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)  # tarfile asks for a filter, from 3.11.4 on
    with tarfile.open(sdist) as archive:
        (when,) = {member.mtime for member in archive.getmembers()}
    env = os.environ | {"SOURCE_DATE_EPOCH": str(int(when))}
    locked = ("--build-constraints", ROOT / "release" / "build.lock", "--require-hashes")
    unpacked = tmp_path / f"freshmount-{__version__}"
    argv = [UV, "build", "--quiet", "--no-config", "--wheel", *locked, "--out-dir", tmp_path / "again", unpacked]
    subprocess.run(argv, env=env, check=True)
    assert (tmp_path / "again" / WHEEL).read_bytes() == (made / WHEEL).read_bytes()


@BUILT
def test_a_second_time_makes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    """Also where another umask, another time zone and an earlier, other file are."""
    (tmp_path / f"demo-{__version__}.tgz").write_text("of another day")
    before = os.umask(0o077)
    try:
        again = made_in(tmp_path)
    finally:
        os.umask(before)
    assert {it.name: it.read_bytes() for it in again.iterdir()} == {it.name: it.read_bytes() for it in made.iterdir()}


@BUILT
def test_the_checksums_are_those_of_every_file(made: Path) -> None:
    lines = dict(line.split("  ")[::-1] for line in (made / "SHA256SUMS").read_text().splitlines())
    files = [path for path in made.iterdir() if path.name != "SHA256SUMS"]
    assert lines == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@BUILT
def test_the_charts_install_from_their_packages(made: Path, tmp_path: Path) -> None:
    """Helm lints each, and renders those that are no library without a word from elsewhere."""
    helms = chart_tools.helms()
    helm = helms[max(helms)]
    env = os.environ | {"HELM_CACHE_HOME": str(tmp_path), "HELM_CONFIG_HOME": str(tmp_path)}
    for path in made.glob("*.tgz"):
        lint = subprocess.run([helm, "lint", "--quiet", path], env=env, capture_output=True, text=True, check=False)
        assert lint.returncode == 0, lint.stdout
        with tarfile.open(path) as archive:
            names = archive.getnames()
        assert not [name for name in names if name.endswith("Chart.lock")], "it has the time of day in it"
    argv = [helm, "template", "web", made / f"demo-{__version__}.tgz", "--kube-version", "1.36"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "restartPolicy: Always" in done.stdout, done.stderr


@BUILT
def test_the_bom_has_each_library_and_what_asks_for_it(made: Path) -> None:
    bom = json.loads((made / f"freshmount-{__version__}-package.cdx.json").read_text())
    lock = (ROOT / "requirements.lock").read_text()
    assert (bom["bomFormat"], bom["metadata"]["component"]["purl"]) == (
        "CycloneDX",
        f"pkg:pypi/freshmount@{__version__}",
    )
    purls = {it["purl"] for it in bom["components"]}
    assert purls == {f"pkg:pypi/{name}@{version}" for name, version in re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE)}
    names = {it["bom-ref"]: it["name"] for it in bom["components"]}
    needs = {it["ref"]: sorted(names[of] for of in it["dependsOn"]) for it in bom["dependencies"]}
    root = needs.pop(bom["metadata"]["component"]["bom-ref"])
    assert "botocore" in root and "python-dateutil" not in root
    assert "python-dateutil" in next(of for ref, of in needs.items() if names[ref] == "botocore")
    assert all(it["externalReferences"][0]["hashes"] for it in bom["components"])


def test_what_asks_for_a_library_is_read_from_the_lock() -> None:
    lock = (
        "a==1 \\\n    --hash=sha256:0\n    # via freshmount (setup.cfg)\n"
        "b==2 ; x\n    # via\n    #   -c r.lock\n    #   a\n    #   c-d\n"
    )
    assert package.asked_by(lock) == {"a": ["freshmount"], "b": ["a", "c-d"]}


@BUILT
def test_the_notes_are_the_section_of_the_changelog(made: Path) -> None:
    notes = (made / "RELEASE_NOTES.md").read_text()
    changelog = (ROOT / "CHANGELOG.md").read_text()
    section = source.section(changelog, __version__) or source.section(changelog, "Unreleased")
    assert section and section in notes
    text = "# C\n\n## Unreleased\n\nu\n\n## 0.10.0 - 2027-01-01\n\nten\n\n### x\n\n## 0.1.0\n\none\n"
    assert source.section(text, "0.1.0") == "one\n"
    assert source.section(text, "0.10.0") == "ten\n\n### x\n"
    assert source.section(text, "0.2.0") is None


def test_another_version_is_refused_with_every_place_that_names_this_one(tmp_path: Path) -> None:
    of_git()
    done = release("0.0.7", "--only", "sums", "--out", str(tmp_path))
    assert done.returncode == 1 and "make version VERSION=0.0.7" in done.stderr
    for place in ("agent/__init__.py:3", "Dockerfile:", "charts/demo/Chart.yaml:", "README.md:"):
        assert place in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["v0.1.0", "0.1", "0.1.0rc1", "1.2.3+x"])
def test_what_is_not_a_version_is_refused(version: str, tmp_path: Path) -> None:
    done = release(version, "--only", "sums", "--out", str(tmp_path))
    assert done.returncode == 1 and "is not a version" in done.stderr


@pytest.mark.full("nothing: .ci/run asks it in its run of all tests")
def test_a_version_is_written_in_every_place_and_nowhere_else(tmp_path: Path) -> None:
    """And then no place names another one; back again, each file is what it was."""
    for pattern in {pattern for pattern, _ in source.PLACES}:
        for path in ROOT.glob(pattern):
            if path.is_file():
                (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / path.relative_to(ROOT))
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    changed = source.write(tmp_path, "12.0.345")
    assert {place.version for place in source.places(tmp_path)} == {"12.0.345"}
    assert len(changed) > 5 and tmp_path / "CHANGELOG.md" not in changed
    chart = (tmp_path / "charts" / "demo" / "Chart.yaml").read_text()
    assert chart.count("12.0.345") == 3 and "apiVersion: v2" in chart and 'kubeVersion: ">=1.25.0-0"' in chart
    source.write(tmp_path, __version__)
    assert {path: path.read_text() for path in before} == before


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This commit, in a clone of its own."""
    of_git()
    into = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-tags", "--depth", "1", f"file://{ROOT}", into], check=True)
    return into


def test_a_release_is_of_a_tagged_commit_with_its_own_section_and_base(clone: Path, tmp_path: Path) -> None:
    """Each of the four is asked for in turn."""
    name = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    version = re.findall(r'"(.+)"', (clone / "agent" / "__init__.py").read_text())[-1]  # as it was committed

    def refused() -> str:
        done = release(version, "--final", "--only", "sums", "--out", str(tmp_path / "out"), cwd=clone)
        assert done.returncode == 1
        return done.stderr

    def git(*argv: str) -> None:
        subprocess.run(["git", "-C", clone, *name, *argv], check=True, capture_output=True)

    readme = clone / "README.md"
    readme.write_text(readme.read_text() + "\n")
    assert "README.md" in refused()
    git("checkout", "--", "README.md")
    assert f"v{version}" in refused()
    git("tag", f"v{version}")
    changelog = clone / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(f"\n## {version}", "\n## Unreleased"))
    git("commit", "--quiet", "--allow-empty", "--all", "--message", "x")
    git("tag", "--force", f"v{version}")
    assert f"## {version}" in refused()
    changelog.write_text(changelog.read_text().replace("\n## Unreleased", f"\n## {version} - 2027-01-01", 1))
    dockerfile = clone / "Dockerfile"
    dockerfile.write_text(re.sub(r"^(ARG BASE=[^@\s]+).*", r"\1", dockerfile.read_text(), flags=re.MULTILINE))
    git("commit", "--quiet", "--all", "--message", "x")
    git("tag", "--force", f"v{version}")
    assert "make base-digest" in refused()
    dockerfile.write_text(dockerfile.read_text().replace("ARG BASE=", "ARG BASE=x@sha256:", 1))
    git("commit", "--quiet", "--all", "--message", "x")
    git("tag", "--force", f"v{version}")
    done = release(version, "--final", "--only", "sums", "--out", str(tmp_path / "out"), cwd=clone)
    assert done.returncode == 0, done.stderr


def test_files_of_others_stay_in_the_directory(tmp_path: Path) -> None:
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    (tmp_path / "controller-0.0.9.tgz").write_text("of an earlier release")
    assert [path.name for path in sums.ours(tmp_path)] == ["controller-0.0.9.tgz"]


def test_an_archive_loses_what_differs_between_runs(tmp_path: Path) -> None:
    """Order, time, owner and umask; not what makes a program a program, nor where a link leads."""
    found = []
    for order, when, umask in ((("a", "b"), 1.0, 0o022), (("b", "a"), 2.0, 0o077)):
        home = tmp_path / f"{when}"
        home.mkdir()
        for name in order:
            (home / name).write_text(name)
            (home / name).chmod((0o777 if name == "b" else 0o666) & ~umask)
            os.utime(home / name, (when, when))
        (home / "link").symlink_to("a")
        path = home / "x.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in (*order, "link"):
                archive.add(home / name, name)
        archives.settle(path, 86400)
        found.append(path.read_bytes())
        with tarfile.open(path) as archive:
            assert [(it.name, it.mode, it.mtime, it.linkname) for it in archive.getmembers()] == [
                ("a", 0o644, 86400, ""),
                ("b", 0o755, 86400, ""),
                ("link", 0o644, 86400, "a"),
            ]
    assert found[0] == found[1]


def test_an_image_loses_the_ids_that_podman_notes_in_its_history(tmp_path: Path) -> None:
    """Two builds differ by them alone. What the digests lead to is whole, and the layers are what they were."""
    found = []
    for image in ("1ede0c0b081c", "9cf40890ea11"):
        step = {"created_by": "COPY x", "comment": f"FROM {image}"}
        files = {"blobs/sha256/layer": b"layer"}

        def put(value: object, files: dict[str, bytes] = files) -> dict[str, object]:
            content = json.dumps(value).encode()
            digest = hashlib.sha256(content).hexdigest()
            files[f"blobs/sha256/{digest}"] = content
            return {"digest": f"sha256:{digest}", "size": len(content)}

        config = put({"os": "linux", "history": [step]})
        manifest = put({"config": config, "layers": [{"digest": "sha256:layer", "size": 5}]})
        files["index.json"] = json.dumps({"manifests": [manifest]}).encode()
        path = tmp_path / "x.oci.tar"
        with tarfile.open(path, "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        archives.settle_history(path)
        archives.settle(path, 86400)
        found.append(path.read_bytes())
        with tarfile.open(path) as archive:
            kept = {it.name: archive.extractfile(it).read() for it in archive}  # type: ignore[union-attr]
        for name, content in kept.items():
            if name.startswith("blobs/") and content != b"layer":
                assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
        (at,) = json.loads(kept["index.json"])["manifests"]
        told = json.loads(kept["blobs/" + at["digest"].replace(":", "/")])
        assert len(kept) == 4 and told["layers"] == [{"digest": "sha256:layer", "size": 5}]
        config_kept = kept["blobs/" + told["config"]["digest"].replace(":", "/")]
        assert told["config"]["size"] == len(config_kept)
        assert json.loads(config_kept) == {"os": "linux", "history": [{"created_by": "COPY x"}]}
    assert found[0] == found[1]
