"""`freshmount try`: render a config against a sample, offline, with the very code that publishes.

A pass is made with the agent's own sources, checks and renderer. Only the clients of AWS are replaced, and what would
be published is kept in memory until all of it is there.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from agent.commands.check import load
from agent.config import native, sample
from agent.core import schedule
from agent.core.errors import StartError
from agent.core.external_secret import ExternalSecretData
from agent.core.model import Bundle, Output, PassResult, Publication, Published, PublishedSecret, Secret
from agent.core.pins import Pins
from agent.core.ports import Renderer
from agent.core.record import replace
from agent.core.value import Fetched, ProjectedFile, SecretValue
from agent.engine.one_pass import Adapters, one_pass
from agent.render.files import render
from agent.sources.aws.sample import SampledAws
from agent.targets.notify import Notified

_SAMPLE_LIMIT = 16 << 20  # bytes


def try_out(path: str, sample_path: str, out: str | None, form: str = "files") -> int:
    """Render the config at `path` with the sample's values, and list the files, or write them to the directory `out`.
    With the form `kubernetes` the files are the Secrets that its ExternalSecrets make in a cluster, each a manifest.

    Returns 0. Raises ConfigError for a config or a sample that is refused, StartError with every problem when the files
    cannot be made; then nothing is written.
    """
    _, config = load(path)
    held = sample.parse(_text(sample_path), sample_path)
    for doubt in native.doubts(config):
        print(f"{path}: warning: {doubt}", file=sys.stderr)
    sink = _Kept()
    secrets = _Secrets()
    renderer = secrets.render if form == "kubernetes" else render
    problems = _problems(config.bundle, _passed(config.bundle, SampledAws(held), sink, renderer))
    if problems:
        raise StartError("\n".join(problems))
    files, owners = (secrets.files, secrets.owners) if form == "kubernetes" else (sink.files, sink.owners)
    if out is None:
        sys.stdout.write(_listing(files, owners))
    else:
        _write(files, out)
    return 0


def _text(path: str) -> str:
    try:
        with open(path, "rb") as handle:
            return handle.read(_SAMPLE_LIMIT).decode("utf-8-sig")
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}; give the path of a sample") from error
    except UnicodeDecodeError:
        pass
    raise StartError(f"{path} is not UTF-8 text; save the sample as UTF-8")


def _passed(bundle: Bundle, source: SampledAws, sink: _Kept, renderer: Renderer) -> PassResult:
    """One pass over all secrets, for which nobody is notified."""
    unhurried = replace(bundle, timing=replace(bundle.timing, settle=0.0))
    adapters = Adapters(source, sink, renderer, Notified, stopped=lambda: False)
    begun = schedule.begin(unhurried, adapters.now())
    return one_pass(unhurried, begun, {}, adapters, quiet=True).result


def _problems(bundle: Bundle, result: PassResult) -> list[str]:
    """Why not all of it is there, a line each. An optional secret that does not exist is none."""
    optional = {secret.name for secret in bundle.secrets if secret.optional}
    return [
        f"{name}: {failure.reason}: {failure.message}"
        for name, failure in sorted(result.failures.items())
        if not (failure.reason == "not_found" and name in optional)
    ]


def _listing(files: Mapping[str, ProjectedFile], owners: Mapping[str, list[str]]) -> str:
    """A line for each file: its path, mode, size in bytes, and the secrets it is made of."""
    lines = [
        f"{path}  {file.mode:04o}  {len(file.content)}  {', '.join(owners[path])}"
        for path, file in sorted(files.items())
    ]
    return "\n".join(lines) + "\n" if lines else "no files\n"


# -- where the files go ------------------------------------------------------------------------------------------------


class _Kept:
    """A sink that keeps one publication in memory."""

    def __init__(self) -> None:
        self.files: dict[str, ProjectedFile] = {}
        self.owners: dict[str, list[str]] = {}

    def read(self) -> Published:
        return Published()

    def blocked(self, published: Published, paths: Mapping[str, Iterable[str]]) -> dict[str, str]:
        return {}

    def holds(self, published: Published, name: str, wanted: Mapping[str, ProjectedFile]) -> bool:
        return False

    def publish(self, publication: Publication, published: Published) -> Published:
        now, secrets = time.time(), {}
        for name, entry in publication.entries.items():
            files = entry.files or {}
            self.files |= files
            for path in files:
                self.owners.setdefault(path, []).append(name)
            secrets[name] = PublishedSecret(
                entry.version_id, entry.stages, entry.fingerprint, 1, now, entry.created_at, None, tuple(files)
            )
        return Published(1, now, secrets)

    def mend(self, published: Published) -> None:
        pass

    def set_aside(self) -> dict[str, str]:
        return {}

    def record_deliveries(self, accepted: Mapping[str, int]) -> None:
        pass

    @property
    def unrecorded(self) -> Mapping[str, int]:
        return {}

    def tidy(self) -> float | None:
        return None

    def pins(self) -> Pins:
        return {}


class _Secrets:
    """Renders as `render` does, and keeps the Secret of each ExternalSecret as a file."""

    def __init__(self) -> None:
        self.files: dict[str, ProjectedFile] = {}
        self.owners: dict[str, list[str]] = {}

    def render(
        self, inputs: Sequence[tuple[Secret, Fetched]], outputs: Sequence[Output]
    ) -> dict[Output, dict[str, ProjectedFile]]:
        files = render(inputs, outputs)
        for output in files:
            if isinstance(output.renderer, ExternalSecretData):
                self._keep(output, output.renderer, {secret.name: fetched.value for secret, fetched in inputs})
        return files

    def _keep(self, output: Output, how: ExternalSecretData, values: Mapping[str, SecretValue]) -> None:
        from agent.render import external_secret
        from agent.render.external_secret import manifest
        from agent.render.input import Input

        of_inputs = {name: Input(values[name]) for name in output.inputs if name in values}
        made = external_secret.made(how, of_inputs, f"directory {output.path}")
        if made is not None:
            path = f"{how.namespace}/{how.name}.yaml"
            text = SecretValue(manifest.yaml(how, made).encode(), text=True)
            self.files[path] = ProjectedFile(text, 0o600)
            self.owners[path] = list(output.inputs)


def _write(files: Mapping[str, ProjectedFile], out: str) -> None:
    """Make the directory hold exactly these files. What is the same already stays as it is.

    Raises StartError when that cannot be done, or when the directory holds something else.

    1. Look at what is there: nothing is written beside what does not belong.
    2. Write each file under another name and rename it.
    """
    # 1.
    there = {os.path.relpath(os.path.join(at, name), out) for at, _, names in os.walk(out) for name in names}
    if strangers := sorted(there - files.keys()):
        shown = ", ".join(strangers[:3])
        raise StartError(f"{out} holds what this config does not make ({shown}); give an empty directory")
    # 2.
    try:
        for path, file in files.items():
            _write_file(os.path.join(out, path), file)
    except OSError as error:
        raise StartError(f"{out} cannot be written: {error.strerror}") from error


def _write_file(path: str, file: ProjectedFile) -> None:
    with contextlib.suppress(OSError), open(path, "rb") as handle:
        if handle.read() == file.content.reveal() and os.fstat(handle.fileno()).st_mode & 0o777 == file.mode:
            return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = f"{path}.{os.getpid()}"
    made = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(made, "wb") as opened:
            opened.write(file.content.reveal())
            os.fchmod(opened.fileno(), file.mode)
        os.replace(aside, path)
    except OSError:
        os.unlink(aside)
        raise
