package e2e

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
	return asked[network](h, "/networks/"+name)
}

func (h *host) container(name string) container {
	h.Helper()
	return asked[container](h, "/containers/"+name+"/json")
}

// address returns a container's IPv4 address on a network.
func (h *host) address(name, network string) string {
	h.Helper()
	return h.container(name).NetworkSettings.Networks[network].IPAddress
}

// asked is [host.ask] for what has to be there.
func asked[T any](h *host, path string) T {
	h.Helper()
	var value T
	if err := h.ask(path, &value); err != nil {
		h.Fatal(err)
	}
	return value
}
