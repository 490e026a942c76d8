"""Read manifests of the External Secrets Operator (ESO): each ExternalSecret becomes a directory, one file for a key.

What of a manifest has no meaning without the operator is a problem with its place, and says what to do instead. What
is done in another way on purpose is a warning. docs/migrate.md is the user's side of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.config import external_secret_store, external_secret_target, kubernetes
from agent.config.document import Mapping, Node, suggestion
from agent.config.external_secret_store import STORE_KINDS, Store, StoreReader
from agent.config.external_secret_target import DECODINGS, TargetReader, decoding
from agent.config.foreign import Foreign, Given, placed
from agent.config.kubernetes import Beside, Named, entry, word_of
from agent.config.reading import SHORTEST, Section
from agent.core import arn, re2, windows
from agent.core import external_secret as made
from agent.core.errors import Problem
from agent.core.external_secret import Remote
from agent.core.model import ExternalSecretData, Kind, Output, Place, Query, Ref, Secret
from agent.core.record import Record, replace

VERSIONS = ("external-secrets.io/v1", "external-secrets.io/v1beta1")

_REMOTE = ("metadataPolicy", "property", "version", "decodingStrategy", "conversionStrategy", "nullBytePolicy")

KEYS = {
    **kubernetes.KEYS,
    **external_secret_store.KEYS,
    **external_secret_target.KEYS,
    "externalSecret": ("apiVersion", "kind", "metadata", "spec", "status"),
    "spec": (
        "secretStoreRef", "target", "refreshPolicy", "refreshInterval", "data", "dataFrom", "syncWindows",
    ),
    "syncWindows": ("kind", "windows"),
    "syncWindow": ("schedule", "duration"),
    "storeRef": ("name", "kind"),
    "data": ("secretKey", "remoteRef", "sourceRef"),
    "remoteRef": ("key", *_REMOTE),
    "sourceRef": ("storeRef", "generatorRef"),
    "dataFrom": ("extract", "find", "rewrite", "sourceRef"),
    "extract": ("key", *_REMOTE),
    "find": ("path", "name", "tags", "conversionStrategy", "decodingStrategy", "nullBytePolicy"),
    "findName": ("regexp",),
    "rewrite": ("regexp", "transform", "merge"),
    "rewriteRegexp": ("source", "target"),
    "rewriteTransform": ("template",),
    "rewriteMerge": ("into", "priority", "priorityPolicy", "conflictPolicy", "strategy"),
}  # fmt: skip

_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]+")

_KEY_LIMIT = 253

_GO_DURATION = re.compile(r"[-+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")

_GO_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")

_DURATION_LIMIT = 64  # characters; a million digits would take the pattern hours

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_LONGEST = 30 * 86400.0  # seconds of a period

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")

_NAME_LIMIT = 63  # characters of a secret's name


def read(documents: Sequence[Mapping], problems: list[Problem], given: Given) -> Foreign:
    """What the documents ask for, as `foreign` has it.

    1. Sort the documents by kind: an ExternalSecret may stand before its store.
    2. Read what others refer to.
    3. Read the ExternalSecrets.
    """
    reader = _Reader(problems, KEYS)
    # 1.
    of_kind: dict[str, list[Mapping]] = {}
    for document in documents:
        of_kind.setdefault(reader.kind(document), []).append(document)
    # 2.
    reader.given = given
    reader.beside = kubernetes.beside(reader, of_kind.get("beside", ()))
    if passed := reader.beside.passed:
        reader.warnings.append(f"not read, since it has no meaning for a sidecar: {', '.join(passed)}")
    for kind in STORE_KINDS:
        for document in of_kind.get(kind, ()):
            reader.add_store(document, kind)
    # 3.
    for document in of_kind.get("ExternalSecret", ()):
        reader.external_secret(document)
    return Foreign(reader.secrets(), tuple(reader.outputs), tuple(dict.fromkeys(reader.warnings)))


def read_store(document: Mapping, problems: list[Problem], given: Given) -> Store | None:
    """One store by itself; None: it is none."""
    reader = _Reader(problems, KEYS)
    reader.given, reader.beside = given, kubernetes.beside(reader, ())
    kind = reader.kind(document)
    if kind not in STORE_KINDS:
        return None
    return reader.store(document, kind, given.place, reader.beside, reader.warnings)[1]


class _Wanted(Record):
    """A secret that is read, but for its name and its period."""

    ref: Ref
    optional: bool = False


class _Reader(StoreReader, TargetReader):
    """Reads the documents one after the other, and collects what they ask for."""

    given: Given
    beside: Beside

    def __init__(self, problems: list[Problem], known: dict[str, tuple[str, ...]]) -> None:
        super().__init__(problems, known)
        self.outputs: list[Output] = []
        self.warnings: list[str] = []
        self._stores: dict[tuple[str, str, str], Store] = {}  # by kind, namespace and name
        self._names: dict[_Wanted, str] = {}
        self._periods: dict[str, float] = {}
        self._targets: dict[str, Node] = {}
        self._period = 0.0  # of the ExternalSecret that is read
        self._partial = False  # whether a secret of it may not exist

    def secrets(self) -> tuple[Secret, ...]:
        """All secrets that were asked for, each once."""
        return tuple(
            Secret(name, wanted.ref, self._periods[name], wanted.optional) for wanted, name in self._names.items()
        )

    def kind(self, document: Mapping) -> str:
        """The kind of a document of ESO, `beside` for others, and "" for one that cannot be read."""
        version, kind = entry(document, "apiVersion"), entry(document, "kind")
        if not word_of(version).startswith("external-secrets.io/"):
            return "beside"
        known = ("ExternalSecret", *STORE_KINDS)
        if word_of(kind) in known and word_of(version) in VERSIONS:
            return word_of(kind)
        if version is not None and word_of(kind) in known:
            self.wrong(version, f"apiVersion {word_of(version)} is not read; write {VERSIONS[0]}, and check its fields")
            return ""
        what = f"kind {word_of(kind)!r} is not one of {', '.join(known)}{suggestion(word_of(kind), known)}"
        self.wrong(kind or document, f"{what}; another one belongs to the operator: remove this document")
        return ""

    def add_store(self, document: Mapping, kind: str) -> None:
        named, store = self.store(document, kind, self.given.place, self.beside, self.warnings)
        at = kind, named.namespace, named.name
        if at in self._stores:
            self.wrong(named.node, f"{kind} {named.name} is there twice; remove one")
        place = replace(store.place, identity=self.given.identities.get(at))
        self._stores[at] = replace(store, place=place)

    # -- ExternalSecret

    def external_secret(self, document: Mapping) -> None:
        named = self.named(document, "ExternalSecret")
        top = self.fields(document, "externalSecret", required=("spec",))
        spec = self.part(top, "spec", "spec")
        if spec.node is None:
            return
        self._period = self.period(spec, named.name)
        if "syncWindows" in spec:
            self.windows(spec)
            self.warnings.append(f"{named.name}: syncWindows has no meaning here: a version is published when it moved")
        target = self.target(spec, named.name, named.namespace, self.beside)
        self._partial = target.deletion != "Retain"
        if not (self.listed(spec, "data") or self.listed(spec, "dataFrom")):
            self.wrong(spec.node, "needs data or dataFrom, or both: it asks for no secret")
        default = self.part(spec, "secretStoreRef", "storeRef")
        read = [self.data(node, named, default) for node in self.listed(spec, "data")]
        entries = [(node, each) for node, each in read if each is not None]
        if target.deletion == "Retain":
            self.apart(entries)
        sources = [self.source(node, named, default) for node in self.listed(spec, "dataFrom")]
        how = ExternalSecretData(
            name=target.name,
            namespace=named.namespace,
            entries=tuple(each for _, each in entries),
            sources=tuple(each for each in sources if each is not None),
            template=target.template,
            type=target.type,
            labels=named.labels,
            annotations=named.annotations,
            immutable=target.immutable,
            empty_too=target.deletion == "Merge",
            partial=self._partial,
        )
        self.add(how, target.section.entries.get("name", named.node))

    def add(self, how: ExternalSecretData, node: Node) -> None:
        """One more output, of which the path is still free."""
        if how.name in self._targets:
            line = self._targets[how.name].line
            self.wrong(node, f"target {how.name!r} is already that of line {line}; name another by target.name")
        elif how.name in self.given.paths:
            self.wrong(node, f"target {how.name!r} is already a file or directory of this config; name another")
        self._targets.setdefault(how.name, node)
        remotes = [*(each.remote for each in how.sources), *(each.remote for each in how.entries)]
        inputs = dict.fromkeys(remote.secret for remote in remotes)
        if inputs:
            self.outputs.append(Output(how.name, tuple(inputs), how, self.given.mode))

    def apart(self, entries: list[tuple[Node, made.DataEntry]]) -> None:
        """No key twice: the second would replace the first."""
        seen: dict[str, Node] = {}
        for node, each in entries:
            if each.key in seen:
                what = f"secretKey {each.key!r} is already on line {seen[each.key].line}; remove one"
                self.wrong(node, what)
            seen.setdefault(each.key, node)

    def period(self, spec: Section, name: str) -> float:
        """Seconds between two looks at AWS: `refreshInterval`, or what the config says."""
        policy = self.one_of(spec, "refreshPolicy", ("Periodic", "CreatedOnce", "OnChange"))
        text = self.word(spec, "refreshInterval")
        if text and seconds(text) is None:
            what = f'refreshInterval: {text!r} is not a duration of Go, such as "1h" or "90s"; it has no days'
            self.wrong_key(spec, "refreshInterval", what)
            return self.given.period
        length = abs(seconds(text) or 0.0)
        once = policy if policy != "Periodic" else f"refreshInterval {text}" if text else ""
        if text and length > 0 and not text.startswith("-") and policy == "Periodic":
            return min(max(length, SHORTEST), _LONGEST)
        if once:
            self.warnings.append(
                f"{name}: {once}: ESO would fetch once and never again; here a version that moves is published, too. "
                "Name a version to stay at it"
            )
        return self.given.period

    def windows(self, spec: Section) -> None:
        """Problems of `syncWindows`. What it means the controller knows."""
        section = self.part(spec, "syncWindows", "syncWindows", required=("kind", "windows"))
        self.one_of(section, "kind", ("allow", "deny"))
        listed = self.listed(section, "windows")
        if len(listed) > windows.MOST:
            self.wrong_key(section, "windows", f"windows: {len(listed)} windows, more than {windows.MOST}; join some")
        for node in listed[: windows.MOST]:
            entry = self.fields(node, "syncWindow", required=("schedule", "duration"))
            if text := self.word(entry, "schedule"):
                try:
                    windows.schedule(text)
                except ValueError as wrong:
                    self.wrong_key(entry, "schedule", f"schedule: {wrong}")
            text = self.word(entry, "duration")
            if text and (seconds(text) or 0.0) <= 0.0:
                self.wrong_key(entry, "duration", f'duration: {text!r} is not a duration of Go, such as "2h" or "90m"')

    def store_of(self, reference: Section, named: Named, near: Node) -> Store | None:
        """The store that a reference names, if it serves the namespace."""
        name = self.word(reference, "name")
        kind = self.one_of(reference, "kind", STORE_KINDS)
        node = reference.entries.get("name") or reference.node or near
        if not name:
            self.wrong(node, "no store is named; add secretStoreRef with its name")
            return None
        if not self.dns_name(node, name, f"a {kind}"):
            return None
        at = kind, named.namespace if kind == "SecretStore" else "", name
        store = self._stores.get(at)
        if store is None:
            others = [other for of, where, other in self._stores if (of, where) == at[:2]]
            where = f" of namespace {named.namespace}" if kind == "SecretStore" else ""
            what = f"{kind} {name!r} is not among the documents{where}{suggestion(name, others)}"
            self.wrong(node, f"{what}; add it to this config")
        elif kind == "ClusterSecretStore" and not store.serves(
            named.namespace, self.beside.namespaces.get(named.namespace, {})
        ):
            what = f"{kind} {name} does not serve namespace {named.namespace}, by its conditions; correct them"
            self.wrong(node, what)
        return store

    def chosen(self, section: Section, named: Named, default: Section, near: Node) -> Store | None:
        """The store of an item: its own, or that of the ExternalSecret."""
        source = self.part(section, "sourceRef", "sourceRef")
        if "generatorRef" in source:
            what = "generatorRef makes a value anew each time, which no secret of AWS is; store a value in AWS"
            self.wrong(source.key("generatorRef"), what)
            return None
        if "storeRef" in source:
            own = self.part(source, "storeRef", "storeRef")
            if "name" in own or not self.word(default, "name"):
                return self.store_of(own, named, near)
        return self.store_of(default, named, near)

    # -- data

    def data(self, node: Node, named: Named, default: Section) -> tuple[Node, made.DataEntry | None]:
        section = self.fields(node, "data", required=("secretKey", "remoteRef"))
        key = self.word(section, "secretKey")
        at = section.entries.get("secretKey", node)
        if "secretKey" in section and len(key) > _KEY_LIMIT:
            self.wrong(at, f"secretKey has {len(key)} characters, more than {_KEY_LIMIT}; shorten it")
        elif key and not _SECRET_KEY.fullmatch(key):
            self.wrong(at, f"secretKey {key!r} may have only letters, digits, '-', '_' and '.'")
        elif key == "." or key.startswith(".."):
            self.wrong(at, f"secretKey {key!r} cannot be a key of a Secret; it must not begin with '..'")
        store = self.chosen(section, named, default, node)
        remote = self.part(section, "remoteRef", "remoteRef", required=("key",))
        self.one_of(remote, "conversionStrategy", ("Default", "Unicode"))  # which says nothing for one key
        found = self.remote(remote, store, named.name)
        return at, made.DataEntry(key, found) if found and key else None

    def remote(self, section: Section, store: Store | None, name: str) -> Remote | None:
        """What a remoteRef or an extract reads."""
        key, version = self.word(section, "key"), self.word(section, "version")
        if section.node is not None and "key" in section and not word_of(section.entries["key"]):
            self.wrong_key(section, "key", "key is empty; name a secret")
        fetches = self.one_of(section, "metadataPolicy", ("None", "Fetch")) == "Fetch"
        strategy = self.strategy(section, name)
        no_null = self.one_of(section, "nullBytePolicy", ("Ignore", "Fail")) == "Fail"
        prop = self.word(section, "property")
        if store is None or not key:
            return None
        node = section.entries["key"]
        if store.service == "ParameterStore":
            ref = self.parameter(node, section, store, key, "" if fetches else version)
        else:
            ref = self.secret_of(node, section, store, key, "" if fetches else version)
        if ref is not None and fetches:
            ref = replace(ref, kind="tags" if ref.kind == "secretsmanager" else "parameterTags")
        if ref is None:
            return None
        return Remote(self.named_secret(_Wanted(ref, self._partial)), ref.id, prop, strategy, no_null)

    def strategy(self, section: Section, name: str) -> made.Decoding:
        chosen = decoding(self.one_of(section, "decodingStrategy", DECODINGS))
        if chosen == "Auto":
            self.warnings.append(
                f"{name}: decodingStrategy Auto decodes whatever happens to be base64, such as the word `password`; "
                "name the strategy, or remove it"
            )
        return chosen

    def full_key(self, node: Node, store: Store, key: str) -> str | None:
        """The key with the store's prefix. An ARN takes none."""
        if store.prefix and key.startswith("arn:"):
            what = f"key {key!r} is an ARN, before which the prefix {store.prefix!r} of the store would stand"
            self.wrong(node, f"{what}; write the name without the prefix, or use a store without one")
            return None
        return store.prefix + key

    def secret_of(self, node: Node, section: Section, store: Store, key: str, version: str) -> Ref | None:
        """A secret of Secrets Manager."""
        full = self.full_key(node, store, key)
        if full is None:
            return None
        if full.startswith("arn:"):
            fits = bool(arn.SECRET_ARN.fullmatch(full)) and not arn.contradicts(full)
        else:
            fits = bool(arn.SECRET_NAME.fullmatch(full))
        if not fits:
            self.wrong(node, f"key: {full!r} is neither the ARN nor the name of a secret in AWS Secrets Manager")
            return None
        place = self.place(store, "secretsmanager", full)
        if version.startswith("uuid/"):
            version_id = version.removeprefix("uuid/")
            if not arn.VERSION_ID.fullmatch(version_id):
                what = f"version: {version_id!r} is not a version id, which has 32 to 64 characters and no spaces"
                self.wrong_key(section, "version", what)
                return None
            return Ref(full, place, None, version_id)
        if len(version) > 256:
            self.wrong_key(section, "version", "version is longer than the 256 characters of a stage")
        return Ref(full, place, version or "AWSCURRENT")

    def parameter(self, node: Node, section: Section, store: Store, key: str, version: str) -> Ref | None:
        """A parameter of Parameter Store. The version may stand behind its name, too."""
        full = self.full_key(node, store, key)
        if full is None:
            return None
        head, _, tail = full.rpartition(":parameter/") if full.startswith("arn:") else ("", "", full)
        _, colon, selector = tail.partition(":")
        if colon and not version:
            full, version = full.removesuffix(f":{selector}"), selector
        known = arn.PARAMETER_ARN if head else arn.PARAMETER_NAME
        if not known.fullmatch(full) or arn.contradicts(full):
            self.wrong(node, f"key: {full!r} is neither the ARN nor the name of a parameter in Parameter Store")
            return None
        place = self.place(store, "parameter", full)
        if not version:
            return Ref(full, place, kind="parameter")
        if _NUMBER.fullmatch(version):
            return Ref(full, place, None, version, kind="parameter")
        if not arn.PARAMETER_LABEL.fullmatch(version):
            self.wrong_key(section, "version", f"version: {version!r} is neither a version's number nor a label")
            return None
        return Ref(full, place, version, kind="parameter")

    def place(self, store: Store, kind: Kind, full: str) -> Place:
        place = placed(store.place, kind, full)
        if place.region != store.place.region:
            self.warnings.append(
                f"{full}: asked for in {place.region}, the region of its ARN; ESO would ask in {store.place.region}, "
                f"the one of store {store.name}, and not find it"
            )
        return place

    def named_secret(self, wanted: _Wanted) -> str:
        """The name of a secret, which is made of its own when it is first asked for. It is asked as often as the most
        impatient of those who use it wants."""
        if wanted not in self._names:
            taken = self.given.names | self._periods.keys()
            base = _name(wanted.ref)
            name, count = base, 2
            while name in taken:
                name, count = f"{base[: _NAME_LIMIT - len(str(count)) - 1]}-{count}", count + 1
            self._names[wanted] = name
            self._periods[name] = self._period
        name = self._names[wanted]
        self._periods[name] = min(self._periods[name], self._period)
        return name

    # -- dataFrom

    def source(self, node: Node, named: Named, default: Section) -> made.Source | None:
        section = self.fields(node, "dataFrom")
        if section.node is None:
            self.wrong(node, "an item of dataFrom needs extract or find")
            return None
        ref = self.part(section, "sourceRef", "sourceRef")
        kinds = [key for key in ("extract", "find") if key in section]
        kinds += ["generatorRef"] if "generatorRef" in ref else []
        if len(kinds) != 1:
            given = f", not {' and '.join(kinds)}" if kinds else ""
            self.wrong(node, f"an item of dataFrom needs exactly one of extract, find and generatorRef{given}")
        store = self.chosen(section, named, default, node)
        rewrites = tuple(each for item in self.listed(section, "rewrite") if (each := self.rewrite(item)) is not None)
        if "find" in section:
            return self.find(section, store, named.name, rewrites)
        if "extract" not in section:
            return None
        extract = self.part(section, "extract", "extract", required=("key",))
        conversion = self.conversion(extract)
        remote = self.remote(extract, store, named.name)
        return made.Source(remote, False, conversion, rewrites) if remote else None

    def conversion(self, section: Section) -> made.Conversion:
        return (
            "Unicode" if self.one_of(section, "conversionStrategy", ("Default", "Unicode")) == "Unicode" else "Default"
        )

    def find(
        self, section: Section, store: Store | None, name: str, rewrites: tuple[made.Rewrite, ...]
    ) -> made.Source | None:
        find = self.part(section, "find", "find")
        conversion, strategy = self.conversion(find), self.strategy(find, name)
        no_null = self.one_of(find, "nullBytePolicy", ("Ignore", "Fail")) == "Fail"
        path, tags = self.word(find, "path"), self.plain_texts(find, "tags")
        pattern = self.name_pattern(find)
        if find.node is not None and pattern is None and not tags:
            self.wrong(find.node, "find needs name, with a regexp, or tags; path alone is not enough")
            return None
        if store is None:
            return None
        if path:
            self.is_path(find, store, path)
        query = Query(pattern, path or None, tuple(sorted(tags)), loose=True)
        kind: Kind = "find" if store.service == "SecretsManager" else "matching"
        ref = Ref(query.shown, self.place(store, kind, ""), kind=kind, query=query)
        remote = Remote(self.named_secret(_Wanted(ref)), f"find {query.shown}", "", strategy, no_null)
        return made.Source(remote, True, conversion, rewrites)

    def is_path(self, find: Section, store: Store, path: str) -> None:
        """A path is how names begin in Secrets Manager, and a folder in Parameter Store."""
        if store.service == "ParameterStore" and not arn.PARAMETER_PATH.fullmatch(path):
            self.wrong_key(find, "path", f"path {path!r} is not a path of parameters such as /prod/app")
        elif not arn.SECRET_NAME.fullmatch(path):
            self.wrong_key(find, "path", f"path {path!r} is not how the name of a secret begins, such as prod/")

    def name_pattern(self, find: Section) -> str | None:
        """The regular expression of `find.name`; None without a name. Without a regexp every name fits."""
        entry = self.part(find, "name", "findName")
        if "regexp" not in entry:
            return None if entry.node is None else ""
        text = self.word(entry, "regexp")
        return text if self.is_pattern(entry.entries["regexp"], text) else ""

    def is_pattern(self, node: Node, text: str) -> bool:
        try:
            re2.compile(text)
        except re2.BadPattern as error:
            self.wrong(node, f"{text!r} is not a regular expression as Go reads it: {error}")
            return False
        return True

    def rewrite(self, node: Node) -> made.Rewrite | None:
        section = self.fields(node, "rewrite")
        kinds = [key for key in ("regexp", "transform", "merge") if key in section]
        if len(kinds) != 1:
            self.wrong(node, "an item of rewrite needs exactly one of regexp, transform and merge")
            return None
        match kinds[0]:
            case "regexp":
                entry = self.part(section, "regexp", "rewriteRegexp", required=("source", "target"))
                source = self.word(entry, "source")
                fits = "source" in entry and self.is_pattern(entry.entries["source"], source)
                return made.Regexp(source, self.word(entry, "target")) if fits else None
            case "transform":
                entry = self.part(section, "transform", "rewriteTransform", required=("template",))
                if "template" not in entry:
                    return None
                return made.Transform(self.parsed(self.text_at(entry.entries["template"], "template"), "transform"))
        return self.merge(self.part(section, "merge", "rewriteMerge"))

    def merge(self, section: Section) -> made.Merge:
        into, strategy = self.word(section, "into"), self.one_of(section, "strategy", ("Extract", "JSON"))
        if strategy == "JSON" and not into:
            self.wrong_key(section, "strategy", "strategy JSON needs into, the key that gets the JSON")
        strict = self.one_of(section, "priorityPolicy", ("Strict", "IgnoreNotFound")) == "Strict"
        exclusive = self.one_of(section, "conflictPolicy", ("Error", "Ignore")) == "Error"
        return made.Merge(
            into if strategy == "JSON" else None, self.words(section, "priority"), strict=strict, exclusive=exclusive
        )


def seconds(text: str) -> float | None:
    """The length of a duration of Go's, which may be negative; None if it is none."""
    if len(text) > _DURATION_LIMIT or not _GO_DURATION.fullmatch(text):
        return None
    length = sum(float(number) * _UNITS[unit] for number, unit in _GO_PART.findall(text))
    return -length if text.startswith("-") else length


def _name(ref: Ref) -> str:
    """A readable name for a secret: what AWS calls it, and the version if it is not the current one."""
    bare = ref.id.rpartition(":secret:")[2].rpartition(":parameter/")[2]
    version = ref.version_id or (ref.version_stage if ref.version_stage != "AWSCURRENT" else None)
    named = f"{bare}.{version}" if version else f"{bare}.tags" if ref.kind in ("tags", "parameterTags") else bare
    if ref.query:
        named = "find-" + "-".join(filter(None, (ref.query.path, ref.query.name, *map("=".join, ref.query.tags))))
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", named).strip("-._")
    return plain[:_NAME_LIMIT].rstrip("-._") or "secret"
