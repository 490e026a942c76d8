"""Whole templates by chance, most of which fit their data, from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

_TEXTS = [
    *("", "a", "app", "Hello World", "a,b,c", "x=1; y=2", "žluť ß", "q\"'\\<&>", "  padded ", "line\nline\n"),
    *("HTTPServer2xx", "a/b/../c.txt", "12", "-3", "snake_case-Kebab", "%d %s", "{{", "$1", "\t\u00a0é"),
    "postgres://u:p%40w@h:5432/db?x=y",
]
_PATTERNS = [
    "a",
    "[a-z]+",
    "\\\\d+",
    "^a|b$",
    "(a)(b)?",
    "\\\\s*",
    "(?i)HELLO",
    "x*",
    "[^,]+",
    "\\\\bw",
    "(?P<n>l+)o",
    ".",
    "l{2}",
]
_VERBS = ["%s", "%q", "%10s|", "%-6s|", "%.2s", "%x", "%v", "%+q", "%5v"]
_INT_VERBS = ["%d", "%05d", "%+d", "%x", "%v", "%6d|", "%-4d|", "%o", "%b", "%X", "%c", "%q", "%U", "% d", "%.3d"]
_REAL_VERBS = ["%f", "%.2f", "%8.3f|", "%g", "%e", "%v", "%+.1f", "%G", "%.3g", "%08.2f"]


def data(rng: random.Random) -> dict[str, object]:
    """Values of the kinds that the templates expect."""
    text = lambda: rng.choice(_TEXTS)  # noqa: E731 the shortest word for what follows
    number = lambda: rng.choice([0, 1, 2, 3, 7, -1, -12, 443, 5432, 65536, 12345678901])  # noqa: E731
    return {
        "s": text(), "t": text(), "word": "word", "i": number(), "j": number(), "n": rng.randint(1, 4),
        "f": rng.choice([0.0, 0.5, -1.25, 3.14159, 1e6, 1e21, 1e-7, 123456.789]), "yes": True, "no": False,
        "list": [text() for _ in range(rng.randint(0, 4))], "ints": [number() for _ in range(rng.randint(0, 3))],
        "map": {rng.choice("abcdexyz"): text() for _ in range(rng.randint(0, 3))},
        "deep": {"a": {"b": text(), "c": [1, 2]}, "list": [{"k": text()}, {"k": text()}]},
    }  # fmt: skip


class Templates:
    """A new template at each call."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._variables: list[tuple[str, str]] = []
        self._defined: list[str] = []
        self._loops = 0

    def __call__(self) -> str:
        self._variables, self._defined, self._loops = [], [], 0
        head = ""
        for name in "pq"[: self._rng.randint(0, 2) if self._rng.random() < 0.3 else 0]:
            head += f'{{{{ define "{name}" }}}}<{{{{ . }}}}|{self._nodes(1, dot=False)}>{{{{ end }}}}'
            self._defined.append(name)
        return head + self._nodes(3)

    def _one(self, *choices: Callable[[], str]) -> str:
        return self._rng.choice(choices)()

    # -- nodes

    def _nodes(self, depth: int, *, dot: bool = True) -> str:
        known = len(self._variables)
        made = "".join(self._node(depth, dot) for _ in range(self._rng.randint(1, 3)))
        del self._variables[known:]
        return made

    def _node(self, depth: int, dot: bool) -> str:
        roll = self._rng.random()
        if roll < 0.15:
            return self._rng.choice(["text", " ", "\n", "  x\n", "} }", "\t"])
        if roll < 0.5 or depth == 0 or not dot:
            return self._action(self._any(2) if dot else '"y"')
        if roll < 0.58:
            kind = self._rng.choice(["text", "int", "list"])
            value = self._of(kind, 2)
            name = f"$v{len(self._variables)}"
            self._variables.append((name, kind))
            return self._action(f"{name} := {value}")
        if roll < 0.62 and self._variables:
            name, kind = self._rng.choice(self._variables)
            return self._action(f"{name} = {self._of(kind, 1)}")
        if roll < 0.66:
            return self._rng.choice(["{{/* c */}}", "{{- /* c */ -}}", "{{/*\n*/ -}}"])
        if roll < 0.69 and self._defined:
            return self._action(f'template "{self._rng.choice(self._defined)}" {self._text(1)}')
        if roll < 0.71 and self._loops:
            return f"{{{{ if {self._bool(1)} }}}}{{{{ {self._rng.choice(['break', 'continue'])} }}}}{{{{ end }}}}"
        if roll < 0.83:
            return self._if(depth)
        if roll < 0.9:
            return self._with(depth)
        return self._range(depth)

    def _action(self, inside: str) -> str:
        return (
            f"{self._rng.choice(['{{ ', '{{ ', '{{- ', '{{'])}{inside}{self._rng.choice([' }}', ' }}', ' -}}', '}}'])}"
        )

    def _else(self, kind: str, depth: int) -> str:
        roll = self._rng.random()
        if roll < 0.5:
            return ""
        if roll < 0.8 or kind == "range":
            return "{{ else }}" + self._nodes(depth - 1)
        if kind == "if":
            return f"{{{{ else if {self._bool(1)} }}}}" + self._nodes(depth - 1)
        return f"{{{{ else with {self._text(1)} }}}}" + self._action("print .")

    def _if(self, depth: int) -> str:
        return f"{{{{ if {self._bool(2)} }}}}{self._nodes(depth - 1)}{self._else('if', depth)}{{{{ end }}}}"

    def _with(self, depth: int) -> str:
        head = self._rng.choice(["", "$w := "]) + self._text(2)
        shown = self._rng.choice(["{{ . }}", "{{ . | upper }}", "{{ printf `%s %s` . $.word }}", "{{- len . -}}"])
        return f"{{{{ with {head} }}}}{shown}{self._else('with', depth)}{{{{ end }}}}"

    def _range(self, depth: int) -> str:
        shape = self._rng.randint(0, 5)
        self._loops += 1
        known = len(self._variables)
        if shape == 0:
            head, body = self._list(1), "{{ . }};"
        elif shape == 1:
            head = f"$k, $v := {self._map(1)}"
            body = "{{ $k }}={{ $v }} "
        elif shape == 2:
            head = f"$i, $e := {self._list(1)}"
            self._variables += [("$i", "int"), ("$e", "text")]
            body = self._in_range(depth)
        elif shape == 3:
            self._variables.append(("$n", "int"))
            head, body = f"$n := {self._rng.randint(0, 4)}", self._in_range(depth)
        elif shape == 4:
            head, body = f"until {self._rng.randint(0, 4)}", "{{ . }}" + self._rng.choice(["", ","])
        else:
            head, body = "$.deep.list", "{{ .k }}{{ $.word }}"
        del self._variables[known:]
        self._loops -= 1
        return f"{{{{ range {head} }}}}{body}{self._else('range', depth)}{{{{ end }}}}"

    def _in_range(self, depth: int) -> str:
        return "".join(
            self._rng.choice([f"{{{{ {name} }}}}", f"[{{{{- print {name} -}}}}]"]) for name, _ in self._variables[-2:]
        ) + (self._branch_in_range() if depth > 1 else "")

    def _branch_in_range(self) -> str:
        name, kind = self._variables[-1]
        condition = f"eq {name} 1" if kind == "int" else f"contains `a` {name}"
        return f"{{{{ if {condition} }}}}{{{{ {self._rng.choice(['break', 'continue', 'print 1'])} }}}}{{{{ end }}}}."

    # -- expressions

    def _of(self, kind: str, depth: int) -> str:
        return {"text": self._text, "int": self._int, "list": self._list}[kind](depth)

    def _any(self, depth: int) -> str:
        roll = self._rng.random()
        if roll < 0.02:  # of the wrong kind, most often
            name = self._rng.choice(["upper", "len", "add", "first", "initial", "not", "join", "index"])
            return f"{name} {self._value(1)}"
        return self._one(
            lambda: self._text(depth), lambda: self._text(depth), lambda: self._int(depth), lambda: self._real(depth),
            lambda: self._bool(depth), lambda: self._list(depth), lambda: self._map(depth),
            lambda: f"typeOf {self._value(depth)}", lambda: f"kindOf {self._value(depth)}",
            lambda: f"toJson {self._value(depth)}", lambda: f"toYaml {self._value(depth)}",
            lambda: f"toPrettyJson {self._map(depth)}", lambda: f"print {self._value(depth)} {self._value(depth)}",
            lambda: f"toJson (urlParse {self._text(depth)})",
        )  # fmt: skip

    def _value(self, depth: int) -> str:
        return self._one(*(lambda kind=kind: kind(depth) for kind in (
            self._text, self._int, self._real, self._bool, self._list, self._map,
        )))  # fmt: skip

    def _variable(self, kind: str) -> str | None:
        fitting = [name for name, of in self._variables if of == kind]
        return self._rng.choice(fitting) if fitting and self._rng.random() < 0.5 else None

    def _wrap(self, call: str) -> str:
        return f"({call})"

    def _text(self, depth: int) -> str:
        known = self._variable("text")
        if known:
            return known
        if depth == 0 or self._rng.random() < 0.35:
            return self._one(
                lambda: self._rng.choice(["$.s", "$.t", "$.word", "$.deep.a.b", "($.deep).a.b"]),
                lambda: json.dumps(self._rng.choice(_TEXTS), ensure_ascii=self._rng.random() < 0.5),
                lambda: '`raw "text"`',
            )
        t, d = self._text, depth - 1
        rng = self._rng
        if rng.random() < 0.15:
            filters = [
                "upper",
                "lower",
                "trim",
                "quote",
                "b64enc",
                "title",
                "urlquery",
                "html",
                "js",
                "sha1sum",
                "toJson",
            ]
            return self._wrap(" | ".join([t(d), *rng.choices(filters, k=rng.randint(1, 3))]))
        unary = [
            *(
                "upper",
                "lower",
                "title",
                "untitle",
                "trim",
                "quote",
                "squote",
                "b64enc",
                "b32enc",
                "html",
                "js",
                "urlquery",
            ),
            *(
                "nospace",
                "initials",
                "swapcase",
                "snakecase",
                "camelcase",
                "kebabcase",
                "sha256sum",
                "sha512sum",
                "print",
            ),
            *("adler32sum", "base", "dir", "ext", "clean", "regexQuoteMeta", "toString", "println", "toRawJson"),
        ]
        call = self._one(
            lambda: f"{rng.choice(unary)} {t(d)}",
            lambda: f"{rng.choice(unary)} {t(d)}",
            lambda: f"printf {json.dumps('a ' + rng.choice(_VERBS))} {t(d)}",
            lambda: f"printf {json.dumps(rng.choice(_INT_VERBS) + ' b')} {self._int(d)}",
            lambda: f"printf {json.dumps(rng.choice(_REAL_VERBS))} {self._real(d)}",
            lambda: (
                f"{rng.choice(['indent', 'nindent', 'repeat', 'abbrev', 'wrap', 'trunc'])} {rng.randint(0, 6)} {t(d)}"
            ),
            lambda: f"trunc {rng.randint(-5, 5)} {t(d)}",
            lambda: f"{rng.choice(['trimAll', 'trimPrefix', 'trimSuffix'])} {t(d)} {t(d)}",
            lambda: f"replace {t(0)} {t(0)} {t(d)}",
            lambda: f"substr {rng.randint(-1, 3)} {rng.randint(-1, 6)} {t(d)}",
            lambda: f"default {t(d)} {t(d)}",
            lambda: f"ternary {t(d)} {t(d)} {self._bool(d)}",
            lambda: f"coalesce {t(d)} {t(d)} `z`",
            lambda: f"cat {t(d)} {self._int(d)} {t(d)}",
            lambda: f"join {t(0)} {self._list(d)}",
            lambda: f'regexReplaceAll "{rng.choice(_PATTERNS)}" {t(d)} "{rng.choice(["-", "$1", "${n}x", "$0$0"])}"',
            lambda: f'regexFind "{rng.choice(_PATTERNS)}" {t(d)}',
            lambda: f"b64dec (b64enc {t(d)})",
            lambda: f"get {self._map(d)} `a`",
            lambda: f"wrapWith {rng.randint(1, 6)} `|` {t(d)}",
            lambda: f"abbrevboth {rng.randint(0, 9)} {rng.randint(0, 12)} {t(d)}",
            lambda: f"plural {t(0)} {t(0)} {rng.randint(0, 2)}",
            lambda: f"seq {rng.randint(-3, 5)} {rng.randint(-3, 5)}",
            lambda: f"or {t(d)} {t(d)} `z`",
            lambda: f"dig `a` `b` `none` {rng.choice(['$.deep', '$.map', '(dict `a` (dict `b` `c`))'])}",
            lambda: f"index {self._list(d)} {rng.randint(0, 1)} | toString",
        )
        return self._wrap(call)

    def _int(self, depth: int) -> str:
        known = self._variable("int")
        if known:
            return known
        if depth == 0 or self._rng.random() < 0.4:
            return self._rng.choice(["$.i", "$.j", "$.n", "0", "1", "7", "-2", "0x1F", "'a'", "1_000"])
        i, d, rng = self._int, depth - 1, self._rng
        return self._wrap(self._one(
            lambda: f"{rng.choice(['add', 'mul', 'max', 'min'])} {i(d)} {i(d)} {rng.randint(0, 9)}",
            lambda: f"{rng.choice(['sub', 'div', 'mod'])} {i(d)} {i(d)}",
            lambda: f"len {self._text(d)}", lambda: f"len {self._list(d)}", lambda: f"add1 {i(d)}",
            lambda: f"int {self._real(d)}", lambda: f"int64 {i(d)}", lambda: f"index {self._text(d)} 0",
        ))  # fmt: skip

    def _real(self, depth: int) -> str:
        if depth == 0 or self._rng.random() < 0.4:
            return self._rng.choice(["$.f", "1.5", "-0.25", "1e3", ".5", "2.0", "1e-9", "0x1p-2"])
        i, r, d, rng = self._int, self._real, depth - 1, self._rng
        return self._wrap(self._one(
            lambda: f"{rng.choice(['ceil', 'floor', 'float64'])} {r(d)}", lambda: f"round {r(d)} {rng.randint(0, 4)}",
            lambda: f"{rng.choice(['addf', 'mulf', 'maxf', 'minf', 'subf'])} {r(d)} {i(d)}",
            lambda: f"divf {r(d)} {rng.randint(1, 9)}", lambda: f"add1f {r(d)}",
        ))  # fmt: skip

    def _bool(self, depth: int) -> str:
        if depth == 0 or self._rng.random() < 0.2:
            return self._rng.choice(["true", "false", "$.yes", "$.no"])
        t, i, b, d, rng = self._text, self._int, self._bool, depth - 1, self._rng
        return self._wrap(self._one(
            lambda: f"{rng.choice(['eq', 'ne', 'lt', 'le', 'gt', 'ge'])} {i(d)} {i(d)}",
            lambda: f"{rng.choice(['eq', 'ne', 'lt', 'le', 'gt', 'ge'])} {t(d)} {t(d)}",
            lambda: f"eq {t(d)} {t(d)} {t(d)}", lambda: f"{rng.choice(['and', 'or'])} {b(d)} {b(d)}",
            lambda: f"not {b(d)}",
            lambda: f"{rng.choice(['contains', 'hasPrefix', 'hasSuffix'])} {t(d)} {t(d)}", lambda: f"empty {t(d)}",
            lambda: f'regexMatch "{rng.choice(_PATTERNS)}" {t(d)}', lambda: f"hasKey {self._map(d)} `a`",
            lambda: f"has {t(d)} {self._list(d)}", lambda: f"deepEqual {self._value(d)} {self._value(d)}",
            lambda: f"kindIs `string` {self._value(d)}", lambda: f"isAbs {t(d)}", lambda: f"all {t(d)} {i(d)}",
            lambda: f"any {t(d)} {b(d)}", lambda: f"lt {self._real(d)} {self._real(d)}",
        ))  # fmt: skip

    def _list(self, depth: int) -> str:
        known = self._variable("list")
        if known:
            return known
        if depth == 0 or self._rng.random() < 0.3:
            return self._rng.choice(
                ["$.list", "(list `a` `b` `a`)", "(list 1 `x` 2.5 true)", "(tuple)", "$.ints", "$.deep.a.c"]
            )
        t, ls, d, rng = self._text, self._list, depth - 1, self._rng
        return self._wrap(self._one(
            lambda: f"{rng.choice(['reverse', 'uniq', 'sortAlpha', 'compact', 'initial', 'rest'])} {ls(d)}",
            lambda: f"toStrings {ls(d)}",
            lambda: f"{rng.choice(['append', 'prepend'])} {ls(d)} {self._value(d)}", lambda: f"concat {ls(d)} {ls(d)}",
            lambda: f"without {ls(d)} {t(d)} 1", lambda: f"splitList {t(0)} {t(d)}",
            lambda: f"until {rng.randint(-2, 4)}",
            lambda: f"untilStep {rng.randint(-3, 3)} {rng.randint(-3, 6)} {rng.randint(-2, 2)}",
            lambda: f'regexFindAll "{rng.choice(_PATTERNS)}" {t(d)} {rng.randint(-1, 3)}',
            lambda: f'regexSplit "{rng.choice(_PATTERNS)}" {t(d)} {rng.randint(-1, 3)}',
            lambda: f"keys {self._map(d)} | sortAlpha", lambda: f"list {t(d)} {self._int(d)} {ls(d)}",
            lambda: f"chunk {rng.randint(1, 3)} {ls(d)}", lambda: f"pluck `a` {self._map(d)} {self._map(d)}",
            lambda: f"slice (append {ls(d)} 1) {rng.randint(0, 1)}",
        ))  # fmt: skip

    def _map(self, depth: int) -> str:
        if depth == 0 or self._rng.random() < 0.3:
            return self._rng.choice(["$.map", "$.deep", "(dict `a` 1 `b` `x`)", "(dict)", "$.deep.a", "(dict `a` ``)"])
        t, m, d, rng = self._text, self._map, depth - 1, self._rng
        return self._wrap(self._one(
            lambda: f"dict {t(d)} {self._value(d)} `a` {self._value(d)}",
            lambda: f"set (deepCopy {m(d)}) `s` {self._value(d)}",
            lambda: f"{rng.choice(['pick', 'omit'])} {m(d)} `a` `b` {t(0)}", lambda: f"unset (deepCopy {m(d)}) `a`",
            lambda: f"{rng.choice(['merge', 'mergeOverwrite'])} (dict) (deepCopy {m(d)}) (deepCopy {m(d)})",
            lambda: f"{rng.choice(['merge', 'mergeOverwrite'])} (deepCopy {m(d)}) (deepCopy {m(d)})",
            lambda: f"deepCopy {m(d)}",
        ))  # fmt: skip
