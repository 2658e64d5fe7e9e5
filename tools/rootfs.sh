#!/usr/bin/env bash
# rootfs.sh ARCH FOLDER: makes the plugin's root file system without the plugin:
# iptables in both its variants, what it links, and mount points. All else of
# Debian's packages is left out but their licences.
set -euo pipefail
arch=$1 folder=$2
here=$(dirname "$0")

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
"$here/debs.sh" "$arch" "$tree" iptables libxtables12 libip4tc2 libip6tc2 libmnl0 libnftnl11 \
	libnetfilter-conntrack3 libnfnetlink0 libc6

rm -rf "$folder"
mkdir -p "$folder"
# Where the engine mounts things and where ournet keeps and opens its own.
mkdir -p "$folder"/{dev,etc,proc,sys,tmp,run/docker/plugins,run/ournet/plugins,var/lib/ournet}
(
	cd "$tree"
	shopt -s nullglob
	for pattern in \
		'usr/sbin/xtables-*-multi' 'usr/sbin/ip*tables-nft*' 'usr/sbin/ip*tables-legacy*' \
		'usr/lib/*-linux-gnu/lib*.so.*' 'usr/lib/*-linux-gnu/xtables/*.so' \
		'lib/*-linux-gnu/libc.so.6' 'lib/*-linux-gnu/libm.so.6' \
		'lib/*-linux-gnu/ld-linux-*.so.*' 'lib64/ld-linux-*.so.*' 'lib/ld-linux-*.so.*' \
		'usr/share/doc/*/copyright'; do
		# Unquoted: each is a pattern, and some match on one architecture only.
		for file in $pattern; do
			mkdir -p "$folder/$(dirname "$file")"
			cp -a "$file" "$folder/$file"
		done
	done
)
# Debian makes these with update-alternatives when it installs the package.
for family in iptables ip6tables; do
	for suffix in '' -save -restore; do
		ln -s xtables-nft-multi "$folder/usr/sbin/$family$suffix"
	done
done
find "$folder" -depth -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
