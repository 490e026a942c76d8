"""PEM texts: their blocks, and ESO's filterPEM."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import NamedTuple

from agent.render.template.errors import Unfit
from agent.render.template.function import Functions

_BEGIN, _END, _DASHES = "-----BEGIN ", "-----END ", "-----"


class Block(NamedTuple):
    """`headers` are lines such as `Proc-Type: 4,ENCRYPTED`."""

    kind: str
    headers: tuple[str, ...]
    content: bytes


def blocks(text: str) -> tuple[list[Block], bool]:
    """The blocks of a text, and whether there is something else behind the last one. What stands before or between them
    is left out, and so is a block that is broken.
    """
    found: list[Block] = []
    at = end = 0
    while (begin := text.find(_BEGIN, at)) >= 0:
        at = begin + len(_BEGIN)
        line = text[at : _line_end(text, at)].rstrip()
        kind = line.removesuffix(_DASHES)
        last = text.find(f"\n{_END}{kind}{_DASHES}", at)
        if kind == line or last < 0 or (begin and text[begin - 1] != "\n"):
            continue
        block = _block(kind, text[_line_end(text, at) : last].splitlines())
        if block is not None:
            found.append(block)
            at = end = last + 1 + len(_END) + len(kind) + len(_DASHES)
    return found, bool(text[end:].strip())


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return end if end >= 0 else len(text)


def _block(kind: str, lines: list[str]) -> Block | None:
    headers = [line.strip() for line in lines if ":" in line]
    body = "".join("".join(lines[len(headers) + 1 if headers else 0 :]).split())
    try:
        return Block(kind, tuple(headers), base64.b64decode(body, validate=True))
    except (binascii.Error, ValueError):
        return None


def written(kind: str, content: bytes, headers: tuple[str, ...] = ()) -> str:
    """One block, in lines of 64 characters."""
    body = base64.b64encode(content).decode()
    lines = sorted(headers, key=lambda header: (not header.startswith("Proc-Type"), header))
    lines += [""] if headers else []
    lines += [body[at : at + 64] for at in range(0, len(body), 64)]
    return "\n".join([f"{_BEGIN}{kind}{_DASHES}", *lines, f"{_END}{kind}{_DASHES}", ""])


def whole(text: str) -> list[Block]:
    """The blocks of a text that is PEM. Raises Unfit if there is none."""
    found, _ = blocks(text)
    if not found:
        raise Unfit("the text is not PEM")
    return found


def _filtered(kind: str, text: str) -> str:
    found, junk = blocks(text[max(0, text.find(_BEGIN)) :])
    kept: Iterator[Block] = (block for block in found if block.kind.lower() == kind.lower())
    made = "".join(written(block.kind, block.content, block.headers) for block in kept)
    if not made and junk:
        raise Unfit("there is no such block in the text, but junk that is not PEM")
    return made


FUNCTIONS = Functions()
FUNCTIONS.add("filterPEM", _filtered, "string string")
