#!/usr/bin/env bash
# Installs helm, which renders the chart, into .tools/bin.
set -euo pipefail
# Which Kubernetes it renders for where there is no cluster; without this it says 1.20.
constants=helm.sh/helm/v3/pkg/chartutil
exec "$(dirname "$0")/install-go-tool.sh" helm helm.sh/helm/v3/cmd/helm@v3.22.0 \
    "-X $constants.k8sVersionMajor=1 -X $constants.k8sVersionMinor=34"
