"""The values that cross from one folder to another."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

from agent.core import arn
from agent.core.errors import Failure
from agent.core.record import Record, field, replace
from agent.core.value import ProjectedFile
from agent.core.written import Written

if TYPE_CHECKING:
    from agent.core.external_secret import DataEntry, Source, TargetTemplate

R = TypeVar("R")

Format = Literal["raw", "text", "json", "dotenv", "properties"]

Quoting = Literal["sh", "dotenv"]

Encoding = Literal["none", "base64", "base64url", "hex"]

Missing = Literal["error", "skip", "empty"]

# One secret of Secrets Manager; one parameter of Parameter Store; all parameters beneath a path; all secrets of Secrets
# Manager that match; all parameters that match; the tags of a secret, or of a parameter, as a JSON object. Those of
# which there may be many are sets: their value is a JSON object of name to text.
Kind = Literal["secretsmanager", "parameter", "parameters", "find", "matching", "tags", "parameterTags"]

SETS: frozenset[Kind] = frozenset({"parameters", "find", "matching"})

SET_LIMIT = 1 << 20  # bytes of the values of a set, with their names


class Place(Record):
    """Where a secret is asked for. None means: what boto3's own chain finds.

    `roles` are assumed in this order before, each with the credentials of the one before it. `external_id` and `tags`
    (of the session, name and value) are for the last of them. `identity` names credentials that were given to the
    source, with which it begins instead of the agent's own.
    """

    region: str | None
    endpoint_url: str | None
    roles: tuple[str, ...] = ()
    external_id: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    identity: str | None = None


class Query(Record):
    """Which secrets belong to a set: those that meet all of these. `name` is a regular expression (RE2) that is found
    anywhere in the name, `path` how the name begins; `tags` must be there, each with exactly this value. `loose`: the
    set may have no member, and a value that is bytes is an object of `base64` to its text.
    """

    name: str | None = None
    path: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    loose: bool = False

    @property
    def shown(self) -> str:
        """The query as messages name it."""
        parts = [f"name {self.name}"] if self.name is not None else []
        parts += [f"path {self.path}"] if self.path is not None else []
        return ", ".join([*parts, *(f"tag {name}={value}" for name, value in self.tags)])


class Require(Record):
    """What a version must hold before it is published. `matches` are (key, regular expression) of the JSON object,
    `certificate` the keys of a certificate and of its private key, both PEM.
    """

    keys: tuple[str, ...] = ()
    matches: tuple[tuple[str, str], ...] = ()
    certificate: tuple[str, str] | None = None


class Ref(Record):
    """What a source is asked for. One of `version_stage` and `version_id` is set; with both, that one version must have
    the stage when it is fetched.

    A parameter's `version_stage` is its label, or AWSCURRENT for its latest version (no label begins with `aws`), and
    its `version_id` its number. `query` is what a set of kind `find` or `matching` is made of, and `id` its text.
    `replicas` are asked in this order while the place is away; one with `if_denied` also when the place before it
    denies access.
    """

    id: str
    place: Place
    version_stage: str | None = "AWSCURRENT"
    version_id: str | None = None
    kind: Kind = "secretsmanager"
    query: Query | None = None
    replicas: tuple[Ref, ...] = ()
    if_denied: bool = False

    @property
    def resources(self) -> tuple[str, ...]:
        """What an IAM policy calls it, as `arn` says."""
        match self.kind:
            case "parameter":
                return arn.parameter(self.id, self.place.region)
            case "parameterTags":
                return arn.parameter(self.id, self.place.region)
            case "parameters":
                return arn.beneath(self.id, self.place.region)
            case "matching":
                return arn.beneath(self.query.path if self.query and self.query.path else "/", self.place.region)
            case "find":
                return arn.beginning(self.query.path if self.query and self.query.path else "", self.place.region)
        return arn.resources(self.id, self.place.region)

    def at(self, version_id: str) -> Ref:
        """The same at one version, whatever the stages say."""
        replicas = tuple(replica.at(version_id) for replica in self.replicas)
        return replace(self, version_stage=None, version_id=version_id, replicas=replicas)

    @property
    def places(self) -> tuple[Ref, ...]:
        """Itself and its replicas, in the order in which they are asked."""
        return (self, *self.replicas)


class Secret(Record):
    """One secret of the config: what is observed and fetched. `period` is seconds."""

    name: str
    ref: Ref
    period: float
    optional: bool
    require: Require | None = None


class Projection(Record):
    """How one secret becomes a file or, with `directory`, one file per top-level key of its JSON object.

    `quoting` says for whom `format: dotenv` quotes: a POSIX shell, or the libraries and tools that read .env files
    themselves. `encoding` is what a text is decoded from. `missing` says what becomes of a key that is null or not
    there: an error, no file (or line), or an empty one.
    """

    directory: bool = False
    format: Format = "raw"
    jmes_path: str | None = None
    quoting: Quoting = "sh"
    encoding: Encoding = "none"
    missing: Missing = "error"


class Property(Record):
    """What a path of gjson finds in one secret, which is a file: `property` of the External Secrets Operator (ESO)."""

    path: str


class ByContent(Record):
    """What a secret without `files` becomes: a directory with one file per key if it is a JSON object, otherwise a
    file."""

    missing: Missing = "error"


class Template(Record):
    """A text in Go's template language. Its dot is the one input; with `by_name` an object of the inputs by name."""

    text: str
    by_name: bool
    written: Written


