"""Regular expressions as Go has them (RE2): leftmost-first, and no pattern makes a match take forever.

`re` tries one way after the other, so a pattern of someone else's can hold it up for years. Here all ways are followed
at once, character by character (Pike's machine): the time is bounded by pattern times text, and counted in steps.

https://github.com/google/re2/wiki/Syntax · https://swtch.com/~rsc/regexp/regexp2.html
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

from agent.core.re2_chars import Range
from agent.core.re2_syntax import BadPattern, Chars, Choice, Group, Look, Node, Repeat, Sequence, parse

__all__ = ["BadPattern", "Pattern", "TooMuchWork", "compile", "quote_meta"]

LARGEST = 5_000  # instructions that a pattern may become
STEPS = 1 << 22  # steps of one operation, where the caller counts none: a few seconds

Spans = tuple[int, ...]  # start and end of the match, then of each group; -1 for a group that took no part
Spend = Callable[[int], None]

_CHAR, _SET, _SPLIT, _SAVE, _LOOK, _MATCH = range(6)


class TooMuchWork(Exception):
    """A match took more steps than allowed; which pattern and text, the caller knows."""


class _Instruction(NamedTuple):
    """`next` and, of a split, `other`, which is tried second. `of`: a character, a set, a slot or a kind of look."""

    kind: int
    next: int = -1
    other: int = -1
    of: object = None


class _Set(NamedTuple):
    ascii: frozenset[int]
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def has(self, code: int) -> bool:
        if code < 128:
            return code in self.ascii
        at = bisect_right(self.starts, code) - 1
        return at >= 0 and code <= self.ends[at]


def _set(ranges: tuple[Range, ...]) -> _Set:
    held = frozenset(code for low, high in ranges for code in range(low, min(high, 127) + 1))
    return _Set(held, tuple(low for low, _ in ranges), tuple(high for _, high in ranges))


class _Compiler:
    """Instructions from back to front: each node is compiled with the place where it goes on."""

    def __init__(self) -> None:
        self.code: list[_Instruction] = []

    def _add(self, *values: object) -> int:
        if len(self.code) >= LARGEST:
            raise BadPattern(f"the pattern is too large: it becomes more than {LARGEST} instructions", 0)
        self.code.append(_Instruction(*values))  # type: ignore[arg-type]
        return len(self.code) - 1

    def put(self, node: Node, then: int) -> int:
        match node:
            case Chars(ranges):
                if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
                    return self._add(_CHAR, then, -1, ranges[0][0])
                return self._add(_SET, then, -1, _set(ranges))
            case Look(kind):
                return self._add(_LOOK, then, -1, kind)
            case Group(index, of):
                inside = self.put(of, self._add(_SAVE, then, -1, 2 * index + 1))
                return self._add(_SAVE, inside, -1, 2 * index)
            case Sequence(parts):
                for part in reversed(parts):
                    then = self.put(part, then)
                return then
            case Choice(parts):
                first = self.put(parts[-1], then)
                for part in reversed(parts[:-1]):
                    first = self._add(_SPLIT, self.put(part, then), first)
                return first
            case Repeat():
                return self._repeat(node, then)

    def _split(self, first: int, second: int, greedy: bool) -> int:
        return self._add(_SPLIT, *((first, second) if greedy else (second, first)))

    def _plus(self, of: Node, then: int, greedy: bool) -> int:
        loop = self._add(_SPLIT, -1, -1)
        start = self.put(of, loop)
        self.code[loop] = _Instruction(_SPLIT, *((start, then) if greedy else (then, start)))
        return start

    def _repeat(self, node: Repeat, then: int) -> int:
        of, least, most, greedy = node
        if most is None:
            if least == 0 and not _empty(of):
                loop = self._add(_SPLIT, -1, -1)
                start = self.put(of, loop)
                self.code[loop] = _Instruction(_SPLIT, *((start, then) if greedy else (then, start)))
                return loop
            after = self._plus(of, then, greedy)
            if least == 0:  # (x+)? keeps the order of preference where x can be empty
                return self._split(after, then, greedy)
            copies = least - 1
        else:
            after = then
            for _ in range(most - least):  # x{2,4} is xx(x(x)?)?
                after = self._split(self.put(of, after), then, greedy)
            copies = least
        for _ in range(copies):
            after = self.put(of, after)
        return after


def _empty(node: Node) -> bool:
    """Whether it matches the empty text."""
    match node:
        case Chars():
            return False
        case Group(_, of):
            return _empty(of)
        case Sequence(parts):
            return all(map(_empty, parts))
        case Choice(parts):
            return any(map(_empty, parts))
        case Repeat(of, least, _, _):
            return least == 0 or _empty(of)
    return True


def _is_word(code: int) -> bool:
    return 48 <= code <= 57 or 65 <= code <= 90 or code == 95 or 97 <= code <= 122


def _fits(kind: object, codes: list[int], at: int) -> bool:
    before, after = (codes[at - 1] if at else -1), (codes[at] if at < len(codes) else -1)
    if kind == "text":
        return at == 0
    if kind == "endtext":
        return at == len(codes)
    if kind == "line":
        return before in (-1, 10)
    if kind == "endline":
        return after in (-1, 10)
    return (_is_word(before) != _is_word(after)) == (kind == "word")


class _Text(NamedTuple):
    """A text, and its characters as numbers: a byte that is no UTF-8 counts as U+FFFD, as Go reads it."""

    text: str
    codes: list[int]


def _text(text: str) -> _Text:
    return _Text(text, [0xFFFD if 0xDC80 <= code <= 0xDCFF else code for code in map(ord, text)])


class Pattern:
    """A compiled pattern. Each method raises TooMuchWork when it takes too long; `spend` is called with the steps of
    each character instead, where the caller counts them, and may raise what it likes.
    """

    def __init__(self, pattern: str) -> None:
        parsed = parse(pattern)
        compiler = _Compiler()
        start = compiler.put(Group(0, parsed.tree), compiler._add(_MATCH))
        self.pattern, self.names = pattern, parsed.names
        self._code, self._start = compiler.code, start
        self._slots = 2 * (len(parsed.names) + 1)
        self._prefix, self._anchored = _beginning(parsed.tree)

    def matches(self, text: str, spend: Spend | None = None) -> bool:
        """Whether it matches anywhere in the text."""
        return self._search(_text(text), 0, spend or _counter(), first=True) is not None

    def search(self, text: str, spend: Spend | None = None) -> Spans | None:
        """Where the first match and its groups begin and end."""
        return self._search(_text(text), 0, spend or _counter())

    def find_all(self, text: str, most: int = -1, spend: Spend | None = None) -> list[Spans]:
        """All matches that do not overlap, in order, or the first `most` of them."""
        found: list[Spans] = []
        whole, spend = _text(text), spend or _counter()
        at, before = 0, -1
        while at <= len(text) and (most < 0 or len(found) < most):
            spans = self._search(whole, at, spend)
            if spans is None:
                break
            accepted = spans[1] != at or spans[0] != before  # no empty match next to the one before
            at = at + 1 if spans[1] == at else spans[1]
            before = spans[1]
            if accepted:
                found.append(spans)
        return found

    def replace(self, text: str, template: str, spend: Spend | None = None, *, literal: bool = False) -> str:
        """Each match replaced by the template, in which `$1`, `${1}` and `${name}` mean groups and `$$` a dollar sign
        (`$1x` is the group "1x", which does not exist, so nothing); `literal`: by the text as it is. Of what comes out,
        every character is a step.
        """
        spend = spend or _counter()
        pieces = [(template, "")] if literal else list(_pieces(template))
        out: list[str] = []
        for between, spans in self._replaced(text, spend):
            out.append(between)
            if spans is None:
                continue
            for plain, name in pieces:
                piece = plain + self._group(text, spans, name)
                spend(len(piece))
                out.append(piece)
        return "".join(out)

    def _replaced(self, text: str, spend: Spend) -> Iterator[tuple[str, Spans | None]]:
        """The texts between matches, each with the match to put behind it, if any."""
        whole = _text(text)
        at = end = 0
        while at <= len(text):
            spans = self._search(whole, at, spend)
            if spans is None:
                break
            yield text[end : spans[0]], spans if spans[1] > end or spans[0] == 0 else None
            end = spans[1]
            at = max(at + 1, end)
        yield text[end:], None

    def _group(self, text: str, spans: Spans, name: str) -> str:
        """The text of a group by its number, or of the first one of that name which took part."""
        if name.isascii() and name.isdigit() and len(name) < 9 and (name == "0" or name[0] != "0"):
            groups = [int(name)]
        else:
            groups = [at for at, known in enumerate(self.names, 1) if known == name and name]
        for group in groups:
            if 2 * group < len(spans) and spans[2 * group] >= 0:
                return text[spans[2 * group] : spans[2 * group + 1]]
        return ""

    def split(self, text: str, most: int = -1, spend: Spend | None = None) -> list[str]:
        """What stands between the matches; in at most `most` pieces, the last of which is the rest."""
        if most == 0:
            return []
        if self.pattern and not text:
            return [""]
        pieces: list[str] = []
        begin = end = 0
        for start, stop, *_ in self.find_all(text, most, spend):
            if 0 < most == len(pieces) + 1:
                break
            end = start
            if stop:
                pieces.append(text[begin:end])
            begin = stop
        if end != len(text):
            pieces.append(text[begin:])
        return pieces

    def _search(self, whole: _Text, at: int, spend: Spend, *, first: bool = False) -> Spans | None:
        """The leftmost match from there on; any match will do for `first`.

        1. At each character, follow every thread that the one before left, in their order of preference.
        2. A thread that matches cuts off those after it, which it is preferred to; those before it go on.
        3. As long as nothing matched, a match may begin here, too, with the least preference.
        """
        codes, size = whole.codes, len(whole.codes)
        code = self._code
        nothing = (-1,) * self._slots
        seen = [-1] * len(code)
        spend(len(code) >> 4)
        threads: list[tuple[int, Spans]] = []
        found: Spans | None = None
        while True:
            if not threads:
                if found is not None or (self._anchored and at > 0):
                    return found
                if self._prefix:
                    begin = at
                    at = whole.text.find(self._prefix, at)
                    spend((at if at >= 0 else size) - begin >> 4)
                    if at < 0:
                        return None
            if found is None and not (self._anchored and at > 0):
                steps = self._follow((self._start, nothing), codes, at, seen, threads)
            else:
                steps = 0
            now = codes[at] if at < size else -1
            before, threads = threads, []
            steps += len(before) + 1
            for place, spans in before:
                kind, then, _, of = code[place]
                if kind == _MATCH:
                    found = spans
                    if first:
                        return found
                    break
                if now == of if kind == _CHAR else now >= 0 and of.has(now):  # type: ignore[attr-defined]
                    steps += self._follow((then, spans), codes, at + 1, seen, threads)
            spend(steps)
            at += 1
            if at > size:
                return found

    def _follow(
        self, thread: tuple[int, Spans], codes: list[int], at: int, seen: list[int], threads: list[tuple[int, Spans]]
    ) -> int:
        """Add the threads that lead from a place to characters, without reading one, most preferred first. Returns the
        number of steps that it took.
        """
        stack = [thread]
        steps = 0
        while stack:
            place, spans = stack.pop()
            steps += 1
            if seen[place] == at:
                continue
            seen[place] = at
            kind, then, other, of = self._code[place]
            if kind == _SPLIT:
                stack.append((other, spans))
                stack.append((then, spans))
            elif kind == _SAVE:
                slot = int(of)  # type: ignore[call-overload]
                steps += len(spans) >> 4
                stack.append((then, (*spans[:slot], at, *spans[slot + 1 :])))
            elif kind == _LOOK:
                if _fits(of, codes, at):
                    stack.append((then, spans))
            else:
                threads.append((place, spans))
        return steps


def _beginning(tree: Node) -> tuple[str, bool]:
    """The characters that every match begins with, and whether it can begin at the text's start alone."""
    parts = tree.parts if isinstance(tree, Sequence) else (tree,)
    if parts and parts[0] == Look("text"):
        return "", True
    prefix = ""
    for part in parts:
        if not isinstance(part, Chars) or len(part.ranges) != 1 or part.ranges[0][0] != part.ranges[0][1]:
            break
        prefix += chr(part.ranges[0][0])
    return ("" if "\ufffd" in prefix else prefix), False


def _counter() -> Spend:
    left = STEPS

    def spend(steps: int) -> None:
        nonlocal left
        left -= steps
        if left < 0:
            raise TooMuchWork

    return spend


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """A template of a replacement as plain texts, each with the name of the group behind it ("" for none)."""
    at = 0
    while (dollar := template.find("$", at)) >= 0:
        plain = template[at:dollar]
        if template.startswith("$$", dollar):
            yield plain + "$", ""
            at = dollar + 2
            continue
        brace = template.startswith("{", dollar + 1)
        begin = end = dollar + 1 + brace
        while end < len(template) and (template[end] == "_" or template[end].isalpha() or template[end].isdecimal()):
            end += 1
        if begin == end or (brace and not template.startswith("}", end)):
            yield plain + "$", ""
            at = dollar + 1
            continue
        yield plain, template[begin:end]
        at = end + brace
    yield template[at:], ""


@functools.lru_cache(maxsize=16)
def compile(pattern: str) -> Pattern:
    """Raises BadPattern, with what is wrong and where."""
    return Pattern(pattern)


def quote_meta(text: str) -> str:
    """A pattern that matches this text alone."""
    return "".join("\\" + char if char in r"\.+*?()|[]{}^$" else char for char in text)
