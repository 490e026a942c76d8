"""Set up structlog, and redact what could be a value before it is logged."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

from agent.core.errors import FreshmountError
from agent.core.value import SecretValue

if TYPE_CHECKING:
    from agent.core.ports import Log

Format = Literal["json", "console", "auto"]

HIDDEN = "<secret>"


def logger() -> Log:
    """The log for events. Call `configure` first."""
    made: Log = structlog.get_logger()
    return made


def configure(form: Format = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send the log to `stream` (default: standard error), as JSON lines, or for people on a terminal.

    Warnings of the libraries go there, too. At level debug, botocore, boto3 and urllib3 stay at INFO, because they
    would print the bodies of answers.
    """
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _render_exception,
        redact,
    ]
    render: list[Any] = [structlog.processors.JSONRenderer(default=_plain)]  # it escapes control characters
    if console:
        plain = structlog.dev.plain_traceback
        render = [_tame, structlog.dev.ConsoleRenderer(colors=_coloured(stream), exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=True,
    )
    bridge = logging.StreamHandler(stream)
    bridge.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    debug = number == logging.DEBUG
    logging.basicConfig(handlers=[bridge], level=number if debug else max(number, logging.WARNING), force=True)
    logging.raiseExceptions = False  # a log that cannot be written must not end the agent
    for name in ("botocore", "boto3", "urllib3"):
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.NOTSET)


def _coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Lines:
    """Writes rendered lines. Ignores failures: a log that cannot be written must not end the agent."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = exception = log = msg


def redact(_logger: Any, _method: str, event: Any) -> Any:
    """A processor that replaces everything that could be a value, however deeply nested."""
    return {key: _hidden(value) for key, value in event.items()}


def _hidden(value: Any) -> Any:
    match value:
        case SecretValue() | bytes() | bytearray() | memoryview():
            return HIDDEN
        case dict():
            return {_hidden(key): _hidden(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_hidden(item) for item in value]
        case _:
            return value


def _tame(_logger: Any, _method: str, event: Any) -> Any:
    """A processor for terminals: removes control characters from foreign text, such as AWS's or a process's name. What
    is not text is printed by `repr`, which escapes it anyway."""
    from agent.observe.report import printable  # needed only on a terminal

    lines = event.pop("exception", None)  # has lines of its own
    tame = {printable(str(key)): printable(value) if isinstance(value, str) else value for key, value in event.items()}
    return tame if lines is None else {**tame, "exception": "\n".join(map(printable, lines.split("\n")))}


def _render_exception(_logger: Any, _method: str, event: Any) -> Any:
    """A processor that turns `exc_info` into text: the places and the class of the exception.

    Keeps the message only if it is known to contain no value: of the agent's own errors, and of the operating system's.
    Never shows local variables, which may hold values.
    """
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()[1]
    if isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        event["exception"] = describe(found)
    return event


def describe(error: BaseException) -> str:
    """Where an exception came from, one line for each frame, and its class. Its message only if that is safe."""
    return "\n".join(_describe(error))


def _describe(error: BaseException) -> list[str]:
    earlier = error.__cause__ or error.__context__
    lines = _describe(earlier) if earlier else []
    lines += [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, FreshmountError):
        return [*lines, f"{type(error).__name__}: {' '.join(str(error).splitlines())}"]
    if isinstance(error, OSError):
        return [*lines, f"{type(error).__name__}: {error.strerror}: {error.filename}"]
    return [*lines, type(error).__name__]


def _plain(value: Any) -> str:
    return HIDDEN if isinstance(value, SecretValue) else type(value).__name__