class KeyOf(Record):
    """One key of a secret's JSON object; None: the whole value."""

    secret: str
    key: str | None


class Pem(Record):
    """A certificate with its chain in the order that TLS wants, and its key, if it is given."""

    certificate: KeyOf
    private_key: KeyOf | None = None


class Pkcs12(Record):
    """A keystore made of PEM. `legacy`: with the encryption that Java 8 before 8u301 and old Windows read."""

    certificate: KeyOf
    private_key: KeyOf
    password: KeyOf | None = None
    legacy: bool = False


class ExternalSecretData(Record):
    """How the secrets of an ExternalSecret become the keys of its target.

    `name` is the target's, `labels` and `annotations` are the manifest's own, which count without a template. With
    `empty_too` the templates are rendered even if AWS holds nothing. `partial`: a secret that does not exist is left
    out.
    """

    name: str
    namespace: str
    entries: tuple[DataEntry, ...] = ()
    sources: tuple[Source, ...] = ()
    template: TargetTemplate | None = None
    type: str = "Opaque"
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    immutable: bool = False
    empty_too: bool = False
    partial: bool = False


How = Projection | Property | ByContent | Template | Pem | Pkcs12 | ExternalSecretData


class Output(Record):
    """A file, or a directory of files, and the secrets (by name) that it is made of.

    `path` is relative to the volume and normalised; `mode` is the mode of the file, or of each file. With several
    inputs it is made of all of them or not at all: when one moves, all are fetched.
    """

    path: str
    inputs: tuple[str, ...]
    renderer: How
    mode: int

    @property
    def spec(self) -> list[object]:
        """What distinguishes it from another, in the form in which fingerprints hold it."""
        shared = [list(self.inputs)] if len(self.inputs) > 1 else []
        match self.renderer:
            case Projection(directory, form, jmes_path, quoting, encoding, missing):
                # Defaults stay out: what an earlier agent published must not look edited.
                added: list[object] = [quoting] if quoting != "sh" else []
                added += [{"encoding": encoding}] if encoding != "none" else []
                added += [{"missing": missing}] if missing != "error" else []
                return [self.path, directory, form, jmes_path, self.mode, *added, *shared]
            case Property(path):
                how: list[object] = ["property", path]
            case ByContent(missing):
                how = ["by content", missing]
            case Template(text, by_name):
                how = ["template", text, by_name]
            case Pem(certificate, key):
                how = ["pem", *_key(certificate), *_key(key)]
            case Pkcs12(certificate, key, password, legacy):
                how = ["pkcs12", *_key(certificate), *_key(key), *_key(password), legacy]
            case ExternalSecretData():
                from agent.core.external_secret import spec  # few configs have one

                how = ["external secret", spec(self.renderer)]
        return [self.path, *how, self.mode, *shared]

    def made_of(self, names: Collection[str]) -> bool:
        """Whether it can be made of these secrets alone. One that may be partial is made of what there is."""
        if isinstance(self.renderer, ExternalSecretData) and self.renderer.partial:
            return any(name in names for name in self.inputs)
        return all(name in names for name in self.inputs)

    @property
    def may_be_several(self) -> bool:
        """Whether it may become a directory with several files."""
        return isinstance(self.renderer, ByContent | ExternalSecretData) or (
            isinstance(self.renderer, Projection) and self.renderer.directory
        )


