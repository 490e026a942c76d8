"""Every function that a template may call, by its name, and what is said of those that are not here."""

from __future__ import annotations

from collections.abc import Mapping

from agent.render.template import (
    builtin,
    certificates,
    encodings,
    gojson,
    goyaml,
    keystores,
    lists,
    numbers,
    objects,
    pem,
    regexes,
    texts,
    urls,
)
from agent.render.template.function import Function

_HERE: dict[str, Function] = {
    **builtin.FUNCTIONS,
    **texts.FUNCTIONS,
    **numbers.FUNCTIONS,
    **lists.FUNCTIONS,
    **objects.FUNCTIONS,
    **gojson.FUNCTIONS,
    **goyaml.FUNCTIONS,
    **encodings.FUNCTIONS,
    **regexes.FUNCTIONS,
    **urls.FUNCTIONS,
    **pem.FUNCTIONS,
    **certificates.FUNCTIONS,
    **keystores.FUNCTIONS,
}
KNOWN = frozenset(_HERE)
_DRAWN = frozenset(
    ("randAlpha", "randAlphaNum", "randNumeric", "randAscii", "randBytes", "randInt", "shuffle", "uuidv4")
)
_KEYS = frozenset(
    (
        *("genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert"),
        *("genSignedCertWithKey", "encryptAES"),
    )
)
_OPENED = frozenset(("buildCustomCert", "decryptAES"))
BY_CHANCE = _DRAWN | _KEYS  # which come out different each time
OF_ESO = BY_CHANCE | _OPENED  # which the templates of ExternalSecrets have besides
NEED_CRYPTOGRAPHY = frozenset((*certificates.FUNCTIONS, *keystores.FUNCTIONS)) | _KEYS | _OPENED


def find(name: str) -> Function:
    """A function that is KNOWN, or of ESO."""
    if name in OF_ESO:
        from agent.render.template import chance  # few templates call one

        return chance.FUNCTIONS[name]
    return _HERE[name]


_ENVIRONMENT = "reads the environment, which is not part of the secret"
_DATES = "has to do with dates, which have no place in a secret's file"
_RANDOM = "comes out different each time, so every pass would publish anew"
_LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    _ENVIRONMENT: ("env", "expandenv"),
    "asks the network": ("getHostByName",),
    "calls functions in the data, where there are none": ("call",),
    _DATES: (
        *("now", "ago", "date", "dateInZone", "date_in_zone", "dateModify", "date_modify", "mustDateModify"),
        *("must_date_modify", "duration", "durationRound", "htmlDate", "htmlDateInZone", "toDate", "mustToDate"),
        "unixEpoch",
    ),
    _RANDOM: (*BY_CHANCE, "bcrypt", "htpasswd"),
    "makes or opens keys in ways of sprig's own": ("derivePassword", *_OPENED),
    "compares versions of software": ("semver", "semverCompare"),
    "is Helm's own": ("include", "tpl", "required", "lookup", "toToml", "fromYamlArray", "fromJsonArray"),
}


def unknown(name: str) -> str:
    """What to say about a function that is not known."""
    for reason, names in _LEFT_OUT.items():
        if name in names:
            return f"the function {name!r} is not here: it {reason}"
    import difflib

    close = difflib.get_close_matches(name, KNOWN, n=1)
    return f"there is no function {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
