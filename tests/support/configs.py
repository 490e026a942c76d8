"""One corpus of configs for the parser and for the JSON Schema."""

from __future__ import annotations

_SECRET = "name: db, secretId: 'arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf'"


def document(secret: str = _SECRET, files: str = "{path: db}", top: str = "", more: str = "") -> str:
    return f"""\
apiVersion: freshmount.dev/v1
kind: Config
{top}
secrets:
  - {{{secret}, files: [{files}]}}
{more}
"""


def _target(text: str) -> str:
    return document(top=f"notify: [{{{text}}}]")


def _id(text: str) -> str:
    return document(secret=f"name: db, secretId: {text}")


def _require(text: str) -> str:
    return document(secret=_SECRET + f", require: {{{text}}}")


def whole(more: str, top: str = "") -> str:
    """A config of a secret without `files`."""
    return f"apiVersion: freshmount.dev/v1\nkind: Config\n{top}\nsecrets: [{{name: db, secretId: prod/db{more}}}]\n"


_KEYSTORE = "files: [{{path: b, pkcs12: {{certificate: {{secret: db}}, privateKey: {{secret: db, key: key}}{}}}}}]"

VALID = {
    "minimal": document(),
    "a name": _id("prod/db"),
    "an arn without suffix": _id("'arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db'"),
    "china": _id("'arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:x-AbCdEf'"),
    "govcloud": _id("'arn:aws-us-gov:secretsmanager:us-gov-west-1:111122223333:secret:x-AbCdEf'"),
    "managed by RDS": _id("'rds!db-0a1b2c3d-1111-2222-3333-444455556666'"),
    "managed by EventBridge": _id(
        "'arn:aws:secretsmanager:eu-west-1:111122223333:secret:events!connection/hook/0a1b2c3d-AbCdEf'"
    ),
    "sovereign cloud": document(top="region: eusc-de-east-1"),
    "sovereign cloud's arn": _id("'arn:aws-eusc:secretsmanager:eusc-de-east-1:111122223333:secret:x-AbCdEf'"),
    "a partition to come": _id("'arn:aws-new:secretsmanager:nw-far-1:111122223333:secret:x-AbCdEf'"),
    "pinned": document(secret=_SECRET + ", versionId: 01234567-89ab-cdef-0123-456789abcdef"),
    "a hub": document(top="hub: {url: 'http://freshmount.freshmount:9106'}\npoll: {floor: 2h}"),
    "a hub and looks by list": document(top="hub: {url: 'http://freshmount.freshmount:9106', ownLooks: list}"),
    "a hub with a token elsewhere": document(top="hub: {url: 'http://[::1]:9106/x', tokenPath: /token}"),
    "staged": document(secret=_SECRET + ", versionStage: AWSPREVIOUS"),
    "requirements": _require(
        "keys: [a, b], match: [{key: a, pattern: '^x'}], certificate: {certificate: c, privateKey: d}"
    ),
    "one requirement": _require("keys: [a]"),
    "all formats": document(
        files=", ".join(f"{{path: {f}, format: {f}}}" for f in ("raw", "json", "dotenv", "properties"))
    ),
    "quoting for libraries": document(files="{path: a, format: dotenv, quoting: dotenv}"),
    "quoting for a shell": document(files="{path: a, format: dotenv, quoting: sh}"),
    "directory with jmesPath": document(files="{directory: d, jmesPath: a.b}"),
    "a property": document(files="{path: a, property: a.b}, {path: b, property: 'list.#.name', fileMode: '0400'}"),
    "a property beside what may be missing": document(
        secret=_SECRET + ", missing: skip", files="{path: a, property: a}, {path: b, missing: empty}"
    ),
    "dotfile": document(files="{path: .env}, {path: a/.b/c}"),
    "a dot inside": document(files="{path: a..b}"),
    "listen short": document(top='listen: ":9105"'),
    "listen v6": document(top='listen: "[::1]:1"'),
    "durations": document(top="poll: {period: 1h2m3s4ms, settle: 0s}\nstaleAfter: 3h"),
    "three digits": document(files="{path: a, fileMode: '640'}"),
    "touch": _target("name: a, touch: /x"),
    "touch beside what is published": _target("name: a, touch: /freshmount/secrets/reload"),
    "touch beside the volume": _target("name: a, touch: /freshmount/secrets-reload"),
    "a fraction": document(top="poll: {period: 0.5s, rotationPeriod: 200ms}\nstartup: {timeout: 0s}"),
    "a sign in a path": _target("name: a, url: 'https://host/@me/x'"),
    "stale after two periods": document(top="poll: {period: 60s}\nstaleAfter: 2m12s"),
    "stale after two settled periods": document(top="poll: {period: 1s, settle: 10s}\nstaleAfter: 12200ms"),
    "stale beside a version that is not polled": document(
        secret=_SECRET + ", period: 1h, versionId: 01234567-89ab-cdef-0123-456789abcdef", top="staleAfter: 5m"
    ),
    "never stale": document(top="staleAfter: 0s"),
    "url": _target("name: a, url: 'https://host.example:8443/p?q=1'"),
    "signal": _target("name: a, signal: SIGHUP, process: {name: nginx}"),
    "signal that is handled": _target("name: a, signal: SIGHUP, process: {name: go}, handled: true"),
    "signal that is not": _target("name: a, signal: SIGHUP, process: {name: go}, handled: false"),
    "region": document(top="region: us-gov-west-1"),
    "ends with the app": document(top="exitWith: {process: {name: job}}"),
    "by content": whole(""),
    "by content, without what is missing": whole(", missing: skip"),
    "decoded": document(files="{path: a, jmesPath: k, encoding: base64}, {path: b, encoding: hex, format: raw}"),
    "decoded directory": document(files="{directory: a, encoding: base64url, missing: empty}"),
    "missing for all": document(secret=_SECRET + ", missing: skip", files="{directory: a}, {path: b, missing: error}"),
    "template": document(files="{path: a, template: '{{ .user }}:{{ .password }}', fileMode: '0400'}"),
    "template of a block": document(
        files="{path: a}", top="files:\n  - path: b\n    template: |\n      {{ .db.user }}\n"
    ),
    "template of all": document(
        top="files: [{path: b, secrets: [db], template: '{{ range $k, $v := .db }}{{ $k }}{{ end }}'}]"
    ),
    "shared only": whole(", period: 5m", top="files: [{path: b, template: '{{ .db }}'}]"),
    "pem": document(
        top="files: [{path: b, pem: {certificate: {secret: db, key: crt}, privateKey: {secret: db, key: key}}}]"
    ),
    "pem of a whole secret": document(top="files: [{path: b, pem: {certificate: {secret: db}}}]"),
    "keystore": document(top=_KEYSTORE.format("")),
    "old keystore": document(top=_KEYSTORE.format(", legacy: true, password: {secret: db, key: pw}")),
    "ends with a pid file's": document(top="exitWith: {process: {pidFile: /run/app.pid}}"),
}

