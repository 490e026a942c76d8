"""What a status means to a scraper."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.core import status
from agent.core.errors import REASONS
from agent.core.status import Status
from agent.observe import health
from tests.core.test_status import BEGIN, published, result
from tests.support.words import bundle, wanted

GOOD = status.after(BEGIN, result(published("db"), generation_made=True, succeeded=frozenset({"db"})))


def exposition(of: Status) -> str:
    return health.pages(lambda: of)["/metrics"]().body.decode()


def samples(of: Status) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(exposition(of)):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return {name: value for name, value in found.items() if name.startswith("freshmount_")}


def test_every_counter_is_there_at_zero_from_the_start() -> None:
    """An alert on an increase needs the zero before it."""
    found = samples(BEGIN)
    for outcome in ("success", "noop", "error"):
        assert found[f'freshmount_passes_total{{outcome="{outcome}"}}'] == 0
    for name in ("db", "api"):
        for reason in REASONS:
            assert found[f'freshmount_secret_errors_total{{reason="{reason}",secret="{name}"}}'] == 0
    for outcome in ("accepted", "refused"):
        assert found[f'freshmount_notifications_total{{result="{outcome}",target="app"}}'] == 0
    for operation in ("DescribeSecret", "GetSecretValue"):
        labels = f'operation="{operation}",source="secretsmanager"'
        assert found[f'freshmount_source_requests_total{{code="OK",{labels}}}'] == 0
        assert found[f"freshmount_source_request_duration_seconds_count{{{labels}}}"] == 0
    assert found["freshmount_repairs_total{}"] == found['freshmount_notification_pending{target="app"}'] == 0
    assert found['freshmount_build_info{version="1.2.3"}'] == 1
    assert found["freshmount_config_reload_success{}"] == 1


def test_a_timestamp_appears_with_its_first_event() -> None:
    """A zero would be an age of fifty years."""
    assert [name for name in samples(BEGIN) if "timestamp" in name] == []
    found = samples(GOOD)
    assert found["freshmount_last_pass_timestamp_seconds{}"] == 100.5
    assert found["freshmount_generation_timestamp_seconds{}"] == 50.0
    assert found['freshmount_secret_last_success_timestamp_seconds{secret="db"}'] == 100.5
    assert found['freshmount_secret_published_timestamp_seconds{secret="db"}'] == 40.0
    assert found['freshmount_secret_version_info{secret="db",version_id="v1",version_stage="AWSCURRENT"}'] == 1
    assert found['freshmount_secret_up_to_date{secret="db"}'] == 1
    assert 'freshmount_secret_last_success_timestamp_seconds{secret="api"}' not in found


def test_series_go_with_their_secret_and_target() -> None:
    """No ghost of a config that is gone."""
    after = samples(status.configured(GOOD, bundle(wanted("other"))))
    assert [name for name in after if '"db"' in name or '"api"' in name or '"app"' in name] == []
    assert after['freshmount_secret_period_seconds{secret="other"}'] == 60


def test_all_names_are_those_of_the_contract() -> None:
    """Dashboards and alerts hang on them."""
    families = {f.name for f in text_string_to_metric_families(exposition(GOOD)) if f.name.startswith("freshmount_")}
    assert families == {
        f"freshmount_{name}"
        for name in (
            "build_info", "passes", "pass_duration_seconds", "last_pass_timestamp_seconds",
            "generation_timestamp_seconds", "secret_last_success_timestamp_seconds", "secret_period_seconds",
            "secret_version_info", "secret_published_timestamp_seconds", "secret_next_rotation_timestamp_seconds",
            "secret_errors", "secret_up_to_date", "repairs", "source_requests", "source_request_duration_seconds",
            "notifications", "notification_pending", "publish_to_notify_seconds", "rotation_to_file_seconds",
            "secret_pinned_until_timestamp_seconds", "secret_region_info",
            "config_reload_success", "config_last_reload_timestamp_seconds",
        )
    }  # fmt: skip


def test_histograms_are_cumulative() -> None:
    """As Prometheus has them."""
    found = samples(GOOD)
    assert found['freshmount_pass_duration_seconds_bucket{le="0.25"}'] == 0
    assert found['freshmount_pass_duration_seconds_bucket{le="0.5"}'] == 1
    assert found['freshmount_pass_duration_seconds_bucket{le="+Inf"}'] == 1
    assert found["freshmount_pass_duration_seconds_sum{}"] == 0.5


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_to_mend() -> None:
    """Its linter for names, units and help texts."""
    said = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(GOOD), capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
