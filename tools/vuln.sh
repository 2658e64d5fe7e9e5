#!/usr/bin/env bash
# vuln.sh: looks for known vulnerabilities in what the code of ./... calls, tests
# included. The database is the live one, or $GOVULNDB; where that cannot be
# reached, the dated extract in tools/vulndb stands in, and that is said.
set -euo pipefail
: "${CACHE:?the folder with bin/govulncheck}"
here=$(dirname "$0")
live=${GOVULNDB:-https://vuln.go.dev}
unset GOVULNDB

check() { timeout 300 "$CACHE/bin/govulncheck" -test -db "$1" ./...; }

status=0
output=$(check "$live" 2>&1) || status=$?
echo "$output"
# All other ends are about the code: 0 is well, 3 is a vulnerability, 1 is an error.
# 124 is timeout's.
if ((status != 124)) && ! grep -q '^govulncheck: fetching vulnerabilities:' <<<"$output"; then
	exit "$status"
fi
cat <<EOF
==> THE LIVE VULNERABILITY DATABASE COULD NOT BE USED (see above).
==> Checking against the extract of $(cat "$here/vulndb/DATE") instead: newer vulnerabilities are not seen.
EOF
extract=$(mktemp -d)
trap 'rm -rf "$extract"' EXIT
awk -v dir="$extract" '{
	match($0, /"id":"[^"]+"/)
	file = dir "/" substr($0, RSTART + 6, RLENGTH - 7) ".json"
	print > file
	close(file)
}' "$here/vulndb/osv.jsonl"
check "file://$extract"
