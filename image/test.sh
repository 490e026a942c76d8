#!/usr/bin/env bash
# Run the image named $1 (default: freshmount:<version>) for real. PYTHON: an interpreter with the test extra.
# TARGET=controller: the controller's image (default name: freshmount-controller:<version>).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=image/engine.sh
. image/engine.sh
[ "$ENGINE" != buildah ] || { echo "image/test.sh: buildah builds, but docker or podman is needed to run" >&2; exit 1; }

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' agent/__init__.py)
suffix=${TARGET:+-$TARGET}
export ENGINE IMAGE=${1:-freshmount$suffix:$version}
"${PYTHON:-python3}" -m pytest --quiet -p no:cacheprovider "image/test_${TARGET:-image}.py"
