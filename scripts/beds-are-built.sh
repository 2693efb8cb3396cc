#!/usr/bin/env bash
# Succeeds where every program that `make test-mesh` starts is in .tools/bin.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in meshd sdsd svid pilot-discovery istioctl; do
    [ -x ".tools/bin/$program" ] || exit 1
done
