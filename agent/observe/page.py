"""The status page for `kubectl port-forward`: one self-contained document that refreshes itself.

The agent renders the whole page, so it reads the same without JavaScript. With JavaScript the page fetches itself every
two seconds and replaces its content. Imported at the first request.
"""

from __future__ import annotations

from html import escape

from agent.observe import report
from agent.observe.report import Report

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #b3261e; --good: #1b6e3c; --dim: #666 }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #7ddba3; --dim: #aaa } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 1rem auto; padding: 0 1rem }
h1 { font-size: 1.2rem } h2 { font-size: 1rem; margin: 1.5rem 0 .3rem }
p { margin: .2rem 0 } .dim { color: var(--dim) }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; white-space: nowrap }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; color: var(--dim); font-size: .8rem }
td:first-child { font-weight: 600; white-space: normal; overflow-wrap: anywhere; min-width: 9rem }
td[data-of="Version"] span { font-family: ui-monospace, monospace }
.bad, .mind { color: var(--bad) } .good { color: var(--good) } .note { overflow-wrap: anywhere }
@media (max-width: 40rem) {
  table, tbody, tr, td { display: block } thead { display: none }
  tr { border-bottom: 1px solid var(--line); padding: .4rem 0 }
  td { border: 0; padding: 0; display: flex; gap: .6rem }
  td::before { content: attr(data-of); color: var(--dim); font-weight: 400; flex: 0 0 6.5rem }
  td span { min-width: 0 }
}
"""

_RENEW = """
const late = document.getElementById("late");
setInterval(async () => {
  try {
    const answer = await fetch(location.href, {cache: "no-store"});
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    document.querySelector("main").replaceWith(fresh);
    late.hidden = true;
  } catch { late.hidden = false; }
}, 2000);
"""


def html(made: Report) -> str:
    """The page of a report."""
    at = made["at"]
    agent = "".join(f'<p class="note">{escape(line)}</p>' for line in report.headline(made))
    secrets = _table(report.SECRET_COLUMNS, [report.secret_row(secret, at) for secret in made["secrets"]])
    targets = _table(report.TARGET_COLUMNS, [report.target_row(target, at) for target in made["targets"]])
    notes = "".join(
        f'<p class="note"><b>{escape(name)}</b>: {escape(sentence)}</p>' for name, sentence in report.notes(made)
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
 script-src 'unsafe-inline'; connect-src 'self'"><title>Freshmount</title><style>{_STYLE}</style></head>
<body><h1>Freshmount</h1>
<p id="late" class="bad" hidden>The agent does not answer; this page is out of date.</p>
<main>{agent}
<h2>Secrets</h2><div class="wide">{secrets}</div>
{f'<h2>Notified of changes</h2><div class="wide">{targets}</div>' if made["targets"] else ""}
{f"<h2>Details</h2>{notes}" if notes else ""}
<p class="dim">As of {escape(at)}. As JSON: <a href="/status">/status</a></p></main>
<script>{_RENEW}</script></body></html>
"""


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(column.capitalize())}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(*cell) for cell in zip(columns, row, strict=True))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(column: str, value: str) -> str:
    mood = report.mood(value) if column == "STATE" else ""
    shown = f' class="{mood}"' if mood else ""
    return f'<td data-of="{escape(column.capitalize())}"{shown}><span>{escape(value)}</span></td>'