_ROLE = "arn:aws:iam::111122223333:role"

_PARAMETER = "name: flags, parameter: /prod/flags"

VALID |= {
    "a parameter": document(secret=_PARAMETER),
    "a parameter without a path": document(secret="name: flags, parameter: flags"),
    "a parameter by its arn": document(
        secret="name: flags, parameter: 'arn:aws:ssm:eu-west-1:111122223333:parameter/prod/flags'"
    ),
    "a parameter's version": document(secret=_PARAMETER + ", parameterVersion: 3"),
    "a parameter's version in quotes": document(secret=_PARAMETER + ", parameterVersion: '3'"),
    "a parameter's label": document(secret=_PARAMETER + ", parameterLabel: live"),
    "parameters": document(secret="name: app, parameters: /prod/app/", files="{directory: app}"),
    "parameters without the last slash": document(secret="name: app, parameters: /prod/app"),
    "all parameters": document(secret="name: app, parameters: /"),
    "find": document(secret="name: a, find: {name: '^prod/.*[0-9]+$', path: prod/, tags: {team: payments}}"),
    "find by name": document(secret="name: a, find: {name: '(?:db|api)-\\d{2}'}"),
    "find by tags": document(secret="name: a, find: {tags: {team: a, stage: '1'}}, failover: {region: us-east-1}"),
    "failover": document(secret=_SECRET + ", failover: {region: eu-central-1}"),
    "failover to several": document(
        secret=_SECRET + ", failover: [{region: eu-central-1}, {region: us-east-1, secretId: other}]"
    ),
    "failover of a parameter": document(secret=_PARAMETER + ", failover: {region: eu-central-1, parameter: /other}"),
    "failover when denied, to another stage": document(
        secret=_SECRET + ", failover: {region: us-east-1, ifDenied: true, versionStage: green}"
    ),
    "failover to another label": document(
        secret=_PARAMETER + ", failover: {region: us-east-1, ifDenied: false, parameterLabel: green}"
    ),
    "a text": document(files="{path: a, format: text, jmesPath: port}"),
    "failover with a role": document(
        secret=_SECRET + f", failover: {{region: us-east-1, roleArn: {_ROLE}/a, endpointUrl: 'https://x'}}"
    ),
    "a role": document(top=f"roleArn: {_ROLE}/reader"),
    "a chain of roles": document(top=f"roleArn: [{_ROLE}/one, {_ROLE}/path/two]\nexternalId: 'x:1'"),
    "a role of one secret": document(
        secret=_SECRET + f", roleArn: {_ROLE}/reader, externalId: abc, sessionTags: {{a: b}}"
    ),
    "no role for one secret": document(secret=_SECRET + ", roleArn: []", top=f"roleArn: {_ROLE}/reader"),
    "an external id for the default": document(secret=_SECRET + ", externalId: abc", top=f"roleArn: {_ROLE}/reader"),
}