def _key(key: KeyOf | None) -> list[str | None]:
    return [key.secret, key.key] if key else [None, None]


class Wanted(Record):
    """A secret, and the outputs that it is an input of, in the order of the config."""

    secret: Secret
    outputs: tuple[Output, ...]

    @property
    def name(self) -> str:
        """The name of the secret."""
        return self.secret.name

    @property
    def fingerprint(self) -> str:
        """Changes exactly when the same version would have to be fetched or rendered again.

        Endpoint and replicas are left out: another way to reach the same secret publishes nothing new.
        """
        ref, require = self.secret.ref, self.secret.require
        spec: list[object] = [ref.id, ref.place.region, ref.version_stage, ref.version_id]
        spec.append([output.spec for output in self.outputs])
        if require:
            spec.append([require.keys, require.matches, require.certificate])
        # Defaults stay out: what an earlier agent published must not look edited.
        if ref.kind != "secretsmanager":
            query = ref.query and [
                ref.query.name,
                ref.query.path,
                ref.query.tags,
                *(["loose"] if ref.query.loose else []),
            ]
            spec.append({"kind": ref.kind, "query": query})
        if ref.place.roles:
            spec.append({"roles": ref.place.roles})
        import hashlib  # loads 4 MiB of libcrypto, which a process at rest does not need

        return hashlib.sha256(json.dumps(spec).encode()).hexdigest()[:16]


class ProcessName(Record):
    """A process known by its command name."""

    name: str


class PidFile(Record):
    """A process known by the pid in a file."""

    path: str


class Touch(Record):
    """Create the file or move its modification time. `path` is absolute."""

    path: str


class Signal(Record):
    """Send `signal` (a name such as SIGHUP) to one process. `handled`: the user states that the program handles it,
    which cannot be seen from outside where a runtime catches the signal for itself.
    """

    signal: str
    process: ProcessName | PidFile
    handled: bool = False


class Url(Record):
    """POST to `url`; 2xx accepts."""

    url: str


class Target(Record):
    """Who is notified of a change, and how. `secrets` None: of a change of any secret. `splay` is seconds."""

    name: str
    action: Touch | Signal | Url
    secrets: frozenset[str] | None
    splay: float

    def watches(self, secret: str) -> bool:
        """Whether a change of the secret of that name concerns this target."""
        return self.secrets is None or secret in self.secrets


class Listen(Record):
    """The address of the HTTP endpoint; `host` without brackets."""

    host: str
    port: int

    @property
    def shown(self) -> str:
        """The address as a config writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Site(Record):
    """Where an agent can be found: its volume and the address of its endpoint."""

    volume_path: str
    listen: Listen


FLOOR = 3600.0  # seconds


class Timing(Record):
    """When a bundle is looked at. All durations are seconds; `stale_after` 0 switches the check off. `floor` is the
    least time between two own looks at what the hub answers for."""

    period: float
    rotation_period: float
    settle: float
    startup_timeout: float
    stale_after: float
    floor: float = FLOOR


class Bundle(Record):
    """The unit of consistency: what is published as one generation, and who is notified of it."""

    secrets: tuple[Secret, ...]
    outputs: tuple[Output, ...]
    targets: tuple[Target, ...]
    timing: Timing

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Each secret with its outputs."""
        outputs: dict[str, list[Output]] = {secret.name: [] for secret in self.secrets}
        for output in self.outputs:
            for name in output.inputs:
                outputs[name].append(output)
        return tuple(Wanted(secret, tuple(outputs[secret.name])) for secret in self.secrets)

    @property
    def contents(self) -> str:
        """What it holds, as people read it: `2 secrets, 3 files, 1 target`."""
        counts = (len(self.secrets), "secret"), (len(self.outputs), "file"), (len(self.targets), "target")
        return ", ".join(counted(number, noun) for number, noun in counts)


