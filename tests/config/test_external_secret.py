"""ExternalSecrets as configs: what they ask for, and each thing that is refused, with its place."""

from __future__ import annotations

import re

import pytest

from agent.config import native
from agent.core.errors import ConfigError
from agent.core.model import Config, ExternalSecretData

STORE = """\
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: main}
spec:
  provider:
    aws: {service: SecretsManager, region: eu-west-1}
"""
ROLES = """\
---
apiVersion: external-secrets.io/v1beta1
kind: ClusterSecretStore
metadata: {name: wide}
spec:
  conditions:
    - namespaces: [blue]
    - namespaceRegexes: ["^gr"]
    - namespaceSelector: {matchLabels: {tier: gold}, matchExpressions: [{key: shut, operator: DoesNotExist}]}
  provider:
    aws:
      service: ParameterStore
      region: eu-central-1
      prefix: /base/
      additionalRoles: ["arn:aws:iam::111122223333:role/first"]
      role: arn:aws:iam::111122223333:role/last
      externalID: ext
      sessionTagsPolicy: Simple
"""


def text(spec: str, name: str = "web", namespace: str = "", kind: str = "main") -> str:
    where = f", namespace: {namespace}" if namespace else ""
    store = f"  secretStoreRef: {{name: {kind}}}\n" if kind else ""
    head = (
        f"apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: {name}{where}}}\nspec:\n{store}"
    )
    return head + "".join(f"  {line}\n" for line in spec.strip("\n").split("\n"))


def read(spec: str, more: str = STORE, **named: str) -> Config:
    return native.parse(text(spec, **named) + more, "c.yaml")


def refused(spec: str, more: str = STORE, **named: str) -> list[str]:
    """Each problem as LINE:COLUMN MESSAGE."""
    with pytest.raises(ConfigError) as raised:
        read(spec, more, **named)
    return [f"{p.line}:{p.column} {p.message}" for p in raised.value.problems]


KEY = "data: [{secretKey: k, remoteRef: {key: %s}}]"


def test_each_reference_becomes_one_secret_whoever_uses_it() -> None:
    config = read(
        """
data:
  - {secretKey: a, remoteRef: {key: prod/db, property: user}}
  - {secretKey: b, remoteRef: {key: prod/db, property: pass}}
  - {secretKey: c, remoteRef: {key: prod/db, version: AWSPREVIOUS}}
dataFrom: [{extract: {key: prod/db}}]
"""
    )
    assert [(s.name, s.ref.id, s.ref.version_stage) for s in config.bundle.secrets] == [
        ("prod-db", "prod/db", "AWSCURRENT"),
        ("prod-db.AWSPREVIOUS", "prod/db", "AWSPREVIOUS"),
    ]
    (output,) = config.bundle.outputs
    assert (output.path, output.inputs) == ("web", ("prod-db", "prod-db.AWSPREVIOUS"))
    assert isinstance(output.renderer, ExternalSecretData)


def test_two_manifests_share_a_secret_and_the_shorter_period() -> None:
    both = text("refreshInterval: 1h\n" + KEY % "x") + "---\n" + text("refreshInterval: 90s\n" + KEY % "x", name="api")
    config = native.parse(both + STORE, "c.yaml")
    assert [(s.name, s.period) for s in config.bundle.secrets] == [("x", 90.0)]
    assert [o.path for o in config.bundle.outputs] == ["web", "api"]


def test_names_of_secrets_stay_apart() -> None:
    config = read("data:\n  - {secretKey: a, remoteRef: {key: x/y}}\n  - {secretKey: b, remoteRef: {key: x-y}}")
    assert [s.name for s in config.bundle.secrets] == ["x-y", "x-y-2"]


