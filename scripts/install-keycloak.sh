#!/usr/bin/env bash
# Installs Keycloak (Maven Central) into .tools/keycloak-VERSION and prepares it for a quick start.
# Does nothing where it is installed already.
set -euo pipefail

version=26.4.0
digest=9fe5f9213ecf83f24b53b27409f3e0f20e10edce36aaa0828778a57c80f07a87
root=$(cd "$(dirname "$0")/.." && pwd)
folder="$root/.tools/keycloak-$version"

require() { # PROGRAM PACKAGE
    command -v "$1" > /dev/null || {
        echo "$1 is missing; this installs it: apt-get install --no-install-recommends $2" >&2
        exit 1
    }
}
require java openjdk-17-jre-headless
require curl curl
require setpriv util-linux

java_version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
if [ "${java_version:-0}" -lt 17 ]; then
    echo "Keycloak needs Java 17 or later, not ${java_version:-an unknown one};" \
        "this installs it: apt-get install --no-install-recommends openjdk-17-jre-headless" >&2
    exit 1
fi

# Written last, so that an interrupted installation is not taken for a finished one.
finished="$folder/finished"
if [ -e "$finished" ]; then
    exit 0
fi

echo "Installing Keycloak $version into $folder" >&2
rm -rf "$folder"
mkdir -p "$folder"
archive="$folder/keycloak.tar.gz"
curl --fail --silent --show-error --location --retry 3 --output "$archive" \
    "https://repo1.maven.org/maven2/org/keycloak/keycloak-quarkus-dist/$version/keycloak-quarkus-dist-$version.tar.gz"
echo "$digest  $archive" | sha256sum --check --quiet
tar --extract --gzip --file "$archive" --directory "$folder" --strip-components=1
rm "$archive"
# Its own step of building, which its first start would do otherwise; the database is in memory.
"$folder/bin/kc.sh" build --db=dev-mem > "$folder/build.log" 2>&1 || {
    cat "$folder/build.log" >&2
    exit 1
}
touch "$finished"
