"""Read the sample of `freshmount try`: what AWS holds, instead of AWS."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from datetime import UTC, datetime

from agent.config import document
from agent.config.document import Mapping, Node, Scalar, Sequence
from agent.config.reading import Reader, Section
from agent.core.errors import ConfigError
from agent.core.sample import (
    ParameterType,
    Sample,
    SampleParameter,
    SampleRegion,
    SampleSecret,
    SampleVersion,
)
from agent.core.value import SecretValue

KEYS = {
    "sample": ("secretsmanager", "ssm", "errors", "deny", "regions", "now"),
    "region": ("secretsmanager", "ssm", "errors"),
    "secret": ("string", "binary", "empty", "versions", "tags", "deleted", "error"),
    "secretVersion": ("id", "stages", "string", "binary", "empty"),
    "parameter": ("string", "version", "labels", "type", "versions", "tags", "error"),
    "parameterVersion": ("version", "labels", "string"),
}

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,127}")

_OPERATION = re.compile(r"(secretsmanager|ssm|sts):[A-Z][A-Za-z]{0,63}")

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")

_TYPES: tuple[ParameterType, ...] = ("String", "StringList", "SecureString")


def parse(text: str, source: str) -> Sample:
    """The sample that the text means. Raises ConfigError with every problem in it; no value is in one."""
    node, problems = document.compose(text)
    reader = _Reader(list(problems), KEYS)
    sample = reader.sample(node) if node else None
    if reader.problems or sample is None:
        raise ConfigError(source, tuple(sorted(reader.problems, key=lambda p: (p.line, p.column))))
    return sample


class _Reader(Reader):
    """Reads nodes into a sample."""

    def sample(self, node: Node) -> Sample:
        top = self.section(node, "sample")
        regions = None
        if "regions" in top:
            for key in ("secretsmanager", "ssm", "errors"):
                if key in top:
                    self.wrong(top.key(key), f"{key} and regions exclude each other; put {key} into each region")
            regions = {
                name.text: self.region(self.section(region, "region"))
                for name, region in self.entries(top.entries["regions"], "regions")
            }
        deny = [self.scalar(item, "an operation") or "" for item in self.items(top, "deny", "operations")]
        for item, operation in zip(self.items(top, "deny", "operations"), deny, strict=True):
            if operation and not _OPERATION.fullmatch(operation):
                self.wrong(item, f"{operation!r} is not an operation such as ssm:GetParametersByPath")
        return Sample(self.region(top), regions, frozenset(deny), self.now(top))

    def region(self, section: Section) -> SampleRegion:
        return SampleRegion(
            secrets={
                name.text: self.secret(name, self.section(entry, "secret"))
                for name, entry in self.entries(section.entries.get("secretsmanager"), "secretsmanager")
            },
            parameters={
                name.text: self.parameter(self.section(entry, "parameter"))
                for name, entry in self.entries(section.entries.get("ssm"), "ssm")
            },
            errors={
                name.text: self.error(entry) for name, entry in self.entries(section.entries.get("errors"), "errors")
            },
        )

    def secret(self, name: Scalar, section: Section) -> SampleSecret:
        versions: list[SampleVersion] = []
        if "versions" in section:
            for number, node in enumerate(self.items(section, "versions", "versions")):
                entry = self.section(node, "secretVersion")
                given = self.text(entry, "id", "a version id") or _id(f"{name.text}/{number}")
                stages = self.texts(entry, "stages", "stages")
                versions.append(SampleVersion(given, stages, self.value(entry, node)))
        if kinds := [key for key in ("string", "binary", "empty") if key in section]:
            if "versions" in section:
                self.wrong(section.key(kinds[0]), f"{kinds[0]} and versions exclude each other; remove one of the two")
            value = self.value(section, section.node or name)
            versions = [SampleVersion(_id(name.text), ("AWSCURRENT",), value)]
        elif not ({"versions", "deleted", "error"} & section.entries.keys()) and section.node is not None:
            self.wrong(section.node, "needs one of string, binary, empty, versions, deleted and error")
        return SampleSecret(tuple(versions), self.tags(section), self.boolean(section, "deleted"), self.code(section))

    def parameter(self, section: Section) -> SampleParameter:
        versions: list[SampleVersion] = []
        if "versions" in section:
            for node in self.items(section, "versions", "versions"):
                entry = self.section(node, "parameterVersion", required=("version", "string"))
                versions.append(self.numbered(entry))
        if "string" in section:
            if "versions" in section:
                self.wrong(section.key("string"), "string and versions exclude each other; remove one of the two")
            versions = [self.numbered(section)]
        elif not ({"versions", "error"} & section.entries.keys()) and section.node is not None:
            self.wrong(section.node, "needs one of string, versions and error")
        kind = self.choice(section, "type", _TYPES) if "type" in section else "String"
        return SampleParameter(
            tuple(versions),
            next((one for one in _TYPES if one == kind), _TYPES[0]),
            self.tags(section),
            self.code(section),
        )

    def numbered(self, section: Section) -> SampleVersion:
        number = self.pattern(section, "version", _NUMBER, "a version's number, such as 3") or "1"
        text = self.anything(section, "string")
        return SampleVersion(number, self.texts(section, "labels", "labels"), SecretValue(text.encode(), text=True))

    def value(self, section: Section, node: Node) -> SecretValue | None:
        kinds = [key for key in ("string", "binary", "empty") if key in section]
        if len(kinds) != 1:
            self.wrong(node, "needs exactly one of string, binary and empty")
            return None
        if kinds == ["string"]:
            return SecretValue(self.anything(section, "string").encode("utf-8", "surrogatepass"), text=True)
        if kinds == ["empty"]:
            if not self.boolean(section, "empty"):
                self.wrong(section.entries["empty"], "empty is true, or left out")
            return None
        try:
            return SecretValue(base64.b64decode(self.anything(section, "binary"), validate=True), text=False)
        except (binascii.Error, ValueError):
            self.wrong(section.entries["binary"], "is not base64")
            return None

    def error(self, node: Node) -> str | dict[str, str]:
        """A code, or codes by operation."""
        if isinstance(node, Mapping):
            return {name.text: self.is_code(code) for name, code in node.entries}
        return self.is_code(node)

    def code(self, section: Section) -> str | None:
        node = section.entries.get("error")
        return None if node is None else self.is_code(node)

    def is_code(self, node: Node) -> str:
        text = self.scalar(node, "an error code of AWS") or ""
        if text and not _CODE.fullmatch(text):
            self.wrong(node, f"{text!r} is not an error code such as AccessDeniedException")
        return text

    def tags(self, section: Section) -> dict[str, str]:
        found = self.entries(section.entries.get("tags"), "tags")
        return {name.text: value.text for name, value in found if isinstance(value, Scalar)}

    def texts(self, section: Section, key: str, what: str) -> tuple[str, ...]:
        node = section.entries.get(key)
        if isinstance(node, Sequence) and not node.items:
            return ()
        return tuple(self.scalar(item, what) or "" for item in self.items(section, key, what))

    def anything(self, section: Section, key: str) -> str:
        """A text, which may be empty, or look like a number."""
        node = section.entries[key]
        if isinstance(node, Scalar):
            return "" if node.empty else node.text
        self.wrong(node, f"{key} must be a text; put JSON in quotes")
        return ""

    def entries(self, node: Node | None, what: str) -> tuple[tuple[Scalar, Node], ...]:
        """Keys that are names, with their nodes."""
        if node is None or (isinstance(node, Scalar) and node.empty):
            return ()
        if not isinstance(node, Mapping):
            self.wrong(node, f"{what} must be a mapping of names")
            return ()
        return node.entries

    def now(self, top: Section) -> float | None:
        text = self.text(top, "now", "a moment such as 2026-01-01T00:00:00Z")
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.wrong(top.entries["now"], f"{text!r} is not a moment such as 2026-01-01T00:00:00Z")
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _id(name: str) -> str:
    """A version id: unique to the name, and the same in every region."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
