"""How AWS names secrets, regions and partitions, and what an IAM policy calls them.

Pure and without botocore, so that a config is checked in milliseconds; a test compares this with botocore's data.
"""

from __future__ import annotations

import re

# Users' names have no "!"; those that AWS services give have one: rds!cluster-…, events!connection/…
_CHARACTERS = r"[A-Za-z0-9/_+=.@!-]"

SECRET_ARN = re.compile(rf"arn:(aws[a-z-]*):secretsmanager:([a-z0-9-]+):\d{{12}}:secret:{_CHARACTERS}+")

PARAMETER_ARN = re.compile(r"arn:(aws[a-z-]*):ssm:([a-z0-9-]+):\d{12}:parameter/[A-Za-z0-9/_.-]+")

PARAMETER_NAME = re.compile(r"/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")

PARAMETER_PATH = re.compile(r"/|(/[A-Za-z0-9_.-]+)+/?")

PARAMETER_LABEL = re.compile(r"(?!(?i:aws|ssm)|\d)[A-Za-z0-9_.-]{1,100}")

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+")

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
    """Whether the partition and the region of the ARN of a secret or a parameter cannot belong together. False for a
    partition that is not known here."""
    found = SECRET_ARN.fullmatch(arn) or PARAMETER_ARN.fullmatch(arn)
    return found is not None and found[1] in PARTITIONS and found[1] != partition(found[2])


def looks_complete(secret_id: str) -> bool:
    """Whether the ARN ends as a complete one does, but with what may just as well be the last word of a secret's name.

    AWS draws its six characters from letters of both cases and digits, so most suffixes mix upper and lower case, and
    hardly a word does. `…:secret:prod/db-master` can be either.
    """
    found = _SUFFIX.search(secret_id) if secret_id.startswith("arn:") else None
    return found is not None and (found[1] == found[1].lower() or found[1] == found[1].upper())


def beginning_of_name(secret_id: str) -> str:
    """How the name of a secret begins, given by name or ARN: all of it, but for what may be AWS's six characters."""
    return _SUFFIX.sub("", secret_id.partition(":secret:")[2]) if secret_id.startswith("arn:") else secret_id


def is_of(secret_id: str, arn: str, name: str) -> bool:
    """Whether a secret that AWS lists with this ARN and name is certainly the one that is meant by that id. An ARN
    without AWS's six characters is one of the secret that has it with them, unless it may just as well have them."""
    if not secret_id.startswith("arn:"):
        return name == secret_id
    return arn == secret_id or (not _SUFFIX.search(secret_id) and _SUFFIX.sub("", arn) == secret_id)


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


def in_region(given: str, region: str) -> str:
    """The same name, or the ARN of the same name in another region: a replica's differs in its region alone."""
    if not given.startswith("arn:"):
        return given
    parts = given.split(":")
    return ":".join([*parts[:3], region, *parts[4:]])


def parameter(given: str, region: str | None) -> tuple[str, ...]:
    """What an IAM policy calls a parameter, given by name or ARN."""
    return (given,) if given.startswith("arn:") else (_parameter(region) + given.lstrip("/"),)


def beneath(path: str, region: str | None) -> tuple[str, ...]:
    """What an IAM policy calls a path of parameters and everything beneath it."""
    bare = path.strip("/")
    return (f"{_parameter(region)}{bare}", f"{_parameter(region)}{bare}/*") if bare else (_parameter(region) + "*",)


def beginning(start: str, region: str | None) -> tuple[str, ...]:
    """What an IAM policy calls all secrets whose names begin so."""
    region = region or "*"
    return (f"arn:{partition(region)}:secretsmanager:{region}:*:secret:{start}*",)


def _parameter(region: str | None) -> str:
    region = region or "*"
    return f"arn:{partition(region)}:ssm:{region}:*:parameter/"


def serves(url: str, service: str, region: str | None) -> bool:
    """Whether a URL may be asked for a service in a region, as far as its host says.

    A VPC endpoint's host names both: `vpce-….secretsmanager.eu-west-1.vpce.amazonaws.com`. A host that names neither,
    such as a stand-in's, serves everything.
    """
    labels = set(re.split(r"[/:.]", url.partition("://")[2].partition("/")[0]))
    named = labels & {"secretsmanager", "secretsmanager-fips", "ssm", "ssm-fips"}
    regions = {label for label in labels if REGION.fullmatch(label)}
    return (not named or service in {name.removesuffix("-fips") for name in named}) and (
        not regions or region is None or region in regions
    )