def test_manifests_stand_beside_a_config() -> None:
    own = (
        "apiVersion: freshmount.dev/v1\nkind: Config\npoll: {period: 5m}\n"
        "secrets: [{name: x, secretId: own, region: null}]\n".replace(", region: null", "")
        + "notify: [{name: app, touch: /run/app/reload, secrets: [x-2]}]\n---\n"
    )
    config = native.parse(own + text(KEY % "x") + STORE, "c.yaml")
    assert [(s.name, s.period) for s in config.bundle.secrets] == [("x", 300.0), ("x-2", 300.0)]


def test_a_store_says_place_roles_and_prefix() -> None:
    spec = "secretStoreRef: {name: wide, kind: ClusterSecretStore}\n" + KEY % "p"
    (secret,) = read(spec, ROLES, namespace="blue", kind="").bundle.secrets
    ref = secret.ref
    assert (ref.id, ref.kind, ref.place.region) == ("/base/p", "parameter", "eu-central-1")
    assert ref.place.roles == ("arn:aws:iam::111122223333:role/first", "arn:aws:iam::111122223333:role/last")
    assert (ref.place.external_id, ref.place.tags[1]) == ("ext", ("esoStoreName", "wide"))


GOLD = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: red, labels: {tier: gold%s}}\n"


@pytest.mark.parametrize(
    ("namespace", "more", "serves"),
    [
        ("blue", "", True),
        ("green", "", True),
        ("agreed", "", False),
        ("red", "", False),
        ("red", GOLD % "", True),
        ("red", GOLD % ", shut: x", False),
    ],
)
def test_a_store_serves_the_namespaces_of_its_conditions(namespace: str, more: str, serves: bool) -> None:
    spec = "secretStoreRef: {name: wide, kind: ClusterSecretStore}\n" + KEY % "p"
    if serves:
        assert read(spec, ROLES + more, namespace=namespace, kind="").bundle.secrets
    else:
        (problem,) = refused(spec, ROLES + more, namespace=namespace, kind="")
        assert problem.startswith("5:26") and "wide" in problem and namespace in problem


BLOCK = "target:\n  template:\n    data:\n      out: |\n        a\n        {{ nobody }}\n"
FROM = "target: {template: {templateFrom: [{configMap: {name: c, items: [{key: k}]}}]}}\n"
TWICE = "data:\n  - {secretKey: a, remoteRef: {key: x}}\n  - {secretKey: a, remoteRef: {key: z}}"


