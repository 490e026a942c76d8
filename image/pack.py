"""Packs the modules of a start: run within the files of the image while it is built, after which they do not change."""

from image.start import deferred, packed

deferred.install()

import sys  # noqa: E402

import agent.cli  # noqa: E402
import agent.commands.again  # noqa: E402 as `run` does before its first pass
import agent.commands.check  # noqa: E402
import agent.core.crossing  # noqa: E402 as `run` does in time, and the next nine
import agent.core.pins  # noqa: E402
import agent.observe.health  # noqa: E402
import agent.observe.layout  # noqa: E402
import agent.observe.metrics  # noqa: E402
import agent.observe.page  # noqa: E402
import agent.targets.process  # noqa: E402
import agent.targets.signal  # noqa: E402
import agent.targets.touch  # noqa: E402
import agent.targets.url  # noqa: E402
import agent.triggers.watch  # noqa: E402, F401
from agent.commands import run  # noqa: E402

run.imports()
deferred.real("jmespath")  # a changed config may have the first expression when there is no descriptor left to read it

with open(packed.FILE, "wb") as handle:
    handle.write(packed.pack(name for name, module in sys.modules.items() if not isinstance(module, deferred.StandIn)))
