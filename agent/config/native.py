"""From a document to a frozen `Config`, or to every problem at once, each with its position.

Pure: text in, value out. Looks up nothing in the environment, on disk or in AWS.
"""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterable
from collections.abc import Mapping as Mapping_

from agent.config import document
from agent.config.document import Mapping, Node, Scalar, Sequence, suggestion
from agent.config.foreign import Foreign, Given, placed
from agent.config.outputs import OutputReader, Paths
from agent.config.reading import SHORTEST, Section, shown_url, written
from agent.core import arn
from agent.core.errors import ConfigError, Problem
from agent.core.model import (
    CALLS,
    FLOOR,
    JITTER,
    Bundle,
    Config,
    Hub,
    Kind,
    Listen,
    Output,
    PidFile,
    Place,
    ProcessName,
    Query,
    Ref,
    Require,
    Secret,
    Settings,
    Signal,
    Site,
    Target,
    Timing,
    Touch,
    Url,
)
from agent.core.record import replace


def least_stale_after(settle: float, secrets: tuple[Secret, ...]) -> float:
    """The shortest `staleAfter` (seconds) with which a healthy agent stays ready. 0 when nothing is polled.

    One attempt may fail, so two of the longest periods, each with jitter, can pass between two confirmations. A moved
    version also settles before it is published.
    """
    longest = _longest_period(secrets)
    return round(2 * (1 + JITTER) * longest + settle, 6) if longest else 0.0


def _longest_period(secrets: tuple[Secret, ...]) -> float:
    """The longest period of the polled secrets, in seconds; 0 when none is polled."""
    return max((secret.period for secret in secrets if secret.ref.version_id is None), default=0.0)


def doubts(config: Config) -> list[str]:
    """One sentence for each thing that is allowed but looks like a mistake."""
    return [
        *config.warnings,
        *(
            f"{secret.name}: {secret.ref.id} ends in a dash and six characters. If they are part of the name, AWS "
            "takes them for the suffix of an ARN and may not find the secret: use the ARN that `aws secretsmanager "
            "describe-secret` prints. If this is that ARN, ignore this warning. The policy of `plan` covers both cases"
            for secret in config.bundle.secrets
            if secret.ref.kind == "secretsmanager" and arn.looks_complete(secret.ref.id)
        ),
    ]


# -- from document to Config ---------------------------------------------------------------------------------------
API_VERSION, KIND = "freshmount.dev/v1", "Config"

# The modules beside this one that read other people's manifests, by the API group of those.
FOREIGN: Mapping_[str, str] = {
    "external-secrets.io": "external_secret",
    "secrets-store.csi.x-k8s.io": "secret_provider_class",
}

# Which of them, the first that has documents, says what becomes of those of other API groups beside them: the ConfigMap
# of a template, the labels of a Namespace.
_BESIDE = ("external_secret", "secret_provider_class")

VOLUME_PATH = "/freshmount/secrets"

HUB_URL = "http://freshmount.freshmount:9106"  # as the controller's chart has it, by default

OWN_LOOKS = ("describe", "list")

HUB_TOKEN = "/var/run/secrets/freshmount/hub/token"  # noqa: S105 a path

SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGCONT", "SIGWINCH")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s\[\]:]*)):(\d{1,5})")

_HUB_URL = re.compile(r"http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(/[A-Za-z0-9._~/-]*)?")

_STAGE = re.compile(r".{1,256}")  # according to GetSecretValue's API reference

_NAME_START = re.compile(r"[A-Za-z0-9/_+=.@-][A-Za-z0-9/_+=.@!-]{0,511}")

_EXTERNAL_ID = re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}")  # according to AssumeRole's API reference

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")

# System directories. For those before the last line, every path below is refused, too. Those on the last line are
# refused only themselves, because an app may well mount a volume at /etc/app.
_SYSTEM = re.compile(
    r"/|(/usr)?/(bin|sbin|lib|lib32|lib64)(/.*)?|/(boot|proc|sys)(/.*)?|/dev(?!/shm/.)(/.*)?"
    r"|(/var)?/run/secrets/kubernetes\.io(/.*)?"
    r"|/(etc(/ssl(/certs)?)?|home|opt|root|(var/)?(run|tmp)|usr(/local|/share)?|var(/lib|/log)?)"
)

