#!/bin/sh
# Runs a command with every storage server of the tests marked `servers`; see the scripts beside this one.
#
#   tests/servers/run.sh python -m pytest -m servers
#
# There, a test that finds no server fails instead of being skipped.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
WALPY_TEST_REQUIRE=${WALPY_TEST_REQUIRE:-s3-server,fake-gcs}
export WALPY_TEST_REQUIRE
exec "$here/seaweedfs.sh" "$here/fake_gcs.sh" "$@"