# A schema can see these.
STRUCTURAL = {
    "not a mapping": "[]",
    "no secrets key": "apiVersion: freshmount.dev/v1\nkind: Config\n",
    "no secrets": "apiVersion: freshmount.dev/v1\nkind: Config\nsecrets: []\n",
    "null secrets": "apiVersion: freshmount.dev/v1\nkind: Config\nsecrets:\n",
    "other version": document().replace("v1", "v2", 1),
    "other kind": document().replace("Config", "Secret", 1),
    "unknown key": document(top="colour: blue"),
    "unknown key in volume": document(top="volume: {mode: '0440'}"),
    "a hub without a URL": document(top="hub: {tokenPath: /token}"),
    "a hub by https": document(top="hub: {url: 'https://freshmount.freshmount:9106'}"),
    "a hub and looks by nothing known": document(top="hub: {url: 'http://freshmount:9106', ownLooks: lists}"),
    "a hub with a query": document(top="hub: {url: 'http://freshmount:9106/?x=y'}"),
    "a hub with credentials": document(top="hub: {url: 'http://me:secret@freshmount:9106'}"),
    "a hub that is a text": document(top="hub: http://freshmount:9106"),
    "a relative path of a token": document(top="hub: {url: 'http://freshmount:9106', tokenPath: token}"),
    "unknown key in secret": document(secret=_SECRET + ", stage: x"),
    "unknown key in file": document(files="{path: a, mode: '0440'}"),
    "unknown key in target": _target("name: a, touch: /x, on: y"),
    "volume is a text": document(top="volume: /x"),
    "relative volume": document(top="volume: {path: x}"),
    "bare mode": document(top="volume: {fileMode: 0440}"),
    "bare decimal mode": document(files="{path: a, fileMode: 440}"),
    "mode of letters": document(files="{path: a, fileMode: 'rw'}"),
    "mode without owner": document(files="{path: a, fileMode: '0044'}"),
    "setuid mode": document(files="{path: a, fileMode: '4755'}"),
    "bare duration": document(top="poll: {period: 60}"),
    "duration of words": document(top="poll: {period: a minute}"),
    "empty duration": document(top="poll: {period: ''}"),
    "optional is a word": document(secret=_SECRET + ", optional: 'true'"),
    "version and stage": document(
        secret=_SECRET + ", versionId: 01234567-89ab-cdef-0123-456789abcdef, versionStage: b"
    ),
    "arn of another service": _id("'arn:aws:s3:::bucket'"),
    "arn with a wrong account": _id("'arn:aws:secretsmanager:eu-west-1:1:secret:x'"),
    "version id of another form": document(secret=_SECRET + ", versionId: v3"),
    "version id with a space": document(secret=_SECRET + f", versionId: '{'a ' * 20}'"),
    "stage too long": document(secret=_SECRET + f", versionStage: {'A' * 257}"),
    "no files": document(files=""),
    "requires nothing": _require(""),
    "requires no key": _require("keys: []"),
    "requires an empty key": _require("keys: ['']"),
    "unknown requirement": _require("length: 3"),
    "match without pattern": _require("match: [{key: a}]"),
    "match as a mapping": _require("match: {a: b}"),
    "certificate without key": _require("certificate: {certificate: a}"),
    "neither path nor directory": document(files="{jmesPath: a}"),
    "path and directory": document(files="{path: a, directory: b}"),
    "directory with format": document(files="{directory: a, format: json}"),
    "encoding of text": document(files="{path: a, format: text, encoding: base64}"),
    "unknown format": document(files="{path: a, format: yaml}"),
    "unknown quoting": document(files="{path: a, format: dotenv, quoting: bash}"),
    "quoting of json": document(files="{path: a, format: json, quoting: sh}"),
    "quoting without a format": document(files="{path: a, quoting: dotenv}"),
    "quoting of a directory": document(files="{directory: a, quoting: dotenv}"),
    "unknown encoding": document(files="{path: a, encoding: base32}"),
    "encoding of json": document(files="{path: a, format: json, encoding: base64}"),
    "unknown missing": document(files="{path: a, missing: ignore}"),
    "unknown missing of all": whole(", missing: null"),
    "template with format": document(files="{path: a, template: x, format: json}"),
    "property with jmesPath": document(files="{path: a, property: x, jmesPath: k}"),
    "property with a template": document(files="{path: a, property: x, template: k}"),
    "property that may be missing": document(files="{path: a, property: x, missing: empty}"),
    "property of a directory": document(files="{directory: a, property: x}"),
    "empty property": document(files="{path: a, property: ''}"),
    "template with jmesPath": document(files="{path: a, template: x, jmesPath: k}"),
    "template of a directory": document(files="{directory: a, template: x}"),
    "empty template": document(files="{path: a, template: ''}"),
    "no shared files": document(top="files: []"),
    "shared file of nothing": document(top="files: [{path: a}]"),
    "shared file of two kinds": document(top="files: [{path: a, template: x, pem: {certificate: {secret: db}}}]"),
    "shared file with a format": document(top="files: [{path: a, template: '{{ .db }}', format: json}]"),
    "shared directory": document(top="files: [{directory: a, template: '{{ .db }}'}]"),
    "secrets of a pem": document(top="files: [{path: a, secrets: [db], pem: {certificate: {secret: db}}}]"),
    "pem without certificate": document(top="files: [{path: a, pem: {privateKey: {secret: db}}}]"),
    "pem of a key alone": document(top="files: [{path: a, pem: {certificate: {key: crt}}}]"),
    "keystore without a key": document(top="files: [{path: a, pkcs12: {certificate: {secret: db}}}]"),
    "absolute path": document(files="{path: /a}"),
    "path that leaves": document(files="{path: a/../../b}"),
    "path of ours": document(files="{path: ..data}"),
    "path of ours below": document(files="{path: a/..b/c}"),
    "empty part": document(files="{path: a//b}"),
    "dot part": document(files="{path: ./a}"),
    "trailing slash": document(files="{path: a/}"),
    "control character": document(files='{path: "a\\nb"}'),
    "name with a space": document(secret=_SECRET.replace("name: db", "name: 'a b'")),
    "two ways to tell": _target("name: a, touch: /x, url: 'http://x/'"),
    "no way to tell": _target("name: a"),
    "signal without process": _target("name: a, signal: SIGHUP"),
    "process without signal": _target("name: a, touch: /x, process: {name: y}"),
    "a touch that is handled": _target("name: a, touch: /x, handled: true"),
    "a url that is handled": _target("name: a, url: 'http://x/', handled: false"),
    "handled is a word": _target("name: a, signal: SIGHUP, process: {name: y}, handled: 'yes'"),
    "two processes": _target("name: a, signal: SIGHUP, process: {name: y, pidFile: /z}"),
    "process with a slash": _target("name: a, signal: SIGHUP, process: {name: /usr/sbin/nginx}"),
    "a signal that cannot be handled": _target("name: a, signal: SIGKILL, process: {name: y}"),
    "relative touch": _target("name: a, touch: x"),
    "url of another scheme": _target("name: a, url: 'ftp://x/'"),
    "url with credentials": _target("name: a, url: 'http://u:p@x/'"),
    "empty watch list": _target("name: a, touch: /x, secrets: []"),
    "watch list twice": _target("name: a, touch: /x, secrets: [db, db]"),
    "empty notify": document(top="notify: []"),
    "no such region": document(top="region: Ireland"),
    "ends with nothing": document(top="exitWith: {}"),
    "ends with two": document(top="exitWith: {process: {name: a, pidFile: /b}}"),
    "ends with a name alone": document(top="exitWith: {name: a}"),
    "listen without port": document(top="listen: '127.0.0.1'"),
}

