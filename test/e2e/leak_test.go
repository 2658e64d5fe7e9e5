package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/store/boltstore"
	"github.com/ournet/ournet/test/lab"
)

// assertJustified asserts that the plugin's records, and the devices that it made,
// are exactly those that the engine's networks and running containers need. It waits
// for that no longer than patience.
func (h *host) assertJustified(patience time.Duration, when string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	var diff string
	err := lab.Poll(ctx, "the records to be justified", func() error {
		want, err := h.needed()
		if err != nil {
			return err
		}
		have, err := h.recorded()
		if err != nil {
			return err
		}
		if diff = gocmp.Diff(want, have); diff != "" {
			return errors.New("they are not")
		}
		return nil
	})
	if err != nil {
		h.Errorf("%v\nrecords and devices %s (-needed +there):\n%s", err, when, diff)
	}
}

// needed says what the engine's networks and running containers need, a line each.
func (h *host) needed() ([]string, error) {
	networks, err := h.ournetNetworks()
	if err != nil {
		return nil, err
	}
	var lines []string
	leased := map[string]bool{} // the networks whose addresses are ournet's
	for _, n := range networks {
		lines = append(lines, "network "+n.ID, "bridge on-"+n.ID[:12])
		if n.IPAM.Driver != "ournet" {
			continue
		}
		leased[n.ID] = true
		for _, c := range n.IPAM.Config {
			lines = append(lines, "pool "+c.Subnet, "lease "+gatewayOf(c.Subnet, c.Gateway))
		}
	}
	all, err := h.inhabitants()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		for _, a := range c.NetworkSettings.Networks {
			if !slices.ContainsFunc(networks, func(n network) bool { return n.ID == a.NetworkID }) {
				continue // another driver's
			}
			lines = append(lines, c.lines(a)...)
			if leased[a.NetworkID] {
				lines = append(lines, "lease "+a.IPAddress)
			}
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// gatewayOf returns the gateway's address: the first one where nobody chose another.
// Engine 20.10 shows only a choice.
func gatewayOf(subnet, shown string) string {
	if shown == "" {
		base, _, _ := strings.Cut(subnet, "/")
		return strings.TrimSuffix(base, "0") + "1"
	}
	address, _, _ := strings.Cut(shown, "/")
	return address
}

// lines says what the container's attachment needs. Containers with published ports
// are on one network only.
func (c inhabitant) lines(a attachment) []string {
	lines := []string{
		endpointLine(a.EndpointID, a.NetworkID, a.IPAddress, a.MacAddress),
		"port onv" + a.EndpointID[:11] + " of bridge on-" + a.NetworkID[:12],
	}
	for port, bindings := range c.HostConfig.PortBindings {
		for _, b := range bindings {
			lines = append(lines, publishedLine(b.HostPort, port, a.EndpointID))
		}
	}
	if c.HostConfig.PublishAllPorts {
		for port := range c.Config.ExposedPorts {
			lines = append(lines, publishedLine(chosen, port, a.EndpointID))
		}
	}
	return lines
}

// chosen stands for the host ports of -P: those from where the kernel's local range
// begins.
const (
	chosen      = "chosen"
	firstChosen = 32768
)

func publishedLine(hostPort, port, endpoint string) string {
	return fmt.Sprintf("published 0.0.0.0:%s->%s of endpoint %s", hostPort, port, endpoint)
}

func endpointLine(id, network, address, mac string) string {
	return fmt.Sprintf("endpoint %s of network %s: %s %s", id, network, address, mac)
}

// recorded says what the plugin has on record and what devices it has, a line each.
func (h *host) recorded() ([]string, error) {
	pairs, err := h.records()
	if err != nil {
		return nil, err
	}
	var lines []string
	for key, value := range pairs {
		if rest, ok := strings.CutPrefix(key, "v1/local/ports/"); ok {
			// What a container had is remembered, while its network lives.
			network, _, _ := strings.Cut(rest, "/")
			if pairs["v1/local/networks/"+network] == nil {
				lines = append(lines, "ports of network "+network)
			}
			continue
		}
		if rest, ok := strings.CutPrefix(key, "v1/local/names/"); ok {
			// What an endpoint is called is known while it is there.
			if pairs["v1/local/endpoints/"+rest] == nil {
				lines = append(lines, "names of endpoint "+rest)
			}
			continue
		}
		more, err := recordLines(key, value)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", key, err)
		}
		lines = append(lines, more...)
	}
	devices, err := h.deviceLines()
	if err != nil {
		return nil, err
	}
	lines = append(lines, devices...)
	slices.Sort(lines)
	return lines, nil
}

// recordLines says what a record is about. Addresses that are free and only
// remembered for their last holder are nothing, while their pool lives.
func recordLines(key string, value []byte) ([]string, error) {
	var r struct {
		Network  *driver.Network
		Endpoint *driver.Endpoint
		Subnet   string    `json:"subnet"`
		Kind     string    `json:"kind"`
		Released time.Time `json:"released"`
	}
	if key == "v1/local/ula" || key == "v1/local/enginebridges" || strings.HasPrefix(key, "v1/local/cluster/") {
		return nil, nil // this host's for good, and what it knows of its cluster
	}
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, err
	}
	switch {
	case r.Endpoint != nil:
		ep := r.Endpoint
		lines := []string{endpointLine(string(ep.ID), string(ep.Network), ep.Address.Addr().String(), ep.MAC.String())}
		for _, b := range ep.Published {
			line := fmt.Sprintf("published %s of endpoint %s", b, ep.ID)
			if b.HostPort >= firstChosen {
				line = strings.Replace(line, fmt.Sprintf(":%d->", b.HostPort), ":"+chosen+"->", 1)
			}
			lines = append(lines, line)
		}
		return lines, nil
	case r.Network != nil:
		return []string{"network " + string(r.Network.ID)}, nil
	case r.Subnet != "":
		return []string{"pool " + r.Subnet}, nil
	case r.Kind != "" && r.Released.IsZero():
		return []string{"lease " + filepath.Base(key)}, nil
	case r.Kind != "":
		return nil, nil
	default:
		return nil, fmt.Errorf("unknown value %s", value)
	}
}

