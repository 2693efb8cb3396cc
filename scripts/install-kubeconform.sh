#!/usr/bin/env bash
# Installs kubeconform, which checks manifests against tests/data/schemas, into .tools/bin.
set -euo pipefail
exec "$(dirname "$0")/install-go-tool.sh" kubeconform github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