KEYS = {
    "config": (
        "apiVersion", "kind", "region", "endpointUrl", "roleArn", "externalId", "sessionTags", "volume", "poll",
        "hub", "startup", "staleAfter", "listen", "secrets", "files", "notify", "exitWith",
    ),
    "volume": ("path", "fileMode"),
    "hub": ("url", "tokenPath", "ownLooks"),
    "poll": ("period", "rotationPeriod", "settle", "floor"),
    "startup": ("timeout",),
    "secret": (
        "name", "secretId", "versionStage", "versionId", "parameter", "parameterVersion", "parameterLabel",
        "parameters", "find", "roleArn", "externalId", "sessionTags", "failover", "period", "optional", "files",
        "require", "missing",
    ),
    "find": ("name", "path", "tags"),
    "failover": (
        "region", "secretId", "parameter", "parameters", "endpointUrl", "roleArn", "externalId", "sessionTags",
        "versionStage", "parameterLabel", "ifDenied",
    ),
    "require": ("keys", "match", "certificate"),
    "match": ("key", "pattern"),
    "certificate": ("certificate", "privateKey"),
    "file": (
        "path", "directory", "jmesPath", "format", "quoting", "encoding", "missing", "template", "property", "fileMode",
    ),
    "sharedFile": ("path", "template", "secrets", "pem", "pkcs12", "fileMode"),
    "pem": ("certificate", "privateKey"),
    "pkcs12": ("certificate", "privateKey", "password", "legacy"),
    "keyOf": ("secret", "key"),
    "target": ("name", "touch", "signal", "process", "handled", "url", "secrets", "splay"),
    "process": ("name", "pidFile"),
    "exitWith": ("process",),
}  # fmt: skip


SOURCES: dict[str, Kind] = {
    "secretId": "secretsmanager",
    "parameter": "parameter",
    "parameters": "parameters",
    "find": "find",
}

# The keys that go with one of these alone.
_BELONGS = {
    "versionStage": "secretId",
    "versionId": "secretId",
    "parameterVersion": "parameter",
    "parameterLabel": "parameter",
}


def with_hub(config: Config, url: str | None, source: str, own_looks: str | None = None) -> Config:
    """The config with the hub that the environment names, and how it says that own looks are made, unless the config
    names a hub itself. Raises ConfigError if that cannot be the URL of a hub, or is no way to look."""
    if not url or config.settings.hub:
        return config
    problems = []
    if not _HUB_URL.fullmatch(url):
        problems.append(f"FRESHMOUNT_HUB_URL is not a URL such as {HUB_URL}")
    if own_looks and own_looks not in OWN_LOOKS:
        problems.append(f"FRESHMOUNT_HUB_OWN_LOOKS is {own_looks!r}, not one of {', '.join(OWN_LOOKS)}")
    if problems:
        said = (Problem(1, 1, f"{each}; correct the container's environment") for each in problems)
        raise ConfigError(source, tuple(said))
    return replace(config, settings=replace(config.settings, hub=Hub(url, HUB_TOKEN, own_looks == "list")))


def parse(text: str, source: str, environment: str | None = None) -> Config:
    """Parse the text into a config. Raises ConfigError with every problem in it, in the order of the text.

    `source` names the text in messages, such as the file's path. `environment` is the region that the environment sets:
    some manifests of others may not name a secret of another one.
    """
    nodes, problems = documents(text)
    own, foreign = _divided(nodes)
    if other := next(filter(None, map(_other_document, own)), None):
        raise ConfigError(source, (other,))
    reader = _Reader(list(problems), KEYS)
    for second in own[1:]:
        reader.wrong(second, f"is a second {KIND}; only one is read")
    config = reader.config(own[0] if own else None, foreign, environment) if nodes else None
    if reader.problems or config is None:
        once = dict.fromkeys(reader.problems)  # an anchor that is used twice is read twice
        raise ConfigError(source, tuple(sorted(once, key=lambda p: (p.line, p.column))))
    return config


