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
from agent.core.model import (
    Bundle,
    ExternalSecretData,
    Output,
    PassResult,
    Publication,
    Published,
    PublishedSecret,
    Secret,
)
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

    Returns 0. Raises ConfigError for a config or a sample that is refused, StartError with every problem when not all
    files can be made. Then nothing is written, unless `out` holds an earlier run's files: then those of what failed
    stay, and the others are brought up to date, as the agent does it.
    """
    _, config = load(path)
    held = sample.parse(_text(sample_path), sample_path)
    for doubt in native.doubts(config):
        print(f"{path}: warning: {doubt}", file=sys.stderr)
    bundle, source, sink, secrets = config.bundle, SampledAws(held), _Kept(), _Secrets()
    renderer = secrets.render if form == "kubernetes" else render
    result = _passed(bundle, source, sink, renderer)
    problems = _problems(bundle, result)
    for instead in _instead(bundle, result):
        print(f"{path}: warning: {instead}", file=sys.stderr)
    if problems:
        rest = _without(bundle, frozenset(problems))
        earlier = _earlier(out) if out is not None and form == "files" else frozenset()
        if out is not None and earlier and rest.secrets and not _problems(rest, _passed(rest, source, sink, renderer)):
            _write(sink.files, out, _stay(bundle, rest, earlier))
        raise StartError("\n".join(problems.values()))
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


def _problems(bundle: Bundle, result: PassResult) -> dict[str, str]:
    """Why not all of it is there, a line for each secret. An optional secret that does not exist is none."""
    optional = {secret.name for secret in bundle.secrets if secret.optional}
    shown = _shown(bundle)
    return {
        name: f"{shown.get(name, name)}: {failure.reason}: {failure.message}"
        for name, failure in sorted(result.failures.items())
        if not (failure.reason == "not_found" and name in optional)
    }


def _instead(bundle: Bundle, result: PassResult) -> list[str]:
    """Which secrets were read in another region than their own, and why, a sentence each."""
    shown = _shown(bundle)
    return [
        f"{shown[name]}: read in {served.region}, since {served.instead.reason}: {served.instead.message}"
        for name, served in sorted(result.served.items())
        if served.instead and served.turn and name not in result.failures
    ]


def _shown(bundle: Bundle) -> dict[str, str]:
    """Each secret's name, with what AWS calls it where that is another."""
    return {s.name: s.name if s.name == s.ref.id else f"{s.name} ({s.ref.id})" for s in bundle.secrets}


def _without(bundle: Bundle, names: frozenset[str]) -> Bundle:
    """The bundle without those secrets, and what is made of one of them."""
    outputs = tuple(output for output in bundle.outputs if not names.intersection(output.inputs))
    secrets = tuple(secret for secret in bundle.secrets if secret.name not in names)
    return replace(bundle, secrets=secrets, outputs=outputs)


def _stay(bundle: Bundle, rest: Bundle, earlier: frozenset[str]) -> frozenset[str]:
    """The files of an earlier run that take the place of what cannot be made now."""
    failed = {output.path for output in bundle.outputs} - {output.path for output in rest.outputs}
    return frozenset(path for path in earlier if any((path + "/").startswith(above + "/") for above in failed))


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


def _record(out: str) -> str:
    """The file beside the directory with the paths that a run has made in it, a line each. In the directory it would be
    one more file to compare."""
    above, name = os.path.split(os.path.abspath(out))
    return os.path.join(above, f".{name}.freshmount")


def _earlier(out: str) -> frozenset[str]:
    """The files in the directory that an earlier run has made."""
    try:
        with open(_record(out), encoding="utf-8", errors="surrogateescape") as handle:
            made = handle.read().split("\n")
    except OSError:
        return frozenset()
    return frozenset(path for path in made if path and os.path.isfile(os.path.join(out, path)))


def _write(files: Mapping[str, ProjectedFile], out: str, stay: frozenset[str] = frozenset()) -> None:
    """Make the directory hold exactly these files, and those of an earlier run that `stay`. What is the same already
    stays as it is.

    Raises StartError when that cannot be done, or when the directory holds something else.

    1. Look at what is there: nothing is written beside what no run has made.
    2. Remove what earlier runs made and this one does not.
    3. Write each file under another name and rename it.
    """
    # 1.
    there = {os.path.relpath(os.path.join(at, name), out) for at, _, names in os.walk(out) for name in names}
    earlier = _earlier(out)
    if strangers := sorted(there - files.keys() - earlier):
        shown = ", ".join(strangers[:3])
        raise StartError(f"{out} holds what no run of try has made ({shown}); give an empty directory")
    try:
        # 2.
        for path in sorted(earlier - files.keys() - stay):
            _remove(out, path)
        # 3.
        made = "\n".join(sorted({*files, *stay})) + "\n"
        with contextlib.suppress(OSError):  # without it a later run refuses what this one made and that one does not
            _write_file(_record(out), made.encode("utf-8", "surrogateescape"), 0o600)
        for path, file in files.items():
            _write_file(os.path.join(out, path), file.content.reveal(), file.mode)
    except OSError as error:
        raise StartError(f"{out} cannot be written: {error.strerror}") from error


def _remove(out: str, path: str) -> None:
    """Remove a file and the directories that are empty then."""
    os.unlink(os.path.join(out, path))
    above = os.path.dirname(path)
    with contextlib.suppress(OSError):
        while above:
            os.rmdir(os.path.join(out, above))
            above = os.path.dirname(above)


def _write_file(path: str, content: bytes, mode: int) -> None:
    with contextlib.suppress(OSError), open(path, "rb") as handle:
        if handle.read() == content and os.fstat(handle.fileno()).st_mode & 0o777 == mode:
            return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = os.path.join(os.path.dirname(path), f"..{os.getpid()}")
    made = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(made, "wb") as opened:
            opened.write(content)
            os.fchmod(opened.fileno(), mode)
        os.replace(aside, path)
    except OSError:
        os.unlink(aside)
        raise
