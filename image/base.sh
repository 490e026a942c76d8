#!/usr/bin/env bash
# Provide the base image named in $1: it is here already, or is pulled, or is made here from Debian's packages.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=image/engine.sh
. ./engine.sh

base=$1
have() {
  case "$ENGINE" in
    buildah) buildah inspect --type image "$base" ;;
    *) "$ENGINE" image inspect "$base" ;;
  esac >/dev/null 2>&1
}

have && exit 0
if timeout 120 "$ENGINE" pull --quiet "docker.io/library/$base" >/dev/null 2>&1; then
  "$ENGINE" tag "docker.io/library/$base" "$base"
  exit 0
fi

echo "image/base.sh: $base cannot be pulled; making a stand-in for it from Debian trixie (debootstrap, root)." >&2
echo "image/base.sh: it has the same CPython version, built by Debian. Images for others are built on the real one." >&2
command -v debootstrap >/dev/null || { echo "install debootstrap, or make $base available" >&2; exit 1; }
cache=${XDG_CACHE_HOME:-$HOME/.cache}/freshmount
archive=$cache/base-trixie.tar
mkdir -p "$cache"
if [ ! -f "$archive" ]; then
  work=$(mktemp -d)
  debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates trixie "$work/root" >"$work/log" 2>&1 || {
    tail -5 "$work/log" >&2
    exit 1
  }
  tar -C "$work/root" --exclude=./var/cache --exclude=./var/lib/apt/lists --exclude=./dev -cf "$archive.new" .
  mv "$archive.new" "$archive"
  rm -rf "$work"
fi
case "$ENGINE" in
  buildah)
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$archive" / >/dev/null
    buildah commit --quiet "$container" "$base" >/dev/null
    buildah rm "$container" >/dev/null
    ;;
  *) "$ENGINE" import "$archive" "$base" >/dev/null 2>&1 ;;
esac
