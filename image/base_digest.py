"""Pin the base image of the Dockerfile: ``base_digest.py [DOCKERFILE]``.

Asks the registry what the name in `ARG BASE=` stands for now, writes that digest behind the name and prints the line.
A digest that is there already is replaced. Nothing is written when the registry does not answer.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

TIMEOUT = 30.0  # seconds
# An index of all architectures before the image of one, so that the digest serves each of them.
ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_LOCAL = ("127.0.0.1", "localhost")
_LINE = re.compile(r"^ARG BASE=(?P<name>[^@\s]+?)(:(?P<tag>[^:/@\s]+))?(@\S+)?$", re.MULTILINE)


def main(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    found = _LINE.search(text)
    if not found:
        raise SystemExit(f"{dockerfile} has no line ARG BASE=name:tag")
    name, tag = found["name"], found["tag"] or "latest"
    line = f"ARG BASE={name}:{tag}@{digest(name, tag)}"
    dockerfile.write_text(text[: found.start()] + line + text[found.end() :])
    print(line)


def digest(name: str, tag: str) -> str:
    """The digest of what the registry has under that name. Ends the program with a sentence when it does not answer."""
    host, _, repository = name.partition("/")
    if not ("." in host or ":" in host or host == "localhost"):  # no registry is named
        host, repository = "registry-1.docker.io", name if "/" in name else f"library/{name}"
    scheme = "http" if host.partition(":")[0] in _LOCAL else "https"
    url = f"{scheme}://{host}/v2/{repository}/manifests/{tag}"
    headers = {"Accept": ", ".join(ACCEPTED)}
    try:
        try:
            manifest = _get(url, headers)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            manifest = _get(url, {**headers, "Authorization": f"Bearer {_token(error.headers['WWW-Authenticate'])}"})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{url} tells no digest: {error}") from None
    # Made here rather than believed: it is what an engine will compare.
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _token(challenge: str) -> str:
    """For anybody, as registries hand it out for public images."""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode({key: asked[key] for key in ("service", "scope") if key in asked})
    return str(json.loads(_get(f"{asked['realm']}?{query}", {}))["token"])


def _get(url: str, headers: dict[str, str]) -> bytes:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOCAL:
        raise ValueError("not by https")
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "Dockerfile"))
