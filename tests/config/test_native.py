"""From a document to a Config, or every problem at once."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import native
from agent.config.native import VOLUME_PATH, doubts, parse, salvage
from agent.config.reading import seconds
from agent.core.errors import ConfigError
from agent.core.model import (
    Bundle,
    Config,
    Hub,
    Listen,
    Output,
    PidFile,
    Place,
    ProcessName,
    Projection,
    Ref,
    Secret,
    Settings,
    Signal,
    Site,
    Target,
    Timing,
    Touch,
    Url,
    Wanted,
)
from tests.support.configs import BEYOND, STRUCTURAL, VALID, document
from tests.support.length import often
from tests.support.words import output, wanted

VERSION = "01234567-89ab-cdef-0123-456789abcdef"
ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf"


def problems(text: str) -> list[tuple[int, int, str]]:
    with pytest.raises(ConfigError) as refused:
        parse(text, "c.yaml")
    return [(p.line, p.column, p.message) for p in refused.value.problems]


def test_defaults_are_those_of_the_contract() -> None:
    """A minimal config means what docs/reference says."""
    assert parse(document(), "c.yaml") == Config(
        Bundle(
            secrets=(
                Secret(
                    name="db",
                    ref=Ref(ARN, Place("eu-west-1", None), version_stage="AWSCURRENT", version_id=None),
                    period=60.0,
                    optional=False,
                ),
            ),
            outputs=(Output("db", ("db",), Projection(directory=False, format="raw", jmes_path=None), mode=0o440),),
            targets=(),
            timing=Timing(period=60.0, rotation_period=10.0, settle=0.0, startup_timeout=120.0, stale_after=0.0),
        ),
        Settings(volume_path="/freshmount/secrets", listen=Listen("::", 9105)),
    )


def test_everything_can_be_set() -> None:
    """Each key of the contract arrives where it belongs."""
    config = parse(
        """
apiVersion: freshmount.dev/v1
kind: Config
region: us-east-1
endpointUrl: http://127.0.0.1:5000
volume: {path: /x/y/, fileMode: "0444"}
poll: {period: 1h30m, rotationPeriod: 5s, settle: 500ms}
startup: {timeout: 30s}
staleAfter: 4h
listen: "127.0.0.1:0"
secrets:
  - {name: a, secretId: prod/a, versionId: V-ID, period: 2m, optional: true, files: [{directory: d, fileMode: "440"}]}
  - {name: b, secretId: "ARN", versionStage: MINE, files: [{path: e/f, jmesPath: "x.y", format: json}]}
  - {name: c, secretId: c, files: [{path: c.env, format: dotenv, quoting: dotenv}]}
notify:
  - {name: t, touch: /marker, secrets: [a, b], splay: 3s}
  - {name: s, signal: SIGUSR1, process: {name: nginx}}
  - {name: p, signal: SIGHUP, process: {pidFile: /run/p.pid}, handled: true}
  - {name: u, url: "http://[::1]:80/x"}
