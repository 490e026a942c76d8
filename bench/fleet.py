"""A day of a fleet in simulated time: 10,000 pods of 5 secrets, by the agent's own `schedule`, `decide` and `hub`.

``python -m bench.fleet [--by poll|hub|events|lists] [--pods N] [--sample N] [--plot PNG]``. All pods start within 60 s;
at 6 h a secret that all share is rotated by hand; from 12 h to 13 h AWS does not answer; with a hub, that is away from
18 h to 19 h; the rest of the day is steady. Ten minutes on two cores without a hub.

A hub, of one replica, looks at 2,000 different secrets each 10 s, at the one that all share as often as the hub's own
`pace` says; with events each hour. `lists` is a hub with events whose agents have `ownLooks: list`. In the day the hub
sees the rotation in the middle of that time, with events after a second. An agent that had no answer asks the hub again
within a minute, and about a secret that it had an error for within five. From a rotation to the fetch is of other
rotations, one for each pod, that the hub sees at some moment.
"""

from __future__ import annotations

import argparse
import os
import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from agent.commands.calls import PRICE, QUOTAS
from agent.controller.hub.board import pace, spread_of
from bench.simulated import HubWorld, World, live, live_by_hub, parsed

HOUR = 3600
DAY = 24 * HOUR
START = 60  # seconds in which all pods start, evenly but for a second of chance each
ROTATION, OUTAGE, RETURN = 6 * HOUR, 12 * HOUR, 13 * HOUR
HUB_GONE, HUB_BACK = 18 * HOUR, 19 * HOUR
DISTINCT = 2_000  # secrets of all pods
BY = ("poll", "hub", "events", "lists")
HUB_PERIOD = {"hub": 10, "events": HOUR, "lists": HOUR}  # seconds between two looks of the hub at a secret
EVENT = 1.0  # seconds after which an event has come
SECRETS = 5
ATTEMPTS = 2  # of a call that fails, by botocore
ROWS = ("DescribeSecret", "GetSecretValue", "ListSecrets")
PARTS = {
    "rolling start": (0, START + 5),
    "steady": (HOUR, ROTATION),
    "rotation of a shared secret": (ROTATION, ROTATION + 120),
    "outage (each call twice)": (OUTAGE, RETURN),
    "10 minutes after it": (RETURN, RETURN + 600),
    "the hour after it": (RETURN, RETURN + HOUR),
}
HUB_PARTS = {
    "the hub is away": (HUB_GONE, HUB_BACK),
    "the first 2 minutes of that": (HUB_GONE, HUB_GONE + 120),
}


def shared_pace(pods: int) -> float:
    """Seconds between two looks of a hub without events at the secret that all share."""
    return pace("secretsmanager", HUB_PERIOD["hub"], spread_of("secretsmanager", pods, 1))


def hub_of(by: str, pods: int, rng: random.Random) -> HubWorld:
    """The hub as one agent hears it."""
    seen, away = ROTATION + (shared_pace(pods) / 2 if by == "hub" else EVENT), OUTAGE + 60  # counts for a minute
    again, back = RETURN + 300 * rng.uniform(0.5, 1), HUB_BACK + rng.uniform(0, 60)

    def version(name: str, moment: float) -> str | None:
        if away <= moment < again:
            return None
        return "after" if name == "s0" and moment >= seen else "before"

    return HubWorld(
        version,
        (seen, away, again, HUB_GONE, back),
        up=lambda moment: not HUB_GONE <= moment < back,
        spread=spread_of("secretsmanager", pods, 1),
    )


def noticed(pods: int, by: str, number: int) -> list[float]:
    """Seconds from a rotation of a secret that all share to the fetch of one pod of that many."""
    rng = random.Random(number)
    at, ends = HOUR + rng.uniform(0, 60), HOUR + 300
    seen = at + (rng.uniform(0, shared_pace(pods) * rng.uniform(0.9, 1.1)) if by == "hub" else EVENT)
    world = World(version=lambda name, moment: "after" if name == "s0" and moment >= at else "before")
    hub = HubWorld(
        lambda name, moment: "after" if name == "s0" and moment >= seen else "before",
        (seen,),
        spread=spread_of("secretsmanager", pods, 1),
    )
    life = (
        live(parsed(SECRETS), world, 0, ends, rng)
        if by == "poll"
        else live_by_hub(parsed(SECRETS), world, hub, 0, ends, rng=rng)
    )
    return [happened.moment - at for happened in life if happened.fetched and happened.moment >= at]


