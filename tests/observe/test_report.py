"""What the agent tells a person: as JSON, as text, as a page."""

from __future__ import annotations

import json

import pytest

from agent.core import status
from agent.core.errors import Failure
from agent.core.model import Delivery, Observation, Rotation
from agent.core.pins import Pin
from agent.core.record import replace
from agent.observe import page, report
from agent.observe.layout import Screen
from tests.core.test_status import BEGIN, published, result
from tests.support.words import bundle, target, wanted

NOW = 1000.0
WELL = status.after(
    replace(BEGIN, up_since=10.0, config_path="/etc/c.yaml", identity="environment", config_last_reload=10.0),
    result(
        published("db", accepted={"app": 1}),
        generation_made=True,
        succeeded=frozenset({"db"}),
        failures={"api": Failure("not_found", "no such secret")},
        observations={"db": Observation("v1", ("AWSCURRENT",), Rotation(8200.0, 3600.0, None))},
        next_polls={"db": 1042.0},
    ),
)
ILL = status.after(
    WELL,
    result(
        published("db", accepted={"app": 1}),
        failures={"db": Failure("access_denied", "web may not <read> it")},
        deliveries=(Delivery("app", 2, accepted=False, message="no handler yet"),),
        pending={"app": 2},
        next_tries={"app": 1004.0},
    ),
)


def test_a_healthy_agent_in_text() -> None:
    """Every line as a person reads it."""
    assert report.text(report.of_agent(WELL, NOW)) == (
        "freshmount 1.2.3, started 16m ago, last pass 15m ago.\n"
        "Published: generation 1, 16m ago.\n"
        "Config: /etc/c.yaml, read 16m ago.\n"
        "Identity: environment.\n"
        "\n"
        "SECRET  STATE   VERSION  STAGE    CREATED  SEEN     PUBLISHED  POLL    ROTATION\n"
        "db      fresh   v1       CURRENT  -        15m ago  16m ago    in 42s  in 2h\n"
        "api     absent  -        CURRENT  -        -        -          -       -\n"
        "\n"
        "TARGET  STATE  GENERATION  ACCEPTED  NEXT TRY\n"
        "app     -      1           -         -\n"
        "\n"
        "api: optional, and absent: not_found: no such secret\n"
    )


def test_an_agent_that_has_only_begun() -> None:
    """It waits for another one that holds the volume, perhaps."""
    text = report.text(report.of_agent(replace(BEGIN, up_since=999.0), NOW))
    assert text.startswith("freshmount 1.2.3, started 1s ago, no pass yet.\nPublished: nothing. No complete one yet")
    assert "Identity: not known yet." in text and "db      missing  -" in text


def test_what_is_wrong_has_its_sentence() -> None:
    """Which secret, which target, why, and when it is tried again."""
    text = report.text(report.of_agent(ILL, NOW))
    assert "db      stale   v1" in text and "app     pending 2  1           -         in 4s" in text
    assert "db: access_denied: web may not <read> it\n" in text and "app: no handler yet\n" in text


def test_a_refused_config_comes_first() -> None:
    """With every problem, in text, JSON and page; what is in force follows, and a good edit ends it."""
    refused = status.reloaded(ILL, 20.0, success=False, problems=("/etc/c.yaml:3:1: key 'x' is <not> known",))
    made = report.of_agent(refused, NOW)
    lines = report.text(made).splitlines()
    assert "REFUSED" in lines[0] and lines[1].startswith("/etc/c.yaml:3:1:") and lines[2].startswith("freshmount 1.2.3")
    assert made["agent"]["config"]["problems"] == list(refused.config_problems)
    assert "/etc/c.yaml:3:1: key &#x27;x&#x27; is &lt;not&gt; known" in page.html(made)
    assert "REFUSED" not in report.text(report.of_agent(status.reloaded(refused, 30.0, success=True), NOW))


PIN = {"db": Pin("v0", NOW + 1800.0)}
HELD = bundle(wanted("db", version_id="v0", version_stage=None))


def test_a_pin_is_pending_until_its_version_is_published() -> None:
    """No word of "held" before that, the old failure is no failure of it, and its own is."""
    pending = report.of_agent(status.configured(ILL, HELD, PIN), NOW)
    assert report.secret_state(pending["secrets"][0]) == "pin pending"
    assert pending["secrets"][0]["error"] is None
    said = report.text(pending)
    assert "pin pending" in said and "v0" in said and "held at this version" not in said
    absent = Failure("not_found", "no such version")
    failed = status.after(status.configured(ILL, HELD, PIN), result(published("db"), failures={"db": absent}))
    made = report.of_agent(failed, NOW)
    assert report.secret_state(made["secrets"][0]) == "pin pending"
    assert made["secrets"][0]["error"]["reason"] == "not_found"
    known = published("db")
    known = replace(known, secrets={"db": replace(known.secrets["db"], version_id="v0")})
    done = status.after(failed, result(known, succeeded=frozenset({"db"})))
    (db,) = report.of_agent(done, NOW)["secrets"]
    assert report.secret_state(db) == "pinned" and db["nextPoll"] == db["pinnedUntil"]
    assert "held at this version" in report.text(report.of_agent(done, NOW))


