"""How AWS names secrets, regions and partitions: held against botocore's own data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore
import pytest

from agent.config.native import parse
from agent.core import arn
from tests.support.configs import document

DATA = Path(botocore.__file__).parent / "data"
PARTITIONS: list[dict[str, Any]] = json.loads((DATA / "partitions.json").read_text())["partitions"]
REGIONS = {
    region: partition
    for partition in PARTITIONS
    for region in partition["regions"]
    if region != f"{partition['id']}-global"  # for services that have no region
}
PREFIX = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:"


def test_botocore_knows_no_other_partition() -> None:
    """A new one is a row here, and a branch in the chart. The oldest libraries know fewer."""
    assert {partition["id"] for partition in PARTITIONS} <= arn.PARTITIONS


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_every_region_is_accepted_in_its_partition(region: str) -> None:
    """As `region`, and in the ARN of a secret; its policy is of that partition."""
    of = REGIONS[region]
    assert (arn.partition(region), arn.domain(region)) == (of["id"], of["outputs"]["dnsSuffix"])
    (named,) = parse(document(secret="name: a, secretId: b", top=f"region: {region}"), "c").bundle.secrets
    assert named.ref.resources == (f"arn:{of['id']}:secretsmanager:{region}:*:secret:b-??????",)
    full = f"arn:{of['id']}:secretsmanager:{region}:111122223333:secret:x-AbCdEf"
    (by_arn,) = parse(document(secret=f"name: a, secretId: '{full}'"), "c").bundle.secrets
    assert (by_arn.ref.place.region, by_arn.ref.resources) == (region, (full,))


def test_a_region_and_a_partition_that_contradict_are_refused() -> None:
    """But not those of which nothing is known yet."""
    assert arn.contradicts(PREFIX.replace("eu-west-1", "cn-north-1") + "x")
    assert arn.contradicts(PREFIX.replace("arn:aws:", "arn:aws-cn:") + "x")
    assert not arn.contradicts(PREFIX + "x")
    assert not arn.contradicts(PREFIX.replace("arn:aws:", "arn:aws-new:").replace("eu-west-1", "nw-a-1") + "x")


@pytest.mark.parametrize(
    ("name", "complete", "resources"),
    [
        ("prod/db-AbCdEf", False, ["prod/db-AbCdEf"]),
        ("prod/db-a1B2c3", False, ["prod/db-a1B2c3"]),
        ("prod/db", False, ["prod/db-??????"]),
        ("prod/db-main", False, ["prod/db-main-??????"]),
        ("prod/db-master", True, ["prod/db-master", "prod/db-master-??????"]),
        ("prod/db-MASTER", True, ["prod/db-MASTER", "prod/db-MASTER-??????"]),
        ("prod/db-202401", True, ["prod/db-202401", "prod/db-202401-??????"]),
        ("rds!cluster-0a1b2c3d-1111-2222-3333-444455556666-AbCdEf", False,
         ["rds!cluster-0a1b2c3d-1111-2222-3333-444455556666-AbCdEf"]),
    ],
)  # fmt: skip
def test_an_arn_that_may_be_a_part_of_one_is_both(name: str, complete: bool, resources: list[str]) -> None:
    """AWS's suffix mixes both cases; a word does not."""
    assert arn.looks_complete(PREFIX + name) is complete
    assert arn.resources(PREFIX + name, None) == tuple(PREFIX + one for one in resources)


def test_a_name_is_never_taken_for_a_complete_one() -> None:
    """The suffix is a part of ARNs alone."""
    assert not arn.looks_complete("prod/db-master")
    assert arn.resources("prod/db-master", "eu-west-1") == (
        "arn:aws:secretsmanager:eu-west-1:*:secret:prod/db-master-??????",
    )
