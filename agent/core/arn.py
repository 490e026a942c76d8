"""How AWS names secrets, regions and partitions, and what an IAM policy calls them.

Pure and without botocore, so that a config is checked in milliseconds; a test compares this with botocore's data.
"""

from __future__ import annotations

import re

# Users' names have no "!"; those that AWS services give have one: rds!cluster-…, events!connection/…
_CHARACTERS = r"[A-Za-z0-9/_+=.@!-]"

SECRET_ARN = re.compile(rf"arn:(aws[a-z-]*):secretsmanager:([a-z0-9-]+):\d{{12}}:secret:{_CHARACTERS}+")

SECRET_NAME = re.compile(rf"{_CHARACTERS}{{1,512}}")

REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")

VERSION_ID = re.compile(r"\S{32,64}")  # according to GetSecretValue's API reference

_SUFFIX = re.compile(r"-([A-Za-z0-9]{6})$")

_UNKNOWN = "-??????"  # the six characters that AWS appends to a name

# By how its regions begin; every other region is one of partition aws. With it the domain of its services.
_PARTITIONS = {
    "cn-": ("aws-cn", "amazonaws.com.cn"),
    "us-gov-": ("aws-us-gov", "amazonaws.com"),
    "us-iso-": ("aws-iso", "c2s.ic.gov"),
    "us-isob-": ("aws-iso-b", "sc2s.sgov.gov"),
    "eu-isoe-": ("aws-iso-e", "cloud.adc-e.uk"),
    "us-isof-": ("aws-iso-f", "csp.hci.ic.gov"),
    "eusc-": ("aws-eusc", "amazonaws.eu"),
}

PARTITIONS = frozenset({"aws", *(name for name, _ in _PARTITIONS.values())})


def partition(region: str) -> str:
    """The partition of a region: `aws-cn` for `cn-north-1`, `aws` for a region that is not known."""
    return _of(region)[0]


def domain(region: str) -> str:
    """The domain of AWS's services in a region: `amazonaws.com.cn` for `cn-north-1`."""
    return _of(region)[1]


def _of(region: str) -> tuple[str, str]:
    return next((of for start, of in _PARTITIONS.items() if region.startswith(start)), ("aws", "amazonaws.com"))


def contradicts(arn: str) -> bool:
    """Whether the partition and the region of a secret's ARN cannot belong together. False for a partition that is
    not known here."""
    found = SECRET_ARN.fullmatch(arn)
    return found is not None and found[1] in PARTITIONS and found[1] != partition(found[2])


def looks_complete(secret_id: str) -> bool:
    """Whether the ARN ends as a complete one does, but with what may just as well be the last word of a secret's name.

    AWS draws its six characters from letters of both cases and digits, so most suffixes mix upper and lower case, and
    hardly a word does. `…:secret:prod/db-master` can be either.
    """
    found = _SUFFIX.search(secret_id) if secret_id.startswith("arn:") else None
    return found is not None and (found[1] == found[1].lower() or found[1] == found[1].upper())


def resources(secret_id: str, region: str | None) -> tuple[str, ...]:
    """What an IAM policy calls the secret: one ARN, or two where it is unclear whether an ARN is complete.

    What is not known is a wildcard: the account of a name, the region where None is given, AWS's six characters.
    """
    if not secret_id.startswith("arn:"):
        region = region or "*"
        return (f"arn:{partition(region)}:secretsmanager:{region}:*:secret:{secret_id}{_UNKNOWN}",)
    if not _SUFFIX.search(secret_id):
        return (secret_id + _UNKNOWN,)
    return (secret_id, secret_id + _UNKNOWN) if looks_complete(secret_id) else (secret_id,)
