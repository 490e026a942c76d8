"""Whatever a person or AWS hands over: configs, values, expressions. Hypothesis makes them up."""

from __future__ import annotations

import io
import json
import subprocess
from typing import Any

import dotenv
import jsonschema
import yaml
from hypothesis import strategies as st

from agent.config.native import parse
from agent.core.errors import ConfigError, ProjectionError
from agent.core.model import (
    FLOOR,
    ByContent,
    Config,
    KeyOf,
    Output,
    Pem,
    PidFile,
    Pkcs12,
    ProcessName,
    Projection,
    Property,
    Ref,
    Require,
    Signal,
    Target,
    Template,
    Touch,
    Wanted,
)
from agent.core.value import SecretValue
from agent.observe import log
from tests.config.test_schema import SCHEMA
from tests.render.test_files import java_properties
from tests.support.configs import BEYOND, STRUCTURAL, VALID, document
from tests.support.words import files_of, output
from tests.torture.canary import CANARY, leaks
from tests.torture.conftest import Length, Report
from tests.torture.fuzzing import fuzz

# -- configs

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["0400", "60", "1h", "SIGHUP", "../x", "a/../b", "[::]:1", "arn:aws:secretsmanager:x", "~", "NO"])
)
_TREES = st.recursive(
    _SCALARS, lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(max_size=12), c, max_size=4), max_leaves=15
)
_ODD_YAML = st.sampled_from(
    [
        "&a [*a]",
        "a: &a [1]\nb: *a",
        "<<: {a: 1}",
        "!!python/object:os.system x",
        "a: !!binary aGk=",
        "? [a]\n: b",
        "--- a\n--- b",
        "\t",
        "a: |\n  x\n ",
        "%YAML 1.1\n---\n{}",
        "{a: 1, a: 2}",
        "\x00",
        "'",
        "[" * 2000,
        "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9) if n else 'x'}]" for n in range(30)),
    ]
)


@st.composite
def _mutated(draw: Any) -> str:
    """A valid config with something in it removed, doubled, renamed or replaced."""
    tree = yaml.safe_load(draw(st.sampled_from(sorted((VALID | BEYOND).values()))))
    for _ in range(draw(st.integers(1, 3))):
        node: Any = tree
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], (dict, list)) and node[key] and draw(st.booleans()):
                node = node[key]
                continue
            match draw(st.sampled_from(["remove", "replace", "rename", "double"])):
                case "remove":
                    del node[key]
                case "rename" if isinstance(node, dict):
                    node[f"{key}{draw(st.sampled_from(['s', 'x', '']))}"] = node.pop(key)
                case "double" if isinstance(node, list):
                    node.append(node[key])
                case _:
                    node[key] = draw(_TREES)
            break
    return yaml.safe_dump(tree, allow_unicode=draw(st.booleans()))


_FORMATS = st.sampled_from(["raw", "json", "dotenv", "properties"])
_DURATIONS = st.sampled_from(["100ms", "1s", "1.5s", "90s", "2m", "1h30m", "24h"])
_PATH = st.just("a.b")
_MODES = st.sampled_from(["0400", "0440", "0644", "400"])
_PARTS = st.text(st.sampled_from("abZ9._-é "), min_size=1, max_size=6).filter(lambda p: not p.startswith("."))


