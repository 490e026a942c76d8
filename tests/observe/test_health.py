"""What a status means to a kubelet."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from agent.core import status
from agent.core.errors import Failure
from agent.core.model import Published
from agent.core.record import replace
from agent.observe import health
from agent.observe.http import Page
from tests.core.test_status import BEGIN, CONFIG, published, result
from tests.observe.test_metrics import GOOD
from tests.support.words import bundle, wanted


def content(page: Page) -> dict[str, object]:
    assert page.content_type == "application/json"
    return dict(json.loads(page.body))


def test_live_while_the_loop_turns() -> None:
    """AWS does not matter, time does."""
    turning = replace(BEGIN, turns_by=100.0)
    assert health.live(turning, 100.0).status == 200
    late = health.live(turning, 107.0)
    assert (late.status, content(late)) == (503, {"live": False, "lateBySeconds": 7.0})


def test_started_with_the_first_complete_generation() -> None:
    """And not before."""
    assert health.started(BEGIN).status == 503
    assert health.started(GOOD).status == 200


@pytest.mark.parametrize(("stale_after", "now", "code"), [(0.0, 10**9, 200), (60.0, 160.0, 200), (60.0, 161.0, 503)])
def test_ready_depends_on_age_only_if_asked_to(stale_after: float, now: float, code: int) -> None:
    """Counted from the last confirmation."""
    assert health.ready(replace(GOOD, stale_after=stale_after), now).status == code


def test_strangers_learn_no_name() -> None:
    """A probe by any Host is answered as ever, and the pages for people are none for a browser that was led here."""
    failed = status.after(GOOD, result(published("db"), failures={"api": Failure("not_found", "arn:aws:canary")}))
    for found, code in ((failed, 200), (BEGIN, 503)):
        made = health.for_strangers(lambda found=found: found)  # type: ignore[misc]
        assert made.keys() == {"/", "/status", "/readyz"}
        assert (made["/readyz"]().status, content(made["/readyz"]())) == (code, {"ready": code == 200})
        assert made["/"]().status == made["/status"]().status == 421
    assert health.ready(failed, 100.0).body.count(b"canary") == 1


def test_an_edit_that_asks_for_what_cannot_be_had_takes_nobody_out() -> None:
    """All pods read the edit at once. What they serve is there and fresh; the new secret alone is told as not ready."""
    asked = status.configured(GOOD, bundle(wanted("db"), wanted("new"), stale_after=60.0))
    failed = status.after(
        asked, result(published("db"), complete=False, failures={"new": Failure("not_found", "no such secret")})
    )
    page = health.ready(failed, 160.0)
    assert (page.status, content(page)["ready"]) == (200, True)
    assert [(s["name"], s["ready"], s["error"] is None) for s in content(page)["secrets"]] == [  # type: ignore[attr-defined]
        ("db", True, True),
        ("new", False, False),
    ]
    assert health.ready(failed, 161.0).status == 503


def test_an_edit_of_what_is_served_does_not_let_it_grow_old() -> None:
    """Nobody asks any more for what was asked for before, so its age says nothing."""
    asked = replace(GOOD, stale_after=60.0)
    edited = status.after(
        asked, result(published("db"), complete=False, as_asked=frozenset(), failures={"db": Failure("not_found", "x")})
    )
    assert health.ready(edited, 10**9).status == 200
    back = status.after(edited, result(published("db")))
    assert health.ready(back, 10**9).status == 503


def test_a_version_that_is_asked_for_by_its_id_does_not_grow_old() -> None:
    """It never changes, and is never asked for again."""
    fixed = status.configured(GOOD, bundle(wanted("db", version_id="v1", version_stage=None), stale_after=60.0))
    assert health.ready(fixed, 10**9).status == 200


def test_files_that_are_gone_are_not_ready() -> None:
    """A volume that was emptied is another matter than a secret that was never there."""
    assert health.ready(status.after(GOOD, result(Published())), 100.0).status == 503


def test_readiness_tells_each_secret_for_people() -> None:
    """Times that people read, the error of the last attempt, and optional secrets that are not there."""
    failed = status.after(GOOD, result(published("db"), failures={"api": Failure("not_found", "no such secret")}))
    page = health.ready(failed, 100.0)
    assert page.status == 200
    assert content(page) == {
        "ready": True,
        "generation": 1,
        "secrets": [
            {
                "name": "db", "ready": True, "versionId": "v1", "versionStage": "AWSCURRENT",
                "publishedAt": "1970-01-01T00:00:40.000Z", "lastSuccess": "1970-01-01T00:01:40.500Z",
                "upToDate": True, "error": None,
            },
            {
                "name": "api", "ready": True, "versionId": None, "versionStage": "AWSCURRENT", "publishedAt": None,
                "lastSuccess": None, "upToDate": True,
                "error": {"reason": "not_found", "message": "no such secret"},
            },
        ],
    }  # fmt: skip
    assert not content(health.ready(status.begin(CONFIG, "1", 0.0), 100.0))["ready"]


def test_a_kubelet_needs_no_metrics() -> None:
    """It is imported at the first scrape, after the app has its files."""
    script = (
        "import sys; from agent.observe import health; from tests.core.test_status import BEGIN\n"
        "made = health.pages(lambda: BEGIN)\n"
        "for path in ('/livez', '/readyz', '/metrics'):\n"
        "    made[path](); print('agent.observe.metrics' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