STRUCTURAL |= {
    "no source": document(secret="name: db"),
    "two sources": document(secret=_SECRET + ", parameter: /a"),
    "a secret and parameters": document(secret=_SECRET + ", parameters: /a"),
    "a stage of a parameter": document(secret=_PARAMETER + ", versionStage: AWSPREVIOUS"),
    "a label of a secret": document(secret=_SECRET + ", parameterLabel: live"),
    "a version of a path": document(secret="name: app, parameters: /a, parameterVersion: 1"),
    "version and label": document(secret=_PARAMETER + ", parameterVersion: 1, parameterLabel: live"),
    "version 0": document(secret=_PARAMETER + ", parameterVersion: 0"),
    "a version that is a word": document(secret=_PARAMETER + ", parameterVersion: latest"),
    "a parameter with its version": document(secret="name: a, parameter: '/a:3'"),
    "a path that is relative": document(secret="name: a, parameters: a/b"),
    "a path with an empty part": document(secret="name: a, parameters: //a"),
    "find nothing": document(secret="name: a, find: {}"),
    "find as a text": document(secret="name: a, find: prod/"),
    "find by no tag": document(secret="name: a, find: {tags: {}}"),
    "find with a stage": document(secret="name: a, find: {path: a}, versionStage: AWSPREVIOUS"),
    "find a negation": document(secret="name: a, find: {path: '!prod/'}"),
    "failover without a region": document(secret=_SECRET + ", failover: {secretId: other}"),
    "failover as a word": document(secret=_SECRET + ", failover: eu-central-1"),
    "no failover": document(secret=_SECRET + ", failover: []"),
    "failover to no region": document(secret=_SECRET + ", failover: {region: Frankfurt}"),
    "failover if perhaps denied": document(secret=_SECRET + ", failover: {region: us-east-1, ifDenied: sometimes}"),
    "a role that is a user": document(top="roleArn: arn:aws:iam::111122223333:user/a"),
    "a role without an account": document(top="roleArn: arn:aws:iam:::role/a"),
    "an external id without a role": document(top="externalId: abc"),
    "a short external id": document(top=f"roleArn: {_ROLE}/a\nexternalId: a"),
    "tags that are a list": document(top=f"roleArn: {_ROLE}/a\nsessionTags: [a]"),
    "a parameter of another service": document(
        secret="name: a, parameter: 'arn:aws:secretsmanager:eu-west-1:111122223333:secret:x-AbCdEf'"
    ),
}

