#!/usr/bin/env bash
# Installs kustomize, which renders deploy/kustomize, into .tools/bin.
set -euo pipefail
exec "$(dirname "$0")/install-go-tool.sh" kustomize sigs.k8s.io/kustomize/kustomize/v5@v5.8.0
