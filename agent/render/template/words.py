"""Changing the case of words, and wrapping them, as the libraries beneath sprig do (goutils, xstrings)."""

from __future__ import annotations

import unicodedata

from agent.render.template.quoted import decoded, encoded

SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"

_CJK = ((0x3400, 0x4D85), (0x4E00, 0x9FCC), (0x20000, 0x2B81D))  # letters that xstrings takes for none


def one(made: str, char: str) -> str:
    """What a change of case made of a character; Go's changes make one character of one, so others are left."""
    return made if len(made) == 1 else char


def upper(text: str) -> str:
    return "".join(one(char.upper(), char) for char in text)


def lower(text: str) -> str:
    return "".join("i" if char == "\u0130" else one(char.lower(), char) for char in text)


def title(text: str) -> str:
    """strings.Title: the first letter of each word."""
    out, before = [], " "
    for char in text:
        out.append(_titled(char) if _separates(before) else char)
        before = char
    return "".join(out)


def _titled(char: str) -> str:
    return one(char.title(), char)


def _separates(char: str) -> bool:
    if char.isascii():
        return not (char.isalnum() or char == "_")
    return not (char.isalpha() or char.isdecimal()) and char in SPACE


def untitle(text: str) -> str:
    """goutils.Uncapitalize: the first letter of each word between spaces."""
    out, first = [], True
    for char in text:
        space = char in SPACE
        out.append(lower(char) if first and not space else char)
        first = space
    return "".join(out)


def swapcase(text: str) -> str:
    """goutils.SwapCase, which turns the first letter of a word to its title case."""
    out, space = [], True
    for char in text:
        category = unicodedata.category(char)
        if category in ("Lu", "Lt"):
            out.append(lower(char))
            space = False
        elif category == "Ll":
            out.append(_titled(char) if space else upper(char))
            space = False
        else:
            out.append(char)
            space = char in SPACE
    return "".join(out)


def initials(text: str) -> str:
    """goutils.Initials, which looks at bytes, each taken for a character."""
    out, gap = [], True
    for byte in encoded(text):
        char = chr(byte)
        if char in SPACE:
            gap = True
        elif gap:
            out.append(char)
            gap = False
    return "".join(out)


def without_space(text: str) -> str:
    """goutils.DeleteWhiteSpace: it looks at bytes, and takes each for a character if it removes one."""
    content = encoded(text)
    kept = [chr(byte) for byte in content if chr(byte) not in SPACE]
    return text if len(kept) == len(content) else "".join(kept)


def abbreviated(left: int, right: int, text: str) -> str:
    """goutils.AbbreviateFull, as sprig guards it: at most `right` bytes, with the one at `left` in it."""
    content = encoded(text)
    if right < 4 or (left > 0 and right < 7) or len(content) <= right:
        return text
    left = min(left, len(content))
    if len(content) - left < right - 3:
        left = len(content) - (right - 3)
    if left <= 4:
        return decoded(content[: right - 3]) + "..."
    if right < 7:
        return ""
    if left + right - 3 < len(content):
        return "..." + abbreviated(0, right - 3, decoded(content[left:]))
    return "..." + decoded(content[len(content) - (right - 3) :])


def wrapped(text: str, width: int, mark: str, *, cut: bool) -> str:
    """goutils.WrapCustom; `cut`: words that are too long are cut."""
    content, mark_, width = encoded(text), encoded(mark or "\n"), max(1, width)
    out = bytearray()
    at = 0
    while len(content) - at > width:
        if content[at] == 0x20:
            at += 1
            continue
        end = content.rfind(b" ", at, at + width + 1)
        after = end + 1
        if end < at:
            end = at + width if cut else content.find(b" ", at + width)
            after = end if cut else end + 1
        if end < 0:
            break
        out += content[at:end] + mark_
        at = after
    return decoded(bytes(out) + content[at:])


# -- xstrings: words apart by connectors -------------------------------------------------------------------------------


def _is_connector(char: str) -> bool:
    return char in "-_" or char in SPACE


