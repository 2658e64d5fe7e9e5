package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	netapi "github.com/docker/go-plugins-helpers/network"

	"github.com/ournet/ournet/driver"
)

// optPortMap is what the user asked to publish (moby netlabel/labels.go).
const optPortMap = "com.docker.network.portmap"

// portBinding is the engine's types.PortBinding. Its IP is the container's and
// always empty.
type portBinding struct {
	Proto       uint8
	Port        uint16
	HostIP      string
	HostPort    uint16
	HostPortEnd uint16
}

// publishRequest is netapi's ProgramExternalConnectivityRequest with raw options.
type publishRequest struct {
	NetworkID  string
	EndpointID string
	Options    map[string]json.RawMessage
}

func (v *networkVerbs) publish(ctx context.Context, req *publishRequest) (struct{}, error) {
	nid, eid, err := parseIDs(req.NetworkID, req.EndpointID)
	if err != nil {
		return struct{}{}, err
	}
	bindings, err := parsePortMap(req.Options)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, v.networks.Publish(ctx, nid, eid, bindings)
}

func (v *networkVerbs) unpublish(ctx context.Context, req *netapi.RevokeExternalConnectivityRequest) (struct{}, error) {
	nid, eid, err := parseIDs(req.NetworkID, req.EndpointID)
	if err != nil {
		return struct{}{}, nil //nolint:nilerr // what has no valid id never published
	}
	return struct{}{}, unlessUnknown(v.networks.Unpublish(ctx, nid, eid))
}

// parsePortMap reads the ports to publish; the option may be absent, null or empty.
func parsePortMap(options map[string]json.RawMessage) ([]driver.Binding, error) {
	raw, ok := options[optPortMap]
	if !ok {
		return nil, nil
	}
	var ports []portBinding
	if err := json.Unmarshal(raw, &ports); err != nil {
		return nil, fmt.Errorf("%s: %w", optPortMap, nameField(err))
	}
	var bindings []driver.Binding
	for _, p := range ports {
		b, err := parseBinding(p)
		if err != nil {
			return nil, fmt.Errorf("published port %d: %w", p.Port, err)
		}
		bindings = append(bindings, b)
	}
	return bindings, nil
}

func parseBinding(p portBinding) (driver.Binding, error) {
	b := driver.Binding{
		Protocol:    driver.Protocol(p.Proto),
		Port:        p.Port,
		HostPort:    p.HostPort,
		HostPortEnd: max(p.HostPortEnd, p.HostPort),
	}
	switch b.Protocol {
	case driver.TCP, driver.UDP, driver.SCTP:
	default:
		return driver.Binding{}, fmt.Errorf("%s cannot be published, only tcp, udp and sctp", b.Protocol)
	}
	if p.Port == 0 {
		return driver.Binding{}, errors.New("the container's port is missing")
	}
	if p.HostPort == 0 && p.HostPortEnd != 0 {
		return driver.Binding{}, fmt.Errorf("the range of host ports to %d has no start", p.HostPortEnd)
	}
	if p.HostPortEnd != 0 && p.HostPortEnd < p.HostPort {
		return driver.Binding{}, fmt.Errorf("host ports %d-%d are no range", p.HostPort, p.HostPortEnd)
	}
	if p.HostIP != "" {
		var err error
		if b.HostAddr, err = parseAddr(p.HostIP); err != nil {
			return driver.Binding{}, fmt.Errorf("host address %q: %w", p.HostIP, err)
		}
	}
	return b, nil
}
