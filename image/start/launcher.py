"""The image's `freshmount`: from one file of modules, and `init` and `run` without those that they do not use."""

import sys

from agent import launch


def entry() -> None:
    """The command that `sys.argv` names. Ends the process.

    1. Block signals and close the memory, which must not wait for what is imported below.
    2. Take modules from the file. Before the stand-ins, which come from it too, and which must be asked first. Not
       where nobody waits for the start: the index of the file would stay in memory, 1.3 MiB.
    3. Let stand-ins be imported, for the commands that every pod runs. The others use what these stand for.
    4. The command, as everywhere.
    """
    # 1.
    launch.begin(sys.argv)
    # 2.
    if sys.argv[1:2] != ["rest"]:
        from image.start import packed

        packed.install()
    # 3.
    if sys.argv[1:2] in (["init"], ["run"], ["rest"], ["work"]):
        from image.start import deferred

        deferred.install()
    # 4.
    from agent.cli import entry as command

    command()