@st.composite
def _valid(draw: Any) -> str:
    """A config that should be good: every key drawn from what it may be."""

    def some(**keys: Any) -> dict[str, Any]:
        return {key: draw(strategy) for key, strategy in keys.items() if draw(st.booleans())}

    names = [f"s{number}" for number in range(draw(st.integers(1, 4)))]
    secrets = []
    for name in names:
        arn = f"arn:aws:secretsmanager:eu-west-1:111122223333:secret:{name}-AbCdEf"
        version = draw(st.sampled_from([{}, {"versionStage": "AWSPREVIOUS"}, {"versionId": "v-1" * 11}]))
        files = [
            {
                "path": f"{name}/{number}/{draw(_PARTS)}",
                **some(format=_FORMATS, fileMode=_MODES, jmesPath=st.just("a.b")),
            }
            for number in range(draw(st.integers(0, 3)))
        ]
        files += [{"directory": f"{name}-d", **some(fileMode=_MODES)}] if draw(st.booleans()) or not files else []
        secret_id = draw(st.sampled_from([arn, arn[:-7], f"prod/{name}"]))
        secrets.append(
            {"name": name, "secretId": secret_id, "files": files, **version,
             **some(period=_DURATIONS, optional=st.booleans())}
        )  # fmt: skip
    actions = [
        {"touch": "/freshmount/marker"},
        {"url": "http://127.0.0.1:1/x?y=z"},
        {"signal": "SIGUSR2", "process": {"pidFile": "/run/app.pid"}},
        {"signal": "SIGHUP", "process": {"name": "nginx"}, "handled": True},
    ]
    notify = [
        {"name": f"t{number}", **draw(st.sampled_from(actions)), **some(splay=_DURATIONS, secrets=st.just(names[:1]))}
        for number in range(draw(st.integers(0, 3)))
    ]
    tree = {
        "apiVersion": "freshmount.dev/v1",
        "kind": "Config",
        "secrets": secrets,
        **({"notify": notify} if notify else {}),
        **some(
            region=st.just("us-east-1"), endpointUrl=st.just("https://vpce.example:8443"), staleAfter=_DURATIONS,
            listen=st.sampled_from(["[::]:0", "127.0.0.1:9105", ":1"]), startup=st.just({"timeout": "30s"}),
            volume=st.sampled_from([{"path": "/x/y"}, {"fileMode": "0400"}]),
            poll=st.sampled_from([{"period": "30s"}, {"period": "5s", "rotationPeriod": "1s"}, {"settle": "2s"}]),
        ),
    }  # fmt: skip
    return yaml.safe_dump(tree, allow_unicode=True)


_SOURCES = st.sampled_from(
    [
        "{name: a, parameters: /, files: [{path: d}]}",
        "{name: a, parameter: /prod/a, parameterLabel: live, files: [{path: d}]}",
        "{name: a, parameter: /prod/a, parameterVersion: 3, files: [{path: d}]}",
        "{name: a, find: {name: '^a', path: prod/, tags: {team: b}}, files: [{path: d}]}",
        "{name: a, secretId: b, roleArn: ['arn:aws:iam::111122223333:role/a'], externalId: me, files: [{path: d}]}",
    ]
).map(lambda entry: f"apiVersion: freshmount.dev/v1\nkind: Config\nsecrets:\n- {entry}\n")


_CONFIGS = (
    _valid()
    | _SOURCES
    | st.text(max_size=300)
    | _TREES.map(yaml.safe_dump)
    | _mutated()
    | _ODD_YAML
    | st.sampled_from(sorted((VALID | BEYOND | STRUCTURAL).values()))
)


def _written(config: Config) -> str:
    """The config as YAML again. A region of its own is written where an ARN does not say it."""
    bundle, timing, settings = config.bundle, config.bundle.timing, config.settings
    regions = {s.ref.place.region for s in bundle.secrets if not s.ref.id.startswith("arn:")}
    endpoints = {s.ref.place.endpoint_url for s in bundle.secrets}
    tree: dict[str, Any] = {
        "apiVersion": "freshmount.dev/v1",
        "kind": "Config",
        "volume": {"path": settings.volume_path},
        "poll": {
            "period": _duration(timing.period),
            "rotationPeriod": _duration(timing.rotation_period),
            "settle": _duration(timing.settle),
            **({"floor": _duration(timing.floor)} if timing.floor != FLOOR else {}),
        },
        "startup": {"timeout": _duration(timing.startup_timeout)},
        "staleAfter": _duration(timing.stale_after),
        "listen": settings.listen.shown,
        "secrets": [_secret(wanted) for wanted in bundle.wanted],
    }
    (endpoint,) = endpoints
    (region,) = regions or {None}
    shared = [_file(each) for each in bundle.outputs if _shared(each)]
    tree |= {"files": shared} if shared else {}
    tree |= {"endpointUrl": endpoint} if endpoint else {}
    tree |= {"region": region} if region else {}
    if hub := settings.hub:
        tree["hub"] = {"url": hub.url, "tokenPath": hub.token_path, **({"ownLooks": "list"} if hub.lists else {})}
    tree |= {"notify": [_target(target) for target in bundle.targets]} if bundle.targets else {}
    tree |= {"exitWith": {"process": _process(settings.exit_with)}} if settings.exit_with else {}
    return yaml.safe_dump(tree)


