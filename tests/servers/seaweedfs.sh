#!/bin/sh
# Runs a command with SeaweedFS, an S3 server that verifies signatures and preconditions itself:
#
#   tests/servers/seaweedfs.sh python -m pytest -m servers tests/storage/test_s3_servers.py
#
# Builds the server with Go when it is not there yet (about ten minutes on two cores); it listens on the loopback, and
# ends with the command, its data too. The command finds it in WALPY_TEST_S3_ENDPOINT, and how to get in beside that.
set -eu
version=v0.0.0-20261109003541-7506e5f91cd6
project=$(cd "$(dirname "$0")/../.." && pwd)
work=${WALPY_TEST_WORK:-$project/.work}/seaweedfs-$version
server=$work/weed
log=$work/log

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

[ $# -gt 0 ] || fail "usage: tests/servers/seaweedfs.sh COMMAND [ARGUMENT...]"
if [ ! -x "$server" ]; then
    command -v go >/dev/null || fail "Go is needed to build SeaweedFS"
    printf '== building SeaweedFS %s\n' "$version" >&2
    module=$work/module
    rm -rf "$module"
    mkdir -p "$module"
    # Its go.mod replaces modules, which `go install` refuses: so it is built as a dependency of an empty module.
    (
        cd "$module"
        go mod init seaweedfs.invalid/server
        export GOFLAGS="-mod=mod -buildvcs=false" CGO_ENABLED=0
        go get "github.com/seaweedfs/seaweedfs/weed@$version"
        go build -ldflags="-s -w" -o "$server.new" github.com/seaweedfs/seaweedfs/weed
    ) >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log" >&2; fail "SeaweedFS cannot be built"; }
    mv "$server.new" "$server"
fi

access_key=AKIAIOSFODNN7EXAMPLE
secret_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
data=$(mktemp -d "$work/data.XXXXXX")
cat >"$data/s3.json" <<CONFIG
{"identities": [{"name": "walpy", "actions": ["Admin", "Read", "Write", "List"],
  "credentials": [{"accessKey": "$access_key", "secretKey": "$secret_key"}]}]}
CONFIG

free_ports() {
    python3 -c 'import socket
sockets = [socket.socket() for _ in range(8)]
for one in sockets: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))'
}
# shellcheck disable=SC2046
set_ports() { set -- $(free_ports); master="$1 $2" volume="$3 $4" filer="$5 $6" s3="$7 $8"; }
set_ports

# No telemetry, no further gateways, no preallocated volumes.
"$server" -logtostderr=true server -dir="$data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.telemetry=false -master.volumeSizeLimitMB=1024 -volume.max=100 \
    -master.port="${master% *}" -master.port.grpc="${master#* }" \
    -volume.port="${volume% *}" -volume.port.grpc="${volume#* }" \
    -filer -filer.port="${filer% *}" -filer.port.grpc="${filer#* }" \
    -s3 -s3.port="${s3% *}" -s3.port.grpc="${s3#* }" -s3.config="$data/s3.json" -s3.iam=false \
    -s3.port.iceberg=0 -s3.port.lance=0 -s3.autoCreateBucket=false -s3.allowBackslashInKey=true >"$log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null && wait "$pid" || true; rm -rf "$data"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

endpoint=http://127.0.0.1:${s3% *}
python3 - "$endpoint" <<'WAIT' || { tail -n 20 "$log" >&2; fail "SeaweedFS does not start"; }
import sys, time, urllib.error, urllib.request

limit = time.monotonic() + 60
while True:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5).close()
        break
    except urllib.error.HTTPError:
        break  # it wants a signature: it is there
    except OSError:
        if time.monotonic() > limit:
            sys.exit(1)
        time.sleep(0.1)
WAIT

WALPY_TEST_S3_ENDPOINT=$endpoint WALPY_TEST_S3_ACCESS_KEY=$access_key WALPY_TEST_S3_SECRET_KEY=$secret_key "$@"
