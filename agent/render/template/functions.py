"""Every function that a template may call, by its name, and what is said of those that are not here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from agent.render.template import builtin, encodings, gojson, lists, numbers, objects, regexes, texts
from agent.render.template.function import Function

_HERE: dict[str, Function] = {
    **builtin.FUNCTIONS,
    **texts.FUNCTIONS,
    **numbers.FUNCTIONS,
    **lists.FUNCTIONS,
    **objects.FUNCTIONS,
    **gojson.FUNCTIONS,
    **encodings.FUNCTIONS,
    **regexes.FUNCTIONS,
}
KNOWN = frozenset(_HERE)


def find(name: str) -> Function:
    """A function that is KNOWN."""
    return _HERE[name]


_RANDOM = "comes out different each time, so every pass would publish anew"
_DATES = "has to do with dates, which have no place in a secret's file"
_LEFT_OUT: Mapping[str, str] = {
    **dict.fromkeys(("env", "expandenv"), "reads the environment"),
    **dict.fromkeys(("getHostByName",), "asks the network"),
    **dict.fromkeys(("call",), "calls functions in the data, where there are none"),
    **dict.fromkeys(("now", "ago", "date", "dateInZone", "date_in_zone", "dateModify", "date_modify", "mustDateModify",
                     "must_date_modify", "duration", "durationRound", "htmlDate", "htmlDateInZone", "toDate",
                     "mustToDate", "unixEpoch"), _DATES),
    **dict.fromkeys(("randAlpha", "randAlphaNum", "randNumeric", "randAscii", "randBytes", "randInt", "shuffle",
                     "uuidv4", "genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSignedCert",
                     "genSelfSignedCertWithKey", "genSignedCertWithKey", "bcrypt", "htpasswd", "encryptAES"), _RANDOM),
    **dict.fromkeys(("derivePassword", "buildCustomCert", "decryptAES"), "makes or opens keys"),
    **dict.fromkeys(("semver", "semverCompare"), "compares versions of software"),
    **dict.fromkeys(("include", "tpl", "required", "lookup"), "is Helm's own"),
}  # fmt: skip


def unknown(name: str) -> str:
    """What to say about a function that is not known."""
    if name in _LEFT_OUT:
        return f"the function {name!r} is not here: it {_LEFT_OUT[name]}"
    close = difflib.get_close_matches(name, KNOWN, n=1)
    return f"there is no function {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
