#!/usr/bin/env bash
# Without $1: print the name that images have for this machine's architecture. With it: can its programs run here?
set -euo pipefail
if [ $# = 0 ]; then
  case "$(uname -m)" in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) echo "image/arch.sh: there is no image for $(uname -m); images are for x86_64 and aarch64" >&2 && exit 1 ;;
  esac
  exit 0
fi
case "$1" in
  amd64) emulator=qemu-x86_64 ;;
  arm64) emulator=qemu-aarch64 ;;
  *) echo "image/arch.sh: $1 is none of amd64 and arm64" >&2 && exit 1 ;;
esac
# F: the kernel has opened the emulator itself, so that it is there in a root directory that has none.
if ! grep -qs '^flags: .*F' "/proc/sys/fs/binfmt_misc/$emulator"; then
  echo "image/arch.sh: programs for $1 do not run here. Install qemu-user-static and binfmt-support (Debian, Ubuntu)," >&2
  echo "image/arch.sh: mount binfmt_misc on /proc/sys/fs/binfmt_misc if it is not, or build on such a machine." >&2
  exit 1
fi