def _duration(seconds: float) -> str:
    millis = round(seconds * 1000)
    return f"{millis // 1000}s{millis % 1000}ms"


def _secret(wanted: Wanted) -> dict[str, Any]:
    secret, ref = wanted.secret, wanted.secret.ref
    return {
        "name": secret.name,
        **_source(ref),
        "period": _duration(secret.period),
        "optional": secret.optional,
        **_files(wanted.outputs),
        **({"require": _require(secret.require)} if secret.require else {}),
    }


def _source(ref: Ref) -> dict[str, Any]:
    key = {"secretsmanager": "secretId"}.get(ref.kind, ref.kind)
    return {
        key: _query(ref) if ref.kind == "find" else ref.id,
        **_version(ref),
        **_roles(ref),
        **({"failover": [_replica(key, each, ref) for each in ref.replicas]} if ref.replicas else {}),
    }


def _version(ref: Ref) -> dict[str, Any]:
    version, stage = {
        "parameter": ("parameterVersion", "parameterLabel"),
        "secretsmanager": ("versionId", "versionStage"),
    }.get(ref.kind, ("", ""))
    if ref.version_id:
        return {version: ref.version_id}
    return {stage: ref.version_stage} if stage and ref.version_stage != "AWSCURRENT" else {}


def _roles(ref: Ref) -> dict[str, Any]:
    external_id = {"externalId": ref.place.external_id} if ref.place.external_id else {}
    tags = {"sessionTags": dict(ref.place.tags)} if ref.place.tags else {}
    return {"roleArn": list(ref.place.roles), **external_id, **tags} if ref.place.roles else {}


def _query(ref: Ref) -> dict[str, Any]:
    assert ref.query
    asked = {"name": ref.query.name, "path": ref.query.path, "tags": dict(ref.query.tags) or None}
    return {key: value for key, value in asked.items() if value is not None}


def _replica(key: str, replica: Ref, ref: Ref) -> dict[str, Any]:
    own = {} if key == "find" else {key: replica.id}
    stage = _version(replica) if not ref.version_id and replica.version_stage != ref.version_stage else {}
    roles = _roles(replica) if _roles(replica) != _roles(ref) else {}
    url = {"endpointUrl": replica.place.endpoint_url} if replica.place.endpoint_url else {}
    return {"region": replica.place.region, "ifDenied": replica.if_denied, **own, **stage, **roles, **url}


def _require(require: Require) -> dict[str, Any]:
    pair, matches = require.certificate, [{"key": key, "pattern": pattern} for key, pattern in require.matches]
    return {
        **({"keys": list(require.keys)} if require.keys else {}),
        **({"match": matches} if matches else {}),
        **({"certificate": {"certificate": pair[0], "privateKey": pair[1]}} if pair else {}),
    }


def _process(process: ProcessName | PidFile) -> dict[str, str]:
    return {"name": process.name} if isinstance(process, ProcessName) else {"pidFile": process.path}


def _files(outputs: tuple[Output, ...]) -> dict[str, Any]:
    """The files of a secret's own; and, where it has none, what says so."""
    own = [_file(each) for each in outputs if not _shared(each) and not isinstance(each.renderer, ByContent)]
    missing = [each.renderer.missing for each in outputs if isinstance(each.renderer, ByContent)]
    return {"missing": missing[0]} if missing else {"files": own} if own else {}


def _shared(made: Output) -> bool:
    how = made.renderer
    return isinstance(how, (Pem, Pkcs12)) or (isinstance(how, Template) and how.by_name)


def _file(made: Output) -> dict[str, Any]:
    mode = {"fileMode": f"{made.mode:04o}"}
    match made.renderer:
        case Projection(directory, form, jmes_path, quoting, encoding, missing):
            kind: dict[str, Any] = {"directory": made.path} if directory else {"path": made.path, "format": form}
            kind |= {"quoting": quoting} if form == "dotenv" else {}
            kind |= {"encoding": encoding} if form == "raw" else {}
            return {**kind, **mode, "missing": missing, **({"jmesPath": jmes_path} if jmes_path else {})}
        case Property(property_path):
            return {"path": made.path, "property": property_path, **mode}
        case Template(text, by_name):
            listed = {"secrets": list(made.inputs)} if by_name else {}
            return {"path": made.path, "template": text, **mode, **listed}
        case Pem(certificate, key):
            return {"path": made.path, "pem": _keys(certificate=certificate, privateKey=key), **mode}
        case Pkcs12(certificate, key, password, legacy):
            keys = _keys(certificate=certificate, privateKey=key, password=password)
            return {"path": made.path, "pkcs12": {**keys, "legacy": legacy}, **mode}
        case other:
            raise AssertionError(other)