def documents(text: str) -> tuple[tuple[Node, ...], tuple[Problem, ...]]:
    """The documents of a text, each item of a list being one, and the problems of their form."""
    nodes, problems = document.compose_all(text, merges=_is_of_others)
    return tuple(itertools.chain.from_iterable(map(_listed, nodes))), problems


def _is_of_others(version: str) -> bool:
    """Whether the apiVersion of a document is none of ours."""
    return bool(version) and version.partition("/")[0] != API_VERSION.partition("/")[0]


def _divided(nodes: Iterable[Node]) -> tuple[list[Node], dict[str, list[Mapping]]]:
    """The documents that are configs of our own, or nothing that is known; and those of others, by what reads them."""
    own: list[Node] = []
    foreign: dict[str, list[Mapping]] = {}
    for node in nodes:
        group = _group(node) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping) and group is not None and group in FOREIGN:
            foreign.setdefault(FOREIGN[group], []).append(node)
        else:
            own.append(node)
    if reader := next((each for each in _BESIDE if each in foreign), None):
        ours = API_VERSION.partition("/")[0]
        beside = [node for node in own if isinstance(node, Mapping) and _group(node) not in (None, ours)]
        foreign[reader] = [*foreign[reader], *beside]
        own = [node for node in own if not any(node is each for each in beside)]
    return own, foreign


def _listed(node: Node) -> tuple[Node, ...]:
    """The documents of a list, such as `kubectl get -o yaml` prints; any other document is its own."""
    entries = {key.text: value for key, value in node.entries} if isinstance(node, Mapping) else {}
    kind, items = entries.get("kind"), entries.get("items")
    return items.items if isinstance(kind, Scalar) and kind.text == "List" and isinstance(items, Sequence) else (node,)


def _group(node: Mapping) -> str | None:
    """The API group of a document ("" for that of Kubernetes), or None if it has none."""
    version = next((value for key, value in node.entries if key.text == "apiVersion"), None)
    return version.text.rpartition("/")[0] if isinstance(version, Scalar) else None


def _other_document(node: Node | None) -> Problem | None:
    """The one problem of a document that contains a config instead of being one. Without this check every key of it
    would be reported."""
    if isinstance(node, Scalar) and "\n" in node.text and "apiVersion" in node.text:
        return Problem(node.line, node.column, "is a config in quotes; remove the quotes (with yq: yq -r)")
    entries = {key.text: value for key, value in node.entries} if isinstance(node, Mapping) else {}
    kind = entries.get("kind")
    if isinstance(kind, Scalar) and kind.text in ("ConfigMap", "Secret") and entries.keys() & {"data", "stringData"}:
        what = f"is a whole {kind.text} of Kubernetes; use only the text under its key data, config.yaml"
        return Problem(kind.line, kind.column, what)
    if isinstance(kind, Scalar) and kind.text == "SecretProviderClass":
        what = "a SecretProviderClass has apiVersion: secrets-store.csi.x-k8s.io/v1; correct it"
        return Problem(kind.line, kind.column, what)
    return None


_TOP_LEVEL = re.compile(r"^(?=[^\s#])", re.MULTILINE)  # where a top-level key begins


def salvage(text: str) -> Site:
    """Where to find the agent, according to a text that `parse` refuses. Defaults replace what cannot be read.

    Text that is not YAML is read key by key, so that an error in one key does not hide the others.
    """
    node, _ = document.compose(text)
    nodes = [node] if node else [document.compose(part)[0] for part in _TOP_LEVEL.split(text[: document.LIMIT])]
    found: dict[str, Node] = {}
    for mapping in nodes:
        if isinstance(mapping, Mapping):
            for key, value in mapping.entries:
                found.setdefault(key.text, value)
    reader = _Reader([], KEYS)
    volume = reader.section(found.get("volume"), "volume")
    reader.problems.clear()  # the other keys do not matter here
    path = reader.absolute(volume, "path")
    if reader.problems:
        path = None
    return Site(path or VOLUME_PATH, reader.listen(Section(None, found)))


