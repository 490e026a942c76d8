"""``python -m release VERSION``: what a release has, in dist/.

1. Take the tracked files, which must be of that version, aside.
2. Make the parts from them: package, charts, images.
3. Over all that is there: the notes, then the checksums, which come last.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from release import sums
from release.source import ARCHES, ROOT, Refused, Source, take

PARTS = ("package", "charts", "images", "sums")


def main(argv: list[str]) -> int:
    asked = _parser().parse_args(argv)
    os.umask(0o022)  # or a wheel has the modes of this one's
    try:
        with tempfile.TemporaryDirectory() as temporary:
            source = take(asked.version, Path(temporary) / "source", final=asked.final)
            asked.out.mkdir(parents=True, exist_ok=True)
            if set(asked.only) == set(PARTS):
                for path in sums.ours(asked.out):
                    path.unlink()
            _make(source, asked)
    except Refused as why:
        print(f"release: {why}", file=sys.stderr)
        return 1
    return 0


def _make(source: Source, asked: argparse.Namespace) -> None:
    if source.commit.endswith("-dirty"):
        print("release: made of the working tree, which is not as it was committed: a trial, not a release")
    # Each is imported when it is asked for: the checksums need nothing but Python.
    if "package" in asked.only:
        from release import package

        package.make(source, asked.out)
    if "charts" in asked.only:
        from release import charts

        charts.make(source, asked.out)
    if "images" in asked.only:
        from release import images

        images.make(source, asked.out, asked.arch)
    if "sums" in asked.only:
        sums.make(source, asked.out)
    for path in sums.ours(asked.out):
        print(f"{path.stat().st_size:>12,}  {path.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make release", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("version", help="which must be the one that the repository names")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--only", type=_among(PARTS), default=PARTS, help=f"some of {','.join(PARTS)}")
    parser.add_argument("--arch", type=_among(ARCHES), default=ARCHES, help="of the images")
    parser.add_argument("--final", action="store_true", help="refuse what is not committed, tagged and in CHANGELOG.md")
    return parser


def _among(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        wanted = tuple(re.split(r"[,\s]+", text.strip()))
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return wanted

    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
