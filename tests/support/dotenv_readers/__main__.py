"""Lays what reads .env files, and is a library of npm's or Go's, into `.cache/tools`, where npm and go are."""

from __future__ import annotations

import shutil
import subprocess

from tests.support.dotenv_readers import GO, HERE, NPM, READERS, TOOLS, missing

if __name__ == "__main__":
    TOOLS.mkdir(parents=True, exist_ok=True)
    if shutil.which("npm"):
        NPM.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, NPM / name)
        subprocess.run(["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NPM, check=True)
    if shutil.which("go"):
        subprocess.run(["go", "build", "-o", str(GO), "."], cwd=HERE, check=True)
    for reader in READERS:
        print(f"{reader}: {missing(reader) or 'here'}")
