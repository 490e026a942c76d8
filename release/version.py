"""``python -m release.version X.Y.Z``: write the version wherever the repository names it."""

from __future__ import annotations

import sys

from release.source import FORM, ROOT, write


def main(argv: list[str]) -> int:
    if len(argv) != 1 or not FORM.fullmatch(argv[0]):
        print("usage: make version VERSION=x.y.z", file=sys.stderr)
        return 2
    for path in write(ROOT, argv[0]):
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
