package e2e

import (
	"encoding/json"
	"strings"
)

// network is what the tests read of `docker network inspect`.
type network struct {
	ID       string `json:"Id"`
	Name     string
	Driver   string
	Scope    string
	Internal bool
	IPAM     struct {
		Driver string
		Config []struct{ Subnet, IPRange, Gateway string }
	}
	Containers map[string]struct {
		EndpointID  string
		Name        string
		MacAddress  string
		IPv4Address string
		IPv6Address string
	}
	Options map[string]string
}

// container is what the tests read of `docker inspect`.
type container struct {
	ID    string `json:"Id"`
	State struct {
		Running bool
		Pid     int
	}
	NetworkSettings struct {
		Networks map[string]struct {
			IPAddress           string
			IPPrefixLen         int
			Gateway             string
			GlobalIPv6Address   string
			GlobalIPv6PrefixLen int
			MacAddress          string
		}
	}
}

func (h *host) network(name string) network {
	h.Helper()
	return decodeOne[network](h, h.docker("network", "inspect", name))
}

func (h *host) container(name string) container {
	h.Helper()
	return decodeOne[container](h, h.docker("container", "inspect", name))
}

// address returns a container's IPv4 address on a network.
func (h *host) address(name, network string) string {
	h.Helper()
	return h.container(name).NetworkSettings.Networks[network].IPAddress
}

func decodeOne[T any](h *host, text string) T {
	h.Helper()
	var all []T
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&all); err != nil {
		h.Fatalf("decode %s: %v", text, err)
	}
	if len(all) != 1 {
		h.Fatalf("inspect shows %d objects, want 1", len(all))
	}
	return all[0]
}
