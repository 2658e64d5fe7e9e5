#!/usr/bin/env bash
# packages.sh PACKAGE...: installs those of the Debian packages that are missing.
set -euo pipefail
here=$(dirname "$0")

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "this needs Debian 12: there is no apt-get here. Install by other means: $*" >&2
	exit 1
fi
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii *//p' || true)
missing=$(comm -23 <(printf '%s\n' "$@" | sort -u) <(sort -u <<<"$installed"))
[[ -n $missing ]] || exit 0

read -ra missing <<<"${missing//$'\n'/ }"
root=()
if ((EUID != 0)); then
	if ! command -v sudo >/dev/null; then
		echo "these Debian packages are missing, and there is neither root nor sudo to install them: ${missing[*]}" >&2
		exit 1
	fi
	echo "==> sudo is used to install Debian packages"
	sudo -v
	root=(sudo)
fi
apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
"$here/step.sh" "read the package lists" "${apt[@]}" update
"$here/step.sh" "install Debian packages: ${missing[*]}" "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