def test_a_version_that_the_config_fixes_is_never_polled() -> None:
    """Once it is published; until then there is a next try."""
    fixed = bundle(wanted("db", version_id="v1", version_stage=None))
    trying = status.after(
        status.configured(BEGIN, fixed),
        result(published("db"), failures={"db": Failure("timeout", "no answer")}, next_polls={"db": 1042.0}),
    )
    assert " in 42s " in report.text(report.of_agent(trying, NOW))
    settled = report.of_agent(status.after(trying, result(published("db"), succeeded=frozenset({"db"}))), NOW)
    assert settled["secrets"][0]["nextPoll"] is None
    assert dict(zip(report.SECRET_COLUMNS, report.secret_row(settled["secrets"][0], settled["at"]), strict=True)) == {
        "SECRET": "db", "STATE": "fresh", "VERSION": "v1", "STAGE": "fixed", "CREATED": "-", "SEEN": "15m ago",
        "PUBLISHED": "16m ago", "POLL": "never", "ROTATION": "-",
    }  # fmt: skip


def test_a_target_is_accepted_only_after_it_accepted() -> None:
    """The first files notify nobody, so nothing was accepted by then."""
    (first,) = report.of_agent(WELL, NOW)["targets"]
    assert report.target_state(first) == "-"
    told = status.after(WELL, result(published("db"), deliveries=(Delivery("app", 2, accepted=True, message="sent"),)))
    (app,) = report.of_agent(told, NOW)["targets"]
    assert (report.target_state(app), app["pendingGeneration"], app["acceptedGeneration"]) == ("accepted", None, 2)


def test_a_terminal_is_given_no_commands() -> None:
    """Names and sentences may come from whoever listens on the agent's port, or from AWS."""
    made = report.of_agent(ILL, NOW)
    made["secrets"][0]["error"]["message"] = "\033]0;title\007\r and so on"
    assert "?]0;title??" in report.text(made) and not set("\033\007\r") & set(report.text(made))


def test_a_time_that_cannot_be_is_none() -> None:
    """A damaged record may say anything, and a page is still a page."""
    assert [report.time_of(epoch) for epoch in (1e300, -5.0, float("nan"), float("inf"))] == [None] * 4


def test_the_text_fits_a_terminal() -> None:
    """Whatever the names; what gives way is marked."""
    long = status.configured(BEGIN, replace_names("a-secret-of-a-name-that-somebody-thought-about-for-very-long" * 2))
    for width in (60, 80, 200):
        lines = report.text(report.of_agent(long, NOW), Screen(width, terminal=True)).splitlines()
        assert max(map(len, lines)) <= width and any("…" in line for line in lines)


def replace_names(name: str) -> report.Any:
    return bundle(wanted(name, version_stage="A_STAGE_OF_ITS_OWN"), targets=(target(name),))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s ago"), (119, "119s ago"), (120, "2m ago"), (7300, "2h ago"), (200_000, "2d ago"), (-90, "in 90s")],
)
def test_times_are_told_from_now(seconds: float, shown: str) -> None:
    """Nobody subtracts at 3 a.m."""
    assert report.ago(report.time_of(1e6 - seconds), str(report.time_of(1e6))) == shown


def test_a_volume_without_an_agent() -> None:
    """What is published, and nothing that only the agent could know."""
    stands = published("db", accepted={"app": 1}, damage={"db": "missing"})
    made = report.of_volume(stands, NOW, "/vol")
    text = report.text(made)
    assert text.startswith("The agent does not answer") and "/vol" in text and "Damaged: db: missing." in text
    assert "db      -      v1       CURRENT" in text and "app     -      1 " in text
    json.dumps(made)


def test_the_page_says_what_the_text_says() -> None:
    """Whole without JavaScript, nothing from elsewhere, and nothing that AWS says becomes markup."""
    html = page.html(report.of_agent(ILL, NOW))
    for part in ("db", "stale", "pending 2", "in 4s", "no handler yet", "environment", "/etc/c.yaml"):
        assert part in html
    assert "web may not &lt;read&gt; it" in html and "<read>" not in html
    assert "http" not in html.replace("http-equiv", "") and "src=" not in html
