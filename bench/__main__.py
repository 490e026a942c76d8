"""`python -m bench`: the figures of docs/performance.md, as a table. `make bench` runs it on the image's files."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench import figures
from bench.place import placed


def main() -> None:
    """Measure, and print one row as soon as it is known."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("figure", nargs="*", help=f"of {', '.join(figures.ALL)}; default: all")
    parser.add_argument(
        "--root", type=Path, help="the root file systems made by bench/image.sh; default: this interpreter"
    )
    parser.add_argument("--pairs", type=int, default=15, help="runs of each of two that are compared (default: 15)")
    parser.add_argument(
        "--minutes", type=float, default=60, help="of an agent's life that its CPU is taken of (default: 60)"
    )
    parser.add_argument("--passes", type=int, default=1000, help="over which memory is to stay flat (default: 1000)")
    args = parser.parse_args()
    names = args.figure or list(figures.ALL)
    if unknown := set(names) - figures.ALL.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    effort = figures.Effort(args.pairs, args.minutes, args.passes)
    print("| figure | measured |\n|---|---|", flush=True)
    with placed(args.root) as place, tempfile.TemporaryDirectory() as aside:
        for name in names:
            for row in figures.ALL[name](place, Path(aside), effort):
                print(f"| {row.what} | {row.measured} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", os.getcwd())
    sys.exit(main())
