#!/usr/bin/env bash
# Provide the base image $1, and print the name that the build finds it by: it is here already, or is pulled, or a
# stand-in is made for it from Debian's packages. With --exactly as $2 there is no stand-in.
# ARCH=amd64 or arm64: for such machines; where this is none, the name ends in it.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=image/engine.sh
. ./engine.sh

base=$1
case "$base" in
  *.*/* | *:*/* | localhost/*) full=$base ;; # names its registry
  */*) full=docker.io/$base ;;
  *) full=docker.io/library/$base ;;
esac
native=$(./arch.sh)
arch=${ARCH:-$native}
have() {
  case "$ENGINE" in
    buildah) buildah inspect --type image "$1" ;;
    *) "$ENGINE" image inspect "$1" ;;
  esac >/dev/null 2>&1
}

if [ "$arch" != "$native" ]; then
  other=${base%@*}-$arch
  if have "$other"; then
    echo "$other"
    exit 0
  fi
  # A pull gives the name to what it brings; this machine's own base keeps it.
  before=$("$ENGINE" images --quiet --no-trunc "$full" 2>/dev/null | head -1)
  if pulled=$(timeout 120 "$ENGINE" pull --quiet --platform "linux/$arch" "$full" 2>/dev/null); then
    "$ENGINE" tag "$pulled" "$other"
    if [ -n "$before" ]; then "$ENGINE" tag "$before" "$full"; else "$ENGINE" rmi "$full" >/dev/null; fi
    echo "$other"
    exit 0
  fi
fi
for name in "$full" "$base"; do
  if [ "$arch" = "$native" ] && have "$name"; then
    echo "$name"
    exit 0
  fi
done
if [ "$arch" = "$native" ] && timeout 120 "$ENGINE" pull --quiet "$full" >/dev/null 2>&1; then
  # The tests of the image and the benchmarks find an interpreter by the name without the digest.
  have "${base%@*}" || "$ENGINE" tag "$full" "${base%@*}"
  echo "$full"
  exit 0
fi
if [ "${2:-}" = --exactly ]; then
  echo "image/base.sh: $base is not here and cannot be pulled; look at its name, or at the way to its registry" >&2
  exit 1
fi

# Never under the name with the digest: it is not that image.
base=${base%@*}
suffix=
if [ "$arch" != "$native" ]; then
  base=$other
  suffix=-$arch
fi
if have "$base"; then
  echo "image/base.sh: $full cannot be pulled; taking the $base that is here, whatever its digest is." >&2
  echo "$base"
  exit 0
fi
echo "image/base.sh: $full cannot be pulled; making a stand-in from Debian trixie (debootstrap, root)." >&2
echo "image/base.sh: it has the same CPython version, built by Debian. Images for others are built on the real one." >&2
command -v debootstrap >/dev/null || { echo "install debootstrap, or make $base available" >&2; exit 1; }
cache=${XDG_CACHE_HOME:-$HOME/.cache}/freshmount
archive=$cache/base-trixie$suffix.tar
mkdir -p "$cache"
if [ ! -f "$archive" ]; then
  work=$(mktemp -d)
  debootstrap --arch="$arch" --variant=minbase --include=python3,python3-pip,ca-certificates trixie "$work/root" >"$work/log" 2>&1 || {
    tail -5 "$work/log" >&2
    exit 1
  }
  tar -C "$work/root" --exclude=./var/cache --exclude=./var/lib/apt/lists --exclude=./dev -cf "$archive.new" .
  mv "$archive.new" "$archive"
  rm -rf "$work"
fi
platform=()
[ -z "$suffix" ] || platform=(--arch "$arch")
case "$ENGINE" in
  buildah)
    container=$(buildah from scratch)
    buildah config --arch "$arch" "$container"
    buildah add --quiet "$container" "$archive" / >/dev/null
    buildah commit --quiet "$container" "$base" >/dev/null
    buildah rm "$container" >/dev/null
    ;;
  *) "$ENGINE" import "${platform[@]}" "$archive" "$base" >/dev/null 2>&1 ;;
esac
echo "$base"
