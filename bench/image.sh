#!/usr/bin/env bash
# Run `python -m bench` with the rest of the arguments on the image's interpreter and files: the image named by IMAGE (default:
# freshmount:<version>), laid out in the user's cache, with the naive stack's packages, unpruned, beside it. Needs root.
# The mounts are of a namespace of their own and end with it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=image/engine.sh
. image/engine.sh
[ "$ENGINE" != buildah ] || { echo "bench/image.sh: docker or podman is needed to lay the image out" >&2; exit 1; }

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' agent/__init__.py)
image=${IMAGE:-freshmount:$version}
python=${PYTHON:-python3}
root=${XDG_CACHE_HOME:-$HOME/.cache}/freshmount/bench/root
id=$("$ENGINE" image inspect --format '{{.Id}}' "$image")
if [ "$(cat "$root.id" 2>/dev/null)" != "$id" ]; then
  rm -rf "$root" && mkdir -p "$root"
  container=$("$ENGINE" create "$image")
  "$ENGINE" export "$container" | tar -x -C "$root"
  "$ENGINE" rm "$container" >/dev/null
  mkdir -p "$root/bench" "$root/proc" "$root/dev" "$root/naive"
  machine=$(uname -m)
  "$python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --no-compile --no-index \
    --find-links image/wheels --only-binary :all: --implementation cp --python-version 3.13 \
    --platform "manylinux2014_$machine" --platform "manylinux_2_28_$machine" --target "$root/naive" \
    --requirement requirements.lock
  # The image has bytecode for -OO only, with which the agent runs; the naive stack gets its own, of the library too.
  stdlib=$(chroot "$root" /usr/local/bin/python3.13 -IBOO -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
  chroot "$root" /usr/local/bin/python3.13 -IBOO -m compileall -q -o 0 /naive "$stdlib"
  echo "$id" >"$root.id"
fi
cp bench/naive.py "$root/naive/"
export root python
# shellcheck disable=SC2016
exec unshare --mount --propagation private bash -c '
  mount -t proc proc "$root/proc" && mount --bind /dev "$root/dev" && mount -t tmpfs tmpfs "$root/bench" &&
  exec "$python" -m bench --root "$root" "$@"' bench "$@"
