"""What reaches into botocore: each patch does what it is for, and calls are answered when a name has moved."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.support.aws import QuickStandIn
from tests.support.paths import ROOT

_APART = "session.handlers = SimpleNamespace(**vars(handlers)); del handlers.{}"
# What takes no effect, and what makes botocore so before it is tuned: it knows each name from elsewhere.
MOVED = {
    "nothing": ("", ""),
    "SSLContext": ("contexts", "sessions.create_urllib3_context = apart(sessions.create_urllib3_context)"),
    "accepts_kwargs": (
        "signatures",
        "hooks.HierarchicalEmitter._verify_accept_kwargs = apart(hooks.HierarchicalEmitter._verify_accept_kwargs)",
    ),
    "BUILTIN_HANDLERS": ("handlers", _APART.format("BUILTIN_HANDLERS")),
    "REGISTER_FIRST": ("handlers", _APART.format("REGISTER_FIRST")),
    "REGISTER_LAST": ("handlers", _APART.format("REGISTER_LAST")),
}
# For each case, in a process of its own that has botocore but not what tunes it: says what a call came to, and what
# took effect.
SCRIPT = """
import json, os, sys
from types import FunctionType, SimpleNamespace
import botocore.compat
from botocore import handlers, hooks, httpsession as sessions, session
from tests.support import models
from tests.support.words import secret

def apart(function):  # it does not see what is put into its module later
    return FunctionType(function.__code__, dict(vars(sys.modules[function.__module__])), None, function.__defaults__)

models.read_once()
session.Session().create_client("secretsmanager", region_name="eu-west-1")
assert not [name for name in sys.modules if name.startswith("agent.sources.aws")]
cases = json.loads(sys.argv[2])
for name, prepared in cases.items():
    if not os.fork():
        break
    assert os.wait()[1] == 0, name
else:
    sys.exit()

exec(prepared)
looked, look = [], botocore.compat.inspect.getfullargspec
botocore.compat.inspect.getfullargspec = lambda function: (looked.append(function), look(function))[1]

from agent.core.model import Place
from agent.sources.aws import tuning
from agent.sources.aws.secrets_manager import SecretsManager

answer = SecretsManager().value(secret(secret_id="db", place=Place("eu-west-1", sys.argv[1])), None)
effects = []
if type(sessions.create_urllib3_context()) is tuning.Context:
    effects.append("contexts")
if not looked:
    effects.append("signatures")
try:
    tuning.session().get_component("event_emitter").emit("after-call.s3.GetBucketLocation")
    effects.append("handlers")
except TypeError:  # a handler of S3 was called, with nothing
    pass
print(name, answer.call.code, answer.result.value.reveal().decode(), *effects, flush=True)
os._exit(0)  # to tidy up what was imported takes longer than all of this
"""


def test_a_name_that_moves_costs_its_own_effect_alone() -> None:
    """A value comes whatever has moved. Where nothing has, each patch does what it is for."""
    with QuickStandIn() as aws:
        aws.put("db", "pw-1")
        cases = {name: prepared for name, (_, prepared) in MOVED.items()}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, aws.url, json.dumps(cases)],
            cwd=ROOT,
            env={**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"},
            capture_output=True,
            text=True,
            check=False,
        )
    effects = "contexts", "signatures", "handlers"
    assert done.stdout.splitlines() == [
        " ".join([name, "OK pw-1", *(each for each in effects if each != without)])
        for name, (without, _) in MOVED.items()
    ], done.stderr
