#!/usr/bin/env bash
# Run `python -m bench` with the rest of the arguments on the files of the image named by IMAGE (default:
# freshmount:<version>), and the naive stack on those of the base with its packages, unpruned, as one would ship it.
# Both are laid out in the user's cache. Needs root. The mounts are of a namespace of their own and end with it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=image/engine.sh
. image/engine.sh
[ "$ENGINE" != buildah ] || { echo "bench/image.sh: docker or podman is needed to lay the image out" >&2; exit 1; }

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' agent/__init__.py)
image=${IMAGE:-freshmount:$version}
base=python:3.13-slim
python=${PYTHON:-python3}
root=${XDG_CACHE_HOME:-$HOME/.cache}/freshmount/bench

lay_out() {
  mkdir -p "$2/bench" "$2/proc" "$2/dev"
  container=$("$ENGINE" create "$1" none)
  "$ENGINE" export "$container" | tar -x -C "$2"
  "$ENGINE" rm "$container" >/dev/null
}

image/base.sh "$base"
ids=$("$ENGINE" image inspect --format '{{.Id}}' "$image" "$base")
if [ "$(cat "$root/ids" 2>/dev/null)" != "$ids" ]; then
  rm -rf "$root"
  lay_out "$image" "$root/image"
  lay_out "$base" "$root/base"
  cp -r image/wheels requirements.lock "$root/base/tmp/"
  chroot "$root/base" python3.13 -m pip --isolated install --quiet --disable-pip-version-check \
    --root-user-action ignore --no-deps --no-index --find-links /tmp/wheels --requirement /tmp/requirements.lock \
    --target /naive
  # python:3.13-slim comes without its library's bytecode, which each start would compile anew.
  chroot "$root/base" python3.13 -c \
    'import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path("stdlib"), quiet=1)'
  echo "$ids" >"$root/ids"
fi
cp bench/naive.py "$root/base/naive/"
export root python
# shellcheck disable=SC2016
exec unshare --mount --propagation private bash -c '
  mount -t tmpfs tmpfs "$root/image/bench" && mount --bind "$root/image/bench" "$root/base/bench" &&
  for each in "$root/image" "$root/base"; do
    mount -t proc proc "$each/proc" && mount --bind /dev "$each/dev" || exit
  done
  exec "$python" -m bench --root "$root" "$@"' bench "$@"