@pytest.mark.parametrize(
    ("spec", "at", "words"),
    [
        ("target: {name: t}", "5:3", ["data", "dataFrom"]),
        ("data: []", "5:3", ["data", "dataFrom"]),
        ("data: [{secretKey: n, remoteRef: {key: x}}]", "6:22", ["secretKey", "quotes"]),
        ("data: [{secretKey: a b, remoteRef: {key: x}}]", "6:22", ["secretKey", "'a b'"]),
        ("data: [{secretKey: ..x, remoteRef: {key: x}}]", "6:22", ["secretKey", "'..x'"]),
        (f"data: [{{secretKey: {'k' * 254}, remoteRef: {{key: x}}}}]", "6:22", ["secretKey", "253"]),
        ("data: [{secretKey: a, remoteRef: {property: x}}]", "6:36", ["'key'"]),
        ("data: [{secretKey: a, remoteRef: {key: 'a b'}}]", "6:42", ["key", "'a b'"]),
        ("data: [{secretKey: a, remoteRef: {key: x, decodingStrategy: Hex}}]", "6:63", ["decodingStrategy", "Hex"]),
        ("data: [{secretKey: a, remoteRef: {key: x, metadataPolicy: All}}]", "6:61", ["metadataPolicy", "All"]),
        ("data: [{secretKey: a, remoteRef: {key: x, version: uuid/1}}]", "6:54", ["version", "'1'"]),
        ("data: [{secretKey: a, remoteRef: {key: x, versoin: b}}]", "6:45", ["'versoin'", "'version'"]),
        ("dataFrom: [{}]", "6:14", ["dataFrom", "extract"]),
        ("dataFrom: [{extract: {key: x}, find: {name: {regexp: x}}}]", "6:14", ["extract", "find"]),
        ("dataFrom: [{find: {path: x}}]", "6:21", ["find", "name"]),
        ("dataFrom: [{find: {name: {regexp: 'a['}}}]", "6:37", ["'a['"]),
        ("dataFrom: [{find: {tags: {release: 7}}}]", "6:38", ["release"]),
        ("dataFrom: [{extract: {key: x}, rewrite: [{}]}]", "6:44", ["rewrite"]),
        ("dataFrom: [{extract: {key: x}, rewrite: [{regexp: {source: '(?=a)', target: b}}]}]", "6:62", ["'(?=a)'"]),
        ("dataFrom: [{extract: {key: x}, rewrite: [{merge: {strategy: JSON}}]}]", "6:63", ["into"]),
        ("dataFrom: [{sourceRef: {generatorRef: {kind: Password, name: p}}}]", "6:27", ["generatorRef"]),
        ("refreshInterval: 1d\n" + KEY % "x", "6:20", ["refreshInterval", "'1d'"]),
        ("target: {creationPolicy: None, deletionPolicy: Delete}\n" + KEY % "x", "6:50", ["deletionPolicy", "Delete"]),
        ("target: {name: Web}\n" + KEY % "x", "6:18", ["'Web'"]),
        ("target: {manifest: {kind: ConfigMap}}\n" + KEY % "x", "6:12", ["manifest"]),
        ("target: {template: {data: {port: 5432}}}\n" + KEY % "x", "6:36", ["port", "quotes"]),
        ("target: {template: {engineVersion: v1}}\n" + KEY % "x", "6:38", ["engineVersion", "v2"]),
        (BLOCK + KEY % "x", "11:14", ["out", "nobody"]),
        ("target: {template: {templateFrom: [{target: Owner}]}}\n" + KEY % "x", "6:47", ["'Owner'"]),
        (FROM + KEY % "x", "6:57", ["ConfigMap 'c'"]),
        ("template: {type: x}\n" + KEY % "x", "6:3", ["'template'"]),
        (TWICE, "8:19", ["'a'", "line 7"]),
        ("secretStoreRef: {name: other}\n" + KEY % "x", "5:26", ["'other'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_place(spec: str, at: str, words: list[str]) -> None:
    found = refused(spec, kind="" if spec.startswith("secretStoreRef") else "main")
    assert [problem for problem in found if problem.startswith(f"{at} ")], found
    assert [word for word in words if not any(word in problem for problem in found)] == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("aws:", "vault: {server: x}\n    other:", ["provider", "vault"]),
        ("region: eu-west-1", "region: eu-west-1, roleArn: x", ["'roleArn'", "'role'"]),
        ("region: eu-west-1", "region: nowhere", ["'nowhere'"]),
        (", region: eu-west-1", "", ["'region'"]),
        ("region: eu-west-1", "region: eu-west-1, role: admin", ["'admin'"]),
        ("SecretsManager", "CertificateManager", ["CertificateManager"]),
        ("external-secrets.io/v1\nkind: SecretStore", "external-secrets.io/v1alpha1\nkind: SecretStore", ["v1alpha1"]),
        ("kind: SecretStore", "kind: PushSecret", ["PushSecret", "remove"]),
        (
            "region: eu-west-1",
            "region: eu-west-1, auth: {secretRef: {accessKeyIDSecretRef: {name: s, key: i}, "
            "secretAccessKeySecretRef: {name: s, key: k}}}",
            ["Secret s", "role"],
        ),
        (
            "region: eu-west-1",
            "region: eu-west-1, auth: {jwt: {serviceAccountRef: {name: s, namespace: other}}}",
            ["namespace"],
        ),
    ],
)
def test_a_store_that_a_sidecar_cannot_have_is_refused(old: str, new: str, words: list[str]) -> None:
    found = refused(KEY % "x", STORE.replace(old, new))
    assert [word for word in words if not any(word in problem for problem in found)] == []
    assert all(re.match(r"\d+:\d+ ", problem) for problem in found)


def test_another_document_is_passed_over_with_a_warning() -> None:
    config = read(KEY % "x", STORE + "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n")
    assert len(config.bundle.secrets) == 1
    assert [warning for warning in config.warnings if "Deployment on line 15" in warning]


def test_a_list_of_kubectl_is_its_documents() -> None:
    documents = [text(KEY % "x"), STORE.removeprefix("---\n")]
    items = "".join("  - " + each.strip().replace("\n", "\n    ") + "\n" for each in documents)
    config = native.parse(f"apiVersion: v1\nkind: List\nitems:\n{items}", "c.yaml")
    assert [o.path for o in config.bundle.outputs] == ["web"]


def test_two_targets_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="target 'web' is already that of line 3"):
        native.parse(text(KEY % "x") + "---\n" + text(KEY % "z") + STORE, "c.yaml")


@pytest.mark.parametrize(
    ("spec", "more", "word"),
    [
        ("refreshInterval: '0'\n" + KEY % "x", STORE, "refreshInterval 0"),
        ("refreshPolicy: CreatedOnce\n" + KEY % "x", STORE, "CreatedOnce"),
        ("data: [{secretKey: a, remoteRef: {key: x, decodingStrategy: Auto}}]", STORE, "Auto"),
        (
            KEY % "x",
            STORE.replace("region: eu-west-1", "region: eu-west-1, auth: {jwt: {serviceAccountRef: {name: sa}}}"),
            "service account sa",
        ),
        (KEY % "'arn:aws:secretsmanager:eu-north-1:111122223333:secret:x-AbCdEf'", STORE, "eu-north-1"),
    ],
)
def test_what_is_done_in_another_way_is_a_warning(spec: str, more: str, word: str) -> None:
    assert [warning for warning in read(spec, more).warnings if word in warning]


def test_a_good_manifest_warns_of_nothing() -> None:
    assert read("refreshInterval: 1h\n" + KEY % "x").warnings == ()


def test_what_is_published_depends_on_how_the_manifest_reads_it() -> None:
    """A fingerprint that stays means: not fetched again."""
    specs = [
        KEY % "x", KEY % "x, property: p", KEY % "x, decodingStrategy: Base64",
        KEY % "x" + "\ntarget: {template: {data: {a: b}}}",
    ]  # fmt: skip
    fingerprints = [read(spec).bundle.wanted[0].fingerprint for spec in specs]
    assert len(set(fingerprints)) == len(specs)
    assert read("refreshInterval: 2h\n" + specs[0]).bundle.wanted[0].fingerprint == fingerprints[0]


SHARED = """\
data:
  - &one
    secretKey: user
    remoteRef: &remote {key: prod/db, property: user}
  - secretKey: password
    remoteRef: {<<: *remote, property: password}
  - {<<: *one, secretKey: again}
"""


def test_a_manifest_may_have_merge_keys() -> None:
    (output,) = read(SHARED).bundle.outputs
    assert isinstance(output.renderer, ExternalSecretData)
    found = {entry.key: (entry.remote.key, entry.remote.property) for entry in output.renderer.entries}
    assert found == {
        "user": ("prod/db", "user"), "password": ("prod/db", "password"), "again": ("prod/db", "user"),
    }  # fmt: skip


def test_what_is_wrong_with_a_merged_key_is_said_where_it_is_written() -> None:
    assert refused(SHARED.replace("property: user}", "propety: user}"))[0].startswith("9:41 ")
    assert any(said.startswith("12:12 <<") for said in refused(SHARED.replace("{<<: *one,", "{<<: 1,")))


def test_a_config_beside_manifests_has_no_merge_keys() -> None:
    own = "---\napiVersion: freshmount.dev/v1\nkind: Config\nvolume: {<<: {path: /x}}\n"
    assert "merge keys" in refused(SHARED, STORE + own)[0]


def test_a_problem_of_an_anchor_is_said_once() -> None:
    found = refused(SHARED.replace("property: user}", "propety: user}"))
    assert len(found) == len(set(found)) == 1
