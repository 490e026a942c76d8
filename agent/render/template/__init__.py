"""Go's text/template with the functions of sprig that fit secrets: the language of Helm, ESO and Vault Agent.

A template renders whole or is refused with a place. What Go mangles in silence is an error here: `<no value>`, printf's
`%!d(string=…)`, a base64 text that cannot be decoded. Errors name keys, functions and kinds, never a value. Time and
memory are bounded, whatever the template and the value are. docs/templates.md is the user's side of it.

Imported only when a config has a template.

https://pkg.go.dev/text/template · https://masterminds.github.io/sprig/
"""

from __future__ import annotations

from typing import Any

from agent.core.record import Record
from agent.render.template import execute, grammar, reading
from agent.render.template.errors import TemplateError
from agent.render.template.functions import NEED_CRYPTOGRAPHY
from agent.render.template.nodes import Tree
from agent.render.template.reading import Read, Reads

__all__ = ["Read", "Reads", "Template", "TemplateError", "parse"]


class Template(Record):
    """A parsed template, to render over many values."""

    tree: Tree

    def render(self, value: Any) -> str:
        """What it comes to over a value as JSON has them: str, int, float, bool, None, list, dict. The value stays as
        it is. A number that has an attribute `literal` is printed as that.

        A byte that is no UTF-8 (of b64dec, say) is in the result as `surrogateescape` has it: the content of the file
        is ``result.encode("utf-8", "surrogateescape")``.

        Raises TemplateError with line and column in the template. It holds no value.
        """
        return execute.render(self.tree, value)

    def reads(self) -> Reads:
        """The keys of the value that it reads, so that they can be checked without one."""
        return reading.reads(self.tree)

    def needs_cryptography(self) -> bool:
        """Whether it calls a function for which the Python package `cryptography` must be installed."""
        return bool(self.tree.functions & NEED_CRYPTOGRAPHY)


def parse(text: str) -> Template:
    """Raises TemplateError with the line and column of the first thing that is wrong with the text."""
    return Template(grammar.parse(text))
