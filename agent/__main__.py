"""How the image starts: from one file of modules, and `init` and `run` without those that they do not use."""

import sys

from agent import launch

launch.begin(sys.argv)

from agent import packed  # noqa: E402 after what must not wait

packed.install()
if sys.argv[1:2] in (["init"], ["run"]):
    from agent import deferred

    deferred.install()

from agent.cli import entry  # noqa: E402 after what makes it quick

entry()
