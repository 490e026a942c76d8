"""A Secret as a sink: what is applied, and what metadata tell of it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from agent.core.record import replace
from agent.sinks.kubernetes_secret.secret import (
    ASKED,
    FIELDS,
    MANAGED,
    VERSIONS,
    Held,
    Owner,
    Values,
    Writing,
    applied,
    manager,
    read_back,
    without,
)

WRITING = Writing(
    namespace="shop",
    name="web",
    type="Opaque",
    values=Values({"user": b"CANARY", "raw": b"\xff\x00"}),
    labels={"team": "blue"},
    annotations={"note": "hello"},
    versions={"prod-db": "v1", "late": ""},
    asked="f" * 16,
    owner=Owner("external-secrets.io/v1", "web", "uid-es"),
)


def stored(body: dict[str, Any], by: str | None = None, **changes: Any) -> dict[str, Any]:
    """The metadata that the API server makes of what was applied."""
    metadata = body["metadata"]
    fields = {
        "f:data": {".": {}, **{f"f:{key}": {} for key in body["data"]}},
        "f:metadata": {
            "f:annotations": {f"f:{name}": {} for name in metadata["annotations"]},
            "f:labels": {f"f:{name}": {} for name in metadata["labels"]},
        },
        "f:type": {},
    }
    entry = {"manager": manager(by), "operation": "Apply", "fieldsV1": fields}
    return {**metadata, "uid": "uid-secret", "resourceVersion": "7", "managedFields": [entry], **changes}


def test_a_secret_is_applied_with_its_versions_in_one_body() -> None:
    body = applied(WRITING, None)
    assert {key: base64.b64decode(text) for key, text in body["data"].items()} == {
        "user": b"CANARY",
        "raw": b"\xff\x00",
    }
    metadata = body["metadata"]
    assert metadata["labels"] == {"team": "blue", MANAGED: "true"}
    assert metadata["annotations"][VERSIONS] == '{"late": "", "prod-db": "v1"}'
    assert metadata["annotations"]["note"] == "hello"
    assert [each["uid"] for each in metadata["ownerReferences"]] == ["uid-es"]
    assert "resourceVersion" not in metadata
    assert "CANARY" not in repr(WRITING)


def test_no_label_of_a_tenant_takes_the_place_of_ours() -> None:
    given = replace(WRITING, labels={MANAGED: "false"}, annotations={VERSIONS: "x", ASKED: "x", FIELDS: "x"})
    metadata = applied(given, None)["metadata"]
    assert metadata["labels"][MANAGED] == "true"
    assert "x" not in [metadata["annotations"][name] for name in (VERSIONS, ASKED, FIELDS)]


def test_one_that_is_held_must_still_be_that_one() -> None:
    metadata = applied(WRITING, Held("web", "uid-secret", "7"))["metadata"]
    assert (metadata["uid"], metadata["resourceVersion"]) == ("uid-secret", "7")


def test_what_was_applied_is_read_back() -> None:
    held = read_back(stored(applied(WRITING, None)), None)
    assert held.whole
    assert held.versions == {"prod-db": "v1", "late": ""}
    assert (held.asked, held.owner, held.marked, held.others) == ("f" * 16, "uid-es", True, frozenset())


def test_the_mark_of_the_fields_has_no_value_in_it() -> None:
    other = replace(WRITING, values=Values({"user": b"another", "raw": b"one"}))
    marks = {applied(each, None)["metadata"]["annotations"][FIELDS] for each in (WRITING, other)}
    assert len(marks) == 1


@pytest.mark.parametrize("lost", ["f:data", "f:labels", "f:annotations"])
def test_a_field_that_somebody_took_is_noticed(lost: str) -> None:
    metadata = stored(applied(WRITING, None))
    fields = metadata["managedFields"][0]["fieldsV1"]
    (fields if lost == "f:data" else fields["f:metadata"])[lost].popitem()
    assert not read_back(metadata, None).whole


def test_a_key_that_somebody_added_is_theirs() -> None:
    metadata = stored(applied(WRITING, None))
    theirs = {"f:data": {"f:more": {}, "f:user": {}}}
    metadata["managedFields"].append({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": theirs})
    held = read_back(metadata, None)
    assert held.whole
    assert held.others == {"more"}
    assert without(held, held.others)["data"] == {"more": None}


def test_those_who_share_a_secret_have_parts_of_their_own() -> None:
    """What a manager applies replaces what it applied before, so two of one name would remove each other's keys."""
    mine = replace(WRITING, by="uid-es", owner=None)
    metadata = stored(applied(mine, None), "uid-es")
    assert read_back(metadata, "uid-es").whole
    assert not read_back(metadata, "uid-other").whole
    assert read_back(metadata, "uid-other").versions == {}
    assert manager("uid-es") != manager("uid-other")


@pytest.mark.parametrize("text", ["", "no", "[]", '{"a": 1}', "[" * 5000])
def test_versions_that_cannot_be_read_are_none(text: str) -> None:
    metadata = stored(applied(WRITING, None))
    metadata["annotations"][VERSIONS] = text
    assert read_back(metadata, None).versions == {}


def test_a_secret_of_somebody_else_is_not_ours() -> None:
    held = read_back({"name": "web", "uid": "u", "resourceVersion": "1"}, None)
    assert (held.whole, held.marked, held.owner) == (False, False, None)
