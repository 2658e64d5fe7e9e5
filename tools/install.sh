#!/usr/bin/env bash
# install.sh REFERENCE FOLDER: makes the folder the plugin of that reference in
# the engine that the docker command talks to, and enables it.
set -euo pipefail
reference=$1 folder=$2
docker=${DOCKER:-docker}

if old=$($docker plugin inspect --format '{{range .Settings.Env}}{{println .}}{{end}}' "$reference" 2>/dev/null); then
	name=$(sed -n 's/^NAME=//p' <<<"$old")
	name=${name:-ournet}
	# Removing a plugin removes its records with it, which running networks need.
	networks=$($docker network ls --filter "driver=$name" --format '{{.Name}}')
	if [[ -n $networks ]]; then
		echo "$reference is installed and has networks: ${networks//$'\n'/ }" >&2
		echo "Remove them first, or push the new version to a registry and use \`docker plugin upgrade\`, which keeps them." >&2
		exit 1
	fi
	echo "==> $reference is installed and has no networks: it is replaced; its settings go back to the defaults"
	$docker plugin rm --force "$reference"
fi
$docker plugin create "$reference" "$folder"
$docker plugin enable "$reference"
echo "==> ready: docker network create -d ournet NAME"
