#!/usr/bin/env bash
# step.sh LABEL COMMAND...: runs a long command quietly and shows that it lives.
# Its output is shown only if it fails.
set -u
label=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
start=$SECONDS
echo "==> $label"
# sleep must not hold our output open when it outlives the ticker.
(while sleep 10 >/dev/null 2>&1; do echo "    $label: $((SECONDS - start)) s so far"; done) &
ticker=$!
"$@" >"$log" 2>&1 </dev/null
status=$?
kill "$ticker"
wait "$ticker" 2>/dev/null
if ((status != 0)); then
	cat "$log" >&2
	echo "==> $label: failed after $((SECONDS - start)) s: $*" >&2
	exit "$status"
fi
echo "    $label: done in $((SECONDS - start)) s"