""".replace("ARN", ARN).replace("V-ID", VERSION),
        "c.yaml",
    )
    bundle, set_to = config.bundle, config.settings
    assert bundle.timing == Timing(5400.0, 5.0, 0.5, startup_timeout=30.0, stale_after=14400.0)
    assert (set_to.volume_path, set_to.listen) == ("/x/y", Listen("127.0.0.1", 0))
    a, b, _ = bundle.secrets
    assert (a.ref, a.period, a.optional) == (
        Ref("prod/a", Place("us-east-1", "http://127.0.0.1:5000"), None, VERSION),
        120.0,
        True,
    )
    assert (b.ref.place.region, b.ref.version_stage) == ("eu-west-1", "MINE")
    assert bundle.outputs == (
        Output("d", ("a",), Projection(directory=True), 0o440),
        Output("e/f", ("b",), Projection(format="json", jmes_path="x.y"), 0o444),
        Output("c.env", ("c",), Projection(format="dotenv", quoting="dotenv"), 0o444),
    )
    assert bundle.targets == (
        Target("t", Touch("/marker"), frozenset({"a", "b"}), 3.0),
        Target("s", Signal("SIGUSR1", ProcessName("nginx")), None, 0.0),
        Target("p", Signal("SIGHUP", PidFile("/run/p.pid"), handled=True), None, 0.0),
        Target("u", Url("http://[::1]:80/x"), None, 0.0),
    )


def test_a_hub_comes_from_the_config_or_from_the_environment() -> None:
    """What the config says takes precedence. A URL that cannot be one is refused, and shown without credentials."""
    at = "http://freshmount.freshmount:9106"
    alone = parse(document(), "c.yaml")
    own = parse(document(top="hub: {url: 'http://own', tokenPath: /t}\npoll: {floor: 2h}"), "c.yaml")
    assert alone.settings.hub is None and alone.bundle.timing.floor == 3600
    assert own.settings.hub == Hub("http://own", "/t") and own.bundle.timing.floor == 7200
    assert native.with_hub(alone, None, "c.yaml") == native.with_hub(alone, "", "c.yaml") == alone
    assert native.with_hub(own, at, "c.yaml") == own
    made = native.with_hub(alone, at, "c.yaml").settings.hub
    assert made == Hub(at, "/var/run/secrets/freshmount/hub/token")
    assert native.with_hub(alone, at, "c.yaml", "list").settings.hub == Hub(at, made.token_path, lists=True)
    assert native.with_hub(own, at, "c.yaml", "list") == own and not own.settings.hub.lists
    listing = parse(document(top="hub: {url: 'http://own', ownLooks: list}"), "c.yaml").settings.hub
    assert listing and listing.lists
    with pytest.raises(ConfigError, match="FRESHMOUNT_HUB_OWN_LOOKS is 'none', not one of describe, list"):
        native.with_hub(alone, at, "c.yaml", "none")
    with pytest.raises(ConfigError, match="FRESHMOUNT_HUB_URL") as raised:
        native.with_hub(alone, "http://me:password@hub", "c.yaml")
    assert "password" not in str(raised.value)


def test_the_rotation_period_is_never_longer_than_the_period() -> None:
    """Unset, it is the smaller of ten seconds and the period."""
    assert parse(document(top="poll: {period: 3s}"), "c.yaml").bundle.timing.rotation_period == 3.0


def test_every_problem_comes_in_one_run_with_its_place() -> None:
    """A person mends a config once, not once per mistake."""
    text = """\
apiVersion: freshmount.dev/v2
kind: Config
colour: blue
volume: {path: secrets, fileMode: 0440}
poll: {period: 60, rotationPeriod: 2h}
secrets:
  - name: db
    secretID: prod/db
    files: []
  - name: db
    secretId: arn:aws:s3:::bucket
    versionId: 01234567-89ab-cdef-0123-456789abcdef
    versionStage: b
    files:
      - {path: ../x}
      - {path: a, jmesPath: "x["}
      - {path: a/b, format: dotnev}
notify:
  - name: web
    signal: HUP
    process: {}
    secrets: [dbx]
