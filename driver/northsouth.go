package driver

import "errors"

// The values of [OptGateway]: who lets a network's containers out and in.
const (
	gatewayOurnet = "ournet"
	gatewayDocker = "docker"
)

func setGateway(o *Options, value string) error {
	switch value {
	case gatewayOurnet, gatewayDocker:
		o.DockerGateway = value == gatewayDocker
		return nil
	}
	return errors.New(`want "ournet", or "docker" for the engine's docker_gwbridge`)
}

// OwnGateway reports whether the network's containers get out, and its published
// ports in, by the network's own bridge. Those of an internal network do not at all;
// with `-o ournet.gateway=docker` the engine sees to it.
func (n Network) OwnGateway() bool { return !n.Internal && !n.Options.DockerGateway }