class _Reader(OutputReader):
    """Reads nodes into the values of a config."""

    def config(
        self, node: Node | None, foreign: Mapping_[str, list[Mapping]], environment: str | None
    ) -> Config | None:
        """The config of a document of our own, if there is one, and of documents of others."""
        top = self.section(node, "config", required=("apiVersion", "kind", *(() if foreign else ("secrets",))))
        if top.node is None and not foreign:
            return None
        if top.node is not None:
            self.constant(top, "apiVersion", API_VERSION)
            self.constant(top, "kind", KIND)
        region = self.pattern(top, "region", arn.REGION, "a region such as eu-west-1")
        endpoint = self.url(top, "endpointUrl", "https://secretsmanager.eu-west-1.amazonaws.com")
        volume = self.section(top.entries.get("volume"), "volume")
        path = self.volume_path(volume)
        mode = self.mode(volume, 0o440)
        poll = self.section(top.entries.get("poll"), "poll")
        period = self.duration(poll, "period", 60.0, least=SHORTEST)
        rotation_period = self.duration(poll, "rotationPeriod", min(10.0, period), least=SHORTEST)
        if "rotationPeriod" in poll and rotation_period > period:
            self.wrong(poll.entries["rotationPeriod"], "rotationPeriod is longer than period; make it shorter")
        settle = self.duration(poll, "settle", 0.0)
        floor = self.duration(poll, "floor", FLOOR, least=SHORTEST)
        if "floor" in poll and floor < period:
            self.wrong(
                poll.entries["floor"], "floor is shorter than period; make it longer: it is for what a hub knows"
            )
        startup = self.section(top.entries.get("startup"), "startup")
        place = self.assuming(top, Place(region, endpoint))
        secrets, outputs = self.secrets(top, place, period, mode)
        names, paths = (frozenset(secret.name for secret in secrets), frozenset(o.path.split("/")[0] for o in outputs))
        read = self.foreign(foreign, Given(place, period, mode, names, paths, environment))
        secrets, outputs = secrets + read.secrets, outputs + read.outputs
        targets = self.targets(top, path, secrets, outputs)
        stale_after = self.duration(top, "staleAfter", 0.0)
        if 0 < stale_after < (least := least_stale_after(settle, secrets)):
            self.wrong(
                top.entries["staleAfter"],
                f"staleAfter is too short for a period of {written(_longest_period(secrets))}: one failed attempt "
                f"would make the pod not ready; set at least {written(least)}, or shorten the period",
            )
        startup_timeout = self.duration(startup, "timeout", 120.0)
        timing = Timing(period, rotation_period, settle, startup_timeout, stale_after, floor)
        return Config(
            Bundle(secrets, outputs, targets, timing),
            Settings(path, self.listen(top), self.exit_with(top), self.hub(top)),
            read.warnings,
        )

    def foreign(self, documents: Mapping_[str, list[Mapping]], given: Given) -> Foreign:
        """What the documents of others ask for."""
        found = Foreign()
        for name, nodes in documents.items():
            module = importlib.import_module(f"agent.config.{name}")  # few configs have such documents
            read: Foreign = module.read(nodes, self.problems, given)
            found = Foreign(found.secrets + read.secrets, found.outputs + read.outputs, found.warnings + read.warnings)
            names = given.names | {secret.name for secret in read.secrets}
            paths = given.paths | {output.path.split("/")[0] for output in read.outputs}
            given = replace(given, names=names, paths=paths)
        return found

    def hub(self, top: Section) -> Hub | None:
        section = self.section(top.entries.get("hub"), "hub", required=("url",))
        if section.node is None:
            return None
        url = self.url(section, "url", HUB_URL) or ""
        if url.startswith("http:") and not _HUB_URL.fullmatch(url):
            self.wrong(
                section.entries["url"], f"{shown_url(url)!r} is not a URL such as {HUB_URL}: no query, and a port"
            )
        elif url.startswith("https:"):
            self.wrong(
                section.entries["url"], f"the hub is asked by http, inside the cluster; give a URL such as {HUB_URL}"
            )
        lists = self.choice(section, "ownLooks", OWN_LOOKS) == "list"
        return Hub(url, self.absolute(section, "tokenPath") or HUB_TOKEN, lists)

    def exit_with(self, top: Section) -> ProcessName | PidFile | None:
        section = self.section(top.entries.get("exitWith"), "exitWith", required=("process",))
        return self.process(section) if "process" in section else None

    def secrets(
        self, top: Section, place: Place, period: float, mode: int
    ) -> tuple[tuple[Secret, ...], tuple[Output, ...]]:
        """The secrets and what each is published as."""
        found, outputs = [], []
        names: dict[str, Node] = {}
        paths: Paths = []
        sections: list[tuple[str, Section]] = []
        for node in self.items(top, "secrets", "secrets"):
            section = self.section(node, "secret", required=("name",))
            if section.node is None:
                continue
            name = self.unique_name(section, names)
            found.append(
                Secret(
                    name=name,
                    ref=self.ref(section, place),
                    period=self.duration(section, "period", period, least=SHORTEST),
                    optional=self.boolean(section, "optional"),
                    require=self.require(section),
                )
            )
            sections.append((name, section))
        shared = self.shared(top, names, mode, paths)
        used = {name for output in shared for name in output.inputs}
        for name, section in sections:
            if "files" in section:
                outputs += self.of_secret(section, name, mode, paths)
            elif name not in used and name:
                outputs.append(self.by_content(section, name, mode, paths))
        self.collisions(paths)
        return tuple(found), (*outputs, *shared)

    def assuming(self, section: Section, place: Place) -> Place:
        """The place with the roles that a section names; external id and tags belong to the roles beside them."""
        if "roleArn" in section:
            node = section.entries["roleArn"]
            chain = node.items if isinstance(node, Sequence) else (node,)
            place = replace(place, roles=self.roles(chain), external_id=None, tags=())
        for key in ("externalId", "sessionTags"):
            if key in section and not place.roles:
                self.wrong(section.key(key), f"{key} belongs to a role; remove it, or give roleArn")
        known = "an external id: 2 to 1224 letters, digits and +=,.@:/-"
        external_id = self.pattern(section, "externalId", _EXTERNAL_ID, known)
        tags = self.texts(section, "sessionTags", "a tag's value")
        return replace(place, external_id=external_id or place.external_id, tags=tags or place.tags)

    def roles(self, nodes: tuple[Node, ...]) -> tuple[str, ...]:
        found = []
        for node in nodes:
            text = self.scalar(node, "the ARN of a role")
            if text is not None and not arn.ROLE_ARN.fullmatch(text):
                self.wrong(node, f"{text!r} is not the ARN of a role, such as arn:aws:iam::111122223333:role/reader")
            elif text is not None and text in found:
                self.wrong(node, f"{text!r} is in the chain already; remove one")
            found.append(text or "")
        return tuple(found)

    def texts(self, section: Section, key: str, what: str) -> tuple[tuple[str, str], ...]:
        """A mapping of names of one's own to texts, in the order of the names."""
        node = section.entries.get(key)
        if node is None:
            return ()
        if not isinstance(node, Mapping) or not node.entries:
            self.wrong(node, f"{key} must be a mapping of names to texts, with at least one")
            return ()
        return tuple(sorted((name.text, self.scalar(value, what) or "") for name, value in node.entries))

    def ref(self, section: Section, place: Place) -> Ref:
        given = [key for key in SOURCES if key in section]
        if section.node is not None and not given:
            others = ", ".join(key for key in SOURCES if key != "secretId")
            self.wrong(section.node, f"key 'secretId' is missing; or give one of {others} in its place")
        if section.node is not None and len(given) > 1:
            self.wrong(section.key(given[1]), f"needs exactly one of {', '.join(SOURCES)}")
        source = given[0] if given else "secretId"
        kind = SOURCES[source]
        for key, belongs in _BELONGS.items():
            if key in section and belongs != source:
                self.wrong(section.key(key), f"{key} belongs to {belongs}, not to {source}; remove it")
        stage, version_id = self.version(section, source)
        query = self.query(section) if source == "find" else None
        given_id = query.shown if query else self.identifier(section, source)
        ref = Ref(given_id, placed(self.assuming(section, place), kind, given_id), stage, version_id, kind, query)
        return replace(ref, replicas=self.replicas(section, source, ref, place)) if "failover" in section else ref

    def replicas(self, secret: Section, source: str, ref: Ref, place: Place) -> tuple[Ref, ...]:
        """The same in other regions, in the order in which they are asked. What is not said anew is as in the first."""
        node = secret.entries["failover"]
        nodes = self.items(secret, "failover", "regions") if isinstance(node, Sequence) else (node,)
        found: list[Ref] = []
        taken = {ref.place.region or ""}
        for each in nodes:
            section = self.section(each, "failover", required=("region",))
            if section.node is None:
                continue
            for key in SOURCES:
                if key in section and key != source:
                    self.wrong(section.key(key), f"{key} is another kind than {source}; give {source}, or remove it")
            region = self.pattern(section, "region", arn.REGION, "a region such as eu-west-1")
            if region is not None and region in taken:
                self.wrong(section.entries["region"], f"region {region} is asked already; give another one")
            taken.add(region or "")
            given = self.identifier(section, source) if source in section else arn.in_region(ref.id, region or "")
            own = given.split(":")[3] if given.startswith("arn:") else region
            if region is not None and own != region:
                self.wrong(section.entries[source], f"the ARN is of region {own}, not of {region}; correct one of them")
            url = self.url(section, "endpointUrl", "https://secretsmanager.eu-central-1.amazonaws.com")
            inherited = place.endpoint_url
            if inherited and not arn.serves(inherited, CALLS[ref.kind][0], region):
                inherited = None  # the first region's own endpoint
            at = replace(ref.place, region=region, endpoint_url=url or inherited)
            for key in ("versionStage", "parameterLabel"):
                if key in section and _BELONGS[key] != source:
                    self.wrong(section.key(key), f"{key} belongs to {_BELONGS[key]}, not to {source}; remove it")
                elif key in section and ref.version_id is not None:
                    self.wrong(section.key(key), f"{key} and a fixed version exclude each other; remove one")
            stage = self.stage(section, source) or ref.version_stage
            there = replace(ref, id=given, place=self.assuming(section, at), version_stage=stage)
            found.append(replace(there, if_denied=self.boolean(section, "ifDenied")))
        return tuple(found)

    def query(self, secret: Section) -> Query:
        """Which secrets belong to a set."""
        section = self.section(secret.entries["find"], "find")
        if section.node is not None and not section.entries:
            self.wrong(section.node, "find is empty; name at least one of name, path and tags")
        name = self.text(section, "name", "a pattern")
        if name is not None:
            from agent.core import re2  # few configs have one

            try:
                re2.compile(name)
            except re2.BadPattern as error:
                self.wrong(section.entries["name"], f"{name!r} is not a pattern for names: {error}")
        path = self.pattern(section, "path", _NAME_START, "how names begin, such as prod/")
        return Query(name, path, self.texts(section, "tags", "a tag's value"))

    def identifier(self, section: Section, source: str) -> str:
        """The ARN, name or path that a key gives."""
        match source:
            case "parameter":
                return self.parameter(section)
            case "parameters":
                known = "a path of parameters such as /prod/app/"
                return self.pattern(section, "parameters", arn.PARAMETER_PATH, known) or ""
        return self.secret_id(section)

    def version(self, section: Section, source: str) -> tuple[str | None, str | None]:
        """The stage, or the one version, that is asked for."""
        stage = self.stage(section, source) or "AWSCURRENT"
        if source == "parameter":
            of_label, of_version, known = "parameterLabel", "parameterVersion", "a version's number, such as 3"
            version_id = self.pattern(section, of_version, _NUMBER, known)
        else:
            of_label, of_version = "versionStage", "versionId"
            known = "a version id, which has 32 to 64 characters and no spaces"
            version_id = self.pattern(section, of_version, arn.VERSION_ID, known)
        if of_version in section and of_label in section:
            self.wrong(section.key(of_label), f"{of_version} and {of_label} exclude each other; remove one")
        return (None, version_id) if version_id is not None else (stage, None)

    def stage(self, section: Section, source: str) -> str | None:
        """The stage or the label that a key gives."""
        if source == "parameter":
            known = "a label: letters, digits, '.', '_' and '-', with no digit, aws or ssm in front"
            return self.pattern(section, "parameterLabel", arn.PARAMETER_LABEL, known)
        return self.pattern(section, "versionStage", _STAGE, "a stage such as AWSPREVIOUS")

    def require(self, secret: Section) -> Require | None:
        if "require" not in secret:
            return None
        section = self.section(secret.entries["require"], "require")
        if section.node is not None and not section.entries:
            self.wrong(section.node, "require is empty; add keys, match or certificate, or remove it")
        keys = [self.scalar(node, "a key of the secret's JSON") for node in self.items(section, "keys", "keys")]
        matches = []
        for node in self.items(section, "match", "mappings with key and pattern"):
            entry = self.section(node, "match", required=("key", "pattern"))
            matches.append((self.text(entry, "key") or "", self.regular_expression(entry)))
        certificate = None
        if "certificate" in section:
            pair = self.section(section.entries["certificate"], "certificate", required=("certificate", "privateKey"))
            certificate = self.text(pair, "certificate") or "", self.text(pair, "privateKey") or ""
        return Require(tuple(key or "" for key in keys), tuple(matches), certificate)

    def targets(
        self, top: Section, volume: str, secrets: tuple[Secret, ...], outputs: tuple[Output, ...]
    ) -> tuple[Target, ...]:
        found = []
        names: dict[str, Node] = {}
        if "notify" not in top:
            return ()
        for node in self.items(top, "notify", "targets"):
            section = self.section(node, "target", required=("name",))
            if section.node is None:
                continue
            name = self.unique_name(section, names)
            action = self.action(section, section.node)
            if isinstance(action, Touch):
                self.apart(section.entries["touch"], action.path, volume, outputs)
            watched = self.watched(section, {secret.name for secret in secrets})
            splay = self.duration(section, "splay", 0.0)
            if action is not None:
                found.append(Target(name, action, watched, splay))
        return tuple(found)

    def apart(self, node: Node, path: str, volume: str, outputs: tuple[Output, ...]) -> None:
        """A touched file must not be one of the agent's: touching a published file would damage it."""
        if not (path + "/").startswith(volume.rstrip("/") + "/"):
            return
        first = path[len(volume.rstrip("/")) :].strip("/").split("/")[0]
        published = {output.path.split("/")[0] for output in outputs}
        if not first or first.startswith("..") or first in published:
            self.wrong(node, f"{path!r} belongs to the agent; touch a file that is not published in {volume}")

    def action(self, section: Section, node: Node) -> Touch | Signal | Url | None:
        kinds = [key for key in ("touch", "signal", "url") if key in section]
        if len(kinds) != 1:
            self.wrong(node, "needs exactly one of touch, signal and url")
            return None
        for key in ("process", "handled"):
            if kinds != ["signal"] and key in section:
                self.wrong(section.key(key), f"{key} needs a signal; set a signal, or remove {key}")
        if kinds == ["touch"]:
            return Touch(self.absolute(section, "touch") or "/")
        if kinds == ["url"]:
            return Url(self.url(section, "url", "http://127.0.0.1:8080/reload") or "")
        signal = self.choice(section, "signal", SIGNALS)
        if "process" not in section:
            self.wrong(section.key("signal"), "a signal needs a process: {name: …} or {pidFile: …}")
            return None
        process = self.process(section)
        return Signal(signal, process, self.boolean(section, "handled")) if process else None

    def process(self, section: Section) -> ProcessName | PidFile | None:
        process = self.section(section.entries["process"], "process")
        if process.node is None:
            return None
        if len(process.entries) != 1:
            self.wrong(process.node, "needs exactly one of name and pidFile")
            return None
        if "pidFile" in process:
            return PidFile(self.absolute(process, "pidFile") or "/")
        name = self.text(process, "name") or ""
        if "/" in name:
            self.wrong(process.entries["name"], "must be the name of a command, without its directory")
        return ProcessName(name)

    def watched(self, section: Section, secrets: set[str]) -> frozenset[str] | None:
        if "secrets" not in section:
            return None
        names = set()
        for node in self.items(section, "secrets", "names of secrets"):
            name = self.scalar(node, "the name of a secret")
            if name is not None and name in names:
                self.wrong(node, f"{name!r} is listed twice; remove one")
            elif name is not None and name not in secrets:
                self.wrong(node, f"no secret is named {name!r}{suggestion(name, secrets)}")
            elif name is not None:
                names.add(name)
        return frozenset(names)

    def listen(self, top: Section) -> Listen:
        text = self.text(top, "listen", 'an address such as "[::]:9105"') or "[::]:9105"
        found = _LISTEN.fullmatch(text)
        if found and int(found[3]) <= 65535:
            return Listen(found[1] or found[2] or "::", int(found[3]))
        host, colon, port = text.rpartition(":")
        if found or (colon and port.isdigit() and len(port) > 5):
            what = f"{port} is not a port; the highest is 65535"
        elif text.isdigit():
            what = f'the colon before the port is missing; write ":{text}"'
        elif text.count(":") > 1 and "[" not in text:
            what = f'an IPv6 address needs brackets, as in "[{host if port.isdigit() else text}]:9105"'
        elif not colon or not port:
            what = f'the port is missing; write "{host or text}:9105"'
        elif not port.isdigit():
            what = f"{port!r} is not a port; write a number up to 65535"
        else:
            what = "the host must be a name, an IPv4 address, or an IPv6 address in brackets"
        self.wrong(top.entries["listen"], f'{text!r} is not an address such as "[::]:9105" or "127.0.0.1:9105": {what}')
        return Listen("::", 9105)

    def secret_id(self, section: Section) -> str:
        text = self.text(section, "secretId", "an ARN or a name") or ""
        node = section.entries.get("secretId", section.node)
        if node is not None and text:
            self.named(node, text, (arn.SECRET_ARN, arn.SECRET_NAME), "a secret", "AWS Secrets Manager")
        return text

    def parameter(self, section: Section) -> str:
        text = self.text(section, "parameter", "an ARN or a name") or ""
        node = section.entries.get("parameter", section.node)
        if node is not None and text:
            self.named(node, text, (arn.PARAMETER_ARN, arn.PARAMETER_NAME), "a parameter", "Parameter Store")
        return text

    def named(self, node: Node, text: str, known: tuple[re.Pattern[str], ...], what: str, service: str) -> None:
        """An ARN or a name must be one of that service: `known` are the forms of both."""
        full, name = known
        if text.startswith("arn:"):
            if not full.fullmatch(text):
                self.wrong(node, f"{text!r} is not the ARN of {what} in {service}")
            elif arn.contradicts(text):
                _, partition, _, region, *_ = text.split(":")
                self.wrong(
                    node, f"region {region} is in partition {arn.partition(region)}, not {partition}; correct the ARN"
                )
        elif not name.fullmatch(text):
            self.wrong(node, f"{text!r} is neither an ARN nor a valid name of {what}")

    def volume_path(self, volume: Section) -> str:
        path = self.absolute(volume, "path")
        if path is None:
            return "/freshmount/secrets"
        if _SYSTEM.fullmatch(path):
            self.wrong(
                volume.entries["path"],
                f"{path!r} is a system directory, which holds other files; set a directory of its own below a mount, "
                "such as /freshmount/secrets",
            )
        return path

    def unique_name(self, section: Section, names: dict[str, Node]) -> str:
        name = self.pattern(section, "name", _NAME, "a name of at most 63 letters, digits, '.', '_' and '-'")
        if name is not None:
            if name in names:
                self.wrong(section.entries["name"], f"name {name!r} is already used on line {names[name].line}")
            names.setdefault(name, section.entries["name"])
        return name or ""