"""
    expected = [
        (1, 13, "'freshmount.dev/v1'"),
        (3, 1, "key 'colour' is not known"),
        (4, 16, "absolute path"),
        (4, 35, 'write "0440"'),
        (5, 16, 'write "60s"'),
        (5, 36, "rotationPeriod"),
        (7, 5, "key 'secretId' is missing"),
        (8, 5, "did you mean 'secretId'?"),
        (9, 12, "files is empty"),
        (10, 11, "line 7"),
        (11, 15, "not the ARN of a secret"),
        (13, 5, "versionStage"),
        (15, 16, "volume"),
        (16, 29, "not a JMESPath expression"),
        (17, 16, "file 'a' of line 16"),
        (17, 29, "did you mean 'dotenv'?"),
        (20, 13, "did you mean 'SIGHUP'?"),
        (21, 14, "exactly one of name and pidFile"),
        (22, 15, "did you mean 'db'?"),
    ]
    found = problems(text)
    assert [place[:2] for place in expected] == [place[:2] for place in found]
    for (*_, part), (*_, message) in zip(expected, found, strict=True):
        assert part in message


def test_the_error_reads_as_compilers_do() -> None:
    """Editors and people find `file:line:column:`."""
    with pytest.raises(ConfigError, match=r"^c\.yaml:1:1: is empty"):
        parse("", "c.yaml")


@pytest.mark.parametrize("text", VALID.values(), ids=VALID.keys())
def test_valid_configs_parse(text: str) -> None:
    """What the contract allows is accepted."""
    assert parse(text, "c.yaml").bundle.secrets


@pytest.mark.parametrize("text", [*STRUCTURAL.values(), *BEYOND.values()], ids=[*STRUCTURAL, *BEYOND])
def test_invalid_configs_are_refused(text: str) -> None:
    """What the contract forbids is refused, with one problem that has a place."""
    assert all(line >= 1 and column >= 1 and message for line, column, message in problems(text))


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        (document(top="listen: ':99999'"), "65535"),
        (document(top="listen: ':123456'"), "65535"),
        (document(top="listen: localhost"), "localhost:9105"),
        (document(top="listen: 'localhost:'"), "localhost:9105"),
        (document(top="listen: '9105'"), '":9105"'),
        (document(top="listen: '::1:9105'"), "brackets"),
        (document(top="listen: '::1'"), "brackets"),
        (document(top="listen: 'localhost:http'"), "'http'"),
        (document(top="listen: 'local host:80'"), "host"),
        (document(top="endpointUrl: 127.0.0.1:5555"), "'127.0.0.1:5555'"),
        (document(top="endpointUrl: secretsmanager.eu-west-1.amazonaws.com"), "http://"),
        (document(top="endpointUrl: 'http://host:99999'"), "port"),
        (document(top="endpointUrl: 'http://'"), "host"),
        (document(top="endpointUrl: 'ftp://host'"), "'ftp'"),
        (document(secret="name: a, secretId: b, versionId: v3"), "32 to 64"),
        (document(top="poll: {period: 4s}\nstaleAfter: 1s"), "8s800ms"),
        (document(top="volume: {path: /etc}"), "'/etc'"),
        (document(top="hub: {url: 'https://hub:9106'}"), "http,"),
        (document(top="hub: {url: 'http://hub:9106?a=b'}"), "no query"),
        (document(top="hub: {url: 'http://hub:9106', ownLooks: lists}"), "describe, list"),
        (document(top="poll: {period: 2h, floor: 1h}"), "floor"),
        ("apiVersion: v1\nkind: ConfigMap\ndata:\n  config.yaml: |\n    kind: Config\n", "ConfigMap"),
        ("apiVersion: v1\nkind: Secret\nstringData:\n  config.yaml: |\n    kind: Config\n", "Secret"),
        ('"apiVersion: freshmount.dev/v1\\nkind: Config\\n"', "quotes"),
        ("", "config/minimal.yaml"),
        (document(top="region: {{ .Values.region }}"), "template"),
    ],
)
def test_a_problem_says_what_is_wrong(text: str, noun: str) -> None:
    """One problem for one slip, with the value or the word that mends it."""
    ((_, _, message),) = problems(text)
    assert noun in message


def test_what_is_said_to_be_enough_is_enough() -> None:
    """The least staleAfter of a sentence is accepted, and a millisecond less is not."""
    for period in ("100ms", "123ms", "0.7s", "1h1m1s", "59.999s"):
        top = f"poll: {{period: {period}, rotationPeriod: 100ms}}\nstaleAfter: "
        ((_, _, message),) = problems(document(top=top + "1ms"))
        least = re.findall(r"at least (\w+)", message)[0]
        assert parse(document(top=top + least), "c").bundle.timing.stale_after == seconds(least)
        assert problems(document(top=f"{top}{(seconds(least) or 0) - 0.001:.3f}s"))


@pytest.mark.parametrize("path", ["/dev/shm/app", "/etc/app/tls", "/var/run/secrets/app", "/usr/share/app/x", "/mnt"])
def test_a_directory_of_its_own_may_lie_below_one_of_the_system(path: str) -> None:
    """Where an app wants its volume mounted."""
    assert parse(document(top=f"volume: {{path: {path}}}"), "c").settings.volume_path == path


def test_doubts_name_an_arn_that_may_be_a_part() -> None:
    """And nothing else."""
    assert doubts(parse(document(), "c")) == []
    (doubt,) = doubts(parse(document(secret=f"name: db, secretId: '{ARN[:-7]}-master'"), "c"))
    assert doubt.startswith("db: ") and f"{ARN[:-7]}-master " in doubt


def test_credentials_in_a_url_are_refused_without_showing_them() -> None:
    """A config is no place for a password, and an error neither."""
    for url in (
        "http://u:hunter2@x/",
        "u:hunter2@x",
        "ftp://u:hunter2@x",
        "http:/u:hunter2@x",
        "http://x y/?t=hunter2",
    ):
        assert "hunter2" not in str(problems(document(top=f"notify: [{{name: a, url: '{url}'}}]")))


@pytest.mark.parametrize(
    ("changed", "moves"),
    [
        (wanted(secret_id="x"), True),
        (wanted(version_stage="x"), True),
        (wanted(version_stage=None, version_id=VERSION), True),
        (wanted(outputs=()), True),
        (wanted(outputs=(output("db", "db", "other"),)), True),
        (wanted(place=Place("eu-west-1", "http://other")), False),
        (wanted(place=Place("eu-west-2", None)), True),
        (wanted(period=1.0), False),
        (wanted(optional=True), False),
    ],
)
def test_the_fingerprint_moves_when_the_files_may_differ(changed: Wanted, moves: bool) -> None:
    """A secret is fetched anew exactly when its spec would give other files."""
    assert (changed.fingerprint != wanted().fingerprint) is moves


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("db-password", "'\"db-password\"'"),
        ("1st", "'\"1st\"'"),
        ("prod.db-user", "'prod.\"db-user\"'"),
        ("a/b", "'\"a/b\"'"),
        ("a.[", None),
        ("f(", None),
    ],
)
def test_a_key_that_jmespath_wants_in_quotes_is_told_as_yaml_has_it(expression: str, written: str | None) -> None:
    """Where it is a path of keys; it can be copied into the config."""
    with pytest.raises(ConfigError) as refused:
        parse(document(files=f"{{path: a, jmesPath: '{expression}'}}"), "c.yaml")
    (problem,) = refused.value.problems
    assert repr(expression) in problem.message and ("write jmesPath" in problem.message) == (written is not None)
    if written:
        assert problem.message.endswith(written)
        parse(document(files=f"{{path: a, jmesPath: {written}}}"), "c.yaml")


def test_the_fingerprint_of_default_quoting_is_that_of_none() -> None:
    """A volume that an agent without the key filled is not fetched anew, and the other dialect is."""

    def fingerprint(quoting: str) -> str:
        text = document(files="{path: a, format: dotenv" + quoting + "}")
        return parse(text, "c.yaml").bundle.wanted[0].fingerprint

    assert fingerprint("") == fingerprint(", quoting: sh") == "f234b63731925209"
    assert fingerprint(", quoting: dotenv") != "f234b63731925209"


_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4),
    max_leaves=12,
)
_KNOWN = st.dictionaries(
    st.sampled_from(["apiVersion", "kind", "volume", "poll", "secrets", "notify", "listen", "staleAfter", "region"]),
    _TREES | st.just([{"name": "a", "secretId": "b", "files": [{"path": "c"}]}]),
)


@settings(max_examples=often(50), deadline=None)
@given(st.text(max_size=200) | _TREES.map(yaml.safe_dump) | _KNOWN.map(yaml.safe_dump))
def test_any_text_parses_or_is_refused_with_places(text: str) -> None:
    """Never another exception, and every problem has a place."""
    try:
        assert parse(text, "c.yaml").bundle.secrets
    except ConfigError as refused:
        assert refused.problems
        assert all(p.line >= 1 and p.column >= 1 for p in refused.problems)


# -- a text that is refused ----------------------------------------------------------------------------------------

KNOWN = Site("/run/secrets", Listen("127.0.0.1", 9200))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("volume: {path: /run/secrets, bogus: 1}\nlisten: 127.0.0.1:9200\nbogus: 1\n", KNOWN),
        ("kind: [\nvolume:\n  # where\n  path: /run/secrets\n  fileMode: 7\nlisten: '127.0.0.1:9200'  # us\n", KNOWN),
        ("volume: {path: /run/secrets}\nsecrets:\n\t- x\nlisten: 127.0.0.1:9200\n", KNOWN),
        ("listen: 127.0.0.1:9200\nvolume: {path: /run/secrets}\n---\nkind: Other\n", KNOWN),
        ("volume: {path: ../run}\nlisten: everywhere\n", Site(VOLUME_PATH, Listen("::", 9105))),
        ("volume: [\nlisten: 127.0.0.1:9200\n", Site(VOLUME_PATH, Listen("127.0.0.1", 9200))),
        ("volume: 7\nlisten: {}\n", Site(VOLUME_PATH, Listen("::", 9105))),
        ("", Site(VOLUME_PATH, Listen("::", 9105))),
        ("\0", Site(VOLUME_PATH, Listen("::", 9105))),
    ],
)
def test_where_the_agent_is_can_be_had_of_a_refused_text(text: str, found: Site) -> None:
    """What is broken elsewhere hides it not, broken YAML neither; what is broken itself is the default."""
    with pytest.raises(ConfigError):
        parse(text, "c.yaml")
    assert salvage(text) == found


@pytest.mark.parametrize("text", VALID.values(), ids=VALID.keys())
def test_of_a_good_text_the_same_is_had(text: str) -> None:
    """By both ways of reading."""
    assert salvage(text) == salvage(text + "\nbroken: [") == parse(text, "c.yaml").settings.site
