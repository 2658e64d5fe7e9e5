#!/usr/bin/env bash
# fuzz.sh TIME: runs every fuzz target of the module for that long, one by one.
set -euo pipefail
for_each=$1

grep -rlE '^func Fuzz[A-Z_]' --include='*_test.go' . | sort | while read -r file; do
	sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$file" | while read -r target; do
		echo "==> $target for $for_each in $(dirname "$file")"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$for_each" "$(dirname "$file")" </dev/null
	done
done
