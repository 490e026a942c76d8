"""JSON in one line without white space, and in lines with indents, as gjson's `@ugly` and `@pretty` write it."""

from __future__ import annotations

from agent.core.record import Record
from agent.render import gjson_scan as scan
from agent.render.gjson_scan import Result


def ugly(json: str) -> str:
    """Without the white space between values."""
    out: list[str] = []
    at = 0
    while at < len(json):
        if json[at] == '"':
            at, raw, _ = scan.string(json, at + 1)
            out.append(raw)
            continue
        if json[at] > " ":
            out.append(json[at])
        at += 1
    return "".join(out)


class _Style(Record):
    width: int = 80
    prefix: str = ""
    indent: str = "  "
    sorted: bool = False


def pretty(json: str, argument: str) -> str:
    """One line for each value, but for a list of scalars that fits into a line. `argument` is an object with `width`,
    `indent`, `prefix` and `sortKeys`."""
    given = {key.text: value for key, value in scan.entries(scan.parsed(argument))} if argument else {}
    plain = _Style()
    style = _Style(
        width=int(given["width"].number) if "width" in given else plain.width,
        prefix=_white(given["prefix"].shown) if "prefix" in given else plain.prefix,
        indent=_white(given["indent"].shown) if "indent" in given else plain.indent,
        sorted=given["sortKeys"].kind == "true" if "sortKeys" in given else plain.sorted,
    )
    found = scan.any_value(json, 0)
    if found is None:
        return ""
    return f"{style.prefix}{_laid_out(found[1], style, 0, len(style.prefix))}\n"


def _white(text: str) -> str:
    return "".join(char for char in text if char in " \t\n\r")


def _laid_out(value: Result, style: _Style, depth: int, used: int) -> str:
    """The value; `used` are the columns before it in its line."""
    if value.kind != "json":
        return value.raw
    is_list = value.raw.startswith("[")
    opened, closed = ("[", "]") if is_list else ("{", "}")
    entries = list(scan.entries(value))
    if not entries:
        return opened + closed
    if is_list and style.width > 0 and (most := style.width - used) > 3:
        line = _in_line(value)
        if line is not None and len(line.encode("utf-8", "surrogateescape")) <= most:
            return line
    if style.sorted and not is_list:
        entries.sort(key=lambda pair: pair[0].text.encode("utf-8", "surrogateescape"))
    before = style.prefix + style.indent * (depth + 1)
    lines = []
    for key, item in entries:
        name = "" if is_list else f"{key.raw}: "
        columns = len((before + name).encode("utf-8", "surrogateescape"))
        lines.append(before + name + _laid_out(item, style, depth + 1, columns))
    return f"{opened}\n" + ",\n".join(lines) + f"\n{style.prefix}{style.indent * depth}{closed}"


def _in_line(value: Result) -> str | None:
    """A list in one line; None if there is an object in it."""
    if value.kind != "json":
        return value.raw
    if value.raw.startswith("{"):
        return None
    parts = [_in_line(item) for _, item in scan.entries(value)]
    return None if None in parts else f"[{', '.join(part for part in parts if part is not None)}]"
