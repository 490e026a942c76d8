"""Parameter Store over HTTP: what is asked, what comes of it, and that one parameter fails for no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from agent.core.errors import Failure
from agent.core.model import OK, Kind, Observation, Place, Ref, Request, Secret
from agent.core.value import Fetched
from agent.sources.aws.parameter_store import AT_ONCE, Pace
from agent.sources.aws.source import Aws
from tests.support.aws import MotoStandIn
from tests.support.services import Services, denied, error, serving


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pod")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def ssm() -> Iterator[Services]:
    with serving() as (services, url):
        services.url = url  # type: ignore[attr-defined]
        yield services


def parameter(ssm: Any, given: str, kind: Kind = "parameter", name: str | None = None, **version: Any) -> Secret:
    place = Place("eu-west-1", ssm.url)
    return Secret(name or given.strip("/"), Ref(given, place, kind=kind, **version), 60.0, optional=False)


def observed(ssm: Any, *secrets: Secret, source: Aws | None = None) -> dict[str, Observation | Failure]:
    source = source or Aws()
    batches = source.batches([Request(secret) for secret in secrets])
    return {name: result for batch in batches for name, result in source.observe(batch).results.items()}


def got(ssm: Any, *requests: Request, source: Aws | None = None) -> dict[str, Fetched | Failure]:
    source = source or Aws()
    batches = source.batches(requests)
    return {name: result for batch in batches for name, result in source.fetch(batch).results.items()}


def test_a_parameter_is_observed_without_and_fetched_with_decryption(ssm: Any) -> None:
    """By its latest version, by a label, and by a version."""
    ssm.put_parameter("/prod/flags", "old", label="live")
    ssm.put_parameter("/prod/flags", "new")
    latest, labelled = parameter(ssm, "/prod/flags"), parameter(ssm, "/prod/flags", name="live", version_stage="live")
    fixed = parameter(ssm, "/prod/flags", name="fixed", version_stage=None, version_id="1")
    seen = observed(ssm, latest, labelled)
    assert [seen[name].version_id for name in ("prod/flags", "live")] == ["2", "1"]  # type: ignore[union-attr]
    assert not any(call.sent["WithDecryption"] for call in ssm.calls)
    values = got(ssm, Request(latest, "2"), Request(labelled), Request(fixed, "1"))
    assert {name: each.value.reveal() for name, each in values.items()} == {  # type: ignore[union-attr]
        "prod/flags": b"new",
        "live": b"old",
        "fixed": b"old",
    }
    assert values["live"].stages == ("live",) and values["fixed"].stages == ()  # type: ignore[union-attr]
    assert all(value.value.text for value in values.values())  # type: ignore[union-attr]


def test_moto_agrees() -> None:
    """A second opinion on names, ARNs, labels, paths, dates and types."""
    with MotoStandIn() as aws:
        keys: Any = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        client = boto3.session.Session().client("ssm", region_name="eu-west-1", endpoint_url=aws.url, **keys)
        client.put_parameter(Name="/moto/flags", Value="old", Type="SecureString")
        client.put_parameter(Name="/moto/flags", Value="new", Type="SecureString", Overwrite=True)
        client.put_parameter(Name="/moto/a/list", Value="x,y", Type="StringList")
        client.label_parameter_version(Name="/moto/flags", ParameterVersion=1, Labels=["live"])
        arn = client.get_parameter(Name="/moto/flags")["Parameter"]["ARN"]
        for given, version, text in ((arn, {}, b"new"), ("/moto/flags", {"version_stage": "live"}, b"old")):
            wanted = parameter(aws, given, name="x", **version)
            seen = observed(aws, wanted)["x"]
            assert isinstance(seen, Observation)
            value = got(aws, Request(wanted, seen.version_id))["x"]
            assert isinstance(value, Fetched) and value.value.reveal() == text
            assert value.created_at == seen.created_at
        beneath = parameter(aws, "/moto/", "parameters")
        value = got(aws, Request(beneath))["moto"]
        assert isinstance(value, Fetched)
        assert json.loads(value.value.reveal()) == {"flags": "new", "a/list": "x,y"}
        missing = observed(aws, parameter(aws, "/moto/nope"))["moto/nope"]
        assert isinstance(missing, Failure) and missing.reason == "not_found"


def test_ten_share_a_call_and_no_name_comes_twice_in_one(ssm: Any) -> None:
    """100 parameters are 10 calls; the answers come in another order than they were asked for."""
    for number in range(100):
        ssm.put_parameter(f"/p/{number}", f"value {number}")
    all_of_them = [parameter(ssm, f"/p/{number}") for number in range(100)]
    source = Aws()
    values = got(ssm, *(Request(each) for each in all_of_them), source=source)
    assert {n: v.value.reveal().decode() for n, v in values.items()} == {  # type: ignore[union-attr]
        f"p/{number}": f"value {number}" for number in range(100)
    }
    assert [len(call.names) for call in ssm.calls] == [AT_ONCE] * 10
    batches = source.batches([Request(parameter(ssm, "/p/1")), Request(parameter(ssm, "/p/1", name="again"))])
    assert [len(batch) for batch in batches] == [1, 1]


def test_one_that_is_denied_fails_for_no_other_and_is_asked_for_alone_from_then_on(ssm: Any) -> None:
    """AWS refuses the whole call for it. The others are asked for again, once; then ten share a call as before."""
    for name in ("/a", "/b", "/secret"):
        ssm.put_parameter(name, name)
    ssm.faults[None, "/secret"] = denied("ssm:GetParameters")
    source, secrets = Aws(), [parameter(ssm, name) for name in ("/a", "/secret", "/b")]
    seen = observed(ssm, *secrets, source=source)
    assert isinstance(seen["a"], Observation) and isinstance(seen["b"], Observation)
    failure = seen["secret"]
    assert isinstance(failure, Failure) and failure.reason == "access_denied"
    assert "ssm:GetParameters" in failure.message and "parameter/secret" in failure.message
    assert len(ssm.calls) == 4
    observed(ssm, *secrets, source=source)
    assert [call.names for call in ssm.calls[4:]] == [("/a", "/b"), ("/secret",)]
    ssm.faults.clear()
    observed(ssm, *secrets, source=source)
    observed(ssm, *secrets, source=source)
    assert ssm.calls[-1].names == ("/a", "/secret", "/b")


@pytest.mark.parametrize("version", [{}, {"version_stage": "nope"}, {"version_stage": None, "version_id": "9"}])
def test_one_that_is_not_there_is_named(ssm: Any, version: dict[str, Any]) -> None:
    """With its version or its label, and alone: the others come."""
    ssm.put_parameter("/there", "x")
    asked = parameter(ssm, "/there" if version else "/nope", name="a", **version)
    seen = got(ssm, Request(asked), Request(parameter(ssm, "/here", name="b")), Request(parameter(ssm, "/there")))
    for name in ("a", "b"):
        failure = seen[name]
        assert isinstance(failure, Failure) and failure.reason == "not_found"
    assert isinstance(seen["there"], Fetched)


def test_throttling_is_everybodys_and_is_not_made_worse(ssm: Any) -> None:
    """No call by itself for each of ten: the quota is used up."""
    ssm.faults[None, "GetParameters"] = error("ThrottlingException", "Rate exceeded")
    secrets = [parameter(ssm, f"/p/{number}") for number in range(10)]
    seen = observed(ssm, *secrets, source=Aws(attempts=1))
    assert {failure.reason for failure in seen.values()} == {"throttled"}  # type: ignore[union-attr]
    assert len(ssm.calls) == 1


def test_calls_begin_at_a_pace_that_leaves_others_theirs() -> None:
    """A burst, then one after the other; each place has its own."""
    now, waits = [0.0], []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    pace = Pace(20.0, 10, clock=lambda: now[0], pause=pause)
    here, there = Place("eu-west-1", None), Place("eu-central-1", None)
    for _ in range(30):
        pace.wait(here)
    assert len(waits) == 20 and sum(waits) == pytest.approx(1.0)
    pace.wait(there)
    assert len(waits) == 20


def test_all_beneath_a_path_are_one_object(ssm: Any) -> None:
    """Of all pages. The version says how many there are, and moves with each of them, with a new one, and with one that
    vanishes; never with what they hold."""
    for number in range(25):
        ssm.put_parameter(f"/prod/app/{number:02}", f"v{number}")
    ssm.put_parameter("/prod/other", "not mine")
    ssm.put_parameter("/prod/application", "nor mine")
    wanted, source = parameter(ssm, "/prod/app/", "parameters", name="app"), Aws()
    first = observed(ssm, wanted, source=source)["app"]
    assert isinstance(first, Observation) and first.version_id.startswith("25-")
    assert len(ssm.calls) == 3 and not any(call.sent["WithDecryption"] for call in ssm.calls)
    answers = source.fetch((Request(wanted, first.version_id),))
    value = answers.results["app"]
    assert isinstance(value, Fetched) and value.version_id == first.version_id
    assert json.loads(value.value.reveal()) == {f"{number:02}": f"v{number}" for number in range(25)}
    assert [(call.source, call.operation, call.code) for call in answers.calls] == [
        ("ssm", "GetParametersByPath", OK)
    ] * 3
    versions = {first.version_id}
    ssm.put_parameter("/prod/app/03", "moved")
    versions.add(observed(ssm, wanted)["app"].version_id)  # type: ignore[union-attr]
    ssm.put_parameter("/prod/app/deep/er", "new")
    versions.add(observed(ssm, wanted)["app"].version_id)  # type: ignore[union-attr]
    del ssm.parameters["eu-west-1", "/prod/app/07"]
    versions.add(observed(ssm, wanted)["app"].version_id)  # type: ignore[union-attr]
    assert len(versions) == 4
    del ssm.parameters["eu-west-1", "/prod/app/08"]
    ssm.put_parameter("/prod/app/08", "v8")  # made again, with the same content and number
    versions.add(observed(ssm, wanted)["app"].version_id)  # type: ignore[union-attr]
    assert len(versions) == 5


def test_a_path_with_nothing_beneath_it_is_not_found(ssm: Any) -> None:
    """It is a slip more often than a wish, and must not take the files away."""
    failure = observed(ssm, parameter(ssm, "/nope", "parameters"))["nope"]
    assert isinstance(failure, Failure) and failure.reason == "not_found" and "/nope" in failure.message


def test_a_listing_that_does_not_end_fails_the_whole(ssm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not listed must not look deleted."""
    monkeypatch.setattr("agent.sources.aws.sets.PAGES", 2)
    for number in range(25):
        ssm.put_parameter(f"/app/{number:02}", "value")
    beneath = parameter(ssm, "/app", "parameters")
    for failed in (observed(ssm, beneath)["app"], got(ssm, Request(beneath))["app"]):
        assert isinstance(failed, Failure) and failed.reason == "invalid" and "pages" in failed.message