// deviceLines lists the devices with names that ournet gives.
func (h *host) deviceLines() ([]string, error) {
	text, err := h.Exec(h.ctx, "ip", "-json", "link")
	if err != nil {
		return nil, err
	}
	var links []struct {
		Name   string `json:"ifname"`
		Master string `json:"master"`
	}
	if err := json.Unmarshal([]byte(text), &links); err != nil {
		return nil, fmt.Errorf("decode the devices: %w", err)
	}
	var lines []string
	for _, l := range links {
		switch {
		case strings.HasPrefix(l.Name, "on-"):
			lines = append(lines, "bridge "+l.Name)
		case strings.HasPrefix(l.Name, "onv"):
			lines = append(lines, "port "+l.Name+" of bridge "+cmp.Or(l.Master, "NONE"))
		case strings.HasPrefix(l.Name, "onp"):
			lines = append(lines, "device "+l.Name)
		}
	}
	return lines, nil
}

// storeFile returns the path of the plugin's store, as the lab's owner sees it.
func (h *host) storeFile() (string, error) {
	pattern := filepath.Join(h.Dir(), "lib", "docker", "plugins", "*", "propagated-mount", "ournet.db")
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("the plugin has %d stores, not one: %w", len(files), err)
	}
	return files[0], nil
}

// records returns all values of the plugin's store by their keys. The plugin has the
// file locked and may be writing, so a copy is read; one that was made in the middle
// of a write is an error.
func (h *host) records() (_ map[string][]byte, err error) {
	file, err := h.storeFile()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	folder := h.TempDir()
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	copied := filepath.Join(folder, "ournet.db")
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		return nil, err
	}
	kv, err := boltstore.Open(h.ctx, copied)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, kv.Close()) }()
	pairs, _, err := kv.List(h.ctx, "", 0)
	if err != nil {
		return nil, err
	}
	values := map[string][]byte{}
	for _, p := range pairs {
		values[p.Key] = p.Value
	}
	return values, nil
}

// namedState is the host's state with names in place of the ids that are others after
// each start of a container.
func (h *host) namedState() state {
	h.Helper()
	all, err := h.inhabitants()
	if err != nil {
		h.Fatal(err)
	}
	var pairs []string
	for name, c := range all {
		pairs = append(pairs, filepath.Base(c.NetworkSettings.SandboxKey), "SANDBOX OF "+name)
		for network, a := range c.NetworkSettings.Networks {
			if a.EndpointID != "" {
				pairs = append(pairs, "onv"+a.EndpointID[:11], "PORT OF "+name+" ON "+network)
			}
		}
	}
	names := strings.NewReplacer(pairs...)
	s := h.settledState()
	for part, lines := range s {
		for i, line := range lines {
			lines[i] = sortElements(names.Replace(line))
		}
		if part == "links" || part == "sandboxes" || part == "addresses" {
			slices.Sort(lines)
		}
	}
	return s
}

func (h *host) assertNamedState(want state, when string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, settle)
	defer cancel()
	var diff string
	err := lab.Poll(ctx, "the host to be as before", func() error {
		if diff = gocmp.Diff(want, h.namedState()); diff != "" {
			return errors.New("it is not")
		}
		return nil
	})
	if err != nil {
		h.Errorf("the host's state %s (-before +after):\n%s", when, diff)
	}
}
