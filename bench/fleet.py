"""A day of a fleet in simulated time: 10,000 pods of 5 secrets, by the agent's own `schedule` and `decide`.

``python -m bench.fleet [--pods N] [--plot docs/fleet.png]``. All pods start within 60 s; at 6 h a secret that all share
is rotated by hand; from 12 h to 13 h AWS does not answer; the rest of the day is steady. Ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from agent.commands.plan import PRICE, QUOTAS
from bench.simulated import World, live, parsed

HOUR = 3600
DAY = 24 * HOUR
START = 60  # seconds in which all pods start, evenly but for a second of chance each
ROTATION, OUTAGE, RETURN = 6 * HOUR, 12 * HOUR, 13 * HOUR
SECRETS = 5
ATTEMPTS = 2  # of a call that fails, by botocore
ROWS = ("DescribeSecret", "GetSecretValue")
PARTS = {
    "rolling start": (0, START + 5),
    "steady": (HOUR, ROTATION),
    "rotation of a shared secret": (ROTATION, ROTATION + 120),
    "outage (each call twice)": (OUTAGE, RETURN),
    "10 minutes after it": (RETURN, RETURN + 600),
    "the hour after it": (RETURN, RETURN + HOUR),
}


def some(pods: int, numbers: range) -> Any:
    """Calls per second of the day, of those pods of that many: a row for each of `ROWS`."""
    calls = np.zeros((len(ROWS), DAY + 1), dtype=np.int64)
    settings = parsed(SECRETS)
    world = World(
        version=lambda name, moment: "after" if name == "s0" and moment >= ROTATION else "before",
        down=lambda moment: OUTAGE <= moment < RETURN,
    )
    for number in numbers:
        rng = random.Random(number)
        begins = number * START / pods + rng.random()
        for happened in live(settings, world, begins, DAY, rng):
            times = ATTEMPTS if world.down(happened.moment) else 1
            second = int(happened.moment)
            calls[0, second] += len(happened.described) * times
            calls[1, second] += len(happened.fetched) * times
    return calls


def day(pods: int) -> Any:
    """Calls per second of the day, of all pods."""
    lots = [range(first, pods, 100) for first in range(min(pods, 100))]
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        return sum(workers.map(partial(some, pods), lots))


def table(calls: Any) -> str:
    """Peak and mean of each part of the day, and what the day costs."""
    lines = ["| part of the day | Describe/s, mean | peak | Get/s, mean | peak |", "|---|---:|---:|---:|---:|"]
    for name, (begins, ends) in PARTS.items():
        described, fetched = calls[:, begins:ends]
        figures = (described.mean(), described.max(), fetched.mean(), fetched.max())
        lines.append(f"| {name} | {' | '.join(f'{figure:,.0f}' for figure in figures)} |")
    shares = [f"{calls[row].max() / QUOTAS[name]:.1%}" for row, name in enumerate(ROWS)]
    begins, ends = PARTS["steady"]
    month = calls[:, begins:ends].sum() / (ends - begins) * 730 * HOUR
    return "\n".join(
        [
            *lines,
            "",
            f"Highest peak as a share of the quota: Describe {shares[0]}, Get {shares[1]}.",
            f"A steady month: {month / 1e6:,.0f} million calls, ${month * PRICE:,.0f}.",
        ]
    )


def plot(calls: Any, pods: int, path: str) -> None:
    """Calls per second over the day, and the three moments close up."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 6.5), layout="constrained")
    views = [
        ("the day", 0, DAY, HOUR, "hours"),
        (f"{pods:,} pods start within {START} s", 0, 300, 1, "seconds"),
        ("a secret that all share is rotated", ROTATION - 60, ROTATION + 240, 1, "seconds"),
        ("an hour without AWS ends", RETURN - 600, RETURN + 1800, 60, "minutes"),
    ]
    for ax, (title, begins, ends, unit, name) in zip(axes.flat, views, strict=True):
        zero = 0 if begins == 0 else begins + {60: 600, 1: 60}[unit]
        moments = (np.arange(begins, ends) - zero) / unit
        for row, (colour, label) in enumerate(zip(("#3b6ea5", "#d1772c"), ROWS, strict=True)):
            ax.plot(moments, calls[row, begins:ends], color=colour, linewidth=0.8, label=label)
        ax.set(title=title, xlabel=name, ylabel="calls per second", xlim=(moments[0], moments[-1]))
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Simulate, print the table, and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--plot", metavar="PNG")
    args = parser.parse_args()
    calls = day(args.pods)
    print(table(calls))
    if args.plot:
        plot(calls, args.pods, args.plot)


if __name__ == "__main__":
    main()
