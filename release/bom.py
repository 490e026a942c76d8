"""What is in an image, as CycloneDX: read from the image's own files, whatever made it."""

from __future__ import annotations

import json
import re
import tarfile
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import IO

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from release.source import Source

_DISTRIBUTION = re.compile(r".*\.dist-info/METADATA")
_DEBIAN = re.compile(r"(?:\./)?var/lib/dpkg/status\.d/.+")
_INTERPRETER = re.compile(r".*/(?:bin/python3\.\d+|libpython3\.\d+\.so\.1\.0)")
_RELEASE = re.compile(r"(?:\./)?usr/lib/os-release")


def of_image(archive: Path, name: str, source: Source, arch: str, digest: str) -> str:
    """The text of the BOM of an OCI archive, which a registry will know by `digest`."""
    files = dict(_files(archive))
    release = next((text.decode() for path, text in files.items() if _RELEASE.fullmatch(path)), "")
    said = dict(re.findall(r'^(\w+)="?([^"\n]*)', release, re.MULTILINE))
    distro = f"{said['ID']}-{said['VERSION_ID']}" if {"ID", "VERSION_ID"} <= said.keys() else ""
    root = Component(
        name=name,
        version=source.version,
        type=ComponentType.CONTAINER,
        bom_ref=name,
        purl=PackageURL("oci", None, name, digest, {"arch": arch, "tag": source.version}),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))],
    )
    parts = sorted(_components(files, arch, distro), key=lambda part: str(part.purl))
    bom = Bom(components=parts, serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{name}@{digest}"))
    bom.metadata.component = root
    bom.metadata.timestamp = datetime.fromtimestamp(source.epoch, UTC)
    bom.metadata.properties = [Property(name="freshmount:base", value=distro or "unknown")]
    bom.register_dependency(root, parts)
    return json.dumps(json.loads(JsonV1Dot6(bom).output_as_string()), indent=2, sort_keys=True) + "\n"


def _files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The files of the layers that tell where something comes from, by path."""
    with tarfile.open(archive) as whole:

        def blob(digest: str) -> IO[bytes]:
            found = whole.extractfile("blobs/" + digest.replace(":", "/"))
            assert found
            return found

        index = whole.extractfile("index.json")
        assert index
        manifest = json.load(blob(json.load(index)["manifests"][0]["digest"]))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(layer["digest"])) as files:
                for member in files:
                    if member.isfile() and any(
                        pattern.fullmatch(member.name) for pattern in (_DISTRIBUTION, _DEBIAN, _INTERPRETER, _RELEASE)
                    ):
                        content = files.extractfile(member)
                        assert content
                        yield member.name, content.read()


def _components(files: dict[str, bytes], arch: str, distro: str) -> Iterable[Component]:
    for path, content in files.items():
        if _DISTRIBUTION.fullmatch(path):
            yield _distribution(content.decode())
        elif _DEBIAN.fullmatch(path):
            yield _debian(content.decode(), arch, distro)
    yield _interpreter({path: content for path, content in files.items() if _INTERPRETER.fullmatch(path)})


def _distribution(metadata: str) -> Component:
    """A package of Python's, by the METADATA of its wheel."""
    said = HeaderParser().parsestr(metadata)
    name, version = re.sub(r"[-_.]+", "-", said["Name"]).lower(), said["Version"]
    license_ = said["License-Expression"] or said["License"] or ""
    return _component(name, version, PackageURL("pypi", None, name, version), license_)


def _debian(status: str, arch: str, distro: str) -> Component:
    """A package of Debian's, by the entry of its database."""
    said = HeaderParser().parsestr(status)
    name, version = said["Package"], said["Version"]
    qualifiers = {"arch": said["Architecture"] or arch} | ({"distro": distro} if distro else {})
    found = _component(name, version, PackageURL("deb", "debian", name, version, qualifiers), "")
    source = (said["Source"] or name).partition(" ")[0]
    found.properties = [Property(name="syft:metadata:source", value=source)]  # as advisories name it
    return found


def _interpreter(programs: dict[str, bytes]) -> Component:
    """CPython itself, which no package may tell of. Its program, or its library, has the version in it."""
    for path, program in programs.items():
        minor = re.escape(re.findall(r"3\.\d+", path)[-1].encode())
        found = re.search(rb"(?<![\d.])(" + minor + rb"\.\d+)\x00", program)
        if found:
            version = found[1].decode()
            return _component("python", version, PackageURL("generic", None, "python", version), "PSF-2.0")
    raise ValueError("the image has no CPython that names its version")


def _component(name: str, version: str, purl: PackageURL, license_: str) -> Component:
    # Some have the whole text where the name belongs.
    made = LicenseFactory().make_from_string(license_) if license_ and len(license_) < 200 else None
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=str(purl),
        purl=purl,
        licenses=[made] if made else [],
    )