def some(pods: int, by: str, numbers: range) -> Any:
    """Calls per second of the day, of those pods of that many: a row for each of `ROWS`; and what `noticed` says."""
    calls = np.zeros((len(ROWS), DAY + 1), dtype=np.int64)
    settings = parsed(SECRETS)
    late: list[float] = []
    world = World(
        version=lambda name, moment: "after" if name == "s0" and moment >= ROTATION else "before",
        down=lambda moment: OUTAGE <= moment < RETURN,
    )
    for number in numbers:
        rng = random.Random(number)
        begins = number * START / pods + rng.random()
        life = (
            live(settings, world, begins, DAY, rng)
            if by == "poll"
            else live_by_hub(settings, world, hub_of(by, pods, rng), begins, DAY, rng=rng, lists=by == "lists")
        )
        for happened in life:
            times = ATTEMPTS if world.down(happened.moment) else 1
            second = int(happened.moment)
            calls[0, second] += len(happened.described) * times
            calls[1, second] += len(happened.fetched) * times
            calls[2, second] += happened.lists * times
        late += noticed(pods, by, number)
    return calls, late


def day(pods: int, by: str, sample: int) -> Any:
    """Calls per second of the day, of all pods and the hub; and the seconds from a rotation to each pod's fetch. So
    many of the pods are simulated, and count for the others."""
    every = pods // sample
    lots = [range(first * every, pods, 100 * every) for first in range(min(sample, 100))]
    late: list[float] = []
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        calls = np.zeros((len(ROWS), DAY + 1))
        for of_lot, late_of_lot in workers.map(partial(some, pods, by), lots):
            calls += of_lot * every
            late += late_of_lot
    if by != "poll":
        looks = np.full(DAY + 1, (DISTINCT - 1) / HUB_PERIOD[by] + 1 / (shared_pace(pods) if by == "hub" else HOUR))
        looks[OUTAGE:RETURN] = max(DISTINCT / HUB_PERIOD[by], DISTINCT / 30) * ATTEMPTS
        looks[HUB_GONE:HUB_BACK] = 0
        calls[0] += looks
    return calls, late


def table(calls: Any, late: list[float], by: str) -> str:
    """Peak and mean of each part of the day, and what the day costs."""
    rows = ROWS if by == "lists" else ROWS[:2]
    short = [name.partition("Secret")[0] for name in rows]
    lines = [f"| part of the day | {' | '.join(f'{name}/s, mean | peak' for name in short)} |"]
    lines.append("|---|" + "---:|---:|" * len(rows))
    parts = PARTS if by == "poll" else {**PARTS, **HUB_PARTS}
    for name, (begins, ends) in parts.items():
        of_part = calls[: len(rows), begins:ends]
        figures = [figure for row in of_part for figure in (row.mean(), row.max())]
        lines.append(f"| {name} | {' | '.join(f'{figure:,.0f}' for figure in figures)} |")
    shares = [f"{short[row]} {calls[row].max() / QUOTAS[name]:.1%}" for row, name in enumerate(rows)]
    median, highest = np.percentile(late, (50, 99))
    month = a_month(calls)
    return "\n".join(
        [
            *lines,
            "",
            f"Highest peak as a share of the quota: {', '.join(shares)}.",
            f"A steady month: {month / 1e6:,.0f} million calls, ${month * PRICE:,.0f}.",
            f"From a rotation to the fetch: p50 {median:.1f} s, p99 {highest:.1f} s, most {max(late):.1f} s.",
        ]
    )


def a_month(calls: Any) -> float:
    """The calls of a steady month."""
    begins, ends = PARTS["steady"]
    return float(calls[:, begins:ends].sum() / (ends - begins) * 730 * HOUR)


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
        for row, (colour, label) in enumerate(zip(("#3b6ea5", "#d1772c"), ROWS[:2], strict=True)):
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
    parser.add_argument(
        "--sample", type=int, help="simulate so many of them, which count for the others (default: all)"
    )
    parser.add_argument("--by", choices=BY, default="poll", help="whom agents ask when to look (default: poll, nobody)")
    parser.add_argument("--plot", metavar="PNG")
    args = parser.parse_args()
    calls, late = day(args.pods, args.by, args.sample or args.pods)
    print(table(calls, late, args.by))
    if args.plot:
        plot(calls, args.pods, args.plot)


if __name__ == "__main__":
    main()
