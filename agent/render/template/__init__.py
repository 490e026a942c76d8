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
from agent.render.template import execute, grammar, reading, values
from agent.render.template.errors import TemplateError
from agent.render.template.functions import BY_CHANCE, KNOWN, NEED_CRYPTOGRAPHY, OF_ESO
from agent.render.template.nodes import Tree
from agent.render.template.reading import Read, Reads

__all__ = ["Read", "Reads", "Template", "TemplateError", "parse"]


class Template(Record):
    """A parsed template, to render over many values. `of_eso`: it is one of ESO's, and comes to what it comes to
    there."""

    tree: Tree
    of_eso: bool = False

    def render(self, value: Any) -> str:
        """What it comes to over a value as JSON has them: str, int, float, bool, None, list, dict. The value stays as
        it is. A number that has an attribute `literal` is printed as that.

        A byte that is no UTF-8 (of b64dec, say) is in the result as `surrogateescape` has it: the content of the file
        is ``result.encode("utf-8", "surrogateescape")``.

        Raises TemplateError with line and column in the template. It holds no value.
        """
        if self.of_eso:
            with values.as_go():
                return execute.render(self.tree, value)
        return execute.render(self.tree, value)

    def reads(self) -> Reads:
        """The keys of the value that it reads, so that they can be checked without one."""
        return reading.reads(self.tree)

    def chances(self) -> list[str]:
        """The functions that it calls of which each call comes to something else."""
        return sorted(self.tree.functions & BY_CHANCE)

    def needs_cryptography(self) -> bool:
        """Whether it calls a function for which the Python package `cryptography` must be installed."""
        return bool(self.tree.functions & NEED_CRYPTOGRAPHY)


def parse(text: str, *, of_eso: bool = False) -> Template:
    """Raises TemplateError with the line and column of the first thing that is wrong with the text.

    `of_eso`: it is one of an ExternalSecret. It may call functions that come out different each time, and what Go goes
    on with, such as null, is no error in it.
    """
    return Template(grammar.parse(text, KNOWN | OF_ESO if of_eso else KNOWN), of_eso)