def _keys(**keys: KeyOf | None) -> dict[str, Any]:
    return {
        name: {"secret": of.secret, **({"key": of.key} if of.key is not None else {})}
        for name, of in keys.items()
        if of
    }


def _target(target: Target) -> dict[str, Any]:
    match target.action:
        case Touch(path):
            action: dict[str, Any] = {"touch": path}
        case Signal(signal, process, handled):
            action = {"signal": signal, "process": _process(process), "handled": handled}
        case other:
            action = {"url": other.url}  # type: ignore[union-attr]
    watched = {"secrets": sorted(target.secrets)} if target.secrets is not None else {}
    return {"name": target.name, "splay": _duration(target.splay), **action, **watched}


_BOOLEANS = {"optional", "handled", "ifDenied", "legacy"}


def _as_written(text: str) -> Any:
    """The document with every scalar as it is written, as the parser reads it; only booleans are of their own type. An
    editor goes by YAML's own types, and so underlines a name such as NO that is not in quotes."""

    def typed(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: value == "true" if key in _BOOLEANS else typed(value) for key, value in tree.items()}
        return [typed(each) for each in tree] if isinstance(tree, list) else tree

    return typed(yaml.load(text, Loader=yaml.BaseLoader))


def test_configs(length: Length, report: Report) -> None:
    """Any text is a config that can be written and read again and that the schema accepts, or is refused with a place
    in it for each problem; nothing else is raised."""
    good = 0

    def check(text: str) -> None:
        nonlocal good
        try:
            config = parse(text, "c")
        except ConfigError as refused:
            lines = text.split("\n")
            assert refused.problems
            for problem in refused.problems:
                assert 1 <= problem.line <= len(lines) + 1 and problem.column >= 1 and "\n" not in problem.message
            return
        good += 1
        assert parse(_written(config), "again") == config
        assert jsonschema.Draft7Validator(SCHEMA).is_valid(_as_written(text))

    tried = fuzz(length, 6_000, 40, check, _CONFIGS)
    assert good
    report.row("any text is a config that round-trips or is refused with places", f"{tried:,} texts, {good:,} good", [])


# -- values and files

_CHARACTERS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(CANARY),
    lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(max_size=8), c, max_size=5),
    max_leaves=15,
)
_VALUES = (
    _JSON.map(lambda tree: json.dumps(tree).encode())
    | _JSON.map(lambda tree: json.dumps(tree).encode()[:-1])
    | st.binary(max_size=60).map(lambda raw: CANARY.encode() + raw)
    | st.just(b"[" * 30_000)
    | st.integers(4290, 4310).map(lambda digits: f'{{"a": {"7" * digits}, "b": 1e400, "c": 1.10}}'.encode())
)
_WORDS = st.sampled_from(
    ["a", "b", '"a b"', "*", "[]", "[0]", "[*]", "@", "`null`", "`1`", "'raw'", "{x: a}", "[a, b]"]
)
_FUNCTIONS = st.sampled_from(
    [
        "sum",
        "length",
        "to_string",
        "keys",
        "values",
        "join",
        "sort",
        "max",
        "merge",
        "not_null",
        "reverse",
        "type",
        "map",
    ]
)
_EXPRESSIONS = st.recursive(
    _WORDS,
    lambda c: st.one_of(
        st.tuples(c, c).map(lambda p: f"{p[0]}.{p[1]}"),
        st.tuples(c, c).map(lambda p: f"{p[0]} | {p[1]}"),
        st.tuples(c, c).map(lambda p: f"{p[0]} || {p[1]}"),
        st.tuples(c, c).map(lambda p: f"[?{p[0]} == {p[1]}]"),
        st.tuples(_FUNCTIONS, c).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(c, c).map(lambda p: f"[{p[0]}, {p[1]}]"),
    ),
    max_leaves=8,
) | st.text(max_size=15)


