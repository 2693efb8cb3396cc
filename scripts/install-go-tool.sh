#!/usr/bin/env bash
# Builds one program of a Go module into .tools/bin, at a version that is pinned by who calls this.
# Does nothing where that version is there already.
set -euo pipefail

name=${1:?"usage: install-go-tool.sh NAME PACKAGE@VERSION [LDFLAGS]"}
package=${2:?"usage: install-go-tool.sh NAME PACKAGE@VERSION [LDFLAGS]"}
flags=${3:-}
root=$(cd "$(dirname "$0")/.." && pwd)
tool="$root/.tools/bin/$name"

# Written last, so that an interrupted installation is not taken for a finished one.
finished="$tool.version"
if [ -x "$tool" ] && [ "$(cat "$finished" 2> /dev/null)" = "$package $flags" ]; then
    exit 0
fi

go=$("$root/scripts/install-go.sh")
echo "Building $package into .tools/bin" >&2
mkdir -p "$root/.tools/bin"
GOBIN="$root/.tools/bin" "$go" install -ldflags "$flags" "$package"
echo "$package $flags" > "$finished"
