#!/usr/bin/env bash
# vuln.sh: looks for known vulnerabilities in what the code of ./... calls, tests
# included. The database is the live one, or $GOVULNDB. Finding one fails; a
# database that cannot be reached says nothing about the code, so that does not
# fail, but is said loudly.
set -euo pipefail
: "${CACHE:?the folder with bin/govulncheck}"
db=${GOVULNDB:-https://vuln.go.dev}
unset GOVULNDB

status=0
output=$(timeout 300 "$CACHE/bin/govulncheck" -test -db "$db" ./... 2>&1) || status=$?
echo "$output"
# All other ends are about the code: 0 is well, 3 is a vulnerability, 1 is an error.
# 124 is timeout's.
if ((status != 124)) && ! grep -q '^govulncheck: fetching vulnerabilities:' <<<"$output"; then
	exit "$status"
fi
cat <<EOF
==> govulncheck DID NOT RUN: the vulnerability database $db cannot be reached from here.
==> Run 'make check' where it can be, or point GOVULNDB at a copy of it.
EOF
