"""Render a secret's value into its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.errors import ProjectionError, SecretError
from agent.core.model import (
    SETS,
    ByContent,
    ExternalSecretData,
    Output,
    Pem,
    Pkcs12,
    Projection,
    Property,
    Secret,
    Template,
)
from agent.core.value import Fetched, ProjectedFile, SecretValue
from agent.render import projection
from agent.render.attempts import every
from agent.render.input import Input

LIMIT = 65_536  # bytes of a secret; https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html


def render(
    inputs: Iterable[tuple[Secret, Fetched]], outputs: Iterable[Output]
) -> dict[Output, dict[str, ProjectedFile]]:
    """The files for these versions of secrets, by output, if each version meets its secret's `require`.

    All of them or none. Raises ProjectionError with every problem of the versions, or SecretError if the machine
    prevents the check for now.
    """
    inputs = tuple(inputs)
    problems: tuple[str, ...] = ()
    unchecked: SecretError | None = None
    files: dict[Output, dict[str, ProjectedFile]] = {}
    for secret, fetched in inputs:
        try:
            if secret.require:
                from agent.render import require  # it loads TLS, which few configs need

                require.check(fetched.value, secret.require)
        except ProjectionError as error:
            problems += error.problems
        except SecretError as error:
            unchecked = error
    try:
        sets = frozenset(secret.name for secret, _ in inputs if secret.ref.kind in SETS)
        files = project({secret.name: fetched.value for secret, fetched in inputs}, outputs, sets)
    except ProjectionError as error:
        problems += error.problems
    if problems:
        raise ProjectionError(*problems)
    if unchecked:
        raise unchecked
    return files


def project(
    values: Mapping[str, SecretValue], outputs: Iterable[Output], sets: frozenset[str] = frozenset()
) -> dict[Output, dict[str, ProjectedFile]]:
    """The files for these values, by secret's name: for each output, from each path, relative to the volume, to its
    content and mode. `sets` names those that are sets: a slash in one of their keys begins a directory.

    All of them or none. Raises ProjectionError, which names path, key and what to do, never a value. The versions are
    then unusable until one of them or the spec changes.
    """
    outputs = tuple(outputs)
    filled = {name for output in outputs if not _takes_nothing(output) for name in output.inputs}
    for name, value in values.items():
        if not len(value) and name in filled:
            raise ProjectionError("the secret is empty; put a value into it")
        if len(value) > LIMIT and name not in sets:
            raise ProjectionError(f"the secret has {len(value)} bytes, more than the {LIMIT} that AWS allows")
    inputs = {name: Input(value, nested=name in sets) for name, value in values.items()}

    def made(output: Output) -> tuple[Output, dict[str, ProjectedFile]]:
        contents = _contents(output, inputs)
        return output, {path: ProjectedFile(SecretValue(c, text=True), output.mode) for path, c in contents}

    return dict(every(made, outputs))


def _takes_nothing(output: Output) -> bool:
    """Whether it can be made of a secret without a value."""
    how = output.renderer
    whole = isinstance(how, Projection) and not how.directory and how.format == "raw" and how.jmes_path is None
    return isinstance(how, ExternalSecretData) or (whole and how == Projection(missing="empty"))


def _contents(output: Output, inputs: Mapping[str, Input]) -> list[tuple[str, bytes]]:
    """Path and content of each file that an output becomes. What few configs need is imported only for those."""
    path, mine = output.path, {name: inputs[name] for name in output.inputs if name in inputs}
    match output.renderer:
        case Projection() as how:
            return projection.contents(path, how, *mine.values())
        case Property(wanted):
            from agent.render import lookup  # few configs have one

            (only,) = mine.values()
            return [(path, lookup.found(only.value.reveal(), wanted, f"file {path}", "the secret"))]
        case ByContent(missing):
            (only,) = mine.values()
            how = Projection(directory=only.is_object(), missing=missing)
            return projection.contents(path, how, only)
        case Template() as template:
            from agent.render import templated

            return [(path, templated.content(path, template, mine))]
        case Pem() as pem:
            from agent.render import certificates

            return [(path, certificates.pem(path, pem, mine))]
        case Pkcs12() as keystore:
            from agent.render import certificates

            return [(path, certificates.pkcs12(path, keystore, mine))]
        case ExternalSecretData() as data:
            from agent.render import external_secret

            return external_secret.contents(path, data, mine)
