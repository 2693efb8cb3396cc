#!/usr/bin/env bash
# Installs redis-server by apt-get. Does nothing where one is on the PATH.
set -euo pipefail

if command -v redis-server > /dev/null; then
    exit 0
fi
command -v apt-get > /dev/null || {
    echo "redis-server is missing; install Redis 6.2 or later, or Valkey under that name" >&2
    exit 1
}
echo "redis-server is missing; installing the Debian package of that name" >&2
as_root=$([ "$(id -u)" = 0 ] || echo sudo)
$as_root apt-get update
$as_root apt-get install -y --no-install-recommends redis-server
