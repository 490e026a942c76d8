"""`freshmount convert`: from the manifests of others to one config of our own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from agent.commands.check import environment
from agent.config import native, writing
from agent.core.errors import ConfigError, Problem
from agent.core.model import ExternalSecretData
from agent.triggers import config_file


def convert(paths: Sequence[str]) -> int:
    """Print the config that does what the manifests in these files do, and what could not be converted on standard
    error. Returns 0, or 1 if something could not be converted. Raises ConfigError for a file that cannot be read.

    1. The files are one config, since a manifest may need another.
    2. Write it. What has no form in a config is left out, and said with its place.
    3. Read what was written: it must be a config.
    """
    # 1.
    texts = {path: config_file.read(path) for path in paths}
    joined, begins = "", {}
    for path, text in texts.items():
        begins[joined.count("\n")] = path
        joined += text + ("" if text.endswith("\n") else "\n") + "---\n"
    try:
        config = native.parse(joined, "", environment())
    except ConfigError as error:
        _say(error.problems, begins)
        return 1
    for warning in config.warnings:
        print(f"freshmount: warning: {warning}", file=sys.stderr)
    # 2.
    bundle, unlike = config.bundle, list[Problem]()
    if any(isinstance(output.renderer, ExternalSecretData) for output in bundle.outputs):
        from agent.commands import from_external_secrets

        bundle, unlike = from_external_secrets.converted(bundle, native.documents(joined)[0])
    _say(unlike, begins)
    if not bundle.secrets:
        print("freshmount: not converted: nothing is left for a config", file=sys.stderr)
        return 1
    text, problems = writing.write(bundle)
    # 3.
    try:
        native.parse(text, "", environment())
    except ConfigError as error:
        problems += [f"line {found.line} of the new config: {found.message}" for found in error.problems]
    sys.stdout.write(text)
    for sentence in problems:
        print(f"freshmount: not converted: {sentence}", file=sys.stderr)
    return 1 if problems or unlike else 0


def _say(problems: Iterable[Problem], begins: Mapping[int, str]) -> None:
    """Print each with its file. `begins`: before which line of all together a file begins."""
    for problem in problems:
        at = max(line for line in begins if line < problem.line)
        print(f"{begins[at]}:{problem.line - at}:{problem.column}: {problem.message}", file=sys.stderr)
