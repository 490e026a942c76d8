"""Tests with made-up inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.torture.conftest import Length


def fuzz(length: Length, full: int, short: int, test: Callable[..., None], *given_: Any) -> int:
    """Run the test with that many made-up inputs, always the same ones in the short version."""
    count = 0

    @settings(
        max_examples=length.choose(full, short),
        deadline=None,
        derandomize=not length.full,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.tuples(*given_))
    def run(made: tuple[Any, ...]) -> None:
        nonlocal count
        count += 1
        test(*made)

    run()
    return count
