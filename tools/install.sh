#!/usr/bin/env bash
# install.sh REFERENCE FOLDER COMMAND CLI_PLUGINS: makes the folder the plugin of
# that reference in the engine that the docker command talks to, and enables it.
# The program COMMAND, docker-ournet, goes to the folder CLI_PLUGINS, where the
# docker command looks for plugins of its own.
set -euo pipefail
reference=$1 folder=$2 command=$3 cli_plugins=$4
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
if ! install -D -m 755 "$command" "$cli_plugins/docker-ournet"; then
	echo "The plugin is enabled, but docker-ournet cannot be put into $cli_plugins:" >&2
	echo "run this as root, or choose a folder of yours, DOCKER_CLI_PLUGINS=~/.docker/cli-plugins." >&2
	exit 1
fi
echo "==> ready: docker network create -d ournet NAME; docker ournet ports"
