"""SecretProviderClasses of AWS's provider as configs: what they mean, what is refused, and where."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.native import parse
from agent.core.errors import ConfigError
from agent.core.model import Config, Output, Place, Projection, Ref
from tests.support.length import often
from tests.support.tables import table

HEAD = """\
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: orchard}
spec:
  provider: aws
  parameters:
"""
ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:orchard/press-Ab12Cd"
VERSION = "01234567-89ab-cdef-0123-456789abcdef"


def provider_class(objects: str, parameters: str = "") -> str:
    written = textwrap.indent(textwrap.dedent(parameters), "    ")
    listed = textwrap.indent(textwrap.dedent(objects).strip("\n"), "      ")
    return f"{HEAD}{written}    objects: |\n{listed}\n"


def read(objects: str, parameters: str = "", region: str | None = "eu-west-1") -> Config:
    return parse(provider_class(objects, parameters), "m.yaml", region)


def problems(text: str, region: str | None = "eu-west-1") -> list[tuple[int, int, str]]:
    with pytest.raises(ConfigError) as refused:
        parse(text, "m.yaml", region)
    return [(each.line, each.column, each.message) for each in refused.value.problems]


def refused(objects: str, parameters: str = "") -> str:
    found = problems(provider_class(objects, parameters))
    assert found
    return "\n".join(message for _, _, message in found)


def files(config: Config) -> dict[str, int]:
    return {output.path: output.mode for output in config.bundle.outputs}


def test_an_object_becomes_a_secret_and_its_files() -> None:
    """The whole value, and a text for each entry of jmesPath; the mode of an entry goes before that of its object."""
    config = read("""
        - objectName: orchard/press
          objectType: secretsmanager
          objectAlias: press.json
          filePermission: "0440"
          jmesPath:
            - {path: user, objectAlias: press-user}
            - {path: db.word, objectAlias: press/word, filePermission: "0400"}
        - objectName: /orchard/rain
          objectType: ssmparameter
    """)
    press, rain = config.bundle.secrets
    assert press.ref == Ref("orchard/press", Place(None, None))
    assert rain.ref == Ref("/orchard/rain", Place(None, None), kind="parameter")
    assert config.bundle.outputs == (
        Output("press.json", (press.name,), Projection(), 0o440),
        Output("press-user", (press.name,), Projection(format="text", jmes_path="user"), 0o440),
        Output("press_word", (press.name,), Projection(format="text", jmes_path="db.word"), 0o400),
        Output("_orchard_rain", (rain.name,), Projection(), 0o644),
    )
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("translation", "names", "paths"),
    [
        ("", ["a/b", "/c"], ["a_b", "_c"]),
        ('pathTranslation: ""\n', ["a/b"], ["a_b"]),
        ('pathTranslation: "False"\n', ["a/b", "/c"], ["a/b", "c"]),
        ('pathTranslation: "fALSE"\n', ["a/b"], ["a/b"]),
        ('pathTranslation: "-"\n', ["a/b", "/c"], ["a-b", "-c"]),
        ('pathTranslation: "/"\n', ["a/b"], ["a/b"]),
        ("", ["a/../b"], ["a_.._b"]),
        ('pathTranslation: "False"\n', ["a/..b", "c../d"], ["a/..b", "c../d"]),
    ],
)
def test_slashes_in_names_are_translated(translation: str, names: list[str], paths: list[str]) -> None:
    """Into an underscore, into what pathTranslation says, or not at all."""
    objects = "\n".join(f"- {{objectName: {name}, objectType: secretsmanager}}" for name in names)
    assert list(files(read(objects, translation))) == paths


@pytest.mark.parametrize(
    ("fields", "kind", "stage", "version"),
    [
        ("objectType: secretsmanager", "secretsmanager", "AWSCURRENT", None),
        ("objectType: secretsmanager, objectVersionLabel: AWSPREVIOUS", "secretsmanager", "AWSPREVIOUS", None),
        (f"objectType: secretsmanager, objectVersion: {VERSION}", "secretsmanager", None, VERSION),
        (
            f"objectType: secretsmanager, objectVersion: {VERSION}, objectVersionLabel: x",
            "secretsmanager",
            "x",
            VERSION,
        ),
        ("objectType: ssmparameter", "parameter", "AWSCURRENT", None),
        ("objectType: ssmparameter, objectVersion: 3", "parameter", None, "3"),
        ('objectType: ssmparameter, objectVersionLabel: "3"', "parameter", None, "3"),
        ("objectType: ssmparameter, objectVersionLabel: 2026-01-17", "parameter", "2026-01-17", None),
        ("ObjectType: ssmparameter, OBJECTVERSION: 3", "parameter", None, "3"),
        ("objectType: secretsmanager, objectVersion: ~, objectVersionLabel: ''", "secretsmanager", "AWSCURRENT", None),
    ],
)
def test_which_version_is_asked_for(fields: str, kind: str, stage: str | None, version: str | None) -> None:
    """By label, by version, or by both; keys in any case."""
    (secret,) = read(f"- {{objectName: rain, {fields}}}").bundle.secrets
    assert (secret.ref.kind, secret.ref.version_stage, secret.ref.version_id) == (kind, stage, version)


def test_the_region_is_the_classes_the_configs_or_the_environments() -> None:
    """In this order; an ARN of another region is refused."""
    objects = f"- {{objectName: rain, objectType: secretsmanager}}\n- {{objectName: '{ARN}', objectAlias: press}}"
    regions = [secret.ref.place.region for secret in read(objects, "region: eu-west-1\n", "us-east-1").bundle.secrets]
    assert regions == ["eu-west-1", "eu-west-1"]
    assert [secret.ref.place.region for secret in read(objects).bundle.secrets] == [None, "eu-west-1"]
    own = "apiVersion: freshmount.dev/v1\nkind: Config\nregion: us-east-1\n---\n"
    named = parse(own + provider_class("- {objectName: rain, objectType: secretsmanager}"), "m.yaml", "eu-west-1")
    assert [secret.ref.place.region for secret in named.bundle.secrets] == ["us-east-1"]
    for text, region in ((provider_class(objects), "us-east-1"), (own + provider_class(objects), "eu-west-1")):
        ((_, _, message),) = problems(text, region)
        assert ARN in message and "us-east-1" in message


def test_a_failover_region_is_a_replica_that_also_stands_in_for_a_denial() -> None:
    """Under the same name or ARN there, or that of failoverObject with a label of its own."""
    config = read(
        f"""
        - {{objectName: rain, objectType: secretsmanager}}
        - {{objectName: "{ARN}", objectAlias: press}}
        - objectName: /orchard/frost
          objectType: ssmparameter
          objectAlias: frost
          objectVersion: "4"
          failoverObject: {{objectName: /orchard/frost-copy, objectVersion: 4}}
        - objectName: hail
          objectType: secretsmanager
          objectAlias: hail-file
          objectVersionLabel: blue
          failoverObject: {{objectName: hail-copy, objectVersionLabel: green}}
        """,
        "failoverRegion: us-east-1\n",
    )
    found = [secret.ref.replicas for secret in config.bundle.secrets]
    assert all(len(replicas) == 1 and replicas[0].if_denied for replicas in found)
    assert [(r.id, r.place.region, r.version_stage, r.version_id) for (r,) in found] == [
        ("rain", "us-east-1", "AWSCURRENT", None),
        (ARN.replace("eu-west-1", "us-east-1"), "us-east-1", "AWSCURRENT", None),
        ("/orchard/frost-copy", "us-east-1", None, "4"),
        ("hail-copy", "us-east-1", "green", None),
    ]


def test_objects_of_one_version_are_one_secret() -> None:
    """So they are fetched once, and never torn; another label is another secret."""
    config = read("""
        - {objectName: rain, objectType: secretsmanager}
        - {objectName: rain, objectType: secretsmanager, objectAlias: again}
        - {objectName: rain, objectType: secretsmanager, objectAlias: before, objectVersionLabel: AWSPREVIOUS}
    """)
    assert [secret.ref.version_stage for secret in config.bundle.secrets] == ["AWSCURRENT", "AWSPREVIOUS"]
    assert [output.inputs for output in config.bundle.outputs] == [("rain",), ("rain",), ("before",)]


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ("- {objectName: rain}", ("rain", "objectType")),
        ("- {objectName: rain, objectType: ssm}", ("rain", "ssm", "ssmparameter")),
        ("- {objectName: rain, objectType: secretManager}", ("secretManager", "secretsmanager")),
        ("- {objectAlias: rain, objectType: secretsmanager}", ("rain", "objectName")),
        (f"- {{objectName: '{ARN}', objectType: ssmparameter}}", (ARN, "objectType")),
        ("- {objectName: 'arn:aws:kms:eu-west-1:111122223333:key/x'}", ("kms",)),
        ("- {objectName: 'arn:aws:secretsmanager:eu-west-1'}", ("arn:aws:secretsmanager:eu-west-1", "ARN")),
        ("- {objectName: 'ri pe', objectType: secretsmanager}", ("ri pe",)),
        ("- {objectName: '/rain:3', objectType: ssmparameter}", ("/rain:3", "objectVersion")),
        ("- {objectName: rain, objectType: ssmparameter, objectVersion: latest}", ("latest", "objectVersionLabel")),
        ("- {objectName: rain, objectType: ssmparameter, objectVersionLabel: AWSCURRENT}", ("AWSCURRENT",)),
        ("- {objectName: rain, objectType: ssmparameter, objectVersion: 1, objectVersionLabel: x}", ("rain", "Label")),
        (
            "- {objectName: rain, objectType: secretsmanager, filePermission: 0600}",
            ("filePermission", "quotes", "0600"),
        ),
        ("- {objectName: rain, objectType: secretsmanager, filePermission: '600'}", ("filePermission", "600")),
        ("- {objectName: rain, objectType: secretsmanager, filePermission: '०६४४'}", ("filePermission",)),
        ("- {objectName: rain, objectType: secretsmanager, filePermission: '0040'}", ("filePermission", "0400")),
        ("- {objectName: rain, objectType: secretsmanager, jmesPath: {path: a}}", ("rain", "jmesPath")),
        ("- {objectName: rain, objectType: secretsmanager, jmesPath: [{path: a}]}", ("rain", "objectAlias")),
        ("- {objectName: rain, objectType: secretsmanager, jmesPath: [{objectAlias: a}]}", ("rain", "path")),
        ("- {objectName: rain, objectType: secretsmanager, jmesPath: [~]}", ("rain", "jmesPath")),
        ("- {objectName: rain, objectType: secretsmanager, jmesPath: [{path: a-b, objectAlias: a}]}", ("a-b", '"a-b"')),
        ("- {objectName: rain, objectType: secretsmanager, jmesPath: [{path: '`a`', objectAlias: a}]}", ("`a`", "'a'")),
        ("- {objectName: ../rain, objectType: secretsmanager}", ("../rain", "dots")),
        ("- {objectName: rain, objectType: secretsmanager, objectAlias: '..data'}", ("..data", "objectAlias")),
        (f"- {{objectName: rain, objectType: secretsmanager, objectAlias: {'r' * 256}}}", ("objectAlias", "255")),
        ("- {objectName: rain, objectType: secretsmanager, failoverObject: {objectName: x}}", ("failoverRegion",)),
        ("- {objectName: rain, ObjectName: hail, objectType: secretsmanager}", ("ObjectName",)),
        ("- {objectName: rain, objectType: secretsmanager, objectType: ssmparameter}", ("objectType",)),
        ("- {objectName: [rain], objectType: secretsmanager}", ("objectName",)),
        ("- rain", ("objects", "objectName")),
        ("-", ("objects",)),
        ("array:\n  - {objectName: rain}", ("objects", "list")),
        ("rain", ("objects", "list")),
        ("[]", ("objects",)),
        ("# none", ("objects",)),
        ("- {objectName: rain, objectType: secretsmanager}\n---\n- {objectName: x}", ("objects", "second")),
        ("- objectName: {{ .Values.name }}\n  objectType: secretsmanager", ("objects", "template")),
    ],
)
def test_an_object_that_cannot_be_kept_is_refused(objects: str, words: tuple[str, ...]) -> None:
    """Each sentence names the object, the key and the value."""
    message = refused(objects)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ("rain,,\nrain,,", ("rain",)),
        ("rain,,\nhail,rain,", ("rain", "hail")),
        ("a/b,,\na_b,,", ("a/b", "a_b")),
        ("rain,wet,\nhail,,wet", ("rain", "hail", "wet")),
        ("rain,,rain", ("rain",)),
        ("rain,wet/day,\nhail,wet,", ("rain", "hail")),
        ("rain,wet,\nhail,wet/day,", ("rain", "hail", "wet/day")),
    ],
)
def test_two_files_of_one_name_are_refused(objects: str, words: tuple[str, ...]) -> None:
    """AWS's provider lets the last one win, or one of them at random."""
    lines = []
    for line in objects.split("\n"):
        name, alias, picked = line.split(",")
        more = f", jmesPath: [{{path: a, objectAlias: {picked}}}]" if picked else ""
        lines.append(f"- {{objectName: {name}, objectType: secretsmanager, objectAlias: '{alias}'{more}}}")
    slashes = 'pathTranslation: "False"\n' if "wet/day" in objects else ""
    message = refused("\n".join(lines), slashes)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("pathTranslation: false\n", ("pathTranslation", "quotes")),
        ('pathTranslation: "true"\n', ("pathTranslation", "true")),
        ('pathTranslation: "é"\n', ("pathTranslation",)),
        ('usePodIdentity: "yes"\n', ("usePodIdentity", "yes")),
        ("usePodIdentity: true\n", ("usePodIdentity", "quotes")),
        ("region: Ireland\n", ("region", "Ireland")),
        ("region:\n", ("region",)),
        ("Region: eu-west-1\n", ("Region", "region")),
        ("failoverRegion: eu-west-1\n", ("failoverRegion", "eu-west-1")),
        ("region: [eu-west-1]\n", ("region", "string")),
    ],
)
def test_a_parameter_that_cannot_be_kept_is_refused(parameters: str, words: tuple[str, ...]) -> None:
    """The API server takes texts alone, and the provider only some."""
    message = refused("- {objectName: rain, objectType: secretsmanager}", parameters)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD.replace("aws", "azure") + "    objects: x\n", ("azure", "aws")),
        (HEAD.replace("  provider: aws\n", "") + "    objects: x\n", ("provider",)),
        (HEAD.partition("  parameters")[0], ("parameters",)),
        (HEAD + "    region: eu-west-1\n", ("objects",)),
        (HEAD + "    objects: [{objectName: rain}]\n", ("objects", "|")),
        (HEAD + "    objects: 5\n", ("objects", "string")),
        (
            HEAD.replace("  parameters", "  region: us-east-1\n  parameters") + "    objects: x\n",
            ("region", "parameters"),
        ),
        (HEAD.replace("kind: SecretProviderClass", "kind: SecretProviderClassPodStatus"), ("PodStatus",)),
        (HEAD.replace("/v1", "/v9") + "    objects: x\n", ("apiVersion",)),
        (HEAD.partition("spec")[0], ("spec",)),
    ],
)
def test_a_class_that_cannot_be_kept_is_refused(text: str, words: tuple[str, ...]) -> None:
    """Another provider, or a manifest that the API server would refuse or cut."""
    message = "\n".join(message for _, _, message in problems(text))
    assert all(word in message for word in words), message