def pascal(text: str) -> str:
    """xstrings.ToPascalCase."""
    start = next((at for at, char in enumerate(text) if not _is_connector(char)), len(text))
    if start == len(text):
        return text + text[-1:]  # as there: the last connector comes twice
    out = [text[:start]]
    last = text[start]
    first_upper = unicodedata.category(last) == "Lu"
    last = upper(last)
    for char in text[start + 1 :]:
        before = last
        last = char
        if _is_connector(last) and _is_connector(before):
            out.append(before)
            continue
        if _is_connector(before):
            first_upper = unicodedata.category(last) == "Lu"
            last = upper(last)
            continue
        if first_upper:
            if unicodedata.category(last) == "Lu":
                last = lower(last)
            else:
                first_upper = False
        out.append(before)
    out.append(last)
    return "".join(out)


def _class(char: str) -> str:
    """What a character is to a word: connector, punct, upper, alphabet, number or other."""
    category = unicodedata.category(char)
    if _is_connector(char):
        return "connector"
    if category.startswith("P"):
        return "punct"
    if category == "Lu":
        return "upper"
    if category.startswith("L") and not any(low <= ord(char) <= high for low, high in _CJK):
        return "alphabet"
    return "number" if category.startswith("N") else "other"


def _words(text: str) -> list[tuple[str, str]]:
    """xstrings.nextWord: the text in words, each with its class. "HTTPStatus" is HTTP and Status."""
    classes = [_class(char) for char in text]
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        kind, end = classes[at], at + 1
        if kind == "upper" and classes[end : end + 1] == ["upper"]:
            end = _run(classes, end, ("upper",))
            if classes[end : end + 1] == ["alphabet"]:
                end -= 1
        elif kind in ("upper", "alphabet"):
            end = _run(classes, end, ("alphabet",))
        elif kind == "punct":  # of which a dash or an underscore is some, once there is any
            while end < len(text) and unicodedata.category(text[end]).startswith("P"):
                end += 1
        else:
            end = _run(classes, end, (kind,))
        found.append((kind, text[at:end]))
        at = end
    return found


def _run(classes: list[str], at: int, kinds: tuple[str, ...]) -> int:
    while at < len(classes) and classes[at] in kinds:
        at += 1
    return at


def snake(text: str) -> str:
    """xstrings.ToSnakeCase."""
    return _separated(text, "_")


def kebab(text: str) -> str:
    """xstrings.ToKebabCase."""
    return _separated(text, "-")


def _separated(text: str, mark: str) -> str:  # noqa: PLR0912 the original has them all
    """xstrings.camelCaseToLowerCase, branch by branch."""
    words = _words(text)
    out: list[str] = []
    at = 0

    def word() -> tuple[str, str]:
        nonlocal at
        at += 1
        return words[at - 1] if at <= len(words) else ("", "")

    def put(kind: str, text_: str) -> None:
        out.append(_lowered(kind, text_, mark))

    kind, held = word()
    while at < len(words):
        if kind != "connector":
            put(kind, held)
        before, last = kind, held
        kind, held = word()
        if before == "number":
            while kind in ("alphabet", "number"):
                put(kind, held)
                kind, held = word()
            if kind not in ("", "punct", "connector"):
                out.append(mark)
        elif before == "connector":
            put(before, last)
        elif before != "punct":
            if kind != "number":
                if kind not in ("connector", "punct"):
                    out.append(mark)
                continue
            if at >= len(words):
                continue
            last = held
            kind, held = word()
            if kind != "alphabet":  # a number belongs to the word before it: bld4_floor
                put("number", last)
                if kind not in ("connector", "punct"):
                    out.append(mark)
                continue
            out.append(mark)  # but not where small letters follow it: http_2xx
            put("number", last)
            while kind in ("alphabet", "number"):
                put(kind, held)
                kind, held = word()
            if kind not in ("", "connector", "punct"):
                out.append(mark)
    put(kind, held)
    return "".join(out)


def _lowered(kind: str, text: str, mark: str) -> str:
    if kind not in ("upper", "connector"):
        return text
    return "".join(mark if _is_connector(char) else lower(char) for char in text)
