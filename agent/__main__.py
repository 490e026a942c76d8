"""How the image starts: with stand-ins for what `init` and `run` do not use."""

import sys

if sys.argv[1:2] in (["init"], ["run"]):
    from agent import deferred

    deferred.install()

from agent.cli import entry

entry()
