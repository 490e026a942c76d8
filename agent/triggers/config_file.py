"""Read the config file. `agent.config` says what it means, `watch` notices when it changes."""

from __future__ import annotations

import codecs
import os
import select
import stat

from agent.core.errors import ConfigError, Problem, cause
from agent.core.flags import Flags

_LIMIT = 8 << 20  # bytes; more than `parse` accepts in any encoding, so that `parse` can say so

_PATIENCE = 5.0  # seconds to wait for the next bytes of a pipe


def read(path: str) -> str:
    """The text of the file, or of the flags that stand for one. Raises ConfigError when it cannot be read as text.

    Waits up to 5 s for the content of what is not a regular file, such as the pipe of a shell's `<(…)`.
    """
    if isinstance(path, Flags):
        return path.text
    content = b""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = _content(handle)
        finally:
            os.close(handle)
        # It is not an error when the limit cuts a character in two.
        text = codecs.getincrementaldecoder("utf-8")().decode(content, final=len(content) < _LIMIT)
        return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        problem = Problem(1, 1, f"cannot be read: {cause(error)}; name a readable file with --config")
    except UnicodeDecodeError as error:
        problem = _not_utf8(content, error.start)
    raise ConfigError(path, (problem,))


def _content(handle: int) -> bytes:
    """The whole content, up to the limit. Raises TimeoutError when a pipe has no writer, or its writer is silent for
    too long."""
    content, more = b"", select.poll()
    more.register(handle, select.POLLIN)
    is_pipe = stat.S_ISFIFO(os.fstat(handle).st_mode)
    while len(content) < _LIMIT:
        try:
            part = os.read(handle, _LIMIT - len(content))
            if not part and (content or not is_pipe):
                return content
        except BlockingIOError:
            part = b""
        content += part
        if part:
            continue
        events = more.poll(_PATIENCE * 1000)
        if not events:
            raise TimeoutError(f"it is a pipe, and nothing was written to it for {_PATIENCE:g} s")
        if not events[0][1] & select.POLLIN:  # the writer has closed it again
            return content
    return content


def _not_utf8(content: bytes, place: int) -> Problem:
    """Where the content stops being UTF-8, and what it may be instead."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Problem(1, 1, "is UTF-16 text, which PowerShell and some editors write; save it as UTF-8")
    before = content[:place].decode()
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return Problem(line, column, f"is not UTF-8: byte 0x{content[place]:02x}; save the file as UTF-8")