def test_places_are_those_of_the_file() -> None:
    """Within the text of `objects`, too, where it is a block."""
    text = provider_class("- objectName: rain\n  objectType: ssm\n- objectName: hail\n")
    lines = text.split("\n")
    found = [(line, column) for line, column, _ in problems(text)]
    assert [lines[line - 1][column - 1 :] for line, column in found] == ["ssm", "hail"]
    slip = provider_class("- objectName: rain\n objectType: ssm\n")
    ((line, _, message),) = problems(slip)
    assert "objectType" in slip.split("\n")[line - 1]
    assert "line 1 " not in message


def test_what_is_different_on_purpose_is_a_warning() -> None:
    """What is passed over, and what is read as something else than it looks."""
    config = parse(
        provider_class(
            "- {objectName: rain, objectType: secretsmanager, objectAlias: 1e3, objectEncoding: base64}",
            "roleArn: arn:aws:iam::111122223333:role/x\n",
        ).replace("spec:", "spec:\n  secretObjects: [{secretName: rain-secret, type: Opaque}]\n  extra: 1"),
        "m.yaml",
    )
    assert files(config) == {"1000": 0o644}
    words = ("1000", "objectEncoding", "roleArn", "rain-secret", "extra")
    assert all(any(word in warning for warning in config.warnings) for word in words)
    assert len(config.warnings) == len(words)