class Hub(Record):
    """The hub that answers for a cluster, and the file with the token that it is shown. `lists`: own looks at the floor
    are made by lists, not at each secret by itself."""

    url: str
    token_path: str
    lists: bool = False


class Settings(Record):
    """What concerns the process. All but the hub is read once, at its start."""

    volume_path: str
    listen: Listen
    exit_with: ProcessName | PidFile | None = None  # the agent ends when this process does
    hub: Hub | None = None

    @property
    def site(self) -> Site:
        """Where the agent can be found."""
        return Site(self.volume_path, self.listen)


class Config(Record):
    """A config that can be acted on."""

    bundle: Bundle
    settings: Settings
    warnings: tuple[str, ...] = ()  # of what is allowed and means something else than its reader may expect


def counted(number: int, noun: str) -> str:
    """A number and a noun: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


JITTER = 0.1  # of a period, either way, so that the pods of a fleet drift apart

FAST_AT_MOST = 3600.0  # seconds of polling at rotationPeriod per rotation


class Now(NamedTuple):
    """One moment on two clocks: `monotonic` measures waits, `wall` (epoch seconds) is compared with AWS's dates. Both
    in seconds."""

    monotonic: float
    wall: float


class Rotation(Record):
    """What DescribeSecret says about coming rotations. Times are epoch seconds, lengths seconds.

    `next_at` is the moment "on or before" which AWS rotates next, so the window *ends* there. `window` is its
    length: RotationRules.Duration, else one hour for schedules in hours, else up to the whole UTC day.
    `pending` is the version id that holds AWSPENDING while it is not the one that holds AWSCURRENT.
    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotationRulesType.html
    """

    next_at: float | None
    window: float | None
    pending: str | None

    @property
    def short_window(self) -> tuple[float, float] | None:
        """The window's start and end, if it is known and short enough to be polled quickly from its start."""
        if self.next_at is None or self.window is None or self.window > FAST_AT_MOST:
            return None
        return self.next_at - self.window, self.next_at

    @property
    def key(self) -> str:
        """What distinguishes this rotation from the next: its date moves when it succeeds."""
        return str(self.next_at if self.next_at is not None else self.pending)


class Refusal(Record):
    """A version that could not be projected under a spec, and why. It is not fetched again until either changes.

    `created_at` is when that version was made (epoch seconds), if that is known. `replica`: it is only this region that
    cannot be followed, since its version is not newer than what is published.
    """

    version_id: str
    fingerprint: str
    failure: Failure
    created_at: float | None = None
    replica: str | None = None


class Observation(Record):
    """What a source says without a value: the version that holds the wanted stage, that version's stages, and rotation.

    `created_at` is when that version was made (epoch seconds), if the source says so: a parameter that was deleted and
    made again has its version numbers again. `replica` is the region that said it in place of the first one.
    """

    version_id: str
    stages: tuple[str, ...]
    rotation: Rotation
    created_at: float | None = None
    replica: str | None = None


class Served(Record):
    """Which place answered for a secret that has replicas: the how many-th, 0 being the first, and its region.

    `instead` is why the first one did not; None: it did.
    """

    turn: int
    region: str
    instead: Failure | None = None


class PublishedSecret(Record):
    """One secret as the record of the published generation describes it.

    `changed` is the generation that last changed it, `changed_at` that generation's time (epoch seconds),
    `visible_since` the moment from which every reader finds it, in seconds since boot; a process that started
    later has it. None: not known, for instance since another boot.
    """

    version_id: str
    stages: tuple[str, ...]
    fingerprint: str
    changed: int
    changed_at: float
    created_at: float | None
    visible_since: float | None
    paths: tuple[str, ...] = ()


