"""The one guard around the Python package `cryptography`, which a function imports when it is called: it costs 9 MB,
and is no dependency of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.render.template.errors import Unfit


def guarded(does: Callable[..., Any], work: int, problem: str) -> Callable[..., Any]:
    """The function, charged with so many units of work. Whatever `cryptography` does not take raises Unfit with that
    problem, and with none of the package's own words, which may quote a value."""

    def called(spend: Callable[[int], None], *given: Any) -> Any:
        spend(work)
        wrong = problem
        try:
            return does(*given)
        except Unfit:
            raise
        except ModuleNotFoundError:
            wrong = "the Python package cryptography is needed, and not installed here"
        except Exception:  # noqa: S110 - it raises what it likes, also of its own
            pass
        raise Unfit(wrong)

    return called
