#!/bin/sh
# Runs the command with the secrets in its environment. On SIGHUP, ends it and starts it with the new ones.
again='' app=''
end() { [ -z "$app" ] || kill -TERM "$app" 2>/dev/null; }
trap 'again=yes; end' HUP
trap 'trap "" HUP; ending=yes; end' TERM INT
while [ -z "${ending:-}" ]; do
  again=''
  (
    trap - HUP TERM INT
    set -a
    # shellcheck disable=SC1091 # it is in the pod
    . /freshmount/secrets/app.env
    exec "$@"
  ) &
  app=$!
  [ -z "$again${ending:-}" ] || end # a signal came before there was a process
  # A signal ends `wait` early.
  while kill -0 "$app" 2>/dev/null; do wait "$app"; code=$?; done
  [ -n "$again" ] || exit "$code"
done
exit 0