def test_values(length: Length, report: Report) -> None:
    """Any value under any spec gives every file that was asked for, or one error that carries nothing of the value."""
    whole = 0

    def check(value: bytes, form: Any, quoting: Any, directory: bool, expression: str | None, text: bool) -> None:
        nonlocal whole
        first = output("first")
        second = output("second", format=form, quoting=quoting, directory=directory, jmes_path=expression)
        try:
            files = files_of(SecretValue(value, text=text), first, second)
        except ProjectionError as error:
            chain: BaseException | None = error
            while chain is not None:
                said = f"{chain} {chain!r} {vars(chain)} {log.describe(error)}"
                # An expression or a key may be part of an error; the test's do not hold the canary.
                assert leaks(said) == [], said
                chain = chain.__cause__ or chain.__context__
            return
        whole += 1
        assert "first" in files and any(path.split("/")[0] == "second" for path in files)
        assert all(0 < len(file.content) <= 8 << 20 for file in files.values())

    valid = _EXPRESSIONS.filter(_compiles)
    quotings = st.sampled_from(["sh", "dotenv"])
    tried = fuzz(
        length, 30_000, 200, check, _VALUES, _FORMATS, quotings, st.booleans(), st.none() | valid, st.booleans()
    )
    assert whole
    report.row(
        "any value under any spec and expression: all its files, or an error without the value",
        f"{tried:,} projections, {whole:,} whole",
        [],
    )


def _compiles(expression: str) -> bool:
    """Whether a config accepts the expression."""
    text = document(files=f"{{path: c, jmesPath: {json.dumps(expression)}}}")
    try:
        parse(text, "c")
    except ConfigError:
        return False
    return True


_NAMES = st.from_regex(r"FM_[A-Za-z0-9_]{0,8}", fullmatch=True)
_SHELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
_ONE_LINE = st.text(
    st.just(" ") | st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="#$\ufeff"), max_size=40
).filter(lambda text: text.strip(" ") == text and text[:1] not in ("'", '"', "`"))


def _projected(tree: dict[str, str], form: Any, **fields: Any) -> bytes:
    spec = output("x", format=form, **fields)
    (file,) = files_of(SecretValue(json.dumps(tree).encode(), text=True), spec).values()
    return file.content.reveal()


def test_what_a_shell_reads_back(length: Length, report: Report) -> None:
    """The exact bytes; many values in one sh, which is what takes the time."""
    values = 0

    def check(trees: list[dict[str, str]]) -> None:
        nonlocal values
        script, expected = b"", []
        for tree in trees:
            script += _projected(tree, "dotenv")
            script += b"".join(f"printf '%s\\0' \"${name}\"\n".encode() for name in tree)
            expected += list(tree.values())
        said = subprocess.run(["sh", "-s"], input=script, capture_output=True, check=True).stdout
        assert said.decode().split("\0")[:-1] == expected
        values += len(expected)

    trees = st.dictionaries(_NAMES, _SHELL, min_size=1, max_size=5)
    fuzz(length, 1000, 10, check, st.lists(trees, min_size=1, max_size=30))
    report.row("dotenv for a shell is read back by sh to the same bytes", f"{values:,} values", [])


def test_what_libraries_read_back(length: Length, report: Report) -> None:
    """python-dotenv in the dialect for it, properties as java.util.Properties documents them, JSON with the numbers
    kept."""

    def check(lines: dict[str, str], any_: dict[str, str], number: str) -> None:
        text = _projected(lines, "dotenv", quoting="dotenv").decode()
        assert dict(dotenv.dotenv_values(stream=io.StringIO(text))) == lines
        assert java_properties(_projected(any_, "properties")) == any_
        assert json.loads(_projected(any_, "json")) == any_
        value = SecretValue(f'{{"n":{number}}}'.encode(), text=True)
        (file,) = files_of(value, output("x", format="json")).values()
        assert file.content.reveal() == value.reveal()

    numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
    lines = st.dictionaries(_NAMES, _ONE_LINE, min_size=1, max_size=5)
    any_ = st.dictionaries(_CHARACTERS, _CHARACTERS, min_size=1, max_size=5)
    tried = fuzz(length, 5_000, 100, check, lines, any_, numbers)
    report.row(
        "dotenv for libraries is read back by python-dotenv, properties and JSON by others, as they were",
        f"{tried:,} values each",
        [],
    )