# These take more than a schema.
BEYOND = {
    "duplicate key": document(top="region: eu-west-1\nregion: eu-west-2"),
    "name twice": document(more="  - {" + _SECRET + ", files: [{path: other}]}"),
    "path twice": document(files="{path: a}, {path: a}"),
    "path under a file": document(files="{path: a}, {path: a/b}"),
    "path under a directory": document(files="{directory: d}, {path: d/e}"),
    "directory over a path": document(files="{path: d/e}, {directory: d}"),
    "path of another secret": document(more="  - {name: b, secretId: b, files: [{path: db}]}"),
    "no regular expression": _require("match: [{key: a, pattern: '('}]"),
    "no JMESPath": document(files="{path: a, jmesPath: 'x['}"),
    "unknown function": document(files="{path: a, jmesPath: '&'}"),
    "floor shorter than period": document(top="poll: {period: 1h, floor: 30m}"),
    "rotation longer than period": document(top="poll: {period: 5s, rotationPeriod: 6s}"),
    "period too short": document(top="poll: {period: 10ms}"),
    "duration too long": document(top="staleAfter: 10000h"),
    "touch of a published path": _target("name: a, touch: /freshmount/secrets/db"),
    "touch below a published path": _target("name: a, touch: /freshmount/secrets/db/x"),
    "touch of a name of ours": _target("name: a, touch: /freshmount/secrets/..data/x"),
    "touch of the volume": _target("name: a, touch: /freshmount/secrets/"),
    "unknown secret": _target("name: a, touch: /x, secrets: [nope]"),
    "target twice": document(top="notify: [{name: a, touch: /x}, {name: a, touch: /y}]"),
    "stale sooner than asked": document(top="poll: {period: 4s}\nstaleAfter: 1s"),
    "stale after one failed attempt": document(top="poll: {period: 60s}\nstaleAfter: 2m11s"),
    "stale while it settles": document(top="poll: {period: 1s, settle: 10s}\nstaleAfter: 12s"),
    "stale before the slowest": document(secret=_SECRET + ", period: 1h", top="staleAfter: 5m"),
    "partition of another region": _id("'arn:aws:secretsmanager:cn-north-1:111122223333:secret:x-AbCdEf'"),
    **{
        f"volume is {path}": document(top=f"volume: {{path: {path}}}")
        for path in (
            "/",
            "//",
            "/etc",
            "/etc/",
            "/usr",
            "/usr/local",
            "/usr/bin/x",
            "/bin",
            "/lib/x",
            "/proc",
            "/proc/1/root",
            "/sys/x",
            "/dev",
            "/dev/x",
            "/dev/shm",
            "/var",
            "/var/run",
            "/run",
            "/tmp",
            "/home",
            "/root",
            "/var/run/secrets/kubernetes.io/serviceaccount",
        )
    },
    "template that is none": document(files="{path: a, template: '{{ .user'}"),
    "template with an unknown function": document(files="{path: a, template: '{{ env .user }}'}"),
    "template of an unknown secret": document(top="files: [{path: a, template: '{{ .nope.user }}'}]"),
    "template of nothing": document(top="files: [{path: a, template: 'x'}]"),
    "template of all, unlisted": document(top="files: [{path: a, template: '{{ range . }}{{ . }}{{ end }}'}]"),
    "template of a list with an unknown secret": document(top="files: [{path: a, template: x, secrets: [nope]}]"),
    "pem of an unknown secret": document(top="files: [{path: a, pem: {certificate: {secret: nope}}}]"),
    "shared path twice": document(top="files: [{path: db, template: '{{ .db }}'}]"),
    "path under what may be a directory": whole("}, {name: o, secretId: o, files: [{path: db/x}]"),
    "touch of a shared path": document(
        top="files: [{path: s, template: '{{ .db }}'}]\nnotify: [{name: a, touch: /freshmount/secrets/s}]"
    ),
    "port too high": document(top="listen: ':65536'"),
    "long name": document(files="{path: " + "a" * 256 + "}"),
}

