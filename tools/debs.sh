#!/usr/bin/env bash
# debs.sh ARCH FOLDER PACKAGE...: downloads Debian packages of that architecture
# and unpacks them into the folder. Nothing is installed, no root is needed, and
# the machine's own package lists stay as they are: apt works on lists of its own
# under $CACHE, with the machine's sources and keys.
set -euo pipefail
arch=$1 folder=$2
shift 2
: "${CACHE:?the folder for package lists}"

state=$CACHE/apt/$arch
mkdir -p "$state"/{lists,archives}/partial "$folder"
: >"$state/status" # what is installed on this machine does not matter
apt() {
	apt-get -q -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
		-o Dir::Cache="$state" -o APT::Architecture="$arch" -o APT::Architectures::="$arch" \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none "$@"
}
# A source that does not answer is no matter if the packages are found in another.
apt update || echo "warning: not every package source could be read" >&2

download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
(cd "$download" && apt download "$@")
for deb in "$download"/*.deb; do
	dpkg-deb -x "$deb" "$folder"
done
