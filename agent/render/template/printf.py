"""Go's fmt.Sprintf, Sprint and Sprintln over values. What Go prints as `%!d(string=…)` is refused: it shows the value,
and no file wants it. Templates of ESO have it all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from agent.render.template import quoted, values
from agent.render.template.errors import Unfit

_VERB = re.compile(r"%([-+# 0]*)(\*|\d+)?(\.(\*|\d+)?)?(?:\[(\d+)\])?(.)?", re.DOTALL)
_WIDEST = 10_000  # columns of one verb


class _Verb(NamedTuple):
    letter: str
    flags: str
    width: int
    precision: int | None


def sprintf(spend: Callable[[int], None], form: str, *given: Any) -> str:
    """Raises Unfit for a verb that does not fit its argument, and for too few or too many of those, where Go would mark
    that in the text. Spends the characters that come out.
    """
    out: list[str] = []
    at = used = 0
    chosen = False  # by %[1]s; then not every argument must be used

    def take() -> Any:
        nonlocal used
        if used >= len(given):
            raise Unfit("there are fewer arguments than verbs")
        used += 1
        return given[used - 1]

    for found in _VERB.finditer(form):
        flags, width, point, precision, index, letter = found.groups()
        out.append(form[at : found.start()])
        at = found.end()
        if letter is None:
            out.append(_marked("%!(NOVERB)", "the format ends within a verb"))
            break
        columns = _number(take() if width == "*" else width or 0)
        if columns < 0:
            flags, columns = flags + "-", -columns
        places = _number(take() if precision == "*" else precision or 0) if point else None
        if letter == "%":
            out.append("%")
            continue
        if index is not None:
            chosen, used = True, min(int(index), len(given) + 1) - 1
            if used < 0:
                raise Unfit("arguments are counted from 1")
        if used >= len(given) and width != "*" and values.are_as_go():
            out.append(f"%!{letter}({'MISSING' if index is None else 'BADINDEX'})")
            continue
        made = _formatted(_Verb(letter, flags, columns, places if places is None or places >= 0 else None), take())
        spend(len(made))
        out.append(made)
    out.append(form[at:])
    if used < len(given) and not chosen:
        more = ", ".join(map(_typed, given[used:])) if values.are_as_go() else ""
        out.append(_marked(f"%!(EXTRA {more})", "there are more arguments than verbs"))
    return "".join(out)


def _marked(mark: str, problem: str) -> str:
    """What Go writes into the text."""
    if values.are_as_go():
        return mark
    raise Unfit(problem)


def _typed(value: Any) -> str:
    return "<nil>" if value is None else f"{values.type_of(value)}={values.plain(value)}"


def _number(text: Any) -> int:
    if not values.is_whole(text) and not (isinstance(text, str) and len(text) < 9):
        raise Unfit("a width or precision must be a whole number")
    number = int(text)
    if abs(number) > _WIDEST:
        raise Unfit(f"a width or precision must be at most {_WIDEST}")
    return number


def _formatted(verb: _Verb, value: Any) -> str:
    """The value by the verb, as wide as asked for. The verb holds for each item of a list or an object."""
    if verb.letter == "T":
        return _padded(values.type_of(value)[: verb.precision], verb)
    if value is None:
        problem = f"%{verb.letter} of null; give it a value, or use default"
        return _marked(_padded("<nil>", verb) if verb.letter == "v" else f"%!{verb.letter}(<nil>)", problem)
    if isinstance(value, list | dict):
        if "#" in verb.flags:
            raise Unfit(f"%{verb.flags}{verb.letter} of {values.article(value)} is not known here; use toJson")
        if isinstance(value, list):
            return f"[{' '.join(_formatted(verb, item) for item in value)}]"
        entries = (f"{_formatted(verb, key)}:{_formatted(verb, item)}" for key, item in values.ordered(value))
        return f"map[{' '.join(entries)}]"
    letter, kind = verb.letter, values.kind(value)
    if letter == "v":
        if "#" in verb.flags:
            raise Unfit("%#v is not known here")
        verb = verb._replace(flags=verb.flags.replace("+", ""))
        letter = {"string": "s", "bool": "t", "float64": "g"}.get(kind, "d")
        literal = getattr(value, "literal", None)
        if literal is not None and verb.precision is None:
            return _padded(_signed(literal, verb.flags), verb)
    if kind == "string" and letter in "sqxX":
        return _padded(_text(letter, verb, value), verb)
    if kind == "bool" and letter == "t":
        return _padded(values.plain(value), verb)
    if values.is_whole(value) and letter in "bcdoOqxXU":
        return _whole(letter, verb, value)
    if (kind == "float64" or values.is_written(value)) and letter in "eEfFgG":
        return _padded(_real(letter, verb, value), verb)
    return _marked(f"%!{letter}({_typed(value)})", f"%{letter} does not fit {values.article(value)}")


def _padded(text: str, verb: _Verb) -> str:
    if len(text) >= verb.width:
        return text
    if "-" in verb.flags:
        return text.ljust(verb.width)
    if "0" not in verb.flags or text.endswith(("Inf", "NaN")):
        return text.rjust(verb.width)
    sign = text[:1] if text[:1] in ("+", "-", " ") and verb.letter in "eEfFgGv" else ""
    return sign + text[len(sign) :].rjust(verb.width - len(sign), "0")


def _text(letter: str, verb: _Verb, value: str) -> str:
    if letter in "xX":
        content = quoted.encoded(value)[: verb.precision]
        apart, before = (" " if " " in verb.flags else ""), ("0x" if "#" in verb.flags and content else "")
        shown = before + content.hex() if not apart else apart.join(f"{before}{byte:02x}" for byte in content)
        return shown if letter == "x" else shown.upper()
    value = value[: verb.precision]
    if letter == "s":
        return value
    if "#" in verb.flags and not any(c in "`\x7f\ufeff" or (c < " " and c != "\t") or c > "\ud7ff" for c in value):
        return f"`{value}`"
    return quoted.quote(value, ascii_only="+" in verb.flags)


def _whole(letter: str, verb: _Verb, value: int) -> str:
    if letter in "cq":
        char = chr(value) if 0 <= value <= 0x10FFFF and not 0xD800 <= value < 0xE000 else "\ufffd"
        return _padded(char if letter == "c" else quoted.quote(char, ascii_only="+" in verb.flags, mark="'"), verb)
    sign = "-" if value < 0 else "+" if "+" in verb.flags else " " if " " in verb.flags else ""
    if letter == "U":
        if verb.flags.strip("-") or value < 0:
            raise Unfit("%U has no flags here, and does not fit a negative number")
        return _padded(f"U+{value:0{max(4, verb.precision or 0)}X}", verb)
    digits = format(abs(int(value)), letter.lower() if letter == "O" else letter)
    if verb.precision is not None:
        if verb.precision == 0 and value == 0:
            return " " * verb.width
        digits = digits.rjust(verb.precision, "0")
    elif "0" in verb.flags and "-" not in verb.flags:
        digits = digits.rjust(verb.width - len(sign), "0")
    sharp = "#" in verb.flags
    prefix = {"O": "0o", "x": "0x" * sharp, "X": "0X" * sharp, "b": "0b" * sharp}.get(letter, "")
    if letter == "O" and sharp and not digits.startswith("0"):
        prefix = "0o0"
    if letter == "o" and sharp and not digits.startswith("0"):
        prefix = "0"
    return _padded(sign + prefix + digits, verb._replace(flags=verb.flags.replace("0", "")))


def _real(letter: str, verb: _Verb, value: float) -> str:
    number = float(value)
    if "#" in verb.flags:
        raise Unfit("the flag # of a number with a fraction is not known here")
    if number - number != 0:  # infinite, or none
        text = values.real(number).lstrip("+")
    elif letter in "gG" and verb.precision is None:
        text = values.real(number)
    elif letter in "gG":
        text = re.sub(r"e([+-])(\d)$", r"e\g<1>0\2", format(number, f".{verb.precision or 1}g"))
    else:
        text = format(number, f".{6 if verb.precision is None else verb.precision}{letter.lower()}")
    return _signed(text.upper() if letter in "EG" else text, verb.flags)


def _signed(text: str, flags: str) -> str:
    return text if text.startswith("-") else "+" + text if "+" in flags else " " + text if " " in flags else text


def sprint(*given: Any) -> str:
    """fmt.Sprint: a space between two of which neither is a text."""
    out: list[str] = []
    for index, value in enumerate(given):
        if index and not isinstance(value, str) and not isinstance(given[index - 1], str):
            out.append(" ")
        out.append(values.plain(value))
    return "".join(out)


def sprintln(*given: Any) -> str:
    """fmt.Sprintln."""
    return " ".join(map(values.plain, given)) + "\n"
