"""Read SecretProviderClasses of AWS's provider for the Secrets Store CSI driver: the files that it would write.

`spec.parameters.objects` is YAML in a string, read as leniently as the provider reads it: keys in any case, numbers and
booleans for texts, unknown keys passed over. What it accepts and then loses or mixes up is refused here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from agent.config import document, go_scalars
from agent.config.document import Mapping, Node, Scalar, Sequence, suggestion
from agent.config.foreign import Foreign, Given, placed
from agent.core import arn
from agent.core.errors import Problem
from agent.core.jmespath_keys import QUOTED_KEYS, mended_path
from agent.core.model import CALLS, Kind, Output, Projection, Ref, Secret
from agent.core.record import Record, replace
from agent.core.written import Written

GROUP = "secrets-store.csi.x-k8s.io"

KIND = "SecretProviderClass"

PARAMETERS = (
    "objects", "region", "failoverRegion", "pathTranslation", "usePodIdentity", "preferredAddressType",
)  # fmt: skip

# What the driver itself, or its pods, add to the parameters.
_OF_THE_DRIVER = "csi.storage.k8s.io/"

FIELDS = (
    "objectName", "objectType", "objectAlias", "objectVersion", "objectVersionLabel", "filePermission", "jmesPath",
    "failoverObject",
)  # fmt: skip

_ENTRY = ("path", "objectAlias", "filePermission")

_FAILOVER = ("objectName", "objectVersion", "objectVersionLabel")

_TYPES: dict[str, Kind] = {"secretsmanager": "secretsmanager", "ssmparameter": "parameter"}

_SERVICES = {"secretsmanager": "secretsmanager", "ssm": "ssmparameter"}  # of an ARN, with the type that it means

_MODE = 0o644  # the driver's default

_PERMISSION = re.compile(r"[0-7]{4}", re.ASCII)

_BOOLEANS = frozenset({"1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"})

_NAME_BYTES, _PATH_BYTES = 255, 4096

_LITERAL = re.compile(r"`((?:[^`\\]|\\.)*)`")  # of JMESPath

_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


def read(documents: Iterable[Mapping], problems: list[Problem], given: Given) -> Foreign:
    """The secrets and files that the classes ask for. What cannot be kept is appended to `problems`, and what differs
    on purpose is in the warnings."""
    files = _Files(problems, given)
    for each in documents:
        _Class(problems, given, files).read(each)
    return Foreign(tuple(files.secrets.values()), tuple(files.outputs), tuple(files.warnings))


class _Field(Record):
    """A key as it is spelled, and its text."""

    key: Scalar
    node: Node
    text: str


class _Named(Record):
    """What an object is asked for, in one region."""

    key: Scalar
    name: str
    kind: Kind
    region: str | None
    version: _Field | None
    label: _Field | None


class _Files:
    """What was found so far, over all classes of a config."""

    def __init__(self, problems: list[Problem], given: Given) -> None:
        self.problems = problems
        self.secrets: dict[Ref, Secret] = {}
        self.outputs: list[Output] = []
        self.warnings: list[str] = []
        self._given = given
        self._taken: dict[str, tuple[str, int]] = {}
        """By path: who makes it, and on which line."""

    def secret(self, ref: Ref, wanted: str) -> str:
        """The name of the secret with that ref: a new one, if there is none yet."""
        if ref not in self.secrets:
            name = self._free_name(wanted)
            self.secrets[ref] = Secret(name, ref, self._given.period, optional=False)
        return self.secrets[ref].name

    def _free_name(self, wanted: str) -> str:
        bare = wanted.rpartition(":")[2] if wanted.startswith("arn:") else wanted
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", bare).strip("._-")[:58] or "object"
        taken = self._given.names | {secret.name for secret in self.secrets.values()}
        names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
        return next(each for each in names if each not in taken)

    def add(self, output: Output, who: str, place: Problem) -> None:
        """Take a file in, unless its path is taken. `place` is where it is asked for."""
        path, parts = output.path, output.path.split("/")
        above = next((p for p in ("/".join(parts[:n]) for n in range(1, len(parts))) if p in self._taken), None)
        below = next((taken for taken in self._taken if taken.startswith(path + "/")), None)
        if parts[0] in self._given.paths:
            what = f"{who} makes {path!r}, and {parts[0]!r} is made by others of this config; give another objectAlias"
        elif path in self._taken:
            other = self._other(path)
            what = f"{who} writes the file {path!r}, and so does {other}; give one of them another objectAlias"
        elif above or below:
            file, directory = (above, path) if above else (path, below)
            other = self._other(above or below or "")
            what = (
                f"{who} makes {path!r}, and {other} makes {above or below!r}: {file!r} cannot be a file and the "
                f"directory of {directory!r}; give one of them another objectAlias"
            )
        else:
            self._taken[path] = who, place.line
            self.outputs.append(output)
            return
        self.problems.append(replace(place, message=what))

    def _other(self, path: str) -> str:
        who, line = self._taken[path]
        return f"{who} on line {line}"


class _Class:
    """Reads one class."""

    def __init__(self, problems: list[Problem], given: Given, files: _Files) -> None:
        self.problems = problems
        self.given = given
        self.files = files
        self.place = given.place
        self.region: str | None = None
        self.failover: str | None = None
        self.translation = "_"
        self.written: Written | None = None
        self.name = ""

    def wrong(self, node: Node, message: str) -> None:
        self.problems.append(Problem(*self.at(node), message))

    def warn(self, node: Node, message: str) -> None:
        line, column = self.at(node)
        self.files.warnings.append(f"{KIND} {self.name}, line {line}, column {column}: {message}")

    def at(self, node: Node) -> tuple[int, int]:
        """Line and column in the config's file of a node, which may be one of the text of `objects`."""
        return self.written.place(node.line, node.column) if self.written else (node.line, node.column)

    # -- the manifest

    def read(self, node: Mapping) -> None:
        top = {key.text: (key, value) for key, value in node.entries}
        self.name = _name_of(top)
        if not _is_of_the_driver(node):
            kind = top["kind"][1] if "kind" in top else node
            said = kind.text if isinstance(kind, Scalar) else "a document"
            self.files.warnings.append(f"line {node.line}: {said} {self.name} is passed over: nothing of it is needed")
            return
        kind, version = top["kind"][1] if "kind" in top else node, top["apiVersion"][1]
        if not isinstance(kind, Scalar) or kind.text != KIND:
            said = repr(kind.text) if isinstance(kind, Scalar) else "missing"
            self.wrong(kind, f"kind is {said}; of this group only {KIND} is read; remove this document")
            return
        if not isinstance(version, Scalar) or version.text.rpartition("/")[2] not in ("v1", "v1alpha1"):
            self.wrong(version, "apiVersion is not known; write secrets-store.csi.x-k8s.io/v1")
        spec = top["spec"][1] if "spec" in top else None
        if not isinstance(spec, Mapping):
            self.wrong(spec or node, "spec is missing; it needs provider and parameters")
            return
        entries = {key.text: (key, value) for key, value in spec.entries}
        for name, (key, _) in entries.items():
            if name in PARAMETERS:
                self.wrong(key, f"{name} is not read here: the API server drops it; move {name} below parameters")
            elif name not in ("provider", "parameters", "secretObjects"):
                close = suggestion(name, ("provider", "parameters", "secretObjects"))
                self.warn(key, f"spec.{name} is not known, and nothing is done about it{close}")
        self.provider(spec, entries.get("provider"))
        self.secret_objects(entries.get("secretObjects"))
        self.parameters(spec, entries.get("parameters"))

    def provider(self, spec: Mapping, found: tuple[Scalar, Node] | None) -> None:
        text = found[1].text if found and isinstance(found[1], Scalar) else ""
        if text != "aws":
            what = f"provider is {text!r}" if text else "provider is missing"
            self.wrong(found[1] if found else spec, f"{what}; only provider: aws is read, for Secrets Manager and SSM")

    def secret_objects(self, found: tuple[Scalar, Node] | None) -> None:
        """The Kubernetes Secrets that the driver makes of the files."""
        if not found or not isinstance(found[1], Sequence) or not found[1].items:
            return
        named = []
        for item in found[1].items:
            entries = {key.text: value for key, value in item.entries} if isinstance(item, Mapping) else {}
            name = entries.get("secretName")
            named.append(name.text if isinstance(name, Scalar) else "?")
        self.warn(
            found[0],
            f"secretObjects asks for the Kubernetes Secrets {', '.join(named)}, which are not made: let containers "
            "read the files instead of secretKeyRef; or write an ExternalSecret, and run `freshmount controller "
            "--external-secrets`",
        )

    def parameters(self, spec: Mapping, found: tuple[Scalar, Node] | None) -> None:
        if not found or not isinstance(found[1], Mapping):
            self.wrong(found[1] if found else spec, "parameters is missing; it needs at least objects")
            return
        given: dict[str, _Field] = {}
        for key, node in found[1].entries:
            known = key.text in PARAMETERS
            if not known and key.text.lower() in {name.lower() for name in PARAMETERS}:
                close = suggestion(key.text, PARAMETERS)
                self.wrong(key, f"parameters.{key.text} is not read, since case matters here{close}")
            elif not known and not key.text.startswith(_OF_THE_DRIVER):
                close = suggestion(key.text, PARAMETERS)
                if key.text.lower().endswith("rolearn"):
                    close = "; a role is assumed by roleArn of a Config beside the class"
                self.warn(key, f"AWS's provider has no parameter {key.text}, and nothing is done about it{close}")
            elif (text := self.string(key, node)) is not None and known:
                given[key.text] = _Field(key, node, text)
        self.where(given)
        self.translate(given.get("pathTranslation"))
        pod = given.get("usePodIdentity")
        if pod and pod.text and pod.text not in _BOOLEANS:
            self.wrong(pod.node, f'usePodIdentity {pod.text!r} is neither "true" nor "false"')
        objects = given.get("objects")
        if objects is None:
            if "objects" not in {key.text for key, _ in found[1].entries}:
                self.wrong(found[0], "parameters has no objects, so there is nothing to mount; add objects: |")
            return
        self.objects(objects)

    def string(self, key: Scalar, node: Node) -> str | None:
        """The text of a parameter, which the API server takes only as a string."""
        if not isinstance(node, Scalar):
            kind = "a list" if isinstance(node, Sequence) else "a mapping"
            self.wrong(node, f"parameters.{key.text} is {kind}, not a string; write {key.text}: | and indent the rest")
            return None
        kind_of = go_scalars.read(node.text)[0] if node.plain else "text"
        if kind_of == "null":
            self.wrong(key, f"parameters.{key.text} is empty, not a string; give it a value, or remove it")
            return None
        if kind_of != "text":
            self.wrong(node, f'parameters.{key.text} is a {kind_of}, not a string; put it in quotes: "{node.text}"')
            return None
        return node.text

    def where(self, given: dict[str, _Field]) -> None:
        """The regions that are asked."""
        region, failover = given.get("region"), given.get("failoverRegion")
        for each in filter(None, (region, failover)):
            if each.text and not arn.REGION.fullmatch(each.text):
                self.wrong(each.node, f"{each.key.text} {each.text!r} is not a region such as eu-west-1")
        self.region = (region.text if region else "") or self.given.place.region or self.given.environment
        self.place = replace(self.given.place, region=(region.text if region else "") or self.given.place.region)
        if failover and failover.text:
            self.failover = failover.text
            if failover.text == self.region:
                self.wrong(failover.node, f"failoverRegion {failover.text!r} is the first region, too; name another")

    def translate(self, found: _Field | None) -> None:
        """What a slash in a name becomes in a file's name; empty: it stays, and begins a directory."""
        if found is None or not found.text:
            return
        self.translation = "" if found.text.lower() == "false" else found.text
        if len(self.translation.encode()) > 1:
            self.wrong(found.node, f"pathTranslation {found.text!r} is neither 'False' nor a single character")

    # -- the list of objects

    def in_the_file(self, problem: Problem) -> Problem:
        """A problem of the text of `objects`, with the lines that it names as those of the config's file."""

        def moved(found: re.Match[str]) -> str:
            return f"line {self.written.place(int(found[1]), 1)[0] if self.written else found[1]}"

        line, column = self.at(Scalar(problem.line, problem.column, "", plain=True))
        return Problem(line, column, "objects: " + re.sub(r"\bline (\d+)", moved, problem.message))

    def objects(self, found: _Field) -> None:
        node = found.node
        if isinstance(node, Scalar) and node.indent is not None:
            self.written = Written(node.line + 1, node.indent + 1, block=True)
        else:
            self.written = Written(node.line, node.column, block=False)
        nodes, problems = document.compose_all(_without_tabs(found.text), merges=lambda _version: True)
        if not nodes and not "".join(line.partition("#")[0] for line in found.text.splitlines()).strip():
            what = "objects is empty, so there is nothing to mount; add - objectName: …"
            problems, self.written = (Problem(node.line, node.column, what),), None
        self.problems += map(self.in_the_file, problems) if self.written else problems
        if len(nodes) > 1:
            self.wrong(nodes[1], "objects holds a second document, which AWS's provider passes over; write one list")
        top = nodes[0] if nodes else None
        if isinstance(top, Sequence):
            if not top.items:
                self.wrong(top, "objects is an empty list, so there is nothing to mount; add - objectName: …")
            for item in top.items:
                self.object(item)
        elif top is not None:
            kind = "a mapping" if isinstance(top, Mapping) else "a text"
            self.wrong(top, f"objects is {kind}, not a list; begin each entry with - objectName: …")
        self.written = None

    def fields(self, node: Node, known: tuple[str, ...], who: str) -> dict[str, tuple[Scalar, Node]] | None:
        """The known keys of a mapping, whatever their case."""
        if not isinstance(node, Mapping):
            empty = isinstance(node, Scalar) and node.empty
            form = ", ".join(f"{name}: …" for name in known[:2])
            what = "is empty; remove it" if empty else f"is not a mapping; write {form}"
            self.wrong(node, f"{who} {what}")
            return None
        by_case = {name.lower(): name for name in known}
        found: dict[str, tuple[Scalar, Node]] = {}
        for key, value in node.entries:
            name = by_case.get(key.text.lower())
            if name is None:
                close = suggestion(key.text, known)
                self.warn(key, f"{who}: AWS's provider has no key {key.text}, and nothing is done about it{close}")
            elif name in found:
                line, _ = self.at(found[name][0])
                other = found[name][0].text
                self.wrong(key, f"{who}: {key.text} is the same key as {other} on line {line}; remove one of them")
            else:
                found[name] = key, value
        return found

    def text(self, found: tuple[Scalar, Node] | None, who: str) -> _Field | None:
        """A text as a field for text takes it; None where there is none."""
        if found is None:
            return None
        key, node = found
        if not isinstance(node, Scalar):
            self.wrong(node, f"{who}: {key.text} must be a text")
            return None
        kind, text = go_scalars.read(node.text) if node.plain else ("text", node.text)
        if kind == "null" or not text:
            return None
        if text != node.text and key.text.lower() != "filepermission":
            what = f"{key.text} {node.text} without quotes is read as {text}, as AWS's provider does; put it in quotes"
            self.warn(node, f"{who}: {what}")
        return _Field(key, node, text)

    def object(self, node: Node) -> None:
        """One entry of the list: the whole value as a file, and a file for each entry of jmesPath.

        1. What is asked for, and where.
        2. The files.
        """
        before, who = len(self.problems), _called(node)
        fields = self.fields(node, FIELDS, who)
        if fields is None:
            return
        name, alias = self.text(fields.get("objectName"), who), self.text(fields.get("objectAlias"), who)
        if name is None:
            self.wrong(node, f"{who}: objectName is missing; it is the name or the ARN of the secret")
        # 1.
        version = self.text(fields.get("objectVersion"), who)
        label = self.text(fields.get("objectVersionLabel"), who)
        type_ = self.text(fields.get("objectType"), who)
        ref = self.ref(name, type_, version, label, who) if name else None
        given = self.given_failover(fields.get("failoverObject"), who)
        if given and not self.failover:
            self.wrong(given.key, f"{who}: failoverObject needs parameters.failoverRegion; add it, or remove this")
        if given and alias is None:
            self.wrong(given.key, f"{who}: an object with failoverObject needs an objectAlias, the name of its file")
        if given and (version.text if version else "") != (given.version.text if given.version else ""):
            what = "objectVersion differs from failoverObject's; both regions must give the same version"
            self.wrong(given.key, f"{who}: {what}")
        if ref is not None and self.failover:
            ref = replace(ref, replicas=self.replicas(ref, given, type_, who))
        # 2.
        mode = self.mode(fields.get("filePermission"), _MODE, who)
        files: list[tuple[Output, str, Problem]] = []
        shown = alias or name
        if shown and (path := self.path(shown, who)):
            of = f"{who}, objectAlias {alias.text!r}" if alias else who
            files.append((Output(path, (), Projection(), mode), of, Problem(*self.at(shown.node), "")))
        for entry in self.entries(fields.get("jmesPath"), who):
            if made := self.picked(entry, mode, who):
                files.append(made)
        if ref is None or len(self.problems) > before:
            return
        secret = self.files.secret(ref, shown.text if shown else "")
        for output, of, place in files:
            self.files.add(replace(output, inputs=(secret,)), of, place)

    # -- what is asked for

    def ref(
        self, name: _Field, type_: _Field | None, version: _Field | None, label: _Field | None, who: str
    ) -> Ref | None:
        kind = self.kind(name, type_, self.region, who)
        if kind is None:
            return None
        stage, version_id = self.version(kind, version, label, who)
        return Ref(name.text, placed(self.place, kind, name.text), stage, version_id, kind)

    def kind(self, name: _Field, type_: _Field | None, region: str | None, who: str) -> Kind | None:
        """Which service holds it. An ARN says so itself."""
        if type_ and type_.text not in _TYPES:
            close = "; did you mean 'ssmparameter'?" if type_.text == "ssm" else suggestion(type_.text, _TYPES)
            known = " or ".join(_TYPES)
            self.wrong(type_.node, f"{who}: {type_.key.text} {type_.text!r} is not {known}{close}")
            return None
        if not name.text.startswith("arn:"):
            if type_ is None:
                what = f"objectType is missing; {name.text!r} is no ARN, so add secretsmanager or ssmparameter"
                self.wrong(name.node, f"{who}: {what}")
                return None
            return self.charset(name, _TYPES[type_.text], who)
        parts = name.text.split(":", 5)
        if len(parts) < 6:
            self.wrong(name.node, f"{who}: {name.key.text} {name.text!r} is not a whole ARN")
            return None
        _, _, service, own, *_ = parts
        if type_ and _SERVICES.get(service) != type_.text:
            what = f"{type_.key.text} {type_.text!r} does not agree with the ARN {name.text!r}, which is of {service}"
            self.wrong(type_.node, f"{who}: {what}; correct one of them")
            return None
        if service not in _SERVICES:
            what = f"the ARN {name.text!r} is of {service!r}, which is neither secretsmanager nor ssm"
            self.wrong(name.node, f"{who}: {what}")
            return None
        if region and own != region:
            what = f"the ARN {name.text!r} is in region {own}, and this class asks in {region}"
            self.wrong(name.node, f"{who}: {what}; set parameters.region, or use a class for each region")
            return None
        return self.charset(name, _TYPES[_SERVICES[service]], who)

    def charset(self, name: _Field, kind: Kind, who: str) -> Kind | None:
        """Whether AWS may have such a name at all."""
        if kind == "secretsmanager":
            known, full, what = arn.SECRET_NAME, arn.SECRET_ARN, "a secret"
        else:
            known, full, what = arn.PARAMETER_NAME, arn.PARAMETER_ARN, "a parameter"
        form = full if name.text.startswith("arn:") else known
        if form.fullmatch(name.text):
            return kind
        bare, colon, selector = name.text.rpartition(":")
        if colon and kind == "parameter" and form.fullmatch(bare):
            key = "objectVersion" if selector.isdigit() else "objectVersionLabel"
            self.wrong(name.node, f"{who}: write {key}: {selector!r} instead of {':' + selector!r} behind objectName")
        else:
            self.wrong(name.node, f"{who}: {name.key.text} {name.text!r} is not a valid name or ARN of {what}")
        return None

    def version(
        self, kind: Kind, version: _Field | None, label: _Field | None, who: str
    ) -> tuple[str | None, str | None]:
        """Stage, or label, and the one version that are asked for."""
        if kind == "secretsmanager":
            return (label.text if label else None if version else "AWSCURRENT"), version.text if version else None
        if version and label:
            what = "a parameter has either objectVersion or objectVersionLabel; remove one of them"
            self.wrong(label.key, f"{who}: {what}")
        elif version and not _NUMBER.fullmatch(version.text):
            what = f"{version.key.text} {version.text!r} is not a number; for a label write objectVersionLabel"
            self.wrong(version.node, f"{who}: {what}")
        elif label and label.text.startswith(("AWS", "aws")):
            what = f"{label.key.text} {label.text!r} is a stage of Secrets Manager, and parameters have none"
            self.wrong(label.node, f"{who}: {what}; remove it to get the latest version")
        elif label and _NUMBER.fullmatch(label.text):
            return None, label.text  # Parameter Store takes a number for a version
        if version:
            return None, version.text
        return label.text if label else "AWSCURRENT", None

    def given_failover(self, found: tuple[Scalar, Node] | None, who: str) -> _Failover | None:
        """What is asked for in the failover region, where it is said."""
        if found is None or (isinstance(found[1], Scalar) and found[1].empty):
            return None
        fields = self.fields(found[1], _FAILOVER, f"{who}: failoverObject")
        if not fields:
            return None
        name = self.text(fields.get("objectName"), who)
        if name is None:
            self.wrong(found[0], f"{who}: failoverObject has no objectName; add it, or remove failoverObject")
            return None
        version, label = (self.text(fields.get(key), who) for key in _FAILOVER[1:])
        return _Failover(found[0], name, version, label)

    def replicas(self, ref: Ref, given: _Failover | None, type_: _Field | None, who: str) -> tuple[Ref, ...]:
        """The same in the failover region."""
        region = self.failover or ""
        url = self.place.endpoint_url
        served = url if url and arn.serves(url, CALLS[ref.kind][0], region) else None
        elsewhere = replace(self.place, region=region, endpoint_url=served)
        if given is None:
            there = arn.in_region(ref.id, region)
            place = placed(elsewhere, ref.kind, there)
            return (replace(ref, id=there, place=place, if_denied=True),)
        of_failover = f"{who}: failoverObject {given.name.text!r}"
        kind = self.kind(given.name, type_, region, of_failover)
        if kind is None:
            return ()
        if kind != ref.kind:
            self.wrong(given.name.node, f"{of_failover} is of another service than the object; give one of the same")
        stage, version_id = self.version(ref.kind, given.version, given.label, of_failover)
        place = placed(elsewhere, ref.kind, given.name.text)
        return (Ref(given.name.text, place, stage, version_id, ref.kind, if_denied=True),)

    # -- the files

    def path(self, found: _Field, who: str) -> str | None:
        """The path of a file, from the name or alias that it gets."""
        path = found.text.replace("/", self.translation) if self.translation else found.text.removeprefix("/")
        parts = path.split("/")
        said = f"{who}: {found.key.text} {found.text!r}"
        if ".." in parts:
            problem = "leaves the volume by '..'; write objectAlias: with a name of its own"
        elif path.startswith(".."):
            problem = f"makes the file {path!r}: names that begin with two dots are the volume's; add an objectAlias"
        elif path.startswith("/"):
            problem = "makes an absolute path; begin the name without a slash, or add an objectAlias"
        elif any(part in ("", ".") for part in parts):
            problem = "makes a path with an empty or '.' part; add an objectAlias without it"
        elif any(ord(char) < 0x20 or ord(char) == 0x7F or 0xD800 <= ord(char) <= 0xDFFF for char in path):
            problem = "contains a control character; add an objectAlias without it"
        elif len(path.encode()) > _PATH_BYTES or any(len(part.encode()) > _NAME_BYTES for part in parts):
            problem = f"is too long for a file: at most {_NAME_BYTES} bytes for a name and {_PATH_BYTES} in all"
        else:
            return path
        self.wrong(found.node, f"{said} {problem}")
        return None

    def mode(self, found: tuple[Scalar, Node] | None, default: int, who: str) -> int:
        if found is None:
            return default
        key, node = found
        if isinstance(node, Scalar) and node.plain and not node.empty:
            kind, text = go_scalars.read(node.text)
            if kind != "text" and text != node.text:
                quoted = f'put it in quotes: "{node.text.rjust(4, "0")}"'
                self.wrong(node, f"{who}: {key.text} {node.text} without quotes is the number {text}; {quoted}")
                return default
        field = self.text(found, who)
        if field is None:
            return default
        if not _PERMISSION.fullmatch(field.text):
            what = f'{key.text} {field.text!r} is not a mode such as "0440": four octal digits, in quotes'
            self.wrong(node, f"{who}: {what}")
            return default
        mode = int(field.text, 8)
        if not mode & 0o400:
            what = f"{key.text} {field.text!r} does not let the owner read the file, who is the agent; add 0400"
            self.wrong(node, f"{who}: {what}")
        return mode & 0o777

    def entries(self, found: tuple[Scalar, Node] | None, who: str) -> tuple[Node, ...]:
        if found is None or (isinstance(found[1], Scalar) and found[1].empty):
            return ()
        if not isinstance(found[1], Sequence):
            self.wrong(found[1], f"{who}: {found[0].text} must be a list of entries with path and objectAlias")
            return ()
        return found[1].items

    def picked(self, node: Node, mode: int, who: str) -> tuple[Output, str, Problem] | None:
        """The file of one entry of jmesPath."""
        fields = self.fields(node, _ENTRY, f"{who}: an entry of jmesPath")
        if fields is None:
            return None
        path, alias = self.text(fields.get("path"), who), self.text(fields.get("objectAlias"), who)
        for key, value in (("path", path), ("objectAlias", alias)):
            if value is None:
                of = next((repr(v.text) for v in (path, alias) if v), "")
                self.wrong(node, f"{who}: the entry {of} of jmesPath has no {key}; add it")
        own = self.mode(fields.get("filePermission"), mode, f"{who}: jmesPath" + (f" {path.text!r}" if path else ""))
        if path:
            self.expression(path, who)
        file = self.path(alias, who) if alias else None
        if path is None or alias is None or file is None:
            return None
        how = Projection(format="text", jmes_path=path.text)
        of = f"{who}: jmesPath {path.text!r}, objectAlias {alias.text!r}"
        return Output(file, (), how, own), of, Problem(*self.at(alias.node), "")

    def expression(self, path: _Field, who: str) -> None:
        import jmespath
        from jmespath.lexer import Lexer

        said = f"{who}: jmesPath {path.key.text} {path.text!r}"
        try:
            jmespath.compile(path.text)
            literals = [path.text[t["start"] :] for t in Lexer().tokenize(path.text) if t["type"] == "literal"]
        except jmespath.exceptions.JMESPathError as error:
            reason = " ".join(str(error).split("\n")[0].split())
            mended = mended_path(path.text)
            hint = f"; {QUOTED_KEYS}: write path: {mended}" if mended else ""
            self.wrong(path.node, f"{said} is not a JMESPath expression: {reason}{hint}")
            return
        except (ValueError, RecursionError, TypeError):
            self.wrong(path.node, f"{said} is not a JMESPath expression")
            return
        for literal in literals:
            found = _LITERAL.match(literal)
            if found is None:  # a text in single quotes, which is one as well
                continue
            text = found[1].replace("\\`", "`")
            try:
                json.loads(text)
            except ValueError:
                what = f"holds `{text}`, which is no JSON; write '{text}' in single quotes, or `\"{text}\"`"
                self.wrong(path.node, f"{said} {what}")


