"""The plot of docs/scale.md: what 10,000 pods cost AWS and their owner with a hub, with a hub and events, and without.

``python -m bench.scale docs/scale.png [--sample N]``: on the left the simulated day of `bench.fleet`, on the right by
arithmetic what a month costs for so many pods.
"""

from __future__ import annotations

import argparse
from typing import Any

import matplotlib as mpl
import numpy as np

from agent.commands.calls import HOURS, HUB_FLOOR, HUB_PERIOD, PRICE
from bench.fleet import BY, DAY, DISTINCT, HOUR, HUB_BACK, HUB_GONE, OUTAGE, RETURN, ROTATION, SECRETS, day

mpl.use("Agg")
from matplotlib import pyplot

PODS = 10_000
SHARE = DISTINCT / PODS  # different secrets for each pod
PERIOD, FLOOR = 60, HOUR  # of the agents, seconds
GOAL = 150  # dollars a month
NAMES = dict(zip(BY, ("each agent polls", "a hub", "a hub with events", "the same, looks by list"), strict=True))
COLOURS = dict(zip(BY, ("#8a8a8a", "#3b6ea5", "#d1772c", "#4f8a4c"), strict=True))
WIDTH = 60  # seconds of which the mean is drawn


def dollars(by: str, pods: Any) -> Any:
    """A steady month's, as `freshmount plan` computes it."""
    looks = pods * (1 if by == "lists" else SECRETS) / (PERIOD if by == "poll" else FLOOR)
    of_hub = {"poll": 0.0, "hub": SHARE / HUB_PERIOD, "events": SHARE / HUB_FLOOR, "lists": SHARE / HUB_FLOOR}
    hub = of_hub[by] * pods
    return (looks + hub) * HOUR * HOURS * PRICE


def draw(calls: dict[str, Any], path: str) -> None:
    """Both halves."""
    figure, (of_day, of_month) = pyplot.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    for by, made in calls.items():
        total = made.sum(axis=0)[: DAY // WIDTH * WIDTH].reshape(-1, WIDTH).mean(axis=1)
        hours = np.arange(len(total)) * WIDTH / HOUR
        of_day.plot(hours, np.maximum(total, 1), color=COLOURS[by], linewidth=1, label=NAMES[by])
    for begins, ends, what in ((OUTAGE, RETURN, "AWS away"), (HUB_GONE, HUB_BACK, "hub away")):
        of_day.axvspan(begins / HOUR, ends / HOUR, color="#000000", alpha=0.07)
        of_day.text(begins / HOUR, 1.15, what, fontsize=8)
    of_day.text(ROTATION / HOUR, 1.15, "rotation", fontsize=8)
    of_day.set(title=f"{PODS:,} pods, a day", xlabel="hours", ylabel="calls per second, mean of a minute", yscale="log")
    of_day.set(xlim=(0, DAY / HOUR), ylim=(1, 4000))
    pods = np.logspace(2, 4.5, 60)
    for by in BY:
        of_month.plot(pods, dollars(by, pods), color=COLOURS[by], label=NAMES[by])
        of_month.annotate(f"${dollars(by, PODS):,.0f}", (PODS, dollars(by, PODS)), (4, -10), textcoords="offset points")
    of_month.axhline(GOAL, color="#000000", linewidth=0.6, linestyle=":")
    of_month.set(title=f"{SECRETS} secrets a pod, {SHARE:g} different ones", xlabel="pods", ylabel="dollars a month")
    of_month.set(xscale="log", yscale="log", xlim=(pods[0], pods[-1]))
    for ax in (of_day, of_month):
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Simulate and draw."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("to", metavar="PNG")
    parser.add_argument("--sample", type=int, default=200, help="pods that are simulated (default: 200)")
    args = parser.parse_args()
    draw({by: day(PODS, by, args.sample)[0] for by in BY}, args.to)


if __name__ == "__main__":
    main()
