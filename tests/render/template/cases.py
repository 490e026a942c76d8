"""The cases written by hand, with what Go makes of them, as recorded in cases.jsonl.

A line of the file is a heading (`# …`) or a JSON list: the template, what Go renders (null: it refuses), and where we
differ on purpose the key of the reason in DIFFERENCES and what we render (null: we refuse).

`python -m tests.render.template.cases` asks Go anew and rewrites the file; a new case is a list of its template alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from agent.render.template import TemplateError, parse
from tests.render.template import oracle

FILE = Path(__file__).parent / "cases.jsonl"
DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data.json").read_text())

DIFFERENCES = {
    "mark": "a wrong verb of printf shows the value as %!d(string=…), which no file wants",
    "null": "null prints as <nil> or <no value>, which no file wants",
    "zero": "what is no number is taken for 0",
    "swallowed": "an error is swallowed, or put into the file",
    "written": "a number of JSON or YAML is a float64: 12345678 prints as 1.2345678e+07",
    "quoted": "YAML has texts in plain that some reader takes for something else",
    "key": "a key of YAML that reads as a boolean is one: n is false; or a key is lost",
    "bytes": "a byte that is no UTF-8 becomes U+FFFD where letters change their case",
    "lists": "an empty list may be null in JSON",
}


class Case(NamedTuple):
    template: str
    go: str | None
    why: str | None
    ours: str | None


def read() -> list[Case]:
    found = []
    for line in FILE.read_text().splitlines():
        if not line.startswith("# "):
            template, go, *differs = json.loads(line)
            why, ours = differs if differs else (None, go)
            found.append(Case(template, go, why, ours))
    return found


def rendered(template: str, data: Any = DATA) -> str | None:
    """What we render; None where we refuse."""
    try:
        return parse(template).render(data)
    except TemplateError:
        return None


def gos(answer: dict[str, Any]) -> str | None:
    """What Go rendered; None where it refused."""
    return None if answer["error"] else bytes.fromhex(answer["hex"]).decode("utf-8", "surrogateescape")


def main() -> None:
    lines = FILE.read_text().splitlines()
    cases = [json.loads(line) for line in lines if not line.startswith("# ")]
    answers = oracle.ask({"template": case[0], "data": DATA} for case in cases)
    made = iter([_recorded(case, gos(answer)) for case, answer in zip(cases, answers, strict=True)])
    FILE.write_text("".join((line if line.startswith("# ") else json.dumps(next(made))) + "\n" for line in lines))


def _recorded(case: list[Any], go: str | None) -> list[Any]:
    ours = rendered(case[0])
    if ours == go:
        return [case[0], go]
    why = case[2] if len(case) > 2 else "?"
    print(f"{why}: {case[0]}\n  Go   {go!r}\n  ours {ours!r}")
    return [case[0], go, why, ours]


if __name__ == "__main__":
    main()
