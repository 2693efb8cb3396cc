#!/usr/bin/env bash
# Prints a digest of all that `make test-mesh` tests, but for Portcullis itself: manifests, tests, beds
# and versions. tests/mesh/VERIFIED has that of the last run that passed.
set -euo pipefail
cd "$(dirname "$0")/.."

folders=()
for folder in deploy/istio deploy/kustomize deploy/envoy-gateway tests/mesh tests/beds; do
    [ ! -d "$folder" ] || folders+=("$folder")
done
{
    find "${folders[@]}" -type f ! -path tests/mesh/VERIFIED | LC_ALL=C sort | xargs -d '\n' sha256sum
    grep -E '^(OLDEST_ENVOY|ENVOY_VERSIONS?) ' Makefile
} | sha256sum | cut -d ' ' -f 1
