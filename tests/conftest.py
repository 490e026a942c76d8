"""What every test starts from: signals as a terminal has them, an end in time, and no AWS but what a test brings."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import certifi
import pytest

from tests.support import length, models, warm
from tests.support.paths import ROOT

LONGEST = 600.0  # seconds for a test, its setup and its teardown each; on two cores the slowest takes a tenth of it
_AGAIN = 30.0  # seconds until it is interrupted once more: what it does to tidy up may wait as well
# The files whose tests wait for another process most of their time, in turns for the workers that begin with them.
WAIT = (
    "whole/test_end_to_end.py",
    "controller/push/test_webhook.py",
    "whole/test_rest.py",
    "commands/test_status.py",
    "whole/test_hub.py",
    "controller/hub/test_conversation.py",
    "whole/test_looks.py",
    "sources/test_credentials.py",
    "whole/test_demo.py",
    "commands/test_pin.py",
    "commands/test_wait.py",
    "commands/test_doctor.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="all cases, and the torture at full length")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: two workers for each core, since a test often waits for a process or for a time-out."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_configure(config: pytest.Config) -> None:
    """Make workers and children start as they do elsewhere, whatever this run was started from.

    They have the signals that we ignore, as in a job of the background (SIGINT) or beneath nohup (SIGHUP). What is
    ignored is inherited; what is handled is not. So we go on taking no notice, and they take it.

    They keep what they compile. Otherwise each of the hundreds of agents would compile the package anew.
    """
    length.full = config.getoption("--full")
    warm.enabled = not length.full
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --full, skip what is marked so, and say why that will do. And begin with what waits."""
    if not config.getoption("--full"):
        for item in items:
            if mark := item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason=f"only with --full: {mark.args[0]}"))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)  # else it is waited for alone at the end
    if hasattr(config, "workerinput"):
        items[:] = _in_order(items, config.workerinput["workercount"])


def _in_order(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Half of the workers begin with the tests that wait, while the others compute. Else all wait together in the end.

    Each worker begins with its part of the list, and by `--dist worksteal` it then takes from the ends of other parts.
    """
    files = {ROOT / "tests" / name: at for at, name in enumerate(WAIT)}
    half = max(1, workers // 2)
    others = iter([item for item in items if item.path not in files])
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        ordered += [item for item in items if item.path in files and files[item.path] % half == worker]
        ordered += islice(others, max(0, len(items) * (worker + 1) // workers - len(ordered)))
    return ordered


@contextmanager
def _ends_in_time(config: pytest.Config) -> Iterator[None]:
    """What waits for ever fails, wherever it waits: for a line of a child, its end, a lock."""

    def interrupt(*_: object) -> None:
        raise AssertionError(f"this did not end within {LONGEST:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.0 if config.getoption("--full") else LONGEST, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


# Not a fixture, which would last while pytest writes its report, too.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with _ends_in_time(item.config):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _ends_in_time(item.config):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with _ends_in_time(item.config):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage: next to nothing of it is to go."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Let the collector pass over what the run consists of, and look seldom at what comes: a test leaves little."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


models.read_once()
# jsonschema imports them for formats that no schema here has: a grammar that is compiled for 1.7 s, in each worker, and
# calendars.
for name in ("rfc3987_syntax", "isoduration"):
    sys.modules[name] = None  # type: ignore[assignment]


@pytest.fixture(scope="session")
def _authority(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """One authority instead of the 140 that each client would read, for half of what making it costs; what a test asks
    by TLS has an authority of its own. Not with --full, which leaves the environment's."""
    if pytestconfig.getoption("--full"):
        return None
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    end = "-----END CERTIFICATE-----\n"
    path.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
    return str(path)


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch, _authority: str | None) -> Iterator[None]:
    """Dummy credentials, and nothing of the developer's own account or of the instance it runs on."""
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    if _authority:
        monkeypatch.setenv("AWS_CA_BUNDLE", _authority)
    yield
