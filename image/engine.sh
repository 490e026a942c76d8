# shellcheck shell=bash disable=SC2034
# Sourced: chooses the container engine. Sets ENGINE (docker or podman) for running, and BUILD, the command that builds.

if [ -n "${ENGINE:-}" ]; then
  :
elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  ENGINE=docker
elif command -v podman >/dev/null; then
  ENGINE=podman
else
  ENGINE=buildah
fi

case "$ENGINE" in
  docker) BUILD=(docker build) ;;
  podman) BUILD=(podman build --format docker) ;;
  buildah)
    command -v buildah >/dev/null || { echo "no docker, podman or buildah is here; install one" >&2; exit 1; }
    BUILD=(buildah build --format docker)
    ;;
  *) echo "ENGINE=$ENGINE is not known; use docker, podman or buildah" >&2; exit 1 ;;
esac

# Where there is neither systemd nor a user's own configuration (a build machine, a container), podman needs to be told.
if [ "$ENGINE" != docker ] && [ ! -d /run/systemd/system ] && [ -z "${CONTAINERS_CONF:-}" ]; then
  CONTAINERS_CONF=$(mktemp)
  export CONTAINERS_CONF
  trap 'rm -f "$CONTAINERS_CONF"' EXIT
  cat >"$CONTAINERS_CONF" <<'CONF'
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
CONF
fi
