#!/usr/bin/env bash
# engine-20.10.sh FOLDER: puts the programs of Debian 12's Docker Engine into the
# folder, out of Debian's packages. They are not installed: no service starts, and
# an engine that this machine has is left alone.
set -euo pipefail
folder=$1
here=$(dirname "$0")

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
"$here/debs.sh" "$(dpkg --print-architecture)" "$tree" docker.io containerd runc tini
version=$("$tree/usr/sbin/dockerd" --version)
case $version in
"Docker version 20.10."*) ;;
*)
	echo "the package docker.io of this machine's sources is not Debian 12's: $version" >&2
	exit 1
	;;
esac
mkdir -p "$folder"
install -m 755 "$tree"/usr/sbin/{dockerd,runc} "$tree"/usr/bin/{docker,containerd,containerd-shim-runc-v2} \
	"$(find "$tree/usr" -name docker-proxy -type f)" "$folder"
# The engine looks for tini under this name; the static one runs in any container.
install -m 755 "$tree/usr/bin/tini-static" "$folder/docker-init"