def test_a_page_that_fails_fails_the_whole(ssm: Any) -> None:
    """Half a set is no set."""
    for number in range(12):
        ssm.put_parameter(f"/p/{number}", "x")
    ssm.faults[None, "/p"] = denied("ssm:GetParametersByPath")
    failure = observed(ssm, parameter(ssm, "/p/", "parameters"))["p"]
    assert isinstance(failure, Failure) and failure.reason == "access_denied"
    assert "parameter/p/*" in failure.message


def test_an_earlier_state_of_a_set_cannot_be_had(ssm: Any) -> None:
    """A pin says so, and the files stay."""
    ssm.put_parameter("/p/a", "x")
    wanted = parameter(ssm, "/p", "parameters")
    pinned = Secret("p", wanted.ref.at("9-abc"), 60.0, optional=False)
    failure = got(ssm, Request(pinned, "9-abc"))["p"]
    assert isinstance(failure, Failure) and failure.reason == "not_found"


def test_a_set_that_is_too_large_is_refused_with_its_name(ssm: Any) -> None:
    """By its members, and by its bytes."""
    for number in range(300):
        ssm.put_parameter(f"/large/{number}", "x" * 4096)
    wanted = Request(parameter(ssm, "/large", "parameters"))
    failure = got(ssm, wanted, source=fast(wanted))["large"]
    assert isinstance(failure, Failure) and failure.reason == "invalid" and "/large" in failure.message


def fast(request: Request) -> Aws:
    """Without the pace for such requests."""
    source = Aws()
    source._reader(request)._pace = Pace(1e6)  # type: ignore[union-attr]
    return source


def test_one_parameter_by_name_and_by_arn(ssm: Any) -> None:
    """In one call, as two secrets."""
    ssm.put_parameter("/a", "x")
    arn = "arn:aws:ssm:eu-west-1:111122223333:parameter/a"
    values = got(ssm, Request(parameter(ssm, "/a", name="named")), Request(parameter(ssm, arn, name="by-arn")))
    assert {name: value.value.reveal() for name, value in values.items()} == {  # type: ignore[union-attr]
        "named": b"x",
        "by-arn": b"x",
    }