class _Failover(Record):
    """A failoverObject."""

    key: Scalar
    name: _Field
    version: _Field | None
    label: _Field | None


def _called(node: Node) -> str:
    """How sentences name an entry of objects."""
    given = {key.text.lower(): value for key, value in node.entries} if isinstance(node, Mapping) else {}
    name, alias = given.get("objectname"), given.get("objectalias")
    if isinstance(name, Scalar) and not name.empty and name.text:
        return f"object {name.text!r}"
    if isinstance(alias, Scalar) and not alias.empty and alias.text:
        return f"object with objectAlias {alias.text!r}"
    return "an entry of objects"


def _is_of_the_driver(node: Mapping) -> bool:
    version = next((value for key, value in node.entries if key.text == "apiVersion"), None)
    return isinstance(version, Scalar) and version.text.rpartition("/")[0] == GROUP


def _name_of(top: dict[str, tuple[Scalar, Node]]) -> str:
    metadata = top["metadata"][1] if "metadata" in top else None
    entries = {key.text: value for key, value in metadata.entries} if isinstance(metadata, Mapping) else {}
    name = entries.get("name")
    return name.text if isinstance(name, Scalar) else "without a name"


def _without_tabs(text: str) -> str:
    """The text with spaces for the tabs of JSON, which YAML in Go allows and PyYAML does not."""
    if "\t" not in text or not text.lstrip().startswith(("[", "{")):
        return text
    parts = re.split(r'("(?:[^"\\]|\\.)*")', text)
    return "".join(part if number % 2 else part.replace("\t", " ") for number, part in enumerate(parts))