class Published(Record):
    """What the volume says is published, read back. `generation` 0: nothing is.

    `accepted` holds per target the highest generation it accepted; with `record_lost` it could not be read and every
    target is pending. `damage` says by path what was found missing, altered or foreign; `damaged` names the secrets
    whose files are among it.
    """

    generation: int = 0
    published_at: float = 0.0
    secrets: Mapping[str, PublishedSecret] = field(default_factory=dict)
    accepted: Mapping[str, int] = field(default_factory=dict)
    record_lost: bool = False
    damage: Mapping[str, str] = field(default_factory=dict)
    damaged: frozenset[str] = frozenset()

    @property
    def paths(self) -> frozenset[str]:
        """Every path that is published, relative to the volume."""
        return frozenset(path for secret in self.secrets.values() for path in secret.paths)

    def stands(self, wanted: Wanted) -> bool:
        """Whether the secret is published as its spec asks, every file of it as it was written."""
        published = self.secrets.get(wanted.name)
        return published is not None and published.fingerprint == wanted.fingerprint and wanted.name not in self.damaged

    def as_asked(self, wanted: Wanted) -> bool:
        """Whether the files of the secret are those that its spec asks for, damage aside.

        Of a secret that follows a stage, any version will do: a pin that has run out leaves its files there, and which
        version is current is a matter of freshness.
        """
        published = self.secrets.get(wanted.name)
        if published is None:
            return False
        if published.fingerprint == wanted.fingerprint:
            return True
        secret = wanted.secret
        held = replace(wanted, secret=replace(secret, ref=secret.ref.at(published.version_id)))
        return secret.ref.version_id is None and published.fingerprint == held.fingerprint

    def complete(self, wanted: Iterable[Wanted]) -> bool:
        """Whether every file of every secret is there as it is asked for, optional secrets aside."""
        return self.generation > 0 and all(
            each.secret.optional or (self.as_asked(each) and each.name not in self.damaged) for each in wanted
        )

    def accepted_by(self, target: Target) -> int:
        """The latest generation that the target accepted. A target that is not known yet starts at the current one."""
        return 0 if self.record_lost else self.accepted.get(target.name, self.generation)


class Pending(Record):
    """A target that has not accepted `generation` yet, the latest that changed a secret it watches.

    `changed_at` is epoch seconds. A process that started later than `visible_since` (seconds since boot) has it.
    """

    target: Target
    generation: int
    changed_at: float
    visible_since: float | None


class Unasked(Record):
    """A due secret that needed no DescribeSecret: its value must be fetched anyway, or it is pinned."""


Answer = Observation | Unasked | Failure


class Entry(Record):
    """One secret of the next generation. `files` None: those that are published are carried over unread.

    `changed`: readers find something else than before. A repair restores what they had, and a version with the same
    content is what they have.
    """

    version_id: str
    stages: tuple[str, ...]
    fingerprint: str
    created_at: float | None
    files: Mapping[str, ProjectedFile] | None
    changed: bool


class Publication(Record):
    """The next generation, whole. `accepted` is the highest generation that each target has accepted; None: this
    one."""

    entries: Mapping[str, Entry]
    accepted: Mapping[str, int | None]

    def paths(self, published: Published) -> frozenset[str]:
        """Every path of it, given what is published when it is made."""
        return frozenset(
            path
            for name, entry in self.entries.items()
            for path in (published.secrets[name].paths if entry.files is None else entry.files)
        )

    def changes_no_file(self, published: Published) -> bool:
        """Whether readers already find exactly this, undamaged, so that only the version ids have to be written."""
        whole = published.generation > 0 and not published.damage
        carried = all(entry.files is None for entry in self.entries.values())
        return whole and carried and self.entries.keys() == published.secrets.keys()


Operation = Literal[
    "DescribeSecret",
    "GetSecretValue",
    "ListSecrets",
    "BatchGetSecretValue",
    "GetParameters",
    "GetParametersByPath",
    "DescribeParameters",
    "ListTagsForResource",
    "AssumeRole",
    "AssumeRoleWithWebIdentity",
    "CreateSecret",
    "PutSecretValue",
    "DeleteSecret",
]

