"""Objects as nodes, and problems as paths of fields."""

from __future__ import annotations

from typing import Any

from agent.config.document import Mapping, Scalar
from agent.controller.external_secrets.objects import Places
from agent.core.errors import Problem


def test_a_problem_is_at_the_field_of_its_node() -> None:
    places = Places()
    top = places.node({"spec": {"data": [{"key": "x"}]}})
    assert isinstance(top, Mapping)
    node: Any = top
    for _ in range(2):
        node = node.entries[0][1]
    (item,) = node.items
    key, value = item.entries[0]
    assert places.problems([Problem(value.line, value.column, "is wrong")]) == ("spec.data[0].key: is wrong",)
    assert places.problems([Problem(key.line, 1, f"as on line {value.line}")]) == (
        "spec.data[0].key: as on spec.data[0].key",
    )
    assert (
        places.placed(f"line {value.line + 3}, column 7 of the config: no") == "spec.data[0].key, line 3, column 7: no"
    )
    assert places.placed("line 12 is not ours") == "line 12 is not ours"


def test_values_are_what_kubernetes_takes_them_for() -> None:
    node: Any = Places().node({"a": "5432", "b": 5432, "c": True, "d": None})
    a, b, c, d = (value for _, value in node.entries)
    assert [each.plain for each in (a, b, c)] == [False, True, True]
    assert (b.text, c.text, d.empty) == ("5432", "true", True)


def test_what_is_too_deep_is_left_out() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    found: Any = Places().node(deep)
    while not isinstance(found, Scalar):
        (found,) = found.items
    assert found.text == ""
