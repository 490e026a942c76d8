"""What every test starts from: signals as a terminal has them, an end in time, and no AWS but what a test brings."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

LONGEST = 600.0  # seconds until a test that waits for something is ended; the slowest takes a tenth of it on two cores
_AGAIN = 30.0  # seconds until it is interrupted once more: what it does to tidy up may wait as well


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="torture at full length, not the short one of `make test`")


def pytest_configure() -> None:
    """Let children have the signals that we ignore, as in a job of the background (SIGINT) or beneath nohup (SIGHUP).

    What is ignored is inherited; what is handled is not. So we go on taking no notice, and they take it.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(autouse=True)
def _ends_in_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that waits for ever fails, wherever it waits: for a line of a child, its end, a lock."""

    def interrupt(*_: object) -> None:
        raise AssertionError(f"the test did not end within {LONGEST:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.0 if request.config.getoption("--full") else LONGEST, _AGAIN)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dummy credentials, and nothing of the developer's own account or of the instance it runs on."""
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    yield
