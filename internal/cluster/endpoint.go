package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// EndpointID names an endpoint: the id that its host's engine gave it.
type EndpointID string

// Endpoint is a container's place on a network.
type Endpoint struct {
	// Network, Host and ID are those of the key.
	Network NetworkID    `json:"-"`
	Host    HostID       `json:"-"`
	ID      EndpointID   `json:"-"`
	Addrs   []netip.Addr `json:"addrs"`
	MAC     string       `json:"mac"`
	// Name and Aliases are what the container is called on the network.
	Name    string   `json:"name,omitempty"`
	Aliases []string `json:"aliases,omitempty"`
}

func (e Endpoint) check() error {
	for _, addr := range e.Addrs {
		if !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() {
			return fmt.Errorf("%s is no address of an endpoint", addr)
		}
	}
	if _, err := net.ParseMAC(e.MAC); err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	return nil
}

// equal leaves out what the key says.
func (e Endpoint) equal(o Endpoint) bool {
	return slices.Equal(e.Addrs, o.Addrs) && e.MAC == o.MAC && e.Name == o.Name && slices.Equal(e.Aliases, o.Aliases)
}
