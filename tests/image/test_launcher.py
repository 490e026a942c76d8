"""Who starts quickly: the image's launcher, for `init` and `run`; an installed package starts plainly."""

from __future__ import annotations

import configparser
import fnmatch
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

LAUNCHER = "from image.start.launcher import entry; entry()"
MODULE = "import runpy; runpy.run_module('agent', run_name='__main__')"
SCRIPT = "from agent.launch import entry; entry()"
TOLD = """
import os, sys
leave = os._exit
def told(code):
    sys.stdout.flush()
    finders = [type(each) for each in sys.meta_path if type(each).__name__ == "_Finder"]
    print("image.start" in sys.modules, *(finder.__module__ for finder in finders))
    sys.stdout.flush()
    leave(code)
os._exit, sys.argv = told, ["freshmount", *sys.argv[1:]]
"""


@pytest.mark.parametrize(
    ("how", "command", "finders"),
    [
        (LAUNCHER, "init", "True image.start.deferred"),
        (LAUNCHER, "run", "True image.start.deferred"),
        (LAUNCHER, "check", "True"),
        (MODULE, "run", "False"),
        (SCRIPT, "run", "False"),
    ],
)
def test_only_the_image_installs_stand_ins(how: str, command: str, finders: str) -> None:
    """For the commands that every pod runs: a config that is not there ends each of them."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD + how, command],
        cwd=ROOT,
        env={**os.environ, "FRESHMOUNT_CONFIG": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, f"{finders}\n"), done.stderr


def test_an_installed_package_is_without_it() -> None:
    """`pip install` brings the agent, and nothing of the image."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {"agent", "image"} <= packages
    assert fnmatch.filter(packages, setup["options.packages.find"]["include"]) == ["agent"]