# By kind the source that is asked, and how the calls that observe and fetch are named, in metrics.
CALLS: Mapping[Kind, tuple[str, Operation, Operation]] = {
    "secretsmanager": ("secretsmanager", "DescribeSecret", "GetSecretValue"),
    "parameter": ("ssm", "GetParameters", "GetParameters"),
    "parameters": ("ssm", "GetParametersByPath", "GetParametersByPath"),
    "find": ("secretsmanager", "ListSecrets", "BatchGetSecretValue"),
    "matching": ("ssm", "GetParametersByPath", "GetParametersByPath"),
    "tags": ("secretsmanager", "DescribeSecret", "DescribeSecret"),
    "parameterTags": ("ssm", "ListTagsForResource", "ListTagsForResource"),
}

Outcome = Literal["success", "noop", "error"]

OUTCOMES: tuple[Outcome, ...] = ("success", "noop", "error")

OK = "OK"  # the code of a call that AWS answered well


class Request(Record):
    """What a source is asked for: a secret, and one of its versions; None: whichever holds the wanted stage.

    `known`, for observing alone: whether that version still holds the wanted stage is all that is asked, and what may
    be some minutes old will do as an answer.
    """

    secret: Secret
    version_id: str | None = None
    known: str | None = None


class Call(Record):
    """One call to a source: the source's name, the operation, the code that the call ended with (OK or the source's
    error code), and how many seconds it took."""

    source: str
    operation: Operation
    code: str
    seconds: float


class Answers(Record, Generic[R]):
    """What a source answers to a batch of requests: by secret's name an answer or a failure, and the calls that were
    made, to be counted."""

    results: Mapping[str, R | Failure]
    calls: tuple[Call, ...] = ()


class Delivery(Record):
    """One attempt to notify a target of `generation`; `message` says what was done or why it was refused.

    `seconds` is the time from publish to acceptance, None while refused.
    """

    target: str
    generation: int
    accepted: bool
    message: str
    seconds: float | None = None


class PassResult(Record):
    """What one pass found and did. Times are epoch seconds.

    `published` is what is published after it. `changed` and `dropped` name the secrets that the new generation changed
    or left out, if there is one; `recorded` holds the version of those that moved to one with the same files.
    `succeeded` and `failures` speak of the secrets that were asked about. `waiting`: a first generation is not complete
    yet; `hopeless`: trying again will not complete it, since what it lacks cannot be published as it is. `trouble` is
    why the volume could not be read or written; `unread`: it could not be read, so `published` says nothing.
    `complete`: every file that the config asks for is there, optional secrets aside; `as_asked` names the secrets whose
    files are those that their spec asks for. `interrupted`: a stop was asked for. `pending` holds per pending target
    the generation that it has not accepted, `next_polls` and `next_tries` when secrets are asked about and pending
    targets notified next. `served` says of secrets with replicas which place answered, `list_denied` why no list may
    be asked for, if one was denied.
    """

    started_at: float
    seconds: float
    published: Published
    generation_made: bool = False
    changed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    recorded: Mapping[str, str] = field(default_factory=dict)
    repaired: Mapping[str, str] = field(default_factory=dict)
    observations: Mapping[str, Observation] = field(default_factory=dict)
    succeeded: frozenset[str] = frozenset()
    failures: Mapping[str, Failure] = field(default_factory=dict)
    settling: frozenset[str] = frozenset()
    waiting: bool = False
    hopeless: bool = False
    trouble: str | None = None
    interrupted: bool = False
    deliveries: tuple[Delivery, ...] = ()
    pending: Mapping[str, int] = field(default_factory=dict)
    next_polls: Mapping[str, float] = field(default_factory=dict)
    next_tries: Mapping[str, float] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    served: Mapping[str, Served] = field(default_factory=dict)
    sweep_in: float | None = None  # seconds
    complete: bool = False
    as_asked: frozenset[str] = frozenset()
    unread: bool = False
    list_denied: str | None = None

    @property
    def outcome(self) -> Outcome:
        """A refused delivery is not an error of the pass: it has counters of its own."""
        if self.failures or self.trouble:
            return "error"
        done = self.generation_made or self.repaired or any(delivery.accepted for delivery in self.deliveries)
        return "success" if done else "noop"


class Identity(Record):
    """Which source of credentials boto3's chain found; `warning` if somebody should look at it."""

    source: str
    warning: str | None = None
    expires: float | None = None  # epoch seconds; None: never, or the source does not say
