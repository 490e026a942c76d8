"""What a review asks for: a decision, a patch, or a sentence that has no value in it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from agent.controller.push import review as module
from agent.controller.push.review import Delete, Pass, Refusal, Rules, Write
from tests.controller.push.reviews import CANARY, HELD, OTHER, OURS, b64, body, forms, held, patched, review, secret

RULES = Rules("east")
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def decided(given: dict[str, Any], rules: Rules = RULES) -> Pass | Write | Delete:
    return module.decide(module.read(body(given)), rules)


def written(given: dict[str, Any], rules: Rules = RULES) -> Write:
    found = decided(given, rules)
    assert isinstance(found, Write), found
    return found


def refusal(given: dict[str, Any], rules: Rules = RULES) -> Refusal:
    with pytest.raises(Refusal) as raised:
        decided(given, rules)
    said = str(raised.value)
    assert [form for form in forms(CANARY) if form in said.encode()] == [], "a value is in the sentence"
    return raised.value


# -- create


def test_a_new_secret_is_written_as_one_json_object_of_its_keys() -> None:
    write = written(review(secret({"b": 'é"\n\x00', "a": CANARY}), uid="u" * 36))
    assert write.secret == "shop/db" and write.keys == ("a", "b") and write.asked.uid == "u" * 36
    assert json.loads(write.value.reveal()) == {"a": CANARY, "b": 'é"\n\x00'}
    again = written(review(secret({"a": CANARY, "b": 'é"\n\x00'})))
    assert again.value.reveal() == write.value.reveal(), "the same values are the same bytes, or a retry would fail"
    assert CANARY not in repr(write)


def test_string_data_replaces_data_and_is_gone_afterwards() -> None:
    new = secret({"a": "old", "b": "kept"}, stringData={"a": CANARY})
    assert json.loads(written(review(new)).value.reveal()) == {"a": CANARY, "b": "kept"}
    stored = patched(new, module.patch(new, OURS, "v1"))
    assert stored["data"] == {"a": b64(OURS), "b": b64(OURS)} and "stringData" not in stored


def test_what_is_stored_holds_the_arn_and_no_value() -> None:
    applied = json.dumps(
        {"kind": "Secret", "data": {"a": b64(CANARY), "gone": b64(CANARY)}, "stringData": {"b": CANARY}}
    )
    new = secret({"a": CANARY, "b": CANARY}, annotations={APPLIED: applied + "\n", "team": "shop"})
    stored = patched(new, module.patch(new, OURS, "v2"))
    assert stored["data"] == {"a": b64(OURS), "b": b64(OURS)}
    annotations = stored["metadata"]["annotations"]
    assert annotations["freshmount.dev/arn"] == OURS and annotations["freshmount.dev/version"] == "v2"
    assert annotations["team"] == "shop"
    assert json.loads(annotations[APPLIED]) == {
        "kind": "Secret",
        "data": {"a": b64(OURS), "gone": b64(OURS)},
        "stringData": {"b": OURS},
    }
    assert [form for form in forms(CANARY) if form in json.dumps(stored).encode()] == []


@pytest.mark.parametrize(
    "text", [f'{{"data": {{"a": "{CANARY}"', f'{{"data": "{CANARY}"}}', "[]", '{"data": {"a": 1}}']
)
def test_a_copy_of_kubectl_that_cannot_be_read_goes(text: str) -> None:
    new = secret(annotations={APPLIED: text})
    assert APPLIED not in patched(new, module.patch(new, OURS, "v2"))["metadata"]["annotations"]


def test_a_secret_without_annotations_or_keys() -> None:
    new = secret()
    assert "annotations" not in new["metadata"]
    assert patched(new, module.patch(new, OURS, "v1"))["metadata"]["annotations"]["freshmount.dev/arn"] == OURS
    assert decided(review(secret({}))) == Pass()
    bare = secret({})
    del bare["data"]
    assert decided(review(bare)) == Pass()


def test_a_value_that_is_an_arn_already_passes() -> None:
    assert decided(review(secret({"a": OURS, "b": OURS}))) == Pass()
    assert decided(review(secret({"a": OTHER}))) == Pass()


def test_an_arn_among_values_is_a_value_unless_it_is_this_secrets() -> None:
    write = written(review(secret({"a": CANARY, "role": OTHER})))
    assert json.loads(write.value.reveal()) == {"a": CANARY, "role": OTHER}
    assert "'a' would change" in str(refusal(review(secret({"a": CANARY, "b": OURS}))))


@pytest.mark.parametrize(
    ("annotations", "prefix", "name"),
    [
        ({}, "", "shop/db"),
        ({}, "prod/", "prod/shop/db"),
        ({"freshmount.dev/push-name": "shop/other/db"}, "", "shop/other/db"),
        ({"freshmount.dev/push-name": "prod/shop/x"}, "prod/", "prod/shop/x"),
    ],
)
def test_how_it_is_called_in_aws(annotations: dict[str, str], prefix: str, name: str) -> None:
    assert written(review(secret(annotations=annotations)), Rules("east", prefix)).secret == name


@pytest.mark.parametrize("name", ["other/db", "shop", "shop/", "shop2/db", "/shop/db", "", "prod/shop/db"])
def test_a_name_of_another_namespace_is_refused(name: str) -> None:
    refused = refusal(review(secret(annotations={"freshmount.dev/push-name": name})))
    assert refused.code == 403 and "below shop/" in str(refused)


@pytest.mark.parametrize("name", ["shop/a b", "shop/ü", "shop/" + "x" * 508, "shop/a\n"])
def test_a_name_that_aws_does_not_take_is_refused(name: str) -> None:
    assert "not a name for AWS" in str(refusal(review(secret(annotations={"freshmount.dev/push-name": name}))))


def test_binary_values_are_named_or_refused() -> None:
    new = secret({"keystore": b"\xff\x00\x01", "a": CANARY})
    assert "'keystore' is not text" in str(refusal(review(new)))
    new["metadata"]["annotations"] = {"freshmount.dev/push-base64": "keystore"}
    assert json.loads(written(review(new)).value.reveal()) == {"a": CANARY, "keystore": b64(b"\xff\x00\x01")}
    new["metadata"]["annotations"] = {"freshmount.dev/push-base64": "keystore, typo"}
    assert "'typo'" in str(refusal(review(new)))


def test_a_key_that_is_named_is_base64_whatever_its_value() -> None:
    new = secret({"token": "text"}, annotations={"freshmount.dev/push-base64": "token"})
    assert json.loads(written(review(new)).value.reveal()) == {"token": b64("text")}


def test_the_limit_of_aws() -> None:
    room = 65_536 - len('{"a":""}')
    assert len(written(review(secret({"a": "x" * room}))).value) == 65_536
    assert "65,537 bytes" in str(refusal(review(secret({"a": "x" * (room + 1)}))))
    assert "divide the Secret" in str(refusal(review(secret({"a": CANARY * (1 << 16)}))))


@pytest.mark.parametrize(
    "kind",
    ["kubernetes.io/service-account-token", "kubernetes.io/dockerconfigjson", "bootstrap.kubernetes.io/token"],
)
def test_types_whose_readers_need_the_value_are_refused(kind: str) -> None:
    assert f"type {kind}" in str(refusal(review(secret(type=kind))))


@pytest.mark.parametrize("kind", ["kubernetes.io/tls", "kubernetes.io/basic-auth", "example.com/own"])
def test_other_types_are_pushed(kind: str) -> None:
    assert written(review(secret(type=kind)))


def test_a_name_that_is_not_known_yet_is_refused() -> None:
    new = secret()
    del new["metadata"]["name"]
    new["metadata"]["generateName"] = "db-"
    assert "generateName" in str(refusal(review(new, name="")))


@pytest.mark.parametrize("copy", [CANARY, b64(CANARY), json.dumps({"a": CANARY}), f"x {b64(CANARY)} y"])
def test_a_copy_of_a_value_in_an_annotation_is_refused(copy: str) -> None:
    refused = refusal(review(secret(annotations={"kapp.k14s.io/original": copy})))
    assert "kapp.k14s.io/original" in str(refused) and "'password'" in str(refused)


def test_a_copy_beside_the_values_that_kubectl_applied_is_refused() -> None:
    applied = json.dumps({"metadata": {"annotations": {"note": CANARY}}, "data": {"password": b64(CANARY)}})
    assert "last-applied" in str(refusal(review(secret(annotations={APPLIED: applied}))))


def test_a_common_word_in_an_annotation_is_no_copy() -> None:
    assert written(review(secret({"user": "postgres"}, annotations={"app": "postgres"})))


# -- update


def test_new_values_of_all_keys_are_written() -> None:
    write = written(review(secret({"password": CANARY, "user": "app"}, metadata={"uid": HELD}), held()))
    assert write.asked.operation == "update" and write.asked.held == HELD and write.version == "v1"
    assert write.warnings == ()


def test_an_unchanged_secret_passes_without_a_call() -> None:
    assert decided(review(held(annotations={"note": "new"}), held())) == Pass()


def test_a_copy_of_kubectl_is_cleaned_also_then() -> None:
    clean = json.dumps({"data": {"password": b64(OURS)}})
    assert decided(review(held(annotations={APPLIED: clean}), held())) == Pass()
    new = held(annotations={APPLIED: json.dumps({"data": {"password": b64(CANARY)}})})
    passed = decided(review(new, held()))
    assert isinstance(passed, Pass)
    stored = patched(new, passed.patch)
    assert json.loads(stored["metadata"]["annotations"][APPLIED]) == {"data": {"password": b64(OURS)}}
    new["metadata"]["annotations"][APPLIED] = CANARY
    passed = decided(review(new, held()))
    assert isinstance(passed, Pass) and APPLIED not in patched(new, passed.patch)["metadata"]["annotations"]


def test_a_change_of_some_keys_is_refused() -> None:
    refused = refusal(review(held({"password": CANARY, "user": OURS}), held({"password": OURS, "user": OURS})))
    assert "'password' would change" in str(refused) and "values of all its keys" in str(refused)


def test_a_key_that_is_added_alone_is_refused() -> None:
    assert "'new' would change" in str(refusal(review(held({"password": OURS, "new": CANARY}), held())))


def test_a_key_that_is_removed_alone_is_refused() -> None:
    before = held({"password": OURS, "user": OURS})
    assert "'user' would be removed" in str(refusal(review(held(), before)))
    assert "'password', 'user' would be removed" in str(refusal(review(held({}), before)))


def test_a_key_that_is_removed_with_the_values_of_the_others_is_gone_in_aws() -> None:
    write = written(review(held({"password": CANARY}), held({"password": OURS, "user": OURS})))
    assert json.loads(write.value.reveal()) == {"password": CANARY}


def test_the_second_look_at_a_change_passes_what_the_first_wrote() -> None:
    """The API server asks again if another webhook changed the object afterwards."""
    before = held({"password": OURS, "user": OURS})
    new = held({"password": CANARY}, annotations={"freshmount.dev/push-name": "shop/other"})
    stored = patched(new, module.patch(new, OTHER, "v2"))
    assert decided(review(stored, before)) == Pass()


def test_another_name_needs_all_values() -> None:
    named = {"freshmount.dev/push-name": "shop/other"}
    assert "push-name" in str(refusal(review(held(annotations=named), held())))
    assert written(review(held({"password": CANARY}, annotations=named), held())).secret == "shop/other"


def test_a_secret_that_is_labelled_later_is_pushed_with_a_warning() -> None:
    write = written(review(secret(metadata={"uid": HELD}), secret(labels={"freshmount.dev/push": "no"})))
    assert len(write.warnings) == 1 and "backups of etcd" in write.warnings[0]
    assert CANARY not in write.warnings[0]


def test_without_the_label_nothing_is_pushed_any_more() -> None:
    gone = decided(review(held({"password": CANARY}, labels={"freshmount.dev/push": "false"}), held()))
    assert isinstance(gone, Pass) and gone.patch == () and "stay in the cluster" in gone.warnings[0]
    assert decided(review(secret(labels={"freshmount.dev/push": "no"}))) == Pass()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": {"resourceVersion": "6"}}, "resourceVersion"),
        ({"metadata": {"uid": "another"}}, "uid"),
        ({"type": "kubernetes.io/tls"}, "type"),
        ({"annotations": {"freshmount.dev/deletion": "sometimes"}}, "freshmount.dev/deletion"),
    ],
)
def test_what_the_api_server_would_refuse_after_aws_was_written(change: dict[str, Any], words: str) -> None:
    assert words in str(refusal(review(held({"password": CANARY}, **change), held())))


def test_an_immutable_secret() -> None:
    assert written(review(secret(immutable=True)))
    assert "immutable" in str(refusal(review(held({"password": CANARY}), held(immutable=True))))
    assert decided(review(held(immutable=True, annotations={"a": "b"}), held(immutable=True))) == Pass()


# -- delete


def test_a_deletion_reaches_aws_only_where_that_is_asked_for() -> None:
    assert decided(review(None, held())) == Pass()
    assert decided(review(None, held(annotations={"freshmount.dev/deletion": "retain"}))) == Pass()
    found = decided(review(None, held(annotations={"freshmount.dev/deletion": "delete"})))
    assert isinstance(found, Delete) and found.secret == "shop/db" and found.asked.held == HELD
    unlabelled = held(annotations={"freshmount.dev/deletion": "delete"}, labels={"freshmount.dev/push": "false"})
    assert decided(review(None, unlabelled)) == Pass()


def test_a_deletion_reaches_no_other_namespace() -> None:
    annotations = {"freshmount.dev/deletion": "delete", "freshmount.dev/push-name": "other/db"}
    assert refusal(review(None, held(annotations=annotations))).code == 403


# -- what is not a review


@pytest.mark.parametrize(
    "given",
    [
        b"",
        CANARY.encode(),
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"apiVersion": "admission.k8s.io/v1", "request": []}',
        body(review(secret()) | {"apiVersion": "admission.k8s.io/v1beta1"}),
        body(review(secret(), uid="short")),
        body(review(secret(), uid="x" * 65)),
        body(review(secret(), uid="x" * 32 + "\n")),
        body(review(secret(), kind={"group": "", "version": "v1", "kind": "ConfigMap"})),
        body(review(secret(), subResource="status")),
        body(review(secret(), operation="CONNECT")),
        body(review(secret(), operation=["CREATE"])),
        body(review(secret(), namespace="")),
        body(review(None)),
        body(review(secret() | {"metadata": CANARY})),
        body(review(secret() | {"data": {"a": 1}})),
        body(review(secret() | {"data": CANARY})),
        body(review(secret() | {"metadata": {"annotations": {"a": None}}})),
    ],
)
def test_what_is_not_a_review_of_a_secret_is_refused(given: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        module.decide(module.read(given), RULES)
    assert raised.value.code == 400 and CANARY not in str(raised.value)
    assert raised.value.__context__ is None


@pytest.mark.parametrize("text", ["%%%", CANARY, "YQ", "YQ==\n"])
def test_data_that_is_not_base64_is_refused(text: str) -> None:
    refused = refusal(review(secret() | {"data": {"a": text}}))
    assert refused.code == 400 and "'a'" in str(refused)
    assert refused.__context__ is None


# -- answers


def test_an_answer_is_for_its_request() -> None:
    answer = module.allowed("u1", module.patch(secret(), OURS, "v1"), ["words"])
    assert answer["response"]["uid"] == "u1" and answer["response"]["allowed"] and answer["kind"] == "AdmissionReview"
    assert answer["response"]["patchType"] == "JSONPatch" and answer["response"]["warnings"] == ["words"]
    assert CANARY.encode() not in base64.b64decode(answer["response"]["patch"])
    assert module.allowed("u1")["response"] == {"uid": "u1", "allowed": True}
    refused = module.refused("u1", Refusal(422, "why"))
    assert refused["response"]["status"]["message"] == "why" and not refused["response"]["allowed"]


def test_a_message_of_others_that_repeats_a_value_is_noticed() -> None:
    value = written(review(secret({"a": CANARY, "b": 'with "quotes"', "c": "app"}))).value
    assert module.repeats(f"1 error: Value '{CANARY}' at 'secretString'", value)
    assert module.repeats(r"at with \"quotes\"", value)
    assert not module.repeats("User: arn:aws:sts::1:assumed-role/app is not authorized", value)
