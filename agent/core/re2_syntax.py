"""The syntax of RE2 as Go's regexp/syntax reads it (flags `Perl`), and the tree that a pattern becomes.

What a backtracking engine alone could do is not in the language: no references to groups, no looking around.
"""

from __future__ import annotations

from typing import NamedTuple

from agent.core.re2_chars import CATEGORIES, LAST, PERL, POSIX, Range, category, folded, negated, united

LONGEST = 1 << 14  # characters of a pattern
DEEPEST = 100  # groups within each other; Go allows 1,000
GROUPS = 200  # groups that are remembered; Go has no limit
REPEATS = 1000  # copies that a repetition and those within it may ask for, as in Go


class BadPattern(ValueError):
    """A pattern that is not RE2, and what is wrong with it. `at` is an offset in the pattern."""

    def __init__(self, message: str, at: int) -> None:
        self.message, self.at = message, at
        super().__init__(message)


class Chars(NamedTuple):
    """One character out of these ranges, which are sorted and apart."""

    ranges: tuple[Range, ...]


class Look(NamedTuple):
    """An empty match where the place fits: `text`/`endtext`, `line`/`endline`, `word`/`inword`."""

    kind: str


class Group(NamedTuple):
    number: int
    of: Node


class Sequence(NamedTuple):
    """One after the other; an empty one matches the empty text."""

    parts: tuple[Node, ...]


class Choice(NamedTuple):
    """The first that fits."""

    parts: tuple[Node, ...]


class Repeat(NamedTuple):
    """`most` None: no limit."""

    of: Node
    least: int
    most: int | None
    greedy: bool


Node = Chars | Look | Group | Sequence | Choice | Repeat


class Parsed(NamedTuple):
    """A pattern's tree, and the names of its groups from 1 on; "" for one without a name."""

    tree: Node
    names: tuple[str, ...]


_ESCAPES = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_LOOKS = {"A": "text", "z": "endtext", "b": "word", "B": "inword"}


