#!/bin/sh
# Runs a command with fake-gcs-server, which has generations and preconditions of its own:
#
#   tests/servers/fake_gcs.sh python -m pytest -m servers tests/storage/test_gcs.py
#
# Builds the server with Go when it is not there yet; it listens on the loopback, keeps everything in memory, and ends
# with the command. The command finds it in WALPY_TEST_GCS_ENDPOINT.
set -eu
version=v1.56.1
project=$(cd "$(dirname "$0")/../.." && pwd)
work=${WALPY_TEST_WORK:-$project/.work}/fake-gcs-server-$version
server=$work/fake-gcs-server
log=$work/log

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

[ $# -gt 0 ] || fail "usage: tests/servers/fake_gcs.sh COMMAND [ARGUMENT...]"
if [ ! -x "$server" ]; then
    command -v go >/dev/null || fail "Go is needed to build fake-gcs-server"
    printf '== building fake-gcs-server %s\n' "$version" >&2
    mkdir -p "$work"
    GOBIN=$work GOFLAGS=-mod=mod go install "github.com/fsouza/fake-gcs-server@$version" || fail "fake-gcs-server cannot be built"
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
endpoint=http://127.0.0.1:$port
"$server" -backend memory -scheme http -host 127.0.0.1 -port "$port" -public-host "127.0.0.1:$port" \
    -external-url "$endpoint" -log-level warn >"$log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

python3 - "$port" <<'WAIT' || { cat "$log" >&2; fail "fake-gcs-server does not start"; }
import socket, sys, time

limit = time.monotonic() + 30
while True:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close()
        break
    except OSError:
        if time.monotonic() > limit:
            sys.exit(1)
        time.sleep(0.05)
WAIT

WALPY_TEST_GCS_ENDPOINT=$endpoint "$@"
