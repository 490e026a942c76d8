"""What AWS holds in a sample: the values that `freshmount try` renders a config with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from agent.core.record import Record, field
from agent.core.value import SecretValue

ParameterType = Literal["String", "StringList", "SecureString"]


class SampleVersion(Record):
    """One version. `value` None: it holds neither text nor bytes. A version without `stages` can be read by its id
    alone."""

    id: str
    stages: tuple[str, ...]
    value: SecretValue | None


class SampleSecret(Record):
    """One secret of Secrets Manager. `error` is the code that each call for it fails with."""

    versions: tuple[SampleVersion, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False
    error: str | None = None


class SampleParameter(Record):
    """One parameter of Parameter Store. `stages` of its versions are labels; their ids are numbers."""

    versions: tuple[SampleVersion, ...] = ()
    type: ParameterType = "String"
    tags: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


class SampleRegion(Record):
    """What one region holds. `errors` has the code for a name, or for `*`, of each call or of one operation."""

    secrets: Mapping[str, SampleSecret] = field(default_factory=dict)
    parameters: Mapping[str, SampleParameter] = field(default_factory=dict)
    errors: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)


class Sample(Record):
    """What AWS holds. `regions` None: `everywhere` answers in each region. `deny` has the operations that are denied,
    such as `ssm:GetParametersByPath`. `now` is epoch seconds."""

    everywhere: SampleRegion
    regions: Mapping[str, SampleRegion] | None = None
    deny: frozenset[str] = frozenset()
    now: float | None = None

    def region(self, name: str) -> SampleRegion:
        """What that region holds; nothing, if the sample names others."""
        return self.everywhere if self.regions is None else self.regions.get(name, SampleRegion())