class _Flags(NamedTuple):
    fold: bool = False  # i
    lines: bool = False  # m
    newline: bool = False  # s
    lazy: bool = False  # U


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._names: list[str] = []

    def parsed(self) -> Parsed:
        tree, _ = self._choice(_Flags())
        if self._at < len(self._text):
            raise self._error("unexpected )", self._at)
        return Parsed(tree, tuple(self._names))

    def _error(self, message: str, at: int) -> BadPattern:
        return BadPattern(message, at)

    def _takes(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _char(self, missing: str) -> str:
        if self._at == len(self._text):
            raise self._error(missing, self._at)
        self._at += 1
        return self._text[self._at - 1]

    # -- the structure

    def _choice(self, flags: _Flags) -> tuple[Node, _Flags]:
        """Up to the end or a closing parenthesis. Flags that are set on the way hold up to there, too."""
        choices: list[Node] = []
        parts: list[Node] = []
        repeated = False  # the last part is a repetition that stands directly before
        while self._at < len(self._text) and self._text[self._at] != ")":
            at = self._at
            if self._takes("|"):
                choices.append(_sequence(parts))
                parts, repeated = [], False
                continue
            bounds = self._bounds()
            if bounds is not None:
                if not parts:
                    raise self._error("missing argument to repetition operator", at)
                if repeated:
                    raise self._error("invalid nested repetition operator", at)
                parts[-1] = self._repeat(parts[-1], bounds, flags, at)
                repeated = True
                continue
            repeated = False
            if self._takes("("):
                node, flags = self._group(flags, at)
                if node is not None:
                    parts.append(node)
            elif self._takes(r"\Q"):
                quoted = self._text[self._at :].partition(r"\E")[0]
                self._at = min(len(self._text), self._at + len(quoted) + 2)
                parts += [_literal(ord(char), flags) for char in quoted]
            else:
                parts.append(self._single(flags))
        choices.append(_sequence(parts))
        return (Choice(tuple(choices)) if len(choices) > 1 else choices[0]), flags

    def _bounds(self) -> tuple[int, int | None] | None:
        """What * + ? or {n,m} asks for; None if none of them is here: a brace of another form is a character."""
        if self._takes("*"):
            return 0, None
        if self._takes("+"):
            return 1, None
        if self._takes("?"):
            return 0, 1
        if not self._text.startswith("{", self._at):
            return None
        inside, closed, _ = self._text[self._at + 1 : self._at + 40].partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not _count(low) or (high and not _count(high)):
            return None
        least = int(low)
        most = least if not comma else int(high) if high else None
        if least > REPEATS or (most is not None and not least <= most <= REPEATS):
            raise self._error(f"invalid repeat count, which may be up to {REPEATS}", self._at)
        self._at += len(inside) + 2
        return least, most

    def _repeat(self, of: Node, bounds: tuple[int, int | None], flags: _Flags, at: int) -> Repeat:
        greedy = not self._takes("?") ^ flags.lazy
        made = Repeat(of, *bounds, greedy)
        if self._text[at] == "{" and not _affordable(made, REPEATS):
            raise self._error(f"repetitions within each other come to more than {REPEATS}", at)
        return made

    def _group(self, flags: _Flags, at: int) -> tuple[Node | None, _Flags]:
        """A group, or a setting of flags for what follows (then there is no node)."""
        index, inside = 0, flags
        if self._takes("?P<") or self._takes("?<"):
            name, closed, _ = self._text[self._at :].partition(">")
            if not closed or not name or not all(c == "_" or (c.isascii() and c.isalnum()) for c in name):
                raise self._error("invalid name of a group; (?= (?! (?<= and (?<! are not in RE2", at)
            self._at += len(name) + 1
            self._names.append(name)
            index = len(self._names)
        elif self._takes("?"):
            inside, whole = self._flags(flags, at)
            if whole:
                return None, inside
        else:
            self._names.append("")
            index = len(self._names)
        if index > GROUPS:
            raise self._error(f"more than {GROUPS} groups", at)
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(f"more than {DEEPEST} groups within each other", at)
        node, _ = self._choice(inside)
        if not self._takes(")"):
            raise self._error("missing closing )", at)
        self._depth -= 1
        return (Group(index, node) if index else node), flags

    def _flags(self, flags: _Flags, at: int) -> tuple[_Flags, bool]:
        """The flags of `(?flags)` or `(?flags:`, and whether it is the first form."""
        on, changed = True, False
        names = {"i": "fold", "m": "lines", "s": "newline", "U": "lazy"}
        while True:
            char = self._char("missing closing )")
            if char in names:
                flags, changed = flags._replace(**{names[char]: on}), True
            elif char == "-" and on:
                on, changed = False, False
            elif char in ":)" and (on or changed):
                return flags, char == ")"
            else:
                raise self._error("invalid group; (?= (?! (?<= and (?<! are not in RE2", at)

    # -- one character

    def _single(self, flags: _Flags) -> Node:
        at = self._at
        char = self._char("")
        if char == ".":
            return Chars(((0, LAST),) if flags.newline else negated([(10, 10)]))
        if char == "^":
            return Look("line" if flags.lines else "text")
        if char == "$":
            return Look("endline" if flags.lines else "endtext")
        if char == "[":
            return Chars(self._class(flags, at))
        if char != "\\":
            return _literal(ord(char), flags)
        if self._text[self._at : self._at + 1] in tuple(_LOOKS):
            return Look(_LOOKS[self._char("")])
        known = self._known(flags)
        return Chars(known) if known is not None else _literal(self._escape(at), flags)

    def _known(self, flags: _Flags) -> tuple[Range, ...] | None:
        r"""The class of a \d, \D, \pL or \P{Lu}, whose backslash is taken; None if it is none of those."""
        letter = self._text[self._at : self._at + 1]
        if letter and letter in "dswDSW":
            self._at += 1
            ranges = PERL[letter.lower()]
            ranges = folded(ranges) if flags.fold and letter in "wW" else ranges
            return ranges if letter.islower() else negated(ranges)
        if letter not in ("p", "P"):
            return None
        at = self._at - 1
        self._at += 1
        name = self._char("invalid character class range")
        if name == "{":
            name, closed, _ = self._text[self._at :].partition("}")
            if not closed:
                raise self._error("missing closing }", at)
            self._at += len(name) + 1
        outside = (letter == "P") != name.startswith("^")
        name = name.removeprefix("^")
        if name != "Any" and name not in CATEGORIES:
            raise self._error(
                f"the class {name} is not known here; there are general categories, such as L, Lu and Nd", at
            )
        ranges = ((0, LAST),) if name == "Any" else category(name)
        ranges = folded(ranges) if flags.fold else ranges
        return negated(ranges) if outside else ranges

    def _escape(self, at: int) -> int:
        r"""The character of an escape, whose backslash is taken."""
        if self._at == len(self._text):
            raise self._error("trailing backslash at the end", at)
        char = self._char("")
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char == "x":
            if self._takes("{"):
                digits, closed, _ = self._text[self._at :].partition("}")
                self._at += len(digits) + 1
                fits = bool(closed and digits)
            else:
                digits = self._text[self._at : self._at + 2]
                self._at += len(digits)
                fits = len(digits) == 2
            if fits and set(digits) <= set("0123456789abcdefABCDEF") and int(digits, 16) <= LAST:
                return int(digits, 16)
        elif char in "01234567":
            more = ""
            while len(more) < 2 and self._text[self._at : self._at + 1] in tuple("01234567"):
                more += self._char("")
            if char == "0" or more:
                return int(char + more, 8)
        elif char.isascii() and not char.isalnum():
            return ord(char)
        raise self._error(f"invalid escape \\{char}", at)

    def _class(self, flags: _Flags, at: int) -> tuple[Range, ...]:
        """What stands between [ and ], which are taken, too."""
        outside, first = self._takes("^"), True
        found: list[Range] = []
        while first or not self._text.startswith("]", self._at):
            first = False
            if self._at == len(self._text):
                raise self._error("missing closing ]", at)
            name = self._text[self._at + 2 :].partition(":]")
            if self._text.startswith("[:", self._at) and name[1]:
                posix = POSIX.get(name[0].removeprefix("^"))
                if posix is None:
                    raise self._error(f"invalid character class [:{name[0]}:]", self._at)
                posix = folded(posix) if flags.fold else posix
                found += negated(posix) if name[0].startswith("^") else posix
                self._at += len(name[0]) + 4
                continue
            if self._text.startswith("\\", self._at):
                self._at += 1
                known = self._known(flags)
                if known is not None:
                    found += known
                    continue
                self._at -= 1
            here = self._at
            low = high = self._member(at)
            if self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                high = self._member(at)
                if high < low:
                    raise self._error("invalid character class range: its end is before its start", here)
            found += folded(((low, high),)) if flags.fold else [(low, high)]
        self._at += 1
        return negated(found) if outside else united(found)

    def _member(self, begin: int) -> int:
        at = self._at
        char = self._char("missing closing ]")
        return self._escape(at) if char == "\\" else ord(char)


def _count(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or not text.startswith("0")) and len(text) < 9


def _literal(code: int, flags: _Flags) -> Chars:
    return Chars(folded(((code, code),)) if flags.fold else ((code, code),))


def _sequence(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else Sequence(tuple(parts))


def _affordable(node: Node, copies: int) -> bool:
    """Whether counted repetitions within each other ask for at most so many copies."""
    match node:
        case Repeat(of, least, most, _):
            if (least, most) not in ((0, None), (1, None), (0, 1)):
                wanted = least if most is None else most
                if wanted > copies:
                    return False
                copies = copies // wanted if wanted else copies
            return _affordable(of, copies)
        case Group(_, of):
            return _affordable(of, copies)
        case Sequence(parts) | Choice(parts):
            return all(_affordable(part, copies) for part in parts)
    return True


def parse(pattern: str) -> Parsed:
    """The tree of a pattern. Raises BadPattern."""
    if len(pattern) > LONGEST:
        raise BadPattern(f"the pattern is longer than {LONGEST} characters", 0)
    return _Parser(pattern).parsed()
