#!/usr/bin/env bash
# push.sh REFERENCE FOLDER: pushes the folder to a registry as the plugin of that
# reference. It takes an engine to do so; the plugin is not enabled there.
set -euo pipefail
reference=$1 folder=$2
docker=${DOCKER:-docker}

if enabled=$($docker plugin inspect --format '{{.Enabled}}' "$reference" 2>/dev/null); then
	if [[ $enabled == true ]]; then
		echo "$reference is enabled in this engine: choose another TAG, or an engine that does not use it" >&2
		exit 1
	fi
	$docker plugin rm "$reference"
fi
if ! $docker plugin create "$reference" "$folder"; then
	echo "(An engine takes the same content once: under one reference, which \`docker plugin ls\` shows.)" >&2
	exit 1
fi
$docker plugin push "$reference"