@pytest.mark.parametrize(
    "objects",
    [
        '"- objectName: rain\\r\\n  objectType: secretsmanager\\r\\n"',
        '"[\\t{\\"objectName\\":\\"rain\\",\\n\\t\\"objectType\\":\\"secretsmanager\\"}]"',
        ">\n      - objectName: rain\n        objectType: secretsmanager",
        "|\n      ---\n      - <<: {objectName: rain, objectType: x}\n        objectType: secretsmanager",
        "'[{objectName: rain, objectType: secretsmanager, jmesPath: []}]'",
        "|\n      - objectName: rain\n        objectType: secretsmanager\n        jmesPath:\n        filePermission: ~",
    ],
)
def test_objects_are_read_however_they_are_written(objects: str) -> None:
    """Line ends of Windows, JSON with tabs, folded text, merged keys, nulls."""
    assert files(parse(f"{HEAD}    objects: {objects}\n", "m.yaml", "eu-west-1")) == {"rain": 0o644}


def test_classes_stand_beside_others() -> None:
    """Beside a config, other classes, other documents, in a list of kubectl; a file of two of them is refused."""
    one = provider_class("- {objectName: rain, objectType: secretsmanager}")
    two = provider_class("- {objectName: hail, objectType: secretsmanager}", "region: eu-west-1\n")
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: picker}\n"
    own = (
        "apiVersion: freshmount.dev/v1\nkind: Config\nsecrets: [{name: rain, secretId: own}]\n"
        "notify: [{name: app, touch: /run/app, secrets: [hail]}]\n"
    )
    config = parse(f"{two}---\n{account}---\n{own}", "m.yaml", "eu-west-1")
    assert [secret.name for secret in config.bundle.secrets] == ["rain", "hail"]
    assert [word in config.warnings[0] for word in ("ServiceAccount", "picker")] == [True, True]
    listed = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
        "- " + textwrap.indent(each, "  ").lstrip() for each in (one, two)
    )
    assert files(parse(listed, "m.yaml")) == {"rain": 0o644, "hail": 0o644}
    for other in (own, one):
        assert any("rain" in message for _, _, message in problems(f"{one}---\n{other}"))


