"""Are vulnerabilities known of what the images install? Asked of the package index by pip-audit, for locked versions:
the controller's, which has the sidecar's libraries and more.

Ends with 1 when one is known, or pip-audit itself fails. Where the index does not answer that question, as a mirror may
not, it says so and ends with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    uv = Path(sys.executable).parent / "uv"
    options = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")
    argv = [uv, "tool", "run", "--quiet", "pip-audit", *options, "--requirement", ROOT / "requirements-controller.lock"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        if "ConnectionError" in done.stderr:
            print("audit: skipped, the package index cannot be reached")
            return 0
        print(done.stderr, file=sys.stderr)
        return 1
    return told(found)


def told(found: list[dict[str, object]]) -> int:
    """Say what pip-audit found; the exit code."""
    unknown = [f"{each['name']} {each.get('version', '')}".strip() for each in found if "skip_reason" in each]
    known = [each for each in found if each.get("vulns")]
    for each in known:
        for one in each["vulns"]:  # type: ignore[attr-defined]
            mended = ", ".join(one["fix_versions"]) or "no version yet"
            print(f"audit: {each['name']} {each['version']}: {one['id']}, mended in {mended}")
    if unknown and len(unknown) == len(found):
        print("audit: skipped, the package index here tells nothing of vulnerabilities")
    else:
        print(f"audit: {len(found) - len(unknown)} packages looked up, {len(known)} with known vulnerabilities")
        if unknown:
            print(f"audit: not known to the index: {', '.join(unknown)}")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
