"""Render a template over the secrets that are its inputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from agent.core.errors import ProjectionError
from agent.core.model import Template
from agent.render.input import Input
from agent.render.raw import filled
from agent.render.template import Template as Parsed
from agent.render.template import TemplateError, parse


def content(path: str, template: Template, inputs: Mapping[str, Input]) -> bytes:
    """The content of the file. Raises ProjectionError, with the place in the config's file."""
    where = f"file {path}"
    values = {name: input_.data() for name, input_ in inputs.items()}
    data = values if template.by_name else next(iter(values.values()))
    try:
        text = _parsed(template.text).render(data)
    except TemplateError as error:
        line, column = template.written.place(error.line, error.column)
        problem = f"line {line}, column {column} of the config: {error.message}"
    else:
        return filled(text.encode("utf-8", "surrogateescape"), where, None)
    raise ProjectionError(f"{where}: {problem}")


@functools.cache
def _parsed(text: str) -> Parsed:
    return parse(text)