def test_names_of_secrets_are_unique_and_valid() -> None:
    """Whatever objects are called."""
    config = read("""
        - {objectName: /a/b, objectType: secretsmanager, objectAlias: one}
        - {objectName: /a/b, objectType: ssmparameter, objectAlias: "1/one"}
        - {objectName: c, objectType: secretsmanager, objectAlias: "1 one"}
        - {objectName: d, objectType: secretsmanager, objectAlias: "{}"}
    """)
    assert [secret.name for secret in config.bundle.secrets] == ["one", "1_one", "1_one-2", "object"]


@settings(max_examples=often(300), deadline=None)
@given(st.text(max_size=60))
def test_any_text_as_objects_is_read_or_refused_with_places(text: str) -> None:
    """Never an exception of another kind."""
    written = provider_class(text) if text.isprintable() else f"{HEAD}    objects: {text!r}\n"
    try:
        assert parse(written, "m.yaml").bundle.secrets
    except ConfigError as refusal:
        assert all(each.line >= 1 and each.column >= 1 and each.message for each in refusal.problems)


WILD = table(Path(__file__).parent / "provider_classes.yaml")


@pytest.mark.parametrize("case", WILD, ids=[case["name"] for case in WILD])
def test_manifests_as_people_write_them(case: dict[str, Any]) -> None:
    """Each is read, or refused for the right reason; what is passed over is said."""
    region = case.get("region", "eu-west-1")
    if "files" not in case:
        message = "\n".join(message for _, _, message in problems(case["manifest"], region))
        assert all(word in message for word in case["refused"]), message
        return
    config = parse(case["manifest"], "m.yaml", region)
    assert {path: f"{mode:04o}" for path, mode in files(config).items()} == case["files"]
    words = case.get("warned", [])
    assert all(any(word in warning for warning in config.warnings) for word in words) and bool(words) == bool(
        config.warnings
    )


@settings(max_examples=often(400), deadline=None)
@given(st.sampled_from(WILD), st.data())
def test_a_damaged_manifest_is_read_or_refused_with_places(case: dict[str, Any], data: st.DataObject) -> None:
    """Whatever was deleted, repeated or typed into it."""
    text = case["manifest"]
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(text)))
        end = min(len(text), begin + data.draw(st.integers(0, 30)))
        typed = data.draw(
            st.sampled_from(["", "\n", ":", "- ", "'", '"', "{", "]", "&a ", "*a", "~", "!!str ", "0", "\t", "é"])
        )
        text = text[:begin] + typed + data.draw(st.sampled_from(["", text[begin:end]])) + text[end:]
    try:
        parse(text, "m.yaml", "eu-west-1")
    except ConfigError as refusal:
        assert all(each.line >= 1 and each.column >= 1 and each.message for each in refusal.problems)
