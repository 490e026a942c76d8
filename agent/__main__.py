"""`python -m agent`."""

from agent import launch

launch.entry()
