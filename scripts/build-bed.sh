#!/usr/bin/env bash
# Builds the programs of one bed of tests/beds into .tools/bin. Does nothing where they were built of
# the same sources and the same go.sum.
set -euo pipefail

bed=${1:?"usage: build-bed.sh mesh | kube | eg"}
root=$(cd "$(dirname "$0")/.." && pwd)
sources="$root/tests/beds/$bed"
bin="$root/.tools/bin"
stamp="$root/.tools/beds/$bed"

# Kubernetes tells its version by what the linker is given, and kubectl cannot read the one that it has without.
version=k8s.io/component-base/version
flags="-s -w"
case "$bed" in
    mesh)
        programs="meshd sdsd svid pilot-discovery istioctl"
        packages="./cmd/... istio.io/istio/pilot/cmd/pilot-discovery istio.io/istio/istioctl/cmd/istioctl"
        ;;
    kube)
        programs="kubed kubectl"
        packages="./cmd/kubed k8s.io/kubernetes/cmd/kubectl"
        flags="$flags -X $version.gitVersion=v1.36.3 -X $version.gitMajor=1 -X $version.gitMinor=36"
        ;;
    eg)
        programs="envoy-gateway"
        packages="github.com/envoyproxy/gateway/cmd/envoy-gateway"
        ;;
    *)
        echo "no bed $bed" >&2
        exit 2
        ;;
esac

made_of=$(cd "$sources" && find . -type f | LC_ALL=C sort | xargs sha256sum | cat - "$root/scripts/build-bed.sh" | sha256sum)
built=yes
for program in $programs; do
    [ -x "$bin/$program" ] || built=no
done
[ "$bed" != mesh ] || [ -e "$root/.tools/beds/istio-crds.yaml" ] || built=no
if [ "$built" = yes ] && [ "$(cat "$stamp" 2> /dev/null)" = "$made_of" ]; then
    exit 0
fi

go=$("$root/scripts/install-go.sh")
echo "Building $programs with $("$go" env GOVERSION); from nothing, on two cores, this takes minutes" >&2
mkdir -p "$bin" "$(dirname "$stamp")"
rm -f "$stamp"
# One package after the other: two that are linked at a time would need 6 GB.
cd "$sources"
for package in $packages; do
    "$go" build -mod=readonly -ldflags "$flags" -o "$bin/" "$package"
done
# What a cluster is told before istiod can run on it.
if [ "$bed" = mesh ]; then
    istio=$("$go" list -m -f '{{.Dir}}' istio.io/istio)
    install -m 644 "$istio/manifests/charts/base/files/crd-all.gen.yaml" "$root/.tools/beds/istio-crds.yaml"
    install -m 644 "$istio/tests/integration/pilot/testdata/gateway-api-crd.yaml" "$root/.tools/beds/gateway-api-crds.yaml"
fi
# Written last, so that an interrupted build is not taken for a finished one.
echo "$made_of" > "$stamp"
