package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ournet/ournet/internal/admin"
)

// ask reads an object of the engine's API. It costs far less than a command, so that
// waiting for something does not slow down what is waited for.
func (h *host) ask(path string, value any) error {
	return call(h.ctx, h.Socket(), http.MethodGet, path, value)
}

// welcomed reports whether the engine has finished taking up the plugin's process. If
// it is killed before, the engine goes on asking it for up to a minute before it
// starts another (moby pkg/plugins/client.go, callWithRetry).
func (h *host) welcomed() error {
	verbs, err := h.verbs()
	if err != nil {
		return err
	}
	// Of what every engine asks at the start this is the last.
	if verbs["IpamDriver.GetCapabilities"].Count == 0 {
		return errors.New("the engine has not asked for the address manager's capabilities")
	}
	return nil
}

// verbTimes is what the plugin counts of a verb, in microseconds.
type verbTimes struct {
	Count  int   `json:"count"`
	Errors int   `json:"errors"`
	P50    int64 `json:"p50_us"`
	P99    int64 `json:"p99_us"`
}

// verbs asks the plugin how long its verbs took since it was started.
func (h *host) verbs() (verbs map[string]verbTimes, err error) {
	err = h.askPlugin(admin.StatsPath, &verbs)
	return verbs, err
}

// repairs asks the plugin what it has put right since it was started.
func (h *host) repairs() (repairs map[string]int, err error) {
	err = h.askPlugin(admin.RepairsPath, &repairs)
	return repairs, err
}

func (h *host) askPlugin(path string, value any) error {
	first, err := h.FirstPID()
	if err != nil {
		return err
	}
	socket := filepath.Join("/proc", strconv.Itoa(first), "root/run/docker/plugins/ournet.sock")
	return call(h.ctx, socket, http.MethodGet, path, value)
}

// callTime is how long an answer may take on a machine that has much else to do.
const callTime = time.Minute

func call(ctx context.Context, socket, method, path string, value any) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://unix"+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(value)
}

// attachment is a container's place on a network, as the engine shows it.
type attachment struct {
	NetworkID  string
	EndpointID string
	IPAddress  string
	MacAddress string

	GlobalIPv6Address string
}

// inhabitant is what the tests of recovery read of a container.
type inhabitant struct {
	Name  string
	State struct {
		Running bool
		Pid     int // in the host's process namespace
	}
	HostConfig struct {
		PortBindings    map[string][]struct{ HostPort string }
		PublishAllPorts bool
	}
	Config          struct{ ExposedPorts map[string]struct{} }
	NetworkSettings struct {
		SandboxKey string
		Networks   map[string]attachment
	}
}

// namespace returns the file of the container's network namespace, where first is the
// first process of its host: the engine knows a process by its number there.
func (c inhabitant) namespace(first int) string {
	return fmt.Sprintf("/proc/%d/root/proc/%d/ns/net", first, c.State.Pid)
}

// inhabitants returns the running containers by name, each with the networks that it is
// on. Engine 20.10 also shows one that it has refused to connect the container to: of
// ournet's networks those are left out whose members it is not among.
func (h *host) inhabitants() (map[string]inhabitant, error) {
	joined, err := h.joined()
	if err != nil {
		return nil, err
	}
	var ids []struct {
		ID string `json:"Id"`
	}
	if err := h.ask("/containers/json", &ids); err != nil {
		return nil, err
	}
	byName := map[string]inhabitant{}
	for _, id := range ids {
		var c inhabitant
		if err := h.ask("/containers/"+id.ID+"/json", &c); err != nil {
			return nil, err
		}
		c.Name = strings.TrimPrefix(c.Name, "/")
		maps.DeleteFunc(c.NetworkSettings.Networks, func(_ string, a attachment) bool {
			endpoints, ours := joined[a.NetworkID]
			return ours && !endpoints[a.EndpointID]
		})
		if c.State.Running {
			byName[c.Name] = c
		}
	}
	return byName, nil
}

// joined returns the endpoints of each of the plugin's networks that the engine has
// given to a container.
func (h *host) joined() (map[string]map[string]bool, error) {
	networks, err := h.ournetNetworks()
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]bool{}
	for _, n := range networks {
		if err := h.ask("/networks/"+n.ID, &n); err != nil {
			return nil, err
		}
		all[n.ID] = map[string]bool{}
		for _, c := range n.Containers {
			all[n.ID][c.EndpointID] = true
		}
	}
	return all, nil
}

// ournetNetworks returns the engine's networks of the plugin.
func (h *host) ournetNetworks() ([]network, error) {
	var all []network
	if err := h.ask("/networks", &all); err != nil {
		return nil, err
	}
	var ours []network
	for _, n := range all {
		if n.Driver == "ournet" {
			ours = append(ours, n)
		}
	}
	return ours, nil
}
