"""Records: frozen, compared by class and fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import pytest

from agent.core.record import Record, field, replace
from tests.support import plain_records

T = TypeVar("T")


class Point(Record):
    """Two fields, one of them with a default."""

    x: int
    y: int = 0


class Place(Record):
    """The same fields in another class."""

    x: int
    y: int = 0


class Box(Record, Generic[T]):
    """A field that is made anew for each."""

    content: T
    labels: Mapping[str, str] = field(default_factory=dict)


class Nothing(Record):
    """No field at all."""


def test_fields_are_given_by_position_or_name() -> None:
    """In the order of the annotations; what is not given has its default."""
    assert (Point(1), Point(1, 2), Point(x=1), Point(y=2, x=1)) == (
        Point(1, 0),
        Point(x=1, y=2),
        Point(1, y=0),
        Point(1, 2),
    )
    assert Nothing() == Nothing()


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})],
    ids=["missing", "too many", "twice", "unknown", "missing beside a given one"],
)
def test_wrong_fields_are_refused(values: tuple[int, ...], named: dict[str, int]) -> None:
    """With the class and what it takes."""
    with pytest.raises(TypeError, match=r"Point (needs x|takes x, y, each once)"):
        Point(*values, **named)


def test_equal_are_records_of_one_class_with_equal_fields() -> None:
    """Another class with the same fields is another thing, and no tuple is a record."""
    assert Point(1, 2) == Point(1, 2)
    assert len({Point(1, 2), Point(1, 2), Point(1, 3), Place(1, 2)}) == 3
    others: list[Any] = [Place(1, 2), (1, 2), None]
    assert [other for other in others if other == Point(1, 2)] == []


def test_a_record_does_not_change() -> None:
    """No field can be set or deleted, and no other put on it."""
    point = Point(1, 2)
    for name in ("x", "z"):
        with pytest.raises(AttributeError, match=f"Point.{name} cannot be set"):
            setattr(point, name, 3)
    with pytest.raises(AttributeError, match=r"Point\.x cannot be deleted"):
        del point.x
    assert point == Point(1, 2)


def test_a_record_is_no_base_of_another() -> None:
    """Its fields would not be the other's, so that is refused where the class is written."""
    with pytest.raises(TypeError, match="Line cannot be derived from a record"):
        type(Record)("Line", (Point,), {"__annotations__": {"length": "int"}})


def test_replace_makes_another() -> None:
    """The other fields are the same, by identity; one that is not there is refused."""
    box = Box([1])
    assert replace(box, labels={"a": "b"}) == Box([1], {"a": "b"})
    assert replace(box).content is box.content
    assert box == Box([1])
    with pytest.raises(TypeError, match="Box takes content, labels, each once"):
        replace(box, lid=True)


def test_a_default_that_is_made_is_not_shared() -> None:
    """Two boxes have two dicts."""
    assert Box(1).labels is not Box(1).labels


def test_annotations_need_not_be_postponed() -> None:
    """The fields are the same, their names looked up or not."""
    node = plain_records.Node("a", plain_records.Node("b"))
    assert (node.name, node.next) == ("a", plain_records.Node(name="b", next=None))
    with pytest.raises(TypeError, match="Node takes name, next, each once"):
        plain_records.Node("a", None, 3)
    assert plain_records.Plain() == plain_records.Plain() and plain_records.Plain.LIMIT == 3


def test_it_shows_its_fields_and_can_be_matched() -> None:
    """For a failing test, and for `match`."""
    assert repr(Box(Point(1))) == "Box(content=Point(x=1, y=0), labels={})"
    match Point(1, 2):
        case Point(x, y=2):
            assert x == 1
        case _:
            pytest.fail("no match")
