#!/usr/bin/env bash
# Build the image and name it $1 (default: freshmount:<version>). PYTHON: an interpreter with pip, to fetch the wheels.
# BASE: the base image; without it the Dockerfile's, or a stand-in where that cannot be pulled.
# TARGET=controller: the controller's image (default name: freshmount-controller:<version>).
# ARCH=amd64 or arm64: for such machines, emulated where this is none (podman or buildah; default: this machine's).
# ARCHIVE: also write the image there, as an OCI archive. REVISION: the commit; without it, Git's.
# SOURCE_DATE_EPOCH: the time of the image and of each file in it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=image/engine.sh
. image/engine.sh

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' agent/__init__.py)
suffix=${TARGET:+-$TARGET}
name=${1:-freshmount$suffix:$version}
native=$(image/arch.sh)
arch=${ARCH:-$native}
if [ "$arch" != "$native" ] || [ -n "${ARCHIVE:-}" ]; then
  [ "$ENGINE" != docker ] || { echo "image/build.sh: ARCH and ARCHIVE need podman or buildah; set ENGINE" >&2; exit 1; }
fi
[ "$arch" = "$native" ] || image/arch.sh "$arch"
export ARCH=$arch
if [ -n "${BASE:-}" ]; then
  base=$(image/base.sh "$BASE" --exactly)
else
  base=$(image/base.sh "$(sed -n 's/^ARG BASE=//p' Dockerfile)")
fi
target=()
[ -z "$suffix" ] || target=(--target "$TARGET")
# Fetched by this machine's pip, with its proxy and certificates, so that the build itself needs no network.
case "$arch" in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
esac
"${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
  --implementation cp --python-version 3.13 --platform "manylinux2014_$machine" --platform "manylinux_2_28_$machine" \
  --dest "image/wheels$suffix" --requirement "requirements$suffix.lock"

[ "$arch" = "$native" ] || BUILD+=(--platform "linux/$arch")
# Not from the cache: it takes an image of another commit or time for this one, whose labels and times are part of it.
if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
  BUILD+=(--no-cache)
  [ "$ENGINE" = docker ] || BUILD+=(--timestamp "$SOURCE_DATE_EPOCH")
fi
"${BUILD[@]}" --quiet "${target[@]}" --build-arg PIP_NO_INDEX=1 --build-arg BASE="$base" --build-arg VERSION="$version" \
  --build-arg REVISION="${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}" --tag "$name" . >/dev/null
[ -z "${ARCHIVE:-}" ] || "$ENGINE" push --quiet "$name" "oci-archive:$ARCHIVE" >/dev/null
echo "built $name with $ENGINE on $base"
