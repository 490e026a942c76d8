"""Packs the modules of a start: run within the files of the image while it is built, after which they do not change."""

from agent import deferred, packed

deferred.install()

import sys  # noqa: E402

from agent.triggers import watch  # noqa: E402, F401 as `run` does in time

deferred.real("jmespath")  # a changed config may have the first expression when there is no descriptor left to read it

with open(packed.FILE, "wb") as handle:
    handle.write(packed.pack(name for name, module in sys.modules.items() if not isinstance(module, deferred.StandIn)))