BEYOND |= {
    "a label that begins with a digit": document(secret=_PARAMETER + ", parameterLabel: 1st"),
    "find with lookaround": document(secret="name: a, find: {name: '(?!prod)'}"),
    "find with a reference back": document(secret="name: a, find: {name: '(a)\\1'}"),
    "find with an open set": document(secret="name: a, find: {name: '[a'}"),
    "failover to its own region": document(secret=_SECRET + ", failover: {region: eu-west-1}"),
    "failover twice": document(secret=_SECRET + ", failover: [{region: us-east-1}, {region: us-east-1}]"),
    "failover to a stage of a parameter": document(
        secret=_PARAMETER + ", failover: {region: us-east-1, versionStage: green}"
    ),
    "failover to a stage of a fixed version": document(
        secret=_PARAMETER + ", parameterVersion: 3, failover: {region: us-east-1, parameterLabel: green}"
    ),
    "failover to another kind": document(secret=_SECRET + ", failover: {region: us-east-1, parameter: /a}"),
    "failover to an ARN of another region": document(
        secret=_SECRET
        + ", failover: {region: us-east-1, secretId: 'arn:aws:secretsmanager:us-east-2:111122223333:secret:x-AbCdEf'}"
    ),
    "a role twice in a chain": document(top=f"roleArn: [{_ROLE}/a, {_ROLE}/a]"),
    "an external id of a secret without a role": document(secret=_SECRET + ", externalId: abc"),
    "an external id without the role that is taken away": document(
        secret=_SECRET + ", roleArn: [], externalId: abc", top=f"roleArn: {_ROLE}/reader"
    ),
    "a label of AWS's": document(secret=_PARAMETER + ", parameterLabel: aws-live"),
    "a parameter in a wrong partition": document(
        secret="name: a, parameter: 'arn:aws:ssm:cn-north-1:111122223333:parameter/a'"
    ),
}
