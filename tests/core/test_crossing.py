"""Values as text between processes."""

from __future__ import annotations

import pytest

from agent.core import crossing, rest
from agent.core.crossing import NotUnderstood, OtherVersion
from agent.core.errors import Failure
from agent.core.record import Record
from agent.core.rest import Account
from tests.core.test_status import BEGIN


class Sample(Record):
    """A record with everything that may cross."""

    value: object


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, 1.5, float("inf"), "", "é\n\udc80", (), (1, ("a",)), {}, {"a": {(1, "b"): None}}),
        *(frozenset(), frozenset({"a"}), Failure("other", "[]"), (Failure("other", "x"), {"k": Failure("other", "y")})),
    ],
)
def test_what_crosses_is_the_same_afterwards(value: object) -> None:
    sample = Sample(value)
    text = crossing.dump(sample, (Sample, Failure), "1")
    assert crossing.load(text, (Sample, Failure), "1") == sample
    assert "\n" not in text


def test_an_account_crosses() -> None:
    account = Account(BEGIN, 1.0, None, 60.0, 30.0, "memory")
    assert crossing.load(crossing.dump(account, rest.ACCOUNT, "1"), rest.ACCOUNT, "1") == account


@pytest.mark.parametrize("value", [b"canary", bytearray(b"canary"), [1], {1, 2}, object(), Failure("other", "canary")])
def test_what_is_not_known_does_not_cross(value: object) -> None:
    with pytest.raises(TypeError) as raised:
        crossing.dump(Sample(value), (Sample,), "1")
    assert "canary" not in str(raised.value)


def test_another_version_is_told_from_damage() -> None:
    text = crossing.dump(Sample(1), (Sample,), "1")
    with pytest.raises(OtherVersion):
        crossing.load(text, (Sample,), "2")
    for damaged in (
        "",
        "{}",
        "[]",
        text[:-5],
        text.replace("Sample", "Other"),
        text.replace(",1]", "]"),
        '{"version":"1"}',
    ):
        with pytest.raises(NotUnderstood) as raised:
            crossing.load(damaged, (Sample,), "1")
        assert not isinstance(raised.value, OtherVersion)


def test_a_record_of_a_known_name_and_another_class_does_not_cross() -> None:
    other = type("Sample", (Record,), {"__annotations__": {"value": "int"}})
    with pytest.raises(TypeError):
        crossing.dump(other(1), (Sample,), "1")
