"""Read what is published: the `files` of a secret, and those of a config that are made of several secrets."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection
from typing import get_args

from agent.config.document import Node, Scalar, suggestion
from agent.config.reading import Reader, Section
from agent.core.model import (
    ByContent,
    Encoding,
    Format,
    How,
    KeyOf,
    Missing,
    Output,
    Pem,
    Pkcs12,
    Projection,
    Property,
    Quoting,
    Template,
)
from agent.core.written import Written

FORMATS: tuple[Format, ...] = get_args(Format)

QUOTINGS: tuple[Quoting, ...] = get_args(Quoting)

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

MISSING: tuple[Missing, ...] = get_args(Missing)

_MODE = re.compile(r"0?[0-7]{3}")

_SELECTING = ("directory", "jmesPath", "format", "quoting", "encoding", "missing")  # which a template does by itself

_NEEDS_CRYPTOGRAPHY = "{} needs the library cryptography, which is not installed; install the extra pkcs12"

_MAKERS = ("template", "pem", "pkcs12")  # of a file of several secrets

Paths = list[tuple[Output, Node]]
"""The outputs so far, each with the node of its path."""


class OutputReader(Reader):
    """Reads nodes into outputs."""

    def of_secret(self, secret: Section, name: str, mode: int, paths: Paths) -> list[Output]:
        """The outputs of the `files` of one secret."""
        missing = self.missing(secret, "error")
        found = []
        for node in self.items(secret, "files", "files"):
            section = self.section(node, "file")
            if section.node is None:
                continue
            kinds = [key for key in ("path", "directory") if key in section]
            if len(kinds) != 1:
                self.wrong(node, "needs exactly one of path and directory")
                continue
            path = self.relative(section, kinds[0])
            if "template" in section:
                how: How = self.alone(section)
            elif "property" in section:
                how = self.property(section)
            else:
                how = self.projection(section, missing)
            output = Output(path or "", (name,), how, self.mode(section, mode))
            found.append(output)
            if path:
                paths.append((output, section.entries[kinds[0]]))
        return found

    def by_content(self, secret: Section, name: str, mode: int, paths: Paths) -> Output:
        """The output of a secret without `files`."""
        output = Output(name, (name,), ByContent(self.missing(secret, "error")), mode)
        paths.append((output, secret.entries.get("name", secret.node) or Scalar(1, 1, name, plain=True)))
        return output

    def projection(self, section: Section, missing: Missing) -> Projection:
        directory = "directory" in section
        if directory and "format" in section:
            self.wrong(section.key("format"), "format and directory exclude each other: each key becomes a raw file")
        form = self.format(section)
        if "quoting" in section and form != "dotenv":
            self.wrong(section.key("quoting"), "quoting needs format: dotenv; set that format, or remove quoting")
        if "encoding" in section and form != "raw":
            self.wrong(section.key("encoding"), "encoding needs format: raw; remove one of the two")
        return Projection(
            directory=directory,
            format=form,
            jmes_path=self.expression(section),
            quoting=self.quoting(section),
            encoding=self.encoding(section),
            missing=self.missing(section, missing),
        )

    def alone(self, section: Section) -> Template:
        """The template of a file of one secret."""
        for key in (*_SELECTING, "property"):
            if key in section:
                self.wrong(section.key(key), f"{key} and template exclude each other: the template selects and formats")
        template, _ = self.template(section, by_name=False)
        return template

    def property(self, section: Section) -> Property:
        """A path of gjson. It says all of the file."""
        for key in _SELECTING:
            if key in section:
                self.wrong(
                    section.key(key), f"{key} and property exclude each other: a property is one text; remove one"
                )
        return Property(self.text(section, "property", "a path such as db.host") or "")

    # -- files of several secrets

    def shared(self, top: Section, names: Collection[str], mode: int, paths: Paths) -> list[Output]:
        """The outputs of the top level's `files`; `names` are those of the secrets."""
        found = []
        for node in self.items(top, "files", "files"):
            section = self.section(node, "sharedFile", required=("path",))
            if section.node is None:
                continue
            makers = [key for key in _MAKERS if key in section]
            if len(makers) != 1:
                self.wrong(node, f"needs exactly one of {', '.join(_MAKERS)}")
                continue
            path = self.relative(section, "path")
            how, inputs = self.maker(section, makers[0], names)
            output = Output(path or "", inputs, how, self.mode(section, mode))
            found.append(output)
            if path:
                paths.append((output, section.entries["path"]))
        return found

    def maker(self, section: Section, kind: str, names: Collection[str]) -> tuple[How, tuple[str, ...]]:
        """What makes the file, and its inputs in the order in which they are first used."""
        if kind == "template":
            return self.template_of_several(section, names)
        if "secrets" in section:
            self.wrong(section.key("secrets"), f"secrets belongs to a template; {kind} names them itself")
        entry = self.section(section.entries[kind], kind, required=("certificate",))
        certificate = self.key_of(entry, "certificate", names) or KeyOf("", None)
        private_key = self.key_of(entry, "privateKey", names)
        if kind == "pem":
            how: Pem | Pkcs12 = Pem(certificate, private_key)
        else:
            if "privateKey" not in entry and entry.node is not None:
                self.wrong(entry.node, "key 'privateKey' is missing")
            password = self.key_of(entry, "password", names)
            how = Pkcs12(certificate, private_key or KeyOf("", None), password, self.boolean(entry, "legacy"))
            if importlib.util.find_spec("cryptography") is None:
                self.wrong(section.key("pkcs12"), _NEEDS_CRYPTOGRAPHY.format("pkcs12"))
        keys = (certificate, private_key, how.password if isinstance(how, Pkcs12) else None)
        return how, tuple(dict.fromkeys(key.secret for key in keys if key and key.secret))

    def key_of(self, entry: Section, key: str, names: Collection[str]) -> KeyOf | None:
        """A secret and one of its keys, or None if there is none here."""
        if key not in entry:
            return None
        section = self.section(entry.entries[key], "keyOf", required=("secret",))
        secret = self.text(section, "secret", "the name of a secret")
        if secret is not None and secret not in names:
            self.wrong(section.entries["secret"], f"no secret is named {secret!r}{suggestion(secret, names)}")
            secret = None
        return KeyOf(secret or "", self.text(section, "key", "a key of the secret's JSON"))

    def template_of_several(self, section: Section, names: Collection[str]) -> tuple[Template, tuple[str, ...]]:
        template, reads = self.template(section, by_name=True)
        if "secrets" in section:
            return template, self.listed(section, names)
        if reads is None:
            return template, ()
        read, whole = reads
        for name, line, column in read:
            if name not in names:
                where = Scalar(line, column, name, plain=True)
                self.wrong(where, f"no secret is named {name!r}{suggestion(name, names)}")
        inputs = tuple(name for name, _, _ in read if name in names)
        if whole or not read:
            what = "which secrets this template reads cannot be seen from its text; list them under `secrets`"
            self.wrong(section.key("template"), what)
        return template, inputs

    def listed(self, section: Section, names: Collection[str]) -> tuple[str, ...]:
        found: list[str] = []
        for node in self.items(section, "secrets", "names of secrets"):
            name = self.scalar(node, "the name of a secret")
            if name is not None and name not in names:
                self.wrong(node, f"no secret is named {name!r}{suggestion(name, names)}")
            elif name is not None and name not in found:
                found.append(name)
        return tuple(found)

    def template(
        self, section: Section, *, by_name: bool
    ) -> tuple[Template, tuple[list[tuple[str, int, int]], bool] | None]:
        """The template, and what it reads of its dot: the keys with their places in the file, and whether it may read
        others, too. None if it cannot be parsed."""
        from agent.render.template import TemplateError, parse  # few configs have one

        text = self.text(section, "template", "a template") or ""
        node = section.entries["template"]
        indent = node.indent if isinstance(node, Scalar) else None
        if indent is None:
            quoted = isinstance(node, Scalar) and not node.plain
            written = Written(node.line, node.column + quoted, block=False)
        else:
            written = Written(node.line + 1, indent + 1, block=True)
        made = Template(text, by_name, written)
        try:
            parsed = parse(text)
            reads = parsed.reads()
        except TemplateError as error:
            line, column = written.place(error.line, error.column)
            self.wrong(Scalar(line, column, "", plain=True), error.message)
            return made, None
        if parsed.needs_cryptography() and importlib.util.find_spec("cryptography") is None:
            self.wrong(section.key("template"), _NEEDS_CRYPTOGRAPHY.format("a function of this template"))
        return made, ([(read.key, *written.place(read.line, read.column)) for read in reads.keys], reads.whole)

    # -- keys of a file

    def collisions(self, paths: Paths) -> None:
        """Report two entries with one path, and an entry whose path lies below another's file or directory."""
        taken: dict[str, tuple[Output, Node]] = {}
        for output, node in paths:
            if output.path in taken:
                self.wrong(node, f"path {output.path!r} is already used on line {taken[output.path][1].line}")
            else:
                taken[output.path] = output, node
        for path, (_, node) in taken.items():
            parts = path.split("/")
            for end in range(1, len(parts)):
                above = taken.get("/".join(parts[:end]))
                if above:
                    kind = "directory" if above[0].may_be_several else "file"
                    self.wrong(node, f"path {path!r} lies below the {kind} {above[0].path!r} of line {above[1].line}")

    def format(self, section: Section) -> Format:
        chosen = self.choice(section, "format", FORMATS)
        return next((form for form in FORMATS if form == chosen), "raw")

    def quoting(self, section: Section) -> Quoting:
        chosen = self.choice(section, "quoting", QUOTINGS)
        return next((quoting for quoting in QUOTINGS if quoting == chosen), "sh")

    def encoding(self, section: Section) -> Encoding:
        chosen = self.choice(section, "encoding", ENCODINGS)
        return next((encoding for encoding in ENCODINGS if encoding == chosen), "none")

    def missing(self, section: Section, default: Missing) -> Missing:
        if "missing" not in section:
            return default
        chosen = self.choice(section, "missing", MISSING)
        return next((missing for missing in MISSING if missing == chosen), "error")

    def mode(self, section: Section, default: int) -> int:
        node = section.entries.get("fileMode")
        if node is None:
            return default
        text = self.scalar(node, 'a mode such as "0440"')
        if text is None:
            return default
        if isinstance(node, Scalar) and node.plain:
            self.wrong(node, f'a mode must be in quotes, or YAML reads another number: write "{text.rjust(4, "0")}"')
        elif not _MODE.fullmatch(text):
            self.wrong(node, f'{text!r} is not a mode such as "0440": three octal digits, with a leading 0')
        elif not int(text, 8) & 0o400:
            self.wrong(node, f"mode {text!r} does not let the owner read the file; add 0400")
        else:
            return int(text, 8)
        return default

    def expression(self, section: Section) -> str | None:
        text = self.text(section, "jmesPath", "a JMESPath expression")
        if text is not None:
            import jmespath  # few configs need it

            try:
                jmespath.compile(text)
            except jmespath.exceptions.JMESPathError as error:
                reason = " ".join(str(error).split("\n")[0].split())
                from agent.core.jmespath_keys import QUOTED_KEYS, mended_path

                mended = mended_path(text)
                hint = f"; {QUOTED_KEYS}: write jmesPath: {mended}" if mended else ""
                self.wrong(section.entries["jmesPath"], f"{text!r} is not a JMESPath expression: {reason}{hint}")
            except (ValueError, RecursionError, TypeError):
                self.wrong(section.entries["jmesPath"], f"{text!r} is not a JMESPath expression")
        return text
