"""What a config means, before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.commands.plan import plan, render
from agent.commands.policy import policy
from agent.config.native import parse
from agent.core.model import Config
from tests.support.configs import VALID
from tests.support.paths import ROOT
from tests.support.running import freshmount

EXAMPLES = sorted((ROOT / "config").glob("*.yaml"))
ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db"


def config(*secrets: str, more: str = "") -> Config:
    listed = "".join(f"  - {secret}\n" for secret in secrets)
    return parse(f"apiVersion: freshmount.dev/v1\nkind: Config\n{more}secrets:\n{listed}", "c.yaml")


def secret(name: str = "db", arn: str = f"{ARN}-AbCdEf", more: str = "", files: str = "{path: x}") -> str:
    return f"{{name: {name}, secretId: '{arn}', {more}files: [{files}]}}"


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return freshmount("plan", *argv)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_tells_every_secret_file_and_target_of_an_example(path: Path) -> None:
    """In text, and the same as JSON."""
    parsed = parse(path.read_text(), str(path))
    said = run("--config", str(path))
    assert (said.returncode, said.stderr) == (0, "")
    bundle, root = parsed.bundle, parsed.settings.volume_path
    assert all(one.name in said.stdout and one.ref.id in said.stdout for one in bundle.secrets)
    assert all(f"{made.mode:04o}  {root}/{made.path}" in said.stdout for made in bundle.outputs)
    assert all(f"  {target.name}  " in said.stdout for target in bundle.targets)
    made = json.loads(run("--config", str(path), "--json").stdout)
    assert made == plan(parsed, 1)
    assert render(made) == said.stdout


@pytest.mark.parametrize("text", VALID.values(), ids=VALID.keys())
def test_every_good_config_has_a_plan(text: str) -> None:
    """Whatever it is made of."""
    made = plan(parse(text, "c.yaml"), 3)
    assert made["policy"]["Statement"] and render(made)


@pytest.mark.parametrize(
    ("given", "region", "resource"),
    [
        (f"{ARN}-AbCdEf", "", f"{ARN}-AbCdEf"),
        (ARN, "", f"{ARN}-??????"),
        ("prod/db", "eu-west-1", "arn:aws:secretsmanager:eu-west-1:*:secret:prod/db-??????"),
        ("prod/db", "eusc-de-east-1", "arn:aws-eusc:secretsmanager:eusc-de-east-1:*:secret:prod/db-??????"),
        ("prod/db", "us-isob-east-1", "arn:aws-iso-b:secretsmanager:us-isob-east-1:*:secret:prod/db-??????"),
        ("prod/db", "cn-north-1", "arn:aws-cn:secretsmanager:cn-north-1:*:secret:prod/db-??????"),
        ("prod/db", "us-gov-west-1", "arn:aws-us-gov:secretsmanager:us-gov-west-1:*:secret:prod/db-??????"),
        ("prod/db", "", "arn:aws:secretsmanager:*:*:secret:prod/db-??????"),
    ],
)
def test_the_policy_names_exactly_the_secret(given: str, region: str, resource: str) -> None:
    """The six characters that AWS appends are `?` where they are not known."""
    parsed = config(secret(arn=given), more=f"region: {region}\n" if region else "")
    assert policy(parsed)["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"],
            "Resource": [resource],
        }
    ]


def test_a_pinned_version_is_read_and_not_described() -> None:
    """So it may be read only, costs no polling, and is no warning."""
    pinned = secret("old", f"{ARN}-old-AbCdEf", more=f"versionId: {'1' * 32}, ", files="{path: y}")
    both = policy(config(secret(), pinned))["Statement"]
    assert [(s["Action"], len(s["Resource"])) for s in both] == [
        ("secretsmanager:GetSecretValue", 2),
        ("secretsmanager:DescribeSecret", 1),
    ]
    only = plan(config(pinned), 10)
    assert [s["Action"] for s in only["policy"]["Statement"]] == ["secretsmanager:GetSecretValue"]
    assert only["calls"]["describePerHour"] == 0 and only["calls"]["getAtStart"] == 10
    assert only["warnings"] == []


def test_decrypt_is_narrowed_to_the_service_and_the_secrets() -> None:
    """Nothing else can be decrypted with it."""
    china = "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:x-AbCdEf"
    made = plan(config(secret(), secret("cn", china, files="{path: y}")), 1)["keyPolicyStatement"]
    assert made["Action"] == "kms:Decrypt"
    assert made["Condition"]["StringLike"] == {
        "kms:ViaService": [
            "secretsmanager.cn-north-1.amazonaws.com",
            "secretsmanager.cn-north-1.amazonaws.com.cn",
            "secretsmanager.eu-west-1.amazonaws.com",
        ],
        "kms:EncryptionContext:SecretARN": [f"{ARN}-AbCdEf", china],
    }


def test_calls_and_their_price() -> None:
    """By hand: 1,000 pods with 10 secrets each 120 s are 300,000 calls an hour; 730 hours at $0.05 for 10,000."""
    ten = [secret(f"s{n}", files=f"{{path: f{n}}}") for n in range(10)]
    calls = plan(config(*ten, more="poll: {period: 120s}\n"), 1000)["calls"]
    assert calls == {
        "replicas": 1000,
        "describePerHour": 300_000.0,
        "getAtStart": 10_000,
        "dollarsPerMonth": 1095.0,
        "describeQuotaShare": round(1000 * 10 / 120 / 40_000, 6),
        # Each pod looks once an hour at each; a hub looks at one secret, each 10 s or each hour.
        "hubDollarsPerMonth": round((10_000 + 360) * 730 * 0.05 / 10_000, 2),
        "eventsDollarsPerMonth": round((10_000 + 1) * 730 * 0.05 / 10_000, 2),
    }


def test_a_hub_is_priced_for_what_it_may_answer_for() -> None:
    """By hand. A longer floor is cheaper; what is named without an ARN and reached by a role is polled all the same."""
    role = "roleArn: arn:aws:iam::111122223333:role/reader, "
    by_name = secret("other", "prod/other", more=role, files="{path: other}")
    calls = plan(config(secret(), by_name, more="poll: {floor: 2h}\n"), 100)["calls"]
    assert calls["eventsDollarsPerMonth"] == round((100 / 2 + 1 + 100 * 60) * 730 * 0.05 / 10_000, 2)
    said = render(plan(config(secret(), by_name), 100))
    assert "With a hub in the cluster: $" in said and "With a hub that gets events: $" in said


HUB = "hub: {url: 'http://freshmount.freshmount:9106', ownLooks: list}\n"


def test_own_looks_by_lists_are_priced_and_allowed() -> None:
    """By hand: eleven secrets of one place are two lists, and one of another region is a look of its own."""
    elsewhere = secret("far", f"{ARN.replace('eu-west-1', 'us-east-1')}-AbCdEf", files="{path: far}")
    many = [secret(f"s{n}", f"{ARN}{n}-AbCdEf", files=f"{{path: s{n}}}") for n in range(11)]
    made = plan(config(*many, elsewhere, more=HUB), 10_000)
    calls = made["calls"]
    assert calls["ownListsPerHour"] == 3 * 10_000
    assert calls["ownListsQuotaShare"] == round(2 * 10_000 / 3600 / 100, 6), "of the region with the most"
    assert calls["eventsDollarsPerMonth"] == round((3 * 10_000 + 12) * 730 * 0.05 / 10_000, 2)
    assert calls["dollarsPerMonth"] == plan(config(*many, elsewhere), 10_000)["calls"]["dollarsPerMonth"]
    assert {"Effect": "Allow", "Action": "secretsmanager:ListSecrets", "Resource": ["*"]} in made["policy"]["Statement"]
    assert "30,000 ListSecrets an hour" in render(made)
    assert any("poll.floor" in each for each in plan(config(*many, more=HUB), 20_000)["warnings"])
    assert not any("poll.floor" in each for each in made["warnings"])


def test_who_reads_by_a_role_lists_by_it() -> None:
    """Nobody else may; and nobody at all without the key."""
    role = "arn:aws:iam::222233334444:role/reader"
    secrets = [secret(n, f"{ARN}-{n}-AbCdEf", more=f"roleArn: {role}, ", files=f"{{path: {n}}}") for n in ("a", "b")]
    made = plan(config(*secrets, more=HUB), 1)
    assert "ListSecrets" in str(made["rolePolicies"][role]) and "ListSecrets" not in str(made["policy"])
    assert "ListSecrets" not in str(plan(config(*secrets, more=HUB.replace("list", "describe")), 1))


@pytest.mark.parametrize(
    ("parsed", "replicas", "part"),
    [
        (config(secret(files='{path: x, fileMode: "0444"}')), 1, "x has mode 0444"),
        (config(secret(files="{path: x}, {path: y}")), 1, "..data"),
        (config(secret(files="{directory: x}")), 1, "..data"),
        (config(secret(), more="endpointUrl: http://vpce.example\n"), 1, "TLS"),
        (config(secret(more="period: 5s, ")), 50_000, "of the quota of DescribeSecret"),
        (config(secret()), 5_000, "5 s or more"),
        (config(secret(arn="prod/db")), 1, "names no region"),
        (config(secret(), more="notify: [{name: a, signal: SIGHUP, process: {name: java}}]\n"), 1, "handled: true"),
        (config(secret(arn=f"{ARN}-master")), 1, f"{ARN}-master"),
    ],
)
def test_what_is_risky_is_warned_of(parsed: Config, replicas: int, part: str) -> None:
    """One sentence, which names it."""
    assert [part in warning for warning in plan(parsed, replicas)["warnings"]].count(True) == 1


def test_the_examples_are_not_warned_of() -> None:
    """A certificate is public, and an app that is told reads all of its files again."""
    for path in EXAMPLES:
        warned = plan(parse(path.read_text(), str(path)), 1)["warnings"]
        assert [w.partition(":")[0] for w in warned] == (["migration-user"] if path.stem == "database" else []), path


def test_the_query_of_a_url_is_not_shown() -> None:
    """It may hold a token, and a plan ends up in the log of a build."""
    made = plan(config(secret(), more="notify: [{name: a, url: 'http://h/p?token=hunter2#x'}]\n"), 1)
    assert made["targets"][0]["how"] == "POST http://h/p"
    assert "hunter2" not in render(made) + json.dumps(made)


def test_sentences_are_wrapped_only_at_a_width() -> None:
    """A pipe gets one line for each warning, a terminal lines of its own width."""
    made = plan(config(secret(files="{path: x}, {path: y}")), 1)
    (warning,) = made["warnings"]
    assert f"  - {warning}\n" in render(made)
    narrow = render(made, 60).partition("WARNINGS\n")[2].splitlines()
    assert len(narrow) > 1 and max(map(len, narrow)) <= 60
    assert " ".join(line.strip() for line in narrow) == f"- {warning}"


def test_what_is_not_risky_is_not_warned_of() -> None:
    """One private file, TLS or loopback, a few hundred pods."""
    assert plan(config(secret()), 500)["warnings"] == []
    assert plan(config(secret(), more="endpointUrl: http://127.0.0.1:5000\n"), 500)["warnings"] == []
    for target in ("signal: SIGUSR1, process: {name: java}", "signal: SIGHUP, process: {name: java}, handled: true"):
        assert plan(config(secret(), more=f"notify: [{{name: a, {target}}}]\n"), 500)["warnings"] == []


@pytest.mark.parametrize("replicas", ["0", "-1", "many", "1.5", "1000001"])
def test_a_wrong_number_of_pods_is_wrong_usage(replicas: str) -> None:
    """With what is right."""
    said = run("--config", str(EXAMPLES[0]), "--replicas", replicas)
    assert said.returncode == 2 and "is not a number of pods from 1 to 1000000" in said.stderr


def test_a_bad_config_has_no_plan(tmp_path: Path) -> None:
    """Its problems are told as `check` tells them."""
    path = tmp_path / "c.yaml"
    path.write_text("kind: x\n")
    said = run("--config", str(path))
    assert (said.returncode, said.stdout) == (2, "") and f"{path}:1:" in said.stderr


def test_nothing_that_could_call_is_imported() -> None:
    """It is offline, and quick."""
    script = (
        "import sys; from agent.cli import main; main(['plan', '--config', sys.argv[1]], {})\n"
        "print([n for n in ('boto3', 'botocore', 'watchdog', 'structlog', 'prometheus_client') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(EXAMPLES[0])], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_parameters_are_ten_a_call_and_share_their_quota() -> None:
    """By hand: 25 parameters and a path are 4 calls each 60 s; with 100 pods that is 6.7 of 40 calls a second."""
    twenty_five = [f"{{name: p{n}, parameter: /p/{n}, files: [{{path: p{n}}}]}}" for n in range(25)]
    path = "{name: app, parameters: /prod/app/, files: [{directory: app}]}"
    made = plan(config(*twenty_five, path, more="region: eu-west-1\n"), 100)
    assert made["calls"]["parametersPerHour"] == 100 * 4 * 60
    assert made["calls"]["parametersAtStart"] == 400
    assert made["calls"]["parametersQuotaShare"] == round(100 * 4 / 60 / 40, 6)
    assert made["calls"]["describePerHour"] == made["calls"]["dollarsPerMonth"] == made["calls"]["getAtStart"] == 0
    named, beneath = made["policy"]["Statement"]
    assert (named["Action"], len(named["Resource"])) == ("ssm:GetParameters", 25)
    assert named["Resource"][0] == "arn:aws:ssm:eu-west-1:*:parameter/p/0"
    assert beneath["Resource"] == [f"arn:aws:ssm:eu-west-1:*:parameter/prod/app{end}" for end in ("", "/*")]
    assert made["keyPolicyStatement"] is None
    condition = made["parameterKeyPolicyStatement"]["Condition"]["StringLike"]
    assert condition["kms:ViaService"] == ["ssm.eu-west-1.amazonaws.com"]
    assert "arn:aws:ssm:eu-west-1:*:parameter/prod/app/*" in condition["kms:EncryptionContext:PARAMETER_ARN"]
    assert any("Parameter Store" in warning and "17%" in warning for warning in made["warnings"])
    assert "Parameter Store" in render(made) and "keyPolicyStatement" not in render(made)


def test_each_role_has_its_policy() -> None:
    """The pod may assume the first of a chain, each role the next, and the last one read; nobody more than that."""
    role = "arn:aws:iam::222233334444:role"
    chain = f"roleArn: [{role}/hub, {role}/reader], sessionTags: {{team: a}}, "
    made = plan(config(secret("own", files="{path: own}"), secret("far", f"{ARN}-far-AbCdEf", more=chain)), 1)

    def allowed(policy: dict[str, Any]) -> list[tuple[Any, list[str]]]:
        return [(statement["Action"], statement["Resource"]) for statement in policy["Statement"]]

    reading = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
    assert allowed(made["policy"]) == [(reading, [f"{ARN}-AbCdEf"]), ("sts:AssumeRole", [f"{role}/hub"])]
    assert {name: allowed(policy) for name, policy in made["rolePolicies"].items()} == {
        f"{role}/hub": [(["sts:AssumeRole", "sts:TagSession"], [f"{role}/reader"])],
        f"{role}/reader": [(reading, [f"{ARN}-far-AbCdEf"])],
    }
    assert f"IAM POLICY OF {role}/reader" in render(made)


def test_find_lists_all_and_reads_what_begins_so() -> None:
    """By hand: 100 pods that list each 60 s are 6,000 calls an hour, 1.7 a second of 100, and $21.90 a month."""
    narrow = "{name: team, find: {path: prod/, tags: {team: a}}, files: [{directory: team}]}"
    made = plan(config(narrow, more="region: eu-west-1\n"), 100)
    listing, reading = made["policy"]["Statement"]
    assert listing["Action"] == ["secretsmanager:ListSecrets", "secretsmanager:BatchGetSecretValue"]
    assert listing["Resource"] == ["*"]
    assert (reading["Action"], reading["Resource"]) == (
        "secretsmanager:GetSecretValue",
        ["arn:aws:secretsmanager:eu-west-1:*:secret:prod/*"],
    )
    calls = made["calls"]
    assert (calls["listPerHour"], calls["dollarsPerMonth"]) == (6000.0, 21.9)
    assert calls["listQuotaShare"] == round(100 / 60 / 100, 6) and calls["getAtStart"] == 0
    assert "ListSecrets" in render(made) and not any("every secret" in warning for warning in made["warnings"])
    wide = plan(config("{name: all, find: {name: ^prod/}, files: [{path: all}]}"), 1)
    assert any("every secret" in warning for warning in wide["warnings"])
    assert "find takes" in " ".join(plan(config(narrow), 1000)["warnings"])


def test_manifests_of_others_are_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The policy has what each kind of reference needs, and no more."""
    (tmp_path / "c.yaml").write_text(
        """\
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: web}
spec:
  secretStoreRef: {name: parameters}
  data: [{secretKey: t, remoteRef: {key: /a, metadataPolicy: Fetch}}]
  dataFrom: [{find: {path: /app, tags: {team: x}}}, {find: {path: /other, name: {regexp: x}}}]
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: parameters}
spec: {provider: {aws: {service: ParameterStore, region: eu-west-1}}}
"""
    )
    assert cli.main(["plan", str(tmp_path / "c.yaml"), "--json"], {}) == 0
    planned = json.loads(capsys.readouterr().out)
    allowed = {statement["Action"]: statement["Resource"] for statement in planned["policy"]["Statement"]}
    beneath = "arn:aws:ssm:eu-west-1:*:parameter/"
    assert allowed == {
        "ssm:GetParametersByPath": [beneath + "other", beneath + "other/*"],
        "ssm:GetParameters": [beneath + "app", beneath + "app/*"],
        "ssm:DescribeParameters": ["*"],
        "ssm:ListTagsForResource": [beneath + "a"],
    }
    assert {file["content"] for secret in planned["secrets"] for file in secret["files"]} == {
        "one file per key of the ExternalSecret's target of find-app-team-x, find-other-x, a.tags"
    }
